"""Fine-tuning: the part of a network after a cut, and its head, trained on activations at the cut."""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regraft.engines.microbatches import MicroBatches, memory_for
from regraft.errors import TrainingError, option
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.linear import Head, LinearHead, linear_of
from regraft.networks.cutting import Top
from regraft.networks.freezing import apply_plan
from regraft.networks.lora import add_adapters, merge_adapters
from regraft.networks.plan import Plan
from regraft.runtime import freed_memory_kept
from regraft.training.checkpoints import Run
from regraft.training.distributed import Accelerator
from regraft.training.ema import WeightAverage, named
from regraft.training.losses import LabelLoss, Pairs, TrainingModel
from regraft.training.mixup import Mix, draw_mix
from regraft.training.optimisation import NETWORK, TrainingStep
from regraft.training.schedule import Schedule

SECONDS_PER_CHECKPOINT = 30.0  # what a killed run loses at most; more where writing takes over a second
_PAUSES = 30.0  # between checkpoints, in multiples of the time that the last one took to write
_ORDER, _STEP = 1, 2  # random streams: of the photos' order, and of mixing and dropout in a step


class Activations(Protocol):
    """Where activations come from: `features.activations.CachedViews` or `ComputedViews`."""

    count: int

    def stream(self, batches: Sequence[Pairs]) -> Iterator[torch.Tensor]:
        """Yield (b, ...) activations for each batch of pairs of photo and view."""


