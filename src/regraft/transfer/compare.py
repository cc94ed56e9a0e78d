"""Networks and strategies side by side: the same folds for all, paired differences, and advice that these support."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.samples import Samples
from regraft.errors import OptionError
from regraft.evaluation.metrics import METRICS
from regraft.evaluation.paired import Difference, paired_differences
from regraft.evaluation.report import Report
from regraft.heads.probe import Labelled
from regraft.networks.backbones import Backbone
from regraft.progress import Observer
from regraft.training.checkpoints import Run, nowhere
from regraft.transfer.cross_validation import Clock, Outcome, cross_validate
from regraft.transfer.experiment import Experiment, gather, material_of, open_run
from regraft.transfer.settings import Settings
from regraft.transfer.strategies import Candidate, OverBudgetError, method_of

STRATEGIES = ("frozen", "top", "whole", "scratch")
Size = int | None  # photos of each class; None for all
Sized = tuple[str, str, Size]  # model, strategy, size


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was compared.

    Attributes:
        rows: one for each model, strategy, size and metric: model, strategy, size (photos of each class that were asked
            for, or "all"), learned_per_class (photos of the largest class that were learned from, the mean of the
            folds), metric, mean, low, high, missing (why there is no mean: "not defined" or "not calibrated"; None
            where there is one), seconds (of training, over all folds), images_per_second, folds, n.
        pairs: at the largest size: a, b, metric, difference (a - b), low, high, n (photos that judged both); none of a
            metric that one of the two lacks.
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
    sizes: Sequence[Size],
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
        sizes: photos of each class that are learned from, as far as there are so many outside of the fold that judges;
            None for all. Of sizes that come to the same photos one is done: all, or else the smallest.
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
    learned, notes = _distinct(sizes, next(iter(materials.values())).data.labels, folds)
    wanted = [(m, s, size) for size in learned for s in ordered for m in materials]
    outcomes: dict[Sized, Outcome] = {}
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
    return replace(_judge(outcomes, next(iter(materials.values())), settings, notes, learned), run=run)


def _check(samples: Samples, strategies: Sequence[str], sizes: Sequence[Size]) -> None:
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


def _distinct(sizes: Sequence[Size], labels: np.ndarray, folds: np.ndarray) -> tuple[dict[Size, int], list[str]]:
    """Return the sizes that differ in what is learned from, with `learned_per_class` of each, and notes on the rest."""
    counts = np.stack([np.bincount(labels[folds != fold], minlength=labels.max() + 1) for fold in np.unique(folds)])
    alike: dict[bytes, list[Size]] = {}
    for size in dict.fromkeys(sizes):
        taken = counts if size is None else np.minimum(counts, size)  # a larger size holds all of a smaller one's
        alike.setdefault(taken.tobytes(), []).append(size)
    learned: dict[Size, int] = {}
    notes: list[str] = []
    for same in alike.values():
        kept = None if None in same else min(size for size in same if size is not None)
        taken = counts if kept is None else np.minimum(counts, kept)
        learned[kept] = round(float(taken.mean(axis=0).max()))
        if others := [str(size) for size in same if size != kept]:
            notes.append(f"--sizes {', '.join(others)}: the same photos as {kept or 'all'}; done once")
        if kept is not None and learned[kept] < kept:
            notes.append(
                f"--sizes {kept}: folds learn from {learned[kept]:,} photos of each class, as the others judge"
            )
    return learned, notes


def _judge(
    outcomes: Mapping[Sized, Outcome],
    material: Experiment,
    settings: Settings,
    notes: list[str],
    learned: Mapping[Size, int],
) -> Comparison:
    rows: list[dict[str, Any]] = []
    models = len({model for model, _, _ in outcomes})
    for key, outcome in outcomes.items():
        figures = _figures(outcome, material.data, settings)
        model, strategy, size = key
        about = {"model": model, "strategy": strategy, "size": _named(size), "learned_per_class": learned[size]}
        rate = round(outcome.images / outcome.seconds, 1) if outcome.seconds else None
        cost = {"seconds": round(outcome.seconds, 3), "images_per_second": rate, "folds": outcome.folds}
        rows += [about | figure | cost for figure in figures]
        notes += [f"{_title(key, models)}: {note}" for note in _lacking(figures)]
    largest = [key for key in outcomes if key[2] == _largest(outcomes)]
    if not largest:
        return Comparison(rows, [], "", notes)
    names = [_title(key, models, size=False) for key in largest]
    pairs: list[dict[str, Any]] = []
    for place, b in enumerate(largest):
        for offset, a in enumerate(largest[place + 1 :], place + 1):
            found = _pairs(outcomes[a], outcomes[b], material.data, settings)
            pairs += [{"a": names[offset], "b": names[place]} | pair for pair in found]
    model, strategy, size = largest[0]
    where = {"model": model, "strategy": strategy, "size": _named(size)}
    first = [row for row in rows if where.items() <= row.items()]
    networks = [model for model, _, _ in largest]
    advice = advise(first, pairs, names, len(material.data.classes), networks=networks)
    return Comparison(rows, pairs, advice, notes)


def _figures(outcome: Outcome, data: Labelled, settings: Settings) -> list[dict[str, Any]]:
    """Return metric, mean, low, high, missing and n of every figure."""
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
    rows = []
    for metric, value in report.figures.items():
        low, high = report.intervals[metric] or (None, None)
        figure = {"mean": value, "low": low, "high": high, "missing": "not defined" if value is None else None}
        if METRICS[metric].depends_on_temperature and not outcome.calibrated:
            figure = {"mean": None, "low": None, "high": None, "missing": "not calibrated"}
        rows.append({"metric": metric, **figure, "n": int(mask.sum())})
    return rows


def _lacking(figures: Sequence[dict[str, Any]]) -> list[str]:
    """Return why some of these `figures` are missing."""
    undefined = [_words(row["metric"]) for row in figures if row["missing"] == "not defined"]
    notes = []
    if any(row["missing"] == "not calibrated" for row in figures):
        notes.append(
            "one fold alone has no others to set its temperature by; log loss, Brier score and calibration error are "
            "left out"
        )
    if undefined:
        notes.append(f"{' and '.join(undefined)} not defined: the photos that judged it are of one class only")
    return notes


def _pairs(a: Outcome, b: Outcome, data: Labelled, settings: Settings) -> list[dict[str, Any]]:
    """Return how far `a` exceeds `b` in every figure that both have."""
    both = a.judged & b.judged
    positive = None
    if len(data.classes) == 2:
        positive = list(data.classes).index(settings.positive) if settings.positive else 1
    differences = paired_differences(
        a.probabilities[both],
        b.probabilities[both],
        data.labels[both],
        positive=positive,
        groups=None if data.groups is None else data.groups[both],
        seed=settings.seed,
    )
    kept = [found for found in differences.values() if np.isfinite(found.value)]
    if not (a.calibrated and b.calibrated):  # a temperature of 1 against one that was set decides nothing
        kept = [found for found in kept if not METRICS[found.metric].depends_on_temperature]
    return [_pair(found, int(both.sum())) for found in kept]


def _pair(difference: Difference, n: int) -> dict[str, Any]:
    low, high = difference.interval or (None, None)
    found = {"metric": difference.metric, "difference": difference.value, "low": low, "high": high}
    return found | {"verdict": difference.verdict, "n": n}


def advise(
    rows: Sequence[dict[str, Any]],
    pairs: Sequence[dict[str, Any]],
    names: Sequence[str],
    classes: int,
    *,
    networks: Sequence[str] = (),
) -> str:
    """Return what to take, and what the others gain or lose against the first.

    Taken is the first of `names` that no other is proven better than: in accuracy, log loss or (for two classes)
    average precision, and proven worse in none of them. A metric that is missing has no say.

    Args:
        rows: of `Comparison`, of the first of `names`.
        pairs: of `Comparison`, where `b` stands before `a` in `names`.
        names: what is compared, the cheapest first.
        classes: c.
        networks: of each of `names`; none where it is the same for all.
    """
    metrics = ("accuracy", "average_precision" if classes == 2 else "balanced_accuracy", "log_loss")

    def proven(better: str, worse: str) -> bool:
        told = [pair for pair in pairs if pair["metric"] in metrics]
        found = {pair["verdict"] for pair in told if (pair["a"], pair["b"]) == (better, worse)}
        turned = {pair["verdict"] for pair in told if (pair["a"], pair["b"]) == (worse, better)}
        return ("better" in found and "worse" not in found) or ("worse" in turned and "better" not in turned)

    taken = next((name for name in names if not any(proven(other, name) for other in names)), names[0])
    first = {row["metric"]: row for row in rows if row["mean"] is not None}
    parts = [f"{names[0]}: " + ", ".join(_level(first[metric]) for metric in metrics[:2] if metric in first)]
    for name in names[1:]:
        told = {pair["metric"]: pair for pair in pairs if (pair["a"], pair["b"]) == (name, names[0])}
        parts.append(f"{name}: " + ", ".join(_said(told[metric]) for metric in metrics[:2] if metric in told))
    network = dict(zip(names, networks or [""] * len(names), strict=True))
    alike = [name for name in names if network[name] == network[taken]]  # what trains more or less of the same network
    more = ": more training is not worth it" if len(alike) > 1 and taken == alike[0] else ""
    return f"Take {taken}{more}. {'; '.join(parts)}."


def _level(row: dict[str, Any]) -> str:
    bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{_words(row['metric'])} {row['mean']:.3f}{bounds}"


def _said(pair: dict[str, Any]) -> str:
    half = "no interval" if pair["low"] is None else f"[{pair['low']:+.3f}, {pair['high']:+.3f}]"
    verdict = {"better": "proven", "worse": "proven worse"}.get(pair["verdict"], "not proven")
    return f"{_words(pair['metric'])} {pair['difference']:+.3f} {half}, {verdict}"


def _words(metric: str) -> str:
    return "AUC" if metric == "auc" else metric.replace("_", " ")


def _named(size: Size) -> int | str:
    return "all" if size is None else size


def _largest(outcomes: Mapping[Sized, Outcome]) -> Size:
    sizes = [size for _, _, size in outcomes]
    return None if None in sizes else max((size for size in sizes if size is not None), default=None)


def _title(key: Sized, models: int, *, size: bool = True) -> str:
    model, strategy, count = key
    name = strategy if models == 1 else f"{model} {strategy}"
    return f"{name}, {count} of each class" if size and count else name
