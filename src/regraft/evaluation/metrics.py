"""Figures of a classifier, and the one table of those that a report has: `METRICS`.

Letters: `n` photos, `c` classes. `weights` (n,) say how often each photo counts (the bootstrap draws some twice and
some not at all); left out, each counts once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from regraft.evaluation.calibration import confidence_bins, expected_calibration_error, reliability
from regraft.evaluation.calibration_error import calibration_error_interval
from regraft.evaluation.intervals import Interval, wilson
from regraft.evaluation.proportions import (
    Proportion,
    auc_interval,
    interval_of,
    mean_of_proportions,
    proportion_of,
    wider,
)
from regraft.evaluation.ranking import Ranking

SMALLEST_PROBABILITY = 1e-15  # probabilities are clipped to it before the logarithm
TOP_K, CLASSES_FOR_TOP_K = 5, 10


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return (c, c) counts: row the true class, column the predicted one."""
    flat = np.bincount(labels * classes + predictions, weights=weights, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes))


def balanced_accuracy(labels: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean recall of the classes that occur in (n,) `labels`; (n,) `correct` says which answers are."""
    weights = np.ones(len(labels)) if weights is None else weights
    support = np.bincount(labels, weights)
    present = support > 0
    hits = np.bincount(labels, weights * correct)[present]
    return float(np.mean(hits / support[present])) if present.any() else float("nan")


@dataclass(frozen=True, eq=False)
class PerClass:
    """Figures by class, (c,) each; NaN where there is nothing to divide by."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    predicted: np.ndarray


def per_class(confusion: np.ndarray) -> PerClass:
    """Return precision, recall, F1 (2 tp / (2 tp + fp + fn)), photos and answers of each class."""
    hits = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return PerClass(
            precision=hits / predicted,
            recall=hits / support,
            f1=2 * hits / (support + predicted),
            support=support,
            predicted=predicted,
        )


def photo_log_loss(labels: np.ndarray, probabilities: np.ndarray, floor: float = SMALLEST_PROBABILITY) -> np.ndarray:
    """Return (n,) negative natural logarithms of the true class's probability, which counts as at least `floor`."""
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], floor)))


def photo_brier(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) sums over classes of (probability - truth)^2, each from 0 to 2 (Brier 1950).

    With two classes this is twice the one-column form that scikit-learn's `brier_score_loss` gives.
    """
    truth = probabilities[np.arange(len(labels)), labels]
    return np.asarray((probabilities**2).sum(axis=1) - truth**2 + (1 - truth) ** 2)


def photo_in_top(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return (n,) booleans: is the true class among the `k` most probable? Of ties the earlier class comes first."""
    truth = probabilities[np.arange(len(labels)), labels][:, None]
    before = (np.arange(probabilities.shape[1]) < labels[:, None]) & (probabilities == truth)
    return np.asarray(((probabilities > truth) | before).sum(axis=1) < k)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labelled photos with their predictions, and what several figures need of them, each computed once.

    Attributes:
        labels: (n,) true classes.
        probabilities: (n, c).
        positive: the class that AUC and average precision are of; None where there are more than two classes.
        decisions: (n,) answers of a rule; None where the most probable class is the answer. Accuracy, recalls and the
            confusion matrix are of these; calibration is of the most probable class whatever the rule.
        folds: (n,) numbers of the fold that each photo was held out with, where a classifier for each of them answered;
            None where one classifier answered all. Photos are ranked within folds: see `ranking`.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    positive: int | None = None
    decisions: np.ndarray | None = None
    folds: np.ndarray | None = None

    @cached_property
    def most_probable(self) -> np.ndarray:
        """Return (n,) most probable classes."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def answers(self) -> np.ndarray:
        """Return (n,) classes that are answered."""
        return self.most_probable if self.decisions is None else self.decisions

    @cached_property
    def correct(self) -> np.ndarray:
        """Return (n,) booleans: is the answer the true class?"""
        return np.asarray(self.answers == self.labels)

    @cached_property
    def most_probable_correct(self) -> np.ndarray:
        """Return (n,) booleans: is the most probable class the true one?"""
        return np.asarray(self.most_probable == self.labels)

    @cached_property
    def in_top_k(self) -> np.ndarray:
        """Return (n,) booleans: is the true class among the `TOP_K` most probable?"""
        return photo_in_top(self.labels, self.probabilities, TOP_K)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Return (n,) probabilities of the most probable classes."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def bins(self) -> np.ndarray:
        """Return (n,) bins of the reliability diagram."""
        return confidence_bins(self.probabilities)

    @cached_property
    def ranking(self) -> Ranking:
        """Return the ranking by the probability of the positive class."""
        return Ranking(self.labels == self.positive, self.probabilities[:, self.positive], self.folds)

    def accuracy_of(self, chosen: np.ndarray, groups: np.ndarray | None) -> Proportion | None:
        """Return the accuracy on the `chosen` photos, (n,) booleans; `groups` (n,) as in `proportion_of`."""
        return proportion_of(self.correct[chosen], None if groups is None else groups[chosen])


Figure = Callable[[np.ndarray | None], float]  # of (n,) weights, or of None where each photo counts once


@dataclass(frozen=True)
class Metric:
    """A figure of a report, with everything that is known of it: reports, comparisons and files take it from here.

    Attributes:
        name: in JSON.
        title: for people; "{positive}" stands for the name of the positive class.
        prepare: computes of predictions what does not depend on weights, and returns the figure as a function of them.
        lower_is_better: or higher.
        percent: whether people see it in percent.
        limits: the lowest and the highest value; its interval is clipped to them.
        depends_on_temperature: whether a temperature, the same for all photos, can change it.
        bootstrap: how an interval is made of bootstrap draws: see `intervals.bootstrap`; None for no draws.
        closed_form: returns the interval that a formula gives for predictions, the figure and (n,) groups or None;
            None where too little is known. With draws too, the wider of both is taken. None for no formula.
        needs: whether the figure is reported for these predictions.
    """

    name: str
    title: str
    prepare: Callable[[Predictions], Figure]
    lower_is_better: bool
    percent: bool
    limits: tuple[float, float]
    depends_on_temperature: bool
    bootstrap: Literal["percentiles", "loss", "distance"] | None
    closed_form: Callable[[Predictions, float, np.ndarray | None], Interval | None] | None = None
    needs: Callable[[Predictions], bool] = lambda _: True


def _mean(values: np.ndarray) -> Figure:
    return lambda weights: float(np.average(values, weights=weights))


def _balanced_accuracy(predictions: Predictions) -> Figure:
    correct = predictions.correct.astype(float)
    return lambda weights: balanced_accuracy(predictions.labels, correct, weights)


def _calibration_error(predictions: Predictions) -> Figure:
    known = predictions.bins, predictions.confidence, predictions.most_probable_correct.astype(float)
    return lambda weights: expected_calibration_error(reliability(*known, weights=weights))


def _recall_interval(predictions: Predictions, _: float, groups: np.ndarray | None) -> Interval | None:
    labels = predictions.labels
    recalls = [predictions.accuracy_of(labels == k, groups) for k in np.unique(labels)]
    # as one proportion too: many recalls near 1 hide what each may lack, and groups of several classes correlate them
    return wider(mean_of_proportions(recalls), interval_of(proportion_of(predictions.correct, groups, labels=labels)))


def _auc_interval(predictions: Predictions, auc: float, groups: np.ndarray | None) -> Interval | None:
    """Return the score interval: a perfect ranking has no scatter to draw from."""
    is_positive = predictions.labels == predictions.positive
    positive, negative = (predictions.accuracy_of(chosen, groups) for chosen in (is_positive, ~is_positive))
    if positive is None or negative is None or not np.isfinite(auc):
        return None
    return auc_interval(auc, positive, negative, predictions.ranking.shares)


def _average_precision_interval(
    predictions: Predictions, average_precision: float, groups: np.ndarray | None
) -> Interval | None:
    """Return Wilson's interval: a mean over the positives of a precision, which varies less than hit or miss."""
    positive = predictions.accuracy_of(predictions.labels == predictions.positive, groups)
    if positive is None or not np.isfinite(average_precision):
        return None
    return wilson(average_precision * positive.trials, positive.trials, reach=positive.quantile)


