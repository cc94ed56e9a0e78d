"""A classifier fitted again with the labels that people gave, on features that are known, and what that changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.labels import make_labels
from regraft.data.dataset import Dataset
from regraft.data.samples import natural_order
from regraft.data.taxonomy import Taxonomy, distances_between
from regraft.errors import DataError, OptionError, SmallClassesError, option
from regraft.evaluation.metrics import Predictions, prepare
from regraft.evaluation.paired import Difference, paired_differences
from regraft.evaluation.pairwise import metric_in_words
from regraft.heads.coordinates import CoordinateCache
from regraft.images.sources import Source
from regraft.review.decision import Action, Decision
from regraft.transfer.experiment import Experiment
from regraft.transfer.fit import FitResult, fit_experiment

FROZEN = "frozen"
_TEXT = ("accuracy", "balanced_accuracy", "log_loss")


@dataclass(frozen=True, eq=False)
class RetrainOutcome:
    """What became of a classifier.

    Attributes:
        result: the new classifier, its figures, and what it was made of.
        change: of each figure, the new one less the old one with a 95 % interval, on the same photos and labels.
        figures: the new one's on these photos, by name.
        compared: how many photos these are.
        relabelled: how many of the photos have another label than they were found with.
        excluded: how many photos people left out.
        unknown: how many decisions are about photos that are not among these: a new fit reads them.
        seconds: of the whole work.
    """

    result: FitResult
    change: Mapping[str, Difference]
    figures: Mapping[str, float]
    compared: int
    relabelled: int
    excluded: int
    unknown: int
    seconds: float

    def __str__(self) -> str:
        """Return what changed, in lines."""
        lines = [f"on {self.compared:,} photos, by their labels as they are now (95 % intervals):"]
        for name in _TEXT:
            if name in self.change:
                one = self.change[name]
                interval = "" if one.interval is None else f" [{one.interval[0]:+.3f}, {one.interval[1]:+.3f}]"
                lines.append(f"  {metric_in_words(name)} {one.value:+.3f}{interval}: {one.verdict}")
        return "\n".join(lines)


def retrain(
    base: FitResult,
    decisions: Mapping[bytes, Decision],
    *,
    before: FitResult | None = None,
    labels: Mapping[bytes, str | None] | None = None,
    found: Mapping[bytes, str] | None = None,
) -> RetrainOutcome:
    """Fit the last layer again with the labels of decisions, on the features that `base` was made of.

    Network, views, choice of features, seed and all other settings are those of `base`; no photo is opened. Old and new
    classifier are compared by answers to photos that neither learned from, out-of-fold or of the validation split, and
    by the labels that the decisions left: where wrong labels were corrected, both are judged by the right ones.

    Args:
        base: the first fit, of the labels that were found. Decisions are always applied to these, so that one that was
            undone is forgotten.
        decisions: what counts for each photo and its copies, by content key, as `DecisionStore.state` has it.
        before: what the new classifier is compared with, made of the same photos; None for `base`.
        labels: by content key, what photos are learned as, whatever `base` and decisions say; None for what takes no
            part.
        found: by content key, the labels that photos were found with, where `base` is of others.

    Raises:
        OptionError: a classifier whose network was trained further, or settings that name a class that is gone.
        DataError: the photos that are left cannot be learned from, or evaluate nothing.
        SmallClassesError: it is some classes that are too small, or of which no photo is learned from.
        GoalError: no threshold meets the goal of the settings any more.
        SanityError: what was learned is no better than always saying the largest class.
    """
    started = time.monotonic()
    before = before or base
    if base.classifier.strategy != FROZEN:
        raise OptionError(
            f"the classifier was fitted with {option('strategy', base.classifier.strategy)}, which takes as long as it "
            f"took. Fit with {option('strategy', FROZEN)} to fit again while photos are reviewed."
        )
    experiment = corrected_experiment(base, decisions, labels=labels)
    result = fit_experiment(experiment, model=base.classifier.model)
    take_label_type(result.classifier, base.classifier)
    change, figures, compared = _change(result, before)
    first = _labels_of(base.experiment)
    known = {key for key, _ in first}
    found = {key: label for (key, _), label in first.items()} if found is None else found
    excluded = {key for key, one in decisions.items() if one.action is Action.exclude}
    waiting = {key for key, label in (labels or {}).items() if label is None}
    return RetrainOutcome(
        result=result,
        change=change,
        figures=figures,
        compared=compared,
        relabelled=sum(found.get(key, now) != now for (key, _), now in _labels_of(experiment).items()),
        excluded=sum(key in excluded for key, _ in first) + len((excluded & found.keys()) - known),
        unknown=len(decisions.keys() - known - excluded - waiting),
        seconds=time.monotonic() - started,
    )


def take_label_type(classifier: Classifier, like: Classifier) -> None:
    """Have a classifier answer with labels of another's type, where all its classes' names are of that."""
    try:
        if classifier.classes != like.classes:
            make_labels(classifier.classes, like.label_type, like.label_dtype)
    except ValueError:
        return
    classifier.label_type, classifier.label_dtype = like.label_type, like.label_dtype


def tree_of(classes: Sequence[str], taxonomy: Taxonomy | None) -> Taxonomy | None:
    """Return the tree where it has all classes; None else, as of one that people began."""
    return taxonomy if taxonomy is not None and all(name in taxonomy for name in classes) else None


def _labels_of(experiment: Experiment) -> dict[tuple[bytes, Source], str]:
    """Return the name of the class of each photo that is learned from or evaluates."""
    return {
        (key, source): part.classes[label]
        for part in (experiment.dataset, experiment.validation)
        if part is not None
        for key, source, label in zip(part.keys, part.samples.sources, part.labels.tolist(), strict=True)
    }


def corrected_experiment(
    base: FitResult, decisions: Mapping[bytes, Decision], *, labels: Mapping[bytes, str | None] | None = None
) -> Experiment:
    """Return the photos and features of a fit with the labels of decisions by content key, to fit a last layer on.

    Args:
        base: the fit.
        decisions: by content key.
        labels: by content key, what photos are learned as whatever else is said; None for those that take no part.

    Raises:
        OptionError, DataError: as `retrain`.
    """
    found = base.experiment
    found.coordinates = found.coordinates or CoordinateCache()  # for the next corrections, too
    said = {key: one.label for key, one in decisions.items()} | dict(labels or {})
    keep, names = _labels_now(found.dataset, said)
    same = set(names) == set(found.dataset.classes)
    classes = list(found.dataset.classes) if same else natural_order(names)  # labels in Python have an order of theirs
    dataset = _with_names(found.dataset, keep, names, classes)
    tree = tree_of(classes, dataset.samples.taxonomy)
    dataset = replace(dataset, samples=replace(dataset.samples, taxonomy=tree))
    dataset.samples.check_trainable()
    validation, validation_features = found.validation, found.validation_features
    if validation is not None and validation_features is not None:
        kept, own = _labels_now(validation, said)
        if unknown := natural_order(set(own) - set(classes)):
            raise SmallClassesError(
                f"{validation.samples.where} has photos of classes that no training photo is of: "
                f"{', '.join(unknown[:20])}. Give training photos these labels, too, or leave those photos out.",
                unknown,
            )
        validation, validation_features = _with_names(validation, kept, own, classes), validation_features.select(kept)
        validation = replace(validation, samples=replace(validation.samples, taxonomy=tree))
    record = base.record
    settings = replace(found.settings, strategy=FROZEN, features=record.features, tta=record.tta)
    if len(classes) > 2:  # of which none is positive
        settings = replace(settings, positive=None)
    settings.check(found.compute, classes, distances_between(classes, tree))
    return replace(
        found,
        dataset=dataset,
        features=found.features.select(keep),
        validation=validation,
        validation_features=validation_features,
        settings=settings,
        other_views={},
        _cuts={},
        _hashes={},
    )


def _labels_now(dataset: Dataset, said: Mapping[bytes, str | None]) -> tuple[np.ndarray, list[str]]:
    """Return the positions (m,) of photos that stay, and the names of their classes.

    Raises:
        DataError: none stays.
    """
    keep, names = [], []
    for place, (key, label) in enumerate(zip(dataset.keys, dataset.labels.tolist(), strict=True)):
        name = said.get(key, dataset.classes[label])
        if name is not None:
            keep.append(place)
            names.append(name)
    if not keep:
        raise DataError(f"all {len(dataset):,} photos of {dataset.samples.where} are left out. Keep some.")
    return np.array(keep, dtype=np.int64), names


def _with_names(dataset: Dataset, keep: np.ndarray, names: list[str], classes: list[str]) -> Dataset:
    place = {name: number for number, name in enumerate(classes)}
    return dataset.select(keep).with_labels(np.array([place[name] for name in names], dtype=np.int64), classes)


def _change(after: FitResult, before: FitResult) -> tuple[dict[str, Difference], dict[str, float], int]:
    """Return how the figures changed, the new ones, and the number of the photos that they are of.

    These evaluated both classifiers, and are of a class that both know.
    """
    new, old = after.held_out, before.held_out
    classes = natural_order([*new.dataset.classes, *old.dataset.classes])
    row_of = {source: row for row, source in enumerate(old.dataset.samples.sources)}
    known = set(old.dataset.classes)
    rows = np.array(
        [
            row
            for row, (source, label) in enumerate(
                zip(new.dataset.samples.sources, new.dataset.labels.tolist(), strict=True)
            )
            if source in row_of and new.dataset.classes[label] in known
        ],
        dtype=np.int64,
    )
    if not len(rows):
        raise DataError("no photo is left that evaluated both classifiers. Leave fewer photos out.")
    sources = new.dataset.samples.sources
    old_rows = np.array([row_of[sources[row]] for row in rows.tolist()], dtype=np.int64)
    of_new, of_old = (
        np.array([classes.index(name) for name in one.dataset.classes], dtype=np.int64) for one in (new, old)
    )
    settings = after.experiment.settings
    positive = None
    if len(classes) == 2:
        positive = 1 if settings.positive is None else classes.index(settings.positive)
    folds = None if new.folds is None else new.folds[rows]
    labels, own = of_new[new.dataset.labels[rows]], _spread(new.probabilities[rows], of_new, len(classes))
    decisions = of_new[new.answers.labels[rows]]
    change = paired_differences(
        own,
        _spread(old.probabilities[old_rows], of_old, len(classes)),
        labels,
        positive=positive,
        groups=None if new.dataset.groups is None else new.dataset.groups[rows],
        folds=folds,
        decisions=(decisions, of_old[old.answers.labels[old_rows]]),
        seed=settings.seed,
    )
    found = prepare(Predictions(labels, own, positive, decisions, folds))
    return change, {name: figure(None) for name, figure in found.items()}, len(rows)


def _spread(probabilities: np.ndarray, columns: np.ndarray, count: int) -> np.ndarray:
    """Return (n, count) probabilities: those of an absent class are 0."""
    found = np.zeros((len(probabilities), count))
    found[:, columns] = probabilities
    return found
