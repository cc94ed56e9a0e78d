"""Tests of paired differences: exact ones of right answers, of means, and Holm's correction for several."""

import math
from collections.abc import Sequence

import numpy as np

from regraft.evaluation.intervals import LEVEL, Interval, Mean, mean_interval, quantile

SIGNIFICANCE = 1 - LEVEL
_DRAWS = 10_000  # of signs
_LEAST_P = 1e-14  # that a float's distance from 1 can tell
_ROUNDING = 1e-9


def mcnemar(won: int, lost: int) -> float:
    """Return McNemar's exact two-sided p-value: the sign test of photos that one of two answers rightly.

    Four won and none lost are chance in one of eight cases; it takes six.

    Args:
        won: photos that only the first answers rightly.
        lost: photos that only the second answers rightly.
    """
    from scipy.special import bdtr  # here, for one photo is answered in less time than it takes to import

    return min(2 * float(bdtr(min(won, lost), won + lost, 0.5)), 1.0) if won + lost else 1.0


def score_interval(won: int, lost: int, n: int, level: float = LEVEL) -> Interval:
    """Return the interval of (won - lost) / n, two proportions of the same n photos (Tango 1998).

    It holds the differences d for which |won - lost - n d| is at most z standard errors, those of the share of photos
    lost that is most likely given d.
    """
    from scipy.optimize import brentq  # here, for one photo is answered in less time than it takes to import

    z = quantile(level)

    def beyond(d: float) -> float:
        b, c = -won - lost + (2 * n - won + lost) * d, -lost * d * (1 - d)
        share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        return won - lost - n * d - math.copysign(z, value - d) * math.sqrt(max(n * (2 * share + d * (1 - d)), 0.0))

    value = (won - lost) / n
    low = -1.0 if value <= -1 else float(brentq(beyond, -1.0, value - 1e-12))
    high = 1.0 if value >= 1 else float(brentq(beyond, value + 1e-12, 1.0))
    return low, high


def sign_flip_test(differences: np.ndarray, groups: np.ndarray | None = None, *, seed: int = 0) -> float:
    """Return the two-sided p-value of the sum of (n,) `differences` if each could as well have the other sign.

    It is Fisher's randomisation test for pairs: had the two classifiers changed places, so had the sign. `groups` (n,)
    change places as a whole. Whole numbers are tested exactly, others by 10,000 draws of the signs.
    """
    sums = differences if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1], differences)
    sizes, counts = np.unique(np.abs(sums[np.abs(sums) > _ROUNDING]), return_counts=True)
    least = abs(float(sums.sum())) - _ROUNDING
    if not len(sizes) or least <= 0:
        return 1.0
    if np.all(sizes == np.round(sizes)):
        chances = _chances_of_sums(sizes.astype(np.int64), counts)
        return float(min(max(2 * chances[math.ceil(least) :].sum(), _LEAST_P), 1.0))
    generator, total = np.random.default_rng(seed), np.zeros(_DRAWS)
    for size, count in zip(sizes, counts, strict=True):
        total += size * (2 * generator.binomial(count, 0.5, _DRAWS) - count)
    return float((np.sum(np.abs(total) >= least) + 1) / (_DRAWS + 1))


