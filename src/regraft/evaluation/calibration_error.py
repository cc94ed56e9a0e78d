"""The interval of the expected calibration error, from labels that are drawn from the probabilities themselves."""

import math

import numpy as np

from regraft.evaluation.calibration import BINS
from regraft.evaluation.intervals import LEVEL, RESAMPLES, Interval, quantile
from regraft.evaluation.proportions import proportion_of

_FINE = 8  # parts of a bin within which photos are drawn together: so 50,000 photos cost no more than 120
_HALVINGS = 7  # of the error, to find the bound


def calibration_error_interval(
    error: float, confidence: np.ndarray, correct: np.ndarray, groups: np.ndarray | None = None, *, level: float = LEVEL
) -> Interval | None:
    """Return the interval of a calibration `error` by inverted tests; None for a single group of several photos.

    Noise alone makes the error large, also of a calibrated classifier. So the lower bound is the least error whose own
    draws reach the measured one in (1 - level) / 2 of the cases: 0 unless labels that are drawn from the probabilities
    themselves (Broecker and Smith 2007) rarely look as bad. Between 0 and the measured error the gaps between accuracy
    and confidence are those of the bins, times a factor from 0 to 1. The error is at least the gap of all photos
    together: what the interval of the accuracy (`proportion_of`) leaves possible of that, the upper bound reaches.

    With groups the drawn counts deviate from their expectation by as many times more as the interval of the accuracy is
    wider than that of independent photos.

    Args:
        error: of 15 bins.
        confidence: (n,) probabilities of the most probable classes.
        correct: (n,) booleans: are these the true ones?
        groups: (n,) numbers; photos of one group are not independent. None: all photos are.
        level: of the interval.
    """
    known = proportion_of(correct, groups, level=level)
    if known is None:
        return None
    low, high = (abs(float(confidence.mean()) - bound) for bound in known.interval())
    spread = 1.0 if groups is None else math.sqrt(len(correct) / known.trials) * known.quantile / quantile(level)
    return _lower_bound(error, confidence, correct, spread, (1 - level) / 2), max(error, low, high)


def _lower_bound(error: float, confidence: np.ndarray, correct: np.ndarray, spread: float, tail: float) -> float:
    part, count = np.unique((confidence * (BINS * _FINE)).astype(int), return_inverse=True, return_counts=True)[1:]
    chance = np.bincount(part, confidence) / count  # (m,) of the parts of bins that hold photos
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    in_bin = (place[:, None] == np.arange(BINS)).astype(float)
    gaps = np.bincount(place, np.bincount(part, correct) - count * chance, BINS)
    gap = (gaps / np.maximum(count @ in_bin, 1))[place]

    def drawn(factor: float) -> tuple[float, float]:
        """Return the true error where the gaps are `factor` times the measured ones, and how often draws reach ours."""
        true = np.clip(chance + factor * gap, 0.0, 1.0)
        expected = (count * (true - chance)) @ in_bin
        hits = np.random.default_rng(0).binomial(count, true, size=(RESAMPLES, len(count)))
        errors = np.abs(expected + spread * ((hits - count * true) @ in_bin)).sum(axis=1) / len(correct)
        return float(np.abs(expected).sum() / len(correct)), float((errors >= error - 1e-12).mean())

    found, reached = drawn(0.0)
    lower, upper = 0.0, 1.0
    for _ in range(_HALVINGS if reached <= tail else 0):
        middle = (lower + upper) / 2
        true, reached = drawn(middle)
        if reached <= tail:
            lower, found = middle, true
        else:
            upper = middle
    return found
