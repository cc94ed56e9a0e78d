"""Photos read row by row by libvips: those of dozens of megapixels, and the 16 bits of colours."""

import functools
import io
import os
import threading
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from regraft.images.depth import MISSING, Depth
from regraft.images.tiff import block_size, count_directories
from regraft.images.value_range import FULL, Range

_LOADERS = {"PNG": "pngload_source", "TIFF": "tiffload_source", "WEBP": "webpload_source"}  # by Pillow's names
_COLOURS = ("b-w", "srgb", "grey16", "rgb16")  # not CMYK and others, which Pillow brings to RGB
_MAX_TILE = 1 << 26  # bytes
_MAX_PAGES = 1000  # all of which libvips counts
_MAX_LOSSLESS_PIXELS = 75_000_000  # pixels: libwebp holds 8 bytes for each
_starting = threading.Lock()


def read_reduced(
    stream: BinaryIO, image: Image.Image, min_side: int, *, depth: Depth | None = None, span: Range = FULL
) -> Image.Image | None:
    """Return an image as RGB, reduced by an integer to sides of at least `min_side` pixels, and not yet turned.

    Each pixel is the mean of a block; transparency is blended with white.

    Args:
        stream: its file.
        image: opened by Pillow, which has read its header.
        min_side: in pixels.
        depth: how it is stored, of more than 8 bits.
        span: the values of black and of white in it.

    Returns:
        None where Pillow must read it: another format, or damage, whose reason it gives.
    """
    factor = min(image.size) // max(min_side, 1)
    if image.format not in _LOADERS or image.info.get("interlace") or factor < 2:
        return None
    return _read(stream, image, factor, depth, span)


def read_colours(stream: BinaryIO, image: Image.Image, depth: Depth, span: Range) -> Image.Image | None:
    """Return an image of 16 bits for each colour as RGB, of which Pillow would read the higher 8; None as above."""
    return None if image.info.get("interlace") else _read(stream, image, 1, depth, span)


def _read(stream: BinaryIO, image: Image.Image, factor: int, depth: Depth | None, span: Range) -> Image.Image | None:
    if depth is not None and (depth.inverted or depth.missing is not None or depth.kind == "int8"):
        return None
    if _vips() is None or _exceeds_memory(stream, image):
        return None
    place = None if isinstance(stream, io.BytesIO) else os.lseek(stream.fileno(), 0, os.SEEK_CUR)
    try:
        reduced = _reduced(stream, str(image.format), factor, span)
    except _vips().Error:
        return None
    finally:
        if place is not None:  # where the stream, which reads ahead, expects its file to be
            os.lseek(stream.fileno(), place, os.SEEK_SET)
    return None if reduced is None else Image.fromarray(reduced).convert("RGB")


def _exceeds_memory(stream: BinaryIO, image: Image.Image) -> bool:
    """Tell whether libvips would hold much of an image at once: a TIFF of huge tiles, a WebP without loss."""
    if isinstance(image, TiffImageFile):
        held, tiled = block_size(image.tag_v2, image.size)  # a strip is read row by row, a tile is not
        return (tiled and held > _MAX_TILE) or count_directories(stream, most=_MAX_PAGES)[0] > _MAX_PAGES
    if image.format == "WEBP":
        place = stream.tell()
        stream.seek(0)
        start = stream.read(4096)
        stream.seek(place)
        lossy = start[12:16] == b"VP8 " or (start[12:16] == b"VP8X" and b"VP8 " in start and b"VP8L" not in start)
        return not lossy and image.width * image.height > _MAX_LOSSLESS_PIXELS
    return False


def _reduced(stream: BinaryIO, kind: str, factor: int, span: Range) -> np.ndarray | None:
    options = {"scale": 1 / factor} if kind == "WEBP" else {}  # libwebp reduces by itself
    photo = _opened(stream, kind, options)
    if photo.interpretation not in _COLOURS and not (photo.bands == 1 and photo.interpretation == "multiband"):
        return None
    scale = 255 / (span[1] - span[0])
    if photo.bands == 1 and photo.format != "uchar":
        photo = (_measured(photo, span[0]) - span[0]) * scale
    elif photo.format == "ushort" and span == FULL:
        photo = photo >> 8  # as Pillow reads 16 bits of colour
    elif photo.format == "ushort":
        colours = photo.bands - int(photo.hasalpha())
        alpha = photo.bands - colours
        photo = photo.linear([scale] * colours + [1 / 257] * alpha, [-span[0] * scale] * colours + [0] * alpha)
    elif photo.format != "uchar":
        return None
    photo = photo.cast("uchar") if photo.format in ("uchar", "ushort") else photo.rint().cast("uchar")
    if photo.hasalpha():
        photo = photo.flatten(background=255, max_alpha=255)
    photo = photo if options or factor == 1 else photo.shrink(factor, factor, ceil=True)
    pixels = np.asarray(photo.numpy())
    return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels


def _opened(stream: BinaryIO, kind: str, options: dict[str, Any]) -> Any:
    vips = _vips()
    if isinstance(stream, io.BytesIO):
        source = vips.Source.new_from_memory(stream.getvalue())
    else:
        os.lseek(stream.fileno(), 0, os.SEEK_SET)
        source = vips.Source.new_from_descriptor(stream.fileno())
    return vips.Operation.call(_LOADERS[kind], source, access="sequential", fail_on="error", **options)


def _measured(photo: Any, black: float) -> Any:
    """Return a photo of floats with black where nothing was measured; others as they are."""
    return photo if photo.format not in ("float", "double") else (photo.abs() < MISSING).ifthenelse(photo, black)


@functools.cache
def _library() -> Any:
    """Return pyvips, or None where it is missing. Its cache and threads are set for the whole process."""
    try:
        import pyvips
    except (ImportError, OSError):  # no build for this platform
        return None
    pyvips.cache_set_max(0)  # it would keep images
    pyvips.concurrency_set(1)  # there is one decoding thread per processor
    return pyvips


def _vips() -> Any:
    with _starting:
        return _library()


_vips()  # before any thread needs it
