"""Images to batches of pixels, decoded by threads ahead of whoever consumes them."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from regraft.data.images import UnreadableImageError, read_image
from regraft.data.preprocess import Preprocess
from regraft.data.sources import Source
from regraft.runtime import cpu_count

BATCH_SIZE = 32


@dataclass(frozen=True)
class Batch:
    """Some images, brought to the network's size.

    Attributes:
        positions: (b,) where they stand in the list that was asked for.
        pixels: (b, h, w, 3) uint8.
        unreadable: reasons by position; these images are in neither array.
    """

    positions: np.ndarray
    pixels: np.ndarray
    unreadable: dict[int, str]


def load_batches(sources: Sequence[Source], preprocess: Preprocess, *, batch_size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Yield all of `sources` in order, at most `batch_size` at a time.

    Memory is bounded: at most three batches are decoded ahead, however many images there are.
    """
    with ThreadPoolExecutor(cpu_count()) as pool:
        waiting: deque[Future[np.ndarray | str]] = deque()
        ahead = iter(sources)
        try:
            for start in range(0, len(sources), batch_size):
                while len(waiting) < 3 * batch_size and (source := next(ahead, None)) is not None:
                    waiting.append(pool.submit(_pixels, source, preprocess))
                results = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
                yield _batch(start, results, preprocess)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C need not wait for what was queued


def _batch(start: int, results: list[np.ndarray | str], preprocess: Preprocess) -> Batch:
    good = [(start + i, result) for i, result in enumerate(results) if isinstance(result, np.ndarray)]
    pixels = np.empty((len(good), preprocess.height, preprocess.width, 3), dtype=np.uint8)
    for row, (_, image) in enumerate(good):
        pixels[row] = image
    unreadable = {start + i: result for i, result in enumerate(results) if isinstance(result, str)}
    return Batch(np.array([position for position, _ in good], dtype=np.int64), pixels, unreadable)


def _pixels(source: Source, preprocess: Preprocess) -> np.ndarray | str:
    try:
        return preprocess.pixels(read_image(source))
    except UnreadableImageError as error:
        return str(error)
