"""The coordinates in which a regression is minimised: standardised features along directions that are orthogonal.

In all such coordinates the penalty is the same sum of squares, so that the minimum does not depend on them. Along the
principal directions of the photos the Hessian is about diagonal, and few steps are enough. To find them takes d^3, most
of the time of a fit with few classes; hence two savings, which change nothing but the last digits, or not even these:

- Where photos are not many, several parts share directions: those of photos that are in all of them. No part has
  directions, or anything else, of photos outside it.
- Coordinates depend on no label. `CoordinateCache` keeps them for a fit of the same photos with other labels.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.files import sha256
from regraft.heads.centred_rows import Rows

FEW = 0.75  # photos per feature, below which the Gram matrix of the photos is decomposed
_RARELY_SEEN, _TRUSTED = 0.1, 100  # share of features whose deviation is raised with so many photos
_LEAST_VARIANCE = 1e-10  # of the largest: directions that vary less are rounding
_SHARED = 1 / 60  # photos times rows of weights per d^2, up to which directions are shared: the steps that others'
# directions cost more than one's own, up to half of them, then take half of the time that is saved, or less
_OF_A_PART, _LEAST_OF_A_PART = 1 / 2, 1 / 3  # of its photos, that directions are made of, and that are enough
_SAMPLE = 256  # photos by which variances along shared directions are estimated, to 9 %
_KEPT = 2**29  # bytes of a cache


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The coordinates of one part.

    Attributes:
        mean: (d,) float64.
        inverse: (d,) 1 / deviation of each feature, 0 for a constant one.
        directions: (r, d) of the standardised features, orthonormal: u @ directions are the weights of these.
        variances: (r,) of the photos along the directions.
        rows: (n, r) photos in these coordinates; None where the photos of all parts are read together.
    """

    mean: np.ndarray
    inverse: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rows: np.ndarray | None

    @property
    def arrays(self) -> list[np.ndarray]:
        """Return all arrays."""
        found = (self.mean, self.inverse, self.directions, self.variances, self.rows)
        return [array for array in found if array is not None]


class CoordinateCache:
    """The coordinates of the last fit, for the next one of the same photos.

    Args:
        limit: bytes that it may keep.
    """

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit = limit
        self._known: dict[bytes, Coordinates] = {}

    def get(self, key: bytes) -> Coordinates | None:
        """Return what is known by the key."""
        return self._known.get(key)

    def keep(self, found: Mapping[bytes, Coordinates]) -> None:
        """Forget all others, and keep as many of these as may be."""
        kept: dict[bytes, Coordinates] = {}
        counted: set[int] = set()  # parts share directions
        size = 0
        for key, one in found.items():
            new = {id(array): array.nbytes for array in one.arrays if id(array) not in counted}
            if size + sum(new.values()) <= self._limit:
                kept[key] = one
                counted |= new.keys()
                size += sum(new.values())
        self._known = kept


