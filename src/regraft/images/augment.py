"""Augmented views of a photo, each reproducible from the seed, the photo and the view's number.

Nothing here imports torch before a view is made: the command line's help lists `AUGMENTATIONS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from regraft.images.resizing import resize_by_pillow

if TYPE_CHECKING:
    from regraft.images.preprocess import Preprocess

SMALLEST_AREA = 0.5  # of a crop, as a share of the photo
_RATIOS = (3 / 4, 4 / 3)
_COLOUR = 0.2  # brightness, contrast and saturation are scaled by 1 - this to 1 + this
_ATTEMPTS = 10
_OPERATIONS = 2  # of RandAugment, one after the other
_ERASED = (0.02, 1 / 3)  # share of a view
_ERASED_RATIO = 0.3  # of its sides, at least; its inverse at most


@dataclass(frozen=True)
class Target:
    """What a view is to become.

    Attributes:
        preprocess: the network's evaluation transform, which has its size.
        area: smallest area of a crop, as a share of the photo.
    """

    preprocess: "Preprocess"
    area: float


@dataclass(frozen=True)
class Kind:
    """One kind of augmentation.

    Attributes:
        apply: (RGB image, random generator, target) -> RGB image of the same size. Every random number comes from the
            generator.
        help: what it does, in a few words.
        default: it is done unless the user chooses.
        of_photo: it is applied to the whole photo and gives the network's size, in place of the evaluation transform.
    """

    apply: Callable[[Image.Image, np.random.Generator, Target], Image.Image]
    help: str
    default: bool = False
    of_photo: bool = False


def _flip(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


def _vertical_flip(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
    return ImageOps.flip(image) if rng.random() < 0.5 else image


def _crop(image: Image.Image, rng: np.random.Generator, target: Target) -> Image.Image:
    """Return a crop of random area and ratio, resized to the network's size (Szegedy et al. 2015, section 6)."""
    preprocess = target.preprocess
    ratios = math.log(_RATIOS[0]), math.log(_RATIOS[1])
    for _ in range(_ATTEMPTS):
        area = image.width * image.height * rng.uniform(target.area, 1.0)
        ratio = math.exp(rng.uniform(*ratios)) * preprocess.width / preprocess.height
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            left = int(rng.integers(0, image.width - width + 1))
            upper = int(rng.integers(0, image.height - height + 1))
            cropped = image.crop((left, upper, left + width, upper + height))
            return resize_by_pillow(cropped, (preprocess.height, preprocess.width), preprocess.interpolation)
    return Image.fromarray(preprocess.pixels(image))  # a panorama: no such crop fits


def _colour(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(1 - _COLOUR, 1 + _COLOUR))
    return image


