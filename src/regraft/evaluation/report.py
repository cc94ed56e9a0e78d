"""The numbers of one evaluation, every one with its interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.errors import OptionError, did_you_mean, option
from regraft.evaluation import metrics
from regraft.evaluation.intervals import RESAMPLES, Interval, bootstrap, mean_interval, wilson
from regraft.evaluation.proportions import Share, auc_interval, interval_of, mean_of_shares, share_of, wider

ESTIMATES = ("out-of-fold", "validation", "test")
TOP_K, CLASSES_FOR_TOP_K = 5, 10
FIGURES = ("accuracy", "balanced_accuracy", "log_loss", "brier", "top5_accuracy", "ece", "auc", "average_precision")
LIMITS = {"log_loss": (0.0, -math.log(metrics.SMALLEST_PROBABILITY)), "brier": (0.0, 2.0)}  # of the others 0 and 1
IN_PERCENT = ("accuracy", "balanced_accuracy", "top5_accuracy", "ece")  # the others are plain numbers
_CLASSES_SHOWN = 20
_WORST_SHOWN = 10
_CONFUSIONS_SHOWN = 3
_SKILL_FLOOR = 1e-3  # one confident mistake must not outweigh hundreds of right answers in the sanity gate


@dataclass(frozen=True)
class Report:
    """The numbers of one evaluation; figures are shares from 0 to 1 unless said otherwise.

    Attributes:
        classes: c names, in class order.
        estimate: "out-of-fold", "validation" or "test".
        n: photos judged.
        figures: accuracy, balanced_accuracy, log_loss (nats), brier (0 to 2), ece; top5_accuracy from 10 classes on;
            auc and average_precision for two classes.
        intervals: 95 % intervals of these; None where nothing is known of it: one group, or too few draws define one.
        per_class: by class name: precision, recall, f1, support, recall_interval, precision_interval.
        confusion: c rows of c counts, row the true class.
        majority_share: share of the largest class.
        positive: for two classes, the one that auc and average_precision are of.
        reliability: by bin of confidence, as far as photos fall into it: n, mean confidence, accuracy, interval.
    """

    classes: tuple[str, ...]
    estimate: str
    n: int
    figures: dict[str, float | None]
    intervals: dict[str, Interval | None]
    per_class: dict[str, dict[str, Any]]
    confusion: list[list[int]]
    majority_share: float
    positive: str | None = None
    reliability: tuple[dict[str, Any], ...] = ()

    @property
    def accuracy(self) -> float:
        """Return the share of right answers."""
        return float(self.figures["accuracy"] or 0.0)

    @classmethod
    def from_probabilities(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        *,
        estimate: str,
        positive: str | None = None,
        groups: np.ndarray | None = None,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> "Report":
        """Judge (n, c) probabilities by (n,) labels, which count in `classes`.

        `groups` (n,) say which photos are not independent: these make every interval wider.

        Raises:
            ValueError: no photos, probabilities that are not finite, or an unknown `estimate`.
        """
        if estimate not in ESTIMATES:
            raise ValueError(f"estimate must be one of {ESTIMATES}. Got {estimate!r}.")
        if len(labels) == 0 or not np.isfinite(probabilities).all():
            raise ValueError(f"expected finite probabilities of one photo or more. Got shape {probabilities.shape}.")
        positive = (positive or classes[1]) if len(classes) == 2 else None
        column = list(classes).index(positive) if positive is not None else None
        judge = Judge(labels, probabilities, column)
        figures = judge.figures(None)
        intervals = judge.intervals(figures, groups=groups, seed=seed, resamples=resamples)
        confusion = metrics.confusion_matrix(labels, judge.predictions, len(classes))
        return cls(
            classes=tuple(classes),
            estimate=estimate,
            n=len(labels),
            figures={name: _plain(value) for name, value in figures.items()},
            intervals=intervals,
            per_class=_per_class(confusion, classes, judge, groups),
            confusion=[[int(count) for count in row] for row in confusion],
            majority_share=float(confusion.sum(axis=1).max() / len(labels)),
            positive=positive,
            reliability=tuple(judge.reliability(groups)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, undefined figures as None."""
        bounds = {name: None if pair is None else list(pair) for name, pair in self.intervals.items()}
        return {
            "n": self.n,
            "classes": list(self.classes),
            "estimate": self.estimate,
            "accuracy": self.figures["accuracy"],
            "accuracy_interval": bounds["accuracy"],
            **{name: value for name, value in self.figures.items() if name != "accuracy"},
            "intervals": bounds,
            "per_class": self.per_class,
            "confusion": self.confusion,
            "majority_share": self.majority_share,
            "positive": self.positive,
            "reliability": list(self.reliability),
        }

    def summary_lines(self) -> list[str]:
        """Return the numbers as lines for a terminal."""
        lines = [f"{self.estimate}, n = {self.n:,}, {len(self.classes):,} classes; 95 % intervals in brackets", ""]
        names = figure_names(self.positive)
        width = max(len(text) for name, text in names.items() if name in self.figures)
        for name, text in names.items():
            if name in self.figures:
                shown = _shown(self.figures[name], self.intervals.get(name), share=name in IN_PERCENT)
                lines.append(f"  {text:<{width}}  {shown}")
        return [*lines, "", *self._class_lines(), *self._confusion_lines()]

    def _class_lines(self) -> list[str]:
        names = list(self.classes)
        title = ""
        if len(names) > _CLASSES_SHOWN:
            names.sort(key=lambda name: (self.per_class[name]["recall"] is None, self.per_class[name]["recall"] or 0))
            names, title = names[:_WORST_SHOWN], f"the {_WORST_SHOWN} classes that are missed most"
        width = max(*(len(name) for name in names), len(title), len("class"))
        lines = [f"  {title or 'class':<{width}}  photos  {'recall':<24}  precision      F1"]
        for name in names:
            row = self.per_class[name]
            recall = _shown(row["recall"], row["recall_interval"], share=True)
            precision, f1 = _shown(row["precision"], None, share=True), _shown(row["f1"], None, share=False)
            lines.append(f"  {name:<{width}}  {row['support']:>6,}  {recall:<24}  {precision:>9}  {f1:>6}")
        return lines

    def _confusion_lines(self) -> list[str]:
        table = np.array(self.confusion)
        np.fill_diagonal(table, 0)
        worst = [divmod(int(place), len(self.classes)) for place in np.argsort(-table, axis=None, kind="stable")]
        shown = [
            f"{self.classes[truth]} taken for {self.classes[answer]}: {table[truth, answer]:,}"
            for truth, answer in worst[:_CONFUSIONS_SHOWN]
            if table[truth, answer]
        ]
        return ["", "  " + "; ".join(shown)] if shown else []


