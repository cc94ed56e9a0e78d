"""Read one image as upright 8-bit RGB, whatever the file."""

import errno
import io
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile

from regraft.deadline import deadline
from regraft.errors import StorageError
from regraft.extras import install_command
from regraft.files import MAX_FILE_BYTES, size_in_words
from regraft.images.depth import Depth, depth_of, eight_bits, measure, strips
from regraft.images.formats import decoders, is_heif
from regraft.images.headers import Header, header_of
from regraft.images.memory import MemoryBudget
from regraft.images.png import complete
from regraft.images.reasons import reason_of
from regraft.images.sources import Pixels, Source, content_key, file_key, open_encoded
from regraft.images.streaming import measure_rows, read_colours, read_reduced
from regraft.images.tiff import block_size, count_directories, unknown_kind
from regraft.images.value_range import FULL, Extent, Range, Ranges, range_of, span_of
from regraft.runtime import cpu_count

MAX_PIXELS = 178_956_970  # Pillow's own limit: beyond it a small file could fill the memory
MAX_ASPECT_RATIO = 200  # a stripe of 1 x 10,000 pixels would be enlarged to gigabytes
LARGE = 1 << 25  # pixels: a larger image is first reduced to near the target size
MEMORY = MemoryBudget((1 << 30) + cpu_count() * (1 << 26))  # bytes for all images being decoded
_MAX_MEMORY = 800 * 1000**2  # bytes that one image may take while it is decoded
# Largest file in bytes, by its first bytes. Formats that are read as needed have no limit but the user's.
_MAX_FILE_BY_START = {
    **dict.fromkeys((b"II", b"MM", b"BM", b"P4", b"P5", b"P6"), 1 << 62),  # TIFF, BMP, PPM
    **dict.fromkeys((b"P1", b"P2", b"P3"), 1 << 24),  # PPM in words, which Pillow reads word by word
}
_MAX_TAGS = 200 * 1000**2  # bytes of a TIFF's tags, which are all read at once
_MAX_OTHER_FILE = 300 * 1000**2  # bytes: read at once, and copied
_SECONDS_TO_OPEN, _SECONDS_TO_DECODE = 5.0, 30.0  # in Python, for a file that is not read at once
_MAX_SCANNED_PIXELS = 50_000_000_000  # scans of a progressive JPEG times its pixels: a few seconds
_STREAMING_BYTES = 150 * 1000**2  # bytes that libvips takes for an image of any size
_JPEG2000_LEVELS = 3  # halvings that every usual file has (five is the standard's default)
_ORIENTATION = 0x0112  # EXIF's tag
# Bytes per pixel in Pillow by mode (4 by default), and in addition in decoders by format:
# WebP's two canvases and a copy, libavif's and libheif's planes and two copies, OpenJPEG's integers.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_DECODER_BYTES = {"WEBP": 12, "AVIF": 10, "HEIF": 10, "JPEG2000": 12}
_SYSTEM_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# what Pillow's decoders raise for damaged files
_DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    AttributeError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    MemoryError,
    RuntimeError,  # AVIF's
)

decoders()  # before any thread opens an image
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what is too large is refused by its size


class UnreadableImageError(Exception):
    """The reason, in words, why an image cannot be read."""


def read_image(source: Source, *, min_side: int | None = None, ranges: Ranges = ()) -> Image.Image:
    """Return an image as 8-bit RGB, turned upright by its EXIF orientation.

    Of an animation the first frame; transparency is blended with white; more than 8 bits are scaled to 8.

    Args:
        source: the image.
        min_side: pixels that each side may be reduced to. A JPEG that is at least twice as large is decoded at a half,
            a quarter or an eighth of its size, at a fraction of the cost; any other image beyond `LARGE` is reduced.
        ranges: the values of black and white where there are more than 8 bits; else those of this image's own range.

    Raises:
        UnreadableImageError: not an image, damaged, of more than `MAX_PIXELS` pixels, or too large for the memory.
    """
    with errors_as_reasons(), open_image(source) as (image, stream):
        stored = image.size
        if min_side is not None and stream is not None:  # a caller's own image stays whole
            set_decoding_size(image, (min_side, min_side))
        min_size = None if min_side is None else (min_side, min_side)
        with decode_rgb(image, stream, min_size, stored=stored, ranges=ranges) as photo:
            return photo


