"""What a photo's file says besides its pixels: size, format, JPEG tables, camera and time."""

import calendar
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import ExifTags, Image

_MOST_EXIF = 1 << 20  # bytes that are parsed
_SWAPPED = range(5, 9)  # EXIF orientations in which width and height are exchanged
_TEXT = 64  # characters of a camera's name that are kept
# of luminance: ITU T.81, table K.1, in any order
_STANDARD_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a photo without decoding it.

    Attributes:
        width: in pixels, upright.
        height: likewise.
        size: of the file, in bytes; None for an image in memory.
        format: as Pillow calls it, "JPEG"; "" for an image in memory.
        mode: of its pixels, as Pillow calls it: "RGB", "L".
        tables: how strongly a JPEG is compressed, by its tables: "quality 75"; "" for other formats.
        camera: maker and model; "" where nothing says.
        taken: seconds, by the camera's clock; None where nothing says.
    """

    width: int
    height: int
    size: int | None = None
    format: str = ""
    mode: str = ""
    tables: str = ""
    camera: str = ""
    taken: int | None = None


def header_of(image: Image.Image, size: int | None = None) -> Header:
    """Return what an opened image's header says; what is damaged in it counts as not there.

    Args:
        image: whose pixels need not be decoded.
        size: of its file, in bytes.
    """
    exif = _exif(image)
    turned = exif.get(ExifTags.Base.Orientation) in _SWAPPED
    width, height = (image.height, image.width) if turned else (image.width, image.height)
    tables = getattr(image, "quantization", None)
    return Header(
        width=width,
        height=height,
        size=size,
        format=image.format or "",
        mode=image.mode,
        tables=_tables_in_words(tables) if isinstance(tables, Mapping) and tables else "",
        camera=_camera(exif),
        taken=_taken(exif),
    )


def _exif(image: Image.Image) -> Mapping[Any, Any]:
    """Return the EXIF tags that the header holds, those of its photographic part too."""
    data = image.info.get("exif")  # not `getexif`, which decodes a PNG to look for them behind its pixels
    if not isinstance(data, bytes) or len(data) > _MOST_EXIF:
        return {}
    exif = Image.Exif()
    try:
        exif.load(data)
        return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    except Exception:  # whatever a damaged part makes Pillow raise: the photo itself may be whole
        return {}


def _camera(exif: Mapping[Any, Any]) -> str:
    maker, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return model if model.casefold().startswith(maker.casefold()) else f"{maker} {model}".strip()


def _text(value: object) -> str:
    """Return a tag's text without the blanks and zeros that cameras fill it up with."""
    return " ".join(value.replace("\0", " ").split())[:_TEXT] if isinstance(value, str) else ""


def _taken(exif: Mapping[Any, Any]) -> int | None:
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        try:
            return calendar.timegm(time.strptime(_text(exif.get(tag)), "%Y:%m:%d %H:%M:%S"))
        except ValueError:
            continue
    return None


def _tables_in_words(tables: Mapping[int, Any]) -> str:
    """Return the quality by which libjpeg makes these tables, or the nearest one where other programs made them."""
    own = tuple(sorted(tables.get(0) or next(iter(tables.values()))))
    known = _tables_by_quality()
    if own in known:
        return f"quality {known[own]}"
    nearest = min(known, key=lambda table: abs(sum(table) - sum(own)))
    return f"tables of its own, about quality {known[nearest]}"


@cache
def _tables_by_quality() -> dict[tuple[int, ...], int]:
    """Return the quality, 1 to 100, by the sorted values of the table that libjpeg makes for it."""
    found: dict[tuple[int, ...], int] = {}
    for quality in range(100, 0, -1):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        table = (min(max((value * scale + 50) // 100, 1), 255) for value in _STANDARD_TABLE)
        found.setdefault(tuple(sorted(table)), quality)
    return found
