"""Networks and strategies side by side: the same folds for all, paired differences, and advice that these support."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.evaluation.metrics import METRICS
from regraft.evaluation.paired import paired_differences
from regraft.evaluation.pairwise import PairOfClassifiers, judge_pairs, metric_in_words
from regraft.evaluation.report import Report
from regraft.evaluation.report_lines import never_answered_lines
from regraft.networks.backbone import Backbone
from regraft.progress import Observer
from regraft.transfer.budget import Clock, OverBudgetError
from regraft.transfer.comparison import Comparison, ComparisonRow, advise
from regraft.transfer.cross_validation import CrossValidation, cross_validate, folds_of
from regraft.transfer.experiment import Experiment, open_run
from regraft.transfer.fold_workers import FoldJob, answer_ahead
from regraft.transfer.preparation import ExtractedSplits, extract_splits, open_splits
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import STRATEGIES, Candidate
from regraft.transfer.trainers import trainer_of

Size = int | None  # photos of each class; None for all
Key = tuple[str, str, Size]  # model, strategy, size


def compare(
    samples: Samples,
    loaders: Mapping[str, Callable[[], Backbone]],
    *,
    strategies: Sequence[str],
    sizes: Sequence[Size],
    settings: FitSettings,
    compute: Compute,
    budget: float | None = None,
    folder: Path | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Evaluate every strategy with every network at every size on the same outer folds.

    Args:
        samples: the photos; no others are looked at.
        loaders: what loads each network, by its name.
        strategies: some of `strategies.STRATEGIES`.
        sizes: photos of each class that are learned from, as far as there are so many outside of the fold that is held
            out; None for all. Of sizes that come to the same photos one is done: all, or else the smallest.
        settings: how to train.
        compute: where to.
        budget: seconds for all; what does not fit is evaluated on fewer folds, or left out, and reported. None: no
            limit.
        folder: where checkpoints go; None keeps none.
        observer: hears the progress.

    Raises:
        DataError: the photos cannot be used.
        OptionError: no such strategy, or a size that no class has.
    """
    observer = observer or Observer()
    _check(samples, strategies, sizes)
    settings.check_used(strategies, compute, named="strategies")
    settings.check_views_named()
    dataset, _ = open_splits({"train": samples}, settings, compute, observer)
    extracted: dict[str, ExtractedSplits] = {}
    for model, load in loaders.items():
        found = extract_splits(dataset, None, [load()], settings=settings, compute=compute, observer=observer)
        extracted[model], dataset = found, found.dataset
    # what any network's features joined stays on one side of every fold, for all
    experiments = {
        model: found.of(dataset, None).experiment(settings, compute, observer) for model, found in extracted.items()
    }
    run = open_run(folder, experiments)
    first = next(iter(experiments.values()))
    folds = first.folds()
    first.say_choices()
    clock = Clock(float("inf") if budget is None else budget)
    ordered = sorted(strategies, key=list(STRATEGIES).index)  # by cost: the advice takes the first that suffices
    learned, notes = _distinct(sizes, first.dataset.labels, folds)
    keys = [(m, s, size) for size in learned for s in ordered for m in experiments]
    outcomes: dict[Key, CrossValidation] = {}
    costly = [key for key in keys if STRATEGIES[key[1]].trains_network]  # the last layer takes seconds
    jobs = {
        (m, s, size): FoldJob(m, Candidate(s), folds_of(first.dataset, folds, size=size, seed=settings.seed))
        for m, s, size in keys
    }
    ahead = answer_ahead(experiments, jobs) if budget is None else {}
    for key in keys:
        model, strategy, size = key
        trainer = trainer_of(Candidate(strategy), experiments[model])
        part = clock.share(len(costly) - costly.index(key)) if key in costly else clock
        if budget is not None:
            ahead = answer_ahead(experiments, {key: jobs[key]}, part)
        try:
            outcomes[key] = cross_validate(
                trainer, experiments[model].dataset, folds, clock=part, size=size, seed=settings.seed, partial=True,
                observer=observer, ahead=ahead.get(key),
            )  # fmt: skip
        except OverBudgetError:
            notes.append(f"{_title(key, len(loaders))}: not one fold fits into {option('budget')}; left out")
            continue
        if outcomes[key].folds < len(np.unique(folds)):
            done, count = outcomes[key].folds, len(np.unique(folds))
            notes.append(f"{_title(key, len(loaders))}: {done} of {count} folds, for {option('budget')}")
    return replace(_compared(outcomes, first, notes, learned), run=run)