def look_at(
    source: Source, *, limit: int = MAX_FILE_BYTES, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, Extent | None, Header]:
    """Check an image's header, and return its content key, between which values it is, and what the header says.

    Only photos of more than 8 bits are decoded; others have no such values (None).

    Args:
        source: the image.
        limit: largest size of its file, in bytes.
        max_pixels: that it may have, where that is fewer than `MAX_PIXELS`.

    Raises:
        UnreadableImageError: the header shows that it cannot be read.
    """
    with errors_as_reasons():
        if isinstance(source, Pixels):
            with source.lock:
                _check_size(source.image, max_pixels)
                extent = _extent(source.image, None)
                return content_key(source), extent, header_of(source.image)
        with open_encoded(source, limit=limit) as stream:
            image = open_header(stream)
            _check_size(image, max_pixels)
            header = header_of(image, stream.seek(0, io.SEEK_END))
            return file_key(stream), _extent(image, stream), header


def _extent(image: Image.Image, stream: BinaryIO | None) -> Extent | None:
    """Return between which values an image of more than 8 bits is; None for others, and where it cannot be decoded."""
    depth = depth_of(image)
    if depth is None:
        return None
    try:
        with errors_as_reasons():
            return _measured(image, depth, stream, image.size)
    except UnreadableImageError:  # it is named where its pixels are needed
        return None


def _measured(image: Image.Image, depth: Depth, stream: BinaryIO | None, stored: tuple[int, int]) -> Extent:
    pixels = image.width * image.height
    if stream is not None and pixels > LARGE:
        with MEMORY.reserve(_STREAMING_BYTES):
            extent = measure_rows(stream, image, depth)
        if extent is not None:
            return extent
    with reserve_memory(image, stored, whole=False), time_limit(stream, _SECONDS_TO_DECODE):
        return measure((depth.numbers(strip) for _, strip in strips(image)), depth, pixels)


@contextmanager
def errors_as_reasons() -> Iterator[None]:
    """Turn decoders' errors for damaged images into `UnreadableImageError`, the reason in words."""
    try:
        yield
    except (UnreadableImageError, StorageError):
        raise
    except _DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
            raise  # not the photo's fault
        raise UnreadableImageError(reason_of(error)) from None


@contextmanager
def open_image(source: Source) -> Iterator[tuple[Image.Image, BinaryIO | None]]:
    """Yield an image whose header is checked and whose pixels are not yet decoded, and its file.

    The file of an image in memory is None; no other thread reads that image meanwhile.
    """
    if isinstance(source, Pixels):
        with source.lock:
            _check_size(source.image)
            yield source.image, None
        return
    with open_encoded(source) as stream:
        yield open_header(stream), stream


