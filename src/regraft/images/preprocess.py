"""A network's evaluation transform: size, crop and normalisation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms
from torchvision.transforms.v2 import functional as transforms_v2

from regraft.images.tta import CENTRE, Place
from regraft.images.value_range import Ranges

INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}
CROP_MODES = ("center", "squash", "border")
_TENSOR_FILTERS = ("bilinear", "bicubic")  # that torchvision has for tensors, antialiased


@dataclass(frozen=True)
class Preprocess:
    """The evaluation transform of a pretrained network.

    Attributes:
        height: input height h in pixels.
        width: input width w in pixels.
        crop_pct: share of the resized image that the crop keeps, in (0, 1].
        crop_mode: "center" (short side, then crop), "squash" (both sides, ratio lost) or "border" (long side, padded).
        interpolation: Pillow's filter by its torchvision name, e.g. "bicubic".
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        ranges: the values of black and white in photos of more than 8 bits, by kind of number.
    """

    height: int
    width: int
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ranges: Ranges = ()

    def pixels(self, image: Image.Image | torch.Tensor) -> np.ndarray:
        """Resize and crop an RGB image to a uint8 array (h, w, 3). Equal to timm's evaluation transform.

        Args:
            image: of Pillow; or a uint8 tensor (3, h, w) whose channels are last in memory, of a size that
                `supports_tensor` accepts. That takes half the time, and no value differs by more than 2 of 255: Pillow
                rounds between the two directions.
        """
        return self.crops(image, (CENTRE,))[0]

    def crops(self, image: Image.Image | torch.Tensor, places: Sequence[Place]) -> list[np.ndarray]:
        """Resize an image as `pixels` does, once, and return the crops (h, w, 3) at `places`."""
        resized = self._resize_tensor(image) if isinstance(image, torch.Tensor) else self._resize(image)
        rest = resized.shape[0] - self.height, resized.shape[1] - self.width
        corners = [(round(rest[0] * above), round(rest[1] * left)) for above, left in places]
        return [resized[top : top + self.height, left : left + self.width] for top, left in corners]

    def _resize(self, image: Image.Image) -> np.ndarray:
        size = self.resized(image.height, image.width)
        image = transforms.resize(image, list(size), INTERPOLATIONS[self.interpolation], antialias=True)
        fill = [round(255 * value) for value in self.mean] if self.crop_mode == "border" else [0, 0, 0]
        return np.asarray(_pad_to(image, self.width, self.height, fill))

    def _resize_tensor(self, image: torch.Tensor) -> np.ndarray:
        size = self.resized(*image.shape[1:])
        resized: torch.Tensor = transforms_v2.resize(
            image, list(size), INTERPOLATIONS[self.interpolation], antialias=True
        )
        return resized.permute(1, 2, 0).numpy()

    def supports_tensor(self, height: int, width: int) -> bool:
        """Tell whether `pixels` can take a tensor of an image of that size: bilinear or bicubic, without padding."""
        size = self.resized(height, width)
        return self.interpolation in _TENSOR_FILTERS and size[0] >= self.height and size[1] >= self.width

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) in pixels to which an image of that size is resized before the crop."""
        scaled = [math.floor(side / self.crop_pct) for side in (self.height, self.width)]
        if self.crop_mode == "squash":
            return scaled[0], scaled[1]
        if self.crop_mode == "center" and scaled[0] == scaled[1]:  # the short side; torchvision truncates the other
            short = min(height, width)
            return int(scaled[0] * height / short), int(scaled[0] * width / short)
        ratios = (height / scaled[0], width / scaled[1])
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; without `ranges` where there are none, as in files and caches of older versions."""
        ranges = {"ranges": {kind: [low, high] for kind, low, high in self.ranges}} if self.ranges else {}
        plain = {name: value for name, value in asdict(self).items() if name != "ranges"}
        return plain | {"mean": list(self.mean), "std": list(self.std)} | ranges

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Preprocess":
        """Return what `to_json` described."""
        ranges = tuple((kind, float(low), float(high)) for kind, (low, high) in data.get("ranges", {}).items())
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"]), "ranges": ranges})

    def __str__(self) -> str:
        """Return one line for people."""
        how = {"center": "centre crop", "squash": "squashed", "border": "padded"}[self.crop_mode]
        return f"{self.width} x {self.height} pixels, {self.interpolation}, {how} of {self.crop_pct:.1%}"


def _pad_to(image: Image.Image, width: int, height: int, fill: list[int]) -> Image.Image:
    """Pad around the middle so that a crop of (height, width) fits; the odd pixel goes right and below."""
    missing_x, missing_y = max(width - image.width, 0), max(height - image.height, 0)
    if not (missing_x or missing_y):
        return image
    sides = [missing_x // 2, missing_y // 2, (missing_x + 1) // 2, (missing_y + 1) // 2]
    padded: Image.Image = transforms.pad(image, sides, fill=tuple(fill))
    return padded
