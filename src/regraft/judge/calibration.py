"""Probabilities that mean what they say: temperature scaling (Guo et al. 2017, "On calibration of modern networks")."""

import numpy as np

LOWEST, HIGHEST = 0.05, 20.0  # separable logits have no finite best temperature: it would run to 0
_STEPS = 60  # halvings of the bracket: far below float precision


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return (n, c) probabilities of (n, c) logits divided by `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature from `LOWEST` to `HIGHEST` with the least mean log loss.

    With b = 1 / temperature the log loss is convex, its slope

        mean_i( sum_k p_ik(b) z_ik - z_i,label ),

    rising in b; its zero is found by bisection.

    Args:
        logits: (n, c), of photos that did not take part in fitting the head.
        labels: (n,) integers from 0 to c - 1.
    """
    right = logits[np.arange(len(labels)), labels].astype(np.float64)
    low, high = 1 / HIGHEST, 1 / LOWEST

    def slope(inverse: float) -> float:
        return float(np.mean((softmax(logits, 1 / inverse) * logits).sum(axis=1) - right))

    if slope(low) >= 0:
        return HIGHEST
    if slope(high) <= 0:
        return LOWEST
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / (low * high) ** 0.5)
