"""The figures of one evaluation, each with its interval: made of probabilities, written to JSON and read back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from regraft.errors import OptionError, did_you_mean, option, printable
from regraft.evaluation import metrics
from regraft.evaluation.intervals import RESAMPLES, Interval, bootstrap, mean_interval
from regraft.evaluation.metrics import METRICS, Metric, Predictions
from regraft.evaluation.proportions import interval_of, proportion_of, wider
from regraft.validation import ROUNDING, Bounds, Count, Fraction, convert

Estimate = Literal["out-of-fold", "validation", "test"]
ESTIMATES: tuple[Estimate, ...] = get_args(Estimate)
_CLASSES_SHOWN = 20
_WORST_SHOWN = 10
_CONFUSIONS_SHOWN = 3
_HEADLINES = 3  # title, empty line, accuracy
_SKILL_FLOOR = 1e-3  # one confident mistake must not outweigh hundreds of correct answers in the sanity check


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


class _Fields(Struct):
    """What `Report.to_json` writes, except the figures, which `METRICS` describes."""

    n: Annotated[int, Meta(ge=1)]
    classes: tuple[str, ...]
    estimate: Estimate
    accuracy: Fraction
    accuracy_interval: Bounds
    intervals: dict[str, Bounds]
    per_class: dict[str, ClassFigures]
    confusion: list[list[Count]]
    majority_share: Fraction
    majority_interval: Bounds = None
    reliability: tuple[ReliabilityBin, ...] = ()
    positive: str | None = None

    def __post_init__(self) -> None:
        """Check that all tables are of the same classes."""
        count = len(self.classes)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError(f"confusion must have {count} rows and columns, one for each class")
        if set(self.per_class) != set(self.classes):
            raise ValueError("per_class must have the classes")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError("positive must be one of the classes")


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
        reliability: the bins of confidence that hold photos.
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
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> "Report":
        """Evaluate (n, c) probabilities against (n,) labels, indices into `classes`.

        Photos of one group, (n,) `groups`, are not independent: they make every interval wider.

        Raises:
            ValueError: no photos, probabilities that are not finite, or an unknown `estimate`.
        """
        if estimate not in ESTIMATES:
            raise ValueError(f"estimate must be one of {ESTIMATES}. Got {estimate!r}.")
        if len(labels) == 0 or not np.isfinite(probabilities).all():
            raise ValueError(f"expected finite probabilities of one photo or more. Got shape {probabilities.shape}.")
        positive = (positive or classes[1]) if len(classes) == 2 else None
        column = list(classes).index(positive) if positive is not None else None
        predictions = Predictions(labels, probabilities, column)
        figures, intervals = _figures(predictions, groups=groups, seed=seed, resamples=resamples)
        confusion = metrics.confusion_matrix(labels, predictions.answers, len(classes))
        support = confusion.sum(axis=1)
        return cls(
            classes=tuple(classes),
            estimate=estimate,
            n=len(labels),
            figures=figures,
            intervals=intervals,
            per_class=_per_class(confusion, classes, predictions, groups),
            confusion=[[int(count) for count in row] for row in confusion],
            majority_share=float(support.max() / len(labels)),
            positive=positive,
            reliability=tuple(_reliability(predictions, groups)),
            majority_interval=interval_of(proportion_of(labels == support.argmax(), groups)),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Report":
        """Return the report that `to_json` wrote; other keys are ignored.

        Raises:
            ValueError: it is none; the text names the field, what is allowed and what was found.
        """
        fields = convert(data, _Fields)
        figures = msgspec.structs.asdict(convert(data, _figure_fields()))
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
            "per_class": {name: _row(figures) for name, figures in self.per_class.items()},
            "confusion": self.confusion,
            "majority_share": self.majority_share,
            "majority_interval": self.majority_interval and list(self.majority_interval),
            "positive": self.positive,
            "reliability": [_row(one) for one in self.reliability],
        }

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
        return "\n".join(map(printable, [*self._figure_lines(), "", *self._class_lines(), *self._confusion_lines()]))

    @property
    def headline(self) -> str:
        """Return the beginning of the table: what was evaluated, and the accuracy."""
        return "\n".join(map(printable, self._figure_lines()[:_HEADLINES]))

    def _figure_lines(self) -> list[str]:
        lines = [f"{self.estimate}, n = {self.n:,}, {len(self.classes):,} classes; 95 % intervals in brackets", ""]
        rows = list(self.rows())
        width = max(len(title) for _, title, _, _ in rows)
        for metric, title, value, interval in rows:
            lines.append(f"  {title:<{width}}  {_shown(value, interval, percent=metric.percent)}")
        return lines

    def _class_lines(self) -> list[str]:
        names = list(self.classes)
        title = ""
        if len(names) > _CLASSES_SHOWN:
            names.sort(key=lambda name: (self.per_class[name].recall is None, self.per_class[name].recall or 0))
            names, title = names[:_WORST_SHOWN], f"the {_WORST_SHOWN} classes that are missed most"
        width = max(*(len(name) for name in names), len(title), len("class"))
        lines = [f"  {title or 'class':<{width}}  photos  {'recall':<24}  precision      F1"]
        for name in names:
            row = self.per_class[name]
            recall = _shown(row.recall, row.recall_interval, percent=True)
            precision, f1 = _shown(row.precision, None, percent=True), _shown(row.f1, None, percent=False)
            lines.append(f"  {name:<{width}}  {row.support:>6,}  {recall:<24}  {precision:>9}  {f1:>6}")
        return lines

    def _confusion_lines(self) -> list[str]:
        table = np.array(self.confusion)
        np.fill_diagonal(table, 0)
        worst = [divmod(int(cell), len(self.classes)) for cell in np.argsort(-table, axis=None, kind="stable")]
        shown = [
            f"{self.classes[truth]} taken for {self.classes[answer]}: {table[truth, answer]:,}"
            for truth, answer in worst[:_CONFUSIONS_SHOWN]
            if table[truth, answer]
        ]
        return ["", "  " + "; ".join(shown)] if shown else []


@dataclass(frozen=True)
class Skill:
    """How much log loss (nats per photo) a classifier gains over the class proportions.

    Attributes:
        gain: mean over the photos.
        low: of its 95 % interval.
        high: of its 95 % interval.
    """

    gain: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Tell whether the interval lies above 0."""
        return self.low > 0


