"""Photos that are made up: what an export is compared on where the user names none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

MADE_PHOTOS = 12
_SIZES = ((640, 480), (333, 500), (500, 500), (120, 90), (1024, 683))  # width, height
_LARGE = (1536, 1152)  # which libjpeg decodes at a reduced size for most networks
_ORIENTATION = 0x0112  # EXIF's tag
_TURNED = 6  # by a quarter


@contextmanager
def made_photos() -> Iterator[list[Path]]:
    """Yield files of photos of many colours, coarse and fine, in several sizes: JPEGs, one turned by EXIF, and PNGs."""
    with TemporaryDirectory() as folder:
        yield [_write(Path(folder), number) for number in range(MADE_PHOTOS)]


def _write(folder: Path, number: int) -> Path:
    generator = np.random.default_rng(number)
    size = _LARGE if number == MADE_PHOTOS - 1 else _SIZES[number % len(_SIZES)]
    values = np.zeros((size[1], size[0], 3))
    for side, strength in ((3, 0.6), (12, 0.3), (60, 0.1)):  # like photos: most of what there is is coarse
        coarse = Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
        values += strength * np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
    photo = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if number % 4 == 2:
        path = folder / f"{number}.png"
        photo.save(path)
        return path
    path, exif = folder / f"{number}.jpg", Image.Exif()
    if number == 1:
        exif[_ORIENTATION] = _TURNED
    photo.save(path, quality=90, exif=exif)
    return path
