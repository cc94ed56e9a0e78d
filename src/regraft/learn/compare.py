"""Networks and strategies side by side: the same folds for all, paired differences, and advice that these support."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.samples import Samples
from regraft.errors import OptionError
from regraft.judge.paired import Difference, paired_differences
from regraft.judge.report import Report
from regraft.learn.checkpoint import Run, nowhere
from regraft.learn.comparison import Clock, Outcome, cross_validate
from regraft.learn.material import Material, gather, material_of, open_run
from regraft.learn.methods import Candidate, OverBudgetError, method_of
from regraft.learn.observer import Observer
from regraft.learn.settings import Settings
from regraft.models.backbones import Backbone

STRATEGIES = ("frozen", "top", "whole", "scratch")
Sized = tuple[str, str, int | None]  # model, strategy, photos of each class (None: all)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was compared.

    Attributes:
        rows: one for each model, strategy, size and metric: model, strategy, size (photos of each class, or "all"),
            metric, mean, low, high, seconds (of training, over all folds), images_per_second, folds, n.
        pairs: at the largest size: a, b, metric, difference (a - b), low, high, n (photos that judged both).
        advice: one sentence that the numbers support.
        notes: what was left out, and why.
        run: the checkpoints, to be removed (`run.finish()`) when the result is safely written.
    """

    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    advice: str
    notes: list[str] = field(default_factory=list)
    run: Run = field(default_factory=nowhere)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"rows": self.rows, "pairs": self.pairs, "advice": self.advice, "notes": self.notes}


