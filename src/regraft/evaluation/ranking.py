"""How well scores rank the photos of one class before all others: ROC AUC and average precision."""

import numpy as np


class Ranking:
    """Scores of one class, sorted once, so that each weighting of the photos costs one pass."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        """Sort (n,) `scores`; `positive` (n,) says which photos are of the class."""
        self._order = np.argsort(-scores, kind="stable")
        self._positive = np.asarray(positive, dtype=bool)[self._order]
        descending = scores[self._order]
        # the last index of each run of equal scores: a threshold takes all of a run or none
        self._ends = np.flatnonzero(np.append(np.diff(descending) != 0, True)) if len(scores) else np.empty(0, int)

    def _cumulative(self, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        weights = np.ones(len(self._order)) if weights is None else weights[self._order]
        hits = np.cumsum(weights * self._positive)[self._ends]
        false_alarms = np.cumsum(weights * ~self._positive)[self._ends]
        return hits, false_alarms

    def auc(self, weights: np.ndarray | None = None) -> float:
        """Return the area under the ROC curve, ties counted half; NaN unless there are positives and negatives."""
        hits, alarms = self._cumulative(weights)
        if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
            return float("nan")
        heights = (hits + np.append(0.0, hits[:-1])) / 2
        return float(np.sum(np.diff(alarms, prepend=0.0) * heights) / (hits[-1] * alarms[-1]))

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Return sum_k (recall_k - recall_{k-1}) precision_k, without interpolation; NaN without positives."""
        hits, alarms = self._cumulative(weights)
        if not len(hits) or hits[-1] == 0:
            return float("nan")
        answered = hits + alarms
        precision = np.divide(hits, answered, out=np.zeros_like(hits), where=answered > 0)
        return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])
