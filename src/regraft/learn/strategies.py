"""From labelled photos and a pretrained network to a classifier with numbers, and from a classifier to new numbers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.data.audit import inspect, joined_groups
from regraft.data.samples import Samples
from regraft.data.sources import Source
from regraft.errors import DataError, SanityError
from regraft.judge.report import Report, beats_majority
from regraft.learn.features import extract
from regraft.learn.observer import Observer
from regraft.learn.photos import Photos, audit_samples, prepare
from regraft.learn.probe import Labelled, fit_probe, out_of_fold
from regraft.learn.settings import Settings
from regraft.models.backbones import Backbone
from regraft.models.classifier import Classifier, short_keys
from regraft.models.engines import TorchEngine
from regraft.runtime import pick_device


@dataclass(frozen=True, eq=False)
class Result:
    """What training or evaluation gave.

    Attributes:
        classifier: the classifier that the numbers are of.
        report: the numbers.
        numbers: the report and how it came about, in JSON types.
    """

    classifier: Classifier
    report: Report
    numbers: dict[str, Any] = field(default_factory=dict)


def train(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    model: str,
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> Result:
    """Train a classifier on `splits["train"]` and judge it.

    With a "validation" split, that judges the classifier and takes no part in making it. Without, every figure is
    out-of-fold and the classifier is then fitted on all photos. A "test" split is not touched.

    Args:
        splits: samples by split.
        load: returns the pretrained network; called after the photos have been looked at.
        model: the network as the user named it.
        settings: how to train.
        observer: hears plans, findings and progress.

    Raises:
        DataError: the photos cannot be used.
        SanityError: the classifier is no better than always saying the largest class.
    """
    settings, observer = settings or Settings(), observer or Observer()
    started = time.monotonic()
    learned, held_out, backbone = _gather(splits, load, settings, observer)
    data = Labelled(
        features=learned.features,
        labels=learned.samples.labels,
        groups=joined_groups(learned.samples, learned.keys),
        classes=learned.samples.classes,
    )
    observer.say("fitting the last layer")
    probe = fit_probe(data, seed=settings.seed)
    if held_out is None:
        judged, groups, estimate = data.labels, data.groups, "out-of-fold"
        probabilities = out_of_fold(data, seed=settings.seed)
    else:
        judged, groups, estimate = held_out.samples.labels, held_out.samples.groups, "validation"
        probabilities = probe.probabilities(held_out.features)
    report = Report.from_probabilities(
        probabilities,
        judged,
        data.classes,
        estimate=estimate,
        positive=settings.positive,
        groups=groups,
        seed=settings.seed,
    )
    if not settings.force:
        check_sanity(probabilities, judged, groups, report)
    classifier = Classifier(
        backbone=backbone,
        head=probe.head,
        classes=tuple(data.classes),
        temperature=probe.temperature,
        model=model,
        strategy=settings.strategy,
        seen={"training": short_keys(learned.keys), "validation": short_keys(held_out.keys if held_out else ())},
    )
    parts = [part for part in (learned, held_out) if part is not None]
    classifier.numbers = describe(report, classifier, parts, seconds=time.monotonic() - started)
    classifier.numbers["seed"] = settings.seed
    return Result(classifier, report, classifier.numbers)


def _gather(
    splits: Mapping[str, Samples], load: Callable[[], Backbone], settings: Settings, observer: Observer
) -> tuple[Photos, Photos | None, Backbone]:
    """Return the photos to learn from, those to judge by if there is such a split, and the network."""
    samples = splits["train"]
    samples.check_trainable()
    settings.check(samples.classes)
    wanted = [samples]
    if "validation" in splits:
        wanted.append(splits["validation"].aligned(samples.classes))
    audits = [audit_samples(part, observer) for part in wanted]
    backbone = load()
    engine = TorchEngine(backbone, pick_device(settings.device))
    parts = [
        prepare(part, audit, backbone, engine, settings=settings, observer=observer)
        for part, audit in zip(wanted, audits, strict=True)
    ]
    learned = parts[0]
    learned.samples.check_trainable()  # again: what could not be read is gone
    return learned, _unseen(parts[1], learned, observer) if len(parts) > 1 else None, backbone


def _unseen(part: Photos, learned: Photos, observer: Observer) -> Photos:
    copies = np.isin(np.array(part.keys, dtype=object), np.array(learned.keys, dtype=object))
    if copies.all():
        raise DataError(
            f"{part.samples.where}: every validation photo is also a training photo, so they cannot judge. "
            "Remove the copies, or the validation folder: the figures are then out-of-fold."
        )
    return part.keep(~copies, "are also training photos", observer)


def evaluate(
    classifier: Classifier, samples: Samples, *, settings: Settings | None = None, observer: Observer | None = None
) -> Result:
    """Judge `classifier` by photos that it has not seen; those it was trained on are named and left out.

    Raises:
        DataError: a class that the classifier does not know, or no photo that it was not trained on.
    """
    settings, observer = settings or Settings(), observer or Observer()
    started = time.monotonic()
    settings.check(classifier.classes)
    samples = samples.aligned(classifier.classes)
    engine = TorchEngine(classifier.backbone, pick_device(settings.device))
    audit = audit_samples(samples, observer)
    part = prepare(samples, audit, classifier.backbone, engine, settings=settings, observer=observer)
    trained_on = classifier.was_seen(part.keys, "training")
    if trained_on.all():
        raise DataError(
            f"{samples.where}: the classifier was trained on every one of these {len(trained_on):,} photos, so they "
            "cannot judge it. The figures of `regraft fit` are the honest ones; or name photos that it has not seen."
        )
    part = part.keep(~trained_on, "were trained on", observer)
    absent = [name for name, count in part.samples.counts().items() if not count]
    if absent:
        observer.say(f"no photos of {len(absent)} classes here, whose recall cannot be told: {', '.join(absent[:20])}")
    validated = classifier.was_seen(part.keys, "validation")
    report = Report.from_probabilities(
        classifier.probabilities(part.features),
        part.samples.labels,
        classifier.classes,
        estimate="validation" if validated.any() else "test",
        positive=settings.positive,
        groups=part.samples.groups,
        seed=settings.seed,
    )
    numbers = describe(report, classifier, [part], seconds=time.monotonic() - started)
    numbers["trained_on"] = int(trained_on.sum())
    return Result(classifier, report, numbers)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of n images.

    Attributes:
        sources: the images.
        probabilities: (n, c); rows of unreadable images are NaN.
        unreadable: reasons by position.
    """

    sources: tuple[Source, ...]
    probabilities: np.ndarray
    unreadable: dict[int, str]


