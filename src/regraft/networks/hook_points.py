"""Places in a network where activations are read. Imports no torch."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regraft.errors import ModelError

if TYPE_CHECKING:
    import torch

# what a last layer sees: the network's own features, and before them those of its last depths, or of all of them
LAST, LATE, ALL = "last", "late", "all"
DEPTHS = (LAST, LATE, ALL)


@dataclass(frozen=True)
class HookPoint:
    """Where an activation is read: what comes out of a module, or what goes into it, the first time that it runs.

    Attributes:
        module: its name, as `named_modules` has it.
        side: "output" or "input".
        layout: "b c h w", "b h w c", or "b n c" for the tokens of a transformer.
        skipped: tokens that stand for no place (a class token), before the others.
    """

    module: str
    side: str = "output"
    layout: str = "b c h w"
    skipped: int = 0

    def below(self, name: str) -> "HookPoint":
        """Return the same hook point in a module that has the network as its part `name`."""
        return replace(self, module=f"{name}.{self.module}")

    def as_map(self, activation: "torch.Tensor") -> "torch.Tensor":
        """Return a view (b, c, h, w) of an activation: c units at h x w places.

        Raises:
            ModelError: it has no such places.
        """
        if self.layout == "b n c" and activation.ndim == 3:
            tokens = activation[:, self.skipped :]
            side = math.isqrt(tokens.shape[1])
            if side * side == tokens.shape[1]:
                return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        if self.layout == "b h w c" and activation.ndim == 4:
            return activation.permute(0, 3, 1, 2)
        if self.layout == "b c h w" and activation.ndim == 4:
            return activation
        raise ModelError(
            f"the {self.side} of {self.module} is no map of units by place: its shape is {tuple(activation.shape)}. "
            "Choose an earlier stage."
        )


@dataclass(frozen=True)
class Depth:
    """One place in a network whose map, averaged over all its places, is a part of the features.

    Attributes:
        stage: the name of the block.
        hook_point: where its map is read.
        units: how many numbers it gives.
    """

    stage: str
    hook_point: HookPoint
    units: int
