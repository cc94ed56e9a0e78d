"""Confidence intervals: of proportions, of means, and by the bootstrap of everything else."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
_LARGEST_EXPONENT = 700.0  # that a float can hold
_LARGEST_QUANTILE = 1e6  # of nearly all photos in one group nothing is known; its square is still a number
Interval = tuple[float, float]


def quantile(level: float = LEVEL, *, groups: float | None = None) -> float:
    """Return how many standard errors an interval reaches: the normal quantile, or Student's for `groups` groups.

    Of unequal groups that is their effective number, which need not be whole.
    """
    from scipy.special import stdtrit  # here, for one photo is answered in less time than it takes to import

    if groups is None:
        return NormalDist().inv_cdf((1 + level) / 2)
    return min(float(stdtrit(groups - 1, (1 + level) / 2)), _LARGEST_QUANTILE)


def effective_groups(shares: np.ndarray) -> float:
    """Return how many equal groups tell as much as those with `shares` (g,) of all weight (Kish 1965): 1 / sum s^2."""
    return float(1 / np.sum(shares**2))


def group_variance(residuals: np.ndarray, shares: np.ndarray) -> float:
    """Return the variance of a mean from independent groups that may be unequal (CR2 of Bell and McCaffrey 2002).

    A group that holds much of the weight draws the mean towards itself, which leaves it less to differ by: the expected
    square of its residual is too small by the factor 1 - share, and is divided by it.

    Args:
        residuals: (g,) sums of weight times what a photo differs from the mean; the weights of all photos add up to 1.
        shares: (g,) sums of the weights.
    """
    return float(np.sum(residuals**2 / (1 - shares)))


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

    With `groups` (n,) the standard error is that of independent groups, not photos (cluster-robust), see
    `group_variance`, with Student's quantile of their effective number.
    """
    n, mean = len(values), float(np.mean(values))
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    shares = np.bincount(unit) / n
    if len(shares) < 2:
        return Mean(mean, float("-inf"), float("inf"))
    error = math.sqrt(group_variance(np.bincount(unit, weights=values - mean) / n, shares))
    half = quantile(level, groups=None if groups is None else effective_groups(shares)) * error
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

    Draws of few groups vary too little: with G `groups`, their effective number, the distance of both bounds from the
    figure is multiplied by t / z sqrt(G / (G - 1)), Student's quantile over the normal one and the correction of the
    variance. One group has no interval. `losses` are never below 0 and dominated by few photos (or groups), which the
    sample may lack: their upper bounds are moved out in proportion, on a logarithmic scale.
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
    sizes, factor = np.ones(n) if groups is None else np.unique(groups, return_counts=True)[1], 1.0
    if len(sizes) < 2:
        return dict.fromkeys(intervals)
    if groups is not None:
        count = effective_groups(sizes / n)
        factor = quantile(level, groups=count) / quantile(level) * math.sqrt(count / (count - 1))
    figure = figures(np.ones(n))
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
