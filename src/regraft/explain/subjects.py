"""What a report is about: a classifier just trained, one in a file, or a network alone, with photos."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.data.audit import joined_groups
from regraft.data.folders import SPLIT_FOLDERS, image_files, subfolders
from regraft.data.samples import Samples, find_samples, together
from regraft.data.tables import Columns
from regraft.engines.selection import EngineChoice
from regraft.errors import DataError, OptionError, RegraftError
from regraft.evaluation.report import Report
from regraft.explain.explain import Judged, Subject
from regraft.features.extraction import engine_for
from regraft.features.photos import Photos, audit_samples, prepare
from regraft.networks.backbones import Backbone, load_backbone
from regraft.networks.registry import LOCAL_PREFIX
from regraft.networks.weights import without_folders
from regraft.progress import Observer
from regraft.transfer.fit import Result
from regraft.transfer.settings import Settings
from regraft.transfer.strategies import FURTHER

_UNLABELLED = ("photos",)  # the one class of photos without labels, before a classifier answers


def find_photos(data: Path, columns: Columns | None = None) -> tuple[Samples, bool]:
    """Return the photos of `data`, and whether they have labels. Of splits, train and validation are taken together.

    A flat folder whose names carry no labels is a folder of photos without labels.

    Raises:
        DataError: no photos, or labels that cannot be used.
    """
    parts = {folder.name.lower() for folder in subfolders(data)} if data.is_dir() else set()
    if parts and parts <= set(SPLIT_FOLDERS["test"]):
        raise DataError(
            f"{data} has a test split only, which is kept for `regraft evaluate`. To look into it all the same, name "
            f"it: {data / min(parts)}."
        )
    try:
        splits = find_samples(data, columns)
    except DataError:
        images = image_files(data)[0] if data.is_dir() and not subfolders(data) else []
        if not images:
            raise
        nothing = np.zeros(len(images), dtype=np.int64)
        return Samples(tuple(images), nothing, _UNLABELLED, where=str(data)), False
    samples = list(splits.values())
    return (samples[0] if len(samples) == 1 else together([s.aligned(samples[0].classes) for s in samples])), True


def subject_of_network(
    backbone: Backbone, samples: Samples, *, known: bool, model: str, settings: Settings, observer: Observer
) -> Subject:
    """Return a network alone, with photos that are looked at first.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or one photo stands under two classes.
    """
    photos = _read(backbone, samples, settings, observer, labels=samples.labels if known else None)
    return Subject(backbone, photos.samples, joined_groups(photos.samples, photos.keys), known, model)


def subject_of_classifier(
    classifier: Classifier,
    samples: Samples,
    *,
    known: bool,
    before: Callable[[], Backbone] | None,
    settings: Settings,
    observer: Observer,
) -> Subject:
    """Return a classifier from a file, with photos, and its answers for those that it was not trained on.

    Args:
        classifier: what `load_bundle` gave.
        samples: the photos.
        known: whether they have labels.
        before: loads the network as it was before training; None where the user did not name it.
        settings: device, batch size and cache.
        observer: hears findings and progress.

    Raises:
        DataError: the photos cannot be used, or have a class that the classifier does not know.
    """
    samples = samples.aligned(classifier.classes) if known else replace(samples, classes=classifier.classes)
    pretrained = _before(classifier, before, observer)  # a mistake in it is told before the work
    labels, earlier = samples.labels if known else None, classifier.engine_choice
    photos = _read(classifier.backbone, samples, settings, observer, labels=labels, earlier=earlier)
    probabilities = classifier.probabilities(photos.features)
    labelled = photos.samples if known else replace(photos.samples, labels=probabilities.argmax(axis=1))
    unseen = ~classifier.was_seen(photos.keys, "training")
    numbers = {"The numbers of fit": classifier.numbers} if "confusion" in classifier.numbers else {}
    if unseen.any():
        judged = Judged(labelled.select(unseen), probabilities[unseen], known, _unseen_note(unseen, known=known))
        if known:
            groups = joined_groups(photos.samples, photos.keys)
            report = Report.from_probabilities(
                probabilities[unseen],
                labelled.labels[unseen],
                classifier.classes,
                estimate="validation" if classifier.was_seen(photos.keys, "validation").any() else "test",
                positive=settings.positive,
                groups=None if groups is None else groups[unseen],
                seed=settings.seed,
            )
            numbers["On these photos"] = report.to_json()
    else:
        judged = Judged(labelled, probabilities, known, _SEEN_NOTE)
    return Subject(
        backbone=classifier.backbone,
        samples=labelled,
        groups=joined_groups(photos.samples, photos.keys),
        known=known,
        model=classifier.model,
        head=classifier.head,
        pretrained=pretrained,
        strategy=classifier.strategy,
        judged=judged,
        numbers=numbers,
    )


_SEEN_NOTE = (
    "The classifier was trained on every one of these photos, so that it knows them: its mistakes on photos that it "
    "has not seen are more, and others. regraft fit --report shows those."
)


def _unseen_note(unseen: np.ndarray, *, known: bool) -> str:
    whole = "None of these photos took part in training."
    part = f"{unseen.sum():,} of the {len(unseen):,} photos took no part in training; these are shown."
    return (whole if unseen.all() else part) + ("" if known else " They have no labels: what is wrong cannot be told.")


def subject_of_result(result: Result) -> Subject:
    """Return a classifier that was just trained, with the photos and the answers that judged it."""
    classifier, material = result.classifier, result.material
    assert material is not None  # of training
    learned, judges = material.learned, material.judges
    out_of_fold = judges is learned
    parts = [learned] if out_of_fold else [learned, judges]
    samples = learned.samples if out_of_fold else together([part.samples for part in parts])
    note = (
        "Each photo was answered by a classifier that learned without it (out-of-fold); where it looks is shown for "
        "the one that learned from all."
        if out_of_fold
        else "These photos took no part in training."
    )
    tuned = classifier.strategy != "frozen"
    return Subject(
        backbone=classifier.backbone,
        samples=samples,
        groups=joined_groups(samples, tuple(key for part in parts for key in part.keys)),
        known=True,
        model=classifier.model,
        head=classifier.head,
        pretrained=material.pretrained if tuned and classifier.strategy != "scratch" else None,
        strategy=classifier.strategy,
        judged=Judged(judges.samples, material.probabilities, known=True, note=note),
        numbers={"The numbers of fit": result.numbers},
    )


def _read(
    backbone: Backbone,
    samples: Samples,
    settings: Settings,
    observer: Observer,
    *,
    labels: np.ndarray | None,
    earlier: EngineChoice | None = None,
) -> Photos:
    audit = audit_samples(samples, settings, observer)
    engine = engine_for(backbone, samples.sources, audit.keys, settings, observer, labels=labels, earlier=earlier)
    return prepare(samples, audit, backbone, engine, settings=settings, observer=observer)


def _before(classifier: Classifier, before: Callable[[], Backbone] | None, observer: Observer) -> Backbone | None:
    """Return the network that `classifier` was trained from: the one that was named, or else the one it names."""
    if classifier.strategy in ("frozen", "scratch"):
        if before is not None:
            how = "is as it was pretrained" if classifier.strategy == "frozen" else "was trained from random weights"
            raise OptionError(
                f"--before is for a classifier whose network was trained further; this one's {how}. Leave it out."
            )
        return None
    if before is not None:
        return before()
    if classifier.model.startswith(LOCAL_PREFIX):
        observer.say(f"where {classifier.model} lies is not known here: --before local-dir:FOLDER names it")
        return None
    try:
        # a file that came from elsewhere is not asked what to fetch
        found = load_backbone(classifier.model, fetch=False)
    except RegraftError as error:
        observer.say(f"the network as it was before training is not at hand: {error}")
        return None
    return found if without_folders(found.source) + FURTHER == without_folders(classifier.backbone.source) else None
