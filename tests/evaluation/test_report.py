"""The figures of one evaluation, worked out by hand; as JSON, as text and read back."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from tests.marks import some_slow

from regraft.evaluation import metrics
from regraft.evaluation.figures import ClassFigures, ReliabilityBin
from regraft.evaluation.report import Report
from regraft.evaluation.report_lines import cases_held, estimate_note
from regraft.evaluation.skill import beats_majority

CLASSES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 1, 1, 0])  # no owl among the photos
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]])
# two classes; by the probability of dog the photos are dog, cat, cat, dog, cat
PETS = np.array([1, 0, 0, 1, 0])
OF_DOG = np.array([0.9, 0.7, 0.6, 0.5, 0.1])


@pytest.fixture(scope="module")
def report() -> Report:
    return Report.from_probabilities(PROBABILITIES, LABELS, CLASSES, estimate="test", resamples=50)


def binary(of_second: np.ndarray) -> np.ndarray:
    return np.stack([1 - of_second, of_second], axis=1)


def two_class_report(positive: str | None = None) -> Report:
    return Report.from_probabilities(
        binary(OF_DOG), PETS, CLASSES[:2], estimate="validation", positive=positive, resamples=50
    )


def wilson_interval(successes: int, trials: int) -> list[float]:
    return list(stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson"))


# --- figures ---


def test_figures_by_hand(report: Report) -> None:
    """Four of five right; cats 2 of 3, dogs 2 of 2. Each confidence has a bin of its own, with gaps 0.3 0.6 0.5 ..."""
    assert report.figures == pytest.approx(
        {
            "accuracy": 4 / 5,
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "log_loss": -math.log(0.7 * 0.3 * 0.5 * 0.8 * 0.9) / 5,
            "brier": (0.14 + 0.86 + 0.38 + 0.06 + 0.015) / 5,
            "ece": (0.3 + 0.6 + 0.5 + 0.2 + 0.1) / 5,
        }
    )
    assert report.accuracy == 4 / 5
    assert (report.n, report.classes, report.estimate) == (5, CLASSES, "test")
    assert report.confusion == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert report.majority_share == 3 / 5
    assert report.majority_interval == pytest.approx(wilson_interval(3, 5))
    assert report.positive is None


def test_accuracy_interval_is_wilsons(report: Report) -> None:
    assert report.intervals["accuracy"] == pytest.approx(wilson_interval(4, 5))


def test_every_figure_lies_in_its_interval(report: Report) -> None:
    assert set(report.intervals) == set(report.figures)
    for name, interval in report.intervals.items():
        value = report.figures[name]
        assert interval is not None
        assert value is not None
        assert interval[0] <= value <= interval[1], name
        assert interval[0] < interval[1], name


def test_per_class_by_hand(report: Report) -> None:
    cat, dog = report.per_class["cat"], report.per_class["dog"]
    assert (cat.precision, cat.recall, cat.f1, cat.support) == pytest.approx((1.0, 2 / 3, 0.8, 3))
    assert (dog.precision, dog.recall, dog.f1, dog.support) == pytest.approx((2 / 3, 1.0, 0.8, 2))
    assert cat.recall_interval == pytest.approx(wilson_interval(2, 3))
    assert cat.precision_interval == pytest.approx(wilson_interval(2, 2))
    assert dog.recall_interval == pytest.approx(wilson_interval(2, 2))
    assert dog.precision_interval == pytest.approx(wilson_interval(2, 3))


def test_a_class_that_is_neither_true_nor_answered_has_no_figures(report: Report) -> None:
    assert report.per_class["owl"] == ClassFigures(
        precision=None, recall=None, f1=None, support=0, recall_interval=None, precision_interval=None
    )


def test_a_class_that_is_only_answered_has_no_recall() -> None:
    found = Report.from_probabilities(
        np.array([[0.6, 0.2, 0.2], [0.2, 0.2, 0.6]]), np.array([0, 0]), CLASSES, estimate="test", resamples=20
    )
    owl = found.per_class["owl"]
    assert (owl.recall, owl.precision, owl.f1, owl.support) == (None, 0.0, 0.0, 0)
    assert owl.recall_interval is None
    assert owl.precision_interval == pytest.approx(wilson_interval(0, 1), abs=1e-15)
    assert found.figures["balanced_accuracy"] == 1 / 2


# --- two classes ---


def test_the_second_class_is_the_positive_one() -> None:
    """Pairs (dog, cat) in order: 3 for 0.9 and 1 for 0.5, of 6. Precision 1 at recall 1/2, 2 of 4 at recall 1."""
    found = two_class_report()
    assert found.positive == "dog"
    assert found.figures["auc"] == pytest.approx(4 / 6)
    assert found.figures["average_precision"] == pytest.approx((1 + 2 / 4) / 2)


def test_another_positive_class() -> None:
    """By the probability of cat: cat, dog, cat, cat, dog; precision 1, 2 of 3 and 3 of 4 at thirds of recall."""
    found = two_class_report("cat")
    assert found.positive == "cat"
    assert found.figures["auc"] == pytest.approx(4 / 6)
    assert found.figures["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert set(found.figures) == {"accuracy", "balanced_accuracy", "log_loss", "brier", "ece"} | {
        "auc",
        "average_precision",
    }


def test_of_three_classes_none_is_positive() -> None:
    found = Report.from_probabilities(PROBABILITIES, LABELS, CLASSES, estimate="test", positive="dog", resamples=10)
    assert found.positive is None
    assert "auc" not in found.figures


def test_ranking_of_one_class_only_is_undefined() -> None:
    found = Report.from_probabilities(binary(OF_DOG), np.zeros(5, int), CLASSES[:2], estimate="test", resamples=20)
    assert (found.figures["auc"], found.figures["average_precision"]) == (None, None)
    assert (found.intervals["auc"], found.intervals["average_precision"]) == (None, None)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["auc"] is None
    assert any(line.split() == ["ROC", "AUC", "(dog)", "none"] for line in str(found).split("\n"))


# --- ten classes and more ---


@pytest.mark.parametrize(("classes", "expected"), [(9, None), (10, 3 / 4)])
def test_top_five_from_ten_classes_on(classes: int, expected: float | None) -> None:
    """Class k has the k-th greatest probability: of the truths 0, 3, 4 and 5 three are among the first five."""
    falling = np.arange(classes, 0, -1) / sum(range(classes + 1))
    names = [str(number) for number in range(classes)]
    found = Report.from_probabilities(
        np.tile(falling, (4, 1)), np.array([0, 3, 4, 5]), names, estimate="test", resamples=20
    )
    assert found.figures.get("top5_accuracy") == expected
    assert found.figures["accuracy"] == 1 / 4


# --- groups ---


def test_groups_widen_every_interval() -> None:
    """Twenty photos in ten copies each: intervals as of twenty, not of two hundred."""
    generator = np.random.default_rng(0)
    labels = np.arange(20) % 2
    probabilities = binary(np.clip(0.5 + 0.2 * (2 * labels - 1) + generator.normal(0, 0.25, 20), 0.05, 0.95))
    copies = np.repeat(np.arange(20), 10)

    def evaluated(groups: np.ndarray | None) -> Report:
        return Report.from_probabilities(
            probabilities[copies], labels[copies], CLASSES[:2], estimate="out-of-fold", groups=groups, resamples=300
        )

    alone, grouped = evaluated(None), evaluated(copies)
    assert grouped.figures == alone.figures
    for name, wide in grouped.intervals.items():
        narrow = alone.intervals[name]
        assert wide is not None
        assert narrow is not None
        assert wide[1] - wide[0] > 1.8 * (narrow[1] - narrow[0]), name
    wide, narrow = (r.per_class["cat"].recall_interval for r in (grouped, alone))
    assert wide[1] - wide[0] > 1.8 * (narrow[1] - narrow[0])


PERFECT = np.repeat([[0.9, 0.1], [0.2, 0.8]], 10, axis=0)
HALVES = np.repeat([0, 1], 10)


def test_twenty_perfect_photos_may_hide_mistakes() -> None:
    """Each recall is 10 of 10: down to 10 / (10 + z^2) = 0.7225, their mean to 1 - 0.2775 / sqrt(2).

    The AUC's lower bound a solves (1 - a)^2 = z^2 a (1 - a) (1 + 9 ((1 - a) / (2 - a) + a / (1 + a))) / 100.
    """
    found = Report.from_probabilities(PERFECT, HALVES, CLASSES[:2], estimate="test", resamples=50).intervals
    bounds = {name: found[name][0] for name in ("accuracy", "balanced_accuracy", "auc", "average_precision")}
    a = bounds.pop("auc")
    assert 0.7 < a < 0.9
    squared = 1.959963984540054**2
    assert (1 - a) ** 2 == pytest.approx(squared * a * (1 - a) * (1 + 9 * ((1 - a) / (2 - a) + a / (1 + a))) / 100)
    expected = {
        "accuracy": 20 / (20 + squared),
        "balanced_accuracy": 1 - squared / (10 + squared) / math.sqrt(2),
        "average_precision": 10 / (10 + squared),
    }
    assert bounds == pytest.approx(expected)
    assert {found[name][1] for name in (*expected, "auc")} == {1.0}


def test_perfect_photos_of_four_patients_are_known_as_four() -> None:
    """Two patients of each class, Student's quantile 3.18 of four and 12.7 of two."""
    groups = np.repeat([0, 1, 2, 3], 5)
    found = Report.from_probabilities(PERFECT, HALVES, CLASSES[:2], estimate="test", groups=groups, resamples=50)
    assert found.intervals["accuracy"] == pytest.approx((4 / (4 + 3.182446305**2), 1.0))
    recall = 2 / (2 + 12.706204736**2)
    assert found.per_class["cat"].recall_interval == pytest.approx([recall, 1.0])
    assert found.per_class["dog"].precision_interval == pytest.approx([recall, 1.0])
    assert found.intervals["balanced_accuracy"] == pytest.approx(found.intervals["accuracy"])  # below the recalls' own
    assert found.intervals["average_precision"] == pytest.approx((recall, 1.0))
    assert found.intervals["auc"][0] < 0.05  # as good as nothing