@contextmanager
def decode_rgb(
    image: Image.Image,
    stream: BinaryIO | None,
    min_size: tuple[int, int] | None,
    *,
    stored: tuple[int, int],
    ranges: Ranges = (),
) -> Iterator[Image.Image]:
    """Yield an opened image as upright 8-bit RGB, once there is memory for it.

    Args:
        image: at the size at which it will be decoded.
        stream: its file, None for an image in memory.
        min_size: (height, width) in pixels, as it is stored, that an image beyond `LARGE` may be reduced to.
        stored: (width, height) in pixels of the whole photo.
        ranges: the values of black and white where there are more than 8 bits; else those of this image's own range.

    Raises:
        UnreadableImageError: it takes more memory than one image may.
    """
    depth = depth_of(image)
    span = FULL if depth is None else span_of(depth.kind, ranges)
    if depth is not None and span is None:
        span, _ = range_of([_measured(image, depth, stream, stored)])
    span = span or FULL
    streamed = None if stream is None else _streamed(image, stream, min_size, depth=depth, span=span)
    if streamed is not None:
        streamed.getexif()[_ORIENTATION] = orientation(image)
        yield ImageOps.exif_transpose(streamed)
        return
    reducible = min_size is not None and min(image.height // min_size[0], image.width // min_size[1]) > 1
    with reserve_memory(image, stored, whole=not (_is_large(image, min_size) and reducible)):
        with time_limit(stream, _SECONDS_TO_DECODE):
            photo = _upright_rgb(image, min_size, depth, span)
        yield photo


def _is_large(image: Image.Image, min_size: tuple[int, int] | None) -> bool:
    return min_size is not None and image.width * image.height > LARGE


def _streamed(
    image: Image.Image, stream: BinaryIO, min_size: tuple[int, int] | None, *, depth: Depth | None, span: Range
) -> Image.Image | None:
    """Return what libvips reads better than Pillow, as RGB and not yet turned; None for all else."""
    if min_size is not None and _is_large(image, min_size):
        with MEMORY.reserve(_STREAMING_BYTES + (8 * image.width * image.height if image.format == "WEBP" else 0)):
            return read_reduced(stream, image, max(min_size), depth=depth, span=span)
    if depth is not None and depth.colour and span != FULL:
        with MEMORY.reserve(_STREAMING_BYTES + 6 * image.width * image.height):
            return read_colours(stream, image, depth, span)
    return None


def set_decoding_size(image: Image.Image, min_size: tuple[int, int]) -> None:
    """Have an opened JPEG, or a large JPEG 2000, decoded at reduced size, but at least `min_size` (height, width)."""
    image.draft(None, (min_size[1], min_size[0]))
    if isinstance(image, Jpeg2KImageFile) and image.width * image.height > LARGE:
        spare = min(image.height // min_size[0], image.width // min_size[1])
        image.reduce = min(max(spare, 1).bit_length() - 1, _JPEG2000_LEVELS)  # each halves both sides


@contextmanager
def reserve_memory(
    image: Image.Image, stored: tuple[int, int], *, decoded: tuple[int, int] | None = None, whole: bool = True
) -> Iterator[None]:
    """Reserve the memory to decode an opened image while the block runs; wait until it is free.

    Args:
        image: at the size at which it will be decoded.
        stored: (width, height) in pixels of the whole photo.
        decoded: (height, width) at which it will be decoded, where that is not the image's own size.
        whole: all of it is converted; else it is reduced, a few rows at a time.

    Raises:
        UnreadableImageError: it takes more memory than one image may.
    """
    pixels = math.prod(decoded or image.size)
    if isinstance(image, Jpeg2KImageFile) and isinstance(image.reduce, int):
        pixels >>= 2 * image.reduce
    native = pixels * (_PIXEL_BYTES.get(image.mode, 4) + _DECODER_BYTES.get(image.format or "", 0))
    native += _decoder_memory(image, stored) + (7 * pixels if whole else 0)  # as RGB, and as an array
    if native > _MAX_MEMORY:
        raise UnreadableImageError(
            f"{image.width} x {image.height} pixels: a {image.format} of this size takes {size_in_words(native)} of "
            f"memory to read, and at most {size_in_words(_MAX_MEMORY)} are used. Save it smaller"
        )
    with MEMORY.reserve(native + (13 * pixels if whole and image.has_transparency_data else 0)):  # and on white
        yield


def _upright_rgb(image: Image.Image, min_size: tuple[int, int] | None, depth: Depth | None, span: Range) -> Image.Image:
    """Return an opened image as 8-bit RGB, turned upright by its EXIF orientation. See `decode_rgb`."""
    if min_size is not None and _is_large(image, min_size):
        image.load()  # which also turns a TIFF
        turn = orientation(image)
        image = _reduced_rgb(image, min_size, depth, span)
        image.getexif()[_ORIENTATION] = turn
        depth = None
    return _as_rgb(ImageOps.exif_transpose(image), depth, span)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image: 1 is upright, from 5 on width and height are swapped."""
    value = image.getexif().get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def time_limit(stream: BinaryIO | None, seconds: float) -> AbstractContextManager[None]:
    """Limit the time that Python code spends on a large file: some decoders step through it byte by byte."""
    if stream is None or isinstance(stream, io.BytesIO):
        return nullcontext()
    error = UnreadableImageError(f"reading it takes longer than {seconds:g} seconds")
    return deadline(seconds, error, within=("PIL.", "pillow_heif", __name__))


def open_header(stream: BinaryIO) -> Image.Image:
    """Return an image whose header is checked, its pixels not yet decoded; only photo decoders are tried."""
    start, size = stream.read(12), stream.seek(0, io.SEEK_END)
    if not start:
        raise UnreadableImageError("the file is empty")
    if is_heif(start) and "HEIF" not in decoders():
        raise UnreadableImageError(f"HEIC images need one more package: {install_command('pillow_heif')}")
    most = next((most for begins, most in _MAX_FILE_BY_START.items() if start.startswith(begins)), _MAX_OTHER_FILE)
    if size > most:
        raise UnreadableImageError(f"{size_in_words(size)}, and at most {size_in_words(most)} of its kind are read")
    tags = count_directories(stream, most=1)[1] if start[:2] in (b"II", b"MM") else 0
    if tags > _MAX_TAGS:
        raise UnreadableImageError(f"{size_in_words(tags)} of tags, and at most {size_in_words(_MAX_TAGS)} are read")
    stream.seek(0)
    reserved = 3 * size if not isinstance(stream, io.BytesIO) else 0  # some decoders read all of a file, and copy it
    try:
        with MEMORY.reserve(reserved), time_limit(stream, _SECONDS_TO_OPEN):
            image = Image.open(stream, formats=decoders())
            _check_size(image)
            complete(image, stream, deep=depth_of(image) is not None)
    except UnidentifiedImageError as error:
        raise UnreadableImageError((unknown_kind(stream) if tags else "") or reason_of(error)) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from None
    _check_scans(image, stream)
    return image


def _check_scans(image: Image.Image, stream: BinaryIO) -> None:
    """Refuse a progressive JPEG of so many scans that they take minutes: each goes through the whole photo."""
    if not image.info.get("progressive"):
        return
    place, scans, rest = stream.tell(), 0, b""
    stream.seek(0)
    while part := stream.read(1 << 20):
        scans += (rest + part).count(b"\xff\xda")  # the marker that begins a scan (ITU T.81, B.2.3)
        rest = part[-1:]
    stream.seek(place)
    if scans * image.width * image.height > _MAX_SCANNED_PIXELS:
        raise UnreadableImageError(f"a progressive JPEG of {scans:,} scans takes too long to read. Save it again")


def _check_size(image: Image.Image, most: int = MAX_PIXELS) -> None:
    if image.width * image.height > min(most, MAX_PIXELS):
        raise UnreadableImageError(f"{image.width} x {image.height} pixels: more than {min(most, MAX_PIXELS):,}")
    if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
        raise UnreadableImageError(f"{image.width} x {image.height} pixels: a stripe, not a photo")


def _decoder_memory(image: Image.Image, stored: tuple[int, int]) -> int:
    """Return the bytes that a decoder needs in addition to Pillow's image, at whatever size the photo is decoded.

    libjpeg holds two for each coefficient of a progressive JPEG, libtiff a whole tile or compressed strip.
    """
    if isinstance(image, TiffImageFile):
        held, tiled = block_size(image.tag_v2, stored)
        return held if tiled or image.info.get("compression", "raw") != "raw" else 0
    layers = getattr(image, "layer", None)
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive") or not layers:
        return 0
    most = max(across * down for _, across, down, *_ in layers) or 1
    shares = sum(across * down / most for _, across, down, *_ in layers)
    return int(2 * shares * stored[0] * stored[1])


def _as_rgb(image: Image.Image, depth: Depth | None, span: Range) -> Image.Image:
    """Return an image as RGB, blended with white where it is transparent."""
    if depth is not None:
        image = eight_bits(image, depth, span)
    if image.has_transparency_data:  # an alpha channel, or one colour of a PNG or GIF declared transparent
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _reduced_rgb(image: Image.Image, min_size: tuple[int, int], depth: Depth | None, span: Range) -> Image.Image:
    """Return an image as RGB, its sides divided by the largest integer that leaves `min_size` (height, width).

    Each pixel is the mean of a block. The image is converted a few rows at a time.
    """
    factor = max(1, min(image.height // max(min_size[0], 1), image.width // max(min_size[1], 1)))
    reduced = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for rows, strip in strips(image, factor):
        flat = _as_rgb(strip, depth, span)
        reduced.paste(flat.reduce(factor) if factor > 1 else flat, (0, rows // factor))
    return reduced
