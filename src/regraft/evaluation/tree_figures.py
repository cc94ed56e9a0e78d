"""Figures of a classifier whose classes lie in a tree: at every level, and how far mistakes are from the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import msgspec
import numpy as np
from msgspec import Meta

from regraft.errors import printable
from regraft.evaluation.bounded_mean import bounded_mean
from regraft.evaluation.intervals import Interval
from regraft.evaluation.levels import Level
from regraft.evaluation.metrics import METRICS, Predictions
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.evaluation.report_lines import padded, shown
from regraft.validation import Bounds, Count, Fraction, Number, convert

_OF_A_LEVEL = ("accuracy", "balanced_accuracy", "top5_accuracy")  # those whose intervals take no draws
_LEVELS_SHOWN = 12


@dataclass(frozen=True)
class LevelFigures:
    """How often the most probable node of one level is the true one; at the level of the classes, the answer.

    Attributes:
        level: its distance from the top.
        nodes: m names.
        n: photos whose label says where they belong at this level.
        figures: accuracy, balanced accuracy and, of many nodes, top-5 accuracy, by their names in `METRICS`.
        intervals: 95 % intervals of these; None where too little is known.
        majority_share: proportion of photos of the largest node: the accuracy of always answering it.
        majority_interval: of it.
    """

    level: Count
    nodes: tuple[str, ...]
    n: Annotated[int, Meta(ge=1)]
    figures: dict[str, Fraction]
    intervals: dict[str, Bounds]
    majority_share: Fraction
    majority_interval: Bounds = None


@dataclass(frozen=True)
class MeanDistance:
    """A mean distance in the tree, in edges.

    Attributes:
        n: photos.
        value: the mean; None where there are none.
        interval: 95 %.
    """

    n: Count
    value: Number | None
    interval: Bounds


@dataclass(frozen=True)
class TreeDistances:
    """How far answers are from the truth: the number of edges on the way between both, 0 for a right answer.

    Attributes:
        answers: of all photos.
        majority: of always answering the largest class.
        mistakes: of the wrong answers alone.
        least: between two classes.
        largest: between two classes.
    """

    answers: MeanDistance
    majority: MeanDistance
    mistakes: MeanDistance
    least: Count
    largest: Count


@dataclass(frozen=True)
class TreeFigures:
    """The figures of a classifier whose classes lie in a tree.

    Attributes:
        levels: from the top.
        distances: of answers to the truth; None where no photo is labelled with a class.
    """

    levels: tuple[LevelFigures, ...]
    distances: TreeDistances | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none.
        """
        made: Self = convert(found, cls)
        return made

    def __str__(self) -> str:
        """Return the figures for a terminal."""
        return "\n".join(map(printable, [*_level_lines(self.levels), *_distance_lines(self.distances)]))


def figures_at(
    level: Level,
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    answers: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> LevelFigures | None:
    """Return the figures of one level; None where no photo's label reaches it.

    Args:
        level: m nodes.
        probabilities: (n, c) of the classes.
        truth: (n,) nodes; photos with -1 are left out.
        answers: (n,) nodes; None for the most probable ones.
        groups: (n,) numbers; photos of one group are not independent.
    """
    known = truth >= 0
    if not known.any():
        return None
    groups = None if groups is None else groups[known]
    decisions = None if answers is None else answers[known]
    predictions = Predictions(truth[known], level.sums(probabilities[known]), decisions=decisions)
    metrics = [METRICS[name] for name in _OF_A_LEVEL if METRICS[name].needs(predictions)]
    figures = {metric.name: metric.prepare(predictions)(None) for metric in metrics}
    intervals: dict[str, Interval | None] = {}
    for metric in metrics:
        assert metric.closed_form is not None
        intervals[metric.name] = metric.closed_form(predictions, figures[metric.name], groups)
    is_largest = predictions.labels == np.bincount(predictions.labels).argmax()
    majority = interval_of(proportion_of(is_largest, groups))
    return LevelFigures(
        level.number, level.nodes, int(known.sum()), figures, intervals, float(is_largest.mean()), majority
    )


def tree_distances(
    distances: np.ndarray, labels: np.ndarray, answers: np.ndarray, *, groups: np.ndarray | None = None
) -> TreeDistances | None:
    """Return the mean distances of answers to the truth; None where there are no photos.

    Args:
        distances: (c, c) between the classes.
        labels: (n,) true classes.
        answers: (n,).
        groups: (n,) numbers; photos of one group are not independent.
    """
    if not len(labels):
        return None
    between = distances[~np.eye(len(distances), dtype=bool)]
    least, largest = int(between.min()), int(between.max())
    majority = int(np.bincount(labels).argmax())
    wrong = answers != labels
    own = distances[labels, answers].astype(np.float64)
    return TreeDistances(
        answers=_mean(own, 0, largest, groups),
        majority=_mean(distances[labels, majority].astype(np.float64), 0, largest, groups),
        mistakes=_mean(own[wrong], least, largest, None if groups is None else groups[wrong]),
        least=least,
        largest=largest,
    )


def _mean(values: np.ndarray, least: int, largest: int, groups: np.ndarray | None) -> MeanDistance:
    """Return the mean of distances between these two."""
    if not len(values):
        return MeanDistance(0, None, None)
    if least == largest:
        return MeanDistance(len(values), float(least), (float(least), float(least)))
    found = bounded_mean(values - least, largest - least, groups=groups)
    return MeanDistance(len(values), least + found.value, (least + found.low, least + found.high))


def _level_lines(levels: Sequence[LevelFigures]) -> list[str]:
    top5 = any("top5_accuracy" in one.figures for one in levels)
    heads = ["level", "nodes", "photos", "accuracy", "always the largest", "balanced accuracy"]
    rows = [[*heads, *(["top-5 accuracy"] if top5 else [])]]
    for one in levels[:_LEVELS_SHOWN]:
        cells = [str(one.level), f"{len(one.nodes):,}", f"{one.n:,}", _figure(one, "accuracy")]
        cells += [shown(one.majority_share, one.majority_interval, percent=True), _figure(one, "balanced_accuracy")]
        rows.append([*cells, *([_figure(one, "top5_accuracy")] if top5 else [])])
    title = "at each level of the tree, of the most probable node (at that of the classes, of the answer):"
    more = [f"  and {len(levels) - _LEVELS_SHOWN} deeper levels"] if len(levels) > _LEVELS_SHOWN else []
    return [title, *(f"  {line}" for line in padded(rows)), *more]


def _figure(one: LevelFigures, name: str) -> str:
    return shown(one.figures[name], one.intervals[name], percent=True) if name in one.figures else ""


def _distance_lines(found: TreeDistances | None) -> list[str]:
    if found is None:
        return []
    mistakes = f"; of {found.mistakes.n:,} mistakes {_edges(found.mistakes)}" if found.mistakes.n else ""
    between = f"{found.least}" if found.least == found.largest else f"{found.least} to {found.largest}"
    return [
        f"  distance from answer to truth in the tree: {_edges(found.answers)} edges; always the largest class "
        f"{_edges(found.majority)}{mistakes} ({between} between two classes)"
    ]


def _edges(mean: MeanDistance) -> str:
    if mean.value is None or mean.interval is None:
        return "none"
    low, high = mean.interval
    return f"{mean.value:.2f} [{low:.2f}, {high:.2f}]"
