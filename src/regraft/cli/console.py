"""What the terminal shows: findings and progress on stderr, results on stdout."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from regraft.learn.observer import Observer

_SECONDS_BETWEEN_LINES = 10.0  # where stderr is no terminal


def counted(count: int, noun: str) -> str:
    """Return `1 photo`, `1,000 photos`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class TerminalObserver(Observer):
    """Shows findings as lines and progress as a bar; where stderr is a file, a line every ten seconds."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._name, self._total, self._done = "", 0, 0
        self._started = self._last_line = 0.0

    def say(self, text: str) -> None:
        """Print one finding."""
        note(text)

    def begin(self, task: str, total: int) -> None:
        """Start the bar."""
        self._name, self._total, self._done = task, total, 0
        self._started = self._last_line = time.monotonic()
        if sys.stderr.isatty():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task(task, total=total, rate=0.0)

    def advance(self, count: int) -> None:
        """Move the bar."""
        self._done += count
        now = time.monotonic()
        rate = self._done / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=rate)
        elif now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (self._total - self._done) / rate if rate else 0.0
            note(f"{self._name}: {self._done:,} of {self._total:,}, {rate:.1f} images/s, {left:.0f} s left")

    def end(self) -> None:
        """Remove the bar and say how it went."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        seconds = max(time.monotonic() - self._started, 1e-9)
        note(f"{self._name}: {counted(self._done, 'image')} in {seconds:.1f} s ({self._done / seconds:.1f} images/s)")

    def record(self, training: str, record: Any) -> None:
        """Print the end of an epoch; not of trainings that only judge, which follow one another."""
        if not record.photos and ", fold " not in training:
            held_out = "" if record.tuning_loss is None else f", {record.tuning_loss:.4f} on the photos held out"
            self.say(f"  epoch {record.epoch}: loss {record.loss:.4f}{held_out}")

    def finish(self, numbers: Mapping[str, Any]) -> None:
        """Hear the final figures, which the command prints itself."""


def note(text: str) -> None:
    """Print to stderr, where nothing that a program reads is printed."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def result(text: str) -> None:
    """Print to stdout."""
    print(text, flush=True)  # noqa: T201


def result_json(numbers: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    result(json.dumps(numbers, ensure_ascii=False, allow_nan=False))


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