def test_one_patient_gives_no_interval() -> None:
    found = Report.from_probabilities(
        PERFECT, HALVES, CLASSES[:2], estimate="test", groups=np.zeros(20, int), resamples=20
    )
    assert set(found.intervals.values()) == {None}
    assert found.per_class["cat"].recall_interval is found.per_class["dog"].precision_interval is None
    assert found.to_json()["accuracy_interval"] is None
    assert any(line.split() == ["accuracy", "100.0", "%"] for line in str(found).split("\n"))


def test_correlated_recalls_are_not_treated_as_independent() -> None:
    """Four patients with photos of ten classes, perfect: no more is known of the mean of ten recalls than of four."""
    labels = np.tile(np.arange(10), 4)
    found = Report.from_probabilities(
        np.eye(10)[labels], labels, list("abcdefghij"), estimate="test", groups=np.arange(40) // 10, resamples=20
    )
    low = 4 / (4 + 3.182446305**2)
    assert found.intervals["accuracy"] == found.intervals["top5_accuracy"] == pytest.approx((low, 1.0))
    assert found.intervals["balanced_accuracy"] == pytest.approx((low, 1.0))


def test_a_class_of_a_single_patient_leaves_its_recall_open() -> None:
    """One patient holds half of all, ten others a twentieth each: all right, like 1 / (1 / 4 + 10 / 400) patients.

    That reaches further than the two recalls, one of which may be anything while the other is 10 of 10.
    """
    groups = np.concatenate([np.zeros(10, int), np.arange(1, 11)])
    found = Report.from_probabilities(PERFECT, HALVES, CLASSES[:2], estimate="test", groups=groups, resamples=20)
    effective = 1 / 0.275
    squared = stats.t(effective - 1).ppf(0.975) ** 2
    assert found.per_class["cat"].recall_interval is None
    assert found.intervals["balanced_accuracy"] == pytest.approx((effective / (effective + squared), 1.0))
    assert found.intervals["auc"] is None


