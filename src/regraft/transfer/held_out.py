"""What the photos that evaluate a new classifier are answered, and the figures of that."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.classifier.full_report import Answers, GroupReport, decide, full_report, group_report, nesting_folds
from regraft.classifier.tree import figures_in_tree
from regraft.data.dataset import Dataset
from regraft.evaluation.conformal import Coverage, nested_sets
from regraft.evaluation.decisions import CostRule, Decision
from regraft.evaluation.report import Report
from regraft.evaluation.report_fields import Estimate
from regraft.evaluation.tree_figures import TreeFigures
from regraft.transfer.experiment import Experiment, class_weights


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """Photos that evaluate a classifier, answered by what did not learn from them.

    Attributes:
        dataset: n photos.
        probabilities: (n, c).
        answers: of these.
        folds: (n,) numbers: each photo was answered by what was learned without its fold; None with a validation split.
        report: the figures.
        groups: the figures by patient, or whatever groups are; None where there are none.
        taxonomy: the figures at every level of the tree that the classes lie in; None where there is none.
    """

    dataset: Dataset
    probabilities: np.ndarray
    answers: Answers
    folds: np.ndarray | None
    report: Report
    groups: GroupReport | None
    taxonomy: TreeFigures | None


def class_counts(dataset: Dataset) -> np.ndarray:
    """Return (c,) numbers of photos of each class."""
    return np.bincount(dataset.labels, minlength=len(dataset.classes))


def answer_held_out(experiment: Experiment, probabilities: np.ndarray) -> HeldOutAnswers:
    """Return answers and figures of held-out probabilities (n, c): out-of-fold, or of the validation photos.

    Raises:
        GoalError: no threshold meets the goal of the settings.
        DataError: too few photos to promise it.
    """
    settings, validation = experiment.settings, experiment.validation
    dataset = validation or experiment.dataset
    estimate: Estimate = "validation" if validation else "out-of-fold"
    folds = nesting_folds(validation, seed=settings.seed) if validation else experiment.folds()
    counts, weights = class_counts(experiment.dataset), class_weights(settings, experiment.dataset)
    if weights is not None and not settings.decision.is_given():
        decision = Decision(CostRule.weighted(weights), f"class weights {settings.class_weight}")
        answers = Answers.by(decision, probabilities)
    else:
        answers = decide(
            settings.decision,
            dataset,
            probabilities,
            shares=counts / counts.sum(),
            positive=settings.positive,
        )
    own = None if validation else folds
    sets = nested_sets(probabilities, dataset.labels, folds, groups=dataset.groups, coverage=Coverage())
    how: dict[str, Any] = {"estimate": estimate, "positive": settings.positive, "seed": settings.seed}
    return HeldOutAnswers(
        dataset=dataset,
        probabilities=probabilities,
        answers=answers,
        folds=own,
        report=full_report(dataset, probabilities, answers, folds=own, sets=sets, **how),
        groups=group_report(dataset, probabilities, answers, folds=own, **how),
        taxonomy=figures_in_tree(dataset, probabilities, answers.labels, dataset.classes, dataset.samples.taxonomy),
    )
