"""Reports with what thresholds decide, and figures by patient, against sums that are worked out by hand."""

import json

import numpy as np
import pytest
from tests.fixtures.learning import dataset_of

from regraft.classifier.full_report import Answers, GroupReport, decide, full_report, group_report
from regraft.data.dataset import Dataset
from regraft.errors import DataError, GoalError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.evaluation.goals import DecisionRequest
from regraft.evaluation.report import Report

TWO = ("benign", "malignant")


def two(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


@pytest.fixture(scope="module")
def lesions() -> tuple[Dataset, np.ndarray]:
    """60 benign and 20 malignant ones, whose probabilities overlap."""
    generator = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 20)
    return dataset_of(labels, classes=TWO), two(np.clip(0.25 * labels + generator.beta(2, 5, 80), 0.01, 0.99))


def report_of(dataset: Dataset, probabilities: np.ndarray, answers: Answers) -> Report:
    folds = dataset.folds(5, seed=0)
    return full_report(dataset, probabilities, answers, estimate="out-of-fold", folds=folds, resamples=20)


def test_a_report_survives_json(lesions: tuple[Dataset, np.ndarray]) -> None:
    dataset, probabilities = lesions
    decision = Decision(ThresholdRule(1, 0.3), "threshold 0.3 for malignant")
    before = report_of(dataset, probabilities, Answers.by(decision, probabilities))
    assert before.folds == 5
    after = Report.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    assert str(after) == str(before)
    assert "decided by threshold 0.3 for malignant: malignant from a probability of 30 % on, else benign" in str(after)
    assert after.operating_points is not None
    assert after.trade_offs is not None
    assert after.trade_offs.share == 0.25


def test_answers_follow_the_rule_and_calibration_does_not(lesions: tuple[Dataset, np.ndarray]) -> None:
    dataset, probabilities = lesions
    plain = report_of(dataset, probabilities, Answers.by(None, probabilities))
    decision = Decision(ThresholdRule(1, 0.3), "threshold 0.3 for malignant")
    ruled = report_of(dataset, probabilities, Answers.by(decision, probabilities))
    answered = probabilities[:, 1] >= 0.3
    assert ruled.accuracy == (answered == dataset.labels).mean() != plain.accuracy
    assert ruled.per_class["malignant"].recall == answered[60:].mean()
    assert ruled.confusion[1] == [int((~answered[60:]).sum()), int(answered[60:].sum())]
    for name in ("log_loss", "brier", "ece", "auc", "average_precision"):
        assert ruled.figures[name] == plain.figures[name]
    assert ruled.reliability == plain.reliability


def test_a_goal_is_chosen_by_all_and_judged_by_folds(lesions: tuple[Dataset, np.ndarray]) -> None:
    dataset, probabilities = lesions
    request = DecisionRequest(goal="sensitivity>=0.8 for malignant")
    found = decide(request, dataset, probabilities, shares=np.array([0.75, 0.25]))
    assert found.decision is not None
    assert found.decision.asked == "sensitivity >= 0.8 for malignant"
    hits = np.sort(probabilities[60:, 1])
    rule = found.decision.rule
    assert isinstance(rule, ThresholdRule)
    assert rule.threshold <= hits[3]  # k = floor(.2 * 21) = 4
    others = probabilities[:60, 1]
    assert ((others >= rule.threshold) == (others >= hits[3])).all()  # lower than that only as far as it costs nothing
    assert (found.labels != rule.answers(probabilities)).any()  # nested: other thresholds


def test_goals_that_cannot_be_had(lesions: tuple[Dataset, np.ndarray]) -> None:
    dataset, probabilities = lesions
    how = {"shares": np.array([0.75, 0.25])}
    with pytest.raises(DataError, match="at least 99 photos of malignant to be promised"):
        decide(DecisionRequest(goal="sensitivity>=0.99 for malignant"), dataset, probabilities, **how)
    noise = two(np.tile([0.2, 0.4], 40))
    with pytest.raises(GoalError, match=r"that evaluate the classifier; 24.6 % is the most"):  # 20 of 80 + 1
        decide(DecisionRequest(goal="precision>=0.9 for malignant"), dataset, noise, **how)


def test_three_classes_have_a_table_where_a_rule_is_for_one() -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(90) % 3
    probabilities = generator.dirichlet([1, 1, 1], 90) / 2 + np.eye(3)[labels] / 2
    dataset = dataset_of(labels, classes=("ant", "bee", "wasp"))
    assert report_of(dataset, probabilities, Answers.by(None, probabilities)).operating_points is None
    decision = Decision(ThresholdRule(2, 0.4), "threshold 0.4 for wasp")
    found = report_of(dataset, probabilities, Answers.by(decision, probabilities))
    assert found.operating_points is not None
    assert (found.operating_points.of, len(found.operating_points.points)) == ("wasp", 3)


def test_photos_of_one_class_have_no_table() -> None:
    probabilities = two(np.array([0.2, 0.7, 0.9]))
    dataset = dataset_of([1, 1, 1], classes=TWO)
    found = report_of(dataset, probabilities, Answers.by(None, probabilities))
    assert (found.operating_points, found.trade_offs) == (None, None)


