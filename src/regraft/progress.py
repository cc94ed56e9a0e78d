"""Progress: work reports it to an observer, and whoever called decides what is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from regraft.watchdog import watched


class TrainingRecord(Protocol):
    """What is reported of an update or an epoch: a `training.finetuner.Record`, whose attributes are explained there."""

    @property
    def epoch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def rate(self) -> float: ...
    @property
    def photos(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def tuning_loss(self) -> float | None: ...
    @property
    def tuning_accuracy(self) -> float | None: ...


class Observer:
    """Ignores everything. Derive from it to show progress."""

    def say(self, text: str) -> None:
        """Receive a finding or a plan, in words."""

    def begin(self, task: str, total: int) -> None:
        """Receive the start of a pass over `total` images."""

    def advance(self, count: int) -> None:
        """Receive that `count` more of them are done."""

    def end(self) -> None:
        """Receive the end of the pass, completed or not."""

    def record(self, training: str, record: TrainingRecord) -> None:
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
    finally:
        observer.end()
