"""How a classifier does on labelled photos that it has not seen."""

import time

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.classifier.record import EvaluationRecord, Timing
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.evaluation.report import Report, check_positive
from regraft.features.pictures import join_pictures
from regraft.progress import Observer


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
    report = Report.from_probabilities(
        classifier.probabilities(features.values),
        dataset.labels,
        classifier.classes,
        estimate="validation" if validated.any() else "test",
        positive=positive,
        groups=dataset.groups,
        seed=seed,
    )
    return EvaluationRecord(
        report=report,
        model=classifier.model,
        strategy=classifier.strategy,
        temperature=classifier.temperature,
        engine=features.engine,
        unreadable=unreadable,
        timing=Timing.of([features], time.monotonic() - started),
        trained_on=int(trained_on.sum()),
    )
