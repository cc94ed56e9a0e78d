"""How well scores rank the photos of one class before all others: ROC AUC and average precision.

Out-of-fold scores come from several classifiers, and each of them has learned from the more photos of a class the fewer
of them its own fold holds: its intercept is high where few positives are held out, and low where many are. Ranked
together such scores look worse than any of these classifiers (Parker et al. 2007, Airola et al. 2011): an AUC of 0.38
to 0.46 on noise. So the AUC is of pairs within a fold (LeDell et al. 2015). For the average precision, which has no
pairs and is too large in small folds, what the folds differ by is taken from the scores first (analysis of covariance).
"""

from functools import cached_property

import numpy as np

_SMALLEST_ODDS, _MILDEST = 1e-15, 1e-3  # probabilities are clipped to these: as scores, and to find a fold's mean


class _Descending:
    """Photos in descending order of their scores within each fold."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> None:
        self._order = np.lexsort((-scores, folds))
        self._positive, fold = positive[self._order], folds[self._order]
        # where each run of equal scores begins: a threshold takes all of a run or none
        changes = (np.diff(scores[self._order]) != 0) | (np.diff(fold) != 0)
        self._starts = np.flatnonzero(np.append(True, changes)) if len(scores) else np.empty(0, int)
        self._fold = fold[self._starts]

    def counts(self, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return positives and negatives of each run, (runs,) each."""
        weights = np.ones(len(self._order)) if weights is None else weights[self._order]
        if not len(self._starts):
            return np.zeros(0), np.zeros(0)
        return (
            np.add.reduceat(weights * self._positive, self._starts),
            np.add.reduceat(weights * ~self._positive, self._starts),
        )

    def auc(self, weights: np.ndarray | None) -> float:
        """Return the share of pairs of one fold in which the positive comes first, ties counted half."""
        positives, negatives = self.counts(weights)
        of_fold = np.bincount(self._fold, positives)
        pairs = float(of_fold @ np.bincount(self._fold, negatives))
        if pairs == 0:
            return float("nan")
        before = np.cumsum(positives) - positives / 2 - (np.cumsum(of_fold) - of_fold)[self._fold]
        return float(before @ negatives) / pairs

    def average_precision(self, weights: np.ndarray | None) -> float:
        """Return sum_k (recall_k - recall_{k-1}) precision_k over all runs, whatever their folds; NaN of one kind."""
        positives, negatives = self.counts(weights)
        hits = np.cumsum(positives)
        if not len(hits) or hits[-1] == 0 or not negatives.any():  # without negatives any order is perfect
            return float("nan")
        answered = hits + np.cumsum(negatives)
        precision = np.divide(hits, answered, out=np.zeros_like(hits), where=answered > 0)
        return float(np.sum(positives * precision) / hits[-1])


class Ranking:
    """Scores of one class, sorted once, so that each weighting of the photos costs one pass.

    Args:
        positive: (n,) which photos are of the class.
        scores: (n,); with folds probabilities.
        folds: (n,) which classifier gave each score, None for one alone. Folds without photos of both kinds tell
            nothing: they are left out, and where there are no others the figures are NaN.
    """

    def __init__(self, positive: np.ndarray, scores: np.ndarray, folds: np.ndarray | None = None) -> None:
        """Sort the scores."""
        self._positive, self._scores = np.asarray(positive, dtype=bool), scores
        one = np.zeros(len(scores), dtype=int)
        self._folds = one if folds is None else np.unique(folds, return_inverse=True)[1].ravel()
        self._within = _Descending(self._positive, scores, self._folds)

    @cached_property
    def shares(self) -> np.ndarray:
        """Return (folds, 2): the shares of all positives, and of all negatives, that are in each fold."""
        counts = np.stack([np.bincount(self._folds, self._positive), np.bincount(self._folds, ~self._positive)], axis=1)
        return np.asarray(counts / np.maximum(counts.sum(axis=0), 1))

    def auc(self, weights: np.ndarray | None = None) -> float:
        """Return the area under the ROC curve within folds, ties counted half; NaN without a pair of both kinds."""
        return self._within.auc(weights)

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Return sum_k (recall_k - recall_{k-1}) precision_k, without interpolation; NaN of one kind alone."""
        if len(self.shares) == 1:
            return self._within.average_precision(weights)
        balance, across = self._across
        return across.average_precision(balance if weights is None else balance * weights)

    @property
    def comparable(self) -> np.ndarray:
        """Return (n,) scores that photos of different folds can be compared by; of one classifier its own."""
        return self._scores if len(self.shares) == 1 else self._adjusted

    @cached_property
    def _across(self) -> tuple[np.ndarray, _Descending]:
        """Return (n,) weights and the order of all photos together, by scores whose folds are comparable.

        Photos of folds that lack a kind get no weight, and the others as much more as keeps the share of positives.
        """
        share = np.bincount(self._folds, self._positive) / np.bincount(self._folds)
        both = (share > 0) & (share < 1)
        kept = self.shares[both].sum(axis=0)
        balance = both[self._folds] / np.where(self._positive, *kept) if both.any() else np.zeros(len(self._folds))
        return balance, _Descending(self._positive, self._adjusted, np.zeros(len(self._folds), dtype=int))

    @cached_property
    def _adjusted(self) -> np.ndarray:
        """Return (n,) log odds without what their folds differ by.

        They are own of the fold + step if positive + noise, and the step is estimated within folds.
        """
        positive, fold = self._positive, self._folds
        sizes = np.bincount(fold)
        share = np.bincount(fold, positive) / sizes
        known = _log_odds(self._scores, _MILDEST)
        apart = positive - share[fold]
        step = float(apart @ known / max(float(apart @ apart), _SMALLEST_ODDS))
        own = np.bincount(fold, known) / sizes - step * share
        return np.asarray(_log_odds(self._scores, _SMALLEST_ODDS) - own[fold])


def _log_odds(probabilities: np.ndarray, least: float) -> np.ndarray:
    clipped = np.clip(probabilities.astype(float), least, 1 - least)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
