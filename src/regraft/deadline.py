"""Work on foreign input that must come to an end: whatever Python does in this thread is ended after some seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deadline(seconds: float, error: Exception) -> Iterator[None]:
    """Raise `error` in the block when it runs longer than `seconds`, at the next line of Python that is run in it.

    What a library does by itself, in one call, is not ended. Every line takes several times as long as without this: it
    is for what takes few lines where nothing is wrong. A debugger or a measurement of coverage does not see the block.

    Args:
        seconds: from now on.
        error: what is raised.
    """
    ends, before = time.monotonic() + seconds, sys.gettrace()

    def look(*_: object) -> Any:  # called by Python at every line of this thread
        if time.monotonic() > ends:
            raise error
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
