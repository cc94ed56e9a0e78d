"""Fine-tuning: the part of a network behind a cut, and its head, trained on activations at the cut."""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional

from regraft.errors import TrainingError
from regraft.judge.calibration import fit_temperature
from regraft.learn.checkpoint import Run, Saved
from regraft.learn.descent import NETWORK, Descent
from regraft.learn.schedule import Schedule
from regraft.models.cutting import Top
from regraft.models.freezing import Plan, apply_plan
from regraft.models.heads import Head
from regraft.models.lowrank import add_adapters, merge_adapters
from regraft.models.memory import Parts, memory_for

SECONDS_PER_CHECKPOINT = 30.0  # what a killed run loses at most
_ORDER, _NOISE = 1, 2  # streams of random numbers: of the photos' order, and of what happens in a step


class Activations(Protocol):
    """Where activations come from: `learn.views.CachedViews` or `ComputedViews`."""

    count: int

    def stream(self, batches: Sequence[Sequence[tuple[int, int]]]) -> Iterator[torch.Tensor]:
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
    """

    epoch: int
    step: int
    steps: int
    loss: float
    rate: float
    photos: int = 0
    seconds: float = 0.0
    tuning_loss: float | None = None


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from, and by what training is stopped.

    Attributes:
        activations: of all photos.
        labels: (n,) of all photos.
        learn: (m,) positions of the photos that are learned from.
        tune: (t,) positions of the photos that say when to stop; none to train to the end.
    """

    activations: Activations
    labels: np.ndarray
    learn: np.ndarray
    tune: np.ndarray


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
        self._sizes = schedule.batch_sizes(len(lesson.learn), in_pairs=bool(plan.names("statistics")))
        self._in_training = apply_plan(top.network, plan)
        self._adapted = (
            add_adapters(top.network, plan.names("low-rank"), rank=plan.lora, seed=seed) if plan.lora else None
        )
        self._strength = head.strength
        with memory_for(accelerator.device, "training: the weights alone"):
            self._model = _WithHead(top, _linear(head)).to(accelerator.device)
            self._average = {name: tensor.detach().clone() for name, tensor in self._learning().items()}
            self._best = {name: tensor.clone() for name, tensor in self._average.items()}
        self._descent = Descent(self._model, plan, schedule, accelerator, rate=rate)
        self._answering = Parts(accelerator.device, "the answers of training to")
        self._best_loss, self._worse, self._step, self._epoch_loss = math.inf, 0, 0, 0.0
        self._started = time.monotonic()
        self.earlier, self.images = (
            0.0,
            0,
        )  # seconds before it was taken up; photos in all, each as often as it was seen
        self.stopped_early = False

    @property
    def steps(self) -> int:
        """Return the number of updates in all."""
        return self._epochs * len(self._sizes)

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
        self._started = time.monotonic()
        self._take_up()
        saved = time.monotonic()
        if self._step == 0:
            self._judge_epoch()  # what the head can do before anything is trained
        while self._step < self.steps and not self.stopped_early:
            epoch, within = divmod(self._step, len(self._sizes))
            batches = self._batches(epoch)[within:]
            for activation, pairs in zip(self._lesson.activations.stream(batches), batches, strict=True):
                rate = self._rate * self._schedule.rate_factor(self._step, self.steps)
                loss = self._update(activation, [photo for photo, _ in pairs])
                self._epoch_loss += loss * len(pairs)
                self.images += len(pairs)
                seconds = time.monotonic() - self._started
                yield Record(epoch + 1, self._step, self.steps, loss, rate, len(pairs), seconds)
                if self._step % len(self._sizes) and time.monotonic() - saved > SECONDS_PER_CHECKPOINT:
                    self._save()
                    saved = time.monotonic()
            tuning_loss = self._judge_epoch()
            mean, self._epoch_loss = self._epoch_loss / len(self._lesson.learn), 0.0
            self._save()
            saved = time.monotonic()
            seconds = time.monotonic() - self._started
            yield Record(epoch + 1, self._step, self.steps, mean, rate, 0, seconds, tuning_loss)
        self._put(self._best)
        self.logits(self._lesson.learn[: self._schedule.batch_size])  # weights may be finite and yet answer nothing

    def logits(self, photos: np.ndarray) -> np.ndarray:
        """Return (m, c) float32 logits of the photos at positions `photos` (m,), by the current weights.

        Raises:
            TrainingError: they are not finite, or there is no memory for a single photo.
        """
        self._model.eval()
        size = self._schedule.batch_size
        batches = [[(int(p), 0) for p in photos[start : start + size]] for start in range(0, len(photos), size)]
        found = [np.zeros((0, self._model.head.out_features), dtype=np.float32)]
        with torch.no_grad(), self._accelerator.autocast():
            for activation in self._lesson.activations.stream(batches):
                found += self._answering(len(activation), functools.partial(self._answers, activation))
        logits = np.concatenate(found)
        if not np.isfinite(logits).all():
            raise self._failure("the answers of the network are not finite")
        return logits

    def _answers(self, activation: torch.Tensor, parts: list[slice]) -> list[np.ndarray]:
        device = self._accelerator.device
        return [self._model(activation[rows].to(device)).float().cpu().numpy() for rows in parts]

    def finish(self) -> tuple[dict[str, torch.Tensor], Head]:
        """Return every tensor of the top, by its name in the network, and the head. Nothing can be trained after."""
        top = self._model.top
        if self._adapted is not None:
            top.network = merge_adapters(self._adapted)
        linear = self._model.head
        weight, bias = (tensor.detach().float().cpu().numpy().copy() for tensor in (linear.weight, linear.bias))
        state = {name: tensor.detach().cpu() for name, tensor in top.network.state_dict().items()}
        return state, Head(weight, bias, self._strength)

    def _update(self, activation: torch.Tensor, photos: list[int]) -> float:
        draw = np.random.default_rng([self._seed, _NOISE, self._step])
        labels = torch.from_numpy(self._lesson.labels[photos])
        targets = functional.one_hot(labels, self._model.head.out_features).float()
        share, other = 1.0, np.arange(len(photos))
        if self._schedule.mixup:
            share, other = draw.beta(self._schedule.mixup, self._schedule.mixup), draw.permutation(len(photos))

        def loss_of(rows: slice) -> torch.Tensor:
            part, wanted = activation[rows], targets[rows]
            if self._schedule.mixup:
                part = share * part + (1 - share) * activation[other[rows]]
                wanted = share * wanted + (1 - share) * targets[other[rows]]
            with self._accelerator.autocast():
                logits = self._model(part.to(self._accelerator.device))
                smoothing = self._schedule.label_smoothing
                return functional.cross_entropy(logits.float(), wanted.to(logits.device), label_smoothing=smoothing)

        self._learning_mode()
        factor = self._schedule.rate_factor(self._step, self.steps)
        self._step += 1
        loss = self._descent.step(
            len(photos), loss_of, share=factor, seed=int(draw.integers(2**31)), where=self._place()
        )
        if not math.isfinite(loss):
            raise self._failure(f"the training loss is {loss}")
        self._follow()
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

    def _follow(self) -> None:
        """Move the running mean towards the weights; at first it is a plain mean of those so far."""
        span = self._schedule.averaging * len(self._sizes)
        towards = max(1 / (1 + span), 1 / (1 + self._step))
        for name, tensor in self._learning().items():
            if span and tensor.is_floating_point():
                self._average[name].lerp_(tensor.detach(), towards)
            else:
                self._average[name].copy_(tensor.detach())

    def _judge_epoch(self) -> float | None:
        """Return the average's loss on the held-out photos; note what is best: the lowest, or else the last."""
        self._check_finite()
        patience = self._schedule.patience
        if patience is None or not len(self._lesson.tune):
            self._best = {name: tensor.clone() for name, tensor in self._average.items()}
        if not len(self._lesson.tune):
            return None
        current = {name: tensor.detach().clone() for name, tensor in self._learning().items()}
        self._put(self._average)
        loss = _calibrated_loss(self.logits(self._lesson.tune), self._lesson.labels[self._lesson.tune])
        self._put(current)
        if patience is not None and loss < self._best_loss:
            self._best_loss, self._worse = loss, 0
            self._best = {name: tensor.clone() for name, tensor in self._average.items()}
        elif patience is not None:
            self._worse += 1
            self.stopped_early = self._worse >= patience
        return loss

    def _learning(self) -> dict[str, torch.Tensor]:
        """Return what training changes: parameters that learn, and batch-norm statistics that follow."""
        statistics = {f"{NETWORK}{name}" for name in self._plan.names("statistics")}
        parameters = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        return parameters | {name: b for name, b in self._model.named_buffers() if name in statistics}

    def _put(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self._learning().items():
                tensor.copy_(tensors[name])

    def _check_finite(self) -> None:
        for tensors in (self._learning(), self._average):
            if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
                raise self._failure("the weights are not finite")

    def _save(self) -> None:
        self._check_finite()
        tensors = {f"now.{name}": tensor for name, tensor in self._learning().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        state, scale = self._descent.state()
        tensors |= {f"optimizer.{name}": tensor for name, tensor in state.items()}
        about = {
            "step": self._step,
            "epoch_loss": self._epoch_loss,
            "best_loss": None if math.isinf(self._best_loss) else self._best_loss,
            "worse": self._worse,
            "stopped_early": self.stopped_early,
            "scale": scale,
            "seconds": self.earlier + time.monotonic() - self._started,
            "images": self.images,
        }
        self._run.save(self._job, tensors, about)

    def _take_up(self) -> None:
        saved = self._run.load(self._job)
        if saved is None:
            return
        self._put(_part(saved, "now."))
        for kept, prefix in ((self._average, "average."), (self._best, "best.")):
            for name, tensor in _part(saved, prefix).items():
                kept[name].copy_(tensor)
        self._descent.take_up(_part(saved, "optimizer."), saved.about["scale"])
        self._step, self._epoch_loss = saved.about["step"], saved.about["epoch_loss"]
        best = saved.about["best_loss"]
        self._best_loss = math.inf if best is None else best
        self._worse, self.stopped_early = saved.about["worse"], saved.about["stopped_early"]
        self.earlier, self.images = saved.about["seconds"], saved.about["images"]


class _WithHead(nn.Module):
    def __init__(self, top: Top, head: nn.Linear) -> None:
        super().__init__()
        self.top = top
        self.head = head

    def forward(self, activation: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.top(activation))
        return logits


def accelerator(device: torch.device, precision: str = "auto") -> Accelerator:
    """Return what runs training on `device`, in `precision`; "auto" is bfloat16 where a GPU has it, else float32."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    AcceleratorState._reset_state(reset_partial_state=True)  # a process may train in one precision after another
    return Accelerator(cpu=device.type == "cpu", mixed_precision={"fp32": "no"}.get(precision, precision))


def _calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log loss (nats) that (n, c) `logits` have once their temperature is set.

    Training makes a network sure of itself long before it stops learning what is what, and the temperature undoes it.
    """
    divided = torch.from_numpy(logits).double() / fit_temperature(logits, labels)
    return float(functional.cross_entropy(divided, torch.from_numpy(labels)))


def _linear(head: Head) -> nn.Linear:
    linear = nn.Linear(head.weight.shape[1], head.weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        linear.bias.copy_(torch.from_numpy(head.bias))
    return linear


def _part(saved: Saved, prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in saved.tensors.items() if n.startswith(prefix)}