def _check(samples: Samples, strategies: Sequence[str], sizes: Sequence[Size]) -> None:
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown or not strategies:
        allowed = ", ".join(STRATEGIES)
        raise OptionError(f"{option('strategies')} must be some of {allowed}. Got {', '.join(unknown) or 'none'}.")
    largest = max(samples.counts().values())
    wrong = [size for size in sizes if size is not None and not 1 < size <= largest]
    if wrong or not sizes:
        got = ", ".join(map(str, wrong)) or "none"
        raise OptionError(
            f"{option('sizes')} must be photos of each class, from 2 to {largest:,} (the largest class), or all. "
            f"Got {got}."
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
            notes.append(f"{option('sizes')} {', '.join(others)}: the same photos as {kept or 'all'}; done once")
        if kept is not None and learned[kept] < kept:
            notes.append(
                f"{option('sizes')} {kept}: folds learn from {learned[kept]:,} photos of each class, as the others are "
                "held out"
            )
    return learned, notes


def _compared(
    outcomes: Mapping[Key, CrossValidation], experiment: Experiment, notes: list[str], learned: Mapping[Size, int]
) -> Comparison:
    dataset = experiment.dataset
    rows: list[ComparisonRow] = []
    models = len({model for model, _, _ in outcomes})
    for key, outcome in outcomes.items():
        report = _report(outcome, experiment)
        figures = _figures(key, outcome, report, learned[key[2]])
        rows += figures
        notes += [f"{_title(key, models)}: {note}" for note in _lacking(figures, report)]
    classes = len(dataset.classes)
    share = float(np.bincount(dataset.labels).max() / len(dataset)) if rows else None
    largest = [key for key in outcomes if key[2] == _largest(outcomes)]
    if not largest:
        return Comparison(rows, [], "", notes, classes, share)
    names = [_title(key, models, size=False) for key in largest]
    pairs = judge_pairs(
        [
            _pair_of((names[offset], outcomes[a]), (names[place], outcomes[b]), experiment)
            for place, b in enumerate(largest)
            for offset, a in enumerate(largest[place + 1 :], place + 1)
        ]
    )
    model, strategy, size = largest[0]
    first = [row for row in rows if (row.model, row.strategy, row.size) == (model, strategy, _named(size))]
    advice = advise(first, pairs, names, classes, networks=[model for model, _, _ in largest])
    return Comparison(rows, pairs, advice, notes, classes, share)


def _report(outcome: CrossValidation, experiment: Experiment) -> Report:
    """Return the figures of what was cross-validated."""
    mask, dataset, settings = outcome.answered, experiment.dataset, experiment.settings
    return Report.from_probabilities(
        outcome.probabilities[mask],
        dataset.labels[mask],
        dataset.classes,
        estimate="out-of-fold",
        positive=settings.positive,
        groups=None if dataset.groups is None else dataset.groups[mask],
        folds=experiment.folds()[mask],
        seed=settings.seed,
    )


def _figures(key: Key, outcome: CrossValidation, report: Report, learned: int) -> list[ComparisonRow]:
    """Return one row for every figure of what was cross-validated."""
    model, strategy, size = key
    rate = round(outcome.images / outcome.seconds, 1) if outcome.seconds else None
    rows = []
    for metric, value in report.figures.items():
        low, high = report.intervals[metric] or (None, None)
        missing = "not defined" if value is None else None
        if METRICS[metric].depends_on_temperature and not outcome.calibrated:
            value, low, high, missing = None, None, None, "not calibrated"  # noqa: PLW2901
        row = ComparisonRow(
            model, strategy, _named(size), learned, metric, value, low, high, missing, report.n,
            round(outcome.seconds, 3), rate, outcome.folds,
        )  # fmt: skip
        rows.append(row)
    return rows


def _lacking(figures: Sequence[ComparisonRow], report: Report) -> list[str]:
    """Return why some of these `figures` are missing, and which classes are never answered."""
    undefined = [metric_in_words(row.metric) for row in figures if row.missing == "not defined"]
    notes = []
    if any(row.missing == "not calibrated" for row in figures):
        notes.append(
            "a single fold has no others to set its temperature on; log loss, Brier score and calibration error are "
            "left out"
        )
    if undefined:
        notes.append(f"{' and '.join(undefined)} not defined: its photos are all of one class, or those of each fold")
    notes += [line.strip() for line in never_answered_lines(report.never_answered)]
    return notes


def _pair_of(
    first: tuple[str, CrossValidation], second: tuple[str, CrossValidation], experiment: Experiment
) -> PairOfClassifiers:
    """Return how far the first, a name and its outcome, exceeds the second in every figure that both have."""
    (a_name, a), (b_name, b) = first, second
    dataset, settings = experiment.dataset, experiment.settings
    both = a.answered & b.answered
    positive = None
    if len(dataset.classes) == 2:
        positive = list(dataset.classes).index(settings.positive) if settings.positive else 1
    found = paired_differences(
        a.probabilities[both],
        b.probabilities[both],
        dataset.labels[both],
        positive=positive,
        groups=None if dataset.groups is None else dataset.groups[both],
        folds=experiment.folds()[both],
        seed=settings.seed,
    )
    if not (a.calibrated and b.calibrated):  # a temperature of 1 against one that was set decides nothing
        found = {name: one for name, one in found.items() if not METRICS[name].depends_on_temperature}
    return PairOfClassifiers(a_name, b_name, found, int(both.sum()))


def _named(size: Size) -> int | str:
    return "all" if size is None else size


def _largest(outcomes: Mapping[Key, CrossValidation]) -> Size:
    sizes = [size for _, _, size in outcomes]
    return None if None in sizes else max((size for size in sizes if size is not None), default=None)


def _title(key: Key, models: int, *, size: bool = True) -> str:
    model, strategy, count = key
    name = strategy if models == 1 else f"{model} {strategy}"
    return f"{name}, {count} of each class" if size and count else name
