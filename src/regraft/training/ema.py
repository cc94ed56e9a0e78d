"""The weights that training changes, their running mean, and the best of the means so far."""

from collections.abc import Collection, Mapping

import torch
from torch import nn
from torch.nn.utils import get_total_norm

Tensors = dict[str, torch.Tensor]


class WeightAverage:
    """Two copies of what training changes: the running mean, and the one that is to be kept.

    Args:
        model: in training; tensors lie on its device.
        statistics: names of the buffers that follow the data. Parameters are those that have gradients.
    """

    def __init__(self, model: nn.Module, statistics: Collection[str]) -> None:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._trained = parameters | {name: b for name, b in model.named_buffers() if name in statistics}
        self.mean = self.copy()
        self.best = self.copy()

    def trained(self) -> Tensors:
        """Return what training changes: trained parameters, and batch-norm statistics that follow the photos."""
        return self._trained

    def copy(self) -> Tensors:
        """Return a copy of what training changes, as it is now."""
        return {name: tensor.detach().clone() for name, tensor in self.trained().items()}

    def update(self, step: int, span: float) -> None:
        """Update the mean by the weights: over `span` steps; at first the plain mean of those so far."""
        weight = max(1 / (1 + span), 1 / (1 + step))
        for name, tensor in self.trained().items():
            if span and tensor.is_floating_point():
                self.mean[name].lerp_(tensor.detach(), weight)
            else:
                self.mean[name].copy_(tensor.detach())

    def mark_best(self) -> None:
        """Take the mean, as it is now, for the best."""
        self.best = {name: tensor.clone() for name, tensor in self.mean.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give the model these values."""
        with torch.no_grad():
            for name, tensor in self.trained().items():
                tensor.copy_(tensors[name])

    def are_finite(self) -> bool:
        """Tell whether weights and mean are finite."""
        tensors = [t.detach() for part in (self._trained, self.mean) for t in part.values() if t.is_floating_point()]
        return bool(torch.isfinite(get_total_norm(tensors, float("inf"))))  # the largest of all, or NaN

    def state(self) -> Tensors:
        """Return what a checkpoint holds."""
        parts = {"now": self.trained(), "average": self.mean, "best": self.best}
        return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def resume(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` returned."""
        self.load(named(saved, "now."))
        for kept, prefix in ((self.mean, "average."), (self.best, "best.")):
            for name, tensor in named(saved, prefix).items():
                kept[name].copy_(tensor)


def named(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
