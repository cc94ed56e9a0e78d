"""From an encoded image to the network's pixels, on the cheapest path that gives the same pixels."""

import numpy as np
import simplejpeg
import torch
from PIL import Image

from regraft.data.images import open_image, orientation, telling_reasons, upright
from regraft.data.preprocess import Preprocess
from regraft.data.sources import Pixels, Source

DETAIL = 2  # a JPEG is decoded at a reduced size only where this many of its pixels remain for each one wanted
_JPEG_MODES = ("RGB", "L")  # not CMYK, which needs Pillow's conversion


def decode(source: Source, preprocess: Preprocess) -> np.ndarray:
    """Return (h, w, 3) uint8 pixels of an image, as `preprocess` wants them.

    - JPEGs are decoded by libjpeg-turbo's own interface: the same values as Pillow's.
    - JPEGs of more than twice the size that is needed are decoded at a reduced one (libjpeg's scaled transform), to at
      least `DETAIL` pixels for each one wanted; on photos the mean difference to decoding all of it is below 1 of 255.
    - Bilinear and bicubic resizing is torchvision's, within 2 of Pillow's 255 values.
    - What these do not do goes through Pillow: the result is `preprocess.pixels(read_image(source))`.

    Raises:
        UnreadableImageError: not an image, or damaged.
    """
    with telling_reasons(source):
        image = open_image(source)
        turned = orientation(image) >= 5
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        wanted = [DETAIL * side for side in preprocess.resized(height, width)]
        if turned:
            wanted.reverse()
        fast = preprocess.takes_tensor(height, width)
        if fast and orientation(image) == 1 and (jpeg := _jpeg(image, source, wanted)) is not None:
            return preprocess.pixels_of_tensor(jpeg)
        image.draft(None, (wanted[1], wanted[0]))
        image = upright(image)
        if fast:
            return preprocess.pixels_of_tensor(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        return preprocess.pixels(image)


def _jpeg(image: Image.Image, source: Source, wanted: list[int]) -> torch.Tensor | None:
    """Return a JPEG's pixels (3, h, w), None where Pillow has to look at it: no JPEG, or damage that it can name."""
    if isinstance(source, Pixels) or image.format != "JPEG" or image.mode not in _JPEG_MODES:
        return None
    larger = min(image.height / wanted[0], image.width / wanted[1])
    try:
        pixels = simplejpeg.decode_jpeg(
            image.fp.getbuffer(),  # type: ignore[attr-defined] # of the BytesIO that `open_source` made
            "RGB",
            min_height=wanted[0] if larger > 1 else 0,
            min_width=wanted[1] if larger > 1 else 0,
            min_factor=2.0,  # between 1 and 2 the scaled transform takes longer than the plain one
        )
    except ValueError:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
