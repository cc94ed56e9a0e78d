"""Open one image: upright, three channels, eight bits, whatever the file was."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from regraft.data.sources import Pixels, Source, content_key, encoded, open_source

MAX_PIXELS = 178_956_970  # Pillow's own limit: beyond it a small file could fill the memory
MAX_ASPECT_RATIO = 200  # a stripe of 1 x 10,000 pixels would be enlarged to gigabytes
_ORIENTATION = 0x0112  # EXIF's tag
_HEIF_SUFFIXES = (".heic", ".heif")
# what Pillow's decoders raise for damaged files
_DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    MemoryError,
    RuntimeError,  # AVIF's
)


class UnreadableImageError(Exception):
    """The reason, in words, why an image cannot be read."""


def read_image(source: Source, *, least: int | None = None) -> Image.Image:
    """Return the image as RGB, 8 bits a channel, turned upright by its EXIF orientation.

    The first frame of an animation is taken; transparency is laid on white; 16-bit greys are scaled to 8 bits.

    Args:
        source: the image.
        least: pixels that each side must keep. A JPEG that is at least twice as large is decoded at a half, a
            quarter or an eighth of its size, at a fraction of the cost.

    Raises:
        UnreadableImageError: not an image, damaged, or of more than `MAX_PIXELS` pixels.
    """
    with telling_reasons(source):
        image = open_image(source)
        if least is not None and not isinstance(source, Pixels):  # a caller's own image stays whole
            image.draft(None, (least, least))
        return upright(image)


def look_at(source: Source) -> bytes:
    """Return the content key of an image whose header is sound. The file is read once, and no pixel decoded.

    Raises:
        UnreadableImageError: the file's first bytes already show that it cannot be read.
    """
    with telling_reasons(source):
        data = encoded(source)
        open_image(source, data)
        return content_key(source, data)


@contextmanager
def telling_reasons(source: Source) -> Iterator[None]:
    """Turn what decoders raise for a damaged `source` into `UnreadableImageError`, the reason in words."""
    try:
        yield
    except UnreadableImageError:
        raise
    except _DECODING_ERRORS as error:
        raise UnreadableImageError(_reason(error, source)) from None


def upright(image: Image.Image) -> Image.Image:
    """Return an opened image as RGB, 8 bits a channel, turned by its EXIF orientation."""
    return _as_rgb(ImageOps.exif_transpose(image))


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image: 1 is upright, from 5 on the sides are exchanged."""
    value = image.getexif().get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def open_image(source: Source, data: bytes | None = None) -> Image.Image:
    """Return the image with its header read and checked, and its pixels not yet decoded; `data` is its file if read."""
    _accept_heif(source)
    try:
        image = open_source(source, data)
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from None
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(f"{image.width} x {image.height} pixels: more than {MAX_PIXELS:,}")
    if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
        raise UnreadableImageError(f"{image.width} x {image.height} pixels: a stripe, not a photo")
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:  # an alpha channel, or one colour of a PNG or GIF declared transparent
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of 16 bits (or integers and floats) to 8; Pillow's own conversion would clip them to white."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))  # NaN: no measurement, black
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:  # a 16-bit PNG opens as I;16 or, in older Pillows, as I
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255 else 255.0
    return Image.fromarray(np.rint(np.clip(values / top, 0.0, 1.0) * 255).astype(np.uint8))


def _accept_heif(source: Source) -> None:
    if isinstance(source, Path) and source.suffix.lower() in _HEIF_SUFFIXES:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise UnreadableImageError("HEIC images need one more package: pip install 'regraft[heif]'") from None
        register_heif_opener()


def _reason(error: BaseException, source: Source) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        empty = isinstance(source, Path) and source.stat().st_size == 0
        return "the file is empty" if empty else "not an image, or damaged at its start"
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text if "runcated" not in text else "the file is cut off (truncated)"
