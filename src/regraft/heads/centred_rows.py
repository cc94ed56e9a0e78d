"""The features of photos in the order of their cells, each cell's mean taken off."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from regraft import matrices
from regraft.cache import features_folder
from regraft.heads.linear import EVERY, Columns
from regraft.heads.softmax_sums import Query, Sums, softmax_sums
from regraft.heads.workers import Workers, one_thread_each

_COPIED = 2**27  # bytes of features up to which the sorted copy is in memory
_BLOCK = 8192  # photos that are read together where all of a cell are
_OF_PRODUCT = 1024  # and of one product: enough for full speed, few enough to stay in a processor's cache


class Rows(Protocol):
    """The rows of n photos, sorted by cell and centred, wherever they lie. See `CentredRows`."""

    order: np.ndarray
    cells: list[slice]
    labels: np.ndarray
    centres: np.ndarray
    workers: Workers

    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102 (as those of `CentredRows`, all of them)

    def rows(self, photos: slice) -> np.ndarray: ...  # noqa: D102

    def rows_at(self, places: np.ndarray) -> np.ndarray: ...  # noqa: D102

    def scatter(self, cell: int) -> np.ndarray: ...  # noqa: D102

    def class_sums(self, cell: int, classes: int) -> np.ndarray: ...  # noqa: D102

    def sums(self, queries: Sequence[Query], classes: int) -> list[Sums | None]: ...  # noqa: D102

    def logits(self, weight: np.ndarray, bias: np.ndarray, cell: int) -> np.ndarray: ...  # noqa: D102

    def digest(self, cell: int) -> bytes: ...  # noqa: D102


class CentredRows:
    """The rows of n photos, sorted by cell and centred, as they are asked for.

    A sorted copy is kept: of many photos in a file that is mapped into memory, so that no second copy of the features
    is held there. Where that would take more than half of the free disk, rows are gathered from `features` whenever
    they are read. All give the same numbers.

    Attributes:
        order: (n,) where each row stands in `cells`, ascending by cell.
        cells: the rows of each cell.
        labels: (n,) of the rows.
        centres: (cells, d) float32: the mean of each cell, which is taken off.
        workers: who compute with these rows.

    Args:
        features: (N, width) float32; it may be memory-mapped, and is not changed.
        labels: (n,) integers from 0.
        cells: (n,) integers from 0: photos of one cell are in the same training sets.
        photos: (n,) positions of the photos in `features`; None where they are all of them, in their order.
        columns: d of the columns of `features`.
        centres: (cells, d) float32, to be taken off instead of the means of these photos.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        cells: np.ndarray,
        *,
        photos: np.ndarray | None = None,
        columns: Columns = EVERY,
        centres: np.ndarray | None = None,
    ) -> None:
        self.order = np.argsort(cells, kind="stable")
        count = int(cells.max()) + 1 if centres is None else len(centres)
        bounds = np.searchsorted(cells[self.order], np.arange(count + 1))
        self.cells = [slice(int(first), int(last)) for first, last in itertools.pairwise(bounds)]
        self._firsts, self.labels = bounds[:-1], labels[self.order]
        self._features, self._columns = features, columns
        self._places = self.order if photos is None else photos[self.order]
        self._width = features[:0, columns].shape[1]
        self.workers = Workers(len(self.order) * self._width)
        self._residency = matrices.Residency(features)
        with one_thread_each():
            self._copy = self._sorted_copy()
            self.centres = self._means() if centres is None else centres
            if self._copy is not None:
                for cell, centre in zip(self.cells, self.centres, strict=True):
                    for part in _parts(cell, _BLOCK):
                        self._sorted(part)[:] -= centre

    @property
    def shape(self) -> tuple[int, int]:
        """Return (n, d)."""
        return len(self.order), self._width

    def rows(self, photos: slice) -> np.ndarray:
        """Return (m, d) float32 rows, all of one cell."""
        found = self._sorted(photos)
        if self._copy is None:
            found -= self.centres[self._cell_of(photos.start)]
        return found

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Return (m, d) float32 rows at any places."""
        if self._copy is not None:
            self._kept.add(len(places) * self._width * 4)
            return np.asarray(self._copy[places])
        return np.asarray(self._raw(self._places[places]) - self.centres[self._cell_of(places)])

    def blocks(self, cell: int) -> Iterator[np.ndarray]:
        """Yield the rows of a cell, (m, d) at a time."""
        return (self.rows(part) for part in _parts(self.cells[cell], _BLOCK))

    def scatter(self, cell: int) -> np.ndarray:
        """Return the sum of the products of all pairs of columns (d, d) over a cell."""
        found = np.zeros((self._width, self._width), dtype=np.float32)
        for block in self.blocks(cell):
            found += block.T @ block
        return found

    def class_sums(self, cell: int, classes: int) -> np.ndarray:
        """Return the sum (classes, d), float64, of the rows of each class over a cell."""
        found = np.zeros((classes, self._width))
        for part in _parts(self.cells[cell], _BLOCK):
            order = np.argsort(self.labels[part], kind="stable")
            present, firsts = np.unique(self.labels[part][order], return_index=True)
            found[present] += np.add.reduceat(self.rows(part)[order], firsts, axis=0, dtype=np.float64)
        return found

    def sums(self, queries: Sequence[Query], classes: int) -> list[Sums | None]:
        """Return what each query asks for, of regressions of so many classes; None of a cell without photos."""
        tasks = [
            (place, part) for place, query in enumerate(queries) for part in _parts(self.cells[query.cell], _OF_PRODUCT)
        ]
        found: list[Sums | None] = [None] * len(queries)

        def of(task: tuple[int, slice]) -> Sums:
            place, part = task
            return softmax_sums(self.rows(part), self.labels[part], classes, queries[place])

        for (place, _), sums in zip(tasks, self.workers.map(of, tasks), strict=True):
            if (before := found[place]) is None:
                found[place] = sums
            else:
                before.add(sums)
        return found

    def logits(self, weight: np.ndarray, bias: np.ndarray, cell: int) -> np.ndarray:
        """Return (m, c) logits of a cell's photos, by weights (c, d) and biases (c,) of features as they are."""
        offset = bias + weight @ self.centres[cell]
        none = np.empty((0, len(weight)), dtype=weight.dtype)  # a shard may have no photos of a cell
        return np.concatenate([none, *(rows @ weight.T + offset for rows in self.blocks(cell))])

    def digest(self, cell: int) -> bytes:
        """Return the SHA-256 of the rows of a cell: two cells with the same one hold the same photos in one order."""
        found = hashlib.sha256(self.centres[cell].tobytes())
        for block in self.blocks(cell):
            found.update(block.tobytes())
        return found.digest()

    def _sorted_copy(self) -> np.ndarray | None:
        """Return all rows by cell; None where a file of many of them would take more than half of the free disk."""
        count = len(self.order)
        if count * self._width * 4 <= _COPIED:
            copy = np.empty((count, self._width), dtype=np.float32)
        else:
            mapped = matrices.mapped_zeros(count, self._width, features_folder(), spare=count * self._width * 4)
            if mapped is None:
                return None
            copy = mapped
        self._kept = matrices.Residency(copy)
        for part in _parts(slice(0, count), _BLOCK):
            copy[part] = self._gathered(part)
            self._kept.add(copy[part].nbytes)
        return copy

    def _sorted(self, photos: slice) -> np.ndarray:
        """Return rows (m, d) of the copy, or, without one, of the features."""
        if self._copy is None:
            return self._gathered(photos)
        self._kept.add((photos.stop - photos.start) * self._width * 4)
        return self._copy[photos]

    def _cell_of(self, place: np.ndarray | int) -> np.ndarray:
        return np.searchsorted(self._firsts, place, side="right") - 1

    def _gathered(self, photos: slice) -> np.ndarray:
        return self._raw(self._places[photos])

    def _raw(self, places: np.ndarray) -> np.ndarray:
        found = _chosen(self._features, places, self._columns)
        self._residency.add(found.nbytes)
        return found

    def _means(self) -> np.ndarray:
        """Return the mean (cells, d) float32 of each cell, of features as they are."""
        totals = self.workers.map(lambda cell: _total(self._sorted, cell, self._width), self.cells)
        sizes = [cell.stop - cell.start for cell in self.cells]
        return np.stack([(total / size).astype(np.float32) for total, size in zip(totals, sizes, strict=True)])


