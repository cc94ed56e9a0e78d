"""The minimiser: minima known in closed form, the path of penalties, snapshots."""

from collections.abc import Callable

import numpy as np
import pytest

from regraft.heads.lbfgs import LBFGS, Value

CENTRE = np.array([1.0, -2.0, 3.0], dtype=np.float32)
SCALES = np.array([1.0, 10.0, 100.0], dtype=np.float32)
Loss = Callable[[np.ndarray], Value]


def quadratic(point: np.ndarray) -> Value:
    """Return sum(scale (x - centre)^2) / 2 and its derivatives."""
    away = point - CENTRE
    return Value(float(np.sum(SCALES * away**2) / 2), SCALES * away, SCALES)


def valley(point: np.ndarray) -> Value:
    """Return Rosenbrock's function, a curved valley, with a diagonal that is kept positive."""
    x, y = point.astype(np.float64)
    loss = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    gradient = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
    curvature = np.maximum([2 - 400 * (y - 3 * x * x), 200], 1e-3)
    return Value(float(loss), gradient.astype(np.float32), curvature.astype(np.float32))


def run(minimiser: LBFGS, loss: Loss, penalty: float | np.ndarray, tolerance: float = 1e-10) -> int:
    """Minimise and return the number of evaluations."""
    asking = minimiser.minimise(np.asarray(penalty, dtype=np.float32), tolerance)
    count, point = 0, next(asking)
    while True:
        count += 1
        try:
            point = asking.send(loss(point))
        except StopIteration:
            return count


@pytest.mark.parametrize("penalty", [0.0, 1.0, np.array([0.0, 5.0, 1000.0])])
def test_a_quadratic_has_its_minimum_where_algebra_says(penalty: float | np.ndarray) -> None:
    minimiser = LBFGS(np.zeros(3, dtype=np.float32))
    run(minimiser, quadratic, penalty)
    assert minimiser.point == pytest.approx(SCALES * CENTRE / (SCALES + penalty), rel=1e-5)


def test_an_exact_diagonal_needs_one_step() -> None:
    assert run(LBFGS(np.zeros(3, dtype=np.float32)), quadratic, 1.0) == 2  # the start, and the minimum


def test_a_curved_valley_is_followed_to_its_end() -> None:
    minimiser = LBFGS(np.array([-1.2, 1.0], dtype=np.float32))
    run(minimiser, valley, 0.0, tolerance=1e-9)
    assert minimiser.point == pytest.approx([1.0, 1.0], abs=1e-2)


def test_from_the_second_minimum_on_the_next_is_extrapolated() -> None:
    minimiser = LBFGS(np.zeros(3, dtype=np.float32))
    run(minimiser, quadratic, 4.0)
    first = minimiser.point.copy()
    run(minimiser, quadratic, 2.0)
    second = minimiser.point.copy()
    asking = minimiser.minimise(np.float32(1.0), 1e-10)
    assert next(asking) == pytest.approx(2 * second - first, rel=1e-6)


def test_a_snapshot_goes_its_own_way() -> None:
    minimiser = LBFGS(np.zeros(3, dtype=np.float32))
    run(minimiser, quadratic, 4.0)
    snapshot, at = minimiser.snapshot(), minimiser.point.copy()
    run(minimiser, quadratic, 0.0)
    assert np.array_equal(snapshot.point, at)
    run(snapshot, quadratic, 0.0)
    assert snapshot.point == pytest.approx(CENTRE, rel=1e-5)
