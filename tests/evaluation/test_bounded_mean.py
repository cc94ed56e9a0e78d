import numpy as np
import pytest
from scipy.stats import binomtest

from regraft.evaluation.bounded_mean import bounded_mean


def test_values_that_are_alike_have_the_score_interval_of_their_share() -> None:
    """Of 40 photos 6 are 4 edges wrong, the most there is: 4 times Wilson's interval of 6 of 40, by SciPy."""
    found = bounded_mean(np.repeat([4.0, 0.0], [6, 34]), 4.0)
    wilson = binomtest(6, 40).proportion_ci(method="wilson")
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.high) == pytest.approx((4 * wilson.low, 4 * wilson.high))


def test_no_mistake_is_no_proof_that_there_are_none() -> None:
    found = bounded_mean(np.zeros(20), 6.0)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(6 * binomtest(0, 20).proportion_ci(method="wilson").high)


def test_the_largest_value_bounds_the_interval() -> None:
    found = bounded_mean(np.full(3, 4.0), 4.0)
    assert (found.value, found.high) == (4.0, 4.0)
    assert found.low == pytest.approx(4 * binomtest(3, 3).proportion_ci(method="wilson").low)


def test_one_group_tells_nothing() -> None:
    found = bounded_mean(np.array([0.0, 2.0, 2.0]), 4.0, groups=np.zeros(3))
    assert (found.low, found.high) == (0.0, 4.0)


@pytest.mark.parametrize(("n", "per_group"), [(20, 1), (100, 1), (100, 5)])
@pytest.mark.parametrize("shares", [(0.9, 0.06, 0.04), (0.5, 0.3, 0.2)])
def test_the_interval_holds_in_95_of_100_draws(n: int, per_group: int, shares: tuple[float, ...]) -> None:
    """Distances of 0, 2 and 4; in a group all are alike or each is drawn by itself, with probability 1/2."""
    generator = np.random.default_rng(0)
    distances, truth, draws = np.array([0.0, 2.0, 4.0]), 2 * shares[1] + 4 * shares[2], 300
    held = 0
    for _ in range(draws):
        shape = (n // per_group, per_group)
        first, own = (generator.choice(distances, size, p=shares) for size in ((shape[0], 1), shape))
        values = np.where(generator.random((shape[0], 1)) < 0.5, first, own).ravel()
        groups = None if per_group == 1 else np.repeat(np.arange(shape[0]), per_group)
        found = bounded_mean(values, 4.0, groups=groups)
        held += found.low <= truth <= found.high
    assert held / draws >= 0.925  # 2 standard errors of 300 draws below 95 %
