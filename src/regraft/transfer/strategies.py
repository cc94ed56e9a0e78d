"""Strategies as methods: each learns from some of the photos and answers for others."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from regraft.errors import OptionError
from regraft.evaluation.calibration import fit_temperature
from regraft.files import sha256
from regraft.heads.probe import CalibratedHead, Labelled, inner_folds
from regraft.heads.search import Head
from regraft.networks.backbones import Backbone
from regraft.networks.freezing import Plan, check_frozen, fingerprints, plan_training, stages_to_train
from regraft.progress import Observer
from regraft.training.finetuner import Finetuner, Lesson
from regraft.training.schedule import Schedule
from regraft.transfer.experiment import Experiment
from regraft.watchdog import watched

FURTHER = ", trained further"  # ends the source of a network that was: `explain` finds the one before by it
_PATIENCE = 1800.0  # seconds: an epoch is judged by thousands of photos without a word
_HELD_OUT = 6  # a sixth of the photos says when to stop and sets the temperature


@dataclass(frozen=True)
class Candidate:
    """Which part of the network is trained.

    Attributes:
        strategy: "frozen", "top", "whole" or "scratch".
        train_from: the first stage that is trained, instead of the strategy's own.
        train_only: the one stage that is trained.
        lora: rank of low-rank adapters; 0 trains the weights themselves.
    """

    strategy: str
    train_from: str | None = None
    train_only: str | None = None
    lora: int = 0

    def __str__(self) -> str:
        """Return a short name, e.g. "top", "from blocks.3" or "only blocks.0"."""
        where = f"only {self.train_only}" if self.train_only else f"from {self.train_from}" if self.train_from else ""
        name = where or self.strategy
        return f"{name}, rank {self.lora}" if self.lora else name


@dataclass(frozen=True, eq=False)
class Answers:
    """What a method, taught by some photos, says of m others.

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
class Fitted:
    """A network and head that learned from all photos.

    Attributes:
        backbone: the network, trained as the method says.
        head: on its features.
        temperature: of the head's logits.
        plan: what was trained.
        proof: "0 of N frozen tensors changed".
    """

    backbone: Backbone
    head: Head
    temperature: float
    plan: Plan
    proof: str


def plan_of(candidate: Candidate, backbone: Backbone, schedule: Schedule) -> Plan:
    """Return what training `candidate` by `schedule` does to every tensor of `backbone`.

    Raises:
        OptionError: a stage or adapters that it does not have, or updates of one photo for batch-norm statistics.
    """
    stages = [stage.name for stage in backbone.stages()]
    own = {"frozen": [], "top": stages[-2:]}.get(candidate.strategy, stages)
    plan = plan_training(
        backbone,
        trained=stages_to_train(stages, own, train_from=candidate.train_from, train_only=candidate.train_only),
        lr_decay=schedule.lr_decay,
        batch_norm=schedule.batch_norm_for(candidate.strategy),
        lora=candidate.lora,
    )
    if plan.names("statistics") and schedule.batch_size == 1:
        raise OptionError(
            "--train-batch-size must be 2 or more where batch-norm statistics are trained (--strategy scratch, "
            "--batch-norm trained): one photo has none. Got 1."
        )
    return plan


class OverBudgetError(Exception):
    """Training would not end within the time that there is; holds the seconds that it would take, where known."""


class Pace(Protocol):
    """Hears how far the work is, and may raise `OverBudgetError`."""

    def __call__(self, share: float, *, once: bool = False) -> None:
        """Hear the share that is done of one training; with `once`, of what is done once for all trainings."""


class Answering(Protocol):
    """What can be cross-validated."""

    candidate: Candidate

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
        """Learn from the photos at positions `learn` (m,) and answer for those at `judge` (k,)."""


class Method(Answering, Protocol):
    """One strategy on one material."""

    def fit(self, temperature: float | None = None) -> Fitted:
        """Learn from all photos; `temperature` is that of answers to photos not learned from, where there are any."""


def method_of(candidate: Candidate, material: Experiment) -> "FrozenMethod | TunedMethod":
    """Return the method that trains what `candidate` says."""
    kind = FrozenMethod if candidate.strategy == "frozen" else TunedMethod
    return kind(candidate, material)


class FrozenMethod:
    """The network as it is, with a new last layer (`heads.probe`)."""

    def __init__(self, candidate: Candidate, material: Experiment) -> None:
        self.candidate = candidate
        self._material = material

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:  # noqa: ARG002
        """Learn from the photos at positions `learn` (m,) and answer for those at `judge` (k,)."""
        started = time.monotonic()
        data = self._material.data
        probe = self._material.probes.of(learn)
        logits = probe.head.logits(data.features[judge])
        return Answers(logits, probe.temperature, time.monotonic() - started, len(learn))

    def fit(self, temperature: float | None = None) -> Fitted:  # noqa: ARG002 (the probe chooses its own)
        """Learn from all photos."""
        backbone = self._material.backbone
        plan = plan_of(self.candidate, backbone, self._material.schedule)
        probe = self._material.probes.of(self._material.positions())
        proof = check_frozen(self._material.hashes(plan.frozen), fingerprints(backbone.module, plan.frozen))
        return Fitted(backbone, probe.head, probe.temperature, plan, proof)


