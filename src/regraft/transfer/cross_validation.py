"""Methods judged by the same folds, within a time: what each answers for photos that it did not learn from."""

import math
import time
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from regraft.evaluation.calibration import fit_temperature
from regraft.heads.probe import Labelled
from regraft.training.checkpoints import Run
from regraft.transfer.strategies import Answering, Answers, OverBudgetError, Pace

_SECONDS_BEFORE_FORECAST = 5.0  # of a training
_SECONDS_PER_NOTE = 5.0  # what a kept clock loses at most when it is killed


class Clock:
    """How much time is left."""

    def __init__(self, seconds: float, whole: "Clock | None" = None) -> None:
        self._end = time.monotonic() + seconds
        self._whole = whole

    def left(self) -> float:
        """Return the seconds that are left; below 0 when it is over."""
        return self._end - time.monotonic()

    def share(self, parts: int) -> "Clock":
        """Return a clock for one of `parts` equal parts of what is left."""
        return Clock(max(self.left(), 0.0) / max(parts, 1), self)

    def lets_begin(self, work: str) -> bool:  # noqa: ARG002 (a kept clock knows its name)
        """Return whether there is time left, so that `work` may begin."""
        return self.left() > 0

    def replay(self, seconds: float) -> None:
        """Take off what an earlier process has spent on work that now came back at once."""
        self._end -= seconds
        if self._whole is not None:
            self._whole.replay(seconds)

    def note(self) -> None:
        """Hear that time goes on."""


class KeptClock(Clock):
    """A clock whose seconds, and what it has let begin, are kept in a run: one that was killed goes on with the rest.

    Args:
        seconds: for all processes together.
        run: where they are kept.
        job: under which name.
    """

    def __init__(self, seconds: float, run: Run, job: object) -> None:
        saved = run.load(job)
        spent: float = saved.about["seconds"] if saved else 0.0
        super().__init__(seconds - spent)
        self._run, self._job = run, job
        self._begun: list[str] = saved.about["begun"] if saved else []
        self._started = time.monotonic() - spent
        self._noted = time.monotonic()

    def lets_begin(self, work: str) -> bool:
        """Return whether there is time left for `work`, or was when it first began: a verdict stands."""
        if work in self._begun:
            return True
        if not super().lets_begin(work):
            return False
        self._begun.append(work)
        self._keep()
        return True

    def replay(self, seconds: float) -> None:
        """Do nothing: the seconds of earlier processes are taken off already."""

    def note(self) -> None:
        """Keep the seconds every now and then."""
        if time.monotonic() - self._noted > _SECONDS_PER_NOTE:
            self._keep()

    def _keep(self) -> None:
        self._noted = time.monotonic()
        self._run.save(self._job, {}, {"seconds": self._noted - self._started, "begun": self._begun})


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one method answers, fold by fold.

    Attributes:
        name: of the method.
        probabilities: (n, c); NaN where its fold was not reached in time. A fold's temperature, where its training set
            none, is that of the other folds' logits.
        temperature: of all logits together, for the classifier that learns from all photos; None if each training set
            its own.
        judged: (n,) booleans: which photos it was judged by.
        folds: how many were done.
        seconds: of training, over these folds.
        images: that went through training, over these folds.
    """

    name: str
    probabilities: np.ndarray
    temperature: float | None
    judged: np.ndarray
    folds: int
    seconds: float
    images: int

    @property
    def calibrated(self) -> bool:
        """Tell whether a temperature could be set: one fold alone, that brings none, has no others to set it by."""
        return self.folds > 1 or self.temperature is None


def cross_validate(
    method: Answering,
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
    done: dict[int, Answers] = {}
    longest = 0.0
    for fold in numbers:
        started = time.monotonic()
        if partial and done and clock.left() < longest:
            break
        judge = np.flatnonzero(folds == fold)
        learn = some_of_each(data, np.flatnonzero(folds != fold), size=size, seed=seed)
        left = 1 if partial else len(numbers) - len(done)
        title = f"fold {fold + 1} of {len(numbers)}" + (f", {size} of each class" if size else "")
        if not (partial or clock.lets_begin(f"{method.candidate}, {title}")):
            spent = math.fsum(answers.seconds for answers in done.values())
            raise OverBudgetError(*([spent / len(done) * len(numbers)] if done else []))
        try:
            answers = method.answer(learn, judge, name=title, pace=_forecast(clock, left))
        except OverBudgetError:
            if not (partial and done):
                raise
            break
        elapsed = time.monotonic() - started
        clock.replay(max(answers.seconds - elapsed, 0.0))
        longest = max(longest, elapsed, answers.seconds)
        done[fold] = answers
    probabilities, temperature = _calibrated(done, data.labels, folds, len(data.classes))
    return Outcome(
        name=str(method.candidate),
        probabilities=probabilities,
        temperature=temperature,
        judged=np.isfinite(probabilities).all(axis=1),
        folds=len(done),
        seconds=math.fsum(answers.seconds for answers in done.values()),
        images=sum(answers.images for answers in done.values()),
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


def _calibrated(
    done: dict[int, Answers], labels: np.ndarray, folds: np.ndarray, classes: int
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


def _temperature(done: dict[int, Answers], labels: np.ndarray, folds: np.ndarray) -> float:
    """Return the temperature of logits by fold, 1 where there are none to set it by."""
    if not done:
        return 1.0
    known = np.concatenate([labels[folds == fold] for fold in done])
    return fit_temperature(np.concatenate([answers.logits for answers in done.values()]), known)


def _forecast(clock: Clock, trainings: int) -> Pace:
    """Return what raises as soon as `trainings` like the one it hears of would not end in time.

    The time until it first hears of it is left out: the first step of all is slow. What is done once for all trainings
    has a pace of its own.
    """
    first: dict[bool, tuple[float, float]] = {}

    def pace(share: float, *, once: bool = False) -> None:
        now = time.monotonic()
        began, before = first.setdefault(once, (now, share))
        clock.note()
        spent, done = now - began, share - before
        if done > 0 and spent > _SECONDS_BEFORE_FORECAST:
            needed = spent / done * ((1 if once else trainings) - share)
            if needed > clock.left():
                raise OverBudgetError(needed + spent)

    return pace