def check_positive(positive: str | None, classes: Sequence[str]) -> None:
    """Raise `OptionError` unless `positive` is None or one of two `classes`."""
    if positive is not None and len(classes) != 2:
        raise OptionError(f"{option('positive')} is for two classes. There are {len(classes)}; leave it out.")
    if positive is not None and positive not in classes:
        hint = did_you_mean(positive, classes)
        raise OptionError(f"{option('positive')} must be one of {', '.join(classes)}. Got {positive!r}.{hint}")


def figure_names(positive: str | None) -> dict[str, str]:
    """Return what people call each figure, in the order in which they are shown."""
    return {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "top5_accuracy": "top-5 accuracy",
        "auc": f"ROC AUC ({positive})",
        "average_precision": f"average precision ({positive})",
        "log_loss": "log loss",
        "brier": "Brier score",
        "ece": "calibration error",
    }


class Judge:
    """Everything that does not depend on the weights, computed once for all draws of the bootstrap."""

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray, positive: int | None) -> None:
        self.labels = labels
        self.predictions = probabilities.argmax(axis=1)
        self.right = self.predictions == labels
        self._confidence = probabilities.max(axis=1)
        self._bins = metrics.confidence_bins(probabilities)
        self._shares = {"accuracy": self.right}
        if probabilities.shape[1] >= CLASSES_FOR_TOP_K:
            self._shares["top5_accuracy"] = metrics.photo_in_top(labels, probabilities, TOP_K) > 0
        self._means = {
            **{name: photos.astype(float) for name, photos in self._shares.items()},
            "log_loss": metrics.photo_log_loss(labels, probabilities),
            "brier": metrics.photo_brier(labels, probabilities),
        }
        self._positive = positive
        self._ranking = None if positive is None else metrics.Ranking(labels == positive, probabilities[:, positive])

    def figures(self, weights: np.ndarray | None) -> dict[str, float]:
        """Return every figure, each photo counted `weights` (n,) times."""
        right = self._means["accuracy"]
        diagram = metrics.reliability_of(self._bins, self._confidence, right, bins=metrics.BINS, weights=weights)
        found = {
            **{name: float(np.average(values, weights=weights)) for name, values in self._means.items()},
            "balanced_accuracy": metrics.balanced_accuracy(self.labels, right, weights),
            "ece": metrics.expected_calibration_error(diagram),
        }
        if self._ranking is not None:
            found["auc"] = self._ranking.auc(weights)
            found["average_precision"] = self._ranking.average_precision(weights)
        return {name: found[name] for name in FIGURES if name in found}

    def intervals(
        self, figures: Mapping[str, float], *, groups: np.ndarray | None, seed: int, resamples: int
    ) -> dict[str, Interval | None]:
        """Return the 95 % intervals of `figures`.

        Shares have Wilson's, of the effective number of photos; balanced accuracy has what the recalls' make; all else
        is from the bootstrap. A perfect ranking has no scatter to draw from: AUC and average precision reach as far as
        their closed forms say, if that is farther.
        """
        found = bootstrap(
            self.figures,
            len(self.labels),
            resamples=resamples,
            seed=seed,
            groups=groups,
            distances={"ece": figures["ece"]},
            losses=("log_loss", "brier"),
        )
        for name, photos in self._shares.items():
            found[name] = interval_of(share_of(photos, groups))
        found["balanced_accuracy"] = self._of_recalls(groups)
        if self._positive is not None:
            found |= self._of_ranking(figures, found, groups)
        return {name: pair and _within(pair, *LIMITS.get(name, (0.0, 1.0))) for name, pair in found.items()}

    def _of_recalls(self, groups: np.ndarray | None) -> Interval | None:
        recalls = [self.share(self.labels == position, groups) for position in np.unique(self.labels)]
        # as one share too: many recalls near 1 hide what each may lack, and groups of several classes tie them together
        return wider(mean_of_shares(recalls), interval_of(share_of(self.right, groups, labels=self.labels)))

    def _of_ranking(
        self, figures: Mapping[str, float], drawn: Mapping[str, Interval | None], groups: np.ndarray | None
    ) -> dict[str, Interval | None]:
        is_positive = self.labels == self._positive
        positive, negative = self.share(is_positive, groups), self.share(~is_positive, groups)
        found: dict[str, Interval | None] = {"auc": None, "average_precision": None}
        if positive is not None and negative is not None:
            found["auc"] = wider(drawn["auc"], auc_interval(figures["auc"], positive, negative))
        if positive is not None:  # the mean over the positives of a precision, which varies less than hit or miss
            hits = wilson(figures["average_precision"] * positive.trials, positive.trials, reach=positive.quantile)
            found["average_precision"] = wider(drawn["average_precision"], hits)
        return found

    def reliability(self, groups: np.ndarray | None) -> list[dict[str, Any]]:
        """Return the bins of the reliability diagram that hold photos, with the 95 % interval of their accuracy."""
        found = []
        for number in np.unique(self._bins):
            chosen = self._bins == number
            interval = interval_of(self.share(chosen, groups))
            found.append(
                {
                    "n": int(chosen.sum()),
                    "confidence": float(self._confidence[chosen].mean()),
                    "accuracy": float(self.right[chosen].mean()),
                    "interval": None if interval is None else list(interval),
                }
            )
        return found

    def share(self, chosen: np.ndarray, groups: np.ndarray | None) -> Share | None:
        """Return the share of right answers among the photos that are `chosen`, (n,) booleans."""
        return share_of(self.right[chosen], None if groups is None else groups[chosen])


