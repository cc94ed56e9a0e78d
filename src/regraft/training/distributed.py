"""What one training runs on: device, precision, and the processes that train one network together."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from regraft.processes import ALONE, ProcessGroup

_LOSS_SCALE = 2.0**16  # of float16 gradients at first, as `torch.amp.GradScaler` has it
_CHANNELS_LAST = ("cpu", "cuda")  # where convolutions are faster so, on GPUs below float32
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


def accelerator(device: torch.device, precision: str = "auto", processes: ProcessGroup = ALONE) -> Accelerator:
    """Return what runs training on `device`, in `precision`; "auto" is bfloat16 where a GPU has it, else float32.

    Args:
        device: of this process.
        precision: "auto", "fp32", "bf16" or "fp16".
        processes: that train together.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return Accelerator(device, precision, processes, _LOSS_SCALE if precision == "fp16" else None)
