"""Every figure against scikit-learn's, or worked out by hand."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference

from regraft.evaluation import metrics

Case = tuple[np.ndarray, np.ndarray, np.ndarray | None]
N, C = 200, 4


def weights_of(kind: str, generator: np.random.Generator) -> np.ndarray | None:
    if kind == "once each":
        return None
    if kind == "as drawn":  # the bootstrap's: some photos twice, some not at all
        return np.bincount(generator.integers(0, N, N), minlength=N).astype(float)
    return generator.random(N) + 0.1


@pytest.fixture(params=["once each", "as drawn", "fractions"])
def case(request: pytest.FixtureRequest) -> Case:
    """Return labels (n,), probabilities (n, c) and weights (n,) or None."""
    generator = np.random.default_rng(7)
    labels = generator.choice(C, N, p=[0.5, 0.3, 0.15, 0.05])
    logits = generator.normal(size=(N, C)) + 1.2 * np.eye(C)[labels]
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True), weights_of(request.param, generator)


@pytest.fixture(params=["distinct", "ties", "all equal"])
def scores(request: pytest.FixtureRequest) -> np.ndarray:
    """Return n scores; rounded to tenths there are long runs of equal ones."""
    found = np.random.default_rng(3).random(N)
    return {"distinct": found, "ties": found.round(1), "all equal": np.full(N, 0.5)}[request.param]


# --- answers ---


def test_confusion_matrix(case: Case) -> None:
    labels, probabilities, weights = case
    answers = probabilities.argmax(axis=1)
    found = metrics.confusion_matrix(labels, answers, C, weights)
    expected = reference.confusion_matrix(labels, answers, labels=range(C), sample_weight=weights)
    assert np.allclose(found, expected, rtol=1e-12, atol=0)


def test_confusion_matrix_has_rows_of_classes_that_do_not_occur() -> None:
    found = metrics.confusion_matrix(np.array([0, 0, 2]), np.array([0, 2, 2]), 4)
    assert found.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_balanced_accuracy(case: Case) -> None:
    labels, probabilities, weights = case
    answers = probabilities.argmax(axis=1)
    expected = reference.balanced_accuracy_score(labels, answers, sample_weight=weights)
    assert metrics.balanced_accuracy(labels, answers == labels, weights) == pytest.approx(expected, rel=1e-12)


def test_balanced_accuracy_is_over_the_classes_that_occur() -> None:
    """Class 0: 3 of 4 right; class 2: 1 of 2; class 1 is never true."""
    labels, right = np.array([0, 0, 0, 0, 2, 2]), np.array([1, 1, 0, 1, 0, 1])
    assert metrics.balanced_accuracy(labels, right) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_no_photos_have_no_accuracy() -> None:
    assert math.isnan(metrics.balanced_accuracy(np.zeros(0, int), np.zeros(0)))


def test_per_class(case: Case) -> None:
    labels, probabilities, weights = case
    answers = probabilities.argmax(axis=1)
    found = metrics.per_class(metrics.confusion_matrix(labels, answers, C, weights))
    expected = reference.precision_recall_fscore_support(labels, answers, labels=range(C), sample_weight=weights)
    for mine, theirs in zip((found.precision, found.recall, found.f1, found.support), expected, strict=True):
        assert np.allclose(mine, theirs, rtol=1e-12, atol=0)
    answered = np.bincount(answers, weights, C)
    assert np.allclose(found.predicted, answered)


def test_per_class_without_anything_to_divide_by() -> None:
    """Class 1 is never answered, class 2 never true, class 3 neither."""
    found = metrics.per_class(np.array([[2, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    nan = float("nan")
    assert np.allclose(found.precision, [2 / 3, nan, 0, nan], equal_nan=True)
    assert np.allclose(found.recall, [2 / 3, 0, nan, nan], equal_nan=True)
    assert np.allclose(found.f1, [2 / 3, 0, 0, nan], equal_nan=True)
    assert (found.support.tolist(), found.predicted.tolist()) == ([3, 1, 0, 0], [3, 0, 1, 0])


# --- probabilities ---


def test_log_loss(case: Case) -> None:
    labels, probabilities, weights = case
    found = np.average(metrics.photo_log_loss(labels, probabilities), weights=weights)
    expected = reference.log_loss(labels, probabilities, labels=range(C), sample_weight=weights)
    assert found == pytest.approx(expected, rel=1e-12)


def test_log_loss_of_an_impossible_truth_is_finite() -> None:
    found = metrics.photo_log_loss(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found.tolist() == pytest.approx([15 * math.log(10), 0.0])
    assert metrics.photo_log_loss(np.array([0]), np.array([[0.0, 1.0]]), 1e-3)[0] == pytest.approx(3 * math.log(10))


def test_brier_by_hand() -> None:
    """(0.5 - 1)^2 + 0.3^2 + 0.2^2 = 0.38; 0.5^2 + 0.3^2 + (0.2 - 1)^2 = 0.98; 0 at best and 2 at worst."""
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = metrics.photo_brier(np.array([0, 2, 1, 2]), probabilities)
    assert found.tolist() == pytest.approx([0.38, 0.98, 0.0, 2.0], abs=1e-15)


def test_brier_of_two_classes_is_twice_scikit_learns(case: Case) -> None:
    labels, probabilities, weights = case
    labels, chance = (labels > 0).astype(int), 1 - probabilities[:, 0]
    found = np.average(metrics.photo_brier(labels, np.stack([1 - chance, chance], axis=1)), weights=weights)
    assert found == pytest.approx(2 * reference.brier_score_loss(labels, chance, sample_weight=weights), rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_in_top(case: Case, k: int) -> None:
    labels, probabilities, weights = case
    found = np.average(metrics.photo_in_top(labels, probabilities, k), weights=weights)
    expected = reference.top_k_accuracy_score(labels, probabilities, k=k, labels=range(C), sample_weight=weights)
    assert found == pytest.approx(expected, rel=1e-12)


def test_in_top_of_ties_takes_the_earlier_class() -> None:
    probabilities = np.array([[0.2, 0.3, 0.3, 0.2]] * 4)
    assert metrics.photo_in_top(np.arange(4), probabilities, 1).tolist() == [0, 1, 0, 0]  # as argmax has it
    assert metrics.photo_in_top(np.arange(4), probabilities, 2).tolist() == [0, 1, 1, 0]
    assert metrics.photo_in_top(np.arange(4), probabilities, 3).tolist() == [1, 1, 1, 0]
    assert metrics.photo_in_top(np.arange(4), probabilities, 4).tolist() == [1, 1, 1, 1]


# --- ranking ---


def test_auc_and_average_precision(case: Case, scores: np.ndarray) -> None:
    labels, _, weights = case
    positive = labels == 1
    ranking = metrics.Ranking(positive, scores)
    auc = reference.roc_auc_score(positive, scores, sample_weight=weights)
    average_precision = reference.average_precision_score(positive, scores, sample_weight=weights)
    assert ranking.auc(weights) == pytest.approx(auc, rel=1e-12)
    assert ranking.average_precision(weights) == pytest.approx(average_precision, rel=1e-12)


def test_auc_counts_ties_half() -> None:
    """Pairs of a positive and a negative: 0.8 > 0.3 and 0.8 > 0.5, 0.5 > 0.3, and 0.5 = 0.5 counted half: 3.5 of 4."""
    ranking = metrics.Ranking(np.array([True, True, False, False]), np.array([0.8, 0.5, 0.3, 0.5]))
    assert ranking.auc() == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(("scores", "auc"), [([0.9, 0.8, 0.2, 0.1], 1.0), ([0.1, 0.2, 0.8, 0.9], 0.0)])
def test_auc_of_perfect_and_of_perverse_scores(scores: list[float], auc: float) -> None:
    assert metrics.Ranking(np.array([True, True, False, False]), np.array(scores)).auc() == auc


def test_average_precision_by_hand() -> None:
    """In order +, -, +: precision 1 at recall 1/2 and 2/3 at recall 1: 1/2 + 1/3."""
    ranking = metrics.Ranking(np.array([True, True, False]), np.array([0.9, 0.2, 0.5]))
    assert ranking.average_precision() == pytest.approx(1 / 2 + 1 / 3)


@pytest.mark.parametrize(
    ("positive", "auc", "average_precision"),
    [([], math.nan, math.nan), ([False, False], math.nan, math.nan), ([True, True], math.nan, 1.0)],
)
def test_ranking_of_one_kind_only(positive: list[bool], auc: float, average_precision: float) -> None:
    ranking = metrics.Ranking(np.array(positive, bool), np.linspace(0, 1, len(positive)))
    assert ranking.auc() == pytest.approx(auc, nan_ok=True)
    assert ranking.average_precision() == pytest.approx(average_precision, nan_ok=True)


def test_ranking_without_a_drawn_positive() -> None:
    """The bootstrap may draw none of the positives, or no one with the highest score."""
    ranking = metrics.Ranking(np.array([True, False, False]), np.array([0.9, 0.5, 0.1]))
    assert math.isnan(ranking.auc(np.array([0.0, 2.0, 1.0])))
    assert math.isnan(ranking.average_precision(np.array([0.0, 2.0, 1.0])))
    last = metrics.Ranking(np.array([False, True, False]), np.array([0.9, 0.5, 0.1]))
    assert last.auc(np.array([0.0, 2.0, 1.0])) == 1.0
    assert last.average_precision(np.array([0.0, 2.0, 1.0])) == 1.0


# --- calibration error ---


def two_classes(*confidences: float) -> np.ndarray:
    """Return probabilities of which class 0 is the answer."""
    first = np.array(confidences)
    return np.stack([first, 1 - first], axis=1)


def test_calibration_error_by_hand() -> None:
    """Five bins of 0.2, each closed on its left.

    0.4 to 0.6: one photo, 0.5 sure and right: gap 0.5. 0.6 to 0.8: 0.675 sure, one of two right: gap 0.175.
    0.8 to 1: 0.9 sure, two of three right: gap 0.2333.
    """
    labels = np.array([0, 0, 1, 0, 0, 1])
    diagram = metrics.reliability(labels, two_classes(0.5, 0.7, 0.65, 0.9, 0.8, 1.0), bins=5)
    nan = float("nan")
    assert diagram.count.tolist() == [0, 0, 1, 2, 3]
    assert diagram.confidence.tolist() == pytest.approx([nan, nan, 0.5, 0.675, 0.9], nan_ok=True)
    assert diagram.accuracy.tolist() == pytest.approx([nan, nan, 1, 1 / 2, 2 / 3], nan_ok=True)
    assert metrics.expected_calibration_error(diagram) == pytest.approx((0.5 + 2 * 0.175 + 0.7) / 6)


def test_calibration_error_with_weights_is_that_of_repeated_photos() -> None:
    labels = np.array([0, 1, 0, 1])
    probabilities = two_classes(0.55, 0.71, 0.93, 0.98)
    repeats = np.array([3, 1, 0, 2])
    weighted = metrics.reliability(labels, probabilities, weights=repeats.astype(float))
    repeated = metrics.reliability(np.repeat(labels, repeats), np.repeat(probabilities, repeats, axis=0))
    found = metrics.expected_calibration_error(weighted)
    assert found == pytest.approx(metrics.expected_calibration_error(repeated))
    assert found == pytest.approx((3 * 0.45 + 0.71 + 2 * 0.98) / 6)


def test_calibration_error_at_its_ends() -> None:
    """Three of four right at 75 %: no error. Always sure and never right: 1."""
    calibrated = metrics.reliability(np.array([0, 0, 0, 1]), two_classes(*[0.75] * 4))
    assert metrics.expected_calibration_error(calibrated) == pytest.approx(0.0, abs=1e-15)
    wrong = metrics.reliability(np.array([1, 1]), two_classes(1.0, 1.0))
    assert metrics.expected_calibration_error(wrong) == 1.0


def test_fifteen_bins() -> None:
    """Bin k is from k / 15: 0.5 is in 7, 0.6 in 9, 0.99 and 1 in the last."""
    assert metrics.confidence_bins(two_classes(0.5, 0.6, 0.99, 1.0)).tolist() == [7, 9, 14, 14]
