"""One step of training: gradients of a batch, in as many parts as memory needs, and the optimizer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from regraft.engines.microbatches import MicroBatches, memory_for
from regraft.errors import TrainingError, option
from regraft.networks.lora import adapted_weight
from regraft.networks.plan import Plan
from regraft.training.distributed import Accelerator
from regraft.training.optimizers import OPTIMIZERS
from regraft.training.schedule import Schedule

NETWORK = "top.network."  # how the names of a network's tensors begin in the model that is trained
_HEAD_RATE = 1.0  # as a share of the highest learning rate
_LEAST_SCALE = 1.0  # of float16 gradients: below it no scale helps


class TrainingStep:
    """The steps of one training.

    Args:
        model: parameters of the network are called "top.network..." followed by their names in `plan`; all others are
            new, as the head is.
        plan: which tensors are trained, and how fast.
        schedule: optimizer, weight decay and clipping.
        accelerator: device, precision and processes.
        rate: the highest learning rate.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, schedule: Schedule, accelerator: Accelerator, *, rate: float
    ) -> None:
        self._model, self._rate, self._clip, self._device = model, rate, schedule.clip, accelerator.device
        self._optimizer = _optimizer(model, plan, schedule, rate)
        scale = accelerator.loss_scale
        self._scaler = None if scale is None else torch.amp.GradScaler(self._device.type, init_scale=scale)
        self._processes = accelerator.processes
        self._parts = MicroBatches(accelerator.device, "training on", least=2 if plan.names("statistics") else 1)
        statistics = {f"{NETWORK}{name}" for name in plan.names("statistics")}
        self._statistics = [buffer for name, buffer in model.named_buffers() if name in statistics]

    def step(
        self, photos: int, own: int, loss_of: Callable[[slice], torch.Tensor], *, factor: float, seed: int, where: str
    ) -> float:
        """Take one step and return the mean loss of its `photos`; where that is not finite, none is taken.

        Args:
            photos: in the batch.
            own: how many of them are this process's.
            loss_of: returns the mean loss of some rows of these.
            factor: by which the highest learning rate is multiplied.
            seed: of dropout, so that a resumed run draws the same.
            where: epoch and step, for the message.

        Raises:
            TrainingError: no memory, or a gradient that overflows float16.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * group["rate"] * factor
        before = [buffer.clone() for buffer in self._statistics]
        taken = False
        while not taken:
            loss = self._gradient_of_batch(photos, own, loss_of, before, seed)
            if not math.isfinite(loss):
                break
            with memory_for(self._device, "training: the optimizer's state"):
                taken = self._apply(where)
        return loss

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
        """Return what a checkpoint holds: tensors by name, and float16's scale in JSON types."""
        tensors = {
            f"{index}.{key}": value
            for index, state in self._optimizer.state_dict()["state"].items()
            for key, value in state.items()
            if value is not None
        }
        return tensors, None if self._scaler is None else self._scaler.state_dict()

    def resume(self, tensors: Mapping[str, torch.Tensor], scale: dict[str, Any] | None) -> None:
        """Go on from what `state` returned."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            like = parameters[int(index)]  # in memory, too, which fused optimizers do not check
            alike = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
            states.setdefault(int(index), {})[key] = alike
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": states})
        if self._scaler is not None and scale is not None:
            self._scaler.load_state_dict(scale)

    def _gradient_of_batch(
        self,
        photos: int,
        own: int,
        loss_of: Callable[[slice], torch.Tensor],
        statistics: list[torch.Tensor],
        seed: int,
    ) -> float:
        """Leave the gradient of the mean loss over all processes' photos in the model, and return that loss."""
        processes = self._processes
        self._optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        if own:
            loss = self._parts(own, lambda parts: self._gradient(parts, loss_of, statistics, seed + processes.rank))
        processes.sum_gradients(self._model, share=own / photos)
        processes.average(self._statistics)
        return processes.sum_of(loss * own / photos)

    def _gradient(
        self,
        parts: list[slice],
        loss_of: Callable[[slice], torch.Tensor],
        statistics: list[torch.Tensor],
        seed: int,
    ) -> float:
        for buffer, value in zip(self._statistics, statistics, strict=True):
            buffer.copy_(value)  # an attempt that ran out of memory has changed them
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for rows in parts:
                loss = loss_of(rows) * (rows.stop - rows.start) / parts[-1].stop
                (loss if self._scaler is None else self._scaler.scale(loss)).backward()
                total += float(loss.detach())
        return total

    def _apply(self, where: str) -> bool:
        """Update the weights; False where the gradient overflowed float16: they stay, and the scale is halved."""
        if self._scaler is None:
            self._clip_gradient()
            self._optimizer.step()
            return True
        self._scaler.unscale_(self._optimizer)
        self._clip_gradient()
        self._scaler.step(self._optimizer)  # does nothing where a gradient is not finite
        before = self._scaler.get_scale()
        self._scaler.update()
        scale = self._scaler.get_scale()
        if scale < _LEAST_SCALE:
            raise TrainingError(
                f"the gradient overflows float16 at any scale in {where}. Set {option('precision')} to bf16 or fp32, "
                f"or lower the learning rate ({option('lr')}, now {self._rate:g})."
            )
        return scale >= before

    def _clip_gradient(self) -> None:
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)


def _optimizer(model: nn.Module, plan: Plan, schedule: Schedule, rate: float) -> torch.optim.Optimizer:
    rates = {f"{NETWORK}{tensor.name}": tensor.rate for tensor in plan.tensors}
    grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = schedule.weight_decay if parameter.ndim > 1 else 0.0
            own = rates[adapted_weight(name)] if name.startswith(NETWORK) else _HEAD_RATE
            grouped.setdefault((own, decay), []).append(parameter)
    groups = [{"params": p, "rate": share, "weight_decay": decay} for (share, decay), p in grouped.items()]
    return OPTIMIZERS[schedule.optimizer].build(groups, rate)
