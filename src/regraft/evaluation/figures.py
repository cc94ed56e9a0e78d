"""The figures of predictions, each with its interval: of all photos, of each class, and of each bin of confidence."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation import metrics
from regraft.evaluation.intervals import Interval, bootstrap
from regraft.evaluation.metrics import METRICS, Predictions
from regraft.evaluation.proportions import interval_of, proportion_of, wider
from regraft.validation import Bounds, Count, Fraction


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class, 0 to 1; None where there is nothing to divide by, or too little known for an interval.

    Attributes:
        precision: of the answers that name it, how many are correct.
        recall: of its photos, how many are recognised.
        f1: harmonic mean of both.
        support: number of its photos.
        recall_interval: 95 %.
        precision_interval: 95 %.
    """

    precision: Fraction | None
    recall: Fraction | None
    f1: Fraction | None
    support: Count
    recall_interval: Bounds
    precision_interval: Bounds


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin of a reliability diagram.

    Attributes:
        n: number of photos.
        confidence: their mean probability of the answer.
        accuracy: how many of the answers are correct, 0 to 1.
        interval: of the accuracy, 95 %; None where too little is known.
    """

    n: Count
    confidence: Fraction
    accuracy: Fraction
    interval: Bounds


def figures_of(
    predictions: Predictions,
    *,
    groups: np.ndarray | None,
    seed: int,
    resamples: int,
    only: Collection[str] = METRICS,
) -> tuple[dict[str, float | None], dict[str, Interval | None]]:
    """Return every figure, or `only` some, and its 95 % interval, made as its row in `METRICS` says."""
    prepared = {name: figure for name, figure in metrics.prepare(predictions).items() if name in only}
    values = {name: figure(None) for name, figure in prepared.items()}
    drawn = [name for name in prepared if METRICS[name].bootstrap is not None]
    draws = bootstrap(
        lambda weights: {name: prepared[name](weights) for name in drawn},
        len(predictions.labels),
        resamples=resamples,
        seed=seed,
        groups=groups,
        distances={name: values[name] for name in drawn if METRICS[name].bootstrap == "distance"},
        losses=[name for name in drawn if METRICS[name].bootstrap == "loss"],
    )
    intervals: dict[str, Interval | None] = {}
    for name, value in values.items():
        interval = draws.get(name)
        if (closed_form := METRICS[name].closed_form) is not None:
            formula = closed_form(predictions, value, groups)
            interval = formula and wider(interval, formula)
        low, high = METRICS[name].limits
        intervals[name] = interval and (max(interval[0], low), min(interval[1], high))
    return {name: _finite(value) for name, value in values.items()}, intervals


def figures_by_class(
    confusion: np.ndarray, classes: Sequence[str], predictions: Predictions, groups: np.ndarray | None
) -> dict[str, ClassFigures]:
    """Return the figures of each class; `confusion` (c, c) is of these predictions."""
    found = metrics.per_class(confusion)
    return {
        name: ClassFigures(
            precision=_finite(found.precision[k]),
            recall=_finite(found.recall[k]),
            f1=_finite(found.f1[k]),
            support=int(found.support[k]),
            recall_interval=interval_of(predictions.accuracy_of(predictions.labels == k, groups)),
            precision_interval=interval_of(predictions.accuracy_of(predictions.answers == k, groups)),
        )
        for k, name in enumerate(classes)
    }


def reliability_bins(predictions: Predictions, groups: np.ndarray | None) -> Iterator[ReliabilityBin]:
    """Yield the bins of the reliability diagram that hold photos, of the most probable classes."""
    right = predictions.most_probable_correct
    for number in np.unique(predictions.bins):
        chosen = predictions.bins == number
        yield ReliabilityBin(
            n=int(chosen.sum()),
            confidence=float(predictions.confidence[chosen].mean()),
            accuracy=float(right[chosen].mean()),
            interval=interval_of(proportion_of(right[chosen], None if groups is None else groups[chosen])),
        )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
