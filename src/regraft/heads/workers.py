"""Threads that share the products of many regressions: one product on one thread, several products at a time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from regraft.runtime import cpu_count

Item = TypeVar("Item")
Found = TypeVar("Found")

_WORTH_THREADS = 150_000  # numbers of all photos together: of fewer, handing work to threads takes longer than the work


class Workers:
    """As many threads as there are processors, none where there is little to do.

    Args:
        size: of the features, n * d.
    """

    def __init__(self, size: int) -> None:
        self._pool = ThreadPoolExecutor(cpu_count()) if size >= _WORTH_THREADS else None

    def map(self, work: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
        """Map `work` over the items in order, one item per processor at a time where there is much to do."""
        items = list(items)
        return map(work, items) if self._pool is None or len(items) < 2 else self._pool.map(work, items)


_blas = ThreadpoolController().select(user_api="blas")  # found once, and not while threads run: see `images.loading`


def one_thread_each() -> AbstractContextManager[object]:
    """Keep the products of each worker on one thread: several threads on one small product mostly wait."""
    return _blas.limit(limits=1)  # type: ignore[no-any-return]


def limit_threads(count: int) -> None:
    """Have each product of this process run on so many threads from now on."""
    _blas.limit(limits=count)
