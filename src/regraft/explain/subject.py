"""What a report is about: a classifier just trained, one in a file, or a network alone, with photos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import chose_beside_new
from regraft.classifier.full_report import Answers, full_report
from regraft.classifier.predict import Predictor
from regraft.classifier.record import FitRecord
from regraft.data.columns import Columns as TableColumns
from regraft.data.dataset import Dataset, open_datasets
from regraft.data.folders import image_files, split_of, subfolders
from regraft.data.layouts import find_samples
from regraft.data.photos import find_photos
from regraft.data.samples import Samples, together
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, RegraftError, option
from regraft.evaluation.decisions import Decision
from regraft.evaluation.operating_points import OperatingPoints
from regraft.evaluation.report import Report
from regraft.evaluation.report_fields import Estimate
from regraft.features.depth_choices import columns_from, first_depths
from regraft.features.joint import JointExtractor
from regraft.features.pictures import join_pictures
from regraft.heads.linear import Columns, Head
from regraft.images.sources import Source
from regraft.images.tta import NONE
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.networks.hook_points import LAST
from regraft.networks.names import LOCAL_PREFIX, without_folders
from regraft.progress import Observer
from regraft.storage.locations import Location
from regraft.transfer.fit import FitResult
from regraft.transfer.strategies import strategy_named
from regraft.transfer.trainers import FURTHER

_UNLABELLED = ("photos",)  # the one class of photos without labels, before a classifier answers
OF_FIT, ON_THESE = "The figures when it was fitted", "The figures on these photos"  # titles of reports


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Attributes:
        backbone: the network as it is now.
        dataset: n photos, with their true labels or, if `labelled` is False, with the classifier's answers.
        labelled: whether the labels are true ones.
        model: the network as the user named it.
        head: the classifier's last layer; None for a network alone.
        temperature: the head's logits are divided by it.
        decision: what the classifier answers by; None where the most probable class is the answer.
        tta: the views of a photo that it answers by, a row of `images.tta.TTA`.
        first: the column of the network's features that is the head's first.
        joined: whether several networks are joined; `backbone` is the first of them then.
        features: (n, d) of the photos, by the network or networks as they were pretrained; None where not known.
        seen: whether every photo that evaluates the classifier was learned from.
        pretrained: the network before it was trained further; None if it was not, or is not at hand.
        strategy: how the classifier was trained; "frozen" where the network is as it was pretrained.
        evaluated: the photos that evaluate the classifier; None for a network alone.
        probabilities: (m, c) of these.
        decided: (m,) what they were answered; None where the most probable class is the answer.
        note: how these answers came about, in a sentence.
        record: how the classifier was made; None where that is not known.
        reports: figures that the report begins with, by title.
    """

    backbone: Backbone
    dataset: Dataset
    labelled: bool
    model: str
    head: Head | None = None
    pretrained: Backbone | None = None
    strategy: str = "frozen"
    evaluated: Dataset | None = None
    probabilities: np.ndarray | None = None
    decided: np.ndarray | None = None
    note: str = ""
    record: FitRecord | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)
    first: int = 0
    joined: bool = False
    features: np.ndarray | None = None
    seen: bool = False
    temperature: float = 1.0
    decision: Decision | None = None
    tta: str = NONE

    @property
    def answers(self) -> np.ndarray:
        """Return (m,) what the photos that evaluate the classifier were answered; none for a network alone."""
        if self.probabilities is None:
            return np.empty(0, dtype=np.int64)
        return np.asarray(self.probabilities.argmax(axis=1)) if self.decided is None else self.decided

    @property
    def fine_tuned(self) -> bool:
        """Whether the network was trained further."""
        return strategy_named(self.strategy).trains_network

    @property
    def from_random_weights(self) -> bool:
        """Whether it was trained from random weights."""
        return strategy_named(self.strategy).random_weights


