"""L-BFGS (Nocedal and Wright 2006, algorithm 7.4) along a path of penalties, one evaluation at a time.

The function is loss(x) + sum(penalty * x^2) / 2. The penalty is known exactly, and the Hessian of the loss is about a
given diagonal: L-BFGS starts from that diagonal instead of a multiple of the identity. When the penalty changes, the
curvature pairs of the loss still hold, and, where penalties fall by equal factors, the next minimum lies about as far
from the last as that lies from the one before.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np

_PAIRS = 12  # curvature pairs that are kept
_STEPS = 300  # at most; about ten are enough
_SHORTEST = 1e-3  # of a full step: shorter ones are lost in the rounding of float32
_ROUNDING = 1e-7  # of float32, relative


class Value(NamedTuple):
    """The loss at a point.

    Attributes:
        loss: without the penalty.
        gradient: of the loss, float32 in the shape of the point.
        curvature: estimate of the diagonal of its Hessian, >= 0.
    """

    loss: float
    gradient: np.ndarray
    curvature: np.ndarray


class LBFGS:
    """A minimiser that goes from minimum to minimum.

    Args:
        point: where to start, float32.
    """

    def __init__(self, point: np.ndarray) -> None:
        self.restart(point)

    def restart(self, point: np.ndarray) -> None:
        """Start anew from `point`."""
        self.point = point
        self._before: np.ndarray | None = None
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []  # steps, and changes of the loss's gradient

    def snapshot(self) -> "LBFGS":
        """Return a copy with the point and its curvature pairs, but no minimum before it to extrapolate from."""
        copy = LBFGS(self.point)
        copy._pairs = self._pairs
        return copy

    def minimise(self, penalty: np.ndarray, tolerance: float) -> Generator[np.ndarray, Value, None]:
        """Yield points whose value is needed, one by one, and end at the minimum.

        Args:
            penalty: of each coordinate, >= 0; broadcasts to the point.
            tolerance: how far above the minimum it may end, by Newton's estimate.
        """
        first = self.point if self._before is None else 2 * self.point - self._before
        self._before, self.point = self.point, first
        value = yield first
        for _ in range(_STEPS):
            gradient = value.gradient + penalty * self.point
            inverse = 1 / np.maximum(value.curvature + penalty, _ROUNDING)
            if _dot(gradient, inverse * gradient) / 2 <= tolerance:
                return
            found = yield from self._step(value, gradient, self._direction(gradient, inverse, penalty), penalty)
            if found is not None:
                value = found
            elif self._pairs:
                self._pairs = []  # these pairs mislead here
            else:
                return  # the rest is below rounding

    def _direction(self, gradient: np.ndarray, inverse: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Return the approximate inverse Hessian times the gradient."""
        penalised = [(step, change + penalty * step) for step, change in self._pairs]
        pairs = [(step, change, 1 / _dot(step, change)) for step, change in penalised]
        direction, alphas = gradient.copy(), []
        for step, change, inverse_product in reversed(pairs):
            alphas.append(inverse_product * _dot(step, direction))
            direction -= np.float32(alphas[-1]) * change
        direction *= inverse
        if pairs:
            _, change, inverse_product = pairs[-1]
            direction /= np.float32(inverse_product * _dot(change, inverse * change))
        for (step, change, inverse_product), alpha in zip(pairs, reversed(alphas), strict=True):
            direction += np.float32(alpha - inverse_product * _dot(change, direction)) * step
        return direction

    def _step(
        self, value: Value, gradient: np.ndarray, direction: np.ndarray, penalty: np.ndarray
    ) -> Generator[np.ndarray, Value, Value | None]:
        """Search along -direction for a sufficient decrease (Armijo); return the value there, None if there is none."""
        total = value.loss + _dot(penalty * self.point, self.point) / 2
        slope, length = _dot(gradient, direction), 1.0
        while length > _SHORTEST and slope > 0:
            point = self.point - np.float32(length) * direction
            found = yield point
            rise = found.loss + _dot(penalty * point, point) / 2 - total
            if rise <= -1e-4 * length * slope + _ROUNDING * abs(total):
                self._remember(point - self.point, found.gradient - value.gradient)
                self.point = point
                return found
            # the minimum of the interpolating parabola, within bounds
            length *= min(max(length * slope / (2 * (rise + length * slope)), 0.1), 0.5)
        return None

    def _remember(self, step: np.ndarray, change: np.ndarray) -> None:
        product = _dot(step, change)
        if product > _ROUNDING * np.sqrt(_dot(step, step) * _dot(change, change)):
            self._pairs = [*self._pairs, (step, change)][-_PAIRS:]


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b))
