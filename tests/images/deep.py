"""Photos of more than 8 bits as files, byte by byte: what Pillow cannot write."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

_KINDS = {"u": 1, "i": 2, "f": 3}  # TIFF 6.0's SampleFormat, by numpy's letters
_FIELDS = {"H": 3, "I": 4, "f": 11, "s": 2}  # TIFF 6.0's types, by struct's letters


def tiff(
    values: np.ndarray, *, white_is_zero: bool = False, tags: Mapping[int, tuple[str, bytes | float]] | None = None
) -> bytes:
    """Return a TIFF of greys (h, w) or colours (h, w, 3), of the array's type, with more tags: their type and value."""
    height, width, *colours = values.shape
    data, bits = values.tobytes(), values.dtype.itemsize * 8
    start = 8 + len(data)
    wide = struct.pack("<HHH", bits, bits, bits) if colours else b""
    photometric = 2 if colours else 0 if white_is_zero else 1
    entries: dict[int, tuple[int, int, bytes]] = {
        256: (3, 1, struct.pack("<HH", width, 0)),
        257: (3, 1, struct.pack("<HH", height, 0)),
        258: (3, 3, struct.pack("<I", start)) if colours else (3, 1, struct.pack("<HH", bits, 0)),
        259: (3, 1, struct.pack("<HH", 1, 0)),
        262: (3, 1, struct.pack("<HH", photometric, 0)),
        273: (4, 1, struct.pack("<I", 8)),
        277: (3, 1, struct.pack("<HH", 3 if colours else 1, 0)),
        278: (3, 1, struct.pack("<HH", height, 0)),
        279: (4, 1, struct.pack("<I", len(data))),
        339: (3, 1, struct.pack("<HH", _KINDS[values.dtype.kind], 0)),
    }
    for tag, (kind, value) in (tags or {}).items():
        if isinstance(value, bytes):
            entries[tag] = (_FIELDS[kind], len(value) + 1, struct.pack("<I", start + len(wide)))
            wide += value + b"\0"
        else:
            entries[tag] = (_FIELDS[kind], 1, struct.pack(f"<{kind}", value).ljust(4, b"\0"))
    listed = b"".join(struct.pack("<HHI", tag, *entry[:2]) + entry[2] for tag, entry in sorted(entries.items()))
    directory = struct.pack("<H", len(entries)) + listed + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start + len(wide)) + data + wide + directory


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Return a TIFF of greys (h, w), w even, each of 12 bits: two in three bytes, the first one's higher bits first."""
    left, right = values[:, 0::2], values[:, 1::2]
    packed = np.stack([left >> 4, ((left & 15) << 4) | (right >> 8), right & 255], axis=2).astype(np.uint8)
    whole = tiff(np.zeros(values.shape, np.uint8))
    directory = whole[8 + values.size :].replace(
        struct.pack("<HHIHH", 258, 3, 1, 8, 0), struct.pack("<HHIHH", 258, 3, 1, 12, 0)
    )
    length = struct.pack("<HHII", 279, 4, 1, values.size)
    directory = directory.replace(length, struct.pack("<HHII", 279, 4, 1, packed.size))
    return b"II*\0" + struct.pack("<I", 8 + packed.size) + packed.tobytes() + directory


def png(values: np.ndarray, *, significant: tuple[int, ...] = ()) -> bytes:
    """Return a PNG of 16 bits: greys (h, w), greys with alpha (h, w, 2), colours (h, w, 3) or with alpha (h, w, 4)."""
    height, width, *channels = values.shape
    colour = {(): 0, (2,): 4, (3,): 2, (4,): 6}[tuple(channels)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    chunks += [(b"sBIT", bytes(significant))] if significant else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def pgm(values: np.ndarray, most: int) -> bytes:
    """Return a PGM of greys (h, w) from 0 to `most`, of two bytes each."""
    height, width = values.shape
    return b"P5 %d %d %d\n" % (width, height, most) + values.astype(">u2").tobytes()
