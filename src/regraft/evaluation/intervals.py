"""Confidence intervals: of proportions, of means, and by the bootstrap of everything else."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
RESAMPLES = 1000
_LARGEST_EXPONENT = 700.0  # that a float can hold
Interval = tuple[float, float]


def quantile(level: float = LEVEL, *, groups: int | None = None) -> float:
    """Return how many standard errors an interval reaches: the normal quantile, or Student's for `groups` groups."""
    return NormalDist().inv_cdf((1 + level) / 2) if groups is None else float(stdtrit(groups - 1, (1 + level) / 2))


def wilson(successes: float, trials: float, level: float = LEVEL, *, reach: float | None = None) -> Interval:
    """Return the score interval of a proportion p (Wilson 1927); (NaN, NaN) for no trials.

    It keeps its level for small n and near 0 and 1, where p +- 1.96 standard errors does not. `reach` is the quantile
    to use instead of that of `level`.
    """
    if trials <= 0:
        return float("nan"), float("nan")
    z = quantile(level) if reach is None else reach
    p = successes / trials
    centre = p + z * z / (2 * trials)
    half = z * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)))
    scale = 1 + z * z / trials
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


@dataclass(frozen=True)
class Mean:
    """A mean and its interval."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray, *, groups: np.ndarray | None = None, level: float = LEVEL) -> Mean:
    """Return the mean of (n,) `values` with a normal-theory interval; infinite with fewer than two photos or groups.

    With `groups` (n,) the standard error is that of independent groups, not photos (cluster-robust), with Student's
    quantile of G - 1: se^2 = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2.
    """
    mean = float(np.mean(values))
    sums: np.ndarray = values - mean
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=sums)
    count = len(sums)
    if count < 2:
        return Mean(mean, float("-inf"), float("inf"))
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values))
    half = quantile(level, groups=None if groups is None else count) * error
    return Mean(mean, mean - half, mean + half)


def bootstrap_weights(n: int, *, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield `resamples` times how often each of n photos was drawn, (n,) floats; `groups` (n,) are drawn whole."""
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
    losses: Collection[str] = (),
) -> dict[str, Interval | None]:
    """Return percentile intervals (Efron 1979) of every figure that `figures(weights)` returns.

    A figure that is undefined (NaN) in more than half of the draws has no interval; otherwise such draws are left out.
    `distances` holds the values of the figures that are means of absolute differences, see `distance_interval`.

    Draws of few groups vary too little: with G `groups` the distance of both bounds from the figure is multiplied by
    t / z sqrt(G / (G - 1)), Student's quantile over the normal one and the correction of the variance. One group has no
    interval. `losses` are never below 0 and dominated by few photos (or groups), which the sample may lack: their
    upper bounds are moved out in proportion, on a logarithmic scale.
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
    if groups is None and not losses:
        return intervals
    figure, count, factor = figures(np.ones(n)), n if groups is None else len(np.unique(groups)), 1.0
    if count < 2:
        return dict.fromkeys(intervals)
    if groups is not None:
        factor = quantile(level, groups=count) / quantile(level) * math.sqrt(count / (count - 1))
    return {name: pair and _moved(pair, figure[name], factor, loss=name in losses) for name, pair in intervals.items()}


def _moved(interval: Interval, value: float, factor: float, *, loss: bool) -> Interval:
    below, above = factor * (value - interval[0]), factor * (interval[1] - value)
    if loss and value > 0:
        return value - below, value * math.exp(min(above / value, _LARGEST_EXPONENT))
    return value - below, value + above


def distance_interval(value: float, draws: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of a distance, a mean of absolute differences such as the calibration error, from its draws.

    Noise only adds to a distance, and each draw adds more: the plain percentiles may all lie above the figure. So the
    draws are shifted until their median is the figure, and the lower bound is theirs or, if lower, that of the
    reflected draws (the basic bootstrap, Davison and Hinkley 1997, 5.2), which removes the figure's own noise.
    """
    low, high = _percentiles(draws, level)
    shift = value - float(np.median(draws))
    return max(min(low + shift, 2 * value - high), 0.0), high + shift


def _percentiles(draws: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
