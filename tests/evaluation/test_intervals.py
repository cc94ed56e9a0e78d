"""Intervals against scipy's, by hand, and by their coverage."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from regraft.evaluation.intervals import (
    Mean,
    bootstrap,
    bootstrap_weights,
    distance_interval,
    effective_groups,
    mean_interval,
    wilson,
)

Z = 1.959963984540054  # of 95 %


# --- proportions ---


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("trials", [1, 2, 7, 30, 1000, 10**6])
def test_wilson_is_scipys(trials: int, level: float) -> None:
    for successes in {0, 1, trials // 3, trials // 2, trials - 1, trials}:
        expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
        assert wilson(successes, trials, level) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-15)


def test_wilson_by_hand() -> None:
    """8 of 10, z^2 = 3.8415: centre (0.8 + 0.19207) / 1.38415, half 1.95996 sqrt(0.016 + 0.0096036) / 1.38415."""
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.71674 - 0.22657, 0.71674 + 0.22657), abs=1e-4)


def test_wilson_of_none_and_of_all() -> None:
    """0 of n: from 0 to z^2 / (n + z^2); n of n is its mirror. Never below 0 or above 1."""
    low, high = wilson(0, 20)
    assert low == pytest.approx(0.0, abs=1e-15)
    assert low >= 0.0
    assert high == pytest.approx(Z**2 / (20 + Z**2))
    low, high = wilson(20, 20)
    assert low == pytest.approx(20 / (20 + Z**2))
    assert high == pytest.approx(1.0)
    assert high <= 1.0


@pytest.mark.parametrize("trials", [0, -1])
def test_wilson_of_no_trials(trials: int) -> None:
    assert all(math.isnan(bound) for bound in wilson(0, trials))


# --- means ---


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        (None, math.sqrt(5 / 3) / 2),  # sample variance 5 / 3, of 4
        ([0, 1, 2, 3], math.sqrt(5 / 3) / 2),
        ([7, 7, 3, 3], 1.0),  # sums -2 and 2: 2 / 1 * 8 / 16
        ([7, 3, 7, 3], 0.5),  # sums -1 and 1: 2 / 1 * 2 / 16
        ([7, 3, 3, 7], 0.0),  # sums 0 and 0
        ([1, 1, 1, 2], math.sqrt(1.5**2 / (1 / 4) + 1.5**2 / (3 / 4)) / 4),  # sums -1.5 and 1.5, shares 3 / 4 and 1 / 4
    ],
)
def test_mean_interval_by_hand(groups: list[int] | None, error: float) -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]), groups=None if groups is None else np.array(groups))
    assert found.value == 2.5
    # Student's, as few groups know little: of 4, of 2, and of 16 / (9 + 1)
    effective = 0 if groups is None else 1.6 if groups == [1, 1, 1, 2] else len(set(groups))
    reach = Z if groups is None else stats.t(effective - 1).ppf(0.975)
    assert (found.low, found.high) == pytest.approx((2.5 - reach * error, 2.5 + reach * error), rel=1e-9)


def test_nearly_all_photos_in_one_group_tell_nothing() -> None:
    """Of 10,000 and 1 the effective number is 1.0002: an interval that is wide, and yet numbers."""
    found = mean_interval(np.arange(10_001.0), groups=np.arange(10_001) // 10_000)
    assert np.isfinite([found.low, found.high]).all()
    assert found.high - found.low > 1e6


def test_effective_groups() -> None:
    """Five alike are five; a half and ten twentieths are 1 / (1 / 4 + 10 / 400)."""
    assert effective_groups(np.full(5, 1 / 5)) == pytest.approx(5)
    assert effective_groups(np.array([1 / 2] + [1 / 20] * 10)) == pytest.approx(1 / 0.275)


@pytest.mark.parametrize("sizes", [[10] * 8, [70] + [10] * 7, [128, 64, 32, 16, 8, 4, 2, 2], [30, 30, 5, 5, 5, 5]])
@pytest.mark.parametrize("correlation", [0.05, 0.9])
def test_mean_interval_of_unequal_groups_keeps_its_level(sizes: list[int], correlation: float) -> None:
    """Normal values that correlate within groups: 93 to 99 % hold the mean, give or take what 1,000 samples tell."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    for _ in range(1000):
        values = math.sqrt(correlation) * generator.normal(size=len(sizes))[groups]
        found = mean_interval(values + math.sqrt(1 - correlation) * generator.normal(size=len(groups)), groups=groups)
        held += found.low <= 0 <= found.high
    assert stats.binom(1000, 0.93).ppf(0.001) <= held <= stats.binom(1000, 0.99).ppf(0.999)


def test_mean_interval_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(3, 2, 50)
    expected = stats.norm.interval(0.9, loc=values.mean(), scale=stats.sem(values))
    found = mean_interval(values, level=0.9)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("values", "groups"), [([5.0], None), ([4.0, 6.0], [1, 1]), ([5.0], [3])])
