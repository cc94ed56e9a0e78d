"""The evaluation transform as tensor operations that every format can express, for photos of any size: Pillow's pixels.

A resized side is a weighted sum over the pixels along it: pixel k of the result has the weights f((i + 0.5 - m) / s) of
pixels i, where f is the filter, s the pixels that become one (at least 1), and m = (k + 0.5) s the place that it comes
from. So the rows and columns that a crop keeps are two matrix products. As in Pillow, columns come first, and both
results are rounded to whole numbers.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from regraft.exports.filters import Filter
from regraft.images.preprocess import Preprocess
from regraft.images.tta import CENTRE, Place

_WHITE = 255

NEAREST = ("nearest", "nearest-exact")  # Pillow has one for both


@dataclass(frozen=True)
class Geometry:
    """What a resized photo depends on: a `Preprocess` without its normalisation.

    Attributes:
        height: of what the network sees, in pixels.
        width: likewise.
        scaled: (height, width) that the photo, or a side of it, is resized to before the crop.
        crop_mode: as of `Preprocess`.
        interpolation: as of `Preprocess`.
        fill: of what is padded, per channel, from 0 to 255.
    """

    height: int
    width: int
    scaled: tuple[int, int]
    crop_mode: str
    interpolation: str
    fill: tuple[int, ...]

    @classmethod
    def of(cls, preprocess: Preprocess) -> "Geometry":
        """Return that of a network's evaluation transform."""
        padded = preprocess.crop_mode == "border"
        return cls(
            preprocess.height,
            preprocess.width,
            (math.floor(preprocess.height / preprocess.crop_pct), math.floor(preprocess.width / preprocess.crop_pct)),
            preprocess.crop_mode,
            preprocess.interpolation,
            tuple(round(_WHITE * value) if padded else 0 for value in preprocess.mean),
        )

    def resized(self, height: torch.Tensor, width: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `Preprocess.resized` does, of whole numbers that are tensors without dimensions.

        Where nothing but fractions of a pixel decide (padding, or networks that are not square), OpenVINO, which has no
        float64, may take the pixel beside n + 1/2 that Python does not.
        """
        high, wide = self.scaled
        if self.crop_mode == "squash":
            return torch.full_like(height, high), torch.full_like(width, wide)
        if self.crop_mode == "center" and high == wide:
            short = torch.minimum(height, width)
            return _whole_quotient(high * height, short), _whole_quotient(wide * width, short)
        ratios = height.double() / high, width.double() / wide
        ratio = torch.maximum(*ratios) if self.crop_mode == "border" else torch.minimum(*ratios)
        rounded = (torch.round(side.double() / ratio).clamp(min=1).to(side.dtype) for side in (height, width))
        return next(rounded), next(rounded)


def _whole_quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.div(a, b, rounding_mode="floor")


class Crops(nn.Module):
    """(b, h, w, 3) uint8 photos of any size -> crops (b, 3, height, width) of whole numbers from 0 to 255, float32.

    Args:
        geometry: how they are resized.
        places: of the crops.
    """

    fill: torch.Tensor

    def __init__(self, geometry: Geometry, places: tuple[Place, ...] = (CENTRE,)) -> None:
        super().__init__()
        self.geometry, self.places = geometry, places
        self.register_buffer("fill", torch.tensor(geometry.fill).reshape(1, -1, 1, 1).float(), persistent=False)
        self.filter = None if geometry.interpolation in NEAREST else Filter(geometry.interpolation)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return the crop at each place."""
        geometry = self.geometry
        rows, columns = (torch.arange(pixels.shape[axis], device=pixels.device) for axis in (1, 2))
        height, width = rows[-1] + 1, columns[-1] + 1  # sizes as tensors, which stay variables in every format
        high, wide = geometry.resized(height, width)
        photos = pixels.permute(0, 3, 1, 2).float()
        narrowed: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}
        for _, left in self.places:
            if left not in narrowed:
                coarse, fine, inside = self._weights(columns, wide, geometry.width, left)
                narrowed[left] = _rounded(photos @ coarse.T, photos @ fine.T), inside
        found = []
        for above, left in self.places:
            coarse, fine, inside = self._weights(rows, high, geometry.height, above)
            part, within = narrowed[left]
            crop = _rounded(coarse @ part, fine @ part)
            seen = inside[:, None] & within[None, :]
            found.append(torch.where(seen, crop, self.fill))
        return found

    def _weights(
        self, positions: torch.Tensor, resized: torch.Tensor, kept: int, share: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the weights (kept, n) of the n pixels of a side in two parts, whose sums with values of photos are
        exact, and (kept,) booleans: False is padding.
        """
        rest = (resized - kept).float()
        before = torch.where(rest >= 0, torch.round(rest * share), -torch.floor(-rest / 2)).to(positions.dtype)
        places = torch.arange(kept, device=positions.device) + before
        inside = (places >= 0) & (places < resized)
        count = positions[-1] + 1
        if self.filter is None:
            nearest = _whole_quotient((2 * places + 1) * count, 2 * resized)
            one = (positions[None, :] == nearest[:, None]).float()
            return one, torch.zeros_like(one), inside
        rows = torch.minimum(places.clamp(min=0), resized - 1)
        distances = (2 * positions + 1)[None, :] * resized - ((2 * rows + 1) * count)[:, None]
        return *self.filter(distances, 2 * torch.maximum(count, resized)), inside


def _rounded(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Return the sum of two parts as a whole number from 0 to 255, halves rounded up."""
    whole = torch.floor(coarse)
    return (whole + torch.floor(coarse - whole + fine + 0.5)).clamp(0, _WHITE)
