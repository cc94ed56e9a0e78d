"""Proportions of photos in groups: by hand, and by the coverage of their intervals."""

import math

import numpy as np
import pytest
from scipy import stats

from regraft.evaluation.intervals import wilson
from regraft.evaluation.proportions import (
    Proportion,
    auc_interval,
    interval_of,
    mean_of_proportions,
    proportion_of,
    wider,
)

Z = 1.959963984540054  # of 95 %


def bits(text: str) -> np.ndarray:
    """Return booleans: bits("110") is [True, True, False]."""
    return np.array([sign == "1" for sign in text])


# --- one proportion ---


@pytest.mark.parametrize("groups", [None, [5, 3, 9, 7, 0]])
def test_proportion_of_single_photos_is_wilsons(groups: list[int] | None) -> None:
    proportion = proportion_of(bits("11011"), None if groups is None else np.array(groups))
    expected = stats.binomtest(4, 5).proportion_ci(0.95, method="wilson")
    assert interval_of(proportion) == pytest.approx((expected.low, expected.high))


def test_measured_design_effect_by_hand() -> None:
    """Four pairs, 5 of 8 correct: their residuals 0.75, 0.75, -0.25 and -1.25 have the squares' sum 2.75.

    Variance 4 / 3 * 2.75 / 64 over 15 / 64 / 8 of photos is 1.9556. Three pairs have correct answers, two wrong ones:
    two differ. Pairs that are alike would count half, 2: the effect is (2 * 1.9556 + 2) / 3.
    """
    proportion = proportion_of(bits("11111000"), np.array([4, 4, 2, 2, 9, 9, 1, 1]))
    assert proportion is not None
    measured = 4 / 3 * 2.75 / 64 / (15 / 64 / 8)
    assert proportion == Proportion(5 / 8, pytest.approx(8 / ((2 * measured + 2) / 3)), pytest.approx(3.182446305))
    assert proportion.interval() == pytest.approx(
        wilson(5 / 8 * proportion.trials, proportion.trials, reach=3.182446305)
    )


def test_design_effect_of_unequal_groups_by_hand() -> None:
    """Four photos, 3 correct, and two pairs, one of them correct: 5 of 8. The residual sums are 0.5, 0.75 and -1.25.

    Over 8, squared, and divided by 1 - share (1 / 2, 3 / 4 and 3 / 4) they add up to the variance. Two groups have
    correct answers, two have wrong ones: two differ. Alike they would be 1 / (1 / 4 + 2 / 16) = 8 / 3 groups.
    """
    proportion = proportion_of(bits("11101100"), np.array([4, 4, 4, 4, 2, 2, 9, 9]))
    assert proportion is not None
    variance = (0.5**2 / (1 / 2) + 0.75**2 / (3 / 4) + 1.25**2 / (3 / 4)) / 64
    effect = (2 * variance / (15 / 64 / 8) + 3) / 3
    reach = stats.t(8 / 3 - 1).ppf(0.975)
    assert proportion == Proportion(5 / 8, pytest.approx(8 / effect), pytest.approx(reach))


