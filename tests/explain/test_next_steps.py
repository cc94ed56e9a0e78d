"""What to do next follows from what was found and from what was tried."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.explain.made import answers_of, dataset_of, explanation_of

from regraft.classifier.full_report import Answers, full_report
from regraft.classifier.group_figures import GroupFigures
from regraft.classifier.record import Attempt, NetworkTrial, OverBudget
from regraft.data.findings import FindingCount
from regraft.evaluation.intervals import Mean
from regraft.explain.depth import LearningCurve
from regraft.explain.explanation import Explanation
from regraft.explain.mistakes import Mistakes
from regraft.explain.next_steps import next_steps
from regraft.explain.subject import OF_FIT

EVEN = [[45, 5, 0], [5, 45, 0], [0, 0, 50]]
NAMES = ("lily", "lotus", "rose")
ELSEWHERE = "Try it where it will be used"
AUTO_TRIED: dict[str, Any] = {"tried": (Attempt("frozen", 0.3, 0.0, None),), "reason": "nothing is better"}
NETWORKS = (NetworkTrial(model="small", multiply_adds=1),)


def steps(found: Explanation) -> dict[str, str]:
    return {step.what: step.why for step in next_steps(found, found.subject.reports[OF_FIT])}


def test_what_was_not_tried_is_named() -> None:
    found = steps(explanation_of(EVEN, NAMES))
    assert list(found) == ["Let it learn more than the last layer", "Try other networks", ELSEWHERE]
    assert "`strategy='auto'`" in found["Let it learn more than the last layer"]


def test_after_auto_it_is_not_named_again() -> None:
    found = steps(explanation_of(EVEN, NAMES, record=AUTO_TRIED))
    assert list(found) == ["Try other networks", ELSEWHERE]
    assert "strategy" not in " ".join(found.values())
    assert list(steps(explanation_of(EVEN, NAMES, record={**AUTO_TRIED, "networks_tried": NETWORKS}))) == [ELSEWHERE]


def test_what_auto_left_out_for_lack_of_time_is_named_with_the_budget_that_lets_it() -> None:
    over = {**AUTO_TRIED, "over_budget": (OverBudget("whole", 2400.0, "budget=3000"),), "networks_tried": NETWORKS}
    found = steps(explanation_of(EVEN, NAMES, record=over))
    assert found["Let it try more"] == (
        "There was no time for all that may help; whole was skipped: it would take about 40 min, budget=3000 lets it."
    )


def test_joined_networks_are_trained_no_further() -> None:
    assert list(steps(explanation_of(EVEN, NAMES, joined=True))) == [ELSEWHERE]


@pytest.mark.parametrize(("wrong", "tries"), [(5, False), (6, True)])
def test_where_nothing_could_be_proven_better_nothing_is_to_be_trained(wrong: int, tries: bool) -> None:
    """Of five photos won and none lost the sign test says 2 / 32 = 0.0625, of six 2 / 64 = 0.031."""
    found = explanation_of([[50 - wrong, wrong, 0], [0, 50, 0], [0, 0, 50]], NAMES)
    assert ("Try other networks" in steps(found)) == tries


def test_labels_come_first_and_four_steps_are_the_most() -> None:
    found = explanation_of(EVEN, NAMES)
    found.mistakes = Mistakes(doubted=2, expected=1.6)
    found.sizes = LearningCurve([(10, 0.8, None), (40, 0.9, None)], Mean(0.1, 0.04, 0.16), rises=True)
    assert list(steps(found)) == [
        "Check these 2 labels",
        "Add photos of each class",
        "Let it learn more than the last layer",
        ELSEWHERE,
    ]
    assert (
        "; about 2 of them are expected to be wrong. Correct a wrong label where it"
        in steps(found)["Check these 2 labels"]
    )
    found.mistakes = Mistakes(doubted=1, expected=0.9)
    assert next(iter(steps(found))) == "Check this label"
    found.mistakes = Mistakes(doubted=2, expected=0.3)  # probably mistakes of the classifier
    assert "Check these 2 labels" not in list(steps(found))[:2]


@pytest.mark.parametrize("rises", [True, False])
def test_more_photos_only_where_the_learning_curve_is_proven_to_rise(rises: bool) -> None:
    found = explanation_of(EVEN, NAMES)
    found.sizes = LearningCurve([(10, 0.8, None), (1000, 0.826, None)], Mean(0.026, 0.004, 0.05), rises=rises)
    said = "From 10 to 1,000 of each to learn from, 3 more of 100 came out right: the curve still rises."
    assert steps(found).get("Add photos of each class") == (said if rises else None)


def test_classes_with_few_photos_are_named() -> None:
    found = steps(explanation_of([[45, 5, 0], [2, 7, 0], [0, 0, 50]], NAMES))
    assert found["Add photos of lotus"] == ("There are too few to learn from, and to tell how well it does: lotus (9).")
    # 12 are enough by themselves, but less than a fifth of the median of 100
    uneven = steps(explanation_of([[100, 0, 0], [0, 12, 0], [0, 0, 100]], NAMES))
    assert "Add photos of lotus" in uneven
    assert "Add photos of every class" in steps(explanation_of([[5, 0, 0], [0, 5, 0], [0, 0, 5]], NAMES))


def test_a_group_that_is_clearly_answered_worse() -> None:
    def group(accuracy: float, low: float, high: float) -> dict[str, Any]:
        return {"by_group": (GroupFigures("Bern", 40, accuracy, (low, high)),), "group_column": "clinic"}

    found = steps(explanation_of(EVEN, NAMES, record=group(0.6, 0.45, 0.74)))
    assert found["Look at the photos of clinic Bern"].startswith(
        "Where it had learned nothing of them, 60 of 100 come out right"
    )
    # 140 of 150 are right, which this interval holds
    assert len(steps(explanation_of(EVEN, NAMES, record=group(0.9, 0.77, 0.96)))) == 3


def test_shortcuts_of_files_are_named() -> None:
    cue = FindingCount("shortcut", "high", 1, "class lily: all are 64 x 64 pixels, of the others none.")
    mild = FindingCount("shortcut", "medium", 1, "class lily: 90% have a white border.")
    found = steps(explanation_of(EVEN, NAMES, record={"findings": (cue, mild)}))
    assert "all are 64 x 64 pixels" in found["Make sure that it looks at the right thing"]
    assert "border" not in " ".join(found.values())


@pytest.mark.parametrize(
    ("found", "missed", "goal", "of_100"),
    [(8, 12, "0.9", "90"), (3, 6, "0.9", "90"), (3, 5, "0.8", "80"), (1, 2, "", "")],
)
def test_a_class_that_is_missed_often_wants_a_goal(found: int, missed: int, goal: str, of_100: str) -> None:
    """0.9 takes 9 photos of the class to be promised and 0.8 takes 4 (m / (m + 1) of m photos); fewer promise less."""
    counts = [[190, 10], [missed, found]]
    labels, probabilities = answers_of(counts)
    dataset, folds = dataset_of(labels, ("well", "ill")), np.arange(len(labels)) % 5
    report = full_report(
        dataset, probabilities, Answers.by(None, probabilities), estimate="out-of-fold", folds=folds, resamples=20
    )
    told = steps(explanation_of(counts, ("well", "ill"), record=AUTO_TRIED, reports={OF_FIT: report}))
    said = told.get("Say how many of ill it must find")
    if goal:
        assert said == (
            f"It finds {found} of {found + missed} where the more probable class is the answer; with "
            f'`goal "sensitivity>={goal} for ill"` about {of_100} of 100, for more false alarms.'
        )
    else:
        assert said is None
    decided = explanation_of(counts, ("well", "ill"), reports={OF_FIT: replace(report, decided_by="a threshold")})
    assert "Say how many of ill it must find" not in steps(decided)
