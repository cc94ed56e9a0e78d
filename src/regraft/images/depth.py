"""Photos of more than 8 bits: the numbers that they hold, and 8 bits of these once black and white are known."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from regraft.images.png import SIGNIFICANT_BITS
from regraft.images.value_range import FULL, Extent, Range

STRIP_PIXELS = 1 << 21  # pixels of an image that are converted at a time
_SAMPLE = 1 << 21  # pixels of which the values near either end are taken
_OUTLIERS = 10_000  # one pixel in so many may be dead at either end
MISSING = 1e30  # a float this far from 0, as 3.4e38, stands for no measurement
_BITS, _PHOTOMETRIC, _FORMAT, _NO_DATA = 258, 262, 339, 42113  # TIFF tags; the last is GDAL's
_LIMITS = ((341, 340), (281, 280))  # SMaxSampleValue and SMinSampleValue, MaxSampleValue and MinSampleValue
_LOWEST = {"uint16": 0, "uint32": 0, "int8": -(1 << 7), "int16": -(1 << 15), "int32": -(1 << 31)}
_HIGHEST = {
    "uint16": (1 << 16) - 1,
    "uint32": (1 << 32) - 1,
    "int8": 127,
    "int16": (1 << 15) - 1,
    "int32": (1 << 31) - 1,
}


@dataclass(frozen=True)
class Depth:
    """How the pixels of a photo of more than 8 bits are stored.

    Attributes:
        kind: of number, one of `value_range.KINDS`.
        colour: of 16 bits for each colour, of which Pillow reads the higher 8.
        inverted: the least value is white (TIFF's WhiteIsZero).
        missing: the value of pixels without a measurement.
        stated: the range that the file states; it is none where the values go beyond.
        significant: bits that carry information, by a PNG's sBIT chunk.
    """

    kind: str
    colour: bool = False
    inverted: bool = False
    missing: float | None = None
    stated: Range | None = None
    significant: int | None = None

    def numbers(self, strip: Image.Image) -> np.ndarray:
        """Return the numbers of a part of the photo as they are stored, of shape (h, w) or (h, w, 3)."""
        stored = np.asarray(strip)
        if self.colour:
            return stored[..., :3].astype(np.uint16) * 257
        kinds = {"int8": np.int8, "uint32": np.uint32}  # which Pillow holds as bytes, and in signed integers
        return stored.view(kinds.get(self.kind, stored.dtype))

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers as float64 of the same shape, NaN where nothing was measured."""
        values = numbers.astype(np.float64)
        if self.kind == "float32":
            values[~(np.abs(values) < MISSING)] = np.nan
        if self.missing is not None:
            values[values == self.missing] = np.nan
        return values


def depth_of(image: Image.Image) -> Depth | None:
    """Return how an image of more than 8 bits is stored, None for others. Its pixels must not have been decoded."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    kind, colour = _kind(image, tags)
    if not kind:
        return None
    return Depth(
        kind,
        colour,
        inverted=not colour and tags.get(_PHOTOMETRIC) == 0,
        missing=_no_data(tags.get(_NO_DATA)),
        stated=_stated(kind, tags),
        significant=image.info.get(SIGNIFICANT_BITS),
    )


def _kind(image: Image.Image, tags: Any) -> tuple[str, bool]:
    """Return the kind of number, "" where there are no more than 8 bits, and whether these are colours."""
    tile = next(iter(getattr(image, "tile", ())), None)
    decoder = tile.args if tile is not None and isinstance(tile.args, tuple) else (tile and tile.args,)
    bits, signed = _first(tags.get(_BITS)), _first(tags.get(_FORMAT)) == 2
    kind, colour = "", False
    if image.mode.startswith("I;16"):
        kind = "uint12" if bits == 12 else "uint16"
    elif image.mode == "I" and tags:
        kind = f"{'int' if signed else 'uint'}{bits}"
    elif image.mode == "I" and image.format == "PPM":  # whose decoder scales all but those of 16 bits
        kind = "scaled" if len(decoder) > 1 and decoder[1] != FULL[1] else "uint16"
    elif image.mode == "I":
        kind = "uint16" if image.format == "PNG" else "int32"  # older Pillows hold 16 bits so
    elif image.mode == "F":
        kind = "float32"
    elif image.mode == "L" and signed:
        kind = "int8"
    elif image.mode in ("RGB", "RGBA") and image.format in ("PNG", "TIFF") and ";16" in str(decoder[:1]):
        kind, colour = "uint16", True
    return kind, colour


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def _no_data(text: Any) -> float | None:
    try:
        return None if text is None else float(_first(text).strip("\0 "))
    except (ValueError, AttributeError):
        return None


def _stated(kind: str, tags: Any) -> Range | None:
    """Return the range that a TIFF's tags state, unless it is just all that its type can hold."""
    for most, least in _LIMITS:
        try:
            high, low = (_extreme(tags.get(most), max), _extreme(tags.get(least, 0), min))
        except (TypeError, ValueError):
            continue
        if high is not None and low is not None and np.isfinite([low, high]).all() and low < high:
            limits = _LOWEST.get(kind, low), _HIGHEST.get(kind, high)
            full = kind in _LOWEST and high >= limits[1] and low <= max(limits[0], 0)
            if not full and limits[0] <= low and high <= limits[1]:
                return low, high
    return None


def _extreme(value: Any, of: Any) -> float | None:
    return None if value is None else float(of(value) if isinstance(value, tuple) else value)


def strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of about `STRIP_PIXELS` pixels, whole multiples of `factor` rows, and the first row of each."""
    rows = max(1, STRIP_PIXELS // (image.width * factor)) * factor
    for row in range(0, image.height, rows):
        yield row, image.crop((0, row, image.width, min(row + rows, image.height)))


def measure(parts: Iterable[np.ndarray], depth: Depth, pixels: int) -> Extent:
    """Return between which values a photo is.

    Args:
        parts: its numbers, part by part.
        depth: how it is stored.
        pixels: how many there are.
    """
    low, high, whole, sample = np.inf, -np.inf, True, []
    step = -(-pixels // _SAMPLE)
    for part in parts:
        found = part.reshape(-1)
        if depth.kind == "float32" or depth.missing is not None:
            found = depth.values(found)
            found = found[np.isfinite(found)]
            whole = whole and bool((found == np.rint(found)).all())
        if len(found):
            low, high = min(low, float(found.min())), max(high, float(found.max()))
            sample.append(found[::step].astype(np.float64))
    if not sample:  # nothing was measured
        return Extent(depth.kind, 0.0, 0.0, (0.0, 0.0))
    near = np.concatenate(sample)
    few = len(near) // _OUTLIERS
    ends = np.partition(near, (few, len(near) - 1 - few))
    ends_near = float(ends[few]), float(ends[len(near) - 1 - few])
    return Extent(depth.kind, low, high, ends_near, whole, _range_in(depth, high))


def _range_in(depth: Depth, high: float) -> Range | None:
    """Return the range that the file states: a PNG's sBIT is of values that were scaled to 16 bits, or were not."""
    if depth.significant is None:
        return depth.stated
    most = float((1 << depth.significant) - 1)
    return (0.0, most) if high <= most else FULL


def eight_bits(image: Image.Image, depth: Depth, span: Range) -> Image.Image:
    """Return an image with 8 bits for each grey or colour.

    Args:
        image: decoded by Pillow.
        depth: how it was stored.
        span: the values of black and of white.
    """
    if depth.colour:
        return _colours(image, span)
    low, high = span
    scaled = np.empty((image.height, image.width), dtype=np.uint8)
    for row, strip in strips(image):
        shares = np.clip((depth.values(depth.numbers(strip)) - low) / (high - low), 0.0, 1.0)
        shares = np.nan_to_num(1 - shares if depth.inverted else shares)  # no measurement: black
        scaled[row : row + len(shares)] = np.rint(shares * 255)
    return Image.fromarray(scaled)


def _colours(image: Image.Image, span: Range) -> Image.Image:
    """Return the higher 8 bits of colours of 16, scaled: what there is where the lower are out of reach."""
    if span == FULL:
        return image
    shares = np.clip((np.arange(256) * 257 - span[0]) / (span[1] - span[0]), 0.0, 1.0)
    table = np.rint(shares * 255).astype(int).tolist()
    bands = image.split()
    return Image.merge(image.mode, [band.point(table) for band in bands[:3]] + list(bands[3:]))