def _chances_of_sums(sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (s + 1,) probabilities of the sums 0 to s of `counts` times `sizes` with random signs, s the largest.

    They are the inverse Fourier transform of the product of the terms' characteristic functions, cosines.
    """
    largest = int(sizes @ counts)
    length = 2 * largest + 1
    angles = 2 * np.pi * np.arange(largest + 1) / length
    transformed = np.ones(largest + 1)
    for size, count in zip(sizes, counts, strict=True):
        transformed *= np.cos(angles * size) ** count
    return np.asarray(np.fft.irfft(transformed, length)[: largest + 1])


def fold_widening(folds: np.ndarray | None) -> float:
    """Return by how much errors of differences grow where (n,) `folds` were answered by classifiers of their own.

    These classifiers learned from nearly the same photos, so that what they owe to the luck of these photos does not
    average out over the folds. Nadeau and Bengio (2003) correct the variance of k folds from s^2 / k to
    (1 / k + n_test / n_train) s^2, which is 1 + k / (k - 1) times as much; one fold alone is taken for one of five.
    """
    count = 0 if folds is None else len(np.unique(folds))
    return math.sqrt(1 + count / max(count - 1, 4 if count == 1 else 1))


def mean_test(
    differences: np.ndarray, groups: np.ndarray | None = None, *, widening: float = 1.0
) -> tuple[Mean, float | None]:
    """Return the mean of (n,) `differences` with its interval and the two-sided p-value that goes with that.

    The interval is `mean_interval`'s with Student's quantile, of photos too, times `widening`; at the level of 1 - p it
    ends at 0. The p-value is None with fewer than two photos or groups.
    """
    from scipy.optimize import brentq  # here, for one photo is answered in less time than it takes to import

    groups = np.arange(len(differences)) if groups is None else groups
    mean = _widened(mean_interval(differences, groups=groups), widening)
    if not math.isfinite(mean.low):
        return mean, None
    if mean.low == mean.high or not mean.value:
        return mean, 1.0 if not mean.value else None

    def beyond(log_p: float) -> float:
        found = _widened(mean_interval(differences, groups=groups, level=1 - math.exp(log_p)), widening)
        return (found.high - found.low) / 2 - abs(mean.value)

    least, most = math.log(_LEAST_P), math.log1p(-1e-9)
    if beyond(least) <= 0:
        return mean, _LEAST_P
    return mean, 1.0 if beyond(most) >= 0 else math.exp(brentq(beyond, least, most, xtol=1e-6))


def _widened(mean: Mean, widening: float) -> Mean:
    return Mean(mean.value, *widened((mean.low, mean.high), mean.value, widening))


def widened(interval: Interval, value: float, widening: float) -> Interval:
    """Return the interval with both bounds `widening` times as far from the value."""
    return value - widening * (value - interval[0]), value + widening * (interval[1] - value)


def right_answers_test(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, folds: np.ndarray | None = None, *, seed: int = 0
) -> tuple[Mean, float | None]:
    """Return the share of photos that `a` answers rightly less that of `b`, with its interval and two-sided p-value.

    The interval holds 0 where the p-value is above 5 %. Of too few it is infinite, and the p-value None.

    Args:
        a: (n,) booleans: which photos the one answers rightly.
        b: (n,) booleans of the other.
        groups: (n,) numbers of photos that are not independent, or None.
        folds: (n,) numbers, where folds were answered by classifiers of their own (`fold_widening`); None: one answered
            all.
        seed: of the signs that are drawn.
    """
    won, lost, widening = int((a & ~b).sum()), int((b & ~a).sum()), fold_widening(folds)
    value, differences = (won - lost) / len(a), a.astype(float) - b
    p_value, interval = signs_and_mean(differences, differences, groups, widening=widening, seed=seed)
    if groups is None:
        interval = widened(score_interval(won, lost, len(a)), value, widening)
        p_value = mcnemar(won, lost) if folds is None else p_value
    low, high = holding_0(interval, p_value) or (-math.inf, math.inf)
    if math.isfinite(high - low):  # widened, it may reach beyond what shares can differ by
        low, high = max(low, -1.0), min(high, 1.0)
    return Mean(value, low, high), p_value


def signs_and_mean(
    signed: np.ndarray, values: np.ndarray, groups: np.ndarray | None, *, widening: float, seed: int
) -> tuple[float | None, Interval | None]:
    """Return the larger p-value of two tests, the signs of (n,) `signed` and the mean of `values`, and its interval.

    The mean's takes four photos won and none lost for proof; that of signs supposes that both are alike in all. Where
    nothing differs, as many units could differ as in `score_interval`.
    """
    mean, p_value = mean_test(values, groups, widening=widening)
    if p_value is None:
        return None, None
    if not signed.any():
        units = len(signed) if groups is None else len(np.unique(groups))
        return 1.0, score_interval(0, 0, units)
    return max(p_value, sign_flip_test(signed, groups, seed=seed)), (mean.low, mean.high)


def holding_0(interval: Interval | None, p_value: float | None) -> Interval | None:
    """Return the interval, up to 0 where that is not excluded."""
    if interval is None or (p_value is not None and p_value <= SIGNIFICANCE):
        return interval
    return min(interval[0], 0.0), max(interval[1], 0.0)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values that are corrected for their number (Holm 1979); None, which counts as no test, stays None.

    If no hypothesis is rejected but where its corrected p-value is at most 5 %, the chance that any is rejected
    wrongly is at most 5 %.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min((len(known) - rank) * p, 1.0))
        found[place] = largest
    return found
