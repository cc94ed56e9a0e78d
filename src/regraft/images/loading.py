"""Batches of pixels, decoded ahead by threads."""

import functools
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import ThreadpoolController

from regraft.images.decoding import decode
from regraft.images.preprocess import Preprocess
from regraft.images.reading import UnreadableImageError
from regraft.images.resizing import prepare, resizer_for
from regraft.images.source_files import reader_threads
from regraft.images.sources import Source
from regraft.images.value_range import FLAT
from regraft.runtime import BATCH_SIZE, cpu_count


@dataclass(frozen=True)
class Batch:
    """Some images at the network's input size.

    Attributes:
        positions: (b,) in the list of images.
        pixels: (b, h, w, 3) uint8; of k views of each (b, k, h, w, 3).
        unreadable: reasons by position; these images are in neither array.
        flat: positions of those with next to no contrast.
    """

    positions: np.ndarray
    pixels: np.ndarray
    unreadable: dict[int, str]
    flat: tuple[int, ...] = ()


def load_batches(
    sources: Sequence[Source],
    preprocess: Preprocess,
    *,
    batch_size: int = BATCH_SIZE,
    draw: Callable[[int, Source], np.ndarray] | None = None,
    resizer: str | None = None,
) -> Generator[Batch]:
    """Yield all of `sources` in order, at most `batch_size` at a time.

    Memory is bounded: at most three batches are decoded ahead, however many images there are.

    Args:
        sources: n images.
        preprocess: the network's evaluation transform.
        batch_size: images at a time.
        draw: (position, image) -> (h, w, 3) or (k, h, w, 3) uint8, in place of `decode`; called by several threads.
        resizer: what resizes, see `resizing`; by default what does for so many.
    """
    resizer = resizer_for(len(sources)) if resizer is None else resizer
    prepare(resizer)

    def read(position: int, source: Source) -> np.ndarray | str:
        try:
            if draw is None:
                return decode(source, preprocess, resizer=resizer)
            return draw(position, source)
        except UnreadableImageError as error:
            return str(error)

    with ThreadPoolExecutor(reader_threads(sources, cpu_count()), initializer=_one_thread_each()) as pool:
        waiting: deque[Future[np.ndarray | str]] = deque()
        ahead = enumerate(sources)
        try:
            for start in range(0, len(sources), batch_size):
                while len(waiting) < 3 * batch_size and (item := next(ahead, None)) is not None:
                    waiting.append(pool.submit(read, *item))
                results = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
                yield _batch(start, results, preprocess)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C need not wait for what was queued


def _batch(start: int, results: list[np.ndarray | str], preprocess: Preprocess) -> Batch:
    good = [(start + i, result) for i, result in enumerate(results) if isinstance(result, np.ndarray)]
    shape = good[0][1].shape if good else (preprocess.height, preprocess.width, 3)
    pixels = np.empty((len(good), *shape), dtype=np.uint8)
    for row, (_, image) in enumerate(good):
        pixels[row] = image
    unreadable = {start + i: result for i, result in enumerate(results) if isinstance(result, str)}
    flat = tuple(position for position, image in good if int(image.max()) - int(image.min()) < FLAT)
    return Batch(np.array([position for position, _ in good], dtype=np.int64), pixels, unreadable, flat)


def _one_thread_each() -> Callable[[], None]:
    """Return what has PyTorch, where it is loaded, use one thread inside the thread that calls it.

    The pool has as many threads as the machine has processors. `torch.set_num_threads` would also apply to every thread
    that first calls PyTorch later, the caller's included.
    """
    if "torch" not in sys.modules:
        return lambda: None
    import torch

    openmp = _openmp_libraries()

    def limit() -> None:
        torch.get_num_threads()  # PyTorch sets the number when it is first asked, and not again
        openmp.limit(limits=1)

    return limit


@functools.cache
def _openmp_libraries() -> ThreadpoolController:
    """Return the libraries that share work by OpenMP, looked for once, after PyTorch is loaded and before any thread.

    The search holds the dynamic linker's lock while it calls Python, and a thread that imports a module holds Python's
    lock while it waits for the linker.
    """
    return ThreadpoolController().select(user_api="openmp")
