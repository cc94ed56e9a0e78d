"""From labelled photos and a pretrained network to a classifier with figures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regraft.classifier.classifier import Classifier, marks_of
from regraft.classifier.group_figures import GroupFigures, figures_by_group
from regraft.classifier.record import Attempt, FitRecord, OverBudget, Timing
from regraft.classifier.reference import TrainingReference
from regraft.data.dataset import Dataset
from regraft.data.findings import counts_of, in_order
from regraft.data.group_folds import leave_groups_out
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, SanityError, option
from regraft.evaluation.conformal import HeldOutScores
from regraft.evaluation.report import Report
from regraft.evaluation.skill import beats_majority
from regraft.features.joint import features_of_trained
from regraft.heads.head_choice import LOGISTIC
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import LAST
from regraft.photo_audit.brief import findings_of_answers, findings_of_photos, lines_of_fit
from regraft.progress import Observer
from regraft.runtime import process_count
from regraft.training.checkpoints import Run
from regraft.transfer.auto import choose
from regraft.transfer.budget import Clock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.experiment import Experiment, open_run
from regraft.transfer.feature_choice import try_features
from regraft.transfer.fold_workers import answer_by_workers
from regraft.transfer.held_out import HeldOutAnswers, answer_held_out, class_counts
from regraft.transfer.network_choice import NetworkChoice, choose_network
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import BY_GROUPS, FitSettings
from regraft.transfer.strategies import AUTO, STRATEGIES, Candidate
from regraft.transfer.trainers import FitOutcome, trainer_of
from regraft.transfer.view_choice import ViewChoice, choose_views


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` gave.

    Attributes:
        classifier: with its record.
        record: how it was made, and its figures.
        experiment: the photos, and the network before anything was trained.
        held_out: the photos that evaluated the classifier, and what they were answered.
        writes: whether this process is the one that writes the result: of several, which all have it, the first.
    """

    classifier: Classifier
    record: FitRecord
    experiment: Experiment
    held_out: HeldOutAnswers
    writes: bool = True

    @property
    def probabilities(self) -> np.ndarray:
        """Return (n, c) probabilities of the photos that evaluated the classifier."""
        return self.held_out.probabilities

    @property
    def report(self) -> Report:
        """Return the figures."""
        assert self.record.report is not None  # of a fit
        return self.record.report

    @property
    def run(self) -> Run:
        """Return the checkpoints, to be removed (`run.finish()`) when the classifier is safely written."""
        return self.experiment.run

    @property
    def evaluated(self) -> Dataset:
        """Return the photos that evaluated the classifier: each out-of-fold where there is no validation split."""
        return self.held_out.dataset


def fit(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    model: str,
    settings: FitSettings | None = None,
    compute: Compute | None = None,
    observer: Observer | None = None,
    folder: Path | None = None,
    joined: Sequence[Callable[[], Backbone]] = (),
) -> FitResult:
    """Train a classifier on `splits["train"]` and evaluate it.

    Where a launcher has started several processes, they train together: each calls this with the same arguments.

    With a "validation" split, that evaluates the classifier and takes no part in making it. Without, every figure is
    out-of-fold and the classifier is then fitted on all photos. A "test" split is not touched.

    Args:
        splits: samples by split.
        load: returns the pretrained network; called after the photos have been looked at.
        model: the network as the user named it.
        settings: how to train.
        compute: where to.
        observer: hears plans, findings and progress.
        joined: load further networks, whose features are seen by the same last layer.
        folder: where checkpoints of fine-tuning go, so that a killed run is resumed; None keeps none.

    Raises:
        DataError: the photos cannot be used.
        OptionError: a setting that is not allowed.
        ResumeError: in `folder` lies a run that was started with other arguments or photos.
        TrainingError: a loss that is not finite, or too little memory.
        SanityError: the classifier is no better than always saying the largest class.
    """
    settings, compute, observer = settings or FitSettings(), compute or Compute(), observer or Observer()
    started = time.monotonic()
    compute, observer = _together(settings, compute, observer)
    experiment = prepare_experiment(splits, load, settings, compute, observer, joined=joined)
    found = _fit(experiment, model, folder, started)
    found.experiment.compute = compute.alone()  # what follows, a process does by itself
    return replace(found, writes=compute.processes.writes)