def _randaugment(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
    for name in rng.choice(list(_RANDAUGMENT), _OPERATIONS):
        image = _RANDAUGMENT[name](image, rng.uniform(), 1.0 if rng.random() < 0.5 else -1.0)
    return image


def _erase(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
    """Fill a rectangle with noise (Zhong et al. 2020, random erasing)."""
    if rng.random() >= 0.5:
        return image
    for _attempt in range(_ATTEMPTS):
        area = image.height * image.width * rng.uniform(*_ERASED)
        ratio = math.exp(rng.uniform(math.log(_ERASED_RATIO), -math.log(_ERASED_RATIO)))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < height < image.height and 0 < width < image.width:
            upper, left = int(rng.integers(0, image.height - height + 1)), int(rng.integers(0, image.width - width + 1))
            noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            image = image.copy()
            image.paste(Image.fromarray(noise), (left, upper))
            break
    return image


def _affine(image: Image.Image, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Image.Image:
    """Shift an image by pixels around its centre, or shear it by degrees from its upper left corner."""
    from torchvision.transforms import functional as transforms

    center = [0, 0] if any(shear) else None
    moved: Image.Image = transforms.affine(image, 0.0, list(shift), 1.0, list(shear), center=center)
    return moved


# RandAugment's operations (Cubuk et al. 2020), of an image, a strength from 0 to 1 and a sign. The ranges are those of
# torchvision's class of that name, which draws from a generator that threads share: no view could be made again.
_RANDAUGMENT: dict[str, Callable[[Image.Image, float, float], Image.Image]] = {
    "identity": lambda image, _, __: image,
    "shear across": lambda image, strength, sign: _affine(
        image, shear=(math.degrees(math.atan(0.3 * strength * sign)), 0)
    ),
    "shear down": lambda image, strength, sign: _affine(
        image, shear=(0, math.degrees(math.atan(0.3 * strength * sign)))
    ),
    "shift across": lambda image, strength, sign: _affine(
        image, shift=(round(150 / 331 * image.width * strength * sign), 0)
    ),
    "shift down": lambda image, strength, sign: _affine(
        image, shift=(0, round(150 / 331 * image.height * strength * sign))
    ),
    "rotate": lambda image, strength, sign: image.rotate(30 * strength * sign),
    "brightness": lambda image, strength, sign: ImageEnhance.Brightness(image).enhance(1 + 0.9 * strength * sign),
    "colour": lambda image, strength, sign: ImageEnhance.Color(image).enhance(1 + 0.9 * strength * sign),
    "contrast": lambda image, strength, sign: ImageEnhance.Contrast(image).enhance(1 + 0.9 * strength * sign),
    "sharpness": lambda image, strength, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength * sign),
    "posterise": lambda image, strength, _: ImageOps.posterize(image, 8 - round(4 * strength)),
    "solarise": lambda image, strength, _: ImageOps.solarize(image, 255 * (1 - strength)),  # type: ignore[arg-type]
    "stretch": lambda image, _, __: ImageOps.autocontrast(image),
    "equalise": lambda image, _, __: ImageOps.equalize(image),
}

# One row and one function to add a kind. They are applied in this order, those of the whole photo first: a new row
# comes last, so that the views of the others stay as they are.
AUGMENTATIONS: dict[str, Kind] = {
    "flip": Kind(_flip, "half of the views mirrored", default=True),
    "vertical-flip": Kind(_vertical_flip, "half of them upside down"),
    "crop": Kind(_crop, "a part of random size and shape", default=True, of_photo=True),
    "colour": Kind(_colour, "brightness, contrast, saturation", default=True),
    "randaugment": Kind(_randaugment, "two random operations of 14; Cubuk et al. 2020"),
    "erase": Kind(_erase, "noise in a rectangle of half of the views; Zhong et al. 2020"),
}
KINDS = tuple(AUGMENTATIONS)
DEFAULT_KINDS = tuple(name for name, kind in AUGMENTATIONS.items() if kind.default)


def kinds_in_words() -> str:
    """Return every kind with what it does, for the command line's help."""
    return ", ".join(f"{name} ({kind.help})" for name, kind in AUGMENTATIONS.items())


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the photo.

    Attributes:
        kinds: names in `AUGMENTATIONS`, in any order.
        seed: of the random generators.
        area: smallest area of a crop, as a share of the photo.
    """

    kinds: tuple[str, ...] = DEFAULT_KINDS
    seed: int = 0
    area: float = SMALLEST_AREA

    def min_side(self, preprocess: "Preprocess") -> int:
        """Return how many pixels a photo's sides must have for its smallest crop to be reduced, not enlarged."""
        from regraft.images.decoding import DETAIL

        smallest = math.sqrt(self.area * _RATIOS[0])  # side of a crop, as a share of the photo's shorter one
        return math.ceil(DETAIL * max(preprocess.height, preprocess.width) / smallest)

    def view(self, image: Image.Image, preprocess: "Preprocess", *, key: bytes, number: int) -> np.ndarray:
        """Return view `number` of an RGB image, (h, w, 3) uint8.

        View 0 is the photo as it is evaluated. The others depend on the seed, the photo's content `key` and the number
        alone: not on their order, the process or the machine.
        """
        if number == 0 or not self.kinds:
            return preprocess.pixels(image)
        rng = np.random.default_rng([self.seed, number, int.from_bytes(key[:8], "big")])
        target = Target(preprocess, self.area)
        chosen = [kind for name, kind in AUGMENTATIONS.items() if name in self.kinds]
        for kind in chosen:
            if kind.of_photo:
                image = kind.apply(image, rng, target)
        if not any(kind.of_photo for kind in chosen):
            image = Image.fromarray(preprocess.pixels(image))
        for kind in chosen:
            if not kind.of_photo:
                image = kind.apply(image, rng, target)
        return np.asarray(image)