@dataclass(frozen=True)
class TrainingRecord:
    """One update, or one epoch, of a training.

    Attributes:
        epoch: from 1 on.
        step: updates so far.
        steps: updates in all, if nothing stops them.
        loss: mean training loss (nats) of the step, or of the epoch.
        rate: learning rate of the head.
        photos: in this step; 0 at an epoch's end.
        seconds: since training began or was resumed.
        tuning_loss: at an epoch's end, mean log loss of the validation photos, once calibrated; None without any.
        tuning_accuracy: accuracy on them, likewise.
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


class Finetuner:
    """Trains the top of a network and its head.

    Attributes:
        curve: the record of every epoch, also of those before it was resumed.
        earlier: seconds of training before it was resumed.
        images: photos in all, each counted as often as it was seen.
        stopped_early: whether patience ended it.

    Args:
        top: the part after the cut; it is changed.
        head: that training starts from: a linear probe's, or zeros.
        plan: which tensors of the top are trained, and how fast.
        schedule: how.
        activations: of all n photos.
        objective: loss and labels of all n photos.
        train: (m,) positions of the photos that are trained on.
        validation: (t,) positions of the photos of early stopping; none to train to the end.
        rate: the highest learning rate.
        epochs: how often each photo is seen.
        accelerator: device, precision and processes.
        seed: of the order of photos, their views, mixing and dropout.
        run: where checkpoints are kept.
        job: the name of this training in `run`, in JSON types.

    Raises:
        OptionError: a head that is not linear.
    """

    def __init__(
        self,
        top: Top,
        head: Head,
        plan: Plan,
        schedule: Schedule,
        *,
        activations: Activations,
        objective: LabelLoss,
        train: np.ndarray,
        validation: np.ndarray,
        rate: float,
        epochs: int,
        accelerator: Accelerator,
        seed: int,
        run: Run,
        job: object,
    ) -> None:
        self._schedule, self._activations = schedule, activations
        self._train, self._validation = train, validation
        self._rate, self._epochs, self._seed = rate, epochs, seed
        self._accelerator, self._run, self._job = accelerator, run, ["training", job]
        self._processes = accelerator.processes
        least = 2 * self._processes.count if plan.names("statistics") else 1
        self._sizes = schedule.batch_sizes(len(train), least=least)
        self._in_training = apply_plan(top.network, plan)
        self._map_shape = top.map_shape
        self._adapted = (
            add_adapters(top.network, plan.names("low-rank"), rank=plan.lora, seed=seed) if plan.lora else None
        )
        linear = linear_of(head, "fine-tuning")
        self._strength = linear.strength
        with memory_for(accelerator.device, "training: the weights alone"):
            self._model = TrainingModel(top, _layer(linear), objective)
            accelerator.prepare(self._model)
            self._processes.copy_first([*self._model.parameters(), *self._model.buffers()])
            self._weights = WeightAverage(self._model, {f"{NETWORK}{name}" for name in plan.names("statistics")})
        self._training_step = TrainingStep(self._model, plan, schedule, accelerator, rate=rate)
        self._prediction = MicroBatches(accelerator.device, "predictions during training for")
        self._best_loss, self._worse, self._step, self._epoch_loss = math.inf, 0, 0, 0.0
        self._started = self._saved = time.monotonic()
        self._writing = 0.0  # seconds that the last checkpoint took
        self.earlier, self.images = 0.0, 0
        self.stopped_early = False
        self.curve: list[TrainingRecord] = []

    @property
    def steps(self) -> int:
        """Return the number of updates in all."""
        return self._epochs * len(self._sizes)

    def images_from(self, step: int) -> int:
        """Return how many photos go through training after `step` updates, each counted as often as it is seen."""
        epochs, within = divmod(step, len(self._sizes))
        return (self._epochs - epochs) * sum(self._sizes) - sum(self._sizes[:within])

    @property
    def seconds(self) -> float:
        """Return how long training has taken, also before it was resumed."""
        return self.earlier + time.monotonic() - self._started

    def train(self) -> Iterator[TrainingRecord]:
        """Train, yielding a record after each update and each epoch; a killed run is resumed where it was.

        At the end the weights are the last average; with patience and validation photos those of the epoch with the
        lowest loss on them, the start included. Closing the iterator stops training.

        Raises:
            TrainingError: a loss, weights or logits that are not finite, or no memory for a single photo.
        """
        with memory_for(self._accelerator.device, "training"), freed_memory_kept():
            yield from self._steps()

    def _steps(self) -> Iterator[TrainingRecord]:
        self._started = self._saved = time.monotonic()
        self._resume()
        if self._step == 0:
            self._validate()  # the head that training starts from
        while self._step < self.steps and not self.stopped_early:
            epoch, within = divmod(self._step, len(self._sizes))
            batches = self._batches(epoch)[within:]
            own = [self._own(pairs) for pairs in batches]
            self._set_modes()
            for activation, pairs, part in zip(self._stream(own), batches, own, strict=True):
                rate = self._rate * self._schedule.rate_factor(self._step, self.steps)
                loss = self._update(activation, part, len(pairs))
                self._epoch_loss += loss * len(pairs)
                self.images += len(pairs)
                seconds = time.monotonic() - self._started
                yield TrainingRecord(epoch + 1, self._step, self.steps, loss, rate, len(pairs), seconds)
                if self._step % len(self._sizes) and self._is_due():
                    self._save()
            validated = self._validate()
            mean, self._epoch_loss = self._epoch_loss / len(self._train), 0.0
            seconds = self.seconds
            self.curve.append(TrainingRecord(epoch + 1, self._step, self.steps, mean, rate, 0, seconds, *validated))
            if self._is_due():
                self._save()
            yield self.curve[-1]
        self._weights.load(self._weights.best)
        self.logits(self._train[: self._schedule.batch_size])  # finite weights may give logits that are not

    def logits(self, photos: np.ndarray, views: Sequence[int] = (0,)) -> np.ndarray:
        """Return (m, c) float32 logits of the photos at positions `photos` (m,), by the current weights.

        Args:
            photos: (m,) positions.
            views: numbers of the views that logits are the means over; 0 is the photo itself.

        Raises:
            TrainingError: they are not finite, or there is no memory for a single photo.
        """
        each = [self._logits_of(photos, view) for view in views]
        return each[0] if len(each) == 1 else np.asarray(np.mean(each, axis=0, dtype=np.float32))

    def _logits_of(self, photos: np.ndarray, view: int) -> np.ndarray:
        self._model.eval()
        size = self._schedule.batch_size
        own = list(self._processes.own(range(len(photos))))
        batches = [[(int(p), view) for p in photos[own[start : start + size]]] for start in range(0, len(own), size)]
        parts = [np.zeros((0, self._model.head.out_features), dtype=np.float32)]
        with torch.no_grad(), self._accelerator.autocast():
            for activation in self._activations.stream(batches):
                parts += self._prediction(len(activation), functools.partial(self._predict, activation))
        logits = np.zeros((len(photos), parts[0].shape[1]), dtype=np.float32)
        logits[own] = np.concatenate(parts)
        logits = self._processes.sum(torch.from_numpy(logits)).cpu().numpy()
        if not np.isfinite(logits).all():
            raise self._failure("the logits of the network are not finite")
        return logits

    def _predict(self, activation: torch.Tensor, parts: list[slice]) -> list[np.ndarray]:
        device = self._accelerator.device
        return [self._model(activation[rows].to(device))[1].cpu().numpy() for rows in parts]

    def finish(self) -> tuple[dict[str, torch.Tensor], LinearHead]:
        """Return every tensor of the top, by its name in the network, and the head. Nothing can be trained after."""
        top = self._model.top
        if self._adapted is not None:
            top.network = merge_adapters(self._adapted)
        linear = self._model.head
        weight, bias = (tensor.detach().float().cpu().numpy().copy() for tensor in (linear.weight, linear.bias))
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in top.network.state_dict().items()}
        return state, LinearHead(weight, bias, self._strength)

    def _update(self, activation: torch.Tensor, pairs: Pairs, photos: int) -> float:
        """Take one step by this process's `pairs` of a batch of `photos`, and return the mean loss of all."""
        generator = np.random.default_rng([self._seed, _STEP, self._step])  # the same in all processes
        objective, device = self._model.objective, self._accelerator.device
        schedule = self._schedule
        targets: list[torch.Tensor] = []
        mix = Mix()
        if pairs:  # a process may have none of the last few
            targets = objective.targets(pairs)
            mix = draw_mix(
                tuple(activation.shape),
                mixup=schedule.mixup,
                cutmix=schedule.cutmix,
                generator=generator,
                map_shape=self._map_shape,
            )

        def loss_of(rows: slice) -> torch.Tensor:
            part = mix.activations(activation, rows)
            mixed = [mix.targets(target, rows).to(device) for target in targets]
            with self._accelerator.autocast():
                features, logits = self._model(part.to(device))
                return objective.loss(features, logits, mixed)

        factor = schedule.rate_factor(self._step, self.steps)
        self._step += 1
        loss = self._training_step.step(
            photos, len(pairs), loss_of, factor=factor, seed=int(generator.integers(2**31)), where=self._place()
        )
        if not math.isfinite(loss):
            raise self._failure(f"the training loss is {loss}")
        self._weights.update(self._step, schedule.averaging * len(self._sizes))
        return loss

    def _place(self) -> str:
        return f"epoch {max(math.ceil(self._step / len(self._sizes)), 1)}, step {self._step} of {self.steps}"

    def _failure(self, what: str) -> TrainingError:
        wider = f", or set {option('precision')} to bf16 or fp32" if self._accelerator.precision == "fp16" else ""
        return TrainingError(
            f"{what} in {self._place()}. Lower the learning rate ({option('lr')}, now {self._rate:g}){wider}; or the "
            "weights of the network are damaged."
        )

    def _set_modes(self) -> None:
        """Put what the plan trains into training mode, and all else into evaluation mode."""
        self._model.eval()
        for module in self._in_training:
            module.training = True

    def _batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the pairs of photo and view of each step of an epoch."""
        generator = np.random.default_rng([self._seed, _ORDER, epoch])
        order = generator.permutation(self._train)
        views = generator.integers(0, self._activations.count, len(order))
        pairs = [(int(photo), int(view)) for photo, view in zip(order, views, strict=True)]
        ends = np.cumsum(self._sizes)
        return [pairs[end - size : end] for size, end in zip(self._sizes, ends, strict=True)]

    def _own(self, pairs: Pairs) -> Pairs:
        """Return this process's part of a batch: photos that are mixed with each other are in one part."""
        mixed = self._schedule.mixup or self._schedule.cutmix
        return self._processes.own_mirrored(pairs) if mixed else self._processes.own(pairs)

    def _stream(self, batches: Sequence[Pairs]) -> Iterator[torch.Tensor]:
        """Yield the activations of each batch; none where a process has no photo of it."""
        stream = self._activations.stream([pairs for pairs in batches if pairs])
        for pairs in batches:
            yield next(stream) if pairs else torch.empty(0)

    def _validate(self) -> tuple[float | None, float | None]:
        """Return loss and accuracy of the mean weights on the validation photos; keep the best weights."""
        self._check_finite()
        patience, validation = self._schedule.patience, self._validation
        if patience is None or not len(validation):
            self._weights.mark_best()
        if not len(validation):
            return None, None
        current = self._weights.copy()
        self._weights.load(self._weights.mean)
        logits, labels = self.logits(validation), self._model.objective.labels[validation]
        loss = self._processes.first(lambda: _calibrated_loss(logits, labels))  # on which all stop, or none
        accuracy = float(np.mean(logits.argmax(axis=1) == labels))
        self._weights.load(current)
        if patience is not None and loss < self._best_loss:
            self._best_loss, self._worse = loss, 0
            self._weights.mark_best()
        elif patience is not None:
            self._worse += 1
            self.stopped_early = self._worse >= patience
        return loss, accuracy

    def _check_finite(self) -> None:
        if not self._weights.are_finite():
            raise self._failure("the weights are not finite")

    def _is_due(self) -> bool:
        """Tell whether a checkpoint is due: often, but not so often that training waits for it."""
        pause = max(SECONDS_PER_CHECKPOINT, _PAUSES * self._writing)
        return time.monotonic() - self._saved > pause

    def _save(self) -> None:
        self._check_finite()
        if not self._processes.writes:
            self._saved = time.monotonic()
            return
        started = time.monotonic()
        state, scale = self._training_step.state()
        tensors = self._weights.state() | {f"optimizer.{name}": tensor for name, tensor in state.items()}
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

    def _resume(self) -> None:
        saved = self._run.load(self._job)
        if saved is None:
            return
        self._weights.resume(saved.tensors)
        self._training_step.resume(named(saved.tensors, "optimizer."), saved.about["scale"])
        self._step, self._epoch_loss = saved.about["step"], saved.about["epoch_loss"]
        best = saved.about["best_loss"]
        self._best_loss = math.inf if best is None else best
        self._worse, self.stopped_early = saved.about["worse"], saved.about["stopped_early"]
        self.earlier, self.images = saved.about["seconds"], saved.about["images"]
        self.curve = [TrainingRecord(**record) for record in saved.about["curve"]]


def _calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log loss (nats) that (n, c) `logits` have once their temperature is set.

    A network grows overconfident long before its accuracy stops rising; the temperature takes that out of the loss.
    """
    divided = torch.from_numpy(logits).double() / fit_temperature(logits, labels)
    return float(functional.cross_entropy(divided, torch.from_numpy(labels)))


def _layer(head: LinearHead) -> nn.Linear:
    layer = nn.Linear(head.features, head.classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return layer
