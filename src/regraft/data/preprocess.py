"""What a network wants its images brought to: size, crop, and the normalisation of its values."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

INTERPOLATIONS = {mode.value: mode for mode in InterpolationMode}
CROP_MODES = ("center", "squash", "border")


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
    """

    height: int
    width: int
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Resize and crop an RGB image to a uint8 array (h, w, 3). Equal to timm's evaluation transform."""
        filter_ = INTERPOLATIONS[self.interpolation]
        scaled = [math.floor(side / self.crop_pct) for side in (self.height, self.width)]
        fill = [round(255 * value) for value in self.mean]
        if self.crop_mode == "squash":
            size = scaled
        elif self.crop_mode == "center" and scaled[0] == scaled[1]:
            size = [scaled[0]]  # the short side
        else:
            size = self._keeping_ratio(image, scaled)
        image = transforms.resize(image, size, filter_, antialias=True)
        image = _pad_to(image, self.width, self.height, fill if self.crop_mode == "border" else [0, 0, 0])
        return np.asarray(transforms.center_crop(image, [self.height, self.width]))

    def _keeping_ratio(self, image: Image.Image, scaled: list[int]) -> list[int]:
        ratios = (image.height / scaled[0], image.width / scaled[1])
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return [max(1, round(image.height / ratio)), max(1, round(image.width / ratio))]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Preprocess":
        """Return what `to_json` described."""
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

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
