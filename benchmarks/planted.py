"""A folder with known faults, made of real photos: what an audit has to find is known exactly."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

QUALITY, OTHER_QUALITY, BORDER = 60, 90, 6  # of JPEGs of the class with the shortcut, of the others; pixels


@dataclass
class Planted:
    """What was planted, by file.

    Attributes:
        folder: train/ and val/ of class folders.
        exact: pairs of a photo and its copy in the other split.
        edited: pairs of a photo and its edited copy.
        wrong: files whose label is wrong.
        broken: files that cannot be read.
        shortcut: the class that has it.
    """

    folder: Path
    exact: list[tuple[Path, Path]] = field(default_factory=list)
    edited: list[tuple[Path, Path]] = field(default_factory=list)
    wrong: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    shortcut: str = ""


def plant(
    photos: Mapping[str, Sequence[Path]], folder: Path, *, count: int = 30, broken: int = 10, seed: int = 0
) -> Planted:
    """Lay photos of two classes out as train and val, three to one, with faults: `count` of each kind.

    Each photo has one fault at most. The first class has the shortcut: another JPEG quality, and a grey border.
    """
    rng = np.random.default_rng(seed)
    found = Planted(folder, shortcut=next(iter(photos)))
    names = list(photos)
    places = [(name, place) for name in names for place in range(len(photos[name]))]
    order = [places[k] for k in rng.permutation(len(places))]
    exact, edited, wrong, damaged = np.split(np.arange(3 * count + broken), [count, 2 * count, 3 * count])
    for number, (name, place) in enumerate(order):
        split = "val" if number % 4 == 0 else "train"
        label = names[1 - names.index(name)] if number in wrong else name
        path = folder / split / label / f"{name}{place}.jpg"
        image = Image.open(photos[name][place]).convert("RGB")
        _save(image, path, shortcut=label == found.shortcut)
        if number in wrong:
            found.wrong.append(path)
        elif number in damaged:
            path.write_bytes(path.read_bytes()[: int(rng.integers(0, 900))])
            found.broken.append(path)
        elif number in exact:
            copy = folder / ("train" if split == "val" else "val") / label / f"copy{number}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            found.exact.append((path, copy))
        elif number in edited:
            copy = folder / ("train" if split == "val" else "val") / label / f"edit{number}.jpg"
            _save(_edited(image, number % 6), copy, shortcut=label == found.shortcut)
            found.edited.append((path, copy))
    return found


def _edited(image: Image.Image, kind: int) -> Image.Image:
    width, height = image.size
    if kind == 0:
        return image.resize((width * 2 // 3, height * 2 // 3))
    if kind == 1:
        return ImageOps.mirror(image)
    if kind == 2:
        return image.rotate(90, expand=True)
    if kind == 3:
        return image.crop((width // 10, height // 10, width * 95 // 100, height * 95 // 100))
    if kind == 4:
        return ImageEnhance.Brightness(image).enhance(1.3)
    return image.rotate(180)


def _save(image: Image.Image, path: Path, *, shortcut: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if shortcut:
        image = ImageOps.expand(image, BORDER, (90, 90, 90))
    image.save(path, quality=QUALITY if shortcut else OTHER_QUALITY)
