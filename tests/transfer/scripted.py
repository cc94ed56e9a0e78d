"""Trainers that predict what a test says, at the cost that it says."""

import numpy as np
from tests.fixtures.learning import dataset_of

from regraft.transfer.budget import OverBudgetError, Pace
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import HeldOutLogits

FROZEN, TOP, WHOLE = Candidate("frozen"), Candidate("top"), Candidate("whole")
N = 200
LABELS = np.arange(N) % 2
FOLDS = np.arange(N) // 2 % 5
DATASET = dataset_of(LABELS, classes=("a", "b"))
NOISE = np.random.default_rng(0).normal(size=(3, N))


class Scripted:
    """Predicts given probabilities of the true class, at a given cost."""

    def __init__(
        self, candidate: Candidate, right: np.ndarray, *, forecast: float = 0.0, temperature: float | None = 1.0
    ) -> None:
        self.candidate = candidate
        self._temperature = temperature
        self._right, self._forecast = right, forecast
        self.trained_on: list[np.ndarray] = []

    def predict_held_out(
        self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
    ) -> HeldOutLogits:
        if self._forecast:
            raise OverBudgetError(self._forecast)
        self.trained_on.append(train)
        probabilities = np.empty((len(held_out), 2))
        probabilities[np.arange(len(held_out)), LABELS[held_out]] = self._right[held_out]
        probabilities[np.arange(len(held_out)), 1 - LABELS[held_out]] = 1 - self._right[held_out]
        return HeldOutLogits(np.log(probabilities), self._temperature, 1.0, len(train))


class Slow(Scripted):
    """Takes time for each fold, on a clock of its own, and does not report its pace."""

    def __init__(self, candidate: Candidate, right: np.ndarray, now: list[float], seconds: float) -> None:
        super().__init__(candidate, right)
        self._now, self._each = now, seconds

    def predict_held_out(
        self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
    ) -> HeldOutLogits:
        self._now[0] += self._each
        found = super().predict_held_out(train, held_out, name=name, pace=pace)
        return HeldOutLogits(found.logits, found.temperature, self._each, found.images)


def right(level: float, spread: float, row: int) -> np.ndarray:
    """Return (n,) probabilities of the true class."""
    return 1 / (1 + np.exp(-(level + spread * NOISE[row])))


def logits_of(level: np.ndarray) -> np.ndarray:
    """Return the (n, 2) logits that `Scripted` gives for (n,) probabilities of the true class."""
    logits = np.empty((N, 2))
    logits[np.arange(N), LABELS], logits[np.arange(N), 1 - LABELS] = np.log(level), np.log(1 - level)
    return logits
