"""Work on foreign input that must come to an end: whatever Python does in this thread is ended after some seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def deadline(seconds: float, error: Exception, *, within: tuple[str, ...]) -> Iterator[None]:
    """Raise `error` in the block when it runs longer than `seconds`, at the next line that is run of some modules.

    Only of these: an error in the midst of a context manager's own lines would leave behind what it was to take back.
    What a library does by itself, in one call, is not ended. Every such line takes several times as long as without
    this: it is for what takes few lines where nothing is wrong. A debugger or a measurement of coverage does not see
    the block.

    Args:
        seconds: from now on.
        error: what is raised.
        within: names of modules and packages.
    """
    ends, before = time.monotonic() + seconds, sys.gettrace()

    def look(frame: FrameType, event: str, _: object) -> Any:  # called by Python for every call in this thread
        if event == "call":
            name = str(frame.f_globals.get("__name__", ""))
            return look if name.startswith(within) else None
        if event == "line" and time.monotonic() > ends:
            raise error
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
