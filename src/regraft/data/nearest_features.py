"""The nearest other photo of each by features: of all, or of very many photos of those in the same cells.

Very many photos are divided again and again at the median of a random projection, into cells of a thousand, whose
photos are compared with each other (random projection trees, Dasgupta and Freund 2008, with one direction for each
level). Near photos fall into one cell more often than others; divisions are made until nearly all nearest neighbours
that are near are found, as exact ones of a sample show.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from regraft import matrices
from regraft.cache import features_folder

EXACT_UP_TO = 100_000  # photos
RECALL = 0.99  # of the nearest neighbours of a sample's nearer half: the others are hardly nearer than the next one
_DIMENSIONS = 256  # of features that are compared: the principal ones, where there are ...
_MANY = 4096  # ... more photos
_ROWS = 4096  # of features that are read together
_DISTANCES = 1 << 24  # that are in memory together
_SAMPLE = 1000  # photos whose neighbours are looked for among all
_CELL = 1024  # photos at most
_MOST_DIVISIONS = 64
_SEED = 0


class StackedFeatures:
    """Features of several data sets, those of one after those of the other, without a copy of them.

    Args:
        parts: (n, d) each; they may be memory-mapped.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts, self._bounds = parts, np.cumsum([0, *map(len, parts)])
        self.shape = int(self._bounds[-1]), int(parts[0].shape[1])

    def __len__(self) -> int:
        """Return n of all together."""
        return self.shape[0]

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Return (k, d) float32 features of length 1, or zeros, at ascending positions (k,)."""
        starts = np.searchsorted(positions, self._bounds)
        found = [
            part[positions[first:last] - start]
            for part, start, first, last in zip(self._parts, self._bounds, starts, starts[1:], strict=False)
        ]
        for part in self._parts:
            matrices.release(part)
        return _of_length_one(np.concatenate(found).astype(np.float32, copy=False))

    def shown(self) -> np.ndarray:
        """Return (n,) booleans: which are not zeros."""
        return np.concatenate([self.rows(block).any(axis=1) for block in _blocks(np.arange(len(self)))])


def nearest_pairs(features: StackedFeatures, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (p,), (p,) of each photo and the one with the nearest features: each pair once, nearest first.

    Args:
        features: of n photos.
        photos: (m,) ascending positions of those that are compared.
    """
    if len(photos) < 2:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    points = _principal(features, photos)
    other, cosine = _nearest_of_all(points) if len(points) <= EXACT_UP_TO else _nearest_in_cells(points)
    places = np.arange(len(other))
    pairs = np.stack([np.minimum(places, other), np.maximum(places, other)])
    pairs, kept = np.unique(pairs, axis=1, return_index=True)
    first, second = photos[pairs[:, np.argsort(-cosine[kept], kind="stable")]]
    return first, second


def _principal(features: StackedFeatures, photos: np.ndarray) -> np.ndarray:
    """Return (m, k) float32 points of length 1: coordinates along the principal directions where photos are many."""
    width = features.shape[1]
    directions = None
    if width > _DIMENSIONS and len(photos) > _MANY:
        products = np.zeros((width, width), dtype=np.float32)
        for block in _blocks(photos):
            rows = features.rows(block)
            products += rows.T @ rows
        directions = np.linalg.eigh(products)[1][:, -_DIMENSIONS:]
    points = matrices.zeros(len(photos), width if directions is None else _DIMENSIONS, features_folder())
    for number, block in enumerate(_blocks(photos)):
        rows = features.rows(block)
        here = slice(number * _ROWS, number * _ROWS + len(block))
        points[here] = rows if directions is None else _of_length_one(rows @ directions)
    return points


def _nearest_of_all(points: np.ndarray, asked: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (q,) the nearest other point of those at `asked` (q,), or of all (m, k), and (q,) its cosine."""
    asked = np.arange(len(points)) if asked is None else asked
    other, cosine = np.empty(len(asked), dtype=np.int64), np.empty(len(asked), dtype=np.float32)
    size = max(1, _DISTANCES // len(points))
    for start in range(0, len(asked), size):
        block = asked[start : start + size]
        found = points[block] @ points.T
        places = np.arange(len(block))
        found[places, block] = -2.0  # itself
        nearest = found.argmax(axis=1)
        other[start : start + size], cosine[start : start + size] = nearest, found[places, nearest]
    return other, cosine


def _nearest_in_cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (m,) the nearest other point of each of points (m, k) that share a cell with it, and (m,) its cosine."""
    generator = np.random.default_rng(_SEED)
    sample = np.sort(generator.choice(len(points), min(_SAMPLE, len(points)), replace=False))
    _, exact = _nearest_of_all(points, sample)
    near = exact >= np.median(exact)
    sample, exact = sample[near], exact[near]
    other, cosine = np.zeros(len(points), dtype=np.int64), np.full(len(points), -2.0, dtype=np.float32)
    for _ in range(_MOST_DIVISIONS):
        for cell in _cells(points, generator):
            own = points[cell]
            nearest, found = _nearest_of_all(own)
            nearer = found > cosine[cell]
            other[cell[nearer]], cosine[cell[nearer]] = cell[nearest[nearer]], found[nearer]
        if np.mean(cosine[sample] >= exact - 1e-5) >= RECALL:  # sums of other products differ in their last digits
            break
    return other, cosine


def _cells(points: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield a division of the points into cells of at most `_CELL`, as ascending positions."""
    levels = int(np.ceil(np.log2(len(points) / _CELL)))
    directions = generator.standard_normal((points.shape[1], levels), dtype=np.float32)
    along = np.concatenate([points[block] @ directions for block in _blocks(np.arange(len(points)))])
    waiting = [(0, np.arange(len(points)))]
    while waiting:
        level, own = waiting.pop()
        if len(own) <= _CELL:
            yield np.sort(own)
            continue
        half = np.argpartition(along[own, level % levels], len(own) // 2)
        waiting += [(level + 1, own[half[: len(own) // 2]]), (level + 1, own[half[len(own) // 2 :]])]


def _blocks(positions: np.ndarray) -> Iterator[np.ndarray]:
    return (positions[start : start + _ROWS] for start in range(0, len(positions), _ROWS))


def _of_length_one(values: np.ndarray) -> np.ndarray:
    """Return (n, d) vectors brought to length 1; zeros stay zeros."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12)))