def test_draws_compute_no_confusion_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1,000 classes a draw's table would have a million cells."""
    counted: list[int] = []
    count = metrics.confusion_matrix

    def noted(*given: Any) -> np.ndarray:
        counted.append(1)
        return count(*given)

    monkeypatch.setattr(metrics, "confusion_matrix", noted)
    Report.from_probabilities(PROBABILITIES, LABELS, CLASSES, estimate="test", resamples=50)
    assert len(counted) == 1


@pytest.mark.parametrize("groups", some_slow([3, 5, 10, 30], {10, 30}))
def test_intervals_of_few_patients_keep_their_level(groups: int) -> None:
    """Of 100 samples of patients of 8 photos each, half of whose difficulty is the patient's.

    A photo's score is 1.2 + (patient + photo) / sqrt(2) towards its truth, standard normal each: the accuracy is the
    normal distribution's at 1.2; the AUC, of two photos (of two patients), at 2.4 / sqrt(2).
    """
    generator = np.random.default_rng(0)
    true = {"accuracy": stats.norm.cdf(1.2), "balanced_accuracy": stats.norm.cdf(1.2)}
    true["auc"] = stats.norm.cdf(2.4 / math.sqrt(2))
    held = dict.fromkeys(true, 0)
    patients = np.repeat(np.arange(groups), 8)
    labels = np.tile([0, 1], 4 * groups)
    for _ in range(100):
        noise = (generator.normal(size=groups)[patients] + generator.normal(size=8 * groups)) / math.sqrt(2)
        scores = np.where(labels == 1, 1, -1) * (1.2 + noise)
        evaluated = Report.from_probabilities(
            binary(special.expit(scores)), labels, CLASSES[:2], estimate="test", groups=patients, resamples=40
        )
        for name, value in true.items():
            low, high = evaluated.intervals[name]
            held[name] += low <= value <= high
    assert min(held.values()) >= stats.binom(100, 0.95).ppf(0.001)


