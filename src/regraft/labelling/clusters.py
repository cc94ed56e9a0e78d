"""K-means on directions of features, and how many clusters photos form."""

import warnings
from dataclasses import dataclass

import numpy as np

from regraft.features.neighbours import Projection, sample

COUNTS = (*range(2, 13), 14, 16, 18, 20, 25, 30, 35, 40)  # of clusters that are compared
RANK = 33  # principal directions by which photos are grouped, and one number for what these leave out
_LEARNED_FROM = 5_000  # photos that the number of clusters is chosen by
_PHOTOS_PER_CLUSTER = 4  # on average: with fewer, a cluster describes single photos
_STARTS = 4
_ITERATIONS = 100
_LEAST_VARIANCE = 1e-6  # of photos of length 1: below are copies


@dataclass(frozen=True, eq=False)
class Clusters:
    """n points in k clusters.

    Attributes:
        numbers: (n,) of each point's cluster, from 0 to k - 1.
        distances: (n,) Euclidean distances to its centre.
        count: k; some may be empty where fewer points are different.
    """

    numbers: np.ndarray
    distances: np.ndarray
    count: int

    def members(self) -> list[np.ndarray]:
        """Return the positions of each cluster's points."""
        return [np.flatnonzero(self.numbers == number) for number in range(self.count)]


def directions(features: np.ndarray) -> np.ndarray:
    """Return features (n, d) with length 1 in float64; those of zeros stay."""
    wide = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))


def k_means(points: np.ndarray, count: int, *, weights: np.ndarray | None = None, seed: int = 0) -> Clusters:
    """Return the clusters of Lloyd's algorithm, started by k-means++ (Arthur and Vassilvitskii 2007).

    Args:
        points: (n, d), n at least `count`.
        count: k.
        weights: (n,) of the points, positive; None: all weigh the same.
        seed: of the starts.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    starts = _STARTS if weights is None else 1
    estimator = KMeans(count, n_init=starts, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        numbers = estimator.fit_predict(points, sample_weight=weights)
    own = estimator.cluster_centers_[numbers]
    return Clusters(numbers.astype(np.int64), np.linalg.norm(points - own, axis=1), count)


def project(features: np.ndarray) -> np.ndarray:
    """Return (n, r) coordinates of features (n, d) along their principal directions, 32 at most."""
    return Projection.of(features, rank=RANK).project(features)[:, :-1].astype(np.float64)


def choose_count(points: np.ndarray, *, seed: int = 0) -> tuple[int, dict[int, float]]:
    """Return how many clusters points form, and the criterion of each number that was tried, the lowest the best.

    The Bayesian information criterion (Schwarz 1978) of a mixture of spherical normal distributions with one variance,
    whose parts are the clusters of k-means, as in X-means (Pelleg and Moore 2000). It has more clusters rather than
    fewer where classes have several looks.

    Args:
        points: (n, d), of which 5,000 at most are looked at.
        seed: of these, and of the starts of k-means.
    """
    points = points[sample(len(points), _LEARNED_FROM, np.random.default_rng(seed))]
    most = max(len(np.unique(points, axis=0)) // _PHOTOS_PER_CLUSTER, 1)
    found = {1: criterion(points, np.zeros(len(points), dtype=np.int64))}
    for count in COUNTS:
        if count <= most:
            found[count] = criterion(points, k_means(points, count, seed=seed).numbers)
    return min(found, key=lambda count: found[count]), found


def criterion(points: np.ndarray, numbers: np.ndarray) -> float:
    """Return the Bayesian information criterion of clusters, see `choose_count`.

    Args:
        points: (n, d).
        numbers: (n,) of each point's cluster.
    """
    n, d = points.shape
    sizes = np.bincount(numbers)
    sizes = sizes[sizes > 0]
    spread = sum(float(((own - own.mean(axis=0)) ** 2).sum()) for own in (points[numbers == k] for k in set(numbers)))
    variance = max(spread / (n * d), _LEAST_VARIANCE)
    likelihood = float((sizes * np.log(sizes / n)).sum()) - n * d / 2 * (np.log(2 * np.pi * variance) + 1)
    parameters = len(sizes) * (d + 1)  # centres; shares but one; the variance
    return float(-2 * likelihood + parameters * np.log(n))
