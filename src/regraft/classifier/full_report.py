"""A report with all that thresholds decide: the answers of a rule, operating points, curves; and figures by patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.data.taxonomy import distances_between
from regraft.errors import DataError, GoalError, OptionError, option, printable
from regraft.evaluation.conformal import ConformalFigures, Coverage
from regraft.evaluation.decisions import Decision, DecisionRule, answers_from, answers_of
from regraft.evaluation.goals import DecisionRequest, Goal, best_precision, check_goal_photos, percent_down
from regraft.evaluation.operating_points import (
    OperatingPoints,
    choose,
    nested_thresholds,
    operating_points,
    points_at,
)
from regraft.evaluation.report import Report
from regraft.evaluation.report_fields import Estimate
from regraft.evaluation.trade_offs import trade_offs


@dataclass(frozen=True, eq=False)
class Answers:
    """What photos are answered, and by which rule.

    Attributes:
        labels: (n,) answers.
        decision: the rule; None where the most probable class is the answer.
        label: the class that the rule is about; None where it is about all.
        thresholds: (n,) where the photos chose the rule: of each photo the one that the others choose.
    """

    labels: np.ndarray
    decision: Decision | None = None
    label: int | None = None
    thresholds: np.ndarray | None = None

    @classmethod
    def by(cls, decision: Decision | None, probabilities: np.ndarray) -> "Answers":
        """Return the answers of a decision that these photos did not choose."""
        return cls(answers_of(decision, probabilities), decision, None if decision is None else class_of(decision.rule))

    @classmethod
    def nested(cls, goal: Goal, decision: Decision, dataset: Dataset, probabilities: np.ndarray) -> "Answers":
        """Return answers of a decision that these photos chose: each by the threshold that the others choose."""
        thresholds = nested_thresholds(goal, dataset.labels, probabilities, dataset.groups)
        return cls(answers_from(thresholds, goal.label, probabilities), decision, goal.label, thresholds)

    @classmethod
    def on(
        cls, decision: Decision | None, dataset: Dataset, probabilities: np.ndarray, estimate: Estimate
    ) -> "Answers":
        """Return the answers of a classifier's decision, nested where the photos are those that chose it."""
        goal = None if decision is None else goal_of(decision, dataset.classes)
        if goal is None or decision is None or estimate != "validation":
            return cls.by(decision, probabilities)
        return cls.nested(goal, decision, dataset, probabilities)

    def of_groups(self, means: np.ndarray, first: np.ndarray) -> np.ndarray | None:
        """Return (m,) answers of groups, by the mean probabilities (m, c) of each; None where no rule decides.

        Args:
            means: (m, c).
            first: (m,) the position of the first photo of each.
        """
        if self.decision is None:
            return None
        if self.thresholds is None or self.label is None:
            return self.decision.rule.answers(means)
        return answers_from(self.thresholds[first], self.label, means)


def goal_of(decision: Decision, classes: Sequence[str]) -> Goal | None:
    """Return the goal that a decision was chosen for; None where it was not chosen."""
    try:
        return DecisionRequest(goal=decision.asked).goal_of(classes)
    except OptionError:
        return None


def class_of(rule: DecisionRule) -> int | None:
    """Return the class that a rule is about; None where it is about all."""
    label = getattr(rule, "label", None)
    return None if label is None else int(label)


def decide(
    request: DecisionRequest,
    dataset: Dataset,
    probabilities: np.ndarray,
    *,
    shares: np.ndarray,
    positive: str | None = None,
) -> Answers:
    """Choose the decision on held-out probabilities, and answer each photo by what the others choose.

    Args:
        request: what is asked for.
        dataset: the photos that evaluate the classifier.
        probabilities: (n, c) of these, by what was not fitted on the photo.
        shares: (c,) of the classes among the training photos.
        positive: of two classes the one that is meant where none is named.

    Raises:
        GoalError: no threshold meets the goal.
        DataError: too few photos to promise it.
    """
    goal = request.goal_of(dataset.classes, positive)
    if goal is None:
        distances = distances_between(dataset.classes, dataset.samples.taxonomy)
        return Answers.by(request.fixed(dataset.classes, shares, positive, distances=distances), probabilities)
    check_goal_photos(goal, dataset.labels, dataset.classes, dataset.groups)
    decision = choose(goal, dataset.labels, probabilities, dataset.groups, goal.said(dataset.classes))
    if decision is None:
        raise GoalError(_unreached(goal, dataset, probabilities))
    return Answers.nested(goal, decision, dataset, probabilities)


def _unreached(goal: Goal, dataset: Dataset, probabilities: np.ndarray) -> str:
    best = best_precision(dataset.labels == goal.label, probabilities[:, goal.label])
    return (
        f"{option('goal', goal.said(dataset.classes))}: no threshold reaches that on the {len(dataset):,} photos that "
        f"evaluate the classifier; {percent_down(best)} is the most. Ask for less, or leave it out. What was computed "
        "is kept: the same command with another goal goes on from there."
    )


def nesting_folds(dataset: Dataset, *, seed: int) -> np.ndarray:
    """Return (n,) numbers of folds that a choice on photos of one classifier is nested by; groups stay whole."""
    try:
        return dataset.possible_folds(OUTER_FOLDS, seed=seed)
    except DataError:  # some class cannot be spread: as far as it goes
        units = np.arange(len(dataset)) if dataset.groups is None else np.unique(dataset.groups, return_inverse=True)[1]
        return np.asarray(np.random.default_rng(seed).permutation(int(units.max()) + 1)[units] % OUTER_FOLDS)


