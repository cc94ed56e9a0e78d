"""Bytes that may be held, by one request or by all together, whichever threads they come through."""

import threading
from types import TracebackType
from typing import Self


class OverAllowanceError(Exception):
    """More bytes than may be held.

    Attributes:
        of: the allowance that does not suffice.
    """

    def __init__(self, of: "Allowance") -> None:
        super().__init__()
        self.of = of


class Allowance:
    """How many bytes may be held, and are.

    Args:
        most: bytes.
        within: a larger one that each byte counts in as well.
    """

    def __init__(self, most: int, within: "Allowance | None" = None) -> None:
        self.most, self._within = most, within
        self._held, self._closed, self._lock = 0, False, threading.Lock()

    def __enter__(self) -> Self:
        """Return the allowance; nothing is held, or may be, after the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give back all that is held."""
        with self._lock:
            self._closed, held = True, self._held
        self.give_back(held)

    @property
    def held(self) -> int:
        """Return how many bytes are held."""
        return self._held

    def take(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            OverAllowanceError: they are too many, here or in the larger one. Nothing more is held then.
        """
        with self._lock:
            if self._closed or self._held + size > self.most:
                raise OverAllowanceError(self)
            if self._within is not None:
                self._within.take(size)
            self._held += size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less, or none."""
        with self._lock:
            size = min(size, self._held)
            self._held -= size
            if self._within is not None and size:
                self._within.give_back(size)
