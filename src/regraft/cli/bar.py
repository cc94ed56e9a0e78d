"""One pass on the terminal: a bar that reaches its end; where stderr is a file, a line every ten seconds."""

import time
from collections.abc import Callable
from typing import Any

from regraft.errors import printable

_SECONDS_BETWEEN_LINES = 10.0  # where stderr is no terminal


class Bar:
    """A pass over images: how many are done, of how many.

    Attributes:
        name: of the pass.
        total: images in all, as far as it is known.
        done: images so far.
        completed: whether it came to its end.

    Args:
        name: of the pass.
        total: images in all.
        terminal: whether to draw; else lines are said.
        say: prints a line.
    """

    def __init__(self, name: str, total: int, *, terminal: bool, say: Callable[[str], None]) -> None:
        self.name, self.total, self.done, self.completed = printable(name), total, 0, False
        self._say = say
        self._started = self._last_line = time.monotonic()
        self._drawn: Any = None
        if terminal:
            self._drawn = _drawing()
            self._drawn.start()
            self._task = self._drawn.add_task(self.name, total=total, rate="")

    @property
    def seconds(self) -> float:
        """Return how long the pass has taken."""
        return max(time.monotonic() - self._started, 1e-9)

    def advance(self, count: int) -> None:
        """Move the bar."""
        self.done += count
        if self._drawn is not None:
            self._drawn.update(self._task, advance=count, rate=rate_in_words(self.done, self.seconds))
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = f"{(self.total - self.done) * self.seconds / self.done:.0f} s left" if self.done else ""
            parts = [f"{self.done:,} of {self.total:,}", rate_in_words(self.done, self.seconds), left]
            self._say(f"{self.name}: {', '.join(filter(None, parts))}")

    def set_to(self, *, total: int | None = None, name: str | None = None) -> None:
        """Change what the pass is over, or what is said of it."""
        self.total = self.total if total is None else total
        self.name = self.name if name is None else printable(name)
        if self._drawn is not None:
            self._drawn.update(self._task, total=self.total, description=self.name)

    def complete(self) -> None:
        """Let it reach its end."""
        self.completed = True
        self.set_to(total=self.done)

    def close(self) -> None:
        """Remove it."""
        if self._drawn is not None:
            self._drawn.stop()


class Series:
    """Passes that follow one another and are shown as one, whose total is forecast from those that were begun.

    Attributes:
        task: as given.
        completed: whether the pass that was begun last came to its end.

    Args:
        task: the name of all together.
        parts: how many passes there are.
    """

    def __init__(self, task: str, parts: int) -> None:
        self.task, self.completed = task, False
        self._parts, self._over = parts, 0
        self._before, self._open, self._largest = 0, 0, 0

    def begin(self, total: int) -> None:
        """Hear of a pass over `total` images."""
        self._open, self._largest, self.completed = total, max(self._largest, total), False

    def end(self, done: int) -> None:
        """Hear that the pass that was begun is over, after `done` images of all passes."""
        self._before, self._open, self._over = done, 0, self._over + 1

    @property
    def is_open(self) -> bool:
        """Whether a pass was begun and is not over."""
        return self._open > 0

    def reach(self, over: int) -> None:
        """Hear how many passes are over, also those that did not need to be begun."""
        self._over = over

    @property
    def total(self) -> int:
        """Return how many images all passes are over: those to come are as the largest so far."""
        return self._before + self._open + max(self._parts - self._over - self.is_open, 0) * self._largest


def rate_in_words(images: int, seconds: float) -> str:
    """Return "3.2 images/s"; "" where there is no rate to speak of.

    >>> rate_in_words(1000, 2.0), rate_in_words(1, 40.0), rate_in_words(0, 1.0)
    ('500 images/s', '0.025 images/s', '')
    """
    if not images:
        return ""
    rate = images / seconds
    return f"{rate:,.0f} images/s" if rate >= 100 else f"{rate:.2g} images/s"


def _drawing() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),  # a name may hold [brackets]
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
