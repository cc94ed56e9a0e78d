"""A network's evaluation transform: size, crop and normalisation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from regraft.images.resizing import PILLOW, TENSOR_FILTERS, TORCHVISION, resize_by_pillow, resize_by_torchvision
from regraft.images.tta import CENTRE, Place
from regraft.images.value_range import Ranges

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

    def pixels(self, image: Image.Image | np.ndarray, *, resizer: str = PILLOW) -> np.ndarray:
        """Resize and crop an RGB image to a uint8 array (h, w, 3); by Pillow, as timm's evaluation transform does.

        Args:
            image: of Pillow, or (h, w, 3) uint8 pixels.
            resizer: `PILLOW`, or `TORCHVISION`, which resizes what it can: bilinear or bicubic, without padding. No
                value differs by more than 2 of 255.
        """
        return self.crops(image, (CENTRE,), resizer=resizer)[0]

    def crops(
        self, image: Image.Image | np.ndarray, places: Sequence[Place], *, resizer: str = PILLOW
    ) -> list[np.ndarray]:
        """Resize an image as `pixels` does, once, and return the crops (h, w, 3) at `places`."""
        shown = image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1]
        size = self.resized(*shown)
        padded = size[0] < self.height or size[1] < self.width
        if resizer == TORCHVISION and self.interpolation in TENSOR_FILTERS and not padded:
            pixels = image if isinstance(image, np.ndarray) else np.array(image)  # a copy: PyTorch warns of read-only
            resized = resize_by_torchvision(pixels, size, self.interpolation)
        else:
            resized = self._resize(image if isinstance(image, Image.Image) else Image.fromarray(image), size)
        rest = resized.shape[0] - self.height, resized.shape[1] - self.width
        corners = [(round(rest[0] * above), round(rest[1] * left)) for above, left in places]
        return [resized[top : top + self.height, left : left + self.width] for top, left in corners]

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
        image = resize_by_pillow(image, size, self.interpolation)
        fill = [round(255 * value) for value in self.mean] if self.crop_mode == "border" else [0, 0, 0]
        return np.asarray(_pad_to(image, self.width, self.height, fill))

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

    def with_ranges(self, ranges: Ranges) -> "Preprocess":
        """Return the same with these values of black and white."""
        return replace(self, ranges=ranges)

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
    padded = Image.new(image.mode, (image.width + missing_x, image.height + missing_y), tuple(fill))
    padded.paste(image, (missing_x // 2, missing_y // 2))
    return padded