def test_one_photo_or_group_has_no_spread(values: list[float], groups: list[int] | None) -> None:
    found = mean_interval(np.array(values), groups=None if groups is None else np.array(groups))
    assert found == Mean(5.0, -math.inf, math.inf)


def test_copies_are_no_evidence() -> None:
    """Each value ten times over, as a group: the interval of the values once each."""
    values = np.random.default_rng(1).normal(size=30)
    once = mean_interval(values, groups=np.arange(30))
    copied = mean_interval(np.repeat(values, 10), groups=np.repeat(np.arange(30), 10))
    assert (copied.value, copied.low, copied.high) == pytest.approx((once.value, once.low, once.high), rel=1e-9)


# --- bootstrap ---


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], dict[str, float]]:
    return lambda weights: {"mean": float(np.average(values, weights=weights))}


def width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def test_draws_are_of_n_photos_with_replacement() -> None:
    draws = list(bootstrap_weights(40, resamples=300, seed=0))
    assert len(draws) == 300
    for weights in draws:
        assert (weights.shape, weights.sum(), weights.dtype) == ((40,), 40, np.float64)
        assert (weights == weights.round()).all()
    counts = np.concatenate(draws)
    assert counts.mean() == 1.0
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 40) ** 40, abs=0.02)  # left out: 1 / e
    assert np.mean(draws, axis=0) == pytest.approx(np.ones(40), abs=0.3)  # each photo alike: 5 standard errors


def test_whole_groups_are_drawn() -> None:
    groups = np.array([30, 10, 30, 20, 10, 30, 40])
    seen: set[tuple[float, ...]] = set()
    for weights in bootstrap_weights(7, resamples=200, seed=0, groups=groups):
        by_group = {group: set(weights[groups == group]) for group in (10, 20, 30, 40)}
        assert all(len(counts) == 1 for counts in by_group.values())
        drawn = tuple(counts.pop() for counts in by_group.values())
        assert sum(drawn) == 4  # as many groups as there are, of however many photos
        seen.add(drawn)
    assert len(seen) > 20


def test_one_seed_one_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    groups = np.arange(50) // 5
    for grouping in (None, groups):
        found = [bootstrap(mean_of(values), 50, resamples=200, seed=4, groups=grouping) for _ in range(2)]
        assert found[0] == found[1]
        assert bootstrap(mean_of(values), 50, resamples=200, seed=5, groups=grouping) != found[0]


def test_the_interval_of_a_mean_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(10, 3, 400)
    interval = bootstrap(mean_of(values), 400, resamples=2000)["mean"]
    theory = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert interval == pytest.approx(theory, abs=0.1 * (theory[1] - theory[0]) / 2)


def test_coverage() -> None:
    """Of 200 skewed samples of 50, 92 to 95 % of intervals cover the true mean; a standard error is 1.6 to 1.9 %."""
    generator = np.random.default_rng(0)
    held = 0
    for sample in range(200):
        values = generator.exponential(1.0, 50)
        interval = bootstrap(mean_of(values), 50, resamples=200, seed=sample)["mean"]
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.86 <= held / 200 <= 0.99


def test_groups_widen_the_interval() -> None:
    """Ten equal photos each count as one: the interval is sqrt(10) times as wide."""
    values = np.repeat(np.random.default_rng(0).normal(size=60), 10)
    alone = bootstrap(mean_of(values), 600, resamples=1000)["mean"]
    grouped = bootstrap(mean_of(values), 600, resamples=1000, groups=np.repeat(np.arange(60), 10))["mean"]
    assert width(grouped) / width(alone) == pytest.approx(math.sqrt(10), rel=0.12)


def in_turn(values: list[float]) -> Callable[[np.ndarray], dict[str, float]]:
    """Return a figure that takes these values, one for each draw."""
    ahead: Iterator[float] = iter(values)
    return lambda _: {"figure": next(ahead)}


@pytest.mark.parametrize(("level", "expected"), [(0.95, (25.0, 975.0)), (0.8, (100.0, 900.0))])
def test_percentiles(level: float, expected: tuple[float, float]) -> None:
    """Of 0 to 1000, the 2.5th percentile is 25."""
    values = np.random.default_rng(0).permutation(1001).astype(float)
    assert bootstrap(in_turn(values.tolist()), 3, resamples=1001, level=level)["figure"] == pytest.approx(expected)


