"""Time for trying things: how much is left, and whether what has begun would end within it."""

import time
from typing import Protocol

from regraft.training.checkpoints import Run

_SECONDS_BEFORE_FORECAST = 5.0  # of a training
_SECONDS_PER_NOTE = 5.0  # what a persistent clock loses at most when it is killed


class OverBudgetError(Exception):
    """Training would not end within the time that there is; holds the seconds that it still needs, where known."""


class Pace(Protocol):
    """Hears how far the work is, and may raise `OverBudgetError`."""

    def __call__(self, share: float, *, once: bool = False) -> None:
        """Hear the share that is done of one training; with `once`, of what is done once for all trainings."""


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

    def may_begin(self, work: str) -> bool:  # noqa: ARG002 (a persistent clock knows its name)
        """Return whether there is time left, so that `work` may begin."""
        return self.left() > 0

    def replay(self, seconds: float) -> None:
        """Subtract what an earlier process spent on work whose result was on disk."""
        self._end -= seconds
        if self._whole is not None:
            self._whole.replay(seconds)

    def tick(self) -> None:
        """Do nothing: this clock is not on disk."""


class PersistentClock(Clock):
    """A clock whose seconds, and what was begun, are kept in a run: one that was killed goes on with the rest.

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
        self._marks: dict[str, float] = saved.about["marks"] if saved else {}
        self._started = time.monotonic() - spent
        self._noted = time.monotonic()

    def may_begin(self, work: str) -> bool:
        """Return whether there is time left for `work`, or was when it first began: that decision stands."""
        if work in self._begun:
            return True
        if not super().may_begin(work):
            return False
        self._begun.append(work)
        self._keep()
        return True

    def replay(self, seconds: float) -> None:
        """Do nothing: the seconds of earlier processes are subtracted already."""

    def tick(self) -> None:
        """Write the seconds every now and then."""
        if time.monotonic() - self._noted > _SECONDS_PER_NOTE:
            self._keep()

    def mark(self, moment: str) -> float:
        """Return how many seconds had passed when `moment` was marked first, in this process or an earlier one."""
        if moment not in self._marks:
            self._marks[moment] = time.monotonic() - self._started
            self._keep()
        return self._marks[moment]

    def _keep(self) -> None:
        self._noted = time.monotonic()
        about = {"seconds": self._noted - self._started, "begun": self._begun, "marks": self._marks}
        self._run.save(self._job, {}, about)


def forecast(clock: Clock, trainings: int) -> Pace:
    """Return what raises `OverBudgetError` as soon as `trainings` like the one it hears of would not end in time.

    The time until its first call is left out: the first step is slow. What is done once for all trainings has a pace
    of its own.
    """
    first: dict[bool, tuple[float, float]] = {}

    def pace(share: float, *, once: bool = False) -> None:
        now = time.monotonic()
        began, before = first.setdefault(once, (now, share))
        clock.tick()
        spent, done = now - began, share - before
        if done > 0 and spent > _SECONDS_BEFORE_FORECAST:
            needed = spent / done * ((1 if once else trainings) - share)
            if needed > clock.left():
                raise OverBudgetError(needed)

    return pace
