"""How far photos lie from each other in features, by few numbers for each, and which are unlike all of their class."""

from dataclasses import dataclass

import numpy as np

LARGEST_RANK = 64  # numbers of a projected photo: principal directions, and what these leave out
NEAREST = 5  # photos whose mean distance is taken
_LEARNED_FROM = 5_000  # photos
_PHOTOS_PER_DIRECTION = 8  # with fewer, a direction describes single photos
_SPARE = 8  # directions besides those that are wanted, by which these are found more exactly
_DEPENDENT = 1e-10  # share of the largest eigenvalue: below, a column is made of the others
_ROWS, _COLUMNS = 512, 4096  # of a block of distances: 8 MB
_OWN_SPREAD = 10  # photos of a class whose spread is taken from itself
_LARGEST_CLASS = 5_000  # photos that one is compared with
_MAD = 1.4826  # standard deviations of a normal distribution in its median absolute deviation
_SMALLEST_DISTANCE = 1e-4  # rounding: copies lie nearer
# Standard deviations that 1 of 2,000 photos exceeds by chance if log distances are normal; with few photos the measured
# spread is uncertain, and the limit higher: found by drawing classes of 10 to 1,000 photos.
_LIMIT, _LIMIT_OF_FEW = 3.3, 12.0


@dataclass(frozen=True, eq=False)
class Projection:
    """Features (n, d), each brought to length 1, to the k numbers that tell most photos apart.

    The first k - 1 are coordinates along the principal directions. The last is the length of what these leave out: a
    photo that is unlike all others has much of it, and little along the directions.

    Attributes:
        mean: (d,) float32, of features of length 1.
        directions: (k - 1, d) float32, as float16 holds them.
    """

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, *, rank: int = LARGEST_RANK, seed: int = 0) -> "Projection":
        """Return the projection that fits features (n, d), learned from 5,000 of them at most.

        The directions are found in one step of subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4).

        Args:
            features: finite.
            rank: k at most; of fewer than 8 photos for each direction there are fewer.
            seed: of the photos that are learned from, and of where the iteration starts.
        """
        generator = np.random.default_rng(seed)
        chosen = sample(len(features), _LEARNED_FROM, generator)
        values = _of_length_one(features[chosen])
        mean = values.mean(axis=0)
        values -= mean
        count = min(rank - 1, max(len(values) // _PHOTOS_PER_DIRECTION, 1), values.shape[1])
        start = generator.standard_normal((values.shape[1], count + _SPARE), dtype=np.float32)
        basis = _orthonormal(values.T @ (values @ start))
        seen = (values @ basis).astype(np.float64)
        _, vectors = np.linalg.eigh(seen.T @ seen)  # in rising order
        found = (basis @ vectors[:, ::-1][:, :count].astype(np.float32)).T
        directions = np.zeros((count, values.shape[1]), dtype=np.float32)  # of photos that differ along fewer, zeros
        directions[: len(found)] = found.astype(np.float16)
        return cls(mean, directions)

    @property
    def rank(self) -> int:
        """Return k."""
        return len(self.directions) + 1

    def project(self, features: np.ndarray) -> np.ndarray:
        """Return (n, k) float32 of features (n, d); rows of NaN where they are not finite."""
        found = np.empty((len(features), self.rank), dtype=np.float32)
        for start in range(0, len(features), _COLUMNS):
            rows = slice(start, start + _COLUMNS)
            values = _of_length_one(features[rows]) - self.mean
            inside = values @ self.directions.T
            left = np.einsum("nd,nd->n", values, values) - np.einsum("nk,nk->n", inside, inside)
            found[rows, :-1], found[rows, -1] = inside, np.sqrt(np.maximum(left, 0))
            found[rows][~np.isfinite(features[rows]).all(axis=1)] = np.nan
        return found


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Return (d, r) float32 orthonormal columns that span those of (d, k), r of them; much faster than `qr` of few."""
    columns = columns.astype(np.float64)
    for _ in range(2):  # the second time removes what rounding left
        values, vectors = np.linalg.eigh(columns.T @ columns)
        large = values > _DEPENDENT * max(float(values.max(initial=0)), np.finfo(np.float64).tiny)
        columns = columns @ (vectors[:, large] / np.sqrt(values[large]))
    return columns.astype(np.float32)


def _of_length_one(features: np.ndarray) -> np.ndarray:
    """Return (n, d) float32 rows of length 1; zeros stay, and so does what is not finite (as zeros)."""
    values = np.where(np.isfinite(features), features, 0).astype(np.float32)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    values /= np.where(largest > 0, largest, 1)  # squares of large numbers are beyond float32
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(lengths > 0, lengths, 1)
    return values


def sample(count: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """Return positions of `most` of `count` at random, in order; all of them where they are no more."""
    return np.arange(count) if count <= most else np.sort(generator.choice(count, most, replace=False))


def nearest_distances(
    queries: np.ndarray,
    known: np.ndarray,
    *,
    count: int = NEAREST,
    own: bool = False,
    projected: bool = False,
    apart: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return (q,) mean Euclidean distances of each of `queries` (q, k) to its `count` nearest of `known` (m, k).

    NaN where a query is not finite or nothing is left to compare it with; where fewer than `count` are left, the mean
    is of these. Distances are exact to about 0.0005 for points of length 1. Memory does not grow with m.

    Args:
        queries: points.
        known: finite points.
        count: of neighbours.
        own: `known` are the queries: each row is no neighbour of its own.
        projected: points are as `Projection.project` gives them. What the directions leave out of two photos is taken
            to have nothing in common, as is nearly so among hundreds of features: the squares of both lengths add up.
        apart: numbers (q,) and (m,): points with equal numbers are no neighbours.
    """
    if own and apart is None:
        apart = np.arange(len(queries)), np.arange(len(known))
    found = np.full(len(queries), np.nan)
    if not len(known):
        return found
    rows = np.flatnonzero(np.isfinite(queries).all(axis=1))
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        numbers = None if apart is None else apart[0][block]
        nearest = np.empty((len(block), 0), dtype=np.float32)
        for first in range(0, len(known), _COLUMNS):
            part = slice(first, first + _COLUMNS)
            squares = _squared_distances(queries[block], known[part], common=-1 if projected else None)
            if apart is not None and numbers is not None:
                squares[numbers[:, None] == apart[1][part]] = np.inf
            nearest = np.concatenate([nearest, squares], axis=1)
            if nearest.shape[1] > count:
                nearest = np.partition(nearest, count - 1, axis=1)[:, :count]
        usable = np.isfinite(nearest)
        sums = np.sqrt(np.where(usable, nearest, 0).astype(np.float64)).sum(axis=1)
        counts = usable.sum(axis=1)
        found[block] = np.divide(sums, counts, out=np.full(len(block), np.nan), where=counts > 0)
    return found


def _squared_distances(first: np.ndarray, second: np.ndarray, common: int | None) -> np.ndarray:
    """Return (a, b) float32 squared distances of points (a, k) and (b, k), whose axes up to `common` are the same."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    squares = first[:, :common] @ second[:, :common].T
    squares *= -2
    squares += np.einsum("ak,ak->a", first, first)[:, None]
    squares += np.einsum("bk,bk->b", second, second)
    return np.asarray(np.maximum(squares, 0, out=squares))


@dataclass(frozen=True, eq=False)
class OutlierScores:
    """How far each of n photos is from the others of its class.

    Attributes:
        distances: (n,) mean distances to the nearest of its class; NaN where it has no neighbour.
        scores: (n,) robust standard deviations of the log distance above the class's median; NaN likewise.
        flagged: (n,) booleans: farther than about 1 of 2,000 photos would be by chance.
        order: positions of the flagged ones, the highest score first.
    """

    distances: np.ndarray
    scores: np.ndarray
    flagged: np.ndarray
    order: np.ndarray


def outliers(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    numbers: np.ndarray | None = None,
    count: int = NEAREST,
    seed: int = 0,
) -> OutlierScores:
    """Return which photos are unlike the others of their class.

    Log distances are compared with their median in the class, in units of 1.4826 median absolute deviations: those of
    the class, or in classes of fewer than 10 photos those of all photos from their classes' medians.

    Args:
        points: (n, k), as `Projection.project` gives them; photos that are not finite are passed over.
        labels: (n,) integers.
        numbers: (n,), equal for near-duplicates, which are no neighbours of each other; None: there are none.
        count: of neighbours.
        seed: of the 5,000 photos of a larger class that all of it are compared with.
    """
    numbers = np.arange(len(points)) if numbers is None else numbers
    generator = np.random.default_rng(seed)
    distances = np.full(len(points), np.nan)
    finite = np.isfinite(points).all(axis=1)
    for label in np.unique(labels):
        own = np.flatnonzero((labels == label) & finite)
        known = own[sample(len(own), _LARGEST_CLASS, generator)]
        distances[own] = nearest_distances(
            points[own], points[known], count=count, projected=True, apart=(numbers[own], numbers[known])
        )
    scores, limits = _robust_scores(distances, labels)
    flagged = np.nan_to_num(scores) > limits
    order = np.flatnonzero(flagged)
    return OutlierScores(distances, scores, flagged, order[np.argsort(-scores[order], kind="stable")])


def _robust_scores(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) scores of distances (n,), NaN where these are, and (n,) limits. See `outliers`."""
    known = np.flatnonzero(~np.isnan(distances))
    logs = np.log(np.maximum(distances[known], _SMALLEST_DISTANCE))
    above, spread, sizes = logs.copy(), np.zeros(len(known)), np.full(len(known), len(known))
    classes = [np.flatnonzero(labels[known] == label) for label in np.unique(labels[known])]
    for own in classes:
        above[own] -= np.median(logs[own])
    pooled = _MAD * float(np.median(np.abs(above))) if len(known) else 0.0
    for own in classes:
        few = len(own) < _OWN_SPREAD
        spread[own] = pooled if few else _MAD * float(np.median(np.abs(above[own])))
        sizes[own] = len(known) if few else len(own)
    scores, limits = np.full(len(distances), np.nan), np.full(len(distances), np.inf)
    scores[known] = np.divide(above, spread, out=np.where(above > 0, np.inf, 0.0), where=spread > 0)
    limits[known] = _LIMIT * (1 + _LIMIT_OF_FEW / np.maximum(sizes, 1))
    return scores, limits
