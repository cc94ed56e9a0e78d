"""Every figure against scikit-learn's, or worked out by hand; and a metric that is added to the table."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as reference

from regraft.evaluation import metrics
from regraft.evaluation.metrics import METRICS, Metric, Predictions
from regraft.evaluation.paired import paired_differences
from regraft.evaluation.report import Report

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
    """Class 0: 3 of 4 correct; class 2: 1 of 2; class 1 is never true."""
    labels, correct = np.array([0, 0, 0, 0, 2, 2]), np.array([1, 1, 0, 1, 0, 1])
    assert metrics.balanced_accuracy(labels, correct) == pytest.approx((3 / 4 + 1 / 2) / 2)


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
    assert metrics.photo_in_top(np.arange(4), probabilities, 1).tolist() == [0, 1, 0, 0]  # like argmax
    assert metrics.photo_in_top(np.arange(4), probabilities, 2).tolist() == [0, 1, 1, 0]
    assert metrics.photo_in_top(np.arange(4), probabilities, 3).tolist() == [1, 1, 1, 0]
    assert metrics.photo_in_top(np.arange(4), probabilities, 4).tolist() == [1, 1, 1, 1]


# --- the table ---


def matthews(predictions: Predictions) -> metrics.Figure:
    """Return Matthews' correlation coefficient (Gorodkin 2004) as a function of weights."""

    def figure(weights: np.ndarray | None) -> float:
        classes = predictions.probabilities.shape[1]
        table = metrics.confusion_matrix(predictions.labels, predictions.answers, classes, weights)
        n, true, answered = table.sum(), table.sum(axis=1), table.sum(axis=0)
        spread = math.sqrt((n**2 - true @ true) * (n**2 - answered @ answered))
        return float((n * np.trace(table) - true @ answered) / spread) if spread else math.nan

    return figure


@pytest.fixture
def mcc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a metric as anyone would: one function and one row."""
    row = Metric(
        "mcc",
        "Matthews correlation",
        matthews,
        lower_is_better=False,
        percent=False,
        limits=(-1.0, 1.0),
        depends_on_temperature=False,
        bootstrap="percentiles",
    )
    monkeypatch.setitem(METRICS, row.name, row)


def answers_of(labels: np.ndarray, correct: float, seed: int) -> np.ndarray:
    """Return (n, 2) probabilities whose answers are correct as often as `correct` says."""
    hits = np.random.default_rng(seed).random(len(labels)) < correct
    return 0.1 + 0.8 * np.eye(2)[np.where(hits, labels, 1 - labels)]


@pytest.mark.usefixtures("mcc")
def test_a_metric_is_one_row() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 80)
    bad, good = answers_of(labels, 0.3, seed=1), answers_of(labels, 0.9, seed=1)
    report = Report.from_probabilities(bad, labels, ("a", "b"), estimate="test", resamples=200)
    expected = reference.matthews_corrcoef(labels, bad.argmax(axis=1))
    assert expected < -0.2
    assert report.figures["mcc"] == pytest.approx(expected)
    low, high = report.intervals["mcc"]
    assert -1 <= low < expected < high < 0  # not clipped at 0

    data = json.loads(json.dumps(report.to_json()))
    assert (data["mcc"], data["intervals"]["mcc"]) == (report.figures["mcc"], [low, high])
    assert Report.from_json(data) == report
    with pytest.raises(ValueError, match=r"`float` >= -1\.000001 - at `\$\.mcc`"):
        Report.from_json({**data, "mcc": -1.5})

    lines = str(report).split("\n")
    (shown,) = [number for number, line in enumerate(lines) if line.startswith("  Matthews correlation ")]
    assert lines[shown].endswith(f"  {expected:.3f} [{low:.3f}, {high:.3f}]")
    assert lines[shown + 1].startswith("  log loss ")  # after what is better when higher

    differences = [paired_differences(*pair, labels, resamples=200)["mcc"] for pair in ((good, bad), (bad, good))]
    assert differences[0].value == pytest.approx(reference.matthews_corrcoef(labels, good.argmax(axis=1)) - expected)
    assert [difference.verdict for difference in differences] == ["better", "worse"]


@pytest.mark.usefixtures("mcc")
def test_a_metric_where_lower_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "mcc", replace(METRICS["mcc"], lower_is_better=True))
    labels = np.random.default_rng(0).integers(0, 2, 80)
    bad, good = answers_of(labels, 0.3, seed=1), answers_of(labels, 0.9, seed=1)
    assert paired_differences(good, bad, labels, resamples=100)["mcc"].verdict == "worse"


@pytest.mark.usefixtures("mcc")
def test_a_metric_that_these_predictions_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(METRICS["mcc"], needs=lambda predictions: predictions.probabilities.shape[1] > 2)
    monkeypatch.setitem(METRICS, "mcc", few)
    labels = np.array([0, 1, 0, 1])
    probabilities = answers_of(labels, 0.5, seed=0)
    report = Report.from_probabilities(probabilities, labels, ("a", "b"), estimate="test", resamples=5)
    assert "mcc" not in report.figures
    assert "mcc" not in report.to_json()
    assert "mcc" not in paired_differences(probabilities, probabilities, labels, resamples=5)


def test_a_temperature_changes_what_the_table_says(case: Case) -> None:
    """Of two classes every other figure depends on the order of the photos or on the answers alone."""
    labels, probabilities, _ = case
    labels, logits = (labels > 0).astype(int), np.log(probabilities[:, 1:].sum(axis=1) / probabilities[:, 0])
    found = []
    for temperature in (1.0, 3.0):
        second = 1 / (1 + np.exp(-logits / temperature))
        figures = metrics.prepare(Predictions(labels, np.stack([1 - second, second], axis=1), 1))
        found.append({name: figure(None) for name, figure in figures.items()})
    changed = {name for name, value in found[0].items() if found[1][name] != pytest.approx(value, rel=1e-9)}
    assert changed == {name for name, metric in METRICS.items() if metric.depends_on_temperature}
