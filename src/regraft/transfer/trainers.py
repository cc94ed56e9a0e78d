"""Trainers: what a strategy learns from some of the photos and predicts of others."""

import functools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from regraft.data.dataset import Dataset
from regraft.errors import OptionError, option
from regraft.evaluation.calibration import fit_temperature
from regraft.files import sha256
from regraft.heads.linear import CalibratedHead, LinearHead
from regraft.heads.probe import CalibratedHeads
from regraft.images.tta import TTA
from regraft.networks.backbone import Backbone
from regraft.networks.plan import Plan, check_frozen
from regraft.transfer.budget import Pace
from regraft.transfer.experiment import Experiment, plan_of
from regraft.transfer.process_checks import check_batch_size
from regraft.transfer.strategies import Candidate

if TYPE_CHECKING:
    import torch

    from regraft.training.finetuner import Finetuner

FURTHER = ", trained further"  # ends the source of a network that was: `explain` finds the one before by it
_HELD_OUT = 6  # a sixth of the photos says when to stop and sets the temperature


@dataclass(frozen=True, eq=False)
class HeldOutLogits:
    """What was predicted of m photos that were not learned from.

    Attributes:
        logits: (m, c).
        temperature: of the logits; None where it is still to be set.
        seconds: of the training.
        images: how many photos went through training, each counted as often as it was seen.
    """

    logits: np.ndarray
    temperature: float | None
    seconds: float
    images: int


@dataclass(frozen=True, eq=False)
class FitOutcome:
    """A network and head that learned from all photos.

    Attributes:
        backbone: the network, trained as the strategy says.
        head: on its features, with the temperature of its logits.
        plan: what was trained.
        proof: "0 of N frozen tensors changed".
    """

    backbone: Backbone
    head: CalibratedHead
    plan: Plan
    proof: str


class HeldOutTrainer(Protocol):
    """What can be cross-validated."""

    candidate: Candidate

    def predict_held_out(
        self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
    ) -> HeldOutLogits:
        """Learn from the photos at positions `train` (m,) and predict those at `held_out` (k,)."""


class Trainer(HeldOutTrainer, Protocol):
    """One strategy in one experiment."""

    def fit(self, temperature: float | None = None) -> FitOutcome:
        """Learn from all photos; `temperature` is that of logits of photos not learned from, where there are any."""


def trainer_of(candidate: Candidate, experiment: Experiment) -> Trainer:
    """Return what trains `candidate`."""
    plan = plan_of(candidate, experiment.network(random_weights=candidate.kind.random_weights), experiment.schedule)
    if plan.cut is None:
        return LastLayerTrainer(candidate, experiment, plan)
    return FineTuningTrainer(candidate, experiment, plan)


class LinearProbe:
    """A new last layer on features: what an unchanged network is worth (`heads.probe`).

    Args:
        features: (n, d) float32.
        dataset: n photos.
        heads: those that were fitted before; None for new ones.
        seed: of their folds.
    """

    def __init__(
        self, features: np.ndarray, dataset: Dataset, *, heads: CalibratedHeads | None = None, seed: int = 0
    ) -> None:
        self.candidate = Candidate("frozen")
        self._features = features
        self._heads = heads or CalibratedHeads(features, dataset, seed=seed)

    def predict_held_out(
        self,
        train: np.ndarray,
        held_out: np.ndarray,
        *,
        name: str,  # noqa: ARG002 (nothing is kept of it)
        pace: Pace | None = None,  # noqa: ARG002 (it takes seconds)
    ) -> HeldOutLogits:
        """Learn from the photos at positions `train` (m,) and predict those at `held_out` (k,)."""
        started = time.monotonic()
        head = self._heads.of(train)
        logits = head.logits(self._features, held_out)
        return HeldOutLogits(logits, head.temperature, time.monotonic() - started, len(train))


