"""The files that images lie in, and how many threads read them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from regraft.storage.locations import Location, RemotePath

READERS_OF_STORES = 16  # threads: an answer of a store takes some hundredths of a second, in which nothing is computed


def file_of(source: Any) -> Location | None:
    """Return the file that an image is, or lies in, here or in a store; None for one in memory."""
    file = getattr(source, "file", source)
    return file if isinstance(file, Path | RemotePath) else None


def reader_threads(sources: Iterable[Any], local: int) -> int:
    """Return how many threads read photos: `local`, or more where any lies in a store.

    Args:
        sources: the photos.
        local: threads for files of this machine.
    """
    remote = any(isinstance(file_of(source), RemotePath) for source in sources)
    return max(local, READERS_OF_STORES) if remote else local