def test_one_seed_one_report() -> None:
    def evaluated(seed: int) -> Report:
        return Report.from_probabilities(
            PROBABILITIES, LABELS, CLASSES, estimate="test", groups=np.array([0, 1, 2, 3, 4]), seed=seed, resamples=40
        )

    assert evaluated(1) == evaluated(1)
    assert evaluated(1).intervals != evaluated(2).intervals
    assert evaluated(1).figures == evaluated(2).figures


# --- JSON and text ---


def test_json(report: Report) -> None:
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["n"] == 5
    assert data["classes"] == ["cat", "dog", "owl"]
    assert data["estimate"] == "test"
    assert data["accuracy"] == 0.8
    assert data["accuracy_interval"] == pytest.approx(wilson_interval(4, 5))
    assert data["balanced_accuracy"] == pytest.approx(5 / 6)
    assert data["log_loss"] == pytest.approx(-math.log(0.0756) / 5)
    assert data["brier"] == pytest.approx(0.291)
    assert data["ece"] == pytest.approx(0.34)
    assert data["confusion"] == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert list(data["per_class"]) == ["cat", "dog", "owl"]
    assert data["per_class"]["dog"]["precision"] == pytest.approx(2 / 3)
    assert data["majority_share"] == 0.6
    assert data["majority_interval"] == pytest.approx(wilson_interval(3, 5))
    assert data["positive"] is None
    assert data["intervals"]["accuracy"] == data["accuracy_interval"]
    assert not {"auc", "average_precision", "top5_accuracy"} & set(data)


def test_json_of_two_classes() -> None:
    data = json.loads(json.dumps(two_class_report().to_json(), allow_nan=False))
    assert (data["positive"], data["estimate"]) == ("dog", "validation")
    assert (data["auc"], data["average_precision"]) == pytest.approx((2 / 3, 3 / 4))


def test_classes_and_bins_in_json() -> None:
    """One cat that is taken for a dog with 0.7, one dog with 0.9."""
    found = Report.from_probabilities(
        np.array([[0.3, 0.7], [0.1, 0.9]]), np.array([0, 1]), CLASSES[:2], estimate="test", resamples=5
    )
    data = json.loads(json.dumps(found.to_json()))
    never, once, half = (pytest.approx(wilson_interval(*of), abs=1e-12) for of in ((0, 1), (1, 1), (1, 2)))
    assert data["per_class"]["dog"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
        "recall_interval": once,
        "precision_interval": half,
    }
    assert list(data["per_class"]["cat"]) == list(data["per_class"]["dog"])
    assert (data["per_class"]["cat"]["precision"], data["per_class"]["cat"]["precision_interval"]) == (None, None)
    assert data["reliability"] == [
        {"n": 1, "confidence": 0.7, "accuracy": 0.0, "interval": never},
        {"n": 1, "confidence": 0.9, "accuracy": 1.0, "interval": once},
    ]
    assert found.reliability[1] == ReliabilityBin(1, 0.9, 1.0, once)


