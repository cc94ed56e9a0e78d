"""How long work tells what it is doing. The library says it; whoever called decides what is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from regraft.watchdog import watched


class Observer:
    """Does nothing with what it hears. Derive from it to show progress."""

    def say(self, text: str) -> None:
        """Hear one finding or plan, in words."""

    def begin(self, task: str, total: int) -> None:
        """Hear that `total` images are about to be worked on."""

    def advance(self, count: int) -> None:
        """Hear that `count` more of them are done."""

    def end(self) -> None:
        """Hear that the task is over, finished or not."""

    def record(self, training: str, record: Any) -> None:
        """Hear a `training.finetuner.TrainingRecord` of the training of that name."""


@contextmanager
def progress(
    observer: Observer, task: str, total: int, *, patience: float | None = None
) -> Iterator[Callable[[int], None]]:
    """Tell `observer` of a pass over `total` images, and watch over it: what stops for long says so.

    Args:
        observer: hears it.
        task: what the pass is called.
        total: how many images it is over.
        patience: seconds that one step may take; `watchdog.PATIENCE` unless it is given.

    Yields:
        What is to be called with the number of images done since the last call.
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
