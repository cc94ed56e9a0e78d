"""How long work tells what it is doing. The library says it; whoever called decides what is shown."""

from typing import Any


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
        """Hear a `learn.finetune.Record` of the training of that name."""