class TunedMethod:
    """A part of the network trained further, from the converged head of the probe on (Kumar et al. 2022)."""

    def __init__(self, candidate: Candidate, material: Experiment) -> None:
        self.candidate = candidate
        self._material = material
        self._scratch = candidate.strategy == "scratch"
        self._network = material.network(scratch=self._scratch)
        self.plan = plan_of(candidate, self._network, material.schedule)
        self._before = material.hashes(self.plan.frozen, scratch=self._scratch)
        self._job = [str(candidate), self._network.fingerprint()]  # one run may hold several networks

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
        """Learn from the photos at positions `learn` (m,) and answer for those at `judge` (k,)."""
        run, job = self._material.run, ["answers", self._job, name, _digest(learn), _digest(judge)]
        done = run.load(job)
        if done is not None:
            return Answers(done.tensors["logits"].numpy(), **done.about)
        hold = self._material.schedule.patience is not None
        finetuner, temperature, seconds = self._train(learn, name, pace, hold=hold)
        logits = finetuner.logits(judge)
        self._prove(finetuner.finish()[0])
        about = {"temperature": temperature, "seconds": seconds, "images": finetuner.images}
        run.save(job, {"logits": torch.from_numpy(logits)}, about)
        return Answers(logits, temperature, seconds, finetuner.images)

    def fit(self, temperature: float | None = None) -> Fitted:
        """Learn from all photos; from five sixths where the rest is to set the temperature or to say when to stop."""
        hold = temperature is None or self._material.schedule.patience is not None
        finetuner, own, _ = self._train(self._material.positions(), "all photos", None, hold=hold)
        temperature = own or temperature or 1.0
        state, head = finetuner.finish()
        backbone, proof = self._prove(state)
        return Fitted(backbone, head, temperature, self.plan, proof)

    def _train(
        self, photos: np.ndarray, name: str, pace: Pace | None, *, hold: bool
    ) -> tuple[Finetuner, float | None, float]:
        """Return the trained network, its temperature if photos are held out for it, and seconds."""
        material = self._material
        assert self.plan.cut is not None  # of a tuned method
        once = None if pace is None else functools.partial(pace, once=True)
        top, activations = material.at_cut(self.plan.cut, scratch=self._scratch, pace=once)
        learn, tune = hold_out(material.data, photos, seed=material.seed) if hold else (photos, photos[:0])
        started = time.monotonic()
        probe = self._start(learn)
        schedule, strategy = material.schedule, self.candidate.strategy
        finetuner = Finetuner(
            top,
            probe.head,
            self.plan,
            schedule,
            Lesson(activations, material.data.labels, learn, tune),
            rate=schedule.rate(strategy, lora=bool(self.candidate.lora)),
            epochs=schedule.epochs_for(len(learn), strategy, least=2 if self.plan.names("statistics") else 1),
            accelerator=material.accelerator,
            seed=material.seed,
            run=material.run,
            job=[self._job, name, _digest(learn), _digest(tune), activations.kind],
        )
        follow(finetuner, f"training {self.candidate}, {name}", material.observer, pace=pace)
        temperature = fit_temperature(finetuner.logits(tune), material.data.labels[tune]) if len(tune) else None
        return finetuner, temperature, finetuner.earlier + time.monotonic() - started

    def _start(self, learn: np.ndarray) -> CalibratedHead:
        """Return the head to start from: the probe's, or zeros for a network that has no features to speak of."""
        data = self._material.data
        if self._scratch:
            weight = np.zeros((len(data.classes), data.features.shape[1]), dtype=np.float32)
            return CalibratedHead(Head(weight, np.zeros(len(weight), dtype=np.float32), 0.0), 1.0)
        return self._material.probes.of(learn)

    def _prove(self, state: dict[str, torch.Tensor]) -> tuple[Backbone, str]:
        """Return the trained network, and the proof that its frozen tensors are what they were."""
        network = self._network.with_tensors(state, self._network.source + FURTHER)
        return network, check_frozen(self._before, fingerprints(network.module, self.plan.frozen))


def follow(
    finetuner: Finetuner, title: str, observer: Observer, *, pace: Callable[[float], None] | None = None
) -> None:
    """Train to the end. What was done before training was taken up counts as no progress of now.

    Args:
        finetuner: the training.
        title: what the observer hears of it.
        observer: hears the progress.
        pace: hears the share of all steps that is done; what it raises ends the training.
    """
    begun = False
    try:
        with watched(title, observer.say, patience=_PATIENCE) as alive:
            for record in finetuner.train():
                alive()
                if not begun:
                    observer.begin(title, (record.steps - record.step) * finetuner.batch_size + record.photos)
                    begun = True
                observer.record(title, record)
                observer.advance(record.photos)
                if pace is not None:
                    pace(record.step / record.steps)
    finally:
        if begun:
            observer.end()


def _digest(photos: np.ndarray) -> str:
    """Return a name of positions `photos` (m,)."""
    return sha256(photos.astype(np.int64).tobytes()).hex()[:16]


def hold_out(data: Labelled, photos: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split positions `photos` (m,) into those to learn from, and a sixth by which training is stopped and calibrated.

    Groups stay whole. The sixth is empty where it would not hold two classes.
    """
    folds = inner_folds(data.select(photos), count=_HELD_OUT, seed=seed)
    held = folds == 0
    if len(np.unique(data.labels[photos[held]])) < 2:
        held = np.zeros(len(photos), dtype=bool)
    return photos[~held], photos[held]
