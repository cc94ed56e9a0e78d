"""Folds of fine-tuning that are answered by the workers of a cluster: each trains one network for one fold at a time.

Each training is what it is in one process. Last layers are chosen by the process that was started, for all folds
together.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from regraft.progress import Detail, Observer
from regraft.training.checkpoints import nowhere
from regraft.transfer.budget import Clock, OverBudgetError, forecast
from regraft.transfer.cross_validation import Ahead, Fold, folds_of
from regraft.transfer.experiment import Experiment
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import FineTuningTrainer, HeldOutLogits, trainer_of

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True)
class FoldJob:
    """Trainings that may be done by workers.

    Attributes:
        model: the network, a name of an experiment.
        candidate: what is trained.
        folds: what is answered, each by what learned from the others.
    """

    model: str
    candidate: Candidate
    folds: Sequence[Fold]


@dataclass(frozen=True)
class _NotInTime:
    """Stands for the answers of a fold that would not have come in time.

    Attributes:
        needed: seconds that it would have taken from then on; None where it was not begun.
    """

    needed: float | None


def answer_ahead(
    experiments: Mapping[str, Experiment], jobs: Mapping[_K, FoldJob], clock: Clock | None = None
) -> dict[_K, Ahead]:
    """Return what the workers that `Compute.on` names answered, by job; none where there are no workers.

    Jobs that train no network are left out. What an earlier process has kept of them is taken from its run, and what
    comes is kept there.

    Args:
        experiments: by network, of the same photos and settings.
        jobs: what is wanted.
        clock: when it is over no training begins but the first of a job, and those that would go on longer end; None
            for no limit.

    Raises:
        ClusterError: workers die again and again at one training, or the cluster is gone.
    """
    first = next(iter(experiments.values()))
    workers = first.compute.workers
    if workers is None or first.compute.processes.count > 1:
        return {}
    found: dict[_K, Ahead] = {}
    missing: list[tuple[_K, FineTuningTrainer, tuple[str, Candidate, Fold]]] = []
    for key, job in jobs.items():
        if not job.candidate.kind.trains_network:
            continue
        trainer = trainer_of(job.candidate, experiments[job.model])
        assert isinstance(trainer, FineTuningTrainer)
        found[key] = Ahead()
        for fold in job.folds:
            kept = trainer.kept(fold.train, fold.held_out, name=fold.title)
            if kept is not None:
                found[key].answers[fold.number] = kept
                continue
            missing.append((key, trainer, (job.model, job.candidate, fold)))
            trainer.fit_start(fold.train)
    if not missing:
        return found
    names = {part[0] for _, _, part in missing}
    left = float("inf") if clock is None else clock.left()
    work = _FoldWork({name: _portable(experiments[name]) for name in names}, time.time() + left)
    first.observer.say(f"{len(missing):,} trainings of folds, by the workers of the cluster")
    parts = [[part] for _, _, part in missing]
    for number, answers in workers.map(work, parts, device=first.compute.processor.type, say=first.observer.say):
        key, trainer, (model, candidate, fold) = missing[number]
        if isinstance(answers, _NotInTime):
            found[key].needed.append(answers.needed)
            continue
        found[key].answers[fold.number] = answers
        trainer.keep(answers, fold.train, fold.held_out, name=fold.title)
        first.observer.say(Detail(f"{model} {candidate}, {fold.title}: {answers.seconds:.1f} s of a worker"))
    return found


def answer_by_workers(experiment: Experiment, candidate: Candidate, folds: np.ndarray, clock: Clock) -> Ahead | None:
    """Return what workers answered of all folds (n,) of one experiment; None where there are none, or nothing for them.

    Raises:
        OverBudgetError: no time is left to begin.
    """
    if experiment.compute.workers is None or not candidate.kind.trains_network:
        return None
    if not clock.may_begin(f"{candidate}, by workers"):
        raise OverBudgetError
    parts = folds_of(experiment.dataset, folds, seed=experiment.seed)
    return answer_ahead({"": experiment}, {"": FoldJob("", candidate, parts)}, clock).get("")


@dataclass(eq=False)
class _FoldWork:
    """What a worker does: keeps what trainings of one network have in common.

    Attributes:
        experiments: by network.
        until: when all is to be over, in seconds of `time.time`.
        first: the number of the fold that is begun in any case.
    """

    experiments: Mapping[str, Experiment]
    until: float
    first: int = 0
    _trainers: dict[tuple[str, Candidate], FineTuningTrainer] = field(default_factory=dict)

    def __call__(self, part: Sequence[tuple[str, Candidate, Fold]]) -> HeldOutLogits | _NotInTime:
        """Return the answers of a fold, if they come in time."""
        ((model, candidate, fold),) = part
        clock = Clock(self.until - time.time())
        if clock.left() <= 0 and fold.number > self.first:
            return _NotInTime(None)
        if (model, candidate) not in self._trainers:
            trainer = trainer_of(candidate, self.experiments[model])
            assert isinstance(trainer, FineTuningTrainer)  # others are not sent
            self._trainers[model, candidate] = trainer
        try:
            return self._trainers[model, candidate].predict_held_out(
                fold.train, fold.held_out, name=fold.title, pace=forecast(clock, 1)
            )
        except OverBudgetError as error:
            return _NotInTime(error.args[0] if error.args else None)


def _portable(experiment: Experiment) -> Experiment:
    """Return the same for a worker, with the last layers that are known, and without the features."""
    features = experiment.features
    found = replace(
        experiment,
        features=replace(features, values=features.values[:0].copy()),
        compute=replace(experiment.compute, on=""),
        observer=Observer(),
        run=nowhere(),
        validation=None,
        validation_features=None,
        other_views={},
        coordinates=None,
        _cuts={},
        _random=None,
        _hashes={},
    )
    found.__dict__["heads"] = experiment.heads.alone()
    return found
