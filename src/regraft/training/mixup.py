"""Mixing the photos of a batch in pairs, and what is wanted of them in the same shares."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from regraft.errors import OptionError


@dataclass(frozen=True, eq=False)
class Mix:
    """Every photo of a batch keeps a share of itself; the rest is another one's.

    Attributes:
        share: that is kept.
        other: (b,) position of the other one.
        box: rows and columns that are the other one's; None where both shine through everywhere.
    """

    share: float
    other: np.ndarray
    box: tuple[slice, slice] | None = None

    def activations(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of a batch (b, ...), mixed."""
        own, other = batch[rows], batch[self.other[rows]]
        if self.box is None:
            return self.share * own + (1 - self.share) * other
        mixed = own.clone()
        mixed[..., self.box[0], self.box[1]] = other[..., self.box[0], self.box[1]]
        return mixed

    def wanted(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of what is wanted of a batch (b, k), mixed in the same shares."""
        return self.share * batch[rows] + (1 - self.share) * batch[self.other[rows]]


class Unmixed(Mix):
    """Leaves a batch as it is."""

    def __init__(self) -> None:
        super().__init__(1.0, np.zeros(0, dtype=np.int64))

    def activations(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of the batch."""
        return batch[rows]

    def wanted(self, batch: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return `rows` of the batch."""
        return batch[rows]


def draw_mix(shape: tuple[int, ...], *, mixup: float, cutmix: float, draw: np.random.Generator) -> Mix:
    """Return how one batch is mixed.

    Args:
        shape: of its activations, (b, c, h, w) where `cutmix` is above 0.
        mixup: parameter of the Beta distribution of the share in which two photos shine through each other (Zhang et
            al. 2018); 0 for none.
        cutmix: the same for the share of its area that a photo keeps while a box of the other one is put into it (Yun
            et al. 2019); 0 for none. Where both are above 0, one of them is thrown for.
        draw: the source of chance.

    Raises:
        OptionError: boxes where activations are no maps.
    """
    if cutmix and len(shape) != 4:
        raise OptionError(
            f"--cutmix needs maps at the cut, and there each photo is {' x '.join(map(str, shape[1:]))} numbers. Use "
            "--mixup, or train the whole network."
        )
    boxed = cutmix > 0 and (not mixup or draw.random() < 0.5)
    if not boxed and not mixup:
        return Unmixed()
    parameter = cutmix if boxed else mixup
    share, other = float(draw.beta(parameter, parameter)), draw.permutation(shape[0])
    if not boxed:
        return Mix(share, other)
    (height, width), side = shape[2:], math.sqrt(1 - share)
    box = _span(height, side, draw), _span(width, side, draw)
    area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    return Mix(1 - area / (height * width), other, box)


def _span(length: int, share: float, draw: np.random.Generator) -> slice:
    """Return a part of about `share` of `length` around a random middle; what would lie outside is left out."""
    middle, half = int(draw.integers(0, length)), round(length * share) // 2
    return slice(max(middle - half, 0), min(middle + half, length))
