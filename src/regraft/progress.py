"""Progress: work reports it to an observer, and whoever called decides what is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from regraft.watchdog import watched


class ProgressRecord(Protocol):
    """What an update or an epoch came to: the part of `training.finetuner.TrainingRecord` that observers show."""

    @property
    def epoch(self) -> int:
        """Return its number, from 1 on."""

    @property
    def step(self) -> int:
        """Return the number of updates so far."""

    @property
    def photos(self) -> int:
        """Return how many photos the update used; 0 at the end of an epoch."""

    @property
    def loss(self) -> float:
        """Return the mean training loss in nats."""

    @property
    def rate(self) -> float:
        """Return the head's learning rate."""

    @property
    def tuning_loss(self) -> float | None:
        """Return the calibrated log loss on the photos held out for stopping, None where there is none."""


class Detail(str):
    """A finding for those who want to know how things are done; others need not be shown it."""

    __slots__ = ()


class Observer:
    """Ignores everything. Derive from it to show progress."""

    def say(self, text: str) -> None:
        """Receive a finding or a plan, in words; a `Detail` where only some want to know it."""

    def begin(self, task: str, total: int) -> None:
        """Receive the start of a pass over `total` images."""

    def advance(self, count: int) -> None:
        """Receive that `count` more of them are done."""

    def complete(self) -> None:
        """Receive that what is left of the pass, or of the series, need not be done."""

    def end(self) -> None:
        """Receive the end of the pass, completed or not."""

    def begin_series(self, task: str, parts: int) -> None:
        """Receive that up to `parts` passes follow one another that belong together."""

    def begin_part(self, task: str, total: int) -> None:
        """Receive the start of a pass that belongs to a series, if one was begun."""
        self.begin(task, total)

    def end_part(self) -> None:
        """Receive the end of that pass, completed or not."""
        self.end()

    def reach_part(self, over: int) -> None:
        """Receive how many passes of the series are over, also those that did not need to be begun."""

    def end_series(self) -> None:
        """Receive the end of the series, completed or not."""

    def record(self, training: str, record: ProgressRecord) -> None:
        """Receive what an update or an epoch of the training of that name came to."""


@contextmanager
def progress(
    observer: Observer, task: str, total: int, *, patience: float | None = None
) -> Iterator[Callable[[int], None]]:
    """Report a pass over `total` images to `observer`, and that it has stalled if it does.

    Args:
        observer: receives it.
        task: the name of the pass.
        total: how many images it is over.
        patience: seconds that one step may take; `watchdog.PATIENCE` by default.

    Yields:
        A function to call with the number of images done since the last call.
    """
    observer.begin(task, total)
    try:
        with watched(task, observer.say, patience=patience) as alive:

            def advance(count: int) -> None:
                alive()
                observer.advance(count)

            yield advance
        observer.complete()
    finally:
        observer.end()


@contextmanager
def series(observer: Observer, task: str, parts: int) -> Iterator[Callable[[int], None]]:
    """Report up to `parts` passes that belong together to `observer`, as trainings on folds.

    Args:
        observer: receives it.
        task: the name of all together.
        parts: how many there are.

    Yields:
        A function to call with the number of passes that are over, after each.
    """
    observer.begin_series(task, parts)
    try:
        yield observer.reach_part
        observer.complete()
    finally:
        observer.end_series()
