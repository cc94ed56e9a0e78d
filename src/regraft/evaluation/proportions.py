"""Shares of photos that may come in groups, the figures made of shares, and how far both could be off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from regraft.evaluation.intervals import LEVEL, Interval, quantile, wilson

_LARGEST_BELOW_ONE = 1 - 1e-9


@dataclass(frozen=True)
class Share:
    """A share of photos, known as well as by `trials` independent ones.

    Attributes:
        value: the share.
        trials: the effective number of photos.
        quantile: how many standard errors the interval reaches: more than the normal 1.96 with few groups.
    """

    value: float
    trials: float
    quantile: float

    def interval(self) -> Interval:
        """Return Wilson's interval, of `trials` photos."""
        return wilson(self.value * self.trials, self.trials, reach=self.quantile)


def share_of(
    right: np.ndarray, groups: np.ndarray | None = None, *, labels: np.ndarray | None = None, level: float = LEVEL
) -> Share | None:
    """Return the share of `right` photos with what is known of it; None for no photos, or for one group of several.

    In groups the effective number is that of the photos divided by the design effect (Kish 1965): the variance that is
    measured between groups, over that of independent photos, but at least 1. Where few groups differ from the others
    the measurement says little: it is averaged with the worst case, all photos of a group alike, which counts as one
    group that differs. So if all groups are right throughout, no more is known than their number says.

    Args:
        right: (n,) booleans.
        groups: (n,) numbers of what is not independent, or None.
        labels: (n,) classes that weigh the same, however many photos each has; None: photos weigh the same.
        level: of the interval.
    """
    if not len(right):
        return None
    stratum = np.unique(np.zeros(len(right)) if labels is None else labels, return_inverse=True)[1]
    support = np.bincount(stratum)
    weights = 1 / (len(support) * support[stratum])  # they add up to 1
    means = np.bincount(stratum, right) / support
    value, independent = float(means.mean()), float(1 / np.sum(weights**2))
    unit = np.arange(len(right)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(unit.max()) + 1
    if count == len(right):
        return Share(value, independent, quantile(level))
    if count < 2:
        return None
    worst = independent * float(np.sum(np.bincount(unit, weights) ** 2))
    differing = min(len(np.unique(unit[right])), len(np.unique(unit[~right])))
    measured = 1.0
    if differing:
        residuals = np.bincount(unit, weights * (right - means[stratum]))
        variance = count / (count - 1) * float(np.sum(residuals**2))
        measured = max(independent * variance / (value * (1 - value)), 1.0)
    effect = (differing * measured + worst) / (differing + 1)
    return Share(value, independent / effect, quantile(level, groups=count))


def interval_of(share: Share | None) -> Interval | None:
    """Return the interval of `share`, None where nothing is known."""
    return None if share is None else share.interval()


def mean_of_shares(shares: Sequence[Share | None]) -> Interval | None:
    """Return the interval of the mean of independent shares from their own intervals (MOVER, Zou and Donner 2008).

    The distances of the bounds from the shares add up like standard errors. Of a share that is None nothing is known:
    it may be anything from 0 to 1. None if that is said of all.
    """
    known = [share for share in shares if share is not None]
    if not known:
        return None
    unknown = (len(shares) - len(known)) / len(shares)
    bounds = np.array([share.interval() for share in known])
    values = np.array([share.value for share in known])
    below, above = (np.sqrt(np.sum((bounds - values[:, None]) ** 2, axis=0)) / len(shares)).tolist()
    centre = float(values.sum()) / len(shares)
    return max(centre - below, 0.0), min(centre + above + unknown, 1.0)


def wider(one: Interval | None, other: Interval | None) -> Interval | None:
    """Return from the lower of the lower bounds to the higher of the higher; None takes no part."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def auc_interval(auc: float, positive: Share, negative: Share) -> Interval:
    """Return the score interval of an area under the ROC curve (Newcombe 2006, method 5), by two effective numbers.

    It solves |auc - a| = q standard errors, those of Hanley and McNeil (1982) at a, and so says of a perfect ranking
    how imperfect the truth may be.
    """
    reach = max(positive.quantile, negative.quantile)
    low = _auc_bound(auc, positive.trials, negative.trials, reach)
    return low, 1 - _auc_bound(1 - auc, positive.trials, negative.trials, reach)


def _auc_bound(auc: float, positives: float, negatives: float, reach: float) -> float:
    others = (positives + negatives) / 2 - 1

    def beyond(a: float) -> float:
        spread = 1 + others * ((1 - a) / (2 - a) + a / (1 + a))
        return auc - a - reach * float(np.sqrt(a * (1 - a) * spread / (positives * negatives)))

    upper = min(auc, _LARGEST_BELOW_ONE)
    return float(brentq(beyond, 0.0, upper)) if upper > 0 and beyond(upper) < 0 else 0.0
