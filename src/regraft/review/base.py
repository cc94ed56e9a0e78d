"""What a classifier is fitted again from while people review: its photos, their features, and its settings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.label_file import with_photos
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.evaluation.goals import DecisionRequest
from regraft.features.depths import find_depths
from regraft.images.sources import Source
from regraft.networks.backbone import Backbone
from regraft.progress import Observer
from regraft.review.decision import Action, Decision
from regraft.review.photos import ReviewPhotos, labels_now
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import BY_GROUPS, FitSettings
from regraft.transfer.strategies import AUTO

_LEAST = 2  # classes, and photos of each


def settings_of(classifier: Classifier) -> FitSettings:
    """Return how a classifier was made, as far as its file tells: with its last layer alone, and kept whatever comes.

    The positive class is that of its figures where it is not the usual one.
    """
    record, decision = classifier.record, classifier.decision
    request = DecisionRequest() if decision is None else DecisionRequest.of_words(decision.asked)
    found = FitSettings(
        strategy="frozen",
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
        folds=BY_GROUPS if record.by_group else found.folds,
        positive=own if len(classes) == _LEAST and own != classes[1] else None,
    )


def labelled_splits(
    data: str | Path, columns: Columns | None, photos: ReviewPhotos, state: Mapping[bytes, Decision]
) -> dict[str, Samples]:
    """Return the photos that a fit of `data` learns from and evaluates on, and those that people gave a first label.

    Labels are those that were found. Of photos that are none of these, for they were added or have no label there, they
    are what was decided.

    Raises:
        DataError: no photo has a label.
    """
    problem: DataError | None = None
    try:
        splits = find_samples(data, columns)
    except DataError as error:
        splits, problem = {}, error
    known = {source for part in splits.values() for source in part.sources}
    more = [
        (source, label)
        for photo in photos.photos
        if (label := _label_of(state.get(photo.key))) is not None
        for source in photo.sources
        if source not in known
    ]
    if splits:
        return {**splits, "train": with_photos(splits["train"], more)}
    if len({label for _, label in more}) < _LEAST:
        raise DataError(
            "the photos have labels of fewer than two classes. Give some photos of two classes their labels, then "
            "retrain."
        ) from problem
    sources, labels = zip(*more, strict=True)
    return {"train": Samples.from_labels(str(data), list[Source](sources), list[str](labels))}


def without_small_classes(
    photos: ReviewPhotos, state: Mapping[bytes, Decision]
) -> tuple[dict[bytes, Decision], dict[str, int]]:
    """Return decisions by which classes of fewer than two photos are left out, and these with their numbers of photos.

    A class that somebody has just begun does not keep the others from being learned.
    """
    counts = photos.count(state, lambda _: ()).classes
    small = {name: count for name, count in counts.items() if 0 < count < _LEAST}
    found = dict(state)
    for photo in photos.photos if small else ():
        if any(label in small for label in labels_now(photo, state.get(photo.key))):
            found[photo.key] = left_out(photo.key)
    return found, small


def left_out(key: bytes) -> Decision:
    """Return what counts for a photo that nothing is learned from, though nobody said so."""
    return Decision(0, key, "", Action.exclude, None, "", datetime.now(UTC))


def _label_of(decision: Decision | None) -> str | None:
    return None if decision is None else decision.label


def experiment_of(
    classifier: Classifier, splits: Mapping[str, Samples], compute: Compute, observer: Observer
) -> Experiment:
    """Return photos and their features, by a classifier's own networks, as `review.retrain` takes them.

    Raises:
        DataError: the photos cannot be used.
        OptionError: settings of the classifier that do not go with these photos.
    """
    first, *joined = [_loader(backbone) for backbone in classifier.backbones]
    return prepare_experiment(splits, first, settings_of(classifier), compute, observer, joined=joined)


def _loader(backbone: Backbone) -> Callable[[], Backbone]:
    """Return what gives a network with all depths, so that features come from the cache that a fit filled."""
    return lambda: backbone.with_depths(backbone.depths or find_depths(backbone))
