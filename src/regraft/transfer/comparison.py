"""What was compared: figures, paired differences, and the advice that these support."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from regraft.errors import printable
from regraft.evaluation.pairwise import PairedDifference, decision_in_words, metric_in_words
from regraft.evaluation.report_lines import padded
from regraft.training.checkpoints import Run, nowhere


@dataclass(frozen=True)
class ComparisonRow:
    """One figure of one model, strategy and size.

    Attributes:
        model: as the user named it.
        strategy: how it was trained.
        size: photos of each class that were asked for, or "all".
        learned_per_class: photos of the largest class that were learned from, the mean of the folds.
        metric: the figure's name.
        mean: the figure; None where there is none.
        low: of its 95 % interval; None where it is not known.
        high: likewise.
        missing: why there is no figure, "not defined" or "not calibrated"; None where there is one.
        n: photos that it is of.
        seconds: of training, over all folds.
        images_per_second: of training; None where it took no time.
        folds: how many were done.
    """

    model: str
    strategy: str
    size: int | str
    learned_per_class: int
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    missing: str | None
    n: int
    seconds: float
    images_per_second: float | None
    folds: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was compared.

    Attributes:
        rows: one for each model, strategy, size and metric.
        pairs: at the largest size, of all metrics that both have.
        advice: one sentence that the numbers support.
        notes: what was left out, and why.
        classes: how many there are.
        majority_share: share of the largest class: the accuracy of always answering it; None where nothing was done.
        run: the checkpoints, to be removed (`run.finish()`) when the result is safely written.
    """

    rows: list[ComparisonRow]
    pairs: list[PairedDifference]
    advice: str
    notes: list[str] = field(default_factory=list)
    classes: int = 2
    majority_share: float | None = None
    run: Run = field(default_factory=nowhere)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "pairs": [asdict(pair) for pair in self.pairs],
            "advice": self.advice,
            "notes": self.notes,
            "majority_share": self.majority_share,
        }

    def __str__(self) -> str:
        """Return the table, the notes and the advice for a terminal."""
        return "\n".join([self.table(), "", *map(printable, [*self.notes, self.advice])]).rstrip()

    def table(self) -> str:
        """Return one aligned line for each model, strategy and size."""
        metrics = ["accuracy", "average_precision" if self.classes == 2 else "balanced_accuracy", "log_loss"]
        grouped: dict[tuple[str, str, int | str], dict[str, ComparisonRow]] = {}
        for row in self.rows:
            grouped.setdefault((row.model, row.strategy, row.size), {})[row.metric] = row
        several = len({model for model, _, _ in grouped}) > 1
        lines = [["strategy", "photos/class", *(m.replace("_", " ") for m in metrics), "folds", "seconds", "images/s"]]
        for (model, strategy, size), by_metric in grouped.items():
            row = by_metric[metrics[0]]
            name = printable(f"{strategy} ({model})" if several else strategy)
            rate = "" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
            photos = str(size) if size == row.learned_per_class else f"{size} ({row.learned_per_class:,})"
            figures = [_figure(by_metric[metric]) for metric in metrics]
            lines.append([name, photos, *figures, str(row.folds), f"{row.seconds:,.1f}", rate])
        if self.majority_share is not None and grouped:
            blank = [""] * (len(lines[0]) - 3)
            lines.append(["always the largest class", "", f"{self.majority_share:.3f}", *blank])
        return "\n".join(padded(lines))


def advise(
    rows: Sequence[ComparisonRow],
    pairs: Sequence[PairedDifference],
    names: Sequence[str],
    classes: int,
    *,
    networks: Sequence[str] = (),
) -> str:
    """Return what to take, which figure decides, and what the others gain or lose against the first.

    Taken is the first of `names` that no other is proven better than, in the figure that decides: see `judge_pairs`.

    Args:
        rows: of `Comparison`, of the first of `names`.
        pairs: of `Comparison`, where `b` stands before `a` in `names`.
        names: what is compared, the cheapest first.
        classes: c.
        networks: of each of `names`; none where it is the same for all.
    """
    deciding = [pair for pair in pairs if pair.decides]
    better = {(pair.a, pair.b) for pair in deciding if pair.verdict == "better"}
    better |= {(pair.b, pair.a) for pair in deciding if pair.verdict == "worse"}
    taken = next((name for name in names if not any((other, name) in better for other in names)), names[0])
    shown = ("accuracy", "average_precision" if classes == 2 else "balanced_accuracy")
    metrics = list(dict.fromkeys([*(pair.metric for pair in deciding), *shown]))
    first = {row.metric: row for row in rows if row.mean is not None}
    parts = [f"{names[0]}: " + ", ".join(_level(first[metric]) for metric in metrics if metric in first)]
    for name in names[1:]:
        against = {pair.metric: pair for pair in pairs if (pair.a, pair.b) == (name, names[0])}
        parts.append(f"{name}: " + ", ".join(str(against[metric]) for metric in metrics if metric in against))
    network = dict(zip(names, networks or [""] * len(names), strict=True))
    alike = [name for name in names if network[name] == network[taken]]  # what trains more or less of the same network
    more = ": more training is not proven to help" if len(alike) > 1 and taken == alike[0] else ""
    decision = decision_in_words(pairs)
    return f"Take {taken}{more}. {decision}{' ' if decision else ''}{'; '.join(parts)}."


def _level(row: ComparisonRow) -> str:
    return f"{metric_in_words(row.metric)} {_figure(row)}"


def _figure(row: ComparisonRow) -> str:
    if row.mean is None:
        return str(row.missing)
    bounds = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
    return f"{row.mean:.3f}{bounds}"
