"""Where a classifier looks: how much less probable an answer becomes where a square of the photo is covered.

After Zeiler & Fergus (2013, section 4.2). No gradient takes part, so that any engine will do, without PyTorch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from regraft.images.preprocess import Preprocess
from regraft.images.reading import read_image
from regraft.images.resizing import resize_by_pillow
from regraft.images.sources import Pixels, Source

_ACROSS = 4  # squares along the shorter side, side by side; they move by half of one
_MOST_ALONG = 8  # likewise along the longer side: of a panorama they are wider
_AT_A_TIME = 16
_BYTES = 1 << 26  # of copies of the photo at a time
_LEAST = 1e-9  # of a probability and of what it lacks to 1

Answers = Callable[[Sequence[Source]], np.ndarray]  # n photos to (n, c) probabilities


class _Side(NamedTuple):
    """Squares along a side: they begin at every border but the last, and reach over two cells."""

    borders: np.ndarray

    @property
    def cells(self) -> int:
        return len(self.borders) - 1

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """Yield the first cell of each square, and the pixels where it begins and ends."""
        for first in range(self.cells - 1):
            yield first, int(self.borders[first]), int(self.borders[first + 2])


def occlusion_map(source: Source, label: int, answers: Answers, preprocess: Preprocess) -> np.ndarray:
    """Return how much the log-odds of a class, log p / (1 - p), fall where the cells of a grid are covered.

    Args:
        source: the photo.
        label: the class.
        answers: the classifier.
        preprocess: of its network, whose mean colour covers.

    Returns:
        (rows, columns) over the upright photo, above 0 where what is covered speaks for the class: of each cell the
        mean over the squares that it is in.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    photo = read_image(source, min_side=max(preprocess.height, preprocess.width), ranges=preprocess.ranges)
    size = preprocess.resized(photo.height, photo.width)  # of this size the network resizes it no further
    pixels = np.asarray(resize_by_pillow(photo, size, preprocess.interpolation))
    rows, columns = (_side(pixels.shape[axis], min(pixels.shape[:2])) for axis in (0, 1))
    squares = [(row, column) for row in rows.spans() for column in columns.spans()]
    colour = np.array([round(255 * value) for value in preprocess.mean], dtype=np.uint8)
    whole = _log_odds(answers([_photo(pixels)])[:, label])[0]
    total, count = np.zeros((rows.cells, columns.cells)), np.zeros((rows.cells, columns.cells))
    at_a_time = min(max(_BYTES // pixels.nbytes, 1), _AT_A_TIME)
    for first in range(0, len(squares), at_a_time):
        part = squares[first : first + at_a_time]
        covered = [_photo(pixels, (row[1:], column[1:]), colour) for row, column in part]
        for (row, column), value in zip(part, _log_odds(answers(covered)[:, label]), strict=True):
            cells = np.s_[row[0] : row[0] + 2, column[0] : column[0] + 2]
            total[cells] += whole - value
            count[cells] += 1
    found: np.ndarray = total / count
    return found


def _side(length: int, short: int) -> _Side:
    squares = min(max(round(_ACROSS * length / short), 1), _MOST_ALONG)
    return _Side(np.round(np.linspace(0, length, min(2 * squares, length) + 1)).astype(int))


def _photo(
    pixels: np.ndarray,
    square: tuple[tuple[int, int], tuple[int, int]] | None = None,
    colour: np.ndarray | None = None,
) -> Pixels:
    if square is not None:
        (top, bottom), (left, right) = square
        pixels = pixels.copy()
        pixels[top:bottom, left:right] = colour
    return Pixels(Image.fromarray(pixels), "photo")


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(np.maximum(probabilities, _LEAST)) - np.log(np.maximum(1 - probabilities, _LEAST))
    return found
