"""The area under the ROC curve with its variance (DeLong, DeLong and Clarke-Pearson 1988), by placements.

A positive's placement is the share of the negatives that score below it (ties count half), a negative's the share of
the positives above it; the mean of either is the AUC. They are had from midranks in n log n (Sun and Xu 2014). With
groups the variance is Obuchowski's (1997); with folds only photos of the same fold are compared, as each was answered
by a classifier of its own.
"""

import math
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import LEVEL, Interval, effective_groups

_LEAST_GROUPS = 4  # of each class: of fewer, 8 to 17 of 100 samples were called different where nothing was


@dataclass(frozen=True, eq=False)
class AucEstimate:
    """The AUCs of k scores of the same n photos.

    Attributes:
        values: (k,) the areas; NaN where no positive meets a negative.
        influence: (k, n) how far each photo moves each area from its value. Those of the positives add up to 0, and
            those of the negatives.
        positive: (n,) booleans.
        groups: (n,) numbers of photos that are not independent; None: all photos are.
    """

    values: np.ndarray
    influence: np.ndarray
    positive: np.ndarray
    groups: np.ndarray | None

    def covariance(self) -> np.ndarray:
        """Return (k, k) covariances of the areas; NaN with fewer than two positives or negatives (or their groups).

        DeLong's is the sum of those of both classes' placements. Of groups (Obuchowski 1997, equation 3) it is of
        the sums of placements by group, with twice what both classes of a group have in common. Where groups are
        unequal, a group that holds much of a class counts for more, as in `group_variance`; of m equal ones that is
        her m / (m - 1).
        """
        parts = [self._sums(chosen) for chosen in self._classes()]
        found = np.zeros((len(self.values),) * 2)
        for sums, shares in parts:
            found += sums / _left_to_differ(shares) @ sums.T
        if self.groups is not None:
            common, count = parts[0][0] @ parts[1][0].T, len(np.unique(self.groups))
            found += count / max(count - 1, 1) * (common + common.T)
        return found

    def _sums(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (k, u) sums of the influence of the `chosen` photos by unit, and (u,) the shares of these photos."""
        own = np.where(chosen, self.influence, 0.0)
        numbers = np.arange(len(chosen)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]
        sums = own if self.groups is None else np.stack([np.bincount(numbers, row) for row in own])
        return sums, np.bincount(numbers, chosen) / max(chosen.sum(), 1)

    def fewest_units(self) -> int:
        """Return how many photos, or groups of them, the class has that has fewer."""
        return min(int(np.count_nonzero(self._sums(chosen)[1])) for chosen in self._classes())

    def degrees_of_freedom(self, weights: np.ndarray) -> float:
        """Return those of the variance of a combination of the areas, (k,) `weights`.

        Welch's, as the variance is the sum of two that are estimated from each class: from its photos, or from as many
        groups as tell as much as its unequal ones (`effective_groups`).
        """
        parts = []
        for sums, shares in map(self._sums, self._classes()):
            variance = float(np.sum((weights @ sums) ** 2 / _left_to_differ(shares)))
            parts.append((variance, effective_groups(shares) - 1))
        total = sum(part for part, _ in parts)
        return total**2 / sum(part**2 / count for part, count in parts) if total > 0 else math.inf

    def _classes(self) -> tuple[np.ndarray, np.ndarray]:
        return self.positive, ~self.positive


def _left_to_differ(shares: np.ndarray) -> np.ndarray:
    """Return 1 less the shares (u,); NaN where one unit is all, and nothing can be said of a variance."""
    return np.where(shares < 1, 1 - shares, np.nan)


def estimate_auc(
    scores: np.ndarray, positive: np.ndarray, *, groups: np.ndarray | None = None, folds: np.ndarray | None = None
) -> AucEstimate:
    """Return the AUCs of `scores` and what their variance is made of.

    Args:
        scores: (k, n) of the positive class; only their order counts.
        positive: (n,) booleans.
        groups: (n,) numbers of photos that are not independent, or None.
        folds: (n,) numbers; a positive is compared with the negatives of its fold alone, and the area is the share of
            all these pairs that are in order. None compares all.
    """
    scores, positive = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(positive, dtype=bool)
    folds = np.zeros(len(positive)) if folds is None else folds
    before = np.zeros(scores.shape)  # of each photo, how many of the other class are in order with it
    met = np.zeros(len(positive))  # how many of the other class it is compared with
    for fold in np.unique(folds):
        for own, others in ((positive, ~positive), (~positive, positive)):
            own, others = own & (folds == fold), others & (folds == fold)  # noqa: PLW2901
            met[own] = others.sum()
            before[:, own] = _below(scores[:, own], scores[:, others])
    before[:, ~positive] = met[~positive] - before[:, ~positive]  # a negative is in order with the positives above it
    pairs = met[positive].sum()
    if not pairs:
        return AucEstimate(np.full(len(scores), np.nan), np.full(scores.shape, np.nan), positive, groups)
    values = before[:, positive].sum(axis=1) / pairs
    return AucEstimate(values, (before - met * values[:, None]) / pairs, positive, groups)


def _below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (k, m) how many of the (k, o) `others` are below each of the (k, m) `scores`, ties counted half."""
    from scipy.stats import rankdata  # here, for one photo is answered in less time than it takes to import

    together = rankdata(np.concatenate([scores, others], axis=1), axis=1)[:, : scores.shape[1]]
    return np.asarray(together - rankdata(scores, axis=1))


@dataclass(frozen=True)
class AucDifference:
    """How much one area exceeds another on the same photos.

    Attributes:
        value: the first less the second.
        interval: None where too little is known: fewer than two photos of a class, or four groups with some.
        p_value: of the two-sided test that there is none; None likewise.
    """

    value: float
    interval: Interval | None
    p_value: float | None


def auc_difference(
    a: np.ndarray,
    b: np.ndarray,
    positive: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    widening: float = 1.0,
    level: float = LEVEL,
) -> AucDifference:
    """Compare the AUCs of two scores of the same photos (DeLong et al. 1988), with Student's distribution.

    Args:
        a: (n,) scores.
        b: (n,) others.
        positive: (n,) booleans.
        groups: as in `estimate_auc`.
        folds: as in `estimate_auc`.
        widening: of the standard error, as in `paired_tests.fold_widening`.
        level: of the interval.
    """
    from scipy.special import stdtr, stdtrit  # here, for one photo is answered in less time than it takes to import

    found = estimate_auc(np.stack([a, b]), positive, groups=groups, folds=folds)
    contrast = np.array([1.0, -1.0])
    value = float(contrast @ found.values)
    variance = float(contrast @ found.covariance() @ contrast)
    few = groups is not None and found.fewest_units() < _LEAST_GROUPS
    if few or not math.isfinite(variance):
        return AucDifference(value, None, None)
    error = widening * math.sqrt(max(variance, 0.0))
    if not error:  # the same order, or both perfect
        return AucDifference(value, None, None if value else 1.0)
    freedom = found.degrees_of_freedom(contrast)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return AucDifference(value, (value - half, value + half), 2 * float(stdtr(freedom, -abs(value) / error)))