def grouped(labels: list[int], groups: list[int], names: tuple[str | None, ...]) -> Dataset:
    dataset = dataset_of(labels, np.array(groups), TWO)
    object.__setattr__(dataset.samples, "group_names", names)
    object.__setattr__(dataset.samples, "grouped_by", "patient")
    return dataset


def test_a_patient_is_the_mean_of_his_photos() -> None:
    # anna .2 and .9: malignant by .55; bert .1; carl .6 and .2: benign by .4; dora has both labels; emil .3, malignant
    dataset = grouped([1, 1, 0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 2, 3, 3, 4], ("anna", "bert", "carl", "dora", "emil"))
    probabilities = two(np.array([0.2, 0.9, 0.1, 0.6, 0.2, 0.5, 0.5, 0.3]))
    plain = Answers.by(None, probabilities)
    found = group_report(dataset, probabilities, plain, estimate="out-of-fold")
    assert found is not None
    assert (found.grouped_by, found.mixed, found.report.n) == ("patient", 1, 4)
    assert found.report.confusion == [[2, 0], [1, 1]]
    # of the pairs .55 > .1, .55 > .4, .3 > .1, .3 < .4
    assert found.report.figures["auc"] == 0.75
    # anna and bert in one fold, the others in the other: of .55 > .1 and .3 < .4
    by_fold = group_report(dataset, probabilities, plain, estimate="out-of-fold", folds=np.arange(8) // 3 > 0)
    assert by_fold is not None
    assert (by_fold.report.figures["auc"], by_fold.report.folds) == (0.5, 2)
    rule = Answers.by(Decision(ThresholdRule(1, 0.3), "x"), probabilities)
    ruled = group_report(dataset, probabilities, rule, estimate="out-of-fold")
    assert ruled is not None
    assert ruled.report.confusion == [[1, 1], [0, 2]]
    back = GroupReport.from_json(json.loads(json.dumps(found.to_json())))
    assert (back.report, back.mixed, back.grouped_by) == (found.report, 1, "patient")
    assert str(found).startswith("by patient, of the mean of its photos' probabilities; 1 of several classes are left")


def test_without_named_groups_of_several_photos_there_is_nothing_by_patient() -> None:
    probabilities = two(np.array([0.2, 0.9, 0.4]))
    alone, one_class = grouped([0, 1, 0], [0, 1, 2], ("a", "b", "c")), grouped([0, 0, 0], [0, 0, 1], ("a", "b"))
    for dataset in (dataset_of([0, 1, 0], classes=TWO), alone, one_class):
        assert group_report(dataset, probabilities, Answers.by(None, probabilities), estimate="test") is None


def test_patients_are_answered_by_thresholds_that_they_did_not_choose() -> None:
    """Two equal photos of each patient: by patient the goal comes to what it comes to by photo."""
    generator = np.random.default_rng(3)
    scores = np.concatenate([generator.beta(4, 2, 20), generator.beta(2, 4, 20)])
    dataset = grouped(
        np.repeat([1] * 20 + [0] * 20, 2).tolist(), np.repeat(np.arange(40), 2).tolist(), tuple(map(str, range(40)))
    )
    probabilities = two(np.repeat(scores, 2))
    request = DecisionRequest(goal="sensitivity>=0.8 for malignant")
    answers = decide(request, dataset, probabilities, shares=np.array([0.5, 0.5]))
    assert answers.thresholds is not None
    assert len(np.unique(answers.thresholds)) > 1
    found = group_report(dataset, probabilities, answers, estimate="out-of-fold")
    assert found is not None
    assert (2 * np.array(found.report.confusion)).tolist() == [
        [int(((answers.labels == k) & (dataset.labels == j)).sum()) for k in (0, 1)] for j in (0, 1)
    ]


def test_the_figures_are_of_the_class_that_the_goal_is_for(lesions: tuple[Dataset, np.ndarray]) -> None:
    dataset, probabilities = lesions
    answers = decide(
        DecisionRequest(goal="sensitivity>=0.9 for benign"), dataset, probabilities, shares=np.array([0.75, 0.25])
    )
    found = report_of(dataset, probabilities, answers)
    assert found.operating_points is not None
    assert found.trade_offs is not None
    assert (found.positive, found.operating_points.of, found.trade_offs.of) == ("benign",) * 3


def test_photos_that_chose_the_threshold_are_answered_by_others_again(lesions: tuple[Dataset, np.ndarray]) -> None:
    """As when a file is evaluated on its own validation photos: the same answers as in the fit."""
    dataset, probabilities = lesions
    request = DecisionRequest(goal="sensitivity>=0.8 for malignant")
    fitted = decide(request, dataset, probabilities, shares=np.array([0.75, 0.25]))
    again = Answers.on(fitted.decision, dataset, probabilities, "validation")
    assert again.labels.tolist() == fitted.labels.tolist()
    new = Answers.on(fitted.decision, dataset, probabilities, "test")
    assert fitted.decision is not None
    assert new.labels.tolist() == fitted.decision.rule.answers(probabilities).tolist()
