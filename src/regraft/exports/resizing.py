"""The evaluation transform as tensor operations that every format can express, for photos of any size: Pillow's pixels.

A resized side is a weighted sum over the pixels along it: pixel k of the result has the weights f((i + 0.5 - m) / s) of
pixels i, where f is the filter, s the pixels that become one (at least 1), and m = (k + 0.5) s the place that it comes
from. So the rows and columns that a crop keeps are two matrix products. As in Pillow, columns come first, and both
results are rounded to whole numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from regraft.images.preprocess import Preprocess
from regraft.images.tta import CENTRE, Place

_WHITE = 255
_UNITS = 1 << 22  # Pillow's weights are whole multiples of one over this
_COARSE_UNITS = 1 << 12


def _bilinear(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


def _bicubic(x: torch.Tensor) -> torch.Tensor:
    """Return Keys' (1981) cubic convolution with a = -1/2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _box(x: torch.Tensor) -> torch.Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _hamming(x: torch.Tensor) -> torch.Tensor:
    window = 0.54 + 0.46 * torch.cos(math.pi * x)
    return torch.where(x.abs() < 1, _sinc(x) * window, torch.zeros_like(x))


def _lanczos(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.abs() < 3, _sinc(x) * _sinc(x / 3), torch.zeros_like(x))


def _sinc(x: torch.Tensor) -> torch.Tensor:
    """Return sin(pi x) / (pi x). Near 0 the quotient is of a small number that is not 0."""
    angles = math.pi * torch.where(x.abs() < 1e-6, torch.full_like(x, 1e-6), x)
    return torch.sin(angles) / angles


FILTERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bilinear": _bilinear,
    "bicubic": _bicubic,
    "box": _box,
    "hamming": _hamming,
    "lanczos": _lanczos,
}
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
        """Return the weights (kept, n) of the n pixels of a side in two parts, and (kept,) booleans: False is padding.

        Weights of 22 bits times values of 8 are more than float32 holds, and many sums lie near n + 1/2: their upper
        bits and the rest make sums that are exact.
        """
        geometry = self.geometry
        rest = (resized - kept).float()
        before = torch.where(rest >= 0, torch.round(rest * share), -torch.floor(-rest / 2)).to(positions.dtype)
        places = torch.arange(kept, device=positions.device) + before
        inside = (places >= 0) & (places < resized)
        count = positions[-1] + 1
        if geometry.interpolation in NEAREST:
            nearest = _whole_quotient((2 * places + 1) * count, 2 * resized)
            weights = (positions[None, :] == nearest[:, None]).double()
        else:
            rows = torch.minimum(places.clamp(min=0), resized - 1)
            distances = (2 * positions + 1)[None, :] * resized - ((2 * rows + 1) * count)[:, None]  # whole, and exact
            reach = (2 * torch.maximum(count, resized)).double()
            weights = FILTERS[geometry.interpolation](distances.double() / reach)
            weights = torch.floor(weights / weights.sum(dim=1, keepdim=True) * _UNITS + 0.5) / _UNITS
        coarse = torch.floor(weights * _COARSE_UNITS) / _COARSE_UNITS
        return coarse.float(), (weights - coarse).float(), inside


def _rounded(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Return the sum of two parts as a whole number from 0 to 255, halves rounded up."""
    whole = torch.floor(coarse)
    return (whole + torch.floor(coarse - whole + fine + 0.5)).clamp(0, _WHITE)
