"""How a classifier does on labelled photos that it has not seen."""

import time
from dataclasses import dataclass, replace

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.full_report import Answers, full_report, group_report, nesting_folds
from regraft.classifier.predict import Predictor
from regraft.classifier.record import EvaluationRecord, Timing
from regraft.classifier.tree import aligned_by_tree, dataset_at, figures_in_tree, level_of, say_inner_labels
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, first_few, option
from regraft.evaluation.conformal import Coverage, nested_sets
from regraft.evaluation.decisions import Decision
from regraft.evaluation.goals import DecisionRequest
from regraft.evaluation.levels import Level
from regraft.evaluation.report import check_positive
from regraft.evaluation.report_fields import Estimate
from regraft.features.pictures import join_pictures
from regraft.progress import Observer

_SHOWN = 10  # classes in a message


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluation_of` gave.

    Attributes:
        record: the figures, and how they were found.
        dataset: the n photos that they are of; of a level, labelled with its nodes.
        probabilities: (n, c) of these.
        answers: (n,) classes.
    """

    record: EvaluationRecord
    dataset: Dataset
    probabilities: np.ndarray
    answers: np.ndarray


def evaluate(
    classifier: Classifier,
    samples: Samples,
    *,
    compute: Compute | None = None,
    positive: str | None = None,
    seed: int = 0,
    near: bool = True,
    level: int | None = None,
    observer: Observer | None = None,
) -> EvaluationRecord:
    """Return the record of `evaluation_of`, which has the arguments in words."""
    return evaluation_of(
        classifier, samples, compute=compute, positive=positive, seed=seed, near=near, level=level, observer=observer
    ).record


def evaluation_of(
    classifier: Classifier,
    samples: Samples,
    *,
    compute: Compute | None = None,
    positive: str | None = None,
    seed: int = 0,
    near: bool = True,
    level: int | None = None,
    request: DecisionRequest | None = None,
    observer: Observer | None = None,
) -> Evaluation:
    """Evaluate `classifier` on photos that it has not seen; those that it was trained on are named and left out.

    Args:
        classifier: what is evaluated.
        samples: labelled photos. Where the classes lie in a tree, by its nodes: a label below a class is taken for it.
        compute: device, engine, batch size and cache.
        positive: the class that AUC and average precision are of, where there are two; default the second.
        seed: of the bootstrap.
        near: whether a training photo that was edited counts as such; False takes it for a new one.
        level: of the tree, whose nodes the figures are of then instead of the classes.
        request: what decides among the nodes of the level, instead of the most probable one; it needs no photos.
        observer: hears findings and progress.

    Raises:
        DataError: a class that the classifier does not know, or no photo that it was not trained on.
        OptionError: a value that is not allowed.
    """
    observer, request = observer or Observer(), request or DecisionRequest()
    started = time.monotonic()
    target = _target_of(classifier, level, request, positive, observer)
    check_positive(positive, target.classes)
    positive = positive if level is not None else positive or classifier.positive
    predictor = Predictor(classifier, compute, observer)
    aligned = aligned_by_tree(samples, classifier.classes, classifier.taxonomy, inner=True)
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
    apart = chose_beside_new(validated, trained_on)
    reasons = {
        "were trained on": files,
        "show the same picture as a photo that was trained on": trained_on & ~files,
        CHOSE: apart,
    }
    dataset = dataset.leave_out(reasons, observer)
    kept = ~(trained_on | apart)
    probabilities = classifier.probabilities(features.select(kept).values)
    estimate: Estimate = "validation" if validated[kept].any() else "test"
    found = _figures(target, dataset, probabilities, estimate=estimate, positive=positive, seed=seed, observer=observer)
    record = replace(
        found.record,
        engine=features.engine,
        unreadable=unreadable,
        timing=Timing.of([features], time.monotonic() - started),
        trained_on=int(trained_on.sum()),
    )
    return replace(found, record=record)


CHOSE = "evaluated the classifier in its fit (validation), while others here are new; evaluate them by themselves"


def chose_beside_new(validated: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
    """Return (n,) booleans: which photos chose thresholds in the fit, where there are new ones, which judge these.

    Args:
        validated: (n,) whether a photo evaluated the classifier in its fit.
        trained_on: (n,) whether it was learned from.
    """
    new = ~validated & ~trained_on
    return validated & ~trained_on if new.any() else np.zeros(len(validated), dtype=bool)


@dataclass(frozen=True, eq=False)
class _Target:
    """What is evaluated of a classifier: its classes, or the nodes of a level of the tree that they lie in."""

    classifier: Classifier
    classes: tuple[str, ...]
    level: Level | None
    decision: Decision | None


def _target_of(
    classifier: Classifier, number: int | None, request: DecisionRequest, positive: str | None, observer: Observer
) -> _Target:
    if number is not None:
        level = level_of(classifier.taxonomy, classifier.classes, number)
        for line in filter(None, [classifier.passed_over_at(level, request)]):
            observer.say(line)
        return _Target(classifier, level.nodes, level, classifier.decision_at(level, request, positive))
    return _Target(classifier, classifier.classes, None, classifier.decision)


def _figures(
    target: _Target,
    dataset: Dataset,
    probabilities: np.ndarray,
    *,
    estimate: Estimate,
    positive: str | None,
    seed: int,
    observer: Observer,
) -> Evaluation:
    """Return the figures of photos that were not trained on, labelled by the classes and inner nodes of the tree."""
    classifier, level, decision = target.classifier, target.level, target.decision
    say_inner_labels(dataset, classifier.classes, observer)
    answers = classifier.answers(probabilities)
    taxonomy = figures_in_tree(dataset, probabilities, answers, classifier.classes, classifier.taxonomy)
    dataset, chosen = dataset_at(dataset, classifier.classes, classifier.taxonomy, level)
    if not len(dataset):
        raise DataError(
            f"{dataset.samples.where}: no photo has a label that is one of these classes: "
            f"{first_few(target.classes, _SHOWN)}. Their labels are nodes above. Evaluate at a level that they reach: "
            f"{option('level', classifier.levels[0].number)}."
        )
    folds = nesting_folds(dataset, seed=seed)
    sets = _sets(target, dataset, probabilities[chosen], folds=folds if estimate == "validation" else None)
    probabilities = probabilities[chosen] if level is None else level.sums(probabilities[chosen])
    dataset.say_absent_classes(observer)
    fitted = None if classifier.record is None else classifier.record.report
    found = Answers.on(decision, dataset, probabilities, estimate)
    report = full_report(
        dataset,
        probabilities,
        found,
        estimate=estimate,
        positive=positive,
        known=None if fitted is None or level is not None or estimate == "validation" else fitted.operating_points,
        sets=sets,
        seed=seed,
    )
    record = EvaluationRecord(
        report=report,
        groups=group_report(dataset, probabilities, found, estimate=estimate, positive=positive, seed=seed),
        taxonomy=taxonomy,
        model=classifier.model,
        strategy=classifier.strategy,
        temperature=classifier.temperature,
        decision=None if decision is None else decision.to_json(target.classes),
    )
    return Evaluation(record, dataset, probabilities, found.labels)


def _sets(
    target: _Target, dataset: Dataset, probabilities: np.ndarray, *, folds: np.ndarray | None
) -> np.ndarray | None:
    """Return (n, m) booleans, sets of the m classes or nodes, of probabilities (n, c) of the classes.

    With `folds` (n,) they are nested by these, as the photos chose the classifier's thresholds; not of nodes.
    """
    sets = target.classifier.sets(probabilities, Coverage())
    if sets is None or folds is None:
        return sets if sets is None or target.level is None else target.level.sums(sets) > 0
    if target.level is not None:
        return None
    return nested_sets(probabilities, dataset.labels, folds, groups=dataset.groups, coverage=Coverage())
