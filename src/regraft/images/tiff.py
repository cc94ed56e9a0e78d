"""The structure of a TIFF (TIFF 6.0, section 2; BigTIFF), without a decoder, which would read all tags at once."""

import io
import struct
from typing import Any, BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TILE_WIDTH, _TILE_ROWS, _STRIP_ROWS, _BITS, _SAMPLES, _FORMAT = 322, 323, 278, 258, 277, 339  # tags
_KINDS_READ = "Save it as grey or RGB of 8 or 16 bits, or as grey of 32-bit floats"
_NUMBERS = {2: "signed integers", 3: "floats"}  # by SampleFormat
_MAX_ENTRIES = 65_536  # of a directory: as many as the older format can have


def count_directories(stream: BinaryIO, *, most: int) -> tuple[int, int]:
    """Return the number of directories (pages) of a TIFF, up to `most` + 1, and the bytes of the first one's tags."""
    place = stream.tell()
    stream.seek(0)
    start = stream.read(16)
    order, big = "<" if start[:2] == b"II" else ">", start[2:4] in (b"+\0", b"\0+")  # 43: BigTIFF
    counted, entry, pointer = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    width, size = struct.calcsize(order + entry), struct.calcsize(pointer)
    pages = tags = 0
    try:
        (following,) = struct.unpack(order + pointer, start[8:16] if big else start[4:8])
        while following and pages <= most:
            pages += 1
            stream.seek(following)
            (count,) = struct.unpack(order + counted, stream.read(struct.calcsize(counted)))
            if pages == 1:
                entries = stream.read(min(count, _MAX_ENTRIES) * width)
                whole = entries[: len(entries) // width * width]
                tags = sum(
                    _SIZES.get(kind, 1) * items for _, kind, items, _ in struct.iter_unpack(order + entry, whole)
                )
                stream.seek(following + struct.calcsize(counted))
            stream.seek(count * width, io.SEEK_CUR)
            (following,) = struct.unpack(order + pointer, stream.read(size))
    except (struct.error, OSError, OverflowError, ValueError):
        pass  # cut off: what there was counts
    stream.seek(place)
    return pages, tags


def unknown_kind(stream: BinaryIO) -> str:
    """Return the reason, by what a TIFF holds, why Pillow does not know it; "" if it is damaged."""
    stream.seek(0)
    start = stream.read(16)
    try:
        tags = ImageFileDirectory_v2(start if start[2:4] in (b"+\0", b"\0+") else start[:8])
        stream.seek(tags.next)
        tags.load(stream)
        bits, channels, number = tags.get(_BITS, (1,)), int(tags.get(_SAMPLES, 1)), tags.get(_FORMAT, (1,))
    except (SyntaxError, OSError, ValueError, TypeError, KeyError, struct.error):
        return ""
    first_bits, first = (value[0] if isinstance(value, tuple) else value for value in (bits, number))
    kind = f"{first_bits}-bit {_NUMBERS.get(first, 'integers')}"
    where = "" if channels == 1 else f" in {channels} channels"
    return f"a TIFF of {kind}{where}, which is not read. {_KINDS_READ}"


def block_size(tags: Any, size: tuple[int, int]) -> tuple[int, bool]:
    """Return the bytes of a tile or strip, which a decoder holds as a whole, and whether it is a tile.

    Args:
        tags: Pillow's `tag_v2`.
        size: (width, height) of the image in pixels.
    """
    tiled = _TILE_ROWS in tags
    rows, width = (
        (tags[_TILE_ROWS], tags.get(_TILE_WIDTH, size[0])) if tiled else (tags.get(_STRIP_ROWS, size[1]), size[0])
    )
    bits = tags.get(_BITS, (8,))
    depth = max(bits) if isinstance(bits, tuple) else bits
    rows = min(int(rows), size[1]) if not tiled else int(rows)
    return rows * int(width) * int(tags.get(_SAMPLES, 1)) * max(int(depth), 8) // 8, tiled
