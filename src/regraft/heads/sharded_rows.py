"""Rows of photos whose features lie in several places: each shard sums over its own photos, and the sums are added.

Nothing of the size of the features is moved: what shards send are sums over photos, and the logits of photos. Fits are
those of all features in one place but for the order of summation, which float32 rounds in its last digits.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from regraft.heads.centred_rows import CentredRows, sum_cells
from regraft.heads.linear import EVERY, Columns
from regraft.heads.softmax_sums import Query, Sums
from regraft.heads.workers import Workers


class FeatureShard:
    """The features of some of the photos, where they lie.

    Args:
        features: (m, width) float32; it may be memory-mapped.
        labels: (m,) integers from 0.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self._features, self._labels = features, labels
        self._rows: CentredRows | None = None

    def sum_cells(self, cells: np.ndarray, count: int, photos: np.ndarray | None, columns: Columns) -> np.ndarray:
        """Return the sum of the features (count, d), float64, of this shard's photos of each cell."""
        return sum_cells(self._features, cells, count, photos=photos, columns=columns)

    def centre(self, cells: np.ndarray, centres: np.ndarray, photos: np.ndarray | None, columns: Columns) -> None:
        """Sort photos by cell, and take the mean (cells, d) of each cell, over all shards, off."""
        labels = self._labels if photos is None else self._labels[photos]
        self._rows = CentredRows(self._features, labels, cells, photos=photos, columns=columns, centres=centres)

    @property
    def rows(self) -> CentredRows:
        """Return this shard's rows.

        Raises:
            RuntimeError: they were not sorted yet.
        """
        if self._rows is None:
            raise RuntimeError("the photos of this shard were not sorted by cell yet: call centre() first")
        return self._rows

    def scatter(self, cell: int) -> np.ndarray:
        """Return the sum of the products of all pairs of columns (d, d) over a cell."""
        return self.rows.scatter(cell)

    def class_sums(self, cell: int, classes: int) -> np.ndarray:
        """Return the sum (classes, d), float64, of the rows of each class over a cell."""
        return self.rows.class_sums(cell, classes)

    def sums(self, queries: Sequence[Query], classes: int) -> list[Sums | None]:
        """Return what each query asks for; None of a cell that has no photos here."""
        return self.rows.sums(queries, classes)

    def logits(self, weight: np.ndarray, bias: np.ndarray, cell: int) -> np.ndarray:
        """Return (k, c) logits of a cell's photos."""
        return self.rows.logits(weight, bias, cell)

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Return (k, d) rows at places among this shard's."""
        return self.rows.rows_at(places)


class Shards(Protocol):
    """The shards of n photos, here or in other processes."""

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `FeatureShard` returns of each shard, with its own arguments; all work at once."""


class LocalShards:
    """Shards in this process, one after the other.

    Args:
        shards: at least one.
    """

    def __init__(self, shards: Sequence[FeatureShard]) -> None:
        self._shards = shards

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method returns of each shard."""
        return [getattr(shard, method)(*own) for shard, own in zip(self._shards, arguments, strict=True)]


class ShardedFeatures:
    """Features (n, width) that lie in shards, the photos of one after those of the other.

    Args:
        shards: where they lie.
        sizes: how many photos each has.
        width: of the features.
    """

    def __init__(self, shards: Shards, sizes: Sequence[int], width: int) -> None:
        self.shards, self.bounds = shards, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.shape = int(self.bounds[-1]), width

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def rows(
        self, labels: np.ndarray, cells: np.ndarray, *, photos: np.ndarray | None = None, columns: Columns = EVERY
    ) -> "ShardedRows":
        """Return the rows by cell. See `CentredRows`."""
        return ShardedRows(self, labels, cells, photos=photos, columns=columns)