def full_report(
    dataset: Dataset,
    probabilities: np.ndarray,
    answers: Answers,
    *,
    estimate: Estimate,
    folds: np.ndarray | None = None,
    positive: str | None = None,
    known: OperatingPoints | None = None,
    sets: np.ndarray | None = None,
    seed: int = 0,
    **more: Any,
) -> Report:
    """Return the figures of held-out probabilities (n, c), with those of sets, operating points and, of two, curves.

    Args:
        dataset: the n photos.
        probabilities: (n, c).
        answers: of these.
        estimate: what the probabilities are.
        folds: (n,) numbers of the classifiers that answered; None where one answered all.
        positive: of two classes the one that AUC and curves are of; default the one that the rule is about, else the
            second.
        known: thresholds that were chosen on other photos, which are not chosen again.
        sets: (n, c) booleans, conformal sets of the default coverage by other photos; None where there are none.
        seed: of the bootstrap.
        more: for `Report.from_probabilities`.
    """
    classes, labels, decision = dataset.classes, dataset.labels, answers.decision
    report = Report.from_probabilities(
        probabilities,
        labels,
        classes,
        estimate=estimate,
        positive=_positive(positive, answers, classes),
        groups=dataset.groups,
        decisions=None if decision is None else answers.labels,
        decided_by="" if decision is None else decision.in_words(classes),
        folds=folds,
        seed=seed,
        **more,
    )
    if sets is not None:
        figures = ConformalFigures.of_sets(sets, labels, classes, Coverage(), groups=dataset.groups)
        report = replace(report, conformal=figures)
    label = answers.label
    if label is None and report.positive is not None:
        label = list(classes).index(report.positive)
    if label is None or not 0 < (labels == label).sum() < len(labels):
        return report
    if known is not None and known.of == classes[label]:
        points = points_at(known, labels, probabilities, classes, groups=dataset.groups)
    else:
        points = operating_points(labels, probabilities, classes, label, groups=dataset.groups)
    curves = trade_offs(
        labels == label,
        probabilities[:, label],
        classes[label],
        groups=dataset.groups,
        folds=folds,
        seed=seed,
    )
    return replace(report, operating_points=points, trade_offs=curves)


def _positive(given: str | None, answers: Answers, classes: Sequence[str]) -> str | None:
    """Return the positive class of two: the one that is given, else the one that the rule is about."""
    if given is not None or len(classes) != 2 or answers.label is None:
        return given
    return classes[answers.label]


@dataclass(frozen=True, eq=False)
class GroupReport:
    """Figures by patient (or whatever groups are), each by the mean of its photos' probabilities.

    Attributes:
        grouped_by: what the user calls a group; "" where nobody did.
        report: of the groups, as of independent photos.
        mixed: how many groups hold photos of several classes, and are left out.
    """

    grouped_by: str
    report: Report
    mixed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"grouped_by": self.grouped_by, "mixed": self.mixed, **self.report.to_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        return cls(found.get("grouped_by", ""), Report.from_json(found), found.get("mixed", 0))

    def __str__(self) -> str:
        """Return the figures for a terminal."""
        what = printable(self.grouped_by) or "group"
        mixed = f"; {self.mixed:,} of several classes are left out" if self.mixed else ""
        return f"by {what}, of the mean of its photos' probabilities{mixed}:\n{self.report.figure_table}"


def group_report(
    dataset: Dataset,
    probabilities: np.ndarray,
    answers: Answers,
    *,
    estimate: Estimate,
    folds: np.ndarray | None = None,
    positive: str | None = None,
    **more: Any,
) -> GroupReport | None:
    """Return the figures by named group; None where there are no such, or none with several photos.

    Groups that near-duplicates join are not independent of each other: they make the intervals wider.

    Args:
        dataset: the n photos.
        probabilities: (n, c) of these.
        answers: of the photos; groups are answered by the same rule, and by thresholds that they did not choose.
        estimate: what the probabilities are.
        folds: (n,) numbers of the classifiers that answered, the same within a group; None where one answered all.
        positive: as of `full_report`.
        more: for `Report.from_probabilities`.
    """
    if dataset.samples.groups is None or not any(dataset.samples.group_names):
        return None
    units, first, of = np.unique(dataset.samples.groups, return_index=True, return_inverse=True)
    counts = np.bincount(of.ravel())
    if counts.max() < 2:
        return None
    labels, classes = dataset.labels, len(dataset.classes)
    means = np.stack([np.bincount(of.ravel(), probabilities[:, k]) / counts for k in range(classes)], axis=1)
    pure = np.bincount(of.ravel(), labels != labels[first][of.ravel()]) == 0
    truth = labels[first][pure]
    if not len(truth) or len(np.unique(truth)) < 2:
        return None
    joined, decision = dataset.groups, answers.decision
    linked = None if joined is None else joined[first][pure]
    report = Report.from_probabilities(
        means[pure],
        truth,
        dataset.classes,
        estimate=estimate,
        groups=None if linked is None or len(np.unique(linked)) == len(linked) else linked,
        positive=_positive(positive, answers, dataset.classes),
        decisions=answers.of_groups(means[pure], first[pure]),
        decided_by="" if decision is None else decision.in_words(dataset.classes),
        folds=None if folds is None else folds[first][pure],
        **more,
    )
    report = replace(report, independent=False)  # how far intervals go was not simulated for means of groups
    return GroupReport(dataset.samples.grouped_by, report, int(len(units) - pure.sum()))
