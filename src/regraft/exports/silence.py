"""Libraries that talk to their own authors: exporters and quantisers."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from regraft.errors import printable


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Keep warnings, what is printed, and what these loggers say from the user."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def reason_of(error: Exception) -> str:
    """Return the first line of what such a library says went wrong, without the stop at its end."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0]).rstrip(".")
