"""How a classifier does on labelled photos that it has not seen."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.full_report import Answers, full_report, group_report, nesting_folds
from regraft.classifier.predict import Predictor
from regraft.classifier.record import EvaluationRecord, Timing
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.evaluation.conformal import Coverage, nested_sets
from regraft.evaluation.report import Report, check_positive
from regraft.evaluation.report_fields import Estimate
from regraft.features.pictures import join_pictures
from regraft.progress import Observer


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluation_of` gave.

    Attributes:
        record: the figures, and how they were found.
        dataset: the n photos that they are of.
        probabilities: (n, c) of these.
    """

    record: EvaluationRecord
    dataset: Dataset
    probabilities: np.ndarray


def evaluate(
    classifier: Classifier,
    samples: Samples,
    *,
    compute: Compute | None = None,
    positive: str | None = None,
    seed: int = 0,
    near: bool = True,
    observer: Observer | None = None,
) -> EvaluationRecord:
    """Return the record of `evaluation_of`, which has the arguments in words."""
    return evaluation_of(
        classifier, samples, compute=compute, positive=positive, seed=seed, near=near, observer=observer
    ).record


def evaluation_of(
    classifier: Classifier,
    samples: Samples,
    *,
    compute: Compute | None = None,
    positive: str | None = None,
    seed: int = 0,
    near: bool = True,
    observer: Observer | None = None,
) -> Evaluation:
    """Evaluate `classifier` on photos that it has not seen; those that it was trained on are named and left out.

    Args:
        classifier: what is evaluated.
        samples: labelled photos.
        compute: device, engine, batch size and cache.
        positive: the class that AUC and average precision are of, where there are two; default the second.
        seed: of the bootstrap.
        near: whether a training photo that was edited counts as such; False takes it for a new one.
        observer: hears findings and progress.

    Raises:
        DataError: a class that the classifier does not know, or no photo that it was not trained on.
        OptionError: a value that is not allowed.
    """
    observer = observer or Observer()
    started = time.monotonic()
    check_positive(positive, classifier.classes)
    predictor = Predictor(classifier, compute, observer)
    aligned = samples.aligned(classifier.classes)
    (dataset,) = join_pictures([predictor.open(aligned)], predictor.compute, observer, near=near)
    dataset, features = predictor.features(dataset)
    trained_on, validated = (classifier.recognises(dataset, role, near=near) for role in ("training", "validation"))
    files = classifier.was_seen(dataset.keys, "training")
    if trained_on.all():
        photos = f"{len(trained_on):,} photos{'' if files.all() else ', as they are or edited'}"
        raise DataError(
            f"{samples.where}: the classifier was trained on every one of these {photos}, so they cannot evaluate it. "
            "The figures of `regraft fit` are the honest ones; or name photos that it has not seen."
        )
    unreadable = tuple(photo.name for photo in dataset.unreadable)
    reasons = {"were trained on": files, "show the same picture as a photo that was trained on": trained_on & ~files}
    dataset = dataset.leave_out(reasons, observer)
    features, validated = features.select(~trained_on), validated[~trained_on]
    absent = [name for name, count in dataset.samples.counts().items() if not count]
    if absent:
        observer.say(f"no photos of {len(absent)} classes here, whose recall is unknown: {', '.join(absent[:20])}")
    probabilities = classifier.probabilities(features.values)
    estimate: Estimate = "validation" if validated.any() else "test"
    how: dict[str, Any] = {"estimate": estimate, "positive": positive, "seed": seed}
    record = EvaluationRecord(
        report=_report(classifier, dataset, probabilities, **how),
        groups=group_report(dataset, probabilities, classifier.decision, **how),
        model=classifier.model,
        strategy=classifier.strategy,
        temperature=classifier.temperature,
        engine=features.engine,
        unreadable=unreadable,
        timing=Timing.of([features], time.monotonic() - started),
        trained_on=int(trained_on.sum()),
    )
    return Evaluation(record, dataset, probabilities)


def _report(
    classifier: Classifier, dataset: Dataset, probabilities: np.ndarray, *, estimate: Estimate, seed: int, **more: Any
) -> Report:
    """Return the report of probabilities (n, c); sets are nested where these photos chose their thresholds."""
    folds = nesting_folds(dataset, seed=seed)
    sets = classifier.sets(probabilities, Coverage())
    if sets is not None and estimate == "validation":
        sets = nested_sets(probabilities, dataset.labels, folds, groups=dataset.groups, coverage=Coverage())
    fitted = None if classifier.record is None else classifier.record.report
    return full_report(
        dataset,
        probabilities,
        Answers.by(classifier.decision, probabilities),
        estimate=estimate,
        folds=folds,
        known=None if fitted is None else fitted.operating_points,
        sets=sets,
        seed=seed,
        **more,
    )
