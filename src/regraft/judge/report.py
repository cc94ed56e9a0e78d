"""The numbers of one evaluation, every one with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.judge import metrics
from regraft.judge.intervals import RESAMPLES, Interval, bootstrap, mean_interval, wilson

ESTIMATES = ("out-of-fold", "validation", "test")
TOP_K, CLASSES_FOR_TOP_K = 5, 10
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
        intervals: 95 % intervals of these; None where too few draws define one.
        per_class: by class name: precision, recall, f1, support, recall_interval, precision_interval.
        confusion: c rows of c counts, row the true class.
        majority_share: share of the largest class.
        positive: for two classes, the one that auc and average_precision are of.
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

        Intervals: shares of single photos by Wilson; everything else, and everything where `groups` (n,) say that
        photos are not independent, by the bootstrap (of groups).

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
        intervals = bootstrap(
            judge.figures,
            len(labels),
            resamples=resamples,
            seed=seed,
            groups=groups,
            distances={"ece": figures["ece"]},
        )
        confusion = metrics.confusion_matrix(labels, judge.predictions, len(classes))
        if groups is None:
            intervals["accuracy"] = wilson(float(np.trace(confusion)), len(labels))
        by_class = _per_class(confusion, classes, intervals if groups is not None else None)
        return cls(
            classes=tuple(classes),
            estimate=estimate,
            n=len(labels),
            figures={name: _plain(value) for name, value in figures.items() if not _is_class(name)},
            intervals={name: interval for name, interval in intervals.items() if not _is_class(name)},
            per_class=by_class,
            confusion=[[int(count) for count in row] for row in confusion],
            majority_share=float(confusion.sum(axis=1).max() / len(labels)),
            positive=positive,
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
        }

    def summary_lines(self) -> list[str]:
        """Return the numbers as lines for a terminal."""
        lines = [f"{self.estimate}, n = {self.n:,}, {len(self.classes):,} classes; 95 % intervals in brackets", ""]
        names = {
            "accuracy": "accuracy",
            "balanced_accuracy": "balanced accuracy",
            "top5_accuracy": "top-5 accuracy",
            "auc": f"ROC AUC ({self.positive})",
            "average_precision": f"average precision ({self.positive})",
            "log_loss": "log loss",
            "brier": "Brier score",
            "ece": "calibration error",
        }
        width = max(len(text) for name, text in names.items() if name in self.figures)
        for name, text in names.items():
            if name in self.figures:
                share = name in ("accuracy", "balanced_accuracy", "top5_accuracy", "ece")
                lines.append(f"  {text:<{width}}  {_shown(self.figures[name], self.intervals.get(name), share=share)}")
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


class Judge:
    """Everything that does not depend on the weights, computed once for all draws of the bootstrap."""

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray, positive: int | None) -> None:
        self.labels = labels
        self.classes = probabilities.shape[1]
        self.predictions = probabilities.argmax(axis=1)
        self._confidence = probabilities.max(axis=1)
        self._right = (self.predictions == labels).astype(float)
        self._bins = metrics.confidence_bins(probabilities)
        self._means = {
            "log_loss": metrics.photo_log_loss(labels, probabilities),
            "brier": metrics.photo_brier(labels, probabilities),
        }
        if self.classes >= CLASSES_FOR_TOP_K:
            self._means["top5_accuracy"] = metrics.photo_in_top(labels, probabilities, TOP_K)
        self._ranking = None if positive is None else metrics.Ranking(labels == positive, probabilities[:, positive])

    def figures(self, weights: np.ndarray | None) -> dict[str, float]:
        """Return every figure, each photo counted `weights` (n,) times."""
        confusion = metrics.confusion_matrix(self.labels, self.predictions, self.classes, weights)
        diagram = metrics.reliability_of(self._bins, self._confidence, self._right, bins=metrics.BINS, weights=weights)
        found = {
            "accuracy": metrics.accuracy(confusion),
            "balanced_accuracy": metrics.balanced_accuracy(confusion),
            **{name: float(np.average(values, weights=weights)) for name, values in self._means.items()},
            "ece": metrics.expected_calibration_error(diagram),
        }
        if self._ranking is not None:
            found["auc"] = self._ranking.auc(weights)
            found["average_precision"] = self._ranking.average_precision(weights)
        by_class = metrics.per_class(confusion)
        for kind, values in (("recall", by_class.recall), ("precision", by_class.precision)):
            found |= {f"{kind} {position}": float(value) for position, value in enumerate(values)}
        return found


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
    confusion: np.ndarray, classes: Sequence[str], bootstrapped: dict[str, Interval | None] | None
) -> dict[str, dict[str, Any]]:
    found = metrics.per_class(confusion)
    right = np.diag(confusion)

    def interval(kind: str, position: int, trials: float) -> list[float] | None:
        if trials == 0:
            return None
        if bootstrapped is None:
            return list(wilson(float(right[position]), float(trials)))
        pair = bootstrapped[f"{kind} {position}"]
        return None if pair is None else list(pair)

    return {
        name: {
            "precision": _plain(found.precision[k]),
            "recall": _plain(found.recall[k]),
            "f1": _plain(found.f1[k]),
            "support": int(found.support[k]),
            "recall_interval": interval("recall", k, found.support[k]),
            "precision_interval": interval("precision", k, found.predicted[k]),
        }
        for k, name in enumerate(classes)
    }


def _is_class(name: str) -> bool:
    return name.startswith(("recall ", "precision "))


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
