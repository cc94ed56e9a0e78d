"""From labelled photos and a pretrained network to a classifier with numbers, and from a classifier to new numbers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier, short_keys
from regraft.data.audit import joined_groups
from regraft.data.samples import Samples
from regraft.errors import DataError, SanityError
from regraft.evaluation.report import Report, beats_majority
from regraft.features.extraction import engine_for, features_of
from regraft.features.photos import Photos, audit_samples, prepare
from regraft.heads.linear import CalibratedHead
from regraft.networks.backbones import Backbone
from regraft.progress import Observer
from regraft.training.checkpoints import Run, nowhere
from regraft.transfer.auto import Choice, choose
from regraft.transfer.cross_validation import Clock, cross_validate
from regraft.transfer.experiment import Experiment, Gathered, gather, material_of, open_run
from regraft.transfer.settings import Settings
from regraft.transfer.strategies import Candidate, Fitted, method_of


@dataclass(frozen=True, eq=False)
class Result:
    """What training or evaluation gave.

    Attributes:
        classifier: the classifier that the numbers are of.
        report: the numbers.
        numbers: the report and how it came about, in JSON types.
        run: the checkpoints, to be removed (`run.finish()`) when the classifier is safely written.
        material: of training: what the classifier learned from and was judged by.
    """

    classifier: Classifier
    report: Report
    numbers: dict[str, Any] = field(default_factory=dict)
    run: Run = field(default_factory=nowhere)
    material: "Used | None" = None


@dataclass(frozen=True, eq=False)
class Used:
    """What a training used.

    Attributes:
        learned: the photos that were learned from.
        judges: those that judged; the same object where each was judged out-of-fold.
        probabilities: (n, c) answers for the judges.
        pretrained: the network before anything was trained.
    """

    learned: Photos
    judges: Photos
    probabilities: np.ndarray
    pretrained: Backbone


def train(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    model: str,
    settings: Settings | None = None,
    observer: Observer | None = None,
    folder: Path | None = None,
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
        folder: where checkpoints of fine-tuning go, so that a killed run is taken up again; None keeps none.

    Raises:
        DataError: the photos cannot be used.
        OptionError: a setting that is not allowed.
        ResumeError: in `folder` lies a run that was started with other arguments or photos.
        TrainingError: a loss that is not finite, or too little memory.
        SanityError: the classifier is no better than always saying the largest class.
    """
    settings, observer = settings or Settings(), observer or Observer()
    started = time.monotonic()
    gathered = gather(splits, load, settings, observer)
    run = open_run(folder, {model: gathered}, settings, observer)
    material = material_of(gathered, settings, run, observer)
    observer.say("fitting the last layer")
    fitted, candidate, probabilities, numbers = _judged(gathered, material, settings)
    learned, held_out, data = gathered.learned, gathered.held_out, material.data
    judges = held_out or learned
    groups = joined_groups(judges.samples, judges.keys)
    report = Report.from_probabilities(
        probabilities,
        judges.samples.labels,
        data.classes,
        estimate="validation" if held_out else "out-of-fold",
        positive=settings.positive,
        groups=groups,
        seed=settings.seed,
    )
    if not settings.force:
        check_sanity(probabilities, judges.samples.labels, groups, report)
    classifier = Classifier(
        backbone=fitted.backbone,
        head=fitted.head,
        classes=tuple(data.classes),
        temperature=fitted.temperature,
        model=model,
        strategy=candidate.strategy,
        seen={"training": short_keys(learned.keys), "validation": short_keys(held_out.keys if held_out else ())},
        engine_choice=gathered.engine_choice if candidate.strategy == "frozen" else None,
    )
    parts = [part for part in (learned, held_out) if part is not None]
    classifier.numbers = describe(report, classifier, parts, seconds=time.monotonic() - started)
    named = {"train_from": candidate.train_from, "train_only": candidate.train_only, "lora": candidate.lora}
    classifier.numbers |= {
        "seed": settings.seed,
        **named,
        "trained": fitted.plan.summary(),
        "frozen": fitted.proof,
        **numbers,
    }
    used = Used(learned, judges, probabilities, gathered.backbone)
    return Result(classifier, report, classifier.numbers, run, used)


def _judged(
    gathered: Gathered, material: Experiment, settings: Settings
) -> tuple[Fitted, Candidate, np.ndarray, dict[str, Any]]:
    """Return what is fitted on all photos, the strategy, the probabilities that judge it, and how it was chosen."""
    candidate = candidate_of(settings)
    numbers: dict[str, Any] = {}
    probabilities: np.ndarray | None = None
    temperature: float | None = None
    if candidate is None:
        candidate, choice, numbers = _chosen(gathered, material, settings)
        if choice is not None:
            probabilities, temperature = choice.probabilities, choice.temperature
    method = method_of(candidate, material)
    if gathered.held_out is None and probabilities is None:
        clock = Clock(float("inf"))
        outcome = cross_validate(method, material.data, material.folds(), clock=clock, seed=settings.seed)
        probabilities, temperature = outcome.probabilities, outcome.temperature
        numbers["training_seconds"] = round(outcome.seconds, 3)
    fitted = method.fit(temperature)
    if gathered.held_out is not None:
        probabilities = _answers(fitted, candidate, gathered.held_out, settings, material.observer)
    assert probabilities is not None  # out-of-fold or of the held-out photos
    return fitted, candidate, probabilities, numbers


def _chosen(
    gathered: Gathered, material: Experiment, settings: Settings
) -> tuple[Candidate, Choice | None, dict[str, Any]]:
    """Return what to train, how that was chosen (None where nothing could be compared), and what to say of it."""
    try:
        folds = material.folds()
    except DataError as error:
        if gathered.held_out is None:
            raise
        told = str(error).replace("\n  ", " ").replace("\n", ". ")  # in one sentence
        numbers = {"tried": [], "reason": f"the last layer alone is trained; nothing more can be tried: {told}"}
        material.observer.say(f"auto: {numbers['reason']}")
        return Candidate("frozen"), None, numbers
    choice = choose(material, folds, budget=settings.budget)
    material.observer.say(f"auto: {choice.reason}")
    return choice.candidate, choice, {"tried": choice.tried, "reason": choice.reason}


def _answers(
    fitted: Fitted, candidate: Candidate, judges: Photos, settings: Settings, observer: Observer
) -> np.ndarray:
    """Return (n, c) probabilities of photos that took no part in training, by the network that will be written."""
    features = judges.features
    if candidate.strategy != "frozen":
        sources = judges.samples.sources
        labels = judges.samples.labels
        features = features_of(sources, judges.keys, fitted.backbone, settings, observer, labels=labels).features
    return CalibratedHead(fitted.head, fitted.temperature).probabilities(features)


def candidate_of(settings: Settings) -> Candidate | None:
    """Return what is trained, None where that is to be chosen."""
    if settings.strategy == "auto":
        return None
    return Candidate(settings.strategy, settings.train_from, settings.train_only, settings.lora)


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
    audit = audit_samples(samples, settings, observer)
    engine = engine_for(
        classifier.backbone,
        samples.sources,
        audit.keys,
        settings,
        observer,
        labels=samples.labels,
        earlier=classifier.engine_choice,
    )
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
        groups=joined_groups(part.samples, part.keys),
        seed=settings.seed,
    )
    numbers = describe(report, classifier, [part], seconds=time.monotonic() - started)
    numbers["trained_on"] = int(trained_on.sum())
    return Result(classifier, report, numbers)


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
        "engine": parts[0].extraction.engine,
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