def beats_majority(probabilities: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None) -> Skill:
    """Compare (n, c) probabilities with always predicting the class proportions of `labels` (n,), photo by photo.

    The class proportions are the best that can be said without looking, and their top answer is the largest class. Log
    loss and not accuracy is compared: where 95 % of the photos are of one class, a useful ranking of the others may
    gain no accuracy at all. Probabilities below 1e-3 count as 1e-3.
    """
    proportions = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    constant = metrics.photo_log_loss(labels, np.broadcast_to(proportions, probabilities.shape), _SKILL_FLOOR)
    gain = mean_interval(constant - metrics.photo_log_loss(labels, probabilities, _SKILL_FLOOR), groups=groups)
    return Skill(gain.value, gain.low, gain.high)


def _figures(
    predictions: Predictions, *, groups: np.ndarray | None, seed: int, resamples: int
) -> tuple[dict[str, float | None], dict[str, Interval | None]]:
    """Return every figure and its 95 % interval, made as its row in `METRICS` says."""
    prepared = metrics.prepare(predictions)
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


def _per_class(
    confusion: np.ndarray, classes: Sequence[str], predictions: Predictions, groups: np.ndarray | None
) -> dict[str, ClassFigures]:
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


def _reliability(predictions: Predictions, groups: np.ndarray | None) -> Iterator[ReliabilityBin]:
    for number in np.unique(predictions.bins):
        chosen = predictions.bins == number
        yield ReliabilityBin(
            n=int(chosen.sum()),
            confidence=float(predictions.confidence[chosen].mean()),
            accuracy=float(predictions.correct[chosen].mean()),
            interval=interval_of(predictions.accuracy_of(chosen, groups)),
        )


def _figure_fields() -> type[Struct]:
    """Return a description of the figures in JSON: each within the limits of its metric, null or absent."""
    fields: list[tuple[str, Any, Any]] = []
    for metric in METRICS.values():
        low, high = metric.limits
        limited = Annotated[float, Meta(ge=low - ROUNDING, le=high + ROUNDING)]
        fields.append((metric.name, limited | None | UnsetType, UNSET))
    return msgspec.defstruct("Figures", fields)


def _row(row: ClassFigures | ReliabilityBin) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(row).items()}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shown(value: float | None, interval: Interval | None, *, percent: bool) -> str:
    if value is None:
        return "none"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    text = f"{scale * value:.{digits}f}{unit}"
    if interval is None:
        return text
    return f"{text} [{scale * interval[0]:.{digits}f}, {scale * interval[1]:.{digits}f}]"


def check_positive(positive: str | None, classes: Sequence[str]) -> None:
    """Raise `OptionError` unless `positive` is None or one of two `classes`."""
    if positive is not None and len(classes) != 2:
        raise OptionError(f"{option('positive')} is for two classes. There are {len(classes)}; leave it out.")
    if positive is not None and positive not in classes:
        hint = did_you_mean(positive, classes)
        raise OptionError(f"{option('positive')} must be one of {', '.join(classes)}. Got {positive!r}.{hint}")
