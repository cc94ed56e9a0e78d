"""Views of a photo: flipped, cropped and coloured at random, yet the same whenever the same view is asked for."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torchvision.transforms import functional as transforms

from regraft.data.decoding import DETAIL
from regraft.data.preprocess import INTERPOLATIONS, Preprocess

KINDS = ("flip", "vertical-flip", "crop", "colour")
DEFAULT_KINDS = ("flip", "crop", "colour")
SMALLEST_AREA = 0.5  # of a crop, as a share of the photo
_RATIOS = (3 / 4, 4 / 3)
_SMALLEST_SIDE = math.sqrt(SMALLEST_AREA * _RATIOS[0])  # of a crop, as a share of the photo's shorter side
_COLOUR = 0.2  # brightness, contrast and saturation are scaled by 1 - this to 1 + this
_ATTEMPTS = 10


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the photo.

    Attributes:
        kinds: which of `KINDS` are done.
        seed: of all that is drawn.
    """

    kinds: tuple[str, ...] = DEFAULT_KINDS
    seed: int = 0

    def least(self, preprocess: Preprocess) -> int:
        """Return how many pixels a photo's sides must have for its smallest part to be reduced, not enlarged."""
        return math.ceil(DETAIL * max(preprocess.height, preprocess.width) / _SMALLEST_SIDE)

    def view(self, image: Image.Image, preprocess: Preprocess, *, key: bytes, number: int) -> np.ndarray:
        """Return view `number` of an RGB image, (h, w, 3) uint8.

        View 0 is the photo as it is judged. The others depend on the seed, the photo's content `key` and the number
        alone: not on their order, the process or the machine.
        """
        if number == 0 or not self.kinds:
            return preprocess.pixels(image)
        draw = np.random.default_rng([self.seed, number, int.from_bytes(key[:8], "big")])
        image = _crop(image, preprocess, draw) if "crop" in self.kinds else Image.fromarray(preprocess.pixels(image))
        if "flip" in self.kinds and draw.random() < 0.5:
            image = transforms.hflip(image)
        if "vertical-flip" in self.kinds and draw.random() < 0.5:
            image = transforms.vflip(image)
        if "colour" in self.kinds:
            for adjust in (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation):
                image = adjust(image, draw.uniform(1 - _COLOUR, 1 + _COLOUR))
        return np.asarray(image)


def _crop(image: Image.Image, preprocess: Preprocess, draw: np.random.Generator) -> Image.Image:
    """Return a part of random area and ratio, brought to the network's size (Szegedy et al. 2015, section 6)."""
    ratios = math.log(_RATIOS[0]), math.log(_RATIOS[1])
    for _ in range(_ATTEMPTS):
        area = image.width * image.height * draw.uniform(SMALLEST_AREA, 1.0)
        ratio = math.exp(draw.uniform(*ratios)) * preprocess.width / preprocess.height
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            left = int(draw.integers(0, image.width - width + 1))
            upper = int(draw.integers(0, image.height - height + 1))
            size = [preprocess.height, preprocess.width]
            filter_ = INTERPOLATIONS[preprocess.interpolation]
            cropped: Image.Image = transforms.resized_crop(image, upper, left, height, width, size, filter_)
            return cropped
    return Image.fromarray(preprocess.pixels(image))  # a panorama: no such part fits
