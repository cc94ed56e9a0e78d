"""The figures of one evaluation, each with its interval: made of probabilities, written to JSON and read back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from regraft.errors import OptionError, did_you_mean, option, printable
from regraft.evaluation import metrics
from regraft.evaluation.conformal import ConformalFigures
from regraft.evaluation.decisions import MOST_PROBABLE
from regraft.evaluation.figures import ClassFigures, ReliabilityBin, figures_by_class, figures_of, reliability_bins
from regraft.evaluation.intervals import RESAMPLES, Interval
from regraft.evaluation.metrics import METRICS, Metric, Predictions
from regraft.evaluation.operating_points import OperatingPoints
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.evaluation.report_fields import ESTIMATES, Estimate, ReportFields, figure_fields
from regraft.evaluation.report_lines import (
    cases_held,
    class_lines,
    confusion_lines,
    estimate_note,
    never_answered_lines,
    shown,
    wrapped,
)
from regraft.evaluation.trade_offs import TradeOffs
from regraft.validation import convert, json_fields

_HEADLINES = 3  # an empty line, accuracy, that of always answering the largest class


@dataclass(frozen=True)
class Report:
    """The figures of one evaluation.

    Attributes:
        classes: c names, in class order.
        estimate: "out-of-fold", "validation" or "test".
        n: number of photos.
        figures: by name, those of `METRICS` that these classes have; None where one is undefined.
        intervals: 95 % intervals of these; None where too little is known: a single group, or too few draws define one.
        per_class: by class name.
        confusion: c rows of c counts, row the true class.
        majority_share: proportion of photos of the largest class: the accuracy of always answering it.
        majority_interval: of it, made as that of the accuracy; None where too little is known.
        positive: for two classes, the one that auc and average_precision are of.
        reliability: the bins of confidence that hold photos, of the most probable classes.
        decided_by: the rule that answered, in words; "" where the most probable class is the answer. Accuracy, recalls
            and the confusion matrix are of these answers.
        operating_points: what it takes to find one class; None where that was not asked.
        trade_offs: of two classes the curves of the positive one; None where they were not asked.
        conformal: what sets of a stated coverage come to; None where too few photos are known to promise it, or that
            was not asked.
        folds: out-of-fold, how many classifiers answered, each the photos of its fold; None where one answered all, and
            in older files.
        independent: whether no photo shares a group with another; False in older files, too.
    """

    classes: tuple[str, ...]
    estimate: Estimate
    n: int
    figures: dict[str, float | None]
    intervals: dict[str, Interval | None]
    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]
    majority_share: float
    positive: str | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    majority_interval: Interval | None = None
    folds: int | None = None
    decided_by: str = ""
    operating_points: OperatingPoints | None = None
    trade_offs: TradeOffs | None = None
    conformal: ConformalFigures | None = None
    independent: bool = False

    @property
    def never_answered(self) -> list[str]:
        """Return the classes that have photos here, and that no photo was answered with."""
        answered = np.array(self.confusion).sum(axis=0)
        return [
            name
            for name, count in zip(self.classes, answered, strict=True)
            if not count and self.per_class[name].support
        ]

    @property
    def accuracy(self) -> float:
        """Return the proportion of correct answers."""
        return float(self.figures["accuracy"] or 0.0)

    @classmethod
    def from_probabilities(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        *,
        estimate: Estimate,
        positive: str | None = None,
        groups: np.ndarray | None = None,
        folds: np.ndarray | None = None,
        decisions: np.ndarray | None = None,
        decided_by: str = "",
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> "Report":
        """Evaluate (n, c) probabilities against (n,) labels, indices into `classes`.

        Photos of one group, (n,) `groups`, are not independent: they make every interval wider. Where a classifier for
        each fold answered, (n,) `folds` are their numbers: only photos of one fold are ranked against each other.
        `decisions` (n,) are the answers where they are not the most probable classes, and `decided_by` says whose.

        Raises:
            ValueError: no photos, probabilities that are not finite, or an unknown `estimate`.
        """
        if estimate not in ESTIMATES:
            raise ValueError(f"estimate must be one of {ESTIMATES}. Got {estimate!r}.")
        if len(labels) == 0 or not np.isfinite(probabilities).all():
            raise ValueError(f"expected finite probabilities of one photo or more. Got shape {probabilities.shape}.")
        positive = (positive or classes[1]) if len(classes) == 2 else None
        column = list(classes).index(positive) if positive is not None else None
        predictions = Predictions(labels, probabilities, column, decisions, folds)
        figures, intervals = figures_of(predictions, groups=groups, seed=seed, resamples=resamples)
        confusion = metrics.confusion_matrix(labels, predictions.answers, len(classes))
        support = confusion.sum(axis=1)
        return cls(
            classes=tuple(classes),
            estimate=estimate,
            n=len(labels),
            figures=figures,
            intervals=intervals,
            per_class=figures_by_class(confusion, classes, predictions, groups),
            confusion=[[int(count) for count in row] for row in confusion],
            majority_share=float(support.max() / len(labels)),
            positive=positive,
            reliability=tuple(reliability_bins(predictions, groups)),
            majority_interval=interval_of(proportion_of(labels == support.argmax(), groups)),
            folds=None if folds is None else len(np.unique(folds)),
            decided_by=decided_by,
            independent=groups is None or len(np.unique(groups)) == len(labels),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Report":
        """Return the report that `to_json` wrote; other keys are ignored.

        Raises:
            ValueError: it is none; the text names the field, what is allowed and what was found.
        """
        fields = convert(data, ReportFields)
        figures = msgspec.structs.asdict(convert(data, figure_fields()))
        intervals = {"accuracy": fields.accuracy_interval} | fields.intervals
        return cls(
            classes=fields.classes,
            estimate=fields.estimate,
            n=fields.n,
            figures={name: value for name, value in figures.items() if value is not UNSET},
            intervals={name: intervals[name] for name in METRICS if name in intervals},
            per_class=fields.per_class,
            confusion=fields.confusion,
            majority_share=fields.majority_share,
            positive=fields.positive,
            reliability=fields.reliability,
            majority_interval=fields.majority_interval,
            folds=fields.folds,
            decided_by=fields.decided_by,
            operating_points=fields.operating_points,
            trade_offs=fields.trade_offs,
            conformal=fields.conformal,
            independent=fields.independent,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, undefined figures as None."""
        bounds = {name: None if pair is None else list(pair) for name, pair in self.intervals.items()}
        return {
            "n": self.n,
            "classes": list(self.classes),
            "estimate": self.estimate,
            "estimate_note": self.estimate_note,
            "folds": self.folds,
            "independent": self.independent,
            "accuracy": self.figures["accuracy"],
            "accuracy_interval": bounds["accuracy"],
            **{name: value for name, value in self.figures.items() if name != "accuracy"},
            "intervals": bounds,
            "per_class": {name: json_fields(figures) for name, figures in self.per_class.items()},
            "confusion": self.confusion,
            "majority_share": self.majority_share,
            "majority_interval": self.majority_interval and list(self.majority_interval),
            "positive": self.positive,
            "reliability": [json_fields(one) for one in self.reliability],
            "decided_by": self.decided_by or MOST_PROBABLE,
            "never_answered": self.never_answered,
            "operating_points": self.operating_points and self.operating_points.to_json(),
            "trade_offs": self.trade_offs and self.trade_offs.to_json(),
            "conformal": self.conformal and self.conformal.to_json(),
        }

    @property
    def estimate_note(self) -> str:
        """Return whose figures these are and how far the intervals go, in sentences; "" where nothing is to be said."""
        return estimate_note(self.estimate, self.folds, self.cases_held)

    @property
    def cases_held(self) -> int | None:
        """Return in how many of 100 cases the accuracy's interval holds that of the classifier that is written.

        None where that is about 95 or was not simulated, as with groups, and where a rule decides.
        """
        return cases_held(self.estimate, self.n) if self.independent and not self.decided_by else None

    def rows(self) -> Iterator[tuple[Metric, str, float | None, Interval | None]]:
        """Yield metric, title, figure and interval as people see them: what is better when higher comes first.

        Below the accuracy stands that of always answering the largest class.
        """
        for metric in sorted(METRICS.values(), key=lambda metric: metric.lower_is_better):
            if metric.name in self.figures:
                title = metric.title.format(positive=self.positive)
                yield metric, title, self.figures[metric.name], self.intervals.get(metric.name)
            if metric.name == "accuracy":
                yield metric, "always the largest class", self.majority_share, self.majority_interval

    def __str__(self) -> str:
        """Return the table for a terminal; no name in it can steer one."""
        return "\n".join(
            map(
                printable,
                [
                    *self._figure_lines(),
                    "",
                    *class_lines(self.classes, self.per_class),
                    *confusion_lines(self.classes, self.confusion),
                    *(never_answered_lines(self.never_answered)),
                    *(["", *self.operating_points.lines()] if self.operating_points else []),
                    *(["", f"  {self.conformal.line()}"] if self.conformal else []),
                ],
            )
        )

    @property
    def figure_table(self) -> str:
        """Return the figures of all classes together, for a terminal."""
        return "\n".join(map(printable, self._figure_lines()))

    @property
    def headline(self) -> str:
        """Return the beginning of the table: what was evaluated, and the accuracy beside its baseline."""
        lines = self._figure_lines()
        return "\n".join(map(printable, lines[: lines.index("") + _HEADLINES]))

    def _figure_lines(self) -> list[str]:
        title = f"{self.estimate}, n = {self.n:,}, {len(self.classes):,} classes; 95 % intervals in brackets"
        lines = [title, *wrapped(self.estimate_note), ""]
        rows = list(self.rows())
        width = max(len(title) for _, title, _, _ in rows)
        for metric, title, value, interval in rows:
            lines.append(f"  {title:<{width}}  {shown(value, interval, percent=metric.percent)}")
        return [*lines, f"  decided by {self.decided_by}"] if self.decided_by else lines


def check_positive(positive: str | None, classes: Sequence[str]) -> None:
    """Raise `OptionError` unless `positive` is None or one of two `classes`."""
    if positive is not None and len(classes) != 2:
        raise OptionError(f"{option('positive')} is for two classes. There are {len(classes)}; leave it out.")
    if positive is not None and positive not in classes:
        hint = did_you_mean(positive, classes)
        raise OptionError(f"{option('positive')} must be one of {', '.join(classes)}. Got {positive!r}.{hint}")
