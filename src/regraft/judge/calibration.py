"""Probabilities that mean what they say: temperature scaling (Guo et al. 2017, "On calibration of modern networks")."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

LOWEST, HIGHEST = 0.05, 20.0  # separable logits have no finite best temperature: it would run to 0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature from `LOWEST` to `HIGHEST` with the least mean log loss.

    With b = 1 / temperature the log loss is convex, its slope

        mean_i( sum_k p_ik(b) z_ik - z_i,label ),

    rising in b; its zero is found by Brent's method.

    Args:
        logits: (n, c), of photos that did not take part in fitting the head.
        labels: (n,) integers from 0 to c - 1.
    """
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        return float(np.mean((softmax(inverse * logits, axis=1) * logits).sum(axis=1) - right))

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    if slope(1 / LOWEST) <= 0:
        return LOWEST
    return float(1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST))