_TABLE = (
    Metric(
        "accuracy",
        "accuracy",
        lambda predictions: _mean(predictions.correct.astype(float)),
        lower_is_better=False,
        percent=True,
        limits=(0.0, 1.0),
        depends_on_temperature=False,
        bootstrap=None,
        closed_form=lambda predictions, _, groups: interval_of(proportion_of(predictions.correct, groups)),
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        _balanced_accuracy,
        lower_is_better=False,
        percent=True,
        limits=(0.0, 1.0),
        depends_on_temperature=False,
        bootstrap=None,
        closed_form=_recall_interval,
    ),
    Metric(
        "log_loss",
        "log loss",
        lambda predictions: _mean(photo_log_loss(predictions.labels, predictions.probabilities)),
        lower_is_better=True,
        percent=False,
        limits=(0.0, -math.log(SMALLEST_PROBABILITY)),
        depends_on_temperature=True,
        bootstrap="loss",
    ),
    Metric(
        "brier",
        "Brier score",
        lambda predictions: _mean(photo_brier(predictions.labels, predictions.probabilities)),
        lower_is_better=True,
        percent=False,
        limits=(0.0, 2.0),
        depends_on_temperature=True,
        bootstrap="loss",
    ),
    Metric(
        "top5_accuracy",
        "top-5 accuracy",
        lambda predictions: _mean(predictions.in_top_k.astype(float)),
        lower_is_better=False,
        percent=True,
        limits=(0.0, 1.0),
        depends_on_temperature=False,
        bootstrap=None,
        closed_form=lambda predictions, _, groups: interval_of(proportion_of(predictions.in_top_k, groups)),
        needs=lambda predictions: predictions.probabilities.shape[1] >= CLASSES_FOR_TOP_K,
    ),
    Metric(
        "ece",
        "calibration error",
        _calibration_error,
        lower_is_better=True,
        percent=True,
        limits=(0.0, 1.0),
        depends_on_temperature=True,
        bootstrap="distance",
        closed_form=lambda predictions, error, groups: calibration_error_interval(
            error, predictions.confidence, predictions.most_probable_correct, groups
        ),
    ),
    Metric(
        "auc",
        "ROC AUC ({positive})",
        lambda predictions: predictions.ranking.auc,
        lower_is_better=False,
        percent=False,
        limits=(0.0, 1.0),
        depends_on_temperature=False,
        bootstrap="percentiles",
        closed_form=_auc_interval,
        needs=lambda predictions: predictions.positive is not None,
    ),
    Metric(
        "average_precision",
        "average precision ({positive})",
        lambda predictions: predictions.ranking.average_precision,
        lower_is_better=False,
        percent=False,
        limits=(0.0, 1.0),
        depends_on_temperature=False,
        bootstrap="percentiles",
        closed_form=_average_precision_interval,
        needs=lambda predictions: predictions.positive is not None,
    ),
)
METRICS = {metric.name: metric for metric in _TABLE}  # in the order of JSON


def prepare(predictions: Predictions) -> dict[str, Figure]:
    """Return every figure that is reported for `predictions`, by name, as a function of weights."""
    return {name: metric.prepare(predictions) for name, metric in METRICS.items() if metric.needs(predictions)}