def sum_cells(
    features: np.ndarray, cells: np.ndarray, count: int, *, photos: np.ndarray | None = None, columns: Columns = EVERY
) -> np.ndarray:
    """Return the sum (count, d), float64, of the features of the photos of each cell. See `CentredRows`."""
    places = np.arange(len(features)) if photos is None else photos
    width = features[:0, columns].shape[1]

    def of(cell: int) -> np.ndarray:
        own = places[cells == cell]
        return _total(lambda part: _chosen(features, own[part], columns), slice(0, len(own)), width)

    return np.stack([of(cell) for cell in range(count)])


def _total(read: Callable[[slice], np.ndarray], cell: slice, width: int) -> np.ndarray:
    """Return the sum (d,), float64, of the rows of a cell that `read` gives."""
    total = np.zeros(width)
    for part in _parts(cell, _BLOCK):
        total += read(part).sum(axis=0, dtype=np.float64)
    return total


def _chosen(features: np.ndarray, places: np.ndarray, columns: Columns) -> np.ndarray:
    """Return a copy of rows and columns of features (m, d)."""
    if isinstance(columns, slice):
        return np.asarray(features[places, columns])
    return np.asarray(features[places][:, columns])


def _parts(cell: slice, size: int) -> Iterator[slice]:
    """Yield a cell in parts of at most `size` photos."""
    return (slice(first, min(first + size, cell.stop)) for first in range(cell.start, cell.stop, size))
