"""What one training runs on: device, precision, and the processes that train one network on parts of the same batches.

`torchrun` and `accelerate launch` start the processes; both say so by the environment that `torch.distributed` reads.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from regraft.runtime import process_count

_PATIENCE = timedelta(days=2)  # how long processes wait for one that computes for all
_LOSS_SCALE = 2.0**16  # of float16 gradients at first, as `torch.amp.GradScaler` has it
_CHANNELS_LAST = ("cpu", "cuda")  # where convolutions are faster so, on GPUs below float32
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_T = TypeVar("_T")


@dataclass(frozen=True)
class ProcessGroup:
    """What the processes of one training do in common; with one process, nothing.

    Every process keeps the whole network and takes the same steps: gradients are summed over the processes before each.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        device: where tensors are summed.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def own(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this process's part of `items`."""
        return items[self.rank :: self.count]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of all processes' tensors of this shape."""
        if self.count == 1:
            return tensor
        summed = tensor.to(self.device, copy=True)
        distributed.all_reduce(summed)
        return summed

    def sum_of(self, number: float) -> float:
        """Return the sum of all processes' numbers."""
        return number if self.count == 1 else float(self.sum(torch.tensor(number)))

    def sum_gradients(self, model: nn.Module, *, share: float) -> None:
        """Give every trained parameter the weighted sum of all processes' gradients.

        Args:
            model: with this process's gradients; none of them counts as 0.
            share: of the batch, that these gradients are the mean of.
        """
        if self.count == 1:
            return
        trained = [p for p in model.parameters() if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in trained]
        summed = self.sum(torch.cat([part.reshape(-1) for part in parts]))
        for parameter, part in zip(trained, torch.split(summed, [p.numel() for p in trained]), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(part.reshape(parameter.shape))  # and lies as it does

    def average(self, buffers: Sequence[torch.Tensor]) -> None:
        """Give every floating-point buffer the mean of its values: batch-norm statistics of the whole batch."""
        if self.count == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.count)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    @contextmanager
    def first_process_first(self) -> Iterator[None]:
        """Let the process that writes go through the block before all others."""
        if not self.writes:
            self.wait()
        yield
        if self.writes:
            self.wait()


@dataclass(frozen=True)
class Accelerator:
    """Device, precision and processes of one training.

    Attributes:
        device: of this process.
        precision: "fp32", "bf16" or "fp16".
        processes: that train together.
        loss_scale: by which losses are multiplied at first, so that float16 holds their gradients; None for no scaling.
    """

    device: torch.device
    precision: str
    processes: ProcessGroup
    loss_scale: float | None = None

    def prepare(self, module: nn.Module) -> None:
        """Move `module` to this device; filters lie channels-last there, and the maps that they make do too."""
        module.to(self.device)
        if self.device.type in _CHANNELS_LAST:
            convert_conv2d_weight_memory_format(module, torch.channels_last)

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which the network computes in this precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


def accelerator(device: torch.device, precision: str = "auto") -> Accelerator:
    """Return what runs training on `device`, in `precision`; "auto" is bfloat16 where a GPU has it, else float32."""
    processes = _process_group(device)
    if processes.count > 1:
        device = processes.device
    elif device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return Accelerator(device, precision, processes, _LOSS_SCALE if precision == "fp16" else None)


def _process_group(device: torch.device) -> ProcessGroup:
    """Return the processes that were started together; on GPUs each has its own."""
    if process_count() == 1:
        return ProcessGroup(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")  # gloo sums there
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)
