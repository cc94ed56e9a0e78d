"""Two classifiers evaluated on the same photos: the differences of their figures, with intervals and tests.

Right answers are tested exactly, as few photos tell two classifiers apart: accuracy and top-5 accuracy by McNemar's
test, of groups by the signs of whole groups, balanced accuracy by these too. Losses are compared by the mean of their
differences, AUCs by DeLong's test, all other figures by paired bootstrap draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.delong import auc_difference
from regraft.evaluation.intervals import RESAMPLES, Interval, bootstrap_weights, quantile
from regraft.evaluation.metrics import METRICS, Figure, Predictions, photo_brier, photo_log_loss, prepare
from regraft.evaluation.paired_tests import fold_widening, holding_0, mean_test, right_answers_test, signs_and_mean


@dataclass(frozen=True)
class Difference:
    """How much `a` exceeds `b` in one figure.

    Attributes:
        metric: one of `METRICS`.
        value: a's figure minus b's.
        interval: 95 %; None where too little is known. It holds 0 where an exact test does not exclude it.
        p_value: how probable so large a difference is by chance alone, two-sided; None where that is not known.
        only_a: photos that a alone answers rightly; None of figures that do not count right answers.
        only_b: likewise of b.
    """

    metric: str
    value: float
    interval: Interval | None
    p_value: float | None = None
    only_a: int | None = None
    only_b: int | None = None

    @property
    def verdict(self) -> str:
        """Return "better" or "worse" (a than b) where the interval lies on one side of 0, else "not proven"."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not proven"
        return "better" if (self.interval[0] > 0) != METRICS[self.metric].lower_is_better else "worse"


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two classifiers' predictions of the same photos.

    Attributes:
        a: of the one.
        b: of the other.
        groups: (n,) numbers of photos that are not independent, or None.
        folds: (n,) numbers of what was answered by the same head, or None.
        seed: of draws.
        resamples: number of draws.
    """

    a: Predictions
    b: Predictions
    groups: np.ndarray | None
    folds: np.ndarray | None
    seed: int
    resamples: int

    @property
    def widening(self) -> float:
        """Return by how much standard errors grow, as folds were answered by classifiers of their own."""
        return fold_widening(self.folds)


def paired_differences(
    a: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    *,
    positive: int | None = None,
    groups: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    decisions: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """Return the differences of the figures of (n, c) probabilities `a` and `b` for the same photos.

    What makes a photo hard for both cancels out. Distances, such as the calibration error, are left out: noise adds to
    each of them, by how much depends on the classifier.

    Args:
        a: (n, c) probabilities.
        b: (n, c) probabilities.
        labels: (n,) true classes.
        positive: the class that AUC and average precision are of; None where there are more than two classes.
        groups: (n,) numbers of photos that are not independent, or None.
        folds: (n,) numbers, where folds were answered by classifiers of their own: scores of different folds are not
            ranked together, and errors are larger, see `fold_widening`. None where one classifier answered all.
        decisions: (n,) answers of each by its rule; None where the most probable class is the answer.
        seed: of the draws.
        resamples: number of draws of figures that have no test of their own.
    """
    ours, theirs = (
        Predictions(labels, probabilities, positive, answers, folds)
        for probabilities, answers in zip((a, b), decisions, strict=True)
    )
    pair = _Pair(ours, theirs, groups, folds, seed, resamples)
    found, drawn = {}, {}
    figures = [prepare(ours), prepare(theirs)]
    for name in figures[0]:
        if name in _TESTED:
            found[name] = _TESTED[name](pair, name)
        elif METRICS[name].bootstrap != "distance":
            drawn[name] = figures[0][name], figures[1][name]
    found |= _drawn(drawn, pair)
    return {name: found[name] for name in figures[0] if name in found}


def _right_answers(right: Callable[[Predictions], np.ndarray]) -> Callable[[_Pair, str], Difference]:
    """Return what compares shares of photos; `right` gives (n,) booleans of them."""

    def compared(pair: _Pair, name: str) -> Difference:
        a, b = right(pair.a), right(pair.b)
        found, p_value = right_answers_test(a, b, pair.groups, pair.folds, seed=pair.seed)
        interval = (found.low, found.high) if np.isfinite(found.low) else None
        return Difference(name, found.value, interval, p_value, int((a & ~b).sum()), int((b & ~a).sum()))

    return compared


def _balanced_accuracy(pair: _Pair, name: str) -> Difference:
    """Compare mean recalls: each photo counts by 1 over the number of its class's photos."""
    labels, differences = pair.a.labels, pair.a.correct.astype(float) - pair.b.correct
    classes, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = len(labels) / (len(classes) * counts[numbers])
    means = np.bincount(numbers, differences) / counts
    value = float(means.mean())
    influence = value + weights * (differences - means[numbers])  # the classes' own counts are no finding
    p_value, interval = signs_and_mean(
        weights * differences, influence, pair.groups, widening=pair.widening, seed=pair.seed
    )
    won, lost = (int((differences == sign).sum()) for sign in (1, -1))
    return Difference(name, value, holding_0(interval, p_value), p_value, won, lost)


