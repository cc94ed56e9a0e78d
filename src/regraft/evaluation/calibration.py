"""Calibration (Guo et al. 2017, "On calibration of modern networks"): temperature scaling and reliability diagrams."""

from dataclasses import dataclass

import numpy as np

LOWEST, HIGHEST = 0.05, 20.0
BINS = 15  # of the expected calibration error, as in Guo et al. 2017
_LARGEST_BELOW_ONE = np.nextafter(1.0, 0.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature from `LOWEST` to `HIGHEST` with the least mean log loss against smoothed targets.

    The targets t_i are 1 - 1 / (n + 2) for each photo's class and equal parts of the rest for the others, as in Platt
    (1999): a few photos, all classified correctly, must not make the classifier overconfident.
    With b = 1 / temperature the log loss is convex, its slope

        mean_i( sum_k (p_ik(b) - t_ik) z_ik ),

    increasing in b; its zero is found by Brent's method.

    Args:
        logits: (n, c), of photos that the head was not fitted on.
        labels: (n,) integers from 0 to c - 1.
    """
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)  # the probabilities stay the same, and no exponential overflows
    n, classes = logits.shape
    from scipy.optimize import brentq  # here, for one photo is answered in less time than it takes to import

    truth = logits[np.arange(n), labels]
    smoothing = 1 / (n + 2)
    target = np.mean((1 - smoothing) * truth + smoothing * (logits.sum(axis=1) - truth) / (classes - 1))

    def slope(inverse: float) -> float:
        odds = np.exp(inverse * logits)
        return float(np.mean(np.einsum("nc,nc->n", odds, logits) / odds.sum(axis=1)) - target)

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    if slope(1 / LOWEST) <= 0:
        return LOWEST
    return float(1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST))


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
    bin_of: np.ndarray,
    confidence: np.ndarray,
    correct: np.ndarray,
    *,
    bins: int = BINS,
    weights: np.ndarray | None = None,
) -> Reliability:
    """Return the reliability diagram (Guo et al. 2017) of top answers from their (n,) bins, confidences and hits."""
    weights = np.ones(len(bin_of)) if weights is None else weights
    count = np.bincount(bin_of, weights, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_confidence = np.bincount(bin_of, weights * confidence, bins) / count
        mean_accuracy = np.bincount(bin_of, weights * correct, bins) / count
    return Reliability(count, mean_confidence, mean_accuracy)


def expected_calibration_error(diagram: Reliability) -> float:
    """Return the mean absolute gap between confidence and accuracy over a diagram's bins, weighted by their counts."""
    gaps = np.abs(diagram.confidence - diagram.accuracy)
    return _ratio(float(np.nansum(diagram.count * gaps)), float(diagram.count.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
