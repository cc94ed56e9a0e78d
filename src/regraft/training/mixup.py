"""Mixing the photos of a batch in pairs, and their targets in the same shares (mixup and CutMix)."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from regraft.errors import OptionError, option


@dataclass(frozen=True, eq=False)
class Mix:
    """How the photos of a batch are mixed in pairs; by default not at all.

    Attributes:
        share: of a photo that is kept.
        other: (b,) position of the photo that gives the rest; None for a batch that stays as it is.
        box: rows and columns that are the other photo's; None where the two are blended everywhere.
        map_shape: (c, h, w) of the map that the last numbers of each photo are, where others stand before it: these
            have no places, and are blended. None where the map is all there is.
    """

    share: float = 1.0
    other: np.ndarray | None = None
    box: tuple[slice, slice] | None = None
    map_shape: tuple[int, ...] | None = None

    def activations(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of a batch (b, ...), mixed."""
        if self.other is None:
            return batch[rows]
        own, other = batch[rows], batch[self.other[rows]]
        if self.box is None:
            return self.share * own + (1 - self.share) * other
        if self.map_shape is None:
            return _boxed(own, other, self.box)
        maps = math.prod(self.map_shape)
        (before, own), (other_before, other) = (torch.split(x, [x.shape[1] - maps, maps], dim=1) for x in (own, other))
        boxed = _boxed(own.reshape(-1, *self.map_shape), other.reshape(-1, *self.map_shape), self.box)
        return torch.cat([self.share * before + (1 - self.share) * other_before, boxed.flatten(1)], dim=1)

    def targets(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of the targets of a batch (b, k), mixed in the same shares."""
        if self.other is None:
            return batch[rows]
        return self.share * batch[rows] + (1 - self.share) * batch[self.other[rows]]


def _boxed(own: torch.Tensor, other: torch.Tensor, box: tuple[slice, slice]) -> torch.Tensor:
    """Return maps (b, c, h, w) with a box of others in them."""
    mixed = own.clone()
    mixed[..., box[0], box[1]] = other[..., box[0], box[1]]
    return mixed


def draw_mix(
    shape: tuple[int, ...],
    *,
    mixup: float,
    cutmix: float,
    generator: np.random.Generator,
    map_shape: tuple[int, ...] | None = None,
) -> Mix:
    """Return how one batch is mixed: the first photo with the last one, the second with the last but one, and so on.

    Batches are in random order, so that the pairs are random. They do not depend on how many processes share a batch,
    as long as each pair lies in one of them.

    Args:
        shape: of its activations, (b, c, h, w) where `cutmix` is above 0.
        mixup: parameter of the Beta distribution of the share in which two photos are blended (Zhang et
            al. 2018); 0 for none.
        cutmix: the same for the share of its area that a photo keeps while a box of the other one is put into it (Yun
            et al. 2019); 0 for none. Where both are above 0, one of them is drawn.
        generator: random generator.
        map_shape: see `Mix`.

    Raises:
        OptionError: CutMix of activations that are no maps.
    """
    shape = shape if map_shape is None else (shape[0], *map_shape)
    if cutmix and len(shape) != 4:
        raise OptionError(
            f"{option('cutmix')} needs maps at the cut, and there each photo is {' x '.join(map(str, shape[1:]))} "
            f"numbers. Use {option('mixup')}, or train the whole network."
        )
    boxed = cutmix > 0 and (not mixup or generator.random() < 0.5)
    if not boxed and not mixup:
        return Mix()
    parameter = cutmix if boxed else mixup
    share, other = float(generator.beta(parameter, parameter)), np.arange(shape[0] - 1, -1, -1)
    if not boxed:
        return Mix(share, other)
    (height, width), side = shape[2:], math.sqrt(1 - share)
    box = _span(height, side, generator), _span(width, side, generator)
    area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    return Mix(1 - area / (height * width), other, box, map_shape)


def _span(length: int, share: float, generator: np.random.Generator) -> slice:
    """Return a part of about `share` of `length` around a random middle, clipped to its ends."""
    middle, half = int(generator.integers(0, length)), round(length * share) // 2
    return slice(max(middle - half, 0), min(middle + half, length))