def test_groups_that_vary_less_than_chance_are_worth_no_more_than_photos() -> None:
    """Each of four pairs is half correct: measured is 0, taken is 1; all four differ, the worst is 2: (4 + 2) / 5."""
    proportion = proportion_of(bits("10101010"), np.arange(8) // 2)
    assert proportion is not None
    assert proportion.trials == pytest.approx(8 / (6 / 5))


@pytest.mark.parametrize("answer", [True, False])
def test_groups_that_are_all_alike_are_known_as_so_many(answer: bool) -> None:
    """Five patients of 20 photos: as five. Patients of 6, 2 and 2: as 100 / (36 + 4 + 4)."""
    proportion = proportion_of(np.full(100, answer), np.arange(100) // 20)
    assert proportion == Proportion(float(answer), pytest.approx(5), pytest.approx(2.776445105))
    uneven = proportion_of(np.full(10, answer), np.array([1] * 6 + [2, 2, 3, 3]))
    assert uneven == Proportion(float(answer), pytest.approx(100 / 44), pytest.approx(stats.t(100 / 44 - 1).ppf(0.975)))


def test_a_mistake_makes_nothing_look_better() -> None:
    """Of five patients of 20 photos: the fewer are correct, the lower is the lower bound."""
    groups = np.arange(100) // 20
    lows = []
    for wrong in range(6):
        correct = np.ones(100, bool)
        correct[np.arange(wrong) * 20] = False  # one of each patient
        interval = interval_of(proportion_of(correct, groups))
        assert interval is not None
        lows.append(interval[0])
    perfect, *others = lows
    assert perfect == pytest.approx(5 / (5 + 2.776445105**2))
    assert max(others) < 0.9  # wilson's of 99 of 100 photos is 0.9455
    assert others[0] > perfect  # 20 alike could be one; 19 of 20 cannot


def test_nothing_is_known_of_no_photos_and_of_one_group() -> None:
    assert proportion_of(np.zeros(0, bool)) is None
    assert proportion_of(bits("111"), np.array([4, 4, 4])) is None
    assert proportion_of(bits("1"), np.array([4])) == Proportion(1.0, pytest.approx(1.0), pytest.approx(Z))
    assert interval_of(None) is None


def test_classes_weigh_the_same() -> None:
    """Recalls 3 / 4 and 1 / 2; weights 1 / 8 and 1 / 4 of six photos: 1 / (4 / 64 + 2 / 16) independent ones."""
    proportion = proportion_of(bits("111010"), labels=np.array([7, 7, 7, 7, 2, 2]))
    assert proportion == Proportion(pytest.approx(5 / 8), pytest.approx(16 / 3), pytest.approx(Z))


@pytest.mark.parametrize("groups", [3, 5, 10, 30])
@pytest.mark.parametrize(("p", "correlation"), [(0.7, 0.3), (0.9, 0.1), (0.9, 0.5), (0.97, 0.3)])
def test_proportion_of_few_groups_keeps_its_level(groups: int, p: float, correlation: float) -> None:
    """Patients of 1 to 20 photos with beta distributed proportions; as if independent, they are covered less."""
    generator = np.random.default_rng(0)
    spread = 1 / correlation - 1
    held = {"groups": 0, "photos": 0}
    for _ in range(300):
        patients = np.repeat(np.arange(groups), generator.integers(1, 21, groups))
        correct = generator.random(len(patients)) < generator.beta(p * spread, (1 - p) * spread, groups)[patients]
        for name, known in (("groups", patients), ("photos", None)):
            interval = interval_of(proportion_of(correct, known))
            assert interval is not None
            held[name] += interval[0] <= p <= interval[1]
    assert held["groups"] >= stats.binom(300, 0.95).ppf(0.001)
    assert held["photos"] < held["groups"]


# --- means of proportions ---


def test_mean_of_one_share_is_that_share() -> None:
    proportion = Proportion(0.8, 20, Z)
    assert mean_of_proportions([proportion]) == pytest.approx(proportion.interval())


def test_mean_of_proportions_by_hand() -> None:
    """Distances of the bounds add up like standard errors, and are divided by how many there are."""
    one, two = Proportion(0.8, 10, Z), Proportion(1.0, 5, Z)
    (a, b), (c, d) = one.interval(), two.interval()
    expected = (0.9 - math.hypot(0.8 - a, 1 - c) / 2, 0.9 + math.hypot(b - 0.8, d - 1) / 2)
    assert mean_of_proportions([one, two]) == pytest.approx(expected)


def test_mean_with_a_share_of_which_nothing_is_known() -> None:
    """The other half may be 0 or 1."""
    low, high = Proportion(0.8, 10, Z).interval()
    assert mean_of_proportions([None, Proportion(0.8, 10, Z)]) == pytest.approx((low / 2, high / 2 + 0.5))
    assert mean_of_proportions([None, None]) is None


@pytest.mark.parametrize("sizes", [[50] + [10] * 5, [150] + [5] * 30, [64, 32, 16, 8, 4, 2, 2]])
def test_a_group_of_half_of_the_photos_keeps_the_level(sizes: list[int]) -> None:
    """84 % are right, of groups from Beta distributions with a correlation of 0.2: 500 samples, 93 % at least."""
    generator, groups = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    for _ in range(500):
        right = generator.beta(4 * 0.84, 4 * 0.16, len(sizes))[groups]
        interval = interval_of(proportion_of(generator.random(len(groups)) < right, groups))
        assert interval is not None
        held += interval[0] <= 0.84 <= interval[1]
    assert held >= stats.binom(500, 0.95).ppf(0.001)


@pytest.mark.parametrize("counts", [(20, 20), (40, 10), (25, 25, 25, 25)])
def test_mean_of_proportions_keeps_its_level(counts: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    true = np.linspace(0.6, 0.9, len(counts))
    held = 0
    for _ in range(1000):
        hits = generator.binomial(counts, true)
        interval = mean_of_proportions([Proportion(h / n, n, Z) for h, n in zip(hits, counts, strict=True)])
        assert interval is not None
        held += interval[0] <= true.mean() <= interval[1]
    assert stats.binom(1000, 0.95).ppf(0.001) <= held <= stats.binom(1000, 0.97).ppf(0.999)


def test_wider() -> None:
    assert wider((0.2, 0.6), (0.3, 0.7)) == (0.2, 0.7)
    assert wider(None, (0.3, 0.7)) == wider((0.3, 0.7), None) == (0.3, 0.7)
    assert wider(None, None) is None


# --- the area under the ROC curve ---


@pytest.mark.parametrize("auc", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (3, 200), (1, 1), (2.5, 7.5)])
def test_auc_bounds_solve_their_equation(auc: float, positives: float, negatives: float) -> None:
    """Each bound is z standard errors at the bound away, but for 0 and 1."""
    bounds = auc_interval(auc, Proportion(1.0, positives, Z), Proportion(0.5, negatives, 1.0))
    assert bounds[0] <= auc <= bounds[1]
    others = (positives + negatives) / 2 - 1
    for bound, edge in zip(bounds, (0.0, 1.0), strict=True):
        if bound == edge:
            assert auc == edge
            continue
        rest = 1 - bound
        variance = bound * rest * (1 + others * (rest / (2 - bound) + bound / (1 + bound))) / (positives * negatives)
        assert (auc - bound) ** 2 == pytest.approx(Z**2 * variance, rel=1e-6)


def test_auc_within_folds_has_the_variances_of_the_folds() -> None:
    """Two folds, 4 x 6 and 6 x 2 pairs of 10 and 8 photos: (24^2 v_1 + 12^2 v_2) / 36^2, v of Hanley and McNeil."""

    def variance(a: float, m: float, n: float) -> float:
        q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
        # with (m - 1) and (n - 1) replaced by their mean, as Newcombe's method 5 does
        return (a * (1 - a) + ((m + n) / 2 - 1) * (q1 + q2 - 2 * a * a)) / (m * n)

    positive, negative = Proportion(1.0, 10, Z), Proportion(1.0, 8, Z)
    for bound in auc_interval(0.8, positive, negative, np.array([[4 / 10, 6 / 8], [6 / 10, 2 / 8]])):
        expected = (24**2 * variance(bound, 4, 6) + 12**2 * variance(bound, 6, 2)) / 36**2
        assert (0.8 - bound) ** 2 == pytest.approx(Z**2 * expected, rel=1e-6)


def test_auc_of_the_other_class_is_the_mirror() -> None:
    one, two = Proportion(0.9, 12, Z), Proportion(0.8, 30, Z)
    low, high = auc_interval(0.9, one, two)
    assert auc_interval(0.1, two, one) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (5, 50), (100, 100)])
@pytest.mark.parametrize("auc", [0.7, 0.95, 0.99])
def test_auc_interval_keeps_its_level(positives: int, negatives: int, auc: float) -> None:
    """Normal scores whose means are sqrt(2) quantiles of the AUC apart."""
    generator = np.random.default_rng(0)
    apart = math.sqrt(2) * stats.norm.ppf(auc)
    held = 0
    for _ in range(400):
        gaps = generator.normal(apart, 1, positives)[:, None] - generator.normal(0, 1, negatives)
        low, high = auc_interval(float((gaps > 0).mean()), Proportion(1.0, positives, Z), Proportion(1.0, negatives, Z))
        held += low <= auc <= high
    assert held >= stats.binom(400, 0.95).ppf(0.001)