def compare(
    samples: Samples,
    loaders: Mapping[str, Callable[[], Backbone]],
    *,
    strategies: Sequence[str],
    sizes: Sequence[int | None],
    settings: Settings,
    budget: float | None = None,
    folder: Path | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Judge every strategy with every network at every size by the same outer folds.

    Args:
        samples: the photos; no others are looked at.
        loaders: what loads each network, by its name.
        strategies: some of "frozen", "top", "whole" and "scratch".
        sizes: photos of each class that are learned from; None for all.
        settings: how to train.
        budget: seconds for all; what does not fit is judged by fewer folds, or left out, and said so. None: no limit.
        folder: where checkpoints go; None keeps none.
        observer: hears the progress.

    Raises:
        DataError: the photos cannot be used.
        OptionError: no such strategy, or a size that no class has.
    """
    observer = observer or Observer()
    _check(samples, strategies, sizes)
    gathered = {model: gather({"train": samples}, load, settings, observer) for model, load in loaders.items()}
    run = open_run(folder, gathered, settings, observer)
    materials = {model: material_of(found, settings, run, observer) for model, found in gathered.items()}
    folds = next(iter(materials.values())).folds()
    clock = Clock(float("inf") if budget is None else budget)
    ordered = sorted(strategies, key=STRATEGIES.index)  # by cost: the advice takes the first that suffices
    wanted = [(m, s, size) for size in sizes for s in ordered for m in materials]
    outcomes: dict[Sized, Outcome] = {}
    notes: list[str] = []
    costly = [key for key in wanted if key[1] != "frozen"]  # the last layer takes seconds
    for model, strategy, size in wanted:
        method = method_of(Candidate(strategy), materials[model])
        key = (model, strategy, size)
        part = clock.share(len(costly) - costly.index(key)) if key in costly else clock
        try:
            outcomes[key] = cross_validate(
                method, materials[model].data, folds, clock=part, size=size, seed=settings.seed, partial=True
            )
        except OverBudgetError:
            notes.append(f"{_title(key, len(loaders))}: not one fold fits into --budget; left out")
            continue
        if outcomes[key].folds < len(np.unique(folds)):
            notes.append(
                f"{_title(key, len(loaders))}: {outcomes[key].folds} of {len(np.unique(folds))} folds, for --budget"
            )
    return replace(_judge(outcomes, next(iter(materials.values())), settings, notes), run=run)


def _check(samples: Samples, strategies: Sequence[str], sizes: Sequence[int | None]) -> None:
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown or not strategies:
        raise OptionError(f"--strategies must be some of {', '.join(STRATEGIES)}. Got {', '.join(unknown) or 'none'}.")
    largest = max(samples.counts().values())
    wrong = [size for size in sizes if size is not None and not 1 < size <= largest]
    if wrong or not sizes:
        got = ", ".join(map(str, wrong)) or "none"
        raise OptionError(
            f"--sizes must be photos of each class, from 2 to {largest:,} (the largest class), or all. Got {got}."
        )


def _judge(outcomes: Mapping[Sized, Outcome], material: Material, settings: Settings, notes: list[str]) -> Comparison:
    data = material.data
    positive = None
    if len(data.classes) == 2:
        positive = list(data.classes).index(settings.positive) if settings.positive else 1
    rows: list[dict[str, Any]] = []
    for (model, strategy, size), outcome in outcomes.items():
        mask = outcome.judged
        report = Report.from_probabilities(
            outcome.probabilities[mask],
            data.labels[mask],
            data.classes,
            estimate="out-of-fold",
            positive=settings.positive,
            groups=None if data.groups is None else data.groups[mask],
            seed=settings.seed,
        )
        for metric, value in report.figures.items():
            low, high = report.intervals[metric] or (None, None)
            about = {"model": model, "strategy": strategy, "size": "all" if size is None else size}
            figures = {"metric": metric, "mean": value, "low": low, "high": high, "n": int(mask.sum())}
            rate = round(outcome.images / outcome.seconds, 1) if outcome.seconds else None
            cost = {"seconds": round(outcome.seconds, 3), "images_per_second": rate, "folds": outcome.folds}
            rows.append(about | figures | cost)
    models = len({model for model, _, _ in outcomes})
    pairs, advice = [], ""
    largest = [key for key in outcomes if key[2] == _largest(outcomes)]
    for place, b in enumerate(largest):
        for a in largest[place + 1 :]:
            both = outcomes[a].judged & outcomes[b].judged
            differences = paired_differences(
                outcomes[a].probabilities[both],
                outcomes[b].probabilities[both],
                data.labels[both],
                positive=positive,
                groups=None if data.groups is None else data.groups[both],
                seed=settings.seed,
            )
            names = {"a": _title(a, models, size=False), "b": _title(b, models, size=False)}
            pairs += [names | _pair(found, int(both.sum())) for found in differences.values()]
    if largest:
        model, strategy, size = largest[0]
        where = {"model": model, "strategy": strategy, "size": "all" if size is None else size}
        first = [row for row in rows if where.items() <= row.items()]
        advice = advise(first, pairs, [_title(key, models, size=False) for key in largest], len(data.classes))
    return Comparison(rows, pairs, advice, notes)


def _pair(difference: Difference, n: int) -> dict[str, Any]:
    low, high = difference.interval or (None, None)
    found = {"metric": difference.metric, "difference": difference.value, "low": low, "high": high}
    return found | {"verdict": difference.verdict, "n": n}


def advise(rows: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]], names: Sequence[str], classes: int) -> str:
    """Return what to take, and what the others gain or lose against the first.

    Taken is the first of `names` that no other is proven better than: in accuracy, log loss or (for two classes)
    average precision, and proven worse in none of them.

    Args:
        rows: of `Comparison`, of the first of `names`.
        pairs: of `Comparison`, where `b` stands before `a` in `names`.
        names: what is compared, the cheapest first.
        classes: c.
    """
    metrics = ("accuracy", "average_precision" if classes == 2 else "balanced_accuracy", "log_loss")

    def proven(better: str, worse: str) -> bool:
        told = [pair for pair in pairs if pair["metric"] in metrics]
        found = {pair["verdict"] for pair in told if (pair["a"], pair["b"]) == (better, worse)}
        turned = {pair["verdict"] for pair in told if (pair["a"], pair["b"]) == (worse, better)}
        return ("better" in found and "worse" not in found) or ("worse" in turned and "better" not in turned)

    taken = next((name for name in names if not any(proven(other, name) for other in names)), names[0])
    first = {row["metric"]: row for row in rows}
    parts = [f"{names[0]}: " + ", ".join(_level(first[metric]) for metric in metrics[:2])]
    for name in names[1:]:
        told = {pair["metric"]: pair for pair in pairs if (pair["a"], pair["b"]) == (name, names[0])}
        parts.append(f"{name}: " + ", ".join(_said(told[metric]) for metric in metrics[:2]))
    more = ": more training is not worth it" if taken == names[0] and len(names) > 1 else ""
    return f"Take {taken}{more}. {'; '.join(parts)}."


def _level(row: dict[str, Any]) -> str:
    bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['metric'].replace('_', ' ')} {row['mean']:.3f}{bounds}"


def _said(pair: dict[str, Any]) -> str:
    half = "no interval" if pair["low"] is None else f"[{pair['low']:+.3f}, {pair['high']:+.3f}]"
    verdict = {"better": "proven", "worse": "proven worse"}.get(pair["verdict"], "not proven")
    return f"{pair['metric'].replace('_', ' ')} {pair['difference']:+.3f} {half}, {verdict}"


def _largest(outcomes: Mapping[Sized, Outcome]) -> int | None:
    sizes = [size for _, _, size in outcomes]
    return None if None in sizes else max((size for size in sizes if size is not None), default=None)


def _title(key: Sized, models: int, *, size: bool = True) -> str:
    model, strategy, count = key
    name = strategy if models == 1 else f"{model} {strategy}"
    return f"{name}, {count} of each class" if size and count else name
