"""Cross-validation within a time: every fold is answered by what was trained without it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from regraft.data.dataset import Dataset
from regraft.evaluation.calibration import fit_temperature
from regraft.progress import Observer, series
from regraft.transfer.budget import Clock, OverBudgetError, forecast
from regraft.transfer.trainers import HeldOutLogits, HeldOutTrainer


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What one trainer answers, fold by fold.

    Attributes:
        probabilities: (n, c); NaN where its fold was not reached in time. A fold's temperature, where its training set
            none, is that of the other folds' logits.
        temperature: of all logits together, for the classifier that learns from all photos; None if each training set
            its own.
        answered: (n,) booleans: which photos have probabilities.
        folds: how many were done.
        seconds: of training, over these folds.
        images: that went through training, over these folds.
    """

    probabilities: np.ndarray
    temperature: float | None
    answered: np.ndarray
    folds: int
    seconds: float
    images: int

    @property
    def calibrated(self) -> bool:
        """Whether a temperature could be set: one fold alone, that brings none, has no others to set it by."""
        return self.folds > 1 or self.temperature is None


@dataclass(frozen=True, eq=False)
class Fold:
    """Photos that are answered by what learns from others.

    Attributes:
        number: of the fold.
        title: e.g. "fold 1 of 5".
        train: (m,) positions of the photos that are learned from.
        held_out: (k,) positions of those that are answered.
    """

    number: int
    title: str
    train: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True, eq=False)
class Ahead:
    """What workers answered before the folds are gone through.

    Attributes:
        answers: by the number of the fold.
        needed: seconds that each of the others would still have taken when time was over; None where it was not begun.
    """

    answers: dict[int, HeldOutLogits] = field(default_factory=dict)
    needed: list[float | None] = field(default_factory=list)


def folds_of(dataset: Dataset, folds: np.ndarray, *, size: int | None = None, seed: int = 0) -> list[Fold]:
    """Return all folds (n,) of n photos, see `cross_validate`."""
    numbers = [int(fold) for fold in np.unique(folds)]
    of_each = f", {size} of each class" if size else ""
    found = []
    for fold in numbers:
        train = some_of_each(dataset, np.flatnonzero(folds != fold), size=size, seed=seed)
        title = f"fold {fold + 1} of {len(numbers)}{of_each}"
        found.append(Fold(fold, title, train, np.flatnonzero(folds == fold)))
    return found


def cross_validate(
    trainer: HeldOutTrainer,
    dataset: Dataset,
    folds: np.ndarray,
    *,
    clock: Clock,
    size: int | None = None,
    seed: int = 0,
    partial: bool = False,
    observer: Observer | None = None,
    ahead: Ahead | None = None,
) -> CrossValidation:
    """Have each fold (n,) answered by what `trainer` learned from the others.

    Args:
        trainer: what is evaluated.
        dataset: n photos.
        folds: (n,) fold numbers.
        clock: for all folds.
        size: photos of each class that are learned from; None for all. A larger size holds every smaller one's photos.
        seed: of the choice of these.
        partial: True stops after fewer folds when the time is over; False raises.
        observer: hears of the folds as one series.
        ahead: what workers answered, if they did: nothing more is trained.

    Raises:
        OverBudgetError: the time does not suffice; known by forecast, before it is over.
    """
    parts = folds_of(dataset, folds, size=size, seed=seed)
    if ahead is None:
        task = f"training {trainer.candidate}, {len(parts)} folds{f', {size} of each class' if size else ''}"
        with series(observer or Observer(), task, len(parts)) as reach:
            done = _one_after_the_other(trainer, parts, clock, partial=partial, reach=reach)
    else:
        done = dict(sorted(ahead.answers.items()))  # sums are of the order of folds
        if len(done) < len(parts) and not (partial and done):
            needed = [seconds for seconds in ahead.needed if seconds is not None]
            raise OverBudgetError(*([max(needed)] if needed else []))
    probabilities, temperature = _calibrated(done, dataset.labels, folds, len(dataset.classes))
    return CrossValidation(
        probabilities=probabilities,
        temperature=temperature,
        answered=np.isfinite(probabilities).all(axis=1),
        folds=len(done),
        seconds=math.fsum(answers.seconds for answers in done.values()),
        images=sum(answers.images for answers in done.values()),
    )


def _one_after_the_other(
    trainer: HeldOutTrainer, parts: Sequence[Fold], clock: Clock, *, partial: bool, reach: Callable[[int], None]
) -> dict[int, HeldOutLogits]:
    """Return the answers of each fold, of fewer where the time is over and `partial`."""
    done: dict[int, HeldOutLogits] = {}
    longest = 0.0
    for fold in parts:
        started = time.monotonic()
        if partial and done and clock.left() < longest:
            break
        left = 1 if partial else len(parts) - len(done)
        if not (partial or clock.may_begin(f"{trainer.candidate}, {fold.title}")):
            spent = math.fsum(answers.seconds for answers in done.values())
            raise OverBudgetError(*([spent / len(done) * left] if done else []))
        try:
            pace = forecast(clock, left)
            answers = trainer.predict_held_out(fold.train, fold.held_out, name=fold.title, pace=pace)
        except OverBudgetError:
            if not (partial and done):
                raise
            break
        elapsed = time.monotonic() - started
        clock.replay(max(answers.seconds - elapsed, 0.0))
        longest = max(longest, elapsed, answers.seconds)
        done[fold.number] = answers
        reach(len(done))
    return done


def some_of_each(dataset: Dataset, photos: np.ndarray, *, size: int | None, seed: int) -> np.ndarray:
    """Return at most `size` positions of each class out of `photos` (m,), in order; all of them for None."""
    if size is None:
        return photos
    order = np.random.default_rng(seed).permutation(len(dataset))
    rank = np.argsort(order)  # of each photo of the data set: the same for every fold and size
    chosen = [
        sorted(photos[dataset.labels[photos] == label], key=lambda photo: rank[photo])[:size]
        for label in range(len(dataset.classes))
    ]
    return np.sort(np.concatenate([np.array(part, dtype=np.int64) for part in chosen]))


def _calibrated(
    done: dict[int, HeldOutLogits], labels: np.ndarray, folds: np.ndarray, classes: int
) -> tuple[np.ndarray, float | None]:
    """Return (n, c) probabilities, NaN where no fold was done, and the temperature of all logits without their own."""
    probabilities = np.full((len(folds), classes), np.nan)
    unset = [fold for fold, answers in done.items() if answers.temperature is None]
    for fold, answers in done.items():
        temperature = answers.temperature
        if temperature is None:
            others = [other for other in unset if other != fold] or [other for other in done if other != fold]
            temperature = _temperature({other: done[other] for other in others}, labels, folds)
        probabilities[folds == fold] = softmax(answers.logits.astype(np.float64) / temperature, axis=1)
    return probabilities, _temperature({fold: done[fold] for fold in unset}, labels, folds) if unset else None


def _temperature(done: dict[int, HeldOutLogits], labels: np.ndarray, folds: np.ndarray) -> float:
    """Return the temperature of logits by fold, 1 where there are none to set it by."""
    if not done:
        return 1.0
    known = np.concatenate([labels[folds == fold] for fold in done])
    return fit_temperature(np.concatenate([answers.logits for answers in done.values()]), known)