def fit_best(
    splits: Mapping[str, Samples],
    loaders: Mapping[str, Callable[[], Backbone]],
    *,
    settings: FitSettings | None = None,
    compute: Compute | None = None,
    observer: Observer | None = None,
    folder: Path | None = None,
) -> FitResult:
    """Choose one of several networks, and go on with it as `fit` does if it is named. See `choose_network`.

    Out-of-fold figures judge the choosing, too: where a fold would have had another network, chosen without it, that
    one's last layer answers it.

    Args:
        splits: samples by split.
        loaders: what loads each network, by its name.
        settings: how to train; `budget` limits the trying of networks, too.
        compute: where to.
        observer: hears plans, findings and progress.
        folder: as of `fit`.

    Raises:
        DataError, OptionError, ResumeError, TrainingError, SanityError: as `fit`.
    """
    settings, compute, observer = settings or FitSettings(), compute or Compute(), observer or Observer()
    started = time.monotonic()
    choice = choose_network(splits, loaders, settings=settings, compute=compute, observer=observer, folder=folder)
    return _fit(choice.experiment, choice.model, folder, started, choice)


def fit_experiment(experiment: Experiment, *, model: str) -> FitResult:
    """Train what `fit` returns, of photos and networks that are known. No checkpoints are kept.

    Args:
        experiment: the photos, the networks, their features, and how to train.
        model: the network as the user named it.

    Raises:
        DataError, OptionError, TrainingError, SanityError: as `fit`.
    """
    return _fit(experiment, model, None, time.monotonic())


def _together(settings: FitSettings, compute: Compute, observer: Observer) -> tuple[Compute, Observer]:
    """Return where all processes that were started together run, and who hears of this one's progress.

    Raises:
        OptionError: they cannot train together what is asked for.
    """
    count = process_count()
    if count == 1:
        return compute, observer
    if settings.strategy == AUTO:
        raise OptionError(
            f"{option('strategy', AUTO)} runs in one process: what it tries is limited by time, which each process has "
            f"its own of. Got {count} processes. Name a strategy ({', '.join(STRATEGIES)}), or start it without "
            "torchrun."
        )
    compute = compute.together()
    return compute, observer if compute.processes.writes else Observer()


def _fit(
    experiment: Experiment, model: str, folder: Path | None, started: float, choice: NetworkChoice | None = None
) -> FitResult:
    """Train and evaluate what `fit` returns, of which the photos and networks are known."""
    settings = experiment.settings
    open_run(folder, {model: experiment})
    experiment.say_choices()
    views = ViewChoice(experiment)
    if settings.tta == AUTO:
        views = choose_views(experiment)
        experiment = views.experiment
    experiment.observer.say("fitting the last layer")
    trained = _train(experiment)
    for chosen in (views, choice):
        if chosen is not None and experiment.validation is None:
            trained = replace(trained, probabilities=chosen.answer_folds(trained.probabilities))
    dataset, validation = experiment.dataset, experiment.validation
    held_out = answer_held_out(experiment, trained.probabilities)
    if not settings.force:
        check_sanity(trained.probabilities, held_out.dataset, held_out.report)
    classifier = Classifier(
        backbone=trained.outcome.backbone,
        head=trained.outcome.head.head,
        classes=tuple(dataset.classes),
        temperature=trained.outcome.head.temperature,
        model=model,
        strategy=trained.candidate.strategy,
        seen=marks_of({"training": dataset, "validation": validation}),
        engine_choice=experiment.engine_choice if trained.outcome.plan.cut is None else None,
        joined=experiment.joined,
        joined_choices=experiment.joined_choices,
        first_depths=experiment.choices.get(trained.outcome.head.choice, ()),
        decision=held_out.answers.decision,
        tta=experiment.tta,
        held_out=HeldOutScores.of(trained.probabilities, held_out.dataset.labels, held_out.dataset.groups),
        taxonomy=dataset.samples.taxonomy,
    )
    classifier.reference = _reference_of(experiment, trained, classifier)
    doubted = findings_of_answers(held_out.dataset, trained.probabilities)
    for line in lines_of_fit(doubted):
        experiment.observer.say(line)
    record = _record(experiment, trained, held_out, classifier, time.monotonic() - started)
    record = replace(record, findings=counts_of(in_order([*findings_of_photos(dataset, seed=settings.seed), *doubted])))
    record = replace(record, views_tried=views.tried)
    classifier.record = record if choice is None else replace(record, networks_tried=choice.tried)
    return FitResult(classifier, classifier.record, experiment, held_out)


