"""Decisions that are chosen on held-out probabilities, judged on photos that did not choose them; and what they trade.

A threshold is chosen on the probabilities of all photos that evaluate a classifier. Its figures are nested: the photos
of each fold are answered by the threshold that the other folds choose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.evaluation.decisions import Decision, ThresholdRule, percent
from regraft.evaluation.goals import SENSITIVITY, Goal
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.evaluation.report_lines import shown
from regraft.validation import Bounds, Fraction

SENSITIVITIES = (0.8, 0.9, 0.95, 0.99)  # of the table


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the probability of one class, and what it comes to on photos that did not choose it.

    Attributes:
        least_sensitivity: that the threshold was chosen for.
        threshold: the class is answered from this probability on.
        sensitivity: share of the class's photos that are answered so.
        specificity: share of the others that are not.
        alarms: share of all photos that are answered so.
        sensitivity_interval: 95 %; None where too little is known.
        specificity_interval: likewise.
        alarms_interval: likewise.
    """

    least_sensitivity: Fraction
    threshold: Fraction
    sensitivity: Fraction
    specificity: Fraction
    alarms: Fraction
    sensitivity_interval: Bounds = None
    specificity_interval: Bounds = None
    alarms_interval: Bounds = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class OperatingPoints:
    """What one class costs to find.

    Attributes:
        of: the class's name.
        points: from the lowest sensitivity to the highest, as many as the photos allow to promise.
    """

    of: str
    points: tuple[OperatingPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"of": self.of, "points": [point.to_json() for point in self.points]}

    def lines(self) -> list[str]:
        """Return the table for a terminal."""
        if not self.points:
            return []
        heads = [f"to find {self.of}", "threshold", "sensitivity", "specificity", "alarms per 100"]
        rows = [
            [
                f"{100 * point.least_sensitivity:.0f} %",
                percent(point.threshold),
                shown(point.sensitivity, point.sensitivity_interval, percent=True),
                shown(point.specificity, point.specificity_interval, percent=True),
                shown(point.alarms, point.alarms_interval, percent=True).replace(" %", ""),
            ]
            for point in self.points
        ]
        widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
        return [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [heads, *rows]
        ]


def choose(goal: Goal, labels: np.ndarray, probabilities: np.ndarray, asked: str) -> Decision | None:
    """Return the decision that meets a goal on held-out probabilities (n, c) of photos with `labels` (n,), or None."""
    threshold = goal.threshold(labels == goal.label, probabilities[:, goal.label])
    return None if threshold is None else Decision(ThresholdRule(goal.label, threshold), asked)


def nested_answers(goal: Goal, labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n,) answers, each by the threshold that the other folds choose.

    Where the others do not reach the goal, the class is not answered at all for a specificity or precision, and from
    their lowest probability of it on for a sensitivity.

    Args:
        goal: what thresholds are chosen for.
        labels: (n,).
        probabilities: (n, c), by what was not fitted on the photo.
        folds: (n,) numbers.
    """
    answers = np.empty(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        is_class, scores = labels[others] == goal.label, probabilities[others, goal.label]
        threshold = goal.threshold(is_class, scores)
        if threshold is None:
            reached = goal.figure == SENSITIVITY and is_class.any()
            threshold = float(scores[is_class].min()) if reached else 2.0
        answers[own] = ThresholdRule(goal.label, threshold).answers(probabilities[own])
    return answers


def operating_points(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    label: int,
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
) -> OperatingPoints:
    """Return thresholds for several sensitivities of one class, with nested figures.

    Args:
        labels: (n,).
        probabilities: (n, c), by what was not fitted on the photo.
        classes: c names.
        label: the class.
        folds: (n,) numbers of the folds that thresholds are nested by.
        groups: (n,) numbers of photos that are not independent; None: all are.
    """
    points = []
    for least in SENSITIVITIES:
        goal = Goal(SENSITIVITY, least, label)
        threshold = goal.threshold(labels == label, probabilities[:, label])
        if threshold is not None:
            answered = nested_answers(goal, labels, probabilities, folds) == label
            points.append(_point(least, threshold, labels == label, answered, groups))
    return OperatingPoints(classes[label], tuple(points))


def points_at(
    known: OperatingPoints,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    groups: np.ndarray | None = None,
) -> OperatingPoints:
    """Return what thresholds that were chosen before come to on other photos, as `operating_points` does."""
    label = list(classes).index(known.of)
    is_class, scores = labels == label, probabilities[:, label]
    if not is_class.any() or is_class.all():
        return OperatingPoints(known.of, ())
    found = (
        _point(point.least_sensitivity, point.threshold, is_class, scores >= point.threshold, groups)
        for point in known.points
    )
    return OperatingPoints(known.of, tuple(found))


def _point(
    least: float, threshold: float, is_class: np.ndarray, answered: np.ndarray, groups: np.ndarray | None
) -> OperatingPoint:
    def interval(right: np.ndarray, chosen: np.ndarray) -> Bounds:
        return interval_of(proportion_of(right[chosen], None if groups is None else groups[chosen]))

    everything = np.ones(len(answered), dtype=bool)
    return OperatingPoint(
        least_sensitivity=least,
        threshold=threshold,
        sensitivity=float(answered[is_class].mean()),
        specificity=float((~answered[~is_class]).mean()),
        alarms=float(answered.mean()),
        sensitivity_interval=interval(answered, is_class),
        specificity_interval=interval(~answered, ~is_class),
        alarms_interval=interval(answered, everything),
    )
