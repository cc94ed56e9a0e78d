"""How far a figure could be off: intervals for shares, means and everything else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
Interval = tuple[float, float]


def wilson(successes: float, trials: float, level: float = LEVEL) -> Interval:
    """Return the score interval of a share (Wilson 1927); (NaN, NaN) for no trials.

    It holds its level for small n and near 0 and 1, where share +- 1.96 standard errors does not.
    """
    if trials <= 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    whole = 1 + z * z / trials
    return max((centre - half) / whole, 0.0), min((centre + half) / whole, 1.0)


@dataclass(frozen=True)
class Mean:
    """A mean and its interval."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray, *, groups: np.ndarray | None = None, level: float = LEVEL) -> Mean:
    """Return the mean of (n,) `values` with a normal-theory interval; infinite with fewer than two photos or groups.

    With `groups` (n,) the standard error is that of independent groups, not photos (the cluster-robust one):
    se^2 = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2.
    """
    mean = float(np.mean(values))
    sums: np.ndarray = values - mean
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=sums)
    count = len(sums)
    if count < 2:
        return Mean(mean, float("-inf"), float("inf"))
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values))
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    return Mean(mean, mean - half, mean + half)


def bootstrap_weights(n: int, *, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield `resamples` times how often each of n photos was drawn, (n,) floats; whole groups with `groups` (n,)."""
    generator = np.random.default_rng(seed)
    units = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max()) + 1 if n else 0
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, count, size=count), minlength=count)
        yield drawn[units].astype(np.float64)


def bootstrap(
    figures: Callable[[np.ndarray], Mapping[str, float]],
    n: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: np.ndarray | None = None,
    level: float = LEVEL,
    distances: Mapping[str, float] | None = None,
) -> dict[str, Interval | None]:
    """Return percentile intervals (Efron 1979) of every figure that `figures(weights)` gives.

    A figure that is undefined (NaN) in more than half of the draws has no interval; else such draws are left out.
    `distances` holds the values of the figures that are means of absolute differences, see `distance_interval`.
    """
    distances = distances or {}
    draws = [dict(figures(weights)) for weights in bootstrap_weights(n, resamples=resamples, seed=seed, groups=groups)]
    intervals: dict[str, Interval | None] = {}
    for name in draws[0] if draws else ():
        values = np.array([draw[name] for draw in draws])
        values = values[np.isfinite(values)]
        if 2 * len(values) < len(draws):
            intervals[name] = None
        elif name in distances:
            intervals[name] = distance_interval(distances[name], values, level)
        else:
            intervals[name] = _percentiles(values, level)
    return intervals


def distance_interval(value: float, draws: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of a distance, a mean of absolute differences such as the calibration error, from its draws.

    Noise only adds to a distance, and each draw adds some more: the plain percentiles may all lie above the figure. So
    the draws are moved until their median is the figure, and the lower bound is theirs or, if that is lower, the one
    of the reflected draws (the basic bootstrap, Davison and Hinkley 1997, 5.2), which takes off the figure's own noise.
    """
    low, high = _percentiles(draws, level)
    shift = value - float(np.median(draws))
    return max(min(low + shift, 2 * value - high), 0.0), high + shift


def _percentiles(draws: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
