"""Two classifiers judged by the same photos: the difference, and how far it could be off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import RESAMPLES, Interval, bootstrap
from regraft.evaluation.report import Judge

LOWER_IS_BETTER = ("log_loss", "brier", "ece")


@dataclass(frozen=True)
class Difference:
    """How much `a` exceeds `b` in one figure.

    Attributes:
        metric: the figure's name.
        value: a's figure less b's.
        interval: 95 %, of photos (or groups) drawn anew for both alike; None where too few draws define it.
    """

    metric: str
    value: float
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """Return "better" or "worse" (a than b) where the interval lies on one side of 0, else "not proven"."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not proven"
        return "better" if (self.interval[0] > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


def paired_differences(
    a: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    *,
    positive: int | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """Return the differences of all figures between (n, c) probabilities `a` and `b` of the same photos.

    Every draw of the bootstrap takes the same photos for both, so that what makes a photo hard for both cancels out.

    Args:
        a: (n, c) probabilities.
        b: (n, c) probabilities.
        labels: (n,) true classes.
        positive: the column that AUC and average precision are of; None where there are more than two classes.
        groups: (n,) what is drawn as a whole, or None.
        seed: of the draws.
        resamples: how many draws.
    """
    judges = Judge(labels, a, positive), Judge(labels, b, positive)

    def differences(weights: np.ndarray | None) -> dict[str, float]:
        ours, theirs = (judge.figures(weights) for judge in judges)
        return {name: ours[name] - theirs[name] for name in _compared(ours)}

    values = differences(None)
    intervals = bootstrap(differences, len(labels), resamples=resamples, seed=seed, groups=groups)
    return {name: Difference(name, value, intervals[name]) for name, value in values.items()}


def _compared(figures: dict[str, float]) -> Sequence[str]:
    return [name for name in figures if name != "ece"]
