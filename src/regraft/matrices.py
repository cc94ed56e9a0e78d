"""Feature matrices: in memory, or, of many photos, in a file that is mapped into it.

What is read of a mapped file may be dropped from memory at any time, and is read again when it is asked for.
"""

import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

IN_MEMORY = 2**27  # bytes: of larger matrices most lies on the disk
_RESIDENT = 2**26  # bytes
_ROWS = 4096  # that are moved together


def zeros(rows: int, columns: int, folder: Path) -> np.ndarray:
    """Return (rows, columns) float32 zeros, in a file without a name where they are many.

    Args:
        rows: n.
        columns: d.
        folder: where the file lies. Where there is no room for it, or no such files, they are in memory.
    """
    found = mapped_zeros(rows, columns, folder) if rows * columns * 4 > IN_MEMORY else None
    return np.zeros((rows, columns), dtype=np.float32) if found is None else found


def mapped_zeros(rows: int, columns: int, folder: Path, *, spare: int = 0) -> np.ndarray | None:
    """Return (rows, columns) float32 zeros in a file without a name; None where there is no room. See `zeros`.

    Args:
        rows: n.
        columns: d.
        folder: where the file lies.
        spare: bytes of the disk that are to stay free.
    """
    if not hasattr(os, "posix_fallocate"):
        return None
    size = rows * columns * 4
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < size + spare:
            return None
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would end the process later
            mapped = mmap.mmap(file.fileno(), size)
    except OSError:
        return None
    return np.frombuffer(mapped, dtype=np.float32).reshape(rows, columns)


def release(matrix: np.ndarray) -> None:
    """Drop what is in memory of a mapped matrix, or of a part of one; others stay as they are."""
    mapped = _mapped(matrix)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


class Residency:
    """Drops a mapped matrix from memory whenever 64 MB of it were read or written.

    Args:
        matrix: or a part of one; nothing is done to those that are not mapped.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix, self._bytes = matrix, 0

    def add(self, count: int) -> None:
        """Say that so many bytes were read or written; by several threads at once, about so many."""
        self._bytes += count
        if self._bytes > _RESIDENT:
            self._bytes = 0
            release(self._matrix)


def copy_rows(matrix: np.ndarray, rows: np.ndarray, folder: Path) -> np.ndarray:
    """Return a copy of the rows at positions (m,) of a matrix, in a file where they are many. See `zeros`."""
    found = zeros(len(rows), matrix.shape[1], folder)
    for first in range(0, len(rows), _ROWS):
        found[first : first + _ROWS] = matrix[rows[first : first + _ROWS]]
        release(matrix)
        release(found)
    return found


def keep_rows(matrix: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the rows `kept` (m,), ascending, of a matrix, whose memory they take; it is overwritten."""
    for first in range(0, len(kept), _ROWS):
        part = kept[first : first + _ROWS]
        matrix[first : first + len(part)] = matrix[part]  # a copy first; no row lies before where it goes
    return matrix[: len(kept)]


def _mapped(matrix: np.ndarray) -> mmap.mmap | None:
    """Return the file in memory that a matrix is a view of, if there is one."""
    of: object = matrix
    while isinstance(of, np.ndarray):
        of = of.base
    if isinstance(of, memoryview):
        of = of.obj
    return of if isinstance(of, mmap.mmap) else None
