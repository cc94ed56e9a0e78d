"""From an encoded image to the network's pixels, on the cheapest path that gives the same pixels."""

import io

import numpy as np
import simplejpeg
import torch
from PIL import Image

from regraft.data.images import (
    LARGE,
    decode_rgb,
    errors_as_reasons,
    open_image,
    orientation,
    reserve_memory,
    set_decoding_size,
)
from regraft.data.preprocess import Preprocess
from regraft.data.sources import Source

DETAIL = 2  # a JPEG is decoded at a reduced size only where this many of its pixels remain for each one wanted
READING = 3  # counted up whenever other pixels come out of the same file: part of the caches' keys
_REDUCIBLE = ("JPEG", "MPO")  # Pillow's names of what libjpeg decodes
_REDUCTIONS = (8, 4, 2)
_JPEG_MODES = ("RGB", "L")  # not CMYK, which needs Pillow's conversion


def decode(source: Source, preprocess: Preprocess) -> np.ndarray:
    """Return (h, w, 3) uint8 pixels of an image, as `preprocess` wants them.

    - JPEGs are decoded by libjpeg-turbo's own interface: the same values as Pillow's.
    - JPEGs of more than twice the size that is needed are decoded at an eighth, a quarter or a half of it (libjpeg's
      scaled transform), to at least `DETAIL` pixels for each one wanted, if that is a whole number of pixels; over
      photos the mean difference to decoding all of it is below 1 of 255.
    - Bilinear and bicubic resizing is torchvision's, within 2 of Pillow's 255 values.
    - What these do not do goes through Pillow: the result is `preprocess.pixels(read_image(source))`.

    Raises:
        UnreadableImageError: not an image, or damaged.
    """
    with errors_as_reasons(), open_image(source) as (image, stream):
        stored, min_size = image.size, _min_size(image, preprocess)
        if stream is not None and image.format in _REDUCIBLE:  # a caller's own image stays whole
            reduced = _reduced(image, min_size)
            plain = orientation(image) == 1 and preprocess.supports_tensor(image.height, image.width)
            if plain and isinstance(stream, io.BytesIO):  # a larger file is read piece by piece, by Pillow
                jpeg = _jpeg(image, stream, reduced)
                if jpeg is not None:
                    return preprocess.pixels_of_tensor(jpeg)
            image.draft(None, (reduced[1], reduced[0]))
        elif stream is not None:
            set_decoding_size(image, min_size)
        with decode_rgb(image, stream, min_size, stored=stored) as photo:
            return _resized(photo, preprocess)


def _resized(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Return an upright RGB image brought to the network's size."""
    if preprocess.supports_tensor(image.height, image.width):
        return preprocess.pixels_of_tensor(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return preprocess.pixels(image)


def _min_size(image: Image.Image, preprocess: Preprocess) -> tuple[int, int]:
    """Return the (height, width), as it is stored, that an image must keep to be brought to the network's size."""
    turned = orientation(image) >= 5
    height, width = preprocess.resized(*(image.size if turned else image.size[::-1]))
    return (DETAIL * width, DETAIL * height) if turned else (DETAIL * height, DETAIL * width)


def _reduced(image: Image.Image, min_size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (height, width) that libjpeg can decode a photo at, of `min_size` or more.

    A size that is no whole number of pixels would be rounded up, and the photo shifted by a part of a pixel: in a photo
    beyond `LARGE` that is nothing.
    """
    large = image.width * image.height > LARGE
    for factor in _REDUCTIONS:
        height, width = image.height // factor, image.width // factor
        exact = large or (height * factor, width * factor) == (image.height, image.width)
        if exact and height >= min_size[0] and width >= min_size[1]:
            return height, width
    return image.height, image.width


def _jpeg(image: Image.Image, stream: io.BytesIO, size: tuple[int, int]) -> torch.Tensor | None:
    """Return a JPEG's pixels (3, *size), None where Pillow has to look at it: no JPEG, or damage that it can name."""
    if image.format != "JPEG" or image.mode not in _JPEG_MODES:
        return None
    with reserve_memory(image, image.size, decoded=size):
        try:
            pixels = simplejpeg.decode_jpeg(stream.getbuffer(), "RGB", min_height=size[0], min_width=size[1])
        except ValueError:
            return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
