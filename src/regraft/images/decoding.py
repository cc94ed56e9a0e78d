"""From an encoded image to the network's input pixels, by the cheapest way that gives the same pixels."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simplejpeg
from PIL import Image

from regraft.images.preprocess import Preprocess
from regraft.images.reading import (
    LARGE,
    decode_rgb,
    errors_as_reasons,
    open_image,
    orientation,
    reserve_memory,
    set_decoding_size,
)
from regraft.images.resizing import PILLOW
from regraft.images.sources import Source
from regraft.images.tta import CENTRE, PARTS, Place

DETAIL = 2  # a JPEG is decoded at reduced size only to this many pixels per target pixel, or more, along each side
READING = 3  # version of the pixels that come from a file, raised when they change: part of cache keys
_REDUCIBLE = ("JPEG", "MPO")  # Pillow's names of the formats that libjpeg decodes
_REDUCTIONS = (8, 4, 2)
_JPEG_MODES = ("RGB", "L")  # not CMYK, which needs Pillow's conversion


def decode(source: Source, preprocess: Preprocess, *, resizer: str = PILLOW) -> np.ndarray:
    """Return the (h, w, 3) uint8 pixels of an image for a network's `preprocess`.

    - JPEGs are decoded by libjpeg-turbo's own interface: the same values as Pillow's.
    - JPEGs of more than twice the target size are decoded at an eighth, a quarter or a half of their size (libjpeg's
      scaled transform), to at least `DETAIL` pixels per target pixel, if that is a whole number of pixels; the mean
      difference from decoding at full size is below 1 of 255 over photos.
    - Everything else goes through Pillow: the result is `preprocess.pixels(read_image(source), resizer=resizer)`.
    - Photos of more than 8 bits become 8 bits by `preprocess.ranges`; a kind that is not in it, by its own range.

    Raises:
        UnreadableImageError: not an image, or damaged.
    """
    return decode_crops(source, preprocess, (CENTRE,), resizer=resizer)[0]


def decode_views(source: Source, preprocess: Preprocess, parts: Sequence[str], *, resizer: str = PILLOW) -> np.ndarray:
    """Return the (k, h, w, 3) uint8 pixels of the views of `parts`, names in `tta.PARTS`, in order.

    Views that the network's own resized image holds are of one decoding; where its crop keeps more of that than a
    corner may, corners are of a larger one.

    Raises:
        UnreadableImageError: not an image, or damaged.
    """
    known: dict[tuple[Preprocess, Place], np.ndarray] = {}
    wanted: dict[Preprocess, list[Place]] = {}
    for part in map(PARTS.__getitem__, parts):
        wanted.setdefault(enlarge(preprocess, part.share), []).extend(part.places)
    for enlarged, places in wanted.items():
        for place, pixels in zip(places, decode_crops(source, enlarged, places, resizer=resizer), strict=True):
            known[enlarged, place] = pixels
    views = []
    for part in map(PARTS.__getitem__, parts):
        of_part = [known[enlarge(preprocess, part.share), place] for place in part.places]
        views += [pixels[:, ::-1] if part.mirrored else pixels for pixels in of_part]
    return np.stack(views)


def decode_view(source: Source, preprocess: Preprocess, number: int, *, resizer: str = PILLOW) -> np.ndarray:
    """Return the (h, w, 3) uint8 pixels of one view by its number. See `decode_views`."""
    name, part = next((name, part) for name, part in PARTS.items() if number in part.numbers)
    return np.asarray(decode_views(source, preprocess, (name,), resizer=resizer)[part.numbers.index(number)])


def enlarge(preprocess: Preprocess, share: float | None) -> Preprocess:
    """Return the transform whose crop keeps at most `share` of the resized image's short side."""
    if share is None or preprocess.crop_pct <= share:
        return preprocess
    return replace(preprocess, crop_pct=share)


def decode_crops(
    source: Source, preprocess: Preprocess, places: Sequence[Place], *, resizer: str = PILLOW
) -> list[np.ndarray]:
    """Return the (h, w, 3) uint8 pixels of crops at `places` of an image, decoded once. See `decode`."""
    with errors_as_reasons(), open_image(source) as (image, stream):
        stored, min_size = image.size, _min_size(image, preprocess)
        if stream is not None and image.format in _REDUCIBLE:  # a caller's own image stays whole
            reduced = _reduced(image, min_size)
            if orientation(image) == 1 and isinstance(stream, io.BytesIO):  # a larger file is read in pieces
                jpeg = _jpeg(image, stream, reduced)
                if jpeg is not None:
                    return preprocess.crops(jpeg, places, resizer=resizer)
            image.draft(None, (reduced[1], reduced[0]))
        elif stream is not None:
            set_decoding_size(image, min_size)
        with decode_rgb(image, stream, min_size, stored=stored, ranges=preprocess.ranges) as photo:
            return preprocess.crops(photo, places, resizer=resizer)


def _min_size(image: Image.Image, preprocess: Preprocess) -> tuple[int, int]:
    """Return the (height, width), as stored, below which an image must not be decoded for the network's size."""
    turned = orientation(image) >= 5
    height, width = preprocess.resized(*(image.size if turned else image.size[::-1]))
    return (DETAIL * width, DETAIL * height) if turned else (DETAIL * height, DETAIL * width)


def _reduced(image: Image.Image, min_size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (height, width) that libjpeg can decode a photo at, of `min_size` or more.

    A size that is no whole number of pixels would be rounded up, and the photo shifted by a fraction of a pixel, which
    is negligible in a photo beyond `LARGE`.
    """
    large = image.width * image.height > LARGE
    for factor in _REDUCTIONS:
        height, width = image.height // factor, image.width // factor
        exact = large or (height * factor, width * factor) == (image.height, image.width)
        if exact and height >= min_size[0] and width >= min_size[1]:
            return height, width
    return image.height, image.width


def _jpeg(image: Image.Image, stream: io.BytesIO, size: tuple[int, int]) -> np.ndarray | None:
    """Return a JPEG's pixels (*size, 3); None for other images, and for damage, whose reason Pillow gives."""
    if image.format != "JPEG" or image.mode not in _JPEG_MODES:
        return None
    with reserve_memory(image, image.size, decoded=size):
        try:
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                stream.getbuffer(), "RGB", min_height=size[0], min_width=size[1]
            )
        except ValueError:
            return None
    return pixels
