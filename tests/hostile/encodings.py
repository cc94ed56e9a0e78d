"""Image files written byte by byte, so that a small one can claim, or stand for, a very large one."""

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from tests.hostile.damage import overwritten

from regraft.images.formats import decoders

decoders()  # pillow-heif's encoder is set up with its decoder


@functools.cache
def picture(width: int = 160, height: int = 120, mode: str = "RGB") -> Image.Image:
    """Return soft colours with grain."""
    generator = np.random.default_rng(0)
    soft = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), 3)
    grain = generator.integers(-12, 13, (height, width, 1), dtype=np.int16)
    return Image.fromarray((np.asarray(soft, dtype=np.int16) + grain).clip(0, 255).astype(np.uint8)).convert(mode)


def encode(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return an image as a file of one of Pillow's formats."""
    stream = io.BytesIO()
    (picture() if image is None else image).save(stream, kind, **options)
    return stream.getvalue()


# --- PNG (3rd edition) ---

PNG_MARK = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def zeros_in_zlib(count: int) -> bytes:
    """Return a zlib stream (RFC 1950) of `count` zeros, without ever holding them."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)  # such blocks can stand in any number
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = last.compress(bytes(count % block)) + last.flush()
    checksum = (count % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\x9c" + whole * (count // block) + rest + struct.pack(">I", checksum)


def png(size: tuple[int, int], *between: bytes, bits: int = 8, colour: int = 2, interlaced: bool = False) -> bytes:
    """Return a black PNG; `between` are chunks before its pixels."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(size[0] - x) // dx), -(-(size[1] - y) // dy)) for x, y, dx, dy in passes]
    pixels = sum((1 + (width * bits * _CHANNELS[colour] + 7) // 8) * height for width, height in sides)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(range(6))) if colour == 3 else b""
    data = chunk(b"IDAT", zeros_in_zlib(pixels))
    return PNG_MARK + head + palette + b"".join(between) + data + chunk(b"IEND", b"")


# --- TIFF (revision 6) ---

Entry = tuple[int, int, int, int]  # tag, type, count, value or place


def tiff(entries: list[Entry], data: bytes = b"", *, following: int = 0) -> bytes:
    """Return a little-endian TIFF with one directory at byte 8; `data` begin at byte 1000."""
    listed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + struct.pack("<I", following)
    return head.ljust(1000, b"\0") + data


def tiff_entries(width: int, height: int, *, channels: int = 1, **changed: int) -> list[Entry]:
    """Return the directory of an uncompressed image in one strip at byte 1000, with other values for some tags."""
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "colours": 262, "strips": 273}
    tags |= {"channels": 277, "rows": 278, "bytes": 279, "planes": 284, "format": 339, "predictor": 317, "tile": 322}
    values = {"width": width, "height": height, "bits": 8, "compression": 1, "colours": 2 if channels == 3 else 1}
    values |= {"strips": 1000, "channels": channels, "rows": height, "bytes": width * height * channels}
    return [(tags[name], 4, 1, value) for name, value in (values | changed).items()]


# --- WebP ---


def webp(width: int, height: int) -> bytes:
    """Return a lossless WebP of one colour: codes of one symbol take no bits, so any size takes 36 bytes."""
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 4), (0, 3)]  # mark, size, version; no transform
    fields += [(1, 1), (0, 1), (0, 1), (0, 1)] * 5  # five codes: simple, one symbol, of one bit, zero
    bits = place = 0
    for value, width_of in fields:
        bits |= value << place
        place += width_of
    data = bits.to_bytes(20, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


# --- JPEG (ITU-T T.81) ---


def segment(mark: int, data: bytes) -> bytes:
    return bytes([0xFF, mark]) + struct.pack(">H", len(data) + 2) + data


def jpeg(width: int, height: int, *, scans: int = 0, components: int = 1) -> bytes:
    """Return a grey JPEG of one colour; with `scans` a progressive one in which so many say that nothing changes."""
    blocks = -(-width // 8) * -(-height // 8)
    ids = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    frame = struct.pack(">BHHB", 8, height, width, components) + ids
    table = b"\1" + bytes(15)  # one code of one bit
    file = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2 if scans else 0xC0, frame)
    file += segment(0xC4, b"\x00" + table + b"\0") + segment(0xC4, b"\x10" + table + (b"\xe0" if scans else b"\0"))
    if not scans:
        chosen = b"".join(bytes([number + 1, 0]) for number in range(components))
        scan = segment(0xDA, bytes([components]) + chosen + b"\0\x3f\0")
        return file + scan + bytes(-(-2 * blocks * components // 8)) + b"\xff\xd9"
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    runs = ["0" + format(max(min(32767, blocks - at) - 16384, 0), "014b") for at in range(0, blocks, 32767)]
    bits = "".join(runs)
    bits += "1" * (-len(bits) % 8)
    empty = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return file + first + (segment(0xDA, b"\1\1\0\1\x3f\0") + empty) * scans + b"\xff\xd9"


def with_exif(exif: bytes, *, image: bytes | None = None) -> bytes:
    """Return a JPEG with these bytes in its EXIF segment."""
    image = encode("JPEG") if image is None else image
    return image[:2] + segment(0xE1, b"Exif\0\0" + exif) + image[2:]


# --- headers that say another size ---


def resized(kind: str, width: int, height: int) -> bytes:
    """Return a small image whose header says that it is of another size."""
    data = encode(kind)
    if kind == "PNG":
        return data[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29]) + data[33:]
    if kind == "PPM":
        return b"P6\n%d %d\n255\n" % (width, height) + data[15:]
    for mark, offset, form in _SIZES[kind]:
        largest = 0x3FFF if kind == "WEBP" else 2 ** (8 * struct.calcsize(form[:2])) - 1
        sides = (height, width) if mark in (b"ihdr", b"\xff\xc0") else (width, height)
        data = overwritten(data, data.index(mark) + offset, struct.pack(form, *(side & largest for side in sides)))
    return data


# where a size stands: behind which mark, how many bytes from its beginning, and how it is written
_SIZES = {
    "JPEG": [(b"\xff\xc0", 5, ">HH")],
    "GIF": [(b"GIF", 6, "<HH")],
    "TGA": [(b"", 12, "<HH")],
    "BMP": [(b"BM", 18, "<II")],
    "DIB": [(b"", 4, "<II")],
    "JPEG2000": [(b"ihdr", 4, ">II"), (b"\xff\x51", 6, ">II")],  # in its box and in the codestream
    "AVIF": [(b"ispe", 8, ">II")],
    "HEIF": [(b"ispe", 8, ">II")],
    "WEBP": [(b"VP8 ", 14, "<HH")],
}
