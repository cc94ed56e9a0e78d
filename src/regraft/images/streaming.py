"""Photos read row by row by libvips: those of dozens of megapixels, and the 16 bits of colours."""

import functools
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from regraft.images.depth import MISSING, STRIP_PIXELS, Depth, measure
from regraft.images.tiff import block_size, count_directories
from regraft.images.value_range import FULL, Extent, Range

_LOADERS = {"PNG": "pngload_source", "TIFF": "tiffload_source", "WEBP": "webpload_source"}  # by Pillow's names
_COLOURS = ("b-w", "srgb", "grey16", "rgb16")  # not CMYK and others, which Pillow brings to RGB
_NUMBERS = {"ushort": np.uint16, "short": np.int16, "uint": np.uint32, "int": np.int32, "float": np.float32}
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
    if image.format not in _LOADERS or factor < 2:
        return None
    return _read(stream, image, factor, depth, span)


def read_colours(stream: BinaryIO, image: Image.Image, depth: Depth, span: Range) -> Image.Image | None:
    """Return an image of 16 bits for each colour as RGB, of which Pillow would read the higher 8; None as above."""
    return _read(stream, image, 1, depth, span)


def measure_rows(stream: BinaryIO, image: Image.Image, depth: Depth) -> Extent | None:
    """Return between which values an image of more than 8 bits is, read some rows at a time; None as above."""
    if image.format not in _LOADERS or not _is_streamed(stream, image, depth):
        return None
    with _place_kept(stream):
        try:
            return measure(_rows(_opened(stream, image.format, {})), depth, image.width * image.height)
        except _vips().Error:
            return None


def _rows(photo: Any) -> Iterator[np.ndarray]:
    """Yield the numbers of a photo without its alpha, (h, w, b) of some rows at a time."""
    colours = photo.bands - int(photo.hasalpha())
    region, rows = _vips().Region.new(photo), max(1, STRIP_PIXELS // photo.width)
    for row in range(0, photo.height, rows):
        height = min(rows, photo.height - row)
        part = np.frombuffer(region.fetch(0, row, photo.width, height), _NUMBERS[photo.format])
        yield part.reshape(height, photo.width, photo.bands)[..., :colours]


def _read(stream: BinaryIO, image: Image.Image, factor: int, depth: Depth | None, span: Range) -> Image.Image | None:
    if not _is_streamed(stream, image, depth):
        return None
    with _place_kept(stream):
        try:
            reduced = _reduced(stream, str(image.format), factor, span)
        except _vips().Error:
            return None
    return None if reduced is None else Image.fromarray(reduced).convert("RGB")


def _is_streamed(stream: BinaryIO, image: Image.Image, depth: Depth | None) -> bool:
    """Tell whether libvips reads an image as Pillow does, and holds little of it at once."""
    if depth is not None and (depth.inverted or depth.missing is not None or depth.kind in ("int8", "uint12")):
        return False
    return not image.info.get("interlace") and _vips() is not None and not _exceeds_memory(stream, image)


@contextmanager
def _place_kept(stream: BinaryIO) -> Iterator[None]:
    """Leave an open file where the stream, which reads ahead, expects it to be."""
    place = None if isinstance(stream, io.BytesIO) else os.lseek(stream.fileno(), 0, os.SEEK_CUR)
    try:
        yield
    finally:
        if place is not None:
            os.lseek(stream.fileno(), place, os.SEEK_SET)


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
