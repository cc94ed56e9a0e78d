"""The nearest vectors, exactly, by cosine distance, among any number that come in blocks."""

from collections.abc import Sequence

import numpy as np

_ROWS = 1024  # vectors of a product: its matrices stay in the processor's cache
_QUERIES = 1024  # likewise, of those that are asked about


class NearestSearch:
    """Finds the k nearest of n vectors to each of q others.

    The distance is 1 - cosine, in float64: from 0 (the same direction) over 1 (nothing in common) to 2. It is 0 between
    photos with equal content keys, whose vectors differ by rounding alone, and 1 to a vector of zeros, which has no
    direction. Of equal distances the one that came first is the nearest.

    Args:
        vectors: (q, d) that are asked about.
        keys: q content keys.
        count: k.
    """

    def __init__(self, vectors: np.ndarray, keys: Sequence[bytes], count: int) -> None:
        self._directions, self._count = _directions(vectors), count
        self._of_key: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys):
            self._of_key.setdefault(key, []).append(row)
        self._distances = np.empty((len(vectors), 0))
        self._positions = np.empty((len(vectors), 0), dtype=np.int64)

    def add(self, vectors: np.ndarray, keys: Sequence[bytes], positions: np.ndarray) -> None:
        """Take up more vectors.

        Args:
            vectors: (m, d).
            keys: their m content keys.
            positions: (m,) of them, by which they are named; larger ones come later.
        """
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            self._add(_directions(vectors[part]), keys[part], positions[part])

    def _add(self, directions: np.ndarray, keys: Sequence[bytes], positions: np.ndarray) -> None:
        equal = [(row, place) for place, key in enumerate(keys) for row in self._of_key.get(key, ())]
        merged: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(self._directions), _QUERIES):
            found = 1.0 - self._directions[start : start + _QUERIES] @ directions.T
            np.clip(found, 0.0, 2.0, out=found)  # rounding leaves up to 1e-15 beyond
            for row, place in equal:
                if start <= row < start + _QUERIES:
                    found[row - start, place] = 0.0
            for row, distances in enumerate(found, start):
                merged.append(
                    _least(
                        np.concatenate([self._distances[row], distances]),
                        np.concatenate([self._positions[row], positions]),
                        self._count,
                    )
                )
        self._distances = np.stack([distances for distances, _ in merged])
        self._positions = np.stack([places for _, places in merged])

    @property
    def distances(self) -> np.ndarray:
        """Return (q, k) distances, rising; fewer columns where there were fewer vectors."""
        return self._distances

    @property
    def positions(self) -> np.ndarray:
        """Return (q, k) positions of the nearest."""
        return self._positions


def _least(distances: np.ndarray, positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` least distances (m,) with their positions, rising; of equal ones the first."""
    if len(distances) > count:
        kept = np.flatnonzero(distances <= np.partition(distances, count - 1)[count - 1])
        distances, positions = distances[kept], positions[kept]
    order = np.argsort(distances, kind="stable")[:count]
    return distances[order], positions[order]


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (n, d) of length 1 in float64; those of zeros stay."""
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))
