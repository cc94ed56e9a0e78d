"""Proportions of photos that may come in groups, the figures made of them, and the intervals of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import LEVEL, Interval, effective_groups, group_variance, quantile, wilson

_LARGEST_BELOW_ONE = 1 - 1e-9


@dataclass(frozen=True)
class Proportion:
    """A proportion of photos, known as well as from `trials` independent ones.

    Attributes:
        value: from 0 to 1.
        trials: the effective number of photos.
        quantile: how many standard errors the interval reaches: more than the normal 1.96 with few groups.
    """

    value: float
    trials: float
    quantile: float

    def interval(self) -> Interval:
        """Return Wilson's interval, of `trials` photos."""
        return wilson(self.value * self.trials, self.trials, reach=self.quantile)


def proportion_of(
    correct: np.ndarray, groups: np.ndarray | None = None, *, labels: np.ndarray | None = None, level: float = LEVEL
) -> Proportion | None:
    """Return the proportion of `correct` photos; None for no photos, or for a single group of several.

    With groups the effective number is that of the photos divided by the design effect (Kish 1965): the measured
    between-group variance (`group_variance`) over that of independent photos, but at least 1. Where few groups differ
    from the others the measurement is unreliable: it is averaged with the worst case, all photos of a group alike,
    which counts as one group that differs. So groups that are correct throughout are worth no more than their number.

    Args:
        correct: (n,) booleans.
        groups: (n,) numbers; photos of one group are not independent. None: all photos are.
        labels: (n,) classes, which get equal weights however many photos each has; None: photos get equal weights.
        level: of the interval.
    """
    if not len(correct):
        return None
    stratum = np.unique(np.zeros(len(correct)) if labels is None else labels, return_inverse=True)[1]
    support = np.bincount(stratum)
    weights = 1 / (len(support) * support[stratum])  # they add up to 1
    means = np.bincount(stratum, correct) / support
    value, independent = float(means.mean()), float(1 / np.sum(weights**2))
    unit = np.arange(len(correct)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(unit.max()) + 1
    if count == len(correct):
        return Proportion(value, independent, quantile(level))
    if count < 2:
        return None
    shares = np.bincount(unit, weights)
    alike = effective_groups(shares)
    worst = independent / alike
    differing = min(len(np.unique(unit[correct])), len(np.unique(unit[~correct])))
    measured = 1.0
    if differing:
        residuals = np.bincount(unit, weights * (correct - means[stratum]))
        measured = max(independent * group_variance(residuals, shares) / (value * (1 - value)), 1.0)
    effect = (differing * measured + worst) / (differing + 1)
    return Proportion(value, independent / effect, quantile(level, groups=alike))


def chance_of_as_many(count: int, trials: int, *, before: float, of: float) -> float:
    """Return how probable `count` or more of `trials` photos are where `before` of `of` others were, by chance alone.

    Both are of one source then, whose share is not known: the count is beta-binomial, and this is Fisher's exact test,
    one-sided. `before` and `of` may be effective numbers of photos in groups.
    """
    from scipy.special import (  # here, for one photo is answered in less time than it takes to import
        betaln,
        gammaln,
        logsumexp,
    )

    if count <= 0:
        return 1.0
    counts = np.arange(count, trials + 1)
    first, second = before + 1, max(of - before, 1e-9)
    ways = gammaln(trials + 1) - gammaln(counts + 1) - gammaln(trials - counts + 1)
    logs = ways + betaln(counts + first, trials - counts + second) - betaln(first, second)
    return min(float(np.exp(logsumexp(logs))), 1.0)


def interval_of(proportion: Proportion | None) -> Interval | None:
    """Return the interval of `proportion`, None where nothing is known."""
    return None if proportion is None else proportion.interval()


def mean_of_proportions(proportions: Sequence[Proportion | None]) -> Interval | None:
    """Return the interval of the mean of independent proportions (MOVER, Zou and Donner 2008).

    The distances of their bounds from their values add up like standard errors. A proportion that is None may be
    anything from 0 to 1; if all are, so is the result.
    """
    known = [proportion for proportion in proportions if proportion is not None]
    if not known:
        return None
    unknown = (len(proportions) - len(known)) / len(proportions)
    bounds = np.array([proportion.interval() for proportion in known])
    values = np.array([proportion.value for proportion in known])
    below, above = (np.sqrt(np.sum((bounds - values[:, None]) ** 2, axis=0)) / len(proportions)).tolist()
    centre = float(values.sum()) / len(proportions)
    return max(centre - below, 0.0), min(centre + above + unknown, 1.0)


def wider(one: Interval | None, other: Interval | None) -> Interval | None:
    """Return the interval from the lower of the lower bounds to the higher of the upper ones; None is ignored."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def auc_interval(auc: float, positive: Proportion, negative: Proportion, shares: np.ndarray | None = None) -> Interval:
    """Return the score interval of an area under the ROC curve (Newcombe 2006, method 5), by two effective numbers.

    It solves |auc - a| = q standard errors, those of Hanley and McNeil (1982) at a, so that a perfect ranking has an
    interval too. Of pairs within folds the variances of the folds are put together by their squared numbers of pairs.

    Args:
        auc: the area.
        positive: with how many there are.
        negative: with how many there are.
        shares: (folds, 2) of the positives and of the negatives that are in each fold; None: all are in one.
    """
    reach = max(positive.quantile, negative.quantile)
    counts = (np.ones((1, 2)) if shares is None else shares) * [positive.trials, negative.trials]
    pairs = counts.prod(axis=1)
    others = float(pairs @ np.maximum(counts.mean(axis=1) - 1, 0.0) / pairs.sum())  # of a pair's photos, on average
    low = _auc_bound(auc, float(pairs.sum()), others, reach)
    return low, 1 - _auc_bound(1 - auc, float(pairs.sum()), others, reach)


def _auc_bound(auc: float, pairs: float, others: float, reach: float) -> float:
    from scipy.optimize import brentq  # here, for one photo is answered in less time than it takes to import

    def beyond(a: float) -> float:
        spread = 1 + others * ((1 - a) / (2 - a) + a / (1 + a))
        return auc - a - reach * float(np.sqrt(a * (1 - a) * spread / pairs))

    upper = min(auc, _LARGEST_BELOW_ONE)
    return float(brentq(beyond, 0.0, upper)) if upper > 0 and beyond(upper) < 0 else 0.0
