"""The mean of a bounded figure that is 0 for most photos, with an interval that holds where few are not."""

import numpy as np

from regraft.evaluation.intervals import Mean, wilson
from regraft.evaluation.proportions import proportion_of


def bounded_mean(values: np.ndarray, largest: float, *, groups: np.ndarray | None = None) -> Mean:
    """Return the mean of (n,) values from 0 to `largest`, with a 95 % interval that keeps within these bounds.

    With r = E[x^2] / E[x] the variance of x is m (r - m) at the mean m: that of r times a proportion m / r, whose score
    interval (Wilson 1927) is scaled by r. Where all values but 0 are alike it is that of their share exactly. r is
    estimated with one more value, the largest possible, so that an interval of no or few values above 0 is as wide as
    it must be. With groups the number of photos is the effective one for the share of values above 0.

    Args:
        values: of n photos.
        largest: that a value can have, above 0.
        groups: (n,) numbers; photos of one group are not independent. None: all photos are.
    """
    mean = float(values.mean())
    known = proportion_of(values > 0, groups)
    if known is None:
        return Mean(mean, 0.0, largest)
    ratio = float((values @ values + largest**2) / (values.sum() + largest))
    ratio = max(ratio, mean)  # rounding
    low, high = wilson(mean / ratio * known.trials, known.trials, reach=known.quantile)
    return Mean(mean, ratio * low, min(ratio * high, largest))