class LastLayerTrainer(LinearProbe):
    """The network as it is, with a new last layer."""

    def __init__(self, candidate: Candidate, experiment: Experiment, plan: Plan) -> None:
        super().__init__(experiment.features.values, experiment.dataset, heads=experiment.heads)
        self.candidate = candidate
        _, *joined = experiment.prefixes.items()
        self._experiment, self._plan = experiment, plan
        for prefix, backbone in joined:  # they stay as they are, too
            tensors = plan_of(candidate, backbone, experiment.schedule).tensors
            named = (replace(tensor, name=f"{prefix}{tensor.name}") for tensor in tensors)
            self._plan = replace(self._plan, tensors=(*self._plan.tensors, *named))

    def fit(self, temperature: float | None = None) -> FitOutcome:  # noqa: ARG002 (the head has its own)
        """Learn from all photos."""
        experiment, plan = self._experiment, self._plan
        head = experiment.heads.of(np.arange(len(experiment.dataset)))
        after: dict[str, str] = {}
        for prefix, backbone in experiment.prefixes.items():
            after |= {f"{prefix}{name}": digest for name, digest in backbone.hash_tensors().items()}
        return FitOutcome(experiment.backbone, head, plan, check_frozen(experiment.hashes(plan.frozen), after))


class FineTuningTrainer:
    """A part of the network trained further, from the converged last layer on (Kumar et al. 2022)."""

    def __init__(self, candidate: Candidate, experiment: Experiment, plan: Plan) -> None:
        self.candidate, self.plan = candidate, plan
        self._experiment = experiment
        if experiment.joined:
            raise OptionError(
                f"{option('strategy', candidate.strategy)} trains one network. Got {1 + len(experiment.joined)} "
                f"({option('model')}). Name one, or use {option('strategy', 'frozen')}, which joins their features."
            )
        if plan.names("statistics"):
            check_batch_size(experiment.schedule, experiment.compute.processes)
        self._random = candidate.kind.random_weights
        self._network = experiment.network(random_weights=self._random)
        self._before = experiment.hashes(plan.frozen, random_weights=self._random)
        self._views = TTA[experiment.tta].numbers
        self._job = [str(candidate), self._network.fingerprint()]  # one run may hold several networks

    def predict_held_out(
        self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
    ) -> HeldOutLogits:
        """Learn from the photos at positions `train` (m,) and predict those at `held_out` (k,)."""
        if (kept := self.kept(train, held_out, name=name)) is not None:
            return kept
        finetuner, temperature, seconds = self._train(train, name, pace, hold=self._holds)
        logits = finetuner.logits(held_out, self._views)
        self._prove(finetuner.finish()[0])
        answers = HeldOutLogits(logits, temperature, seconds, finetuner.images)
        self.keep(answers, train, held_out, name=name)
        return answers

    def fit_start(self, train: np.ndarray) -> None:
        """Fit the last layer that training for an answer begins with, from photos at positions `train` (m,)."""
        self._start(self._parts(train, hold=self._holds)[0])

    def kept(self, train: np.ndarray, held_out: np.ndarray, *, name: str) -> HeldOutLogits | None:
        """Return what `predict_held_out` gave of these photos before the run was killed; None if nothing."""
        done = self._experiment.run.load(self._answers(train, held_out, name))
        return None if done is None else HeldOutLogits(done.tensors["logits"].numpy(), **done.about)

    def keep(self, answers: HeldOutLogits, train: np.ndarray, held_out: np.ndarray, *, name: str) -> None:
        """Keep what was predicted in the run, for when it is killed."""
        import torch

        about = {"temperature": answers.temperature, "seconds": answers.seconds, "images": answers.images}
        job = self._answers(train, held_out, name)
        self._experiment.run.save(job, {"logits": torch.from_numpy(answers.logits)}, about)

    def _answers(self, train: np.ndarray, held_out: np.ndarray, name: str) -> list[object]:
        return ["answers", self._job, name, _digest(train), _digest(held_out)]

    def fit(self, temperature: float | None = None) -> FitOutcome:
        """Learn from all photos; from five sixths where the rest is to set the temperature or to say when to stop."""
        hold = temperature is None or self._holds
        everything = np.arange(len(self._experiment.dataset))
        finetuner, own, _ = self._train(everything, "all photos", None, hold=hold)
        state, head = finetuner.finish()
        backbone, proof = self._prove(state)
        return FitOutcome(
            backbone, replace(self._started, head=head, temperature=own or temperature or 1.0), self.plan, proof
        )

    def _train(
        self, photos: np.ndarray, name: str, pace: Pace | None, *, hold: bool
    ) -> "tuple[Finetuner, float | None, float]":
        """Return the trained network, its temperature if photos are held out for it, and seconds."""
        from regraft.networks.cutting import DepthTop
        from regraft.training.finetuner import Finetuner
        from regraft.training.loop import run_training
        from regraft.training.losses import LabelLoss

        experiment, kind = self._experiment, self.candidate.kind
        assert self.plan.cut is not None  # of fine-tuning
        once = None if pace is None else functools.partial(pace, once=True)
        top, activations = experiment.at_cut(self.plan.cut, random_weights=self._random, pace=once)
        labels = experiment.dataset.labels
        train, validate = self._parts(photos, hold=hold)
        started = time.monotonic()
        head = self._started = self._start(train)
        if isinstance(top, DepthTop):
            assert isinstance(head.columns, slice)  # of one network
            top.first = head.columns.start or 0
        schedule = experiment.schedule
        finetuner = Finetuner(
            top,
            head.head,
            self.plan,
            schedule,
            activations=activations,
            objective=LabelLoss(
                labels,
                len(experiment.dataset.classes),
                smoothing=schedule.label_smoothing,
                weights=self._class_weights(train),
            ),
            train=train,
            validation=validate,
            rate=schedule.learning_rate(kind.adapter_rate if self.candidate.lora else kind.learning_rate),
            epochs=schedule.epochs_for(len(train), kind.epochs, least=2 if self.plan.names("statistics") else 1),
            accelerator=experiment.accelerator,
            seed=experiment.seed,
            run=experiment.run,
            job=[self._job, name, _digest(train), _digest(validate), activations.kind],
        )
        run_training(finetuner, f"training {self.candidate}, {name}", experiment.observer, pace=pace)
        temperature = None
        if len(validate):
            logits = finetuner.logits(validate, self._views)
            temperature = experiment.compute.processes.first(lambda: fit_temperature(logits, labels[validate]))
        return finetuner, temperature, finetuner.earlier + time.monotonic() - started

    @property
    def _holds(self) -> bool:
        """Whether photos are held out to say when to stop."""
        return self._experiment.schedule.patience is not None

    def _parts(self, photos: np.ndarray, *, hold: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return photos to learn from, and those to stop and to set the temperature by, if any."""
        experiment = self._experiment
        return hold_out(experiment.dataset, photos, seed=experiment.seed) if hold else (photos, photos[:0])

    def _class_weights(self, train: np.ndarray) -> np.ndarray | None:
        """Return the weights (c,) of the classes for the photos that are trained on, of mean 1 over these."""
        dataset, weights = self._experiment.dataset, self._experiment.class_weights
        counts = np.bincount(dataset.labels[train], minlength=len(dataset.classes))
        return None if weights is None else weights.normalised(counts)

    def _start(self, train: np.ndarray) -> CalibratedHead:
        """Return the head to start from: that of the features, or zeros for a network that has none to speak of."""
        if not self._random:
            return self._experiment.heads.of(train)
        return CalibratedHead(LinearHead.zeros(len(self._experiment.dataset.classes), self._network.width), 1.0)

    def _prove(self, state: "dict[str, torch.Tensor]") -> tuple[Backbone, str]:
        """Return the trained network, and the proof that its frozen tensors are what they were."""
        from regraft.networks.freezing import fingerprints

        network = self._network.with_tensors(state, self._network.source + FURTHER)
        return network, check_frozen(self._before, fingerprints(network.module, self.plan.frozen))


def _digest(photos: np.ndarray) -> str:
    """Return a name of positions `photos` (m,)."""
    return sha256(photos.astype(np.int64).tobytes()).hex()[:16]


def hold_out(dataset: Dataset, photos: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split positions `photos` (m,) into those to learn from, and a sixth by which training is stopped and calibrated.

    Groups stay whole. The sixth is empty where it would not hold two classes.
    """
    held_out = dataset.select(photos).possible_folds(_HELD_OUT, seed=seed) == 0
    if len(np.unique(dataset.labels[photos[held_out]])) < 2:
        held_out = np.zeros(len(photos), dtype=bool)
    return photos[~held_out], photos[held_out]
