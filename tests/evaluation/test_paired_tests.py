"""Tests of paired differences, against scipy's, published tables and every pattern of signs."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, ttest_1samp
from scipy.stats import t as student

from regraft.evaluation.paired_tests import (
    fold_widening,
    holm,
    mcnemar,
    mean_test,
    right_answers_test,
    score_interval,
    sign_flip_test,
)


@pytest.mark.parametrize(("won", "lost"), [(4, 0), (6, 0), (3, 9), (5, 5), (40, 17), (0, 1)])
def test_mcnemar_is_the_sign_test(won: int, lost: int) -> None:
    assert mcnemar(won, lost) == pytest.approx(binomtest(won, won + lost).pvalue)


def test_four_won_and_none_lost_prove_nothing() -> None:
    """They are two of the sixteen patterns of signs; six are two of 64."""
    assert mcnemar(4, 0) == 2 / 16
    assert mcnemar(6, 0) == 2 / 64
    assert mcnemar(0, 0) == 1


def test_the_score_interval_is_the_published_one() -> None:
    """Fagerland, Lydersen and Laake (2014): children with hyper-responsive airways before and after a transplantation.

    One of 21 before alone, seven after alone: -0.286, Tango's interval -0.517 to -0.026.
    """
    assert score_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_the_score_interval_where_all_or_nothing_differs() -> None:
    """With d = 0 observed, n d^2 = z^2 (d (1 - d)) at the bound where nothing is lost: d = z^2 / (n + z^2)."""
    bound = 1.959964**2 / (50 + 1.959964**2)
    assert score_interval(0, 0, 50) == pytest.approx((-bound, bound), abs=1e-6)
    low, high = score_interval(10, 0, 10)
    assert high == 1
    assert 0 < low < 1
    assert score_interval(0, 10, 10) == pytest.approx((-high, -low))


def test_signs_of_whole_numbers_are_tested_exactly() -> None:
    """As the share of all 1,024 patterns of signs."""
    sums = np.array([3, -1, 2, 2, -1, 1, 4, 0, 1, -2])
    signs = np.array(list(itertools.product((-1, 1), repeat=10)))
    expected = np.mean(np.abs(signs @ sums) >= abs(sums.sum()))
    assert 0.05 < expected < 0.5
    assert sign_flip_test(sums.astype(float)) == pytest.approx(expected)
    assert sign_flip_test(np.repeat([1.0, -1.0], [9, 3])) == pytest.approx(mcnemar(9, 3))


def test_groups_change_sign_as_a_whole() -> None:
    differences, groups = np.repeat([1.0, -1.0], [9, 3]), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    assert sign_flip_test(differences, groups) == pytest.approx(10 / 16)  # of four equal groups, one the other way
    assert sign_flip_test(np.ones(12), groups) == pytest.approx(2 / 16)


def test_other_numbers_are_tested_by_draws() -> None:
    sums = np.array([0.31, 0.12, -0.05, 0.44, 0.27, 0.18, -0.11])
    signs = np.array(list(itertools.product((-1, 1), repeat=7)))
    expected = np.mean(np.abs(signs @ sums) >= sums.sum() - 1e-9)
    error = math.sqrt(expected * (1 - expected) / 10_000)
    assert sign_flip_test(sums) == pytest.approx(expected, abs=4 * error)
    assert sign_flip_test(np.zeros(5)) == 1


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_means_are_tested_by_student(shift: float) -> None:
    values = np.random.default_rng(0).normal(shift, 1.0, 30)
    expected = ttest_1samp(values, 0.0)
    mean, p_value = mean_test(values)
    assert p_value == pytest.approx(expected.pvalue, rel=1e-4)
    assert (mean.low, mean.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_groups_are_what_is_counted() -> None:
    """Four groups of five equal photos are four values."""
    values = np.array([0.2, 0.5, -0.1, 0.4])
    _, p_value = mean_test(np.repeat(values, 5), np.repeat(np.arange(4), 5))
    assert p_value == pytest.approx(ttest_1samp(values, 0.0).pvalue, rel=1e-4)
    assert mean_test(values, np.zeros(4))[1] is None


def test_a_mean_of_nothing_or_of_far_too_much() -> None:
    assert mean_test(np.zeros(4))[1] == 1
    assert mean_test(np.array([1.0, -1.0, 1e-17, 1e-17]))[1] == 1
    assert mean_test(np.random.default_rng(0).normal(9.0, 0.1, 50))[1] == pytest.approx(0, abs=1e-13)


def test_holm_corrects_for_the_number() -> None:
    """By hand: 3 x 0.01, 2 x 0.03, and what is larger is never corrected to less. None is no test."""
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.04]) == [0.04]
    # never more than Bonferroni, never less than what controls a weaker thing
    p_values = np.sort(np.random.default_rng(0).random(8)) / 10
    corrected = np.array(holm(p_values.tolist()), dtype=float)
    assert np.all(corrected <= np.minimum(8 * p_values, 1))
    assert np.all(corrected >= false_discovery_control(p_values) - 1e-12)


def test_folds_that_learned_from_the_same_photos_widen_errors() -> None:
    """Nadeau and Bengio (2003): of five folds 1/5 becomes 1/5 + 1/4, 9/4 as much; of ten 1/10 + 1/9."""
    assert fold_widening(None) == 1
    assert fold_widening(np.arange(20) % 5) == pytest.approx(1.5)
    assert fold_widening(np.arange(20) % 10) == pytest.approx(math.sqrt((1 / 10 + 1 / 9) * 10))
    assert fold_widening(np.zeros(4)) == pytest.approx(math.sqrt(1 + 1 / 4))
    values = np.random.default_rng(0).normal(0.5, 1.0, 30)
    mean, p_value = mean_test(values, widening=1.5)
    plain = ttest_1samp(values, 0.0)
    assert (mean.high - mean.low) == pytest.approx(1.5 * np.diff(plain.confidence_interval())[0])
    assert p_value == pytest.approx(2 * student.sf(plain.statistic / 1.5, 29), rel=1e-4)


def test_right_answers_of_folds_are_held_to_the_mean_and_to_the_signs() -> None:
    """Of 100 photos 12 won and 2 lost: signs p = 0.013 (binomial); the mean with 1.5 times the error decides."""
    a, b = np.arange(100) < 12, (np.arange(100) >= 12) & (np.arange(100) < 14)
    found, p_value = right_answers_test(a, b)
    assert p_value == pytest.approx(binomtest(12, 14).pvalue)
    assert (found.low, found.high) == pytest.approx((0.0310, 0.1819), abs=1e-4)  # Tango's, by numeric maximisation
    widened, p_of_folds = right_answers_test(a, b, folds=np.arange(100) % 5)
    statistic = ttest_1samp(a.astype(float) - b, 0.0).statistic / 1.5
    assert p_of_folds == pytest.approx(2 * student.sf(statistic, 99), rel=1e-4)
    assert (widened.low, widened.high) == pytest.approx((0.1 - 1.5 * 0.0690, 0.1 + 1.5 * 0.0819), abs=2e-4)
    four, _ = right_answers_test(np.array([True, True, False, True]), np.zeros(4, dtype=bool), folds=np.arange(4))
    assert (four.value, four.high) == (0.75, 1.0)  # widened by half, the interval would end beyond what is possible
    none, unknown = right_answers_test(a, b, np.zeros(100))
    assert (none.value, none.low, none.high, unknown) == (0.1, -math.inf, math.inf, None)