@dataclass(frozen=True, eq=False)
class _Training:
    """What was trained, and what evaluates it: (n, c) probabilities of photos that were not learned from."""

    outcome: FitOutcome
    candidate: Candidate
    probabilities: np.ndarray
    tried: tuple[Attempt, ...] | None = None
    reason: str | None = None
    seconds: float | None = None
    over_budget: tuple[OverBudget, ...] = ()


def _train(experiment: Experiment) -> _Training:
    candidate = candidate_of(experiment.settings)
    tried: tuple[Attempt, ...] | None = None
    over_budget: tuple[OverBudget, ...] = ()
    reason, seconds, temperature = None, None, None
    probabilities: np.ndarray | None = None
    if candidate is None and experiment.joined:
        reason = "the last layer alone is trained, on the features of all networks together"
        candidate, tried = Candidate("frozen"), ()
        experiment.observer.say(f"{AUTO}: {reason}")
    elif candidate is None:
        try:
            folds = experiment.folds()
        except DataError as error:
            if experiment.validation is None:
                raise
            problem = str(error).replace("\n  ", " ").replace("\n", ". ")  # in one sentence
            reason = f"the last layer alone is trained; nothing more can be tried: {problem}"
            candidate, tried = Candidate("frozen"), ()
        else:
            choice = choose(experiment, folds, budget=experiment.settings.budget)
            candidate, tried, reason = choice.candidate, tuple(choice.tried), choice.reason
            probabilities, temperature = choice.probabilities, choice.temperature
            over_budget = tuple(choice.over_budget)
        experiment.observer.say(f"{AUTO}: {reason}")
    trainer = trainer_of(candidate, experiment)
    if experiment.validation is None and probabilities is None:
        clock, observer = Clock(float("inf")), experiment.observer
        folds = experiment.folds()
        ahead = answer_by_workers(experiment, candidate, folds, clock)
        found = cross_validate(
            trainer, experiment.dataset, folds, clock=clock, seed=experiment.seed, observer=observer, ahead=ahead
        )
        probabilities, temperature, seconds = found.probabilities, found.temperature, found.seconds
    outcome = trainer.fit(temperature)
    if experiment.validation is not None:
        probabilities = _predict_validation(experiment, outcome)
    assert probabilities is not None  # out-of-fold or of the validation photos
    return _Training(outcome, candidate, probabilities, tried, reason, seconds, over_budget)


def _predict_validation(experiment: Experiment, outcome: FitOutcome) -> np.ndarray:
    """Return (n, c) probabilities of photos that took no part in training, by the network that will be written."""
    validation, features = experiment.validation, experiment.validation_features
    assert validation is not None
    assert features is not None
    if outcome.plan.cut is not None:
        compute, observer = experiment.compute, experiment.observer
        features = features_of_trained(outcome.backbone, validation, compute, observer, tta=experiment.tta)
    return outcome.head.probabilities(features.values)


