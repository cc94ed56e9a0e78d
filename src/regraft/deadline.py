"""A time limit for work on untrusted input: Python code in this thread is interrupted after some seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def deadline(seconds: float, error: Exception, *, within: tuple[str, ...]) -> Iterator[None]:
    """Raise `error` in the block once it has run longer than `seconds`, at the next line of certain modules.

    Only of these: an error amid the lines of a context manager would keep it from undoing its work. A single call into
    compiled code is not interrupted. Each line of these modules takes several times as long: this is for code that runs
    few lines unless something is wrong. A debugger or a coverage tool does not see the block.

    Counted is the time that a processor works on this thread: what other programs take on a busy machine is not its
    fault.

    Args:
        seconds: of work, from now on.
        error: what is raised.
        within: names of modules and packages.
    """
    ends, before = time.thread_time() + seconds, sys.gettrace()

    def look(frame: FrameType, event: str, _: object) -> Any:  # called by Python for every call in this thread
        if event == "call":
            name = str(frame.f_globals.get("__name__", ""))
            return look if name.startswith(within) else None
        if event == "line" and time.thread_time() > ends:
            raise error
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