def _losses(loss: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[_Pair, str], Difference]:
    """Return what compares means of a `loss` of labels and probabilities, (n,) each."""

    def compared(pair: _Pair, name: str) -> Difference:
        ours, theirs = (loss(one.labels, one.probabilities) for one in (pair.a, pair.b))
        mean, p_value = mean_test(ours - theirs, pair.groups, widening=pair.widening)
        return Difference(name, mean.value, None if p_value is None else (mean.low, mean.high), p_value)

    return compared


def _auc(pair: _Pair, name: str) -> Difference:
    positive, is_positive = pair.a.positive, pair.a.labels == pair.a.positive
    ours, theirs = (one.probabilities[:, positive] for one in (pair.a, pair.b))
    found = auc_difference(ours, theirs, is_positive, groups=pair.groups, folds=pair.folds, widening=pair.widening)
    return Difference(name, found.value, found.interval, found.p_value)


_TESTED = {  # figures that have a test of their own
    "accuracy": _right_answers(lambda predictions: predictions.correct),
    "balanced_accuracy": _balanced_accuracy,
    "log_loss": _losses(photo_log_loss),
    "brier": _losses(photo_brier),
    "top5_accuracy": _right_answers(lambda predictions: predictions.in_top_k),
    "auc": _auc,
}


def _drawn(figures: dict[str, tuple[Figure, Figure]], pair: _Pair) -> dict[str, Difference]:
    """Compare figures by the standard deviation of paired bootstrap draws, photos (or groups) the same for both.

    Student's distribution is that of the units of the smallest class, which rankings depend on. A figure that is
    undefined in more than half of the draws has no interval; otherwise such draws are left out.
    """
    from scipy.special import stdtr  # here, for one photo is answered in less time than it takes to import

    if not figures:
        return {}
    labels, groups = pair.a.labels, pair.groups
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    fewest = min(len(np.unique(units[labels == k])) for k in np.unique(labels))
    draws = np.array(
        [
            [a(weights) - b(weights) for a, b in figures.values()]
            for weights in bootstrap_weights(len(labels), resamples=pair.resamples, seed=pair.seed, groups=groups)
        ]
    ).T
    count, found = len(np.unique(units)), {}
    for (name, (a, b)), own in zip(figures.items(), draws, strict=True):
        value, defined = float(a(None) - b(None)), own[np.isfinite(own)]
        if 2 * len(defined) < len(own) or fewest < 2:
            found[name] = Difference(name, value, None)
            continue
        error = pair.widening * float(defined.std()) * np.sqrt(count / (count - 1))
        half = quantile(groups=fewest) * error
        p_value = 2 * float(stdtr(fewest - 1, -abs(value) / error)) if error else float(not value)
        found[name] = Difference(name, value, (value - half, value + half), p_value)
    return found
