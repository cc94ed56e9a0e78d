"""Batches of pixels, decoded ahead by threads."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from regraft.images.decoding import decode
from regraft.images.preprocess import Preprocess
from regraft.images.reading import UnreadableImageError
from regraft.images.sources import Source
from regraft.images.value_range import FLAT
from regraft.runtime import BATCH_SIZE, cpu_count

# Initialised here, before any thread. The search for libraries holds the dynamic linker's lock while it calls Python,
# and a thread that imports a module holds Python's lock while it waits for the linker; and PyTorch looks NumPy's
# interface up when an array first becomes a tensor.
_openmp = ThreadpoolController().select(user_api="openmp")
torch.from_numpy(np.zeros(1, dtype=np.uint8)).numpy()


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
) -> Generator[Batch]:
    """Yield all of `sources` in order, at most `batch_size` at a time.

    Memory is bounded: at most three batches are decoded ahead, however many images there are.

    Args:
        sources: n images.
        preprocess: the network's evaluation transform.
        batch_size: images at a time.
        draw: (position, image) -> (h, w, 3) or (k, h, w, 3) uint8, in place of `decode`; called by several threads.
    """

    def read(position: int, source: Source) -> np.ndarray | str:
        try:
            if draw is None:
                return decode(source, preprocess)
            return draw(position, source)
        except UnreadableImageError as error:
            return str(error)

    with ThreadPoolExecutor(cpu_count(), initializer=_one_thread) as pool:
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


def _one_thread() -> None:
    """Have PyTorch use one thread inside this one: the pool has as many as the machine has processors.

    `torch.set_num_threads` would also apply to every thread that first calls PyTorch later, the caller's included.
    """
    torch.get_num_threads()  # PyTorch sets the number when it is first asked, and not again
    _openmp.limit(limits=1)
