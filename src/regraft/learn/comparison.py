"""Methods judged by the same folds, within a time: what each answers for photos that it did not learn from."""

import math
import time
from dataclasses import dataclass

import numpy as np

from regraft.learn.methods import Answers, Method, OverBudgetError, Pace
from regraft.learn.probe import Labelled

_SECONDS_BEFORE_FORECAST = 5.0  # of a training; the first steps are slow


class Clock:
    """How much time is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; below 0 when it is over."""
        return self._end - time.monotonic()

    def share(self, parts: int) -> "Clock":
        """Return a clock for one of `parts` equal parts of what is left."""
        return Clock(max(self.left(), 0.0) / max(parts, 1))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one method answers, fold by fold.

    Attributes:
        name: of the method.
        probabilities: (n, c); NaN where its fold was not reached in time.
        judged: (n,) booleans: which photos it was judged by.
        folds: how many were done.
        seconds: of training, over these folds.
        images: that went through training, over these folds.
    """

    name: str
    probabilities: np.ndarray
    judged: np.ndarray
    folds: int
    seconds: float
    images: int


def cross_validate(
    method: Method,
    data: Labelled,
    folds: np.ndarray,
    *,
    clock: Clock,
    size: int | None = None,
    seed: int = 0,
    partial: bool = False,
) -> Outcome:
    """Let `method` answer for each fold (n,) by what it learned from the others.

    Args:
        method: what is judged.
        data: what it learns from.
        folds: (n,) fold numbers.
        clock: for all folds.
        size: photos of each class that are learned from; None for all. A larger size holds every smaller one's photos.
        seed: of the choice of these.
        partial: True stops after fewer folds when the time is over; False raises.

    Raises:
        OverBudgetError: the time does not suffice; known by forecast, before it is over.
    """
    numbers = [int(fold) for fold in np.unique(folds)]
    probabilities = np.full((len(folds), len(data.classes)), np.nan)
    done: list[Answers] = []
    longest = 0.0
    for fold in numbers:
        started = time.monotonic()
        if partial and done and clock.left() < longest:
            break
        judge = np.flatnonzero(folds == fold)
        learn = some_of_each(data, np.flatnonzero(folds != fold), size=size, seed=seed)
        left = 1 if partial else len(numbers) - len(done)
        title = f"fold {fold + 1} of {len(numbers)}" + (f", {size} of each class" if size else "")
        try:
            answers = method.answer(learn, judge, name=title, pace=_forecast(clock, started, left))
        except OverBudgetError:
            if not (partial and done):
                raise
            break
        probabilities[judge] = answers.probabilities
        longest = max(longest, time.monotonic() - started)
        done.append(answers)
    return Outcome(
        name=str(method.candidate),
        probabilities=probabilities,
        judged=np.isfinite(probabilities).all(axis=1),
        folds=len(done),
        seconds=math.fsum(answers.seconds for answers in done),
        images=sum(answers.images for answers in done),
    )


def some_of_each(data: Labelled, photos: np.ndarray, *, size: int | None, seed: int) -> np.ndarray:
    """Return at most `size` positions of each class out of `photos` (m,), in order; all of them for None."""
    if size is None:
        return photos
    order = np.random.default_rng(seed).permutation(len(data.labels))
    rank = np.argsort(order)  # of each photo of the data set: the same for every fold and size
    chosen = [
        sorted(photos[data.labels[photos] == label], key=lambda photo: rank[photo])[:size]
        for label in range(len(data.classes))
    ]
    return np.sort(np.concatenate([np.array(part, dtype=np.int64) for part in chosen]))


def _forecast(clock: Clock, started: float, trainings: int) -> Pace:
    """Return what raises as soon as `trainings` like the one that began at `started` would not end in time."""

    def pace(share: float) -> None:
        spent = time.monotonic() - started
        needed = spent / max(share, 1e-9) * trainings - spent
        if spent > _SECONDS_BEFORE_FORECAST and needed > clock.left():
            raise OverBudgetError(needed + spent)

    return pace