@pytest.mark.parametrize(("groups", "student"), [(2, 12.7062), (3, 4.3027), (10, 2.2622), (1000, 1.9623)])
def test_few_groups_widen_the_interval(groups: int, student: float) -> None:
    """Of 0 to 1000 about a figure of 400: 375 below it and 575 above, times t / 1.96 sqrt(G / (G - 1))."""
    draws = np.random.default_rng(0).permutation(1001).astype(float).tolist()
    factor = student / Z * math.sqrt(groups / (groups - 1))

    def interval(**named: tuple[str]) -> tuple[float, float] | None:
        figures = in_turn([*draws, 400.0])  # the figure itself last, of all photos
        return bootstrap(figures, groups, resamples=1001, groups=np.arange(groups), **named)["figure"]  # type: ignore[arg-type]

    assert interval() == pytest.approx((400 - 375 * factor, 400 + 575 * factor), rel=1e-3, abs=0.1)
    expected = (400 - 375 * factor, 400 * math.exp(575 * factor / 400))  # of a loss the upper side in proportion
    assert interval(losses=("figure",)) == pytest.approx(expected, rel=1e-3, abs=0.1)


def test_bootstrap_of_unequal_groups_counts_the_effective_ones() -> None:
    """Of 6, 1, 1, 1 and 1 photos: 100 / 40 = 2.5 groups, Student's quantile of 1.5, and sqrt(2.5 / 1.5)."""
    draws = np.random.default_rng(0).permutation(1001).astype(float).tolist()
    groups = np.array([3] * 6 + [1, 4, 2, 9])
    found = bootstrap(in_turn([*draws, 400.0]), 10, resamples=1001, groups=groups)["figure"]
    factor = stats.t(1.5).ppf(0.975) / Z * math.sqrt(2.5 / 1.5)
    assert found == pytest.approx((400 - 375 * factor, 400 + 575 * factor))


def test_upper_bound_of_a_loss_is_in_proportion() -> None:
    """Of 0 to 1000 about 400: 575 above it are 400 exp(575 / 400). One of 0 stays as it is drawn."""
    draws = np.random.default_rng(0).permutation(1001).astype(float).tolist()
    found = bootstrap(in_turn([*draws, 400.0]), 3, resamples=1001, losses=("figure",))
    assert found["figure"] == pytest.approx((25, 400 * math.exp(575 / 400)))
    found = bootstrap(in_turn([*draws, 0.0]), 3, resamples=1001, losses=("figure",))
    assert found["figure"] == pytest.approx((25, 975))
    found = bootstrap(in_turn([*draws, 1e-3]), 3, resamples=1001, losses=("figure",))
    assert found["figure"] is not None
    assert np.isfinite(found["figure"]).all()


def test_one_group_has_no_interval() -> None:
    values = np.arange(10.0)
    assert bootstrap(mean_of(values), 10, resamples=20, groups=np.zeros(10, int)) == {"mean": None}


@pytest.mark.parametrize(("undefined", "expected"), [(0, True), (49, True), (50, True), (51, False), (100, False)])
def test_a_figure_undefined_in_more_than_half_of_the_draws_has_no_interval(undefined: int, *, expected: bool) -> None:
    values = [math.nan] * undefined + [2.0] * (100 - undefined)
    found = bootstrap(in_turn(values), 3, resamples=100)
    assert found == {"figure": (2.0, 2.0) if expected else None}


def test_undefined_draws_are_left_out() -> None:
    values = [math.nan] * 400 + [float(value) for value in range(1001)]
    assert bootstrap(in_turn(values), 3, resamples=1401)["figure"] == pytest.approx((25.0, 975.0))


def test_each_figure_has_its_own_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)

    def figures(weights: np.ndarray) -> dict[str, float]:
        mean = float(np.average(values, weights=weights))
        return {"mean": mean, "shifted": mean + 100, "nothing": math.nan}

    found = bootstrap(figures, 30, resamples=100)
    assert list(found) == ["mean", "shifted", "nothing"]
    assert found["mean"] is not None
    assert found["shifted"] == pytest.approx((found["mean"][0] + 100, found["mean"][1] + 100))
    assert found["nothing"] is None


# --- distances ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (900.0, (425.0, 1375.0)),  # moved by 900 - 500: 25 + 400 and 975 + 400; reflected, 1800 - 975 is higher
        (500.0, (25.0, 975.0)),  # not moved; reflected, 1000 - 975 is the same
        (490.0, (5.0, 965.0)),  # moved down by 10; reflected, 980 - 975 is lower than 15
        (100.0, (0.0, 575.0)),  # moved down by 400; no distance is below 0
    ],
)
def test_interval_of_a_distance(value: float, expected: tuple[float, float]) -> None:
    """Of 0 to 1000: the median is 500, the percentiles are 25 and 975."""
    draws = np.random.default_rng(0).permutation(1001).astype(float)
    assert distance_interval(value, draws) == pytest.approx(expected)
    in_bootstrap = bootstrap(in_turn(draws.tolist()), 3, resamples=1001, distances={"figure": value})
    assert in_bootstrap == {"figure": pytest.approx(expected)}
