"""A limit on the memory in which all threads together decode photos."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Lets threads decode in parallel as long as the memory that they need fits into a budget.

    A request for more than the budget is granted when nothing else is held, so that every wait ends.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, wanted: int) -> Iterator[None]:
        """Wait until `wanted` bytes are free, and hold them while the block runs. Never called inside itself."""
        wanted = min(wanted, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + wanted <= self._size)
            self._taken += wanted
        try:
            yield
        finally:
            with self._changed:
                self._taken -= wanted
                self._changed.notify_all()
