"""Minimising along a path of penalties by L-BFGS (Nocedal and Wright 2006, algorithm 7.4), one evaluation at a time.

The function is data(x) + sum(penalty * x^2) / 2, the penalty being known exactly and the data's second derivative about
a given diagonal. L-BFGS starts from that diagonal instead of a multiple of the identity; when the penalty changes, the
curvature of the data that was met on the way still holds, and, where penalties fall by equal factors, the next minimum
lies about as far beyond the last as that lies beyond the one before.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np

_PAIRS = 12  # steps whose curvature is kept
_STEPS = 300  # a lid on what takes about ten
_SHORTEST = 1e-3  # of a full step: shorter ones are lost in the rounding of float32
_ROUNDING = 1e-7  # of float32, relative


class Value(NamedTuple):
    """What the data say at a point.

    Attributes:
        loss: without the penalty.
        gradient: of it, float32 in the shape of the point.
        curvature: an estimate of its second derivative along each coordinate, >= 0.
    """

    loss: float
    gradient: np.ndarray
    curvature: np.ndarray


class LBFGS:
    """A point on its way from minimum to minimum.

    Args:
        point: where to start, float32.
    """

    def __init__(self, point: np.ndarray) -> None:
        self.move(point)

    def move(self, point: np.ndarray) -> None:
        """Start anew from `point`."""
        self.point = point
        self._before: np.ndarray | None = None
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []  # steps, and the data's change of gradient

    def at_rest(self) -> "LBFGS":
        """Return a copy that goes on from here, with the curvature that it knows, but aims nowhere yet."""
        rested = LBFGS(self.point)
        rested._pairs = self._pairs
        return rested

    def minimise(self, penalty: np.ndarray, tolerance: float) -> Generator[np.ndarray, Value, None]:
        """Ask for the value of points, one by one, and end at the minimum.

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
                self._pairs = []  # what was known of the curvature misleads here
            else:
                return  # rounding hides what is left to gain

    def _direction(self, gradient: np.ndarray, inverse: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Return the inverse second derivative, as far as it is known, times the gradient."""
        penalised = [(step, change + penalty * step) for step, change in self._pairs]
        pairs = [(step, change, 1 / _dot(step, change)) for step, change in penalised]
        rest, shares = gradient.copy(), []
        for step, change, inverse_product in reversed(pairs):
            shares.append(inverse_product * _dot(step, rest))
            rest -= np.float32(shares[-1]) * change
        rest *= inverse
        if pairs:
            _, change, inverse_product = pairs[-1]
            rest /= np.float32(inverse_product * _dot(change, inverse * change))
        for (step, change, inverse_product), share in zip(pairs, reversed(shares), strict=True):
            rest += np.float32(share - inverse_product * _dot(change, rest)) * step
        return rest

    def _step(
        self, value: Value, gradient: np.ndarray, direction: np.ndarray, penalty: np.ndarray
    ) -> Generator[np.ndarray, Value, Value | None]:
        """Go along -direction until the function falls enough (Armijo); return the value there, None if it cannot."""
        total = value.loss + _dot(penalty * self.point, self.point) / 2
        slope, length = _dot(gradient, direction), 1.0
        while length > _SHORTEST and slope > 0:
            point = self.point - np.float32(length) * direction
            found = yield point
            rise = found.loss + _dot(penalty * point, point) / 2 - total
            if rise <= -1e-4 * length * slope + _ROUNDING * abs(total):
                self._keep(point - self.point, found.gradient - value.gradient)
                self.point = point
                return found
            # the lowest point of the parabola through what is known, but no jump
            length *= min(max(length * slope / (2 * (rise + length * slope)), 0.1), 0.5)
        return None

    def _keep(self, step: np.ndarray, change: np.ndarray) -> None:
        product = _dot(step, change)
        if product > _ROUNDING * np.sqrt(_dot(step, step) * _dot(change, change)):
            self._pairs = [*self._pairs, (step, change)][-_PAIRS:]


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b))
