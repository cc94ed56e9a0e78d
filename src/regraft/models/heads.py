"""The last layer, replaced: multinomial logistic regression on standardised features, folded into one linear layer.

For features x (d,) of n photos with classes y, standardised to z = (x - mean) / deviation, the head minimises

    (1 / n) sum_i -log softmax(W z_i + b)[y_i]  +  (strength / 2) ||W||^2

over W (c, d) and b (c,), by L-BFGS (SciPy). In scikit-learn's terms C = 1 / (n strength), with two classes (where it
keeps one vector of weights for our two opposite ones) 2 / (n strength). The strength is chosen by
cross-validated log loss along a path from strong to weak, each fit starting from its stronger neighbour.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import ThreadpoolController

from regraft.runtime import cpu_count

STRENGTHS = tuple(float(10.0**exponent) for exponent in np.arange(1.0, -5.01, -0.5))
_WORSE_BEFORE_STOP = 2  # weaker strengths are not tried once the loss has risen this often in a row
_PATH_TOLERANCE = 3e-4  # largest gradient entry; enough to rank strengths
_FINAL_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer from features to logits.

    Attributes:
        weight: (c, d) float32.
        bias: (c,) float32.
        strength: of the L2 penalty that it was fitted with.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) logits of (n, d) features."""
        return np.asarray(features @ self.weight.T + self.bias)


@dataclass(frozen=True, eq=False)
class Selection:
    """What cross-validation found.

    Attributes:
        strength: the one with the lowest mean log loss.
        losses: mean held-out log loss (nats) by strength tried.
        logits: (n, c) held-out logits at `strength`: no photo's come from a head that was fitted on it; zeros where
            the fold was -1.
    """

    strength: float
    losses: dict[float, float]
    logits: np.ndarray


def fit_head(features: np.ndarray, labels: np.ndarray, classes: int, *, strength: float) -> Head:
    """Fit the head of one strength.

    Args:
        features: (n, d).
        labels: (n,) integers from 0 to classes - 1.
        classes: c.
        strength: of the L2 penalty, > 0.
    """
    problem = _Problem(features, labels, classes)
    # two warm starts on the way down cost less than a cold start at a weak penalty
    with _one_thread_each():
        for stronger in (strength * 100, strength * 10):
            problem.solve(stronger, _PATH_TOLERANCE)
        problem.solve(strength, _FINAL_TOLERANCE)
    return problem.head(strength)


def select_strength(
    features: np.ndarray, labels: np.ndarray, classes: int, *, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> Selection:
    """Choose the strength of the L2 penalty by cross-validated log loss.

    Args:
        features: (n, d).
        labels: (n,) integers from 0 to classes - 1.
        classes: c.
        folds: (n,) fold numbers, -1 for photos that are never held out; every class must be in every training part.
        strengths: tried from strong to weak.
    """
    numbers = [int(fold) for fold in np.unique(folds) if fold >= 0]
    problems = {fold: _Problem(features[folds != fold], labels[folds != fold], classes) for fold in numbers}
    judged = folds >= 0
    losses: dict[float, float] = {}
    best: np.ndarray | None = None
    logits = np.zeros((len(labels), classes), dtype=np.float32)
    for strength in sorted(strengths, reverse=True):
        _in_parallel(functools.partial(_Problem.solve, strength=strength, tolerance=_PATH_TOLERANCE), problems.values())
        for fold, problem in problems.items():
            logits[folds == fold] = problem.head(strength).logits(features[folds == fold])
        losses[strength] = float(np.mean(_cross_entropy(logits[judged], labels[judged])))
        if best is None or losses[strength] < min(list(losses.values())[:-1]):
            best = logits.copy()
        if len(losses) > _WORSE_BEFORE_STOP and _rising(list(losses.values())):
            break
    assert best is not None  # the first strength sets it
    return Selection(min(losses, key=lambda strength: losses[strength]), losses, best)


class _Problem:
    """One set of photos, standardised once, and the weights that the last fit ended with."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int) -> None:
        self.mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = features.astype(np.float32) - self.mean
        deviation = np.sqrt(np.mean(np.square(centred), axis=0, dtype=np.float64))
        # a constant feature says nothing: 1 keeps it at zero without dividing by zero
        self.deviation = np.where(deviation > 1e-8, deviation, 1.0).astype(np.float32)
        self.standardised = np.divide(centred, self.deviation, out=centred)
        self.labels = labels
        # W.T = weights @ basis. The penalty makes two classes' rows opposite, so that one column describes both
        self.basis = np.array([[-1, 1]]) / np.sqrt(2) if classes == 2 else np.eye(classes)
        self.basis = self.basis.astype(np.float32)
        self.weights = np.zeros((features.shape[1] + 1, len(self.basis)))  # the last row is the bias

    def solve(self, strength: float, tolerance: float) -> None:
        options = {"maxiter": 1000, "gtol": tolerance, "ftol": tolerance * 1e-5, "maxcor": 10}
        result = minimize(
            self._loss_and_gradient, self.weights.ravel(), (strength,), "L-BFGS-B", jac=True, options=options
        )
        self.weights = result.x.reshape(self.weights.shape)

    def head(self, strength: float) -> Head:
        """Return the current weights with the standardisation folded in."""
        unfolded = self.weights.astype(np.float32) @ self.basis
        weight = (unfolded[:-1] / self.deviation[:, None]).T
        bias = unfolded[-1] - weight @ self.mean
        return Head(np.ascontiguousarray(weight), bias, strength)

    def _loss_and_gradient(self, flat: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        weights = flat.reshape(self.weights.shape).astype(np.float32)
        n = len(self.labels)
        photos = np.arange(n)
        # (c, n): sums over classes then run along the memory
        logits = self.basis.T @ (self.standardised @ weights[:-1] + weights[-1]).T
        logits -= logits.max(axis=0)
        error = np.exp(logits)
        sums = error.sum(axis=0)
        loss = float(np.mean(np.log(sums, dtype=np.float64) - logits[self.labels, photos]))
        error /= sums
        error[self.labels, photos] -= 1.0
        error = (self.basis @ error).T / n
        gradient = np.empty(self.weights.shape)
        gradient[:-1] = self.standardised.T @ error + strength * weights[:-1]
        gradient[-1] = error.sum(axis=0, dtype=np.float64)
        return loss + 0.5 * strength * float(np.sum(weights[:-1] ** 2, dtype=np.float64)), gradient.ravel()


def _in_parallel(solve: Callable[[_Problem], None], problems: Iterable[_Problem]) -> None:
    """Solve one problem per processor, each on one thread: several threads on one small product mostly wait."""
    with _one_thread_each(), ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(solve, problems))


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes as long as a small fit


def _one_thread_each() -> AbstractContextManager[object]:
    return _blas().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.asarray(log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels])


def _rising(losses: list[float]) -> bool:
    """Tell whether the last losses are all above the lowest one."""
    return min(losses[-_WORSE_BEFORE_STOP:]) > min(losses)