class PartCoordinates:
    """Finds the coordinates of parts of the photos of some cells.

    Args:
        rows: the photos.
        marked: True also takes the digest of each cell, by which a cache knows it.
    """

    def __init__(self, rows: Rows, *, marked: bool = False) -> None:
        self._rows, self._workers = rows, rows.workers
        self._digests = list(rows.workers.map(rows.digest, range(len(rows.cells)))) if marked else []

    def off(self, mean: np.ndarray) -> np.ndarray:
        """Return (cells, d) float32: how far each cell's mean is from `mean` (d,)."""
        return np.asarray((self._rows.centres - mean).astype(np.float32))

    def of(self, members: np.ndarray, *, rows: int, cache: CoordinateCache | None = None) -> list[Coordinates]:
        """Return the coordinates of each part.

        Args:
            members: (parts, cells) booleans.
            rows: of weights, of each part.
            cache: what is known of other fits; needs cells that are `marked`.
        """
        sizes = self.sizes(np.arange(len(self._rows.cells)))
        d = self._rows.shape[1]
        few = members @ sizes < FEW * d
        sources = members.copy()
        if sizes.sum() * rows <= _SHARED * d * d:
            sources[~few] = _shared_sources(members[~few], sizes)
        keys = [self._key(*pair) for pair in zip(members, sources, strict=True)]
        known = {} if cache is None else {key: one for key in keys if (one := cache.get(key)) is not None}
        missing = [place for place, key in enumerate(keys) if key not in known]
        missing.sort(key=lambda place: -int(members[place] @ sizes))  # the slowest first
        scatters: list[np.ndarray] = []
        if not few[missing].all():
            scatters = list(self._workers.map(self._rows.scatter, range(len(self._rows.cells))))
        wanted = {source.tobytes(): source for source in sources[missing][~few[missing]]}
        decomposed = self._workers.map(functools.partial(self._decomposed, scatters=scatters), wanted.values())
        principal = dict(zip(wanted, decomposed, strict=True))

        def found_at(place: int) -> Coordinates:
            own, source = np.flatnonzero(members[place]), sources[place]
            if few[place]:
                return self._of_few(own)
            shared = not np.array_equal(members[place], source)
            return self._of_many(own, scatters, principal[source.tobytes()], shared=shared)

        known |= dict(zip([keys[place] for place in missing], self._workers.map(found_at, missing), strict=True))
        found = [known[key] for key in keys]
        if cache is not None:
            cache.keep(dict(zip(keys, found, strict=True)))
        return found

    def _key(self, own: np.ndarray, source: np.ndarray) -> bytes:
        """Return the name of coordinates: by the photos of the part and of its directions, where cells are marked."""
        if not self._digests:
            return own.tobytes()
        width = b"%d " % self._rows.shape[1]
        parts = ([self._digests[cell] for cell in np.flatnonzero(part)] for part in (own, source))
        return b"".join(sha256(width + b"".join(digests)) for digests in parts)

    def sizes(self, cells: np.ndarray) -> np.ndarray:
        """Return how many photos (cells,) these cells have."""
        return np.array([self._rows.cells[cell].stop - self._rows.cells[cell].start for cell in cells])

    def mean(self, cells: np.ndarray) -> np.ndarray:
        """Return the mean (d,), float64, of the photos of these cells."""
        sizes = self.sizes(cells)
        return np.asarray(sizes @ self._rows.centres[cells].astype(np.float64) / sizes.sum())

    def _of_few(self, cells: np.ndarray) -> Coordinates:
        """Return the coordinates of fewer photos than features, by the Gram matrix of the photos."""
        mean = self.mean(cells)
        off = self.off(mean)
        rows = np.concatenate([self._rows.rows(self._rows.cells[cell]) + off[cell] for cell in cells])
        inverse = inverse_deviation(np.sqrt(np.mean(np.square(rows), axis=0, dtype=np.float64)), len(rows))
        variances, directions, rows = _decompose_few(rows * inverse.astype(np.float32))
        return Coordinates(mean, inverse.astype(np.float32), directions, variances, rows)

    def _decomposed(self, source: np.ndarray, scatters: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return variances (d,) and directions (d, d) of many photos, by their correlation matrix."""
        cells = np.flatnonzero(source)
        sizes, off = self.sizes(cells), self.off(self.mean(cells))[cells]
        scatter = np.sum([scatters[cell] for cell in cells.tolist()], axis=0) + (off * sizes[:, None]).T @ off
        n = int(sizes.sum())
        scale = inverse_deviation(np.sqrt(np.diag(scatter).astype(np.float64) / n), n).astype(np.float32)
        variances, vectors = _eigh((scatter * scale * scale[:, None] / n).astype(np.float32))
        return np.maximum(variances, 0), np.ascontiguousarray(vectors.T, dtype=np.float32)

    def _of_many(
        self,
        cells: np.ndarray,
        scatters: Sequence[np.ndarray],
        principal: tuple[np.ndarray, np.ndarray],
        *,
        shared: bool,
    ) -> Coordinates:
        """Return the coordinates along given directions; their variances are given, too, unless they are shared."""
        mean, sizes = self.mean(cells), self.sizes(cells)
        off, n = self.off(mean), int(sizes.sum())
        squares = np.sum([np.diag(scatters[cell]) for cell in cells.tolist()], axis=0) + sizes @ np.square(off[cells])
        inverse = inverse_deviation(np.sqrt(squares.astype(np.float64) / n), n).astype(np.float32)
        variances, directions = principal
        if shared:
            own = [self._rows.cells[cell] for cell in cells]
            photos = np.concatenate([np.arange(cell.start, cell.stop) for cell in own])
            places = np.linspace(0, n - 1, min(_SAMPLE, n)).astype(np.int64)  # evenly: of each cell its share
            offsets = off[np.repeat(cells, sizes)[places]]
            along = (self._rows.rows_at(photos[places]) + offsets) * inverse @ directions.T
            variances = np.asarray(np.mean(np.square(along), axis=0, dtype=np.float64))
        return Coordinates(mean, inverse, directions, variances, None)


def _shared_sources(members: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return (parts, cells) booleans: the photos that each part takes its directions from, all of them its own.

    Args:
        members: (parts, cells) booleans: which cells are in each part.
        sizes: (cells,) how many photos these have.
    """
    counts = members @ sizes
    sources = np.zeros_like(members)
    waiting = np.ones(len(members), dtype=bool)
    for part in np.argsort(counts, kind="stable"):
        if not waiting[part]:
            continue
        source = members[part].copy()
        for other in np.flatnonzero(waiting):
            common = source & members[other]
            if common @ sizes >= _OF_A_PART * counts[part]:
                source = common
        fits = waiting & ~(source & ~members).any(axis=1) & (source @ sizes >= _LEAST_OF_A_PART * counts)
        sources[fits] = source
        waiting &= ~fits
    return sources


def _eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, ascending, and eigenvectors (columns).

    NumPy's, whose BLAS is held to one thread here: those of PyTorch (MKL) differ in their last digits from run to run.
    """
    values, vectors = np.linalg.eigh(matrix)
    if not (np.isfinite(values).all() and np.isfinite(vectors).all()):  # float32 may be too little for a low rank
        values, vectors = (part.astype(matrix.dtype) for part in np.linalg.eigh(matrix.astype(np.float64)))
    return values, vectors


def _decompose_few(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variances (r,), directions (r, d) and rows (n, r) of n photos that are fewer than their d features."""
    values, vectors = _eigh((rows @ rows.T).astype(np.float64))
    kept = values > _LEAST_VARIANCE * max(values[-1], 1)
    lengths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    directions = (vectors / lengths).T.astype(np.float32) @ rows
    return values[kept] / len(rows), directions, (vectors * lengths).astype(np.float32)


def inverse_deviation(deviation: np.ndarray, n: int) -> np.ndarray:
    """Return 1 / deviation (d,) of n photos, of the least that counts where it is below that; 0 for a constant feature.

    The least is the deviation that a tenth of the features are below, times sqrt(`_TRUSTED` / n).
    """
    varying = deviation > 1e-8
    if varying.any():
        least = np.quantile(deviation[varying], _RARELY_SEEN, method="lower") * np.sqrt(_TRUSTED / n)
        deviation = np.maximum(deviation, least)
    return np.asarray(np.divide(1, deviation, out=np.zeros(len(deviation)), where=varying))