def find_subject_photos(data: Location, columns: TableColumns | None = None) -> tuple[Samples, bool]:
    """Return the photos of `data`, and whether they have labels. Of splits, train and validation are taken together.

    A flat folder whose names carry no labels is a folder of photos without labels.

    Raises:
        DataError: no photos, or labels that cannot be used.
    """
    parts = {folder.name for folder in subfolders(data)} if data.is_dir() else set()
    if parts and {split_of(part) for part in parts} == {"test"}:
        raise DataError(
            f"{data} has a test split only, which is kept for `regraft evaluate`. To look into it all the same, name "
            f"it: {data / min(parts)}."
        )
    try:
        splits = find_samples(data, columns)
    except DataError:
        if not data.is_dir() or subfolders(data) or not image_files(data)[0]:
            raise
        return without_labels(find_photos([data]), str(data)), False
    samples = list(splits.values())
    return (samples[0] if len(samples) == 1 else together([s.aligned(samples[0].classes) for s in samples])), True


def without_labels(images: Sequence[Source], where: str) -> Samples:
    """Return photos without labels, all of one class that has no name yet."""
    return Samples(tuple(images), np.zeros(len(images), dtype=np.int64), _UNLABELLED, where=where)


def subject_of_network(
    backbone: Backbone, samples: Samples, *, labelled: bool, model: str, compute: Compute, observer: Observer
) -> Subject:
    """Return a network alone, with photos that are looked at first.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or one photo stands under two classes.
    """
    (dataset,) = open_datasets(
        [samples],
        observer,
        max_file_size=compute.max_file_size,
        value_range=compute.value_range,
        workers=compute.workers,
    )
    if labelled:  # how far it carries is found by folds
        (dataset,) = join_pictures([dataset], compute, observer)
    backbone = backbone.with_ranges(dataset.ranges)
    dataset, features = JointExtractor([backbone], compute, observer).of_dataset(dataset, labelled=labelled)
    return Subject(backbone, dataset, labelled, model, features=features.values)


def subject_of_classifier(
    classifier: Classifier,
    samples: Samples,
    *,
    labelled: bool,
    before: Callable[[], Backbone] | None,
    compute: Compute,
    positive: str | None = None,
    seed: int = 0,
    observer: Observer,
) -> Subject:
    """Return a classifier from a file, with photos, and its answers for those that it was not trained on.

    Args:
        classifier: what `load_bundle` gave.
        samples: the photos.
        labelled: whether they have labels.
        before: loads the network as it was before training; None where the user did not name it.
        compute: device, batch size and cache.
        positive: the class that AUC and average precision are of, where there are two.
        seed: of the bootstrap.
        observer: hears findings and progress.

    Raises:
        DataError: the photos cannot be used, or have a class that the classifier does not know.
    """
    samples = classifier.align(samples) if labelled else replace(samples, classes=classifier.classes)
    pretrained = _before(classifier, before, observer)  # a mistake in it is reported before the work
    predictor = Predictor(classifier, compute, observer)
    (dataset,) = join_pictures([predictor.open(samples)], compute, observer)
    dataset, features = predictor.features(dataset, labelled=labelled)
    probabilities = classifier.probabilities(features.values)
    if not labelled:
        dataset = dataset.relabelled(classifier.answers(probabilities))
    unseen, note, record = ~classifier.recognises(dataset, "training"), _SEEN_NOTE, classifier.record
    reports = {OF_FIT: record.report} if record is not None and record.report is not None else {}
    evaluated, decided = dataset, classifier.answers(probabilities)
    validated = classifier.recognises(dataset, "validation")
    if labelled:  # photos that chose thresholds in the fit do not judge beside new ones
        unseen &= ~chose_beside_new(validated, ~unseen)
    if unseen.any():
        evaluated, probabilities, decided = dataset.select(unseen), probabilities[unseen], decided[unseen]
        note = _unseen_note(unseen, labelled=labelled)
        if labelled:
            estimate: Estimate = "validation" if validated[unseen].any() else "test"
            answers = Answers.on(classifier.decision, evaluated, probabilities, estimate)
            decided, positive = answers.labels, positive or classifier.positive
            how: dict[str, Any] = {"known": _known_points(classifier, estimate), "positive": positive, "seed": seed}
            reports[ON_THESE] = full_report(evaluated, probabilities, answers, estimate=estimate, **how)
    return Subject(
        backbone=classifier.backbone.with_ranges(dataset.ranges),
        dataset=dataset,
        labelled=labelled,
        model=classifier.model,
        head=classifier.head,
        temperature=classifier.temperature,
        decision=classifier.decision,
        tta=classifier.tta,
        pretrained=pretrained and pretrained.with_ranges(dataset.ranges),
        strategy=classifier.strategy,
        evaluated=evaluated,
        probabilities=probabilities,
        decided=decided,
        note=note,
        record=record,
        reports=reports,
        first=first_column(classifier),
        joined=bool(classifier.joined),
        features=None if strategy_named(classifier.strategy).trains_network else features.values[:, classifier.columns],
        seen=not unseen.any(),
    )