def _reference_of(experiment: Experiment, trained: _Training, classifier: Classifier) -> TrainingReference | None:
    """Return what new photos will be compared with; None where the network was trained further.

    Such a network gives the photos that it learned from other features than it gives new ones.
    """
    if trained.outcome.plan.cut is not None:
        return None
    dataset = experiment.dataset
    return TrainingReference.of(
        experiment.features.values,
        dataset.labels,
        classes=len(dataset.classes),
        columns=classifier.columns,
        groups=dataset.groups,
        headers=dataset.headers,
        colours=None if dataset.pictures is None else dataset.pictures.colours,
    )


def _record(
    experiment: Experiment, trained: _Training, held_out: HeldOutAnswers, classifier: Classifier, seconds: float
) -> FitRecord:
    parts = [part for part in (experiment.dataset, experiment.validation) if part is not None]
    features = [part for part in (experiment.features, experiment.validation_features) if part is not None]
    candidate = trained.candidate
    trials = () if candidate.kind.random_weights else try_features(experiment)
    stages = tuple(depth.stage for depth in classifier.depths)
    return FitRecord(
        report=held_out.report,
        groups=held_out.groups,
        decision=None if classifier.decision is None else classifier.decision.to_json(classifier.classes),
        taxonomy=held_out.taxonomy,
        by_group=_by_group(experiment, held_out),
        class_counts=tuple(class_counts(experiment.dataset).tolist()),
        model=classifier.model,
        strategy=classifier.strategy,
        temperature=classifier.temperature,
        engine=experiment.features.engine,
        unreadable=tuple(photo.name for part in parts for photo in part.unreadable),
        timing=Timing.of(features, seconds, trained.seconds),
        seed=experiment.seed,
        train_from=candidate.train_from,
        train_only=candidate.train_only,
        lora=candidate.lora,
        head=experiment.head_choice.head if candidate.kind.starts_from_features else LOGISTIC,
        class_weight=experiment.settings.class_weight,
        trained=trained.outcome.plan.summary(),
        frozen=trained.outcome.proof,
        tried=trained.tried,
        over_budget=trained.over_budget,
        reason=trained.reason,
        features=trained.outcome.head.choice or LAST,
        stages=stages,
        features_tried=trials,
        tta=experiment.tta,
        group_column=experiment.dataset.samples.grouped_by if experiment.settings.folds == BY_GROUPS else "",
    )


def _by_group(experiment: Experiment, held_out: HeldOutAnswers) -> tuple[GroupFigures, ...]:
    """Return the figures of each group that was left out."""
    if experiment.settings.folds != BY_GROUPS:
        return ()
    found = leave_groups_out(experiment.dataset)
    return figures_by_group(held_out.answers.labels == experiment.dataset.labels, found.folds, found.names)


def candidate_of(settings: FitSettings) -> Candidate | None:
    """Return what is trained, None where that is to be chosen."""
    if settings.strategy == AUTO:
        return None
    return Candidate(settings.strategy, settings.train_from, settings.train_only, settings.lora)


def check_sanity(probabilities: np.ndarray, dataset: Dataset, report: Report) -> None:
    """Raise `SanityError` unless (n, c) probabilities are clearly better than always saying the largest class."""
    skill = beats_majority(probabilities, dataset.labels, groups=dataset.groups)
    if not skill.clear:
        accuracy = float(np.mean(probabilities.argmax(axis=1) == dataset.labels))  # whatever rule decides
        raise SanityError(
            f"this classifier is not clearly better than always saying the largest class: accuracy "
            f"{accuracy:.1%} where the largest class has {report.majority_share:.1%} of the photos, and a gain "
            f"in log loss of {skill.gain:.3f} (95 % interval {skill.low:.3f} to {skill.high:.3f}) over the class "
            "shares. Likely reasons: labels that do not belong to their photos (a shuffled table, a shifted column); "
            "weights or preprocessing that do not belong to the network; too few photos; or classes that look alike. "
            f"Look at some photos of each class; to keep the classifier all the same: {option('force', True)}."
        )
