"""Decisions that are chosen on held-out probabilities, judged on photos that did not choose them; and what they trade.

A threshold is chosen on the probabilities of all photos that evaluate a classifier. Its figures are nested: each photo
that took part in the choice is answered by the threshold that the others choose, at the same rank; where there are more
than `_PARTS` photos (or groups), a hundredth of them at a time. A sensitivity is chosen by photos of the class alone,
so that the others are answered by the threshold itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regraft.evaluation.decisions import Decision, ThresholdRule, percent
from regraft.evaluation.goals import SENSITIVITY, SPECIFICITY, Goal
from regraft.evaluation.proportions import interval_of, proportion_of, wider
from regraft.evaluation.report_lines import padded, shown
from regraft.validation import Bounds, Fraction, json_fields

SENSITIVITIES = (0.8, 0.9, 0.95, 0.99)  # of the table
_PARTS = 100  # that are left out in turn
_NEAREST = 0.5  # of a group: the nearest rank
_NEVER, _SEED = 2.0, 0


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
        return json_fields(self)


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
        lines = [f"  {line}" for line in padded([heads, *rows])]
        missing = [f"{100 * one:.0f} %" for one in SENSITIVITIES if one > self.points[-1].least_sensitivity]
        return (
            [*lines, f"  {' and '.join(missing)}: takes more photos of {self.of} to be promised"] if missing else lines
        )


def choose(
    goal: Goal, labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None, asked: str
) -> Decision | None:
    """Return the decision that meets a goal on held-out probabilities (n, c) of photos with `labels` (n,), or None."""
    threshold = goal.threshold(labels == goal.label, probabilities[:, goal.label], groups)
    return None if threshold is None else Decision(ThresholdRule(goal.label, threshold), asked)


def nested_thresholds(
    goal: Goal, labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return (n,) thresholds, each chosen without the photo and its group, at the rank that all together choose.

    Where the others reach no precision, no probability is enough. Photos by which nothing is chosen (those of other
    classes, for a sensitivity) get the threshold that all choose.

    Args:
        goal: what thresholds are chosen for.
        labels: (n,).
        probabilities: (n, c), by what was not fitted on the photo.
        groups: (n,) numbers of photos that are not independent; None: all are.
    """
    is_class, scores = labels == goal.label, probabilities[:, goal.label]
    whole = goal.at_level(1 - goal.least, is_class, scores, groups)
    missing = 1 - goal.least if whole is None else whole[1]
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    count = int(units.max()) + 1
    part = (np.random.default_rng(_SEED).permutation(count) % min(count, _PARTS))[units]
    found = np.full(len(labels), _NEVER if whole is None else whole[0])
    chooses = {SENSITIVITY: is_class, SPECIFICITY: ~is_class}.get(goal.figure, np.ones(len(labels), dtype=bool))
    nested = np.isin(units, units[chooses])
    found[nested] = _NEVER
    for number in np.unique(part[nested]):
        others = ~((part == number) & nested)
        own = None if groups is None else groups[others]
        chosen = goal.at_level(missing, is_class[others], scores[others], own, slack=_NEAREST)
        if chosen is not None:
            found[~others] = chosen[0]
    return found


def operating_points(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    label: int,
    *,
    groups: np.ndarray | None = None,
) -> OperatingPoints:
    """Return thresholds for several sensitivities of one class, and what each comes to, nested.

    Args:
        labels: (n,).
        probabilities: (n, c), by what was not fitted on the photo.
        classes: c names.
        label: the class.
        groups: (n,) numbers of photos that are not independent; None: all are.
    """
    points, is_class, scores = [], labels == label, probabilities[:, label]
    for least in SENSITIVITIES:
        goal = Goal(SENSITIVITY, least, label)
        threshold = goal.threshold(is_class, scores, groups)
        if threshold is not None:
            answered = scores >= nested_thresholds(goal, labels, probabilities, groups)
            point = _point(least, threshold, is_class, answered, groups)
            exact = None if groups is not None else _exact_sensitivity(scores[is_class], threshold)
            points.append(replace(point, sensitivity_interval=wider(point.sensitivity_interval, exact)))
    return OperatingPoints(classes[label], tuple(points))


def _exact_sensitivity(hits: np.ndarray, threshold: float) -> Bounds:
    """Return the 95 % interval of the sensitivity of a threshold at the k-th smallest of m hits, on new photos.

    Whatever their distribution, it is distributed as Beta(m + 1 - k, k) (Wilks 1941, "Determination of sample sizes for
    setting tolerance limits").
    """
    from scipy.special import betaincinv  # here, for one photo is answered in less time than it takes to import

    rank, count = int((hits < threshold).sum()) + 1, len(hits)
    low, high = betaincinv(count + 1 - rank, rank, [0.025, 0.975]).tolist()
    return low, high


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