def predict(
    classifier: Classifier,
    sources: Sequence[Source],
    *,
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> Predictions:
    """Classify images; one that cannot be read has a reason instead of probabilities, the others are not held up."""
    settings, observer = settings or Settings(), observer or Observer()
    settings.check(classifier.classes)
    engine = TorchEngine(classifier.backbone, pick_device(settings.device))
    audit = inspect(tuple(sources))
    extraction = extract(
        sources,
        audit.keys,
        classifier.backbone,
        engine,
        cache=settings.cache,
        batch_size=settings.batch_size,
        observer=observer,
    )
    unreadable = {**audit.unreadable, **extraction.unreadable}
    probabilities = classifier.probabilities(extraction.features)
    probabilities[sorted(unreadable)] = np.nan
    return Predictions(tuple(sources), probabilities, unreadable)


def describe(report: Report, classifier: Classifier, parts: list[Photos], *, seconds: float) -> dict[str, Any]:
    """Return the report in JSON types with how it came about."""
    computed = sum(part.extraction.computed for part in parts)
    extraction_seconds = sum(part.extraction.seconds for part in parts)
    return {
        **report.to_json(),
        "model": classifier.model,
        "strategy": classifier.strategy,
        "temperature": classifier.temperature,
        "seconds": round(seconds, 3),
        "extraction_seconds": round(extraction_seconds, 3),
        "images_computed": computed,
        "images_per_second": round(computed / extraction_seconds, 1) if computed else None,
        "unreadable": [name for part in parts for name in part.unreadable_paths],
    }


def check_sanity(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, report: Report) -> None:
    """Raise `SanityError` unless the probabilities are clearly better than always saying the largest class."""
    skill = beats_majority(probabilities, labels, groups=groups)
    if not skill.clear:
        raise SanityError(
            f"this classifier is not clearly better than always saying the largest class: accuracy "
            f"{report.accuracy:.1%} where the largest class has {report.majority_share:.1%} of the photos, and a gain "
            f"in log loss of {skill.gain:.3f} (95 % interval {skill.low:.3f} to {skill.high:.3f}) over the class "
            "shares. Likely reasons: labels that do not belong to their photos (a shuffled table, a shifted column); "
            "weights or preprocessing that do not belong to the network; too few photos; or classes that look alike. "
            "Look at some photos of each class; to keep the classifier all the same: --force."
        )
