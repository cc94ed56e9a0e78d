"""Thresholds that new photos fall short of with a known probability, whatever the distribution of the scores."""

import numpy as np

EXACT = 1e-9  # of a group, for the rounding of binary fractions


def least_covering(
    scores: np.ndarray, groups: np.ndarray | None, missing: float, *, slack: float = EXACT
) -> tuple[float, float] | None:
    """Return the largest score that a new one falls short of with a probability of `missing` at most, and which it is.

    Of m independent photos it is the k-th smallest score, k = floor(missing (m + 1)), which a new one falls short of
    with probability k / (m + 1) at most. Of groups each has the weight of one, dealt equally among its photos, and the
    same holds of a photo of a new group (Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical
    data").

    Args:
        scores: (m,).
        groups: (m,) numbers of photos that are not independent; None: all are.
        missing: from 0 to 1.
        slack: groups by which `missing` may be exceeded: a half rounds to the nearest rank.

    Returns:
        The score and its probability; None where too few photos or groups can promise that.
    """
    order, weights = np.argsort(scores, kind="stable"), _weights(scores, groups)
    below, whole = np.cumsum(weights[order]) - weights[order], float(weights.sum()) + 1
    allowed = np.flatnonzero(below + 1 <= missing * whole + slack)
    if not len(allowed):
        return None
    return float(scores[order][allowed[-1]]), float(below[allowed[-1]] + 1) / whole


def probability_below(threshold: float, scores: np.ndarray, groups: np.ndarray | None) -> float:
    """Return the probability with which a new score falls short of the least of `scores` (m,) that `threshold` passes.

    Args:
        threshold: any.
        scores: (m,).
        groups: as of `least_covering`.
    """
    weights = _weights(scores, groups)
    return float((weights[scores < threshold].sum() + 1) / (weights.sum() + 1))


def _weights(scores: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return (m,) weights: of a group 1 together."""
    if groups is None:
        return np.ones(len(scores))
    of = np.unique(groups, return_inverse=True)[1].ravel()
    return np.asarray((1 / np.bincount(of))[of])