def ten_classes(groups: np.ndarray | None) -> Report:
    labels = np.arange(40) % 10
    odds = np.random.default_rng(0).random((40, 10)) + np.eye(10)[labels]
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return Report.from_probabilities(
        probabilities, labels, list("abcdefghij"), estimate="out-of-fold", groups=groups, resamples=20
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Report.from_probabilities(PROBABILITIES, LABELS, CLASSES, estimate="test", resamples=20),
        lambda: two_class_report("cat"),
        lambda: Report.from_probabilities(binary(OF_DOG), np.zeros(5, int), CLASSES[:2], estimate="test", resamples=20),
        lambda: ten_classes(None),
        lambda: ten_classes(np.arange(40) // 4),
        lambda: ten_classes(np.zeros(40, int)),
    ],
    ids=["three classes", "two classes", "one class of two", "ten classes", "groups", "one group"],
)
def test_a_report_is_read_back_as_it_was(make: Callable[[], Report]) -> None:
    report = make()
    text = json.dumps(report.to_json(), allow_nan=False)
    found = Report.from_json(json.loads(text) | {"model": "resnet50", "seconds": 1.5})  # what `fit` adds
    assert found == report
    assert json.dumps(found.to_json()) == text
    assert str(found) == str(report)


def test_what_older_files_lack_may_be_missing(report: Report) -> None:
    optional = ("majority_interval", "reliability", "positive", "balanced_accuracy", "log_loss", "brier", "ece")
    found = Report.from_json({key: value for key, value in report.to_json().items() if key not in optional})
    assert found.figures == {"accuracy": 4 / 5}
    assert (found.reliability, found.positive) == ((), None)
    assert " ".join(str(found).split("\n")[2].split()).startswith("accuracy 80.0 % [")
    assert " ".join(str(found).split("\n")[3].split()) == "always the largest class 60.0 %"
    bare = Report.from_json({**report.to_json(), "intervals": {}})
    assert bare.intervals == {"accuracy": report.intervals["accuracy"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, r"`int` >= 1 - at `\$\.n`"),
        ({"classes": None}, r"Expected `array`, got `null` - at `\$\.classes`"),
        ({"estimate": "guess"}, r"Invalid enum value 'guess' - at `\$\.estimate`"),
        ({"accuracy": 1.1}, r"`float` <= 1\.000001 - at `\$\.accuracy`"),
        ({"accuracy": None}, r"Expected `float`, got `null` - at `\$\.accuracy`"),
        ({"brier": 2.5}, r"`float` <= 2\.000001 - at `\$\.brier`"),
        ({"log_loss": -0.1}, r"`float` >= -1e-06 - at `\$\.log_loss`"),
        ({"ece": "low"}, r"Expected `float \| null`, got `str` - at `\$\.ece`"),
        ({"intervals": {"accuracy": [0.1]}}, r"Expected `array` of length 2, got 1 - at `\$\.intervals\[\.\.\.\]`"),
        ({"per_class": {}}, "per_class must have the classes"),
        ({"per_class": {"cat": {"support": 1}}}, r"missing required field `precision` - at `\$\.per_class\[\.\.\.\]`"),
        ({"confusion": [[1, 2], [3, 4]]}, "confusion must have 3 rows and columns, one for each class"),
        ({"confusion": [[-1, 0, 0], [0, 0, 0], [0, 0, 0]]}, r"`int` >= 0 - at `\$\.confusion\[0\]\[0\]`"),
        ({"positive": "fox"}, "positive must be one of the classes"),
        ({"reliability": [{"n": 1}]}, r"missing required field `confidence` - at `\$\.reliability\[0\]`"),
    ],
)
def test_what_does_not_fit_is_named(report: Report, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Report.from_json({**report.to_json(), **change})


def test_what_is_no_report() -> None:
    with pytest.raises(ValueError, match="missing required field `n`"):
        Report.from_json({})


def test_no_name_steers_the_terminal() -> None:
    names = ("a\x1b[2J", "b\n  accuracy 100 %", "c")
    found = Report.from_probabilities(PROBABILITIES, LABELS, names, estimate="test", resamples=5)
    lines = str(found).split("\n")
    assert any(line.startswith(r"  a\x1b[2J ") for line in lines)
    assert any(line.startswith(r"  b\n  accuracy 100 % ") for line in lines)
    assert sum(line.startswith("  accuracy") for line in lines) == 1


def test_headline(report: Report) -> None:
    lines = str(report).split("\n")
    assert report.headline == "\n".join(lines[:4])
    assert lines[2].startswith("  accuracy ")


def test_summary(report: Report) -> None:
    lines = str(report).split("\n")
    assert lines[0] == "test, n = 5, 3 classes; 95 % intervals in brackets"
    low, high = wilson_interval(4, 5)
    rows = [" ".join(line.split()) for line in lines]
    assert rows[2] == f"accuracy 80.0 % [{100 * low:.1f}, {100 * high:.1f}]"
    low, high = wilson_interval(3, 5)  # of as many photos, by the same convention
    assert rows[3] == f"always the largest class 60.0 % [{100 * low:.1f}, {100 * high:.1f}]"
    for start in (
        "balanced accuracy 83.3 % [",
        "log loss 0.516 [",
        "Brier score 0.291 [",
        "calibration error 34.0 % [",
    ):
        assert any(row.startswith(start) and row.endswith("]") for row in rows), start
    low, high = wilson_interval(2, 3)
    assert f"cat 3 66.7 % [{100 * low:.1f}, {100 * high:.1f}] 100.0 % 0.800" in rows
    assert "owl 0 none none none" in rows
    assert rows[-1] == "cat taken for dog: 1"


def test_summary_names_the_positive_class() -> None:
    rows = [" ".join(line.split()) for line in str(two_class_report("cat")).split("\n")]
    assert any(row.startswith("ROC AUC (cat) 0.667 [") for row in rows)
    assert any(row.startswith("average precision (cat) 0.806 [") for row in rows)


def test_summary_of_no_mistakes_names_none() -> None:
    found = Report.from_probabilities(np.eye(3), np.arange(3), CLASSES, estimate="test", resamples=10)
    assert not any("taken for" in line for line in str(found).split("\n"))


@pytest.mark.parametrize("classes", [20, 21])
def test_summary_of_many_classes_shows_those_missed_most(classes: int) -> None:
    """Ten photos each; of class k min(k, 10) are correct, the others taken for class 0. The last class has none."""
    labels = np.repeat(np.arange(classes - 1), 10)
    correct = np.tile(np.arange(10), classes - 1) < labels
    probabilities = np.eye(classes)[np.where(correct, labels, 0)]
    names = [f"kind-{number}" for number in range(classes)]
    found = Report.from_probabilities(probabilities, labels, names, estimate="test", resamples=5)
    lines = str(found).split("\n")
    shown = [line.split()[0] for line in lines if line.startswith("  kind-") and "taken for" not in line]
    if classes == 20:
        assert shown == names
    else:  # class 0 is always right: 10 of 10
        assert shown == [f"kind-{number}" for number in range(1, 10)] + ["kind-0"]
        assert any(line.startswith("  the 10 classes that are missed most  photos") for line in lines)
    assert lines[-1] == "  kind-1 taken for kind-0: 9; kind-2 taken for kind-0: 8; kind-3 taken for kind-0: 7"


# --- errors ---


def test_unknown_estimate() -> None:
    message = r"^estimate must be one of \('out-of-fold', 'validation', 'test'\)\. Got 'guess'\.$"
    with pytest.raises(ValueError, match=message):
        Report.from_probabilities(PROBABILITIES, LABELS, CLASSES, estimate="guess")


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.empty((0, 3)), np.empty(0, int)),
        (np.array([[0.5, 0.5, np.nan]]), np.array([0])),
        (np.array([[np.inf, 0, 0]]), np.array([0])),
    ],
)
def test_nothing_to_evaluate(probabilities: np.ndarray, labels: np.ndarray) -> None:
    shape = rf"\({len(labels)}, 3\)"
    with pytest.raises(
        ValueError, match=rf"^expected finite probabilities of one photo or more\. Got shape {shape}\.$"
    ):
        Report.from_probabilities(probabilities, labels, CLASSES, estimate="test")


