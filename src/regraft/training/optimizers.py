"""The optimizers that there are, a row of a table each. It imports no torch: the command line is made from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MOMENTUM = 0.9


@dataclass(frozen=True)
class OptimizerKind:
    """One optimizer.

    Attributes:
        name: as users say it.
        build: makes it of parameter groups, which have their own weight decay, and the highest learning rate.
        rate_factor: how much larger its learning rates are than AdamW's.
    """

    name: str
    build: "Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]"
    rate_factor: float = 1.0


def _adamw(groups: list[dict[str, Any]], rate: float) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.AdamW(groups, lr=rate, fused=_fused(groups))


def _sgd(groups: list[dict[str, Any]], rate: float) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM, nesterov=True, fused=_fused(groups))


def _fused(groups: list[dict[str, Any]]) -> bool | None:
    """Return whether one kernel updates a tensor: where it can, for the others go through it several times.

    It takes a parameter, its gradient and their state to lie alike in memory, and does not look.
    """
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    return True if kinds <= {"cpu", "cuda"} else None


OPTIMIZERS = {
    kind.name: kind
    for kind in (
        OptimizerKind("adamw", _adamw),  # Loshchilov and Hutter 2019
        OptimizerKind("sgd", _sgd, rate_factor=30.0),
    )
}
