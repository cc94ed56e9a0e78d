"""Fine-tuning: the part of a network behind a cut, and its head, trained on activations at the cut."""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional

from regraft.engines.microbatches import MicroBatches, memory_for
from regraft.errors import TrainingError
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.linear import Head, LinearHead, linear_of
from regraft.networks.cutting import Top
from regraft.networks.freezing import Plan, apply_plan
from regraft.networks.lora import add_adapters, merge_adapters
from regraft.training.checkpoints import Run
from regraft.training.distributed import ProcessGroup
from regraft.training.ema import WeightAverage, named
from regraft.training.losses import Labels, Pairs, Student
from regraft.training.mixup import Mix, Unmixed, draw_mix
from regraft.training.optimisation import NETWORK, TrainingStep
from regraft.training.schedule import Schedule

SECONDS_PER_CHECKPOINT = 30.0  # what a killed run loses at most; more where writing takes over a second
_PAUSES = 30.0  # between checkpoints, as often as long as the last one took to write
_ORDER, _NOISE = 1, 2  # streams of random numbers: of the photos' order, and of what happens in a step


class Activations(Protocol):
    """Where activations come from: `features.activations.CachedViews` or `ComputedViews`."""

    count: int

    def stream(self, batches: Sequence[Pairs]) -> Iterator[torch.Tensor]:
        """Yield (b, ...) activations for each batch of pairs of photo and view."""


@dataclass(frozen=True)
class Record:
    """What one update, or one epoch, came to.

    Attributes:
        epoch: from 1 on.
        step: updates so far.
        steps: updates in all, if nothing stops them.
        loss: mean training loss (nats) of the step, or of the epoch.
        rate: learning rate of the head.
        photos: how many photos went into this step; 0 at an epoch's end.
        seconds: since training began or was taken up again.
        tuning_loss: at an epoch's end, mean log loss, once calibrated, on the photos held out for stopping; None
            without such photos.
        tuning_accuracy: their share of right answers, likewise.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    rate: float
    photos: int = 0
    seconds: float = 0.0
    tuning_loss: float | None = None
    tuning_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from, and by what training is stopped.

    Attributes:
        activations: of all photos.
        labels: (n,) of all photos.
        learn: (m,) positions of the photos that are learned from.
        tune: (t,) positions of the photos that say when to stop; none to train to the end.
        objective: what the answers are held against; None for the labels.
    """

    activations: Activations
    labels: np.ndarray
    learn: np.ndarray
    tune: np.ndarray
    objective: Labels | None = None


