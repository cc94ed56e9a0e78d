"""Records: what a command prints and a file keeps comes back as it was, without what differs from run to run."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from regraft.classifier.group_figures import GroupFigures
from regraft.classifier.record import Attempt, EvaluationRecord, FeatureTrial, FitRecord, OverBudget, Timing
from regraft.data.findings import FindingCount
from regraft.evaluation.report import Report
from regraft.features.extraction import Features

TRIED = (
    Attempt("frozen", 0.5, 0.0, (0.0, 0.0), 0.125),
    Attempt("top", 0.4, 0.1, (-0.05, 0.25), 61.5),
    Attempt("whole", 0.7, -0.2, None, 90.0),
    Attempt("bitfit", None, None, None, 12.5, stopped=True),
)
TRIED_FEATURES = (
    FeatureTrial("last", 0.75, 0.6, -0.05, (-0.1, -0.01), 0.1, (0.02, 0.2), 2000),
    FeatureTrial("late", 0.8, 0.5, 0.0, None, 0.0, None),
)
BY_GROUP = (GroupFigures("north", 3, 1 / 3, (0.0615, 0.7923)), GroupFigures("south", 2, 1.0, (0.3424, 1.0)))
OVER_BUDGET = (OverBudget("bitfit", 700.0, "--budget 30m"), OverBudget("scratch", 9000.0, "--budget 3h"))


@pytest.fixture
def report() -> Report:
    return Report.from_probabilities(
        np.eye(3)[[0, 1, 2, 0, 1]] * 0.7 + 0.1, np.arange(5) % 3, ("a", "b", "c"), estimate="out-of-fold", resamples=5
    )


@pytest.fixture
def fitted(report: Report) -> FitRecord:
    return FitRecord(
        report=report,
        model="resnet50",
        strategy="top",
        temperature=1.25,
        engine="torch-cpu-float32",
        unreadable=("a/1.jpg", "b/2.jpg"),
        timing=Timing(12.34567, 2.0, 5, 8.00049),
        seed=3,
        train_from="layer4",
        lora=8,
        class_weight="a=2,b=1",
        trained="trained: layer4",
        frozen="0 of 9 frozen tensors changed",
        tried=TRIED,
        over_budget=OVER_BUDGET,
        reason="it helps",
        features="late",
        stages=("layer3.5", "layer4.1"),
        features_tried=TRIED_FEATURES,
        by_group=BY_GROUP,
        findings=(
            FindingCount("shortcut", "high", 1, "class a: all are PNG."),
            FindingCount("likely-mislabelled", "low", 12),
        ),
        group_column="clinic",
        class_counts=(7, 5),
        decision={"asked": "threshold 0.2 for b", "rule": "threshold", "class": "b", "threshold": 0.2},
    )


def through_json(record: EvaluationRecord) -> dict[str, Any]:
    """Return what another program reads of it."""
    found: dict[str, Any] = json.loads(json.dumps(record.to_json(), allow_nan=False))
    return found


def test_a_fit_record_comes_back_without_its_timing(fitted: FitRecord) -> None:
    back = FitRecord.from_json(through_json(fitted))
    assert through_json(back) == through_json(replace(fitted, timing=None))
    assert back.report is not None
    assert back.report.to_json() == (fitted.report and fitted.report.to_json())
    assert replace(back, report=None) == replace(fitted, report=None, timing=None)
    assert FitRecord.from_json(through_json(back)).to_json() == back.to_json()


def test_a_head_that_is_not_the_usual_one_is_kept(fitted: FitRecord) -> None:
    assert "head" not in fitted.to_json()  # as in files of versions that knew no other
    back = FitRecord.from_json(through_json(replace(fitted, head="discriminant")))
    assert (back.head, back.to_json()["head"]) == ("discriminant", "discriminant")
    assert FitRecord.from_json(through_json(fitted)).head == "logistic"


def test_a_record_in_plain_json(fitted: FitRecord, report: Report) -> None:
    found = fitted.to_json()
    for name, value in report.to_json().items():
        assert found.pop(name) == value
    assert found == {
        "model": "resnet50",
        "strategy": "top",
        "temperature": 1.25,
        "engine": "torch-cpu-float32",
        "unreadable": ["a/1.jpg", "b/2.jpg"],
        "seconds": 12.346,
        "extraction_seconds": 2.0,
        "images_computed": 5,
        "images_per_second": 2.5,
        "training_seconds": 8.0,
        "seed": 3,
        "train_from": "layer4",
        "train_only": None,
        "lora": 8,
        "class_weight": "a=2,b=1",
        "class_counts": [7, 5],
        "decision": {"asked": "threshold 0.2 for b", "rule": "threshold", "class": "b", "threshold": 0.2},
        "trained": "trained: layer4",
        "frozen": "0 of 9 frozen tensors changed",
        "tried": [
            _tried("frozen", 0.5, 0.0, [0.0, 0.0], 0.125),
            _tried("top", 0.4, 0.1, [-0.05, 0.25], 61.5),
            _tried("whole", 0.7, -0.2, None, 90.0),
            {**_tried("bitfit", None, None, None, 12.5), "stopped": True},
        ],
        "over_budget": [
            {"strategy": "bitfit", "seconds": 700.0, "budget": "--budget 30m"},
            {"strategy": "scratch", "seconds": 9000.0, "budget": "--budget 3h"},
        ],
        "reason": "it helps",
        "findings": [
            {"kind": "shortcut", "severity": "high", "count": 1, "said": "class a: all are PNG."},
            {"kind": "likely-mislabelled", "severity": "low", "count": 12, "said": ""},
        ],
        "features": "late",
        "stages": ["layer3.5", "layer4.1"],
        "group_column": "clinic",
        "by_group": [
            {"name": "north", "photos": 3, "accuracy": 1 / 3, "accuracy_interval": [0.0615, 0.7923]},
            {"name": "south", "photos": 2, "accuracy": 1.0, "accuracy_interval": [0.3424, 1.0]},
        ],
        "features_tried": [
            {
                "features": "last",
                "accuracy": 0.75,
                "log_loss": 0.6,
                "accuracy_difference": -0.05,
                "accuracy_interval": [-0.1, -0.01],
                "log_loss_difference": 0.1,
                "log_loss_interval": [0.02, 0.2],
                "learned_from": 2000,
            },
            {
                "features": "late",
                "accuracy": 0.8,
                "log_loss": 0.5,
                "accuracy_difference": 0.0,
                "accuracy_interval": None,
                "log_loss_difference": 0.0,
                "log_loss_interval": None,
                "learned_from": None,
            },
        ],
    }


def _tried(strategy: str, log_loss: Any, gain: Any, interval: Any, seconds: float) -> dict[str, Any]:
    found = {"strategy": strategy, "log_loss": log_loss, "gain": gain, "gain_interval": interval}
    return {**found, "seconds": seconds, "stopped": False}


@pytest.mark.parametrize("tried", [None, ()])
def test_nothing_to_choose_is_not_nothing_tried(fitted: FitRecord, tried: tuple[Attempt, ...] | None) -> None:
    record = replace(fitted, tried=tried, over_budget=(), reason=None)
    found = through_json(record)
    assert ("tried" in found, "over_budget" in found, "reason" in found) == (tried is not None,) * 3
    assert FitRecord.from_json(found).tried == tried


def test_an_older_file_without_figures_is_read(fitted: FitRecord) -> None:
    found = FitRecord.from_json({"seed": 5})
    assert (found.report, found.seed, found.tried, found.timing) == (None, 5, None, None)
    assert FitRecord.from_json(found.to_json()) == found


def test_an_attempt_of_a_file_has_no_seconds() -> None:
    found = Attempt.from_json({"strategy": "top", "log_loss": 0.4, "gain": 0.1, "gain_interval": [0.0, 0.2]})
    assert found == Attempt("top", 0.4, 0.1, (0.0, 0.2), None)
    written = {"strategy": "top", "log_loss": 0.4, "gain": 0.1, "gain_interval": [0.0, 0.2], "stopped": False}
    assert found.to_json() == written
    for attempt in TRIED:
        assert Attempt.from_json(json.loads(json.dumps(attempt.to_json()))) == attempt


def test_what_was_over_the_budget_has_no_time_in_a_file() -> None:
    assert OverBudget.from_json({"strategy": "whole"}) == OverBudget("whole", None, "")
    assert OverBudget("whole").to_json() == {"strategy": "whole"}
    for over in OVER_BUDGET:
        assert OverBudget.from_json(json.loads(json.dumps(over.to_json()))) == over


@pytest.mark.parametrize("trained_on", [None, 0, 7])
def test_an_evaluation_record_in_json(report: Report, trained_on: int | None) -> None:
    record = EvaluationRecord(
        report=report,
        model="resnet50",
        strategy="frozen",
        temperature=0.5,
        engine="torch-cpu-float32",
        unreadable=("x.jpg",),
        timing=Timing(3.0, 1.0, 0),
        trained_on=trained_on,
    )
    found = through_json(record)
    assert Report.from_json(found).to_json() == report.to_json()
    assert ("trained_on" in found, found.get("trained_on")) == (trained_on is not None, trained_on)
    assert (found["images_computed"], found["images_per_second"]) == (0, None)
    assert "training_seconds" not in found
    assert (found["model"], found["strategy"], found["temperature"]) == ("resnet50", "frozen", 0.5)
    assert (found["engine"], found["unreadable"]) == ("torch-cpu-float32", ["x.jpg"])


def test_timing_adds_up_both_splits() -> None:
    parts = [Features(np.zeros((n, 2)), computed=n, seconds=seconds) for n, seconds in ((30, 2.0), (10, 3.0))]
    timing = Timing.of(parts, 9.0, 4.0)
    assert timing == Timing(9.0, 5.0, 40, 4.0)
    assert timing.images_per_second == 8.0


def test_all_tables_of_a_record_are_in_its_text(fitted: FitRecord) -> None:
    (by_group,) = fitted.tables
    assert by_group.splitlines()[1] == "  north        3  33.3 % [6.2, 79.2]"
    assert by_group in str(fitted)
    assert replace(fitted, by_group=()).tables == []
