"""Several processes, each with a processor of its own, that train one network on parts of the same batches."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

_PATIENCE = timedelta(days=2)  # that processes have with one of them that computes for all
_T = TypeVar("_T")


def accelerator(device: torch.device, precision: str = "auto") -> Accelerator:
    """Return what runs training on `device`, in `precision`; "auto" is bfloat16 where a GPU has it, else float32."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # a process may train in one precision after another
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision={"fp32": "no"}.get(precision, precision),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


class ProcessGroup:
    """What the processes of one training do in common; with one process, nothing.

    Every process keeps the whole network and takes the same steps: gradients are summed over the processes before each.

    Args:
        accelerator: knows how many there are, as `accelerate launch` or `torchrun` started them.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.number, self.count = int(accelerator.process_index), int(accelerator.num_processes)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.number == 0

    def own(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this process's part of `items`."""
        return items[self.number :: self.count]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of all processes' tensors of this shape."""
        if self.count == 1:
            return tensor
        summed: torch.Tensor = self._accelerator.reduce(tensor.to(self._accelerator.device), reduction="sum")
        return summed

    def sum_of(self, number: float) -> float:
        """Return the sum of all processes' numbers."""
        return number if self.count == 1 else float(self.sum(torch.tensor(number)))

    def sum_gradients(self, model: nn.Module, *, share: float) -> None:
        """Give every parameter that learns the weighted sum of all processes' gradients.

        Args:
            model: with this process's gradients; none of them counts as 0.
            share: of all photos that these gradients are the mean of.
        """
        if self.count == 1:
            return
        learning = [p for p in model.parameters() if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in learning]
        summed = self.sum(torch.cat([part.reshape(-1) for part in parts]))
        for parameter, part in zip(learning, torch.split(summed, [p.numel() for p in learning]), strict=True):
            parameter.grad = part.reshape(parameter.shape)

    def average(self, buffers: Sequence[torch.Tensor]) -> None:
        """Give every floating-point buffer the mean of its values: batch-norm statistics of all photos."""
        if self.count == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.count)

    def wait(self) -> None:
        """Wait until every process is here."""
        self._accelerator.wait_for_everyone()
