"""Views of a photo: flipped, cropped and coloured at random, yet the same whenever the same view is asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torchvision.transforms import functional as transforms

from regraft.data.decoding import DETAIL
from regraft.data.preprocess import INTERPOLATIONS, Preprocess

KINDS = ("flip", "vertical-flip", "crop", "colour", "randaugment", "erase")
DEFAULT_KINDS = ("flip", "crop", "colour")
SMALLEST_AREA = 0.5  # of a crop, as a share of the photo
_RATIOS = (3 / 4, 4 / 3)
_COLOUR = 0.2  # brightness, contrast and saturation are scaled by 1 - this to 1 + this
_ATTEMPTS = 10
_OPERATIONS = 2  # of RandAugment, one after the other
_ERASED = (0.02, 1 / 3)  # share of a view
_ERASED_RATIO = 0.3  # of its sides, at least; its inverse at most


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the photo.

    Attributes:
        kinds: which of `KINDS` are done.
        seed: of all that is drawn.
        area: smallest area of a crop, as a share of the photo.
    """

    kinds: tuple[str, ...] = DEFAULT_KINDS
    seed: int = 0
    area: float = SMALLEST_AREA

    def least(self, preprocess: Preprocess) -> int:
        """Return how many pixels a photo's sides must have for its smallest part to be reduced, not enlarged."""
        smallest = math.sqrt(self.area * _RATIOS[0])  # side of a crop, as a share of the photo's shorter one
        return math.ceil(DETAIL * max(preprocess.height, preprocess.width) / smallest)

    def view(self, image: Image.Image, preprocess: Preprocess, *, key: bytes, number: int) -> np.ndarray:
        """Return view `number` of an RGB image, (h, w, 3) uint8.

        View 0 is the photo as it is judged. The others depend on the seed, the photo's content `key` and the number
        alone: not on their order, the process or the machine.
        """
        if number == 0 or not self.kinds:
            return preprocess.pixels(image)
        draw = np.random.default_rng([self.seed, number, int.from_bytes(key[:8], "big")])
        cropped = "crop" in self.kinds
        image = _crop(image, preprocess, self.area, draw) if cropped else Image.fromarray(preprocess.pixels(image))
        if "flip" in self.kinds and draw.random() < 0.5:
            image = transforms.hflip(image)
        if "vertical-flip" in self.kinds and draw.random() < 0.5:
            image = transforms.vflip(image)
        if "colour" in self.kinds:
            for adjust in (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation):
                image = adjust(image, draw.uniform(1 - _COLOUR, 1 + _COLOUR))
        if "randaugment" in self.kinds:
            for name in draw.choice(list(_RANDAUGMENT), _OPERATIONS):
                image = _RANDAUGMENT[name](image, draw.uniform(), 1.0 if draw.random() < 0.5 else -1.0)
        if "erase" in self.kinds and draw.random() < 0.5:
            return _erased(np.array(image), draw)
        return np.asarray(image)


def _crop(image: Image.Image, preprocess: Preprocess, smallest: float, draw: np.random.Generator) -> Image.Image:
    """Return a part of random area and ratio, brought to the network's size (Szegedy et al. 2015, section 6)."""
    ratios = math.log(_RATIOS[0]), math.log(_RATIOS[1])
    for _ in range(_ATTEMPTS):
        area = image.width * image.height * draw.uniform(smallest, 1.0)
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


def _erased(view: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return the view (h, w, 3) with noise in a rectangle (Zhong et al. 2020, random erasing)."""
    height, width = view.shape[:2]
    for _ in range(_ATTEMPTS):
        area = height * width * draw.uniform(*_ERASED)
        ratio = math.exp(draw.uniform(math.log(_ERASED_RATIO), -math.log(_ERASED_RATIO)))
        tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < tall < height and 0 < wide < width:
            upper, left = int(draw.integers(0, height - tall + 1)), int(draw.integers(0, width - wide + 1))
            view[upper : upper + tall, left : left + wide] = draw.integers(0, 256, (tall, wide, 3), dtype=np.uint8)
            break
    return view


def _sheared(image: Image.Image, degrees: list[float]) -> Image.Image:
    sheared: Image.Image = transforms.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0, 0])
    return sheared


# RandAugment's operations (Cubuk et al. 2020), of an image, a strength from 0 to 1 and a sign. The ranges are those of
# torchvision's class of that name, which draws from a generator that threads share: no view could come twice.
_RANDAUGMENT: dict[str, Callable[[Image.Image, float, float], Image.Image]] = {
    "identity": lambda image, _, __: image,
    "shear across": lambda image, strength, sign: _sheared(image, [math.degrees(math.atan(0.3 * strength * sign)), 0]),
    "shear down": lambda image, strength, sign: _sheared(image, [0, math.degrees(math.atan(0.3 * strength * sign))]),
    "shift across": lambda image, strength, sign: transforms.affine(
        image, 0.0, [round(150 / 331 * image.width * strength * sign), 0], 1.0, [0, 0]
    ),
    "shift down": lambda image, strength, sign: transforms.affine(
        image, 0.0, [0, round(150 / 331 * image.height * strength * sign)], 1.0, [0, 0]
    ),
    "rotate": lambda image, strength, sign: transforms.rotate(image, 30 * strength * sign),
    "brightness": lambda image, strength, sign: transforms.adjust_brightness(image, 1 + 0.9 * strength * sign),
    "colour": lambda image, strength, sign: transforms.adjust_saturation(image, 1 + 0.9 * strength * sign),
    "contrast": lambda image, strength, sign: transforms.adjust_contrast(image, 1 + 0.9 * strength * sign),
    "sharpness": lambda image, strength, sign: transforms.adjust_sharpness(image, 1 + 0.9 * strength * sign),
    "posterise": lambda image, strength, _: transforms.posterize(image, 8 - round(4 * strength)),
    "solarise": lambda image, strength, _: transforms.solarize(image, 255 * (1 - strength)),
    "stretch": lambda image, _, __: transforms.autocontrast(image),
    "equalise": lambda image, _, __: transforms.equalize(image),
}
