"""Work that stalls is reported, with the stack of each thread, instead of waiting in silence."""

import contextlib
import faulthandler
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 120.0  # seconds without progress until it is reported
_BETWEEN = 1.0  # seconds: the timer is not reset more often than this
_DELAY = 1.0  # seconds from the report to the threads' stacks


class _Pass:
    """A piece of work in progress.

    Attributes:
        task: its name.
        say: receives the report that it has stalled.
        seen: when it last made progress, in seconds of the monotonic clock.
        reported: whether it was reported since.
    """

    def __init__(self, task: str, say: Callable[[str], None]) -> None:
        self.task, self.say = task, say
        self.seen, self.reported = time.monotonic(), False


_passes: list[_Pass] = []  # in progress in this process; faulthandler has one timer for all
_changing = threading.Lock()
_armed = 0.0


@contextmanager
def watched(task: str, say: Callable[[str], None], *, patience: float | None = None) -> Iterator[Callable[[], None]]:
    """Watch over the work in the block; yield a function to call whenever a part of it is done.

    After `patience` seconds without such a call this is reported to `say`, and then faulthandler writes the stack of
    every thread to the standard error: also where a thread waits inside a library and holds the interpreter's lock, so
    that no Python code runs any more. The work continues if it can. faulthandler's timer (`dump_traceback_later`) is in
    use while the block runs.

    Args:
        task: for the message, e.g. "features".
        say: receives one sentence.
        patience: in seconds; `PATIENCE` by default.
    """
    patience = PATIENCE if patience is None else patience
    work, done = _Pass(task, say), threading.Event()
    watcher = threading.Thread(target=_watch, args=(work, done, patience), name="watchdog", daemon=True)
    with _changing:
        _passes.append(work)
    _arm(patience)
    watcher.start()

    def alive() -> None:
        now = time.monotonic()
        work.seen = now
        if work.reported:
            work.reported = False
            say(f"{task}: going on")
        if now - _armed > min(_BETWEEN, patience / 10):
            _arm(patience)

    try:
        yield alive
    finally:
        done.set()
        with _changing:
            _passes.remove(work)
            if not _passes:
                faulthandler.cancel_dump_traceback_later()
        watcher.join(timeout=_DELAY)


def _watch(work: _Pass, done: threading.Event, patience: float) -> None:
    while not done.wait(max(patience - (time.monotonic() - work.seen), patience / 20)):
        if time.monotonic() - work.seen >= patience and not work.reported:
            work.reported = True
            work.say(
                f"{work.task}: nothing has been done for {patience:,.0f} seconds. The work goes on if it can; Ctrl-C "
                "stops it, and what was computed is kept. What each thread is doing:"
            )


def _arm(patience: float) -> None:
    """Reset the timer, which runs outside Python."""
    global _armed  # noqa: PLW0603 - faulthandler's timer is one for the process
    _armed = time.monotonic()
    stream = _errors()
    if stream is not None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # the standard error was closed meanwhile
            faulthandler.dump_traceback_later(patience + min(_DELAY, patience), file=stream)


def _errors() -> int | None:
    """Return the file descriptor of the standard error, None where there is none (notebooks, closed streams)."""
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError, io.UnsupportedOperation):
            return stream.fileno()  # type: ignore[union-attr]
    return None