def _known_points(classifier: Classifier, estimate: Estimate) -> OperatingPoints | None:
    """Return thresholds that other photos chose; None where these are the ones that chose them."""
    record = classifier.record
    return (
        None if record is None or record.report is None or estimate == "validation" else record.report.operating_points
    )


def first_column(classifier: Classifier) -> int:
    """Return the column of its network's features that is the head's first; 0 where several networks are joined."""
    columns = classifier.columns
    return int(columns.start or 0) if isinstance(columns, slice) else 0


def _columns_learned_from(result: FitResult) -> Columns:
    """Return which columns of the features of the pretrained networks the last layer sees, or alone would see."""
    backbones, chosen = result.experiment.backbones, result.record.features
    choices = {LAST: first_depths(backbones)[LAST], **result.experiment.choices}
    trained = strategy_named(result.classifier.strategy).trains_network
    return columns_from(backbones, choices[LAST if trained or chosen not in choices else chosen])


_SEEN_NOTE = (
    "The classifier was trained on every one of these photos: on photos that it has not seen it makes more mistakes, "
    "and different ones. The report that `regraft fit` writes shows those."
)


def _unseen_note(unseen: np.ndarray, *, labelled: bool) -> str:
    whole = "None of these photos took part in training."
    part = f"{unseen.sum():,} of the {len(unseen):,} photos took no part in training; these are shown."
    unknown = "" if labelled else " They have no labels, so mistakes cannot be identified."
    return (whole if unseen.all() else part) + unknown


def subject_of_fit(result: FitResult) -> Subject:
    """Return a classifier that was just trained, with the photos and the answers that evaluated it."""
    classifier, experiment = result.classifier, result.experiment
    kind = strategy_named(classifier.strategy)
    parts = [part for part in (experiment.dataset, experiment.validation) if part is not None]
    features = [part.values for part in (experiment.features, experiment.validation_features) if part is not None]
    note = (
        "These photos took no part in training."
        if experiment.validation
        else "Each photo was answered by a classifier that learned without it (out-of-fold); where it looks is shown "
        "for the one that learned from all."
    )
    return Subject(
        backbone=classifier.backbone,
        dataset=Dataset.joined(parts),
        labelled=True,
        model=classifier.model,
        head=classifier.head,
        temperature=classifier.temperature,
        decision=classifier.decision,
        tta=classifier.tta,
        pretrained=experiment.backbone if kind.trains_network and not kind.random_weights else None,
        strategy=classifier.strategy,
        evaluated=result.evaluated,
        probabilities=result.probabilities,
        decided=result.held_out.answers.labels,
        note=note,
        record=result.record,
        reports={OF_FIT: result.report},
        first=first_column(classifier),
        joined=bool(classifier.joined),
        features=np.concatenate(features)[:, _columns_learned_from(result)],
    )


def _before(classifier: Classifier, before: Callable[[], Backbone] | None, observer: Observer) -> Backbone | None:
    """Return the network that `classifier` was trained from: the one that was named, or else the one it names."""
    kind = strategy_named(classifier.strategy)
    if kind.random_weights or not kind.trains_network:
        if before is not None:
            how = "was trained from random weights" if kind.random_weights else "is as it was pretrained"
            raise OptionError(
                f"{option('before')} is for a classifier whose network was trained further; this one's {how}. Leave it "
                "out."
            )
        return None
    if before is not None:
        return before()
    if classifier.model.startswith(LOCAL_PREFIX):
        observer.say(
            f"where {classifier.model} lies is not known here: name it with {option('before', LOCAL_PREFIX + 'FOLDER')}"
        )
        return None
    try:
        # a file that came from elsewhere is not asked what to fetch
        found = load_backbone(classifier.model, fetch=False)
    except RegraftError as error:
        observer.say(f"the network as it was before training cannot be loaded: {error}")
        return None
    return found if without_folders(found.source) + FURTHER == without_folders(classifier.backbone.source) else None