@dataclass(frozen=True)
class Skill:
    """How much log loss (nats a photo) a classifier gains over the class shares, with its 95 % interval."""

    gain: float
    low: float
    high: float
    clear: bool = field(default=False)


def beats_majority(probabilities: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None) -> Skill:
    """Compare (n, c) probabilities with always answering the class shares of `labels` (n,), photo by photo.

    The class shares are the best that can be said without looking, and their top answer is the largest class. Log
    loss and not accuracy is compared: where 95 % of the photos are of one class, a useful ranking of the rest may
    gain no accuracy at all. Probabilities below 1e-3 count as 1e-3. `clear`: the interval lies above 0.
    """
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    constant = metrics.photo_log_loss(labels, np.broadcast_to(shares, probabilities.shape), _SKILL_FLOOR)
    gain = mean_interval(constant - metrics.photo_log_loss(labels, probabilities, _SKILL_FLOOR), groups=groups)
    return Skill(gain.value, gain.low, gain.high, clear=gain.low > 0)


def _per_class(
    confusion: np.ndarray, classes: Sequence[str], judge: Judge, groups: np.ndarray | None
) -> dict[str, dict[str, Any]]:
    found = metrics.per_class(confusion)

    def interval(chosen: np.ndarray) -> list[float] | None:
        bounds = interval_of(judge.share(chosen, groups))
        return None if bounds is None else list(bounds)

    return {
        name: {
            "precision": _plain(found.precision[k]),
            "recall": _plain(found.recall[k]),
            "f1": _plain(found.f1[k]),
            "support": int(found.support[k]),
            "recall_interval": interval(judge.labels == k),
            "precision_interval": interval(judge.predictions == k),
        }
        for k, name in enumerate(classes)
    }


def _within(interval: Interval, low: float, high: float) -> Interval:
    return max(interval[0], low), min(interval[1], high)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shown(value: float | None, interval: Sequence[float] | None, *, share: bool) -> str:
    if value is None:
        return "none"
    scale, digits, unit = (100, 1, " %") if share else (1, 3, "")
    text = f"{scale * value:.{digits}f}{unit}"
    if interval is None:
        return text
    return f"{text} [{scale * interval[0]:.{digits}f}, {scale * interval[1]:.{digits}f}]"
