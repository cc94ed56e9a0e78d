"""The interval of the calibration error: by hand, and by its coverage."""

import numpy as np
import pytest
from scipy import stats

from regraft.evaluation import calibration_error
from regraft.evaluation.calibration import confidence_bins, expected_calibration_error, reliability
from regraft.evaluation.calibration_error import calibration_error_interval
from regraft.evaluation.report import Report


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_error, "RESAMPLES", 200)


def error_of(confidence: np.ndarray, correct: np.ndarray) -> float:
    bins = confidence_bins(confidence[:, None])
    return expected_calibration_error(reliability(bins, confidence, correct.astype(float)))


def one_bin(right: int, of: int, confidence: float) -> tuple[float, tuple[float, float]]:
    """Return the error and the interval of answers that all have one confidence."""
    correct = np.arange(of) < right
    error = abs(right / of - confidence)
    found = calibration_error_interval(error, np.full(of, confidence), correct)
    assert found is not None
    return error, found


@pytest.mark.parametrize(("right", "of"), [(18, 20), (20, 20), (17, 20), (95, 100), (85, 100)])
def test_answers_as_good_as_their_confidence_may_have_no_error(right: int, of: int) -> None:
    """Confidence 0.9, and a count that is not in the outer 2.5 % on either side: the two-sided error may be chance."""
    assert 2 * min(stats.binom(of, 0.9).cdf(right), stats.binom(of, 0.9).sf(right - 1)) > 0.05
    error, (low, high) = one_bin(right, of, 0.9)
    assert low == 0
    wilson = stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert high == pytest.approx(max(error, abs(0.9 - wilson.low), abs(0.9 - wilson.high)))


def test_lower_bound_is_the_exact_one_of_a_single_bin() -> None:
    """60 of 100 at confidence 0.9: the least error e with P(|hits / 100 - 0.9| >= 0.3) > 2.5 % at accuracy 0.9 - e.

    So many misses are 60 hits or fewer; that accuracy is the upper bound of Clopper and Pearson (1934).
    """
    error, (low, high) = one_bin(60, 100, 0.9)
    exact = stats.binomtest(60, 100).proportion_ci(0.95, method="exact")
    assert error == pytest.approx(0.3)
    assert low == pytest.approx(0.9 - exact.high, abs=0.015)  # of 200 draws, and 1 / 128 of the error
    assert high == pytest.approx(0.9 - stats.binomtest(60, 100).proportion_ci(0.95, method="wilson").low)


def test_photos_of_one_confidence_are_drawn_together() -> None:
    """Many photos cost no more than the parts of the bins, and tell what the same shares of fewer do not."""
    _, (few, _) = one_bin(12, 20, 0.8)
    _, (many, _) = one_bin(60_000, 100_000, 0.8)
    assert few == 0
    assert many == pytest.approx(0.2, abs=0.01)


def test_groups_are_the_evidence_not_photos() -> None:
    """60 of 100 at confidence 0.9 is proof of single photos, and none of five patients of whom three are right."""
    correct, groups = np.arange(100) < 60, np.arange(100) // 20
    confidence = np.full(100, 0.9)
    grouped = calibration_error_interval(0.3, confidence, correct, groups)
    assert grouped is not None
    assert grouped[0] == 0
    assert calibration_error_interval(0.3, confidence, correct, np.zeros(100, int)) is None


@pytest.mark.parametrize(("n", "gap"), [(20, 0.0), (300, 0.0), (40, 0.1)])
def test_interval_holds_its_level(n: int, gap: float) -> None:
    """Right less often than the confidence says, by `gap`: the true error is the gap."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        confidence = generator.uniform(0.6, 1.0, n)
        correct = generator.random(n) < confidence - gap
        interval = calibration_error_interval(error_of(confidence, correct), confidence, correct)
        assert interval is not None
        held += interval[0] <= gap <= interval[1]
    assert held >= stats.binom(100, 0.95).ppf(0.001)


def test_a_report_has_it() -> None:
    """Twenty photos, each said to be right with 0.95, 19 are: the error is 0, and Wilson's bounds are possible."""
    second = np.full(20, 0.95)
    labels = (np.arange(20) > 0).astype(int)
    found = Report.from_probabilities(
        np.stack([1 - second, second], axis=1), labels, ("a", "b"), estimate="test", resamples=50
    )
    assert found.figures["ece"] == pytest.approx(0, abs=1e-12)
    interval = found.intervals["ece"]
    assert interval is not None
    assert interval[0] == 0
    assert interval[1] >= 0.95 - stats.binomtest(19, 20).proportion_ci(0.95, method="wilson").low - 1e-12