class ShardedRows:
    """What `CentredRows` is, of photos in shards. A cell's rows are those of the first shard, then of the next."""

    def __init__(
        self,
        features: ShardedFeatures,
        labels: np.ndarray,
        cells: np.ndarray,
        *,
        photos: np.ndarray | None = None,
        columns: Columns = EVERY,
    ) -> None:
        positions = np.arange(len(features)) if photos is None else photos
        if (np.diff(positions) <= 0).any():
            raise ValueError("photos must be ascending positions, each once")
        self.order = np.argsort(cells, kind="stable")
        self.labels = labels[self.order]
        count = int(cells.max()) + 1
        bounds = np.searchsorted(cells[self.order], np.arange(count + 1))
        self.cells = [slice(int(bounds[cell]), int(bounds[cell + 1])) for cell in range(count)]
        shard_of = np.searchsorted(features.bounds, positions, side="right") - 1
        self._shards = features.shards
        numbers = range(len(features.bounds) - 1)
        own = [np.flatnonzero(shard_of == number) for number in numbers]
        given = [
            (cells[here], None if photos is None else positions[here] - features.bounds[number])
            for number, here in enumerate(own)
        ]
        parts = self._shards.call("sum_cells", [(own_cells, count, at, columns) for own_cells, at in given])
        sizes = np.diff(bounds)
        self.centres = (np.sum(parts, axis=0) / sizes[:, None]).astype(np.float32)
        self._shards.call("centre", [(own_cells, self.centres, at, columns) for own_cells, at in given])
        self._shard_of, self._count = shard_of[self.order], len(own)
        self._place_of = np.empty(len(self.order), dtype=np.int64)  # among the rows of its shard
        for number in numbers:
            mine = self._shard_of == number
            self._place_of[mine] = np.arange(mine.sum())
        self.shape = len(self.order), int(self.centres.shape[1])
        self.workers = Workers(self.shape[0] * self.shape[1])  # of what is done here; the shards have their own

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Return (m, d) float32 rows at any places."""
        owners = [np.flatnonzero(self._shard_of[places] == number) for number in range(self._count)]
        found = self._shards.call("rows_at", [(self._place_of[places[own]],) for own in owners])
        rows = np.empty((len(places), self.shape[1]), dtype=np.float32)
        for own, part in zip(owners, found, strict=True):
            rows[own] = part
        return rows

    def rows(self, photos: slice) -> np.ndarray:
        """Return (m, d) float32 rows, all of one cell."""
        return self.rows_at(np.arange(photos.start, photos.stop))

    def scatter(self, cell: int) -> np.ndarray:
        """Return the sum of the products of all pairs of columns (d, d) over a cell."""
        total = np.zeros((self.shape[1], self.shape[1]))  # one by one: together they are as many as there are shards
        for part in self._each("scatter", cell):
            total += part
        return total.astype(np.float32)

    def class_sums(self, cell: int, classes: int) -> np.ndarray:
        """Return the sum (classes, d), float64, of the rows of each class over a cell."""
        return np.asarray(np.sum(self._each("class_sums", cell, classes), axis=0))

    def sums(self, queries: Sequence[Query], classes: int) -> list[Sums | None]:
        """Return what each query asks for, of regressions of so many classes."""
        found: list[Sums | None] = [None] * len(queries)
        for shard in self._each("sums", queries, classes):
            for place, sums in enumerate(shard):
                before = found[place]
                if before is None:  # a copy: what comes from other processes may not be written to
                    found[place] = None if sums is None else Sums(*(array.copy() for array in sums))
                elif sums is not None:
                    before.add(sums)
        return found

    def logits(self, weight: np.ndarray, bias: np.ndarray, cell: int) -> np.ndarray:
        """Return (m, c) logits of a cell's photos, by weights (c, d) and biases (c,) of features as they are."""
        return np.concatenate(self._each("logits", weight, bias, cell))

    def digest(self, cell: int) -> bytes:
        """Shards have no digests: what is known of one fit is not kept for the next."""
        raise NotImplementedError("coordinates of photos in shards are not kept: leave the cache out")

    def _each(self, method: str, *arguments: Any) -> list[Any]:
        return self._shards.call(method, [arguments] * self._count)


# From features (n, width) and labels (n,) to where heads are fitted on them, as long as the block lasts.
Share = Callable[[np.ndarray, np.ndarray], AbstractContextManager[np.ndarray | ShardedFeatures]]


def in_one_place(features: np.ndarray, _: np.ndarray) -> AbstractContextManager[np.ndarray | ShardedFeatures]:
    """Return the features as they are."""
    return nullcontext(features)
