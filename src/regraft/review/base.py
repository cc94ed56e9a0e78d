"""What a classifier is fitted again from while people review: its photos, their features, and its settings."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.label_file import with_corrections
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples, natural_order
from regraft.engines.compute import Compute
from regraft.errors import DataError, SmallClassesError
from regraft.evaluation.goals import DecisionRequest
from regraft.features.depths import find_depths
from regraft.images.sources import Source
from regraft.networks.backbone import Backbone
from regraft.progress import Observer
from regraft.review.decision import Decision
from regraft.review.photos import ReviewPhoto, ReviewPhotos
from regraft.review.retrain import FROZEN, tree_of
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import BY_GROUPS, FitSettings
from regraft.transfer.strategies import AUTO

_LEAST = 2  # classes
_NAMED = 20  # classes in a message


def settings_of(classifier: Classifier) -> FitSettings:
    """Return how a classifier was made, as far as its file tells: with its last layer alone, and kept whatever comes.

    The positive class is that of its figures where it is not the usual one.
    """
    record, decision = classifier.record, classifier.decision
    request = DecisionRequest() if decision is None else DecisionRequest.of_words(decision.asked)
    found = FitSettings(
        strategy=FROZEN,
        features=AUTO if record is None else record.features,
        tta=classifier.tta,
        goal=request.goal,
        cost=request.cost,
        threshold=None if request.threshold is None else str(request.threshold),
        balance=request.balance,
        force=True,
    )
    if record is None:
        return found
    report, classes = record.report, classifier.classes
    own = None if report is None else report.positive
    return replace(
        found,
        seed=record.seed,
        class_weight=record.class_weight,
        head=record.head,
        folds=BY_GROUPS if record.by_group else found.folds,
        positive=own if len(classes) == _LEAST and own != classes[1] else None,
    )


def labelled_splits(
    data: str | Path,
    columns: Columns | None,
    photos: ReviewPhotos,
    state: Mapping[bytes, Decision],
    *,
    without: Collection[str] = (),
) -> dict[str, Samples]:
    """Return the photos that a fit of `data` learns from and evaluates on, by the labels as decisions have them.

    Those that people added, or gave a first label, are among the training photos where the data set has not said of
    which split they are. Photos of equal content that were found under several classes wait for a decision.

    Args:
        data: a folder or table.
        columns: by which a table is read.
        photos: those that were looked at.
        state: the decision that counts for each photo.
        without: classes that are left out.

    Raises:
        DataError: no photos of two classes have labels.
        SmallClassesError: no training photo is of some classes.
    """
    problem = ""
    try:
        splits = find_samples(data, columns, unlabelled=True)
    except DataError as error:
        splits, problem = {}, f" The labels that were found do not count: {error}"
    labels = {photo.key: label_to_learn(photo, state.get(photo.key), without) for photo in photos.photos}
    of_source = {source: photo for photo in photos.photos for source in photo.sources}

    def now(source: Source, name: str | None) -> str | None:
        photo = of_source.get(source)
        if photo is None:  # it cannot be read, or came since the photos were looked at
            return None if name in without else name
        return labels[photo.key] if name is not None or photo.key in state else None

    names = {split: list(map(now, part.sources, part.names())) for split, part in splits.items()}
    known = {source for part in splits.values() for source in part.sources}
    added = [
        (source, label)
        for photo in photos.photos
        if photo.key in state and (label := labels[photo.key]) is not None
        for source in photo.sources
        if source not in known
    ]
    classes = {*names.get("train", ()), *(label for _, label in added)} - {None}
    if len(classes) < _LEAST:
        raise DataError(
            "the photos have labels of fewer than two classes. Give some photos of two classes their labels, then "
            f"retrain.{problem}"
        )
    if unknown := {*names.get("validation", ())} - classes - {None}:
        raise SmallClassesError(
            f"photos of classes that no training photo is of: {', '.join(natural_order(unknown)[:_NAMED])}. Give "
            "training photos these labels, too.",
            natural_order(unknown),
        )
    if "train" not in splits:
        sources, given = zip(*added, strict=True)
        return {"train": Samples.from_labels(str(data), list[Source](sources), list[str](given))}
    return {
        split: with_corrections(part, dict(enumerate(names[split])), added if split == "train" else ())
        for split, part in splits.items()
    }


def label_to_learn(photo: ReviewPhoto, decision: Decision | None, without: Collection[str] = ()) -> str | None:
    """Return the class that a photo and its copies are learned as; None where they take no part.

    Args:
        photo: what was found.
        decision: that counts for it.
        without: classes that are left out.
    """
    if decision is not None:
        label = decision.label
    else:
        labels = {label for label in photo.labels if label is not None}
        label = labels.pop() if len(labels) == 1 else None
    return None if label in without else label


def experiment_of(
    classifier: Classifier, splits: Mapping[str, Samples], compute: Compute, observer: Observer
) -> Experiment:
    """Return photos and their features, by a classifier's own networks, as `review.retrain` takes them.

    What its settings say counts as far as these photos allow it: positive class, folds by groups, the tree of classes.

    Raises:
        DataError: the photos cannot be used.
        OptionError: settings of the classifier that do not go with these photos.
    """
    first, *joined = [_loader(backbone) for backbone in classifier.backbones]
    settings, train = settings_of(classifier), splits["train"]
    if settings.positive not in train.classes or len(train.classes) != _LEAST:  # of which one is positive
        settings = replace(settings, positive=None)
    if "validation" in splits or train.groups is None:  # which evaluate, or which could be left out in turn
        settings = replace(settings, folds=FitSettings().folds)
    tree = tree_of(train.classes, classifier.taxonomy)
    splits = {split: replace(part, taxonomy=tree) for split, part in splits.items()}
    return prepare_experiment(splits, first, settings, compute, observer, joined=joined)


def _loader(backbone: Backbone) -> Callable[[], Backbone]:
    """Return what gives a network with all depths, so that features come from the cache that a fit filled."""
    return lambda: backbone.with_depths(backbone.depths or find_depths(backbone))