class Finetuner:
    """Trains the top of a network and its head.

    Args:
        top: the part behind the cut; it is changed.
        head: where its last layer starts: a linear probe's, or zeros.
        plan: which tensors of the top learn, and how fast.
        schedule: how.
        lesson: by what.
        rate: the highest learning rate.
        epochs: how often each photo is seen.
        accelerator: device and precision.
        seed: of the order of photos, their views, mixing and dropout.
        run: where checkpoints are kept.
        job: the name of this training in `run`, in JSON types.
    """

    def __init__(
        self,
        top: Top,
        head: Head,
        plan: Plan,
        schedule: Schedule,
        lesson: Lesson,
        *,
        rate: float,
        epochs: int,
        accelerator: Accelerator,
        seed: int,
        run: Run,
        job: object,
    ) -> None:
        self._plan, self._schedule, self._lesson = plan, schedule, lesson
        self._rate, self._epochs, self._seed = rate, epochs, seed
        self._accelerator, self._run, self._job = accelerator, run, ["training", job]
        self._together = ProcessGroup(accelerator)
        least = 2 * self._together.count if plan.names("statistics") else 1
        self._sizes = schedule.batch_sizes(len(lesson.learn), least=least)
        self._in_training = apply_plan(top.network, plan)
        self._adapted = (
            add_adapters(top.network, plan.names("low-rank"), rank=plan.lora, seed=seed) if plan.lora else None
        )
        linear = linear_of(head, "fine-tuning")
        self._strength = linear.strength
        objective = lesson.objective or Labels(lesson.labels, head.classes, smoothing=schedule.label_smoothing)
        with memory_for(accelerator.device, "training: the weights alone"):
            self._model = Student(top, _layer(linear), objective).to(accelerator.device)
            self._kept = WeightAverage(self._model, {f"{NETWORK}{name}" for name in plan.names("statistics")})
        self._descent = TrainingStep(self._model, plan, schedule, accelerator, rate=rate)
        self._answering = MicroBatches(accelerator.device, "the answers of training to")
        self._best_loss, self._worse, self._step, self._epoch_loss = math.inf, 0, 0, 0.0
        self._started = self._saved = time.monotonic()
        self._writing = 0.0  # seconds that the last checkpoint took
        self.earlier, self.images = (
            0.0,
            0,
        )  # seconds before it was taken up; photos in all, each as often as it was seen
        self.stopped_early = False
        self.curve: list[Record] = []  # of every epoch, also before it was taken up

    @property
    def steps(self) -> int:
        """Return the number of updates in all."""
        return self._epochs * len(self._sizes)

    @property
    def batch_size(self) -> int:
        """Return how many photos go into an update of this training."""
        return self._schedule.batch_size

    @property
    def seconds(self) -> float:
        """Return how long training has taken, also before it was taken up."""
        return self.earlier + time.monotonic() - self._started

    def train(self) -> Iterator[Record]:
        """Train, yielding a record after each update and each epoch; taken up where a killed run left it.

        At the end the weights are the last average; with patience and held-out photos those of the epoch with the
        lowest loss on them, the start included. Closing the iterator stops it.

        Raises:
            TrainingError: a loss, weights or answers that are not finite, or no memory for a single photo.
        """
        with memory_for(self._accelerator.device, "training"):
            yield from self._train()

    def _train(self) -> Iterator[Record]:
        self._started = self._saved = time.monotonic()
        self._take_up()
        if self._step == 0:
            self._judge_epoch()  # what the head can do before anything is trained
        while self._step < self.steps and not self.stopped_early:
            epoch, within = divmod(self._step, len(self._sizes))
            batches = self._batches(epoch)[within:]
            parts = [self._together.own(pairs) for pairs in batches]
            for activation, pairs, part in zip(self._activations(parts), batches, parts, strict=True):
                rate = self._rate * self._schedule.rate_factor(self._step, self.steps)
                loss = self._update(activation, part, len(pairs))
                self._epoch_loss += loss * len(pairs)
                self.images += len(pairs)
                seconds = time.monotonic() - self._started
                yield Record(epoch + 1, self._step, self.steps, loss, rate, len(pairs), seconds)
                if self._step % len(self._sizes) and self._is_due():
                    self._save()
            judged = self._judge_epoch()
            mean, self._epoch_loss = self._epoch_loss / len(self._lesson.learn), 0.0
            seconds = self.seconds
            self.curve.append(Record(epoch + 1, self._step, self.steps, mean, rate, 0, seconds, *judged))
            if self._is_due():
                self._save()
            yield self.curve[-1]
        self._kept.put(self._kept.best)
        self.logits(self._lesson.learn[: self._schedule.batch_size])  # weights may be finite and yet answer nothing

    def logits(self, photos: np.ndarray) -> np.ndarray:
        """Return (m, c) float32 logits of the photos at positions `photos` (m,), by the current weights.

        Raises:
            TrainingError: they are not finite, or there is no memory for a single photo.
        """
        self._model.eval()
        size = self._schedule.batch_size
        own = list(self._together.own(range(len(photos))))
        batches = [[(int(p), 0) for p in photos[own[start : start + size]]] for start in range(0, len(own), size)]
        found = [np.zeros((0, self._model.head.out_features), dtype=np.float32)]
        with torch.no_grad(), self._accelerator.autocast():
            for activation in self._lesson.activations.stream(batches):
                found += self._answering(len(activation), functools.partial(self._answers, activation))
        logits = np.zeros((len(photos), found[0].shape[1]), dtype=np.float32)
        logits[own] = np.concatenate(found)
        logits = self._together.sum(torch.from_numpy(logits)).cpu().numpy()
        if not np.isfinite(logits).all():
            raise self._failure("the answers of the network are not finite")
        return logits

    def _answers(self, activation: torch.Tensor, parts: list[slice]) -> list[np.ndarray]:
        device = self._accelerator.device
        return [self._model(activation[rows].to(device))[1].float().cpu().numpy() for rows in parts]

    def finish(self) -> tuple[dict[str, torch.Tensor], LinearHead]:
        """Return every tensor of the top, by its name in the network, and the head. Nothing can be trained after."""
        top = self._model.top
        if self._adapted is not None:
            top.network = merge_adapters(self._adapted)
        linear = self._model.head
        weight, bias = (tensor.detach().float().cpu().numpy().copy() for tensor in (linear.weight, linear.bias))
        state = {name: tensor.detach().cpu() for name, tensor in top.network.state_dict().items()}
        return state, LinearHead(weight, bias, self._strength)

    def _update(self, activation: torch.Tensor, pairs: Pairs, photos: int) -> float:
        """Take one step by this process's `pairs` of a batch of `photos`, and return the mean loss of all."""
        draw = np.random.default_rng([self._seed, _NOISE, self._step])
        draw = draw.spawn(self._together.count)[self._together.number] if self._together.count > 1 else draw
        objective, device = self._model.objective, self._accelerator.device
        schedule = self._schedule
        wanted: list[torch.Tensor] = []
        mix: Mix = Unmixed()
        if pairs:  # a process may have none of the last few
            wanted = objective.wanted(pairs)
            mix = draw_mix(tuple(activation.shape), mixup=schedule.mixup, cutmix=schedule.cutmix, draw=draw)

        def loss_of(rows: slice) -> torch.Tensor:
            part = mix.activations(activation, rows)
            targets = [mix.wanted(target, rows).to(device) for target in wanted]
            with self._accelerator.autocast():
                features, logits = self._model(part.to(device))
                return objective.loss(features.float(), logits.float(), targets)

        self._learning_mode()
        factor = schedule.rate_factor(self._step, self.steps)
        self._step += 1
        loss = self._descent.step(
            photos, len(pairs), loss_of, share=factor, seed=int(draw.integers(2**31)), where=self._place()
        )
        if not math.isfinite(loss):
            raise self._failure(f"the training loss is {loss}")
        self._kept.follow(self._step, schedule.averaging * len(self._sizes))
        return loss

    def _place(self) -> str:
        return f"epoch {max(math.ceil(self._step / len(self._sizes)), 1)}, step {self._step} of {self.steps}"

    def _failure(self, what: str) -> TrainingError:
        wider = ", or use --precision bf16 or fp32" if self._accelerator.mixed_precision == "fp16" else ""
        return TrainingError(
            f"{what} in {self._place()}. Lower the learning rate (--lr, now {self._rate:g}){wider}; or the weights of "
            "the network are damaged."
        )

    def _learning_mode(self) -> None:
        self._model.eval()
        for module in self._in_training:
            module.training = True

    def _batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the pairs of photo and view of each step of an epoch."""
        draw = np.random.default_rng([self._seed, _ORDER, epoch])
        order = draw.permutation(self._lesson.learn)
        views = draw.integers(0, self._lesson.activations.count, len(order))
        pairs = [(int(photo), int(view)) for photo, view in zip(order, views, strict=True)]
        ends = np.cumsum(self._sizes)
        return [pairs[end - size : end] for size, end in zip(self._sizes, ends, strict=True)]

    def _activations(self, batches: Sequence[Pairs]) -> Iterator[torch.Tensor]:
        """Yield the activations of each batch; none where a process has no photo of it."""
        found = self._lesson.activations.stream([pairs for pairs in batches if pairs])
        for pairs in batches:
            yield next(found) if pairs else torch.empty(0)

    def _judge_epoch(self) -> tuple[float | None, float | None]:
        """Return the mean's loss on the held-out photos and its share of right answers; note what is best."""
        self._check_finite()
        patience, tune = self._schedule.patience, self._lesson.tune
        if patience is None or not len(tune):
            self._kept.keep()
        if not len(tune):
            return None, None
        current = self._kept.copy()
        self._kept.put(self._kept.mean)
        logits, labels = self.logits(tune), self._lesson.labels[tune]
        loss, right = _calibrated_loss(logits, labels), float(np.mean(logits.argmax(axis=1) == labels))
        self._kept.put(current)
        if patience is not None and loss < self._best_loss:
            self._best_loss, self._worse = loss, 0
            self._kept.keep()
        elif patience is not None:
            self._worse += 1
            self.stopped_early = self._worse >= patience
        return loss, right

    def _check_finite(self) -> None:
        if not self._kept.are_finite():
            raise self._failure("the weights are not finite")

    def _is_due(self) -> bool:
        """Tell whether a checkpoint is to be written: not too seldom, and not so often that training waits for it."""
        pause = max(SECONDS_PER_CHECKPOINT, _PAUSES * self._writing)
        return time.monotonic() - self._saved > pause

    def _save(self) -> None:
        self._check_finite()
        if not self._together.writes:
            self._saved = time.monotonic()
            return
        started = time.monotonic()
        state, scale = self._descent.state()
        tensors = self._kept.state() | {f"optimizer.{name}": tensor for name, tensor in state.items()}
        about = {
            "step": self._step,
            "epoch_loss": self._epoch_loss,
            "best_loss": None if math.isinf(self._best_loss) else self._best_loss,
            "worse": self._worse,
            "stopped_early": self.stopped_early,
            "scale": scale,
            "seconds": self.seconds,
            "images": self.images,
            "curve": [asdict(record) for record in self.curve],
        }
        self._run.save(self._job, tensors, about)
        self._saved = time.monotonic()
        self._writing = self._saved - started

    def _take_up(self) -> None:
        saved = self._run.load(self._job)
        if saved is None:
            return
        self._kept.take_up(saved.tensors)
        self._descent.take_up(named(saved.tensors, "optimizer."), saved.about["scale"])
        self._step, self._epoch_loss = saved.about["step"], saved.about["epoch_loss"]
        best = saved.about["best_loss"]
        self._best_loss = math.inf if best is None else best
        self._worse, self.stopped_early = saved.about["worse"], saved.about["stopped_early"]
        self.earlier, self.images = saved.about["seconds"], saved.about["images"]
        self.curve = [Record(**record) for record in saved.about["curve"]]


def _calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log loss (nats) that (n, c) `logits` have once their temperature is set.

    Training makes a network sure of itself long before it stops learning what is what, and the temperature undoes it.
    """
    divided = torch.from_numpy(logits).double() / fit_temperature(logits, labels)
    return float(functional.cross_entropy(divided, torch.from_numpy(labels)))


def _layer(head: LinearHead) -> nn.Linear:
    layer = nn.Linear(head.features, head.classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return layer