# --- better than the majority ---

HALF_AND_HALF = np.array([0, 1] * 50)


def of_truth(labels: np.ndarray, probability: np.ndarray | float) -> np.ndarray:
    """Return two-class probabilities that give each photo's truth `probability`."""
    truth = np.broadcast_to(np.asarray(probability, float), labels.shape)
    return binary(np.where(labels == 1, truth, 1 - truth))


def test_gain_by_hand() -> None:
    """Half cats, half dogs: each photo's gain is log 2 + log p of its truth."""
    labels = np.array([0, 1, 0, 1])
    found = beats_majority(of_truth(labels, np.array([0.9, 0.9, 0.9, 0.2])), labels)
    gains = [math.log(1.8)] * 3 + [math.log(0.4)]
    mean = sum(gains) / 4
    half = 1.959963984540054 * math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 3 / 4)
    assert (found.gain, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert mean > 0 > mean - half
    assert not found.clear


@pytest.mark.parametrize(("probability", "clear"), [(0.9, True), (0.6, True), (0.5, False), (0.4, False)])
def test_clear_on_both_sides(probability: float, *, clear: bool) -> None:
    found = beats_majority(of_truth(HALF_AND_HALF, probability), HALF_AND_HALF)
    assert found.gain == pytest.approx(math.log(2 * probability))
    assert found.clear is clear


def test_the_class_proportions_themselves_gain_nothing() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    found = beats_majority(np.tile([0.7, 0.2, 0.1], (100, 1)), labels)
    assert (found.gain, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_the_proportion_of_a_very_rare_class_gains_nothing_either() -> None:
    """1 of 2000 is 5e-4: below 1e-3, which both sides count as."""
    labels = np.array([0] * 1999 + [1])
    found = beats_majority(np.tile([0.9995, 0.0005], (2000, 1)), labels)
    assert found.gain == pytest.approx(0, abs=1e-12)


RARE = np.array([0] * 95 + [1] * 5)


def test_a_useful_ranking_of_a_rare_class_is_clear_without_any_gain_in_accuracy() -> None:
    """95:5, and 0.4 for each rare photo: never answered, yet log(0.4 / 0.05) gained on five and log(0.98 / 0.95)."""
    probabilities = of_truth(RARE, np.where(RARE == 1, 0.4, 0.98))
    assert (probabilities.argmax(axis=1) == 0).all()
    found = beats_majority(probabilities, RARE)
    assert found.gain == pytest.approx(0.05 * math.log(0.4 / 0.05) + 0.95 * math.log(0.98 / 0.95))
    assert found.clear


def test_always_the_largest_class_is_not_clear_however_often_right() -> None:
    found = beats_majority(np.tile([1.0, 0.0], (100, 1)), RARE)
    assert found.gain == pytest.approx(0.05 * math.log(1e-3 / 0.05) + 0.95 * math.log(1 / 0.95))
    assert found.gain < 0
    assert not found.clear


def test_one_confident_mistake_does_not_outweigh_the_right_answers() -> None:
    """Of 100, 99 at 0.95 and one at 0: it counts as 1e-3 and costs log(500), not log of infinity."""
    truth = np.full(100, 0.95)
    truth[0] = 0.0
    found = beats_majority(of_truth(HALF_AND_HALF, truth), HALF_AND_HALF)
    assert found.gain == pytest.approx(0.99 * math.log(1.9) - 0.01 * math.log(500))
    assert found.clear


def test_groups_are_the_evidence_not_photos() -> None:
    """60 photos of one patient gain log 1.8 each, 40 of another log 1.1: clear as photos, not as two patients.

    Their residuals sum to +-60 (log 1.8 - mean): se^2 = that^2 (1 / 0.4 + 1 / 0.6) / 100^2. They are worth
    1 / (0.36 + 0.16) equal patients.
    """
    truth, groups = np.repeat([0.9, 0.55], [60, 40]), np.repeat([8, 3], [60, 40])
    probabilities = of_truth(HALF_AND_HALF, truth)
    assert beats_majority(probabilities, HALF_AND_HALF).clear
    found = beats_majority(probabilities, HALF_AND_HALF, groups=groups)
    mean = 0.6 * math.log(1.8) + 0.4 * math.log(1.1)
    half = stats.t(1 / 0.52 - 1).ppf(0.975) * math.sqrt(1 / 0.4 + 1 / 0.6) * 60 * (math.log(1.8) - mean) / 100
    assert (found.gain, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert not found.clear


def test_one_group_is_no_evidence() -> None:
    found = beats_majority(of_truth(HALF_AND_HALF, 0.99), HALF_AND_HALF, groups=np.zeros(100, int))
    assert (found.low, found.high, found.clear) == (-math.inf, math.inf, False)


# --- out-of-fold ---


def test_figures_of_several_classifiers_are_ranked_within_folds() -> None:
    """In fold 0 the dog leads by 0.9 to 0.5, in fold 4 by 0.4 to 0.1; together 0.4 is behind 0.5: 3 of 4 pairs."""
    of_dog, labels, folds = np.array([0.9, 0.5, 0.4, 0.1]), np.array([1, 0, 1, 0]), np.array([0, 0, 4, 4])
    kinds = {None: 0.75, 4: 1.0}
    for number, auc in kinds.items():
        found = Report.from_probabilities(
            binary(of_dog),
            labels,
            CLASSES[:2],
            estimate="out-of-fold",
            folds=None if number is None else folds,
            resamples=50,
        )
        assert found.figures["auc"] == auc
        assert found.folds == (None if number is None else 2)
        assert found.to_json()["folds"] == found.folds
        assert Report.from_json(found.to_json()) == found


def test_folds_without_both_classes_have_no_ranking() -> None:
    found = Report.from_probabilities(
        binary(OF_DOG), PETS, CLASSES[:2], estimate="out-of-fold", folds=np.arange(5), resamples=20
    )
    for name in ("auc", "average_precision"):
        assert (found.figures[name], found.intervals[name]) == (None, None)
    assert " ".join(str(found).split()).count("ROC AUC (dog) none") == 1


def test_out_of_fold_says_whose_figures_these_are(report: Report) -> None:
    out_of_fold = Report.from_probabilities(
        PROBABILITIES, LABELS, CLASSES, estimate="out-of-fold", folds=np.array([0, 0, 1, 2, 2]), resamples=20
    )
    note = out_of_fold.estimate_note
    assert note.startswith("Figures of 3 classifiers, each of which answered the photos that it had not learned from.")
    assert out_of_fold.to_json()["estimate_note"] == note
    title, *lines = str(out_of_fold).split("\n")
    assert title.startswith("out-of-fold, n = 5")
    said = lines[: lines.index("")]
    assert all(line.startswith("  ") and len(line) <= 100 for line in said)
    assert " ".join(map(str.strip, said)) == note
    assert out_of_fold.headline.split("\n") == [title, *said, "", *lines[len(said) + 1 : len(said) + 3]]
    assert "accuracy" in out_of_fold.headline.split("\n")[-2]
    assert "always the largest class" in out_of_fold.headline.split("\n")[-1]
    assert (report.estimate_note, report.to_json()["estimate_note"]) == ("", "")  # of photos of a test folder


@pytest.mark.parametrize(("photos", "held"), [(20, "85"), (150, "85"), (151, "90"), (1000, "90"), (1001, None)])
def test_how_far_an_interval_goes_is_said_by_the_number_of_photos(photos: int, held: str | None) -> None:
    said = estimate_note("out-of-fold", 5, cases_held("out-of-fold", photos))
    if held is None:
        assert said.endswith("it is a little better as a rule.")
    else:
        assert said.endswith(f"and its accuracy lies in the interval in about {held} of 100 cases, not in 95.")
    assert cases_held("test", photos) is None


@pytest.mark.parametrize(
    ("groups", "held"), [(None, 85), (np.arange(5), 85), (np.array([0, 1, 2, 3, 3]), None), (np.zeros(5), None)]
)
def test_with_groups_it_was_not_simulated(groups: np.ndarray | None, held: int | None) -> None:
    """A group of one photo is no group; folds that are groups hold several."""
    found = Report.from_probabilities(
        PROBABILITIES, LABELS, CLASSES, estimate="out-of-fold", groups=groups, folds=groups, resamples=20
    )
    assert found.cases_held == held
    assert ("of 100 cases" in found.estimate_note) == (held is not None)
    assert Report.from_json(found.to_json()) == found
    older = {name: value for name, value in found.to_json().items() if name != "independent"}
    assert Report.from_json(older).cases_held is None
    assert replace(found, decided_by="a rule").cases_held is None
