"""Figures of a classifier, each a small function of labels and probabilities.

Letters: `n` photos, `c` classes. `weights` (n,) say how often each photo counts (the bootstrap draws some twice and
some not at all); left out, each counts once.
"""

from dataclasses import dataclass

import numpy as np

SMALLEST_PROBABILITY = 1e-15  # probabilities are clipped to it before the logarithm
BINS = 15  # of the expected calibration error, as in Guo et al. 2017
_LARGEST_BELOW_ONE = np.nextafter(1.0, 0.0)


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return (c, c) counts: row the true class, column the predicted one."""
    flat = np.bincount(labels * classes + predictions, weights=weights, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes))


def balanced_accuracy(labels: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean over the classes that occur in (n,) `labels` of the share of answers that are `right`, (n,)."""
    weights = np.ones(len(labels)) if weights is None else weights
    support = np.bincount(labels, weights)
    present = support > 0
    hits = np.bincount(labels, weights * right)[present]
    return float(np.mean(hits / support[present])) if present.any() else float("nan")


@dataclass(frozen=True, eq=False)
class PerClass:
    """Figures by class, (c,) each; NaN where there is nothing to divide by."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    predicted: np.ndarray


def per_class(confusion: np.ndarray) -> PerClass:
    """Return precision, recall, F1 (2 tp / (2 tp + fp + fn)), photos and answers of each class."""
    right = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return PerClass(
            precision=right / predicted,
            recall=right / support,
            f1=2 * right / (support + predicted),
            support=support,
            predicted=predicted,
        )


def photo_log_loss(labels: np.ndarray, probabilities: np.ndarray, floor: float = SMALLEST_PROBABILITY) -> np.ndarray:
    """Return (n,) negative natural logarithms of the true class's probability, clipped to `floor`."""
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], floor)))


def photo_brier(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) sums over classes of (probability - truth)^2, each from 0 to 2 (Brier 1950).

    With two classes this is twice the one-column form that scikit-learn's `brier_score_loss` gives.
    """
    right = probabilities[np.arange(len(labels)), labels]
    return np.asarray((probabilities**2).sum(axis=1) - right**2 + (1 - right) ** 2)


def photo_in_top(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return (n,) 1.0 where the true class is among the `k` most probable; of ties the earlier class comes first."""
    right = probabilities[np.arange(len(labels)), labels][:, None]
    before = (np.arange(probabilities.shape[1]) < labels[:, None]) & (probabilities == right)
    return np.asarray(((probabilities > right) | before).sum(axis=1) < k, dtype=float)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, by bins of confidence: (bins,) each, NaN where a bin is empty."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def confidence_bins(probabilities: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return (n,) numbers of the equal-width bins that the top probabilities fall into, each closed on its left."""
    return np.asarray((np.minimum(probabilities.max(axis=1), _LARGEST_BELOW_ONE) * bins).astype(np.int64))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS, weights: np.ndarray | None = None
) -> Reliability:
    """Return the reliability diagram of the top answers (Guo et al. 2017)."""
    bin_of = confidence_bins(probabilities, bins)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    return reliability_of(bin_of, probabilities.max(axis=1), right, bins=bins, weights=weights)


def reliability_of(
    bin_of: np.ndarray, confidence: np.ndarray, right: np.ndarray, *, bins: int, weights: np.ndarray | None = None
) -> Reliability:
    """Return the reliability diagram from (n,) bins, confidences and hits that are already known."""
    weights = np.ones(len(bin_of)) if weights is None else weights
    count = np.bincount(bin_of, weights, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_confidence = np.bincount(bin_of, weights * confidence, bins) / count
        mean_accuracy = np.bincount(bin_of, weights * right, bins) / count
    return Reliability(count, mean_confidence, mean_accuracy)


def expected_calibration_error(diagram: Reliability) -> float:
    """Return the mean distance of confidence from accuracy over a reliability diagram's bins, by count."""
    gaps = np.abs(diagram.confidence - diagram.accuracy)
    return _ratio(float(np.nansum(diagram.count * gaps)), float(diagram.count.sum()))


class Ranking:
    """Scores of one class, sorted once, so that many weightings of the photos cost one pass each."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        """Sort (n,) `scores`; `positive` (n,) says which photos are of the class."""
        self._order = np.argsort(-scores, kind="stable")
        self._positive = np.asarray(positive, dtype=bool)[self._order]
        descending = scores[self._order]
        # the last place of each run of equal scores: a threshold takes all of a run or none
        self._ends = np.flatnonzero(np.append(np.diff(descending) != 0, True)) if len(scores) else np.empty(0, int)

    def _cumulated(self, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        weights = np.ones(len(self._order)) if weights is None else weights[self._order]
        hits = np.cumsum(weights * self._positive)[self._ends]
        false_alarms = np.cumsum(weights * ~self._positive)[self._ends]
        return hits, false_alarms

    def auc(self, weights: np.ndarray | None = None) -> float:
        """Return the area under the ROC curve, ties counted half; NaN unless both kinds occur."""
        hits, alarms = self._cumulated(weights)
        if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
            return float("nan")
        heights = (hits + np.append(0.0, hits[:-1])) / 2
        return float(np.sum(np.diff(alarms, prepend=0.0) * heights) / (hits[-1] * alarms[-1]))

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Return sum_k (recall_k - recall_{k-1}) precision_k, without interpolation; NaN without positives."""
        hits, alarms = self._cumulated(weights)
        if not len(hits) or hits[-1] == 0:
            return float("nan")
        answered = hits + alarms
        precision = np.divide(hits, answered, out=np.zeros_like(hits), where=answered > 0)
        return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
