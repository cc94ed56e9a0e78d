"""Probabilities that mean what they say: temperature scaling (Guo et al. 2017, "On calibration of modern networks")."""

import numpy as np
from scipy.optimize import brentq

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature from `LOWEST` to `HIGHEST` with the least mean log loss against smoothed targets.

    The targets t_i give each photo's class 1 - 1 / (n + 2) and the other classes equal parts of the rest, as Platt
    (1999) has it: a few photos that are all answered rightly must not make the classifier certain of itself.
    With b = 1 / temperature the log loss is convex, its slope

        mean_i( sum_k (p_ik(b) - t_ik) z_ik ),

    rising in b; its zero is found by Brent's method.

    Args:
        logits: (n, c), of photos that did not take part in fitting the head.
        labels: (n,) integers from 0 to c - 1.
    """
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)  # probabilities stay, and no exponential overflows
    n, classes = logits.shape
    right = logits[np.arange(n), labels]
    doubt = 1 / (n + 2)
    aim = np.mean((1 - doubt) * right + doubt * (logits.sum(axis=1) - right) / (classes - 1))

    def slope(inverse: float) -> float:
        shares = np.exp(inverse * logits)
        return float(np.mean(np.einsum("nc,nc->n", shares, logits) / shares.sum(axis=1)) - aim)

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    if slope(1 / LOWEST) <= 0:
        return LOWEST
    return float(1 / brentq(slope, 1 / HIGHEST, 1 / LOWEST))
