"""Work that makes no progress says so, with what each thread is doing, instead of waiting in silence."""

import contextlib
import faulthandler
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 120.0  # seconds without progress until it is said
_BETWEEN = 1.0  # seconds: the timer is not set anew more often than this
_DELAY = 1.0  # seconds by which the threads' stacks follow the sentence


class _Pass:
    """One piece of work under way.

    Attributes:
        task: what it is, in words.
        say: hears that nothing has come of it.
        seen: when it last made progress, in seconds of the monotonic clock.
        told: whether it was said since.
    """

    def __init__(self, task: str, say: Callable[[str], None]) -> None:
        self.task, self.say = task, say
        self.seen, self.told = time.monotonic(), False


_passes: list[_Pass] = []  # under way in this process; faulthandler has one timer for all
_changing = threading.Lock()
_armed = 0.0


@contextmanager
def watched(task: str, say: Callable[[str], None], *, patience: float | None = None) -> Iterator[Callable[[], None]]:
    """Watch over the work in the block, and give what is to be called whenever a part of it is done.

    After `patience` seconds without such a call `say` hears it, and then the stack of every thread is written to the
    standard error, by faulthandler: also where a thread waits inside a library and holds the interpreter's lock, so
    that no line of Python runs any more. The work goes on, if it can. faulthandler's timer (`dump_traceback_later`) is
    taken for this while the block runs.

    Args:
        task: for the message, e.g. "features".
        say: hears one sentence.
        patience: in seconds; `PATIENCE` unless it is given.
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
        if work.told:
            work.told = False
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
        if time.monotonic() - work.seen >= patience and not work.told:
            work.told = True
            work.say(
                f"{work.task}: nothing has been done for {patience:,.0f} seconds. It is still waited for; Ctrl-C stops "
                "it, and what was computed is kept. What each thread is doing:"
            )


def _arm(patience: float) -> None:
    """Set the timer anew. It runs outside of Python."""
    global _armed  # noqa: PLW0603 - faulthandler's timer is one for the process
    _armed = time.monotonic()
    stream = _errors()
    if stream is not None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # a standard error that was closed meanwhile
            faulthandler.dump_traceback_later(patience + min(_DELAY, patience), file=stream)


def _errors() -> int | None:
    """Return the descriptor of the standard error, None where there is none (notebooks, closed streams)."""
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError, io.UnsupportedOperation):
            return stream.fileno()  # type: ignore[union-attr]
    return None
