"""Kinds of hostile photos: each draws one file. Sound ones are among them: a reader that refuses all is no good.

What a kind is of stands in its name; the numbers that it draws differ from file to file.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tests.hostile.damage import appended, damaged, flipped, overwritten
from tests.hostile.encodings import (
    PNG_MARK,
    chunk,
    encode,
    jpeg,
    picture,
    png,
    resized,
    tiff,
    tiff_entries,
    webp,
    with_exif,
    zeros_in_zlib,
)

Draw = np.random.Generator
Kind = Callable[[Draw], bytes]
T = TypeVar("T")

PHOTOS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "jpeg"}),
    ("GIF", {}),
    ("BMP", {}),
    ("DIB", {}),
    ("PPM", {}),
    ("JPEG2000", {}),
    ("AVIF", {"speed": 10}),
    ("HEIF", {}),
    ("TGA", {"compression": "tga_rle"}),
    ("MPO", {"save_all": True, "append_images": [picture(160, 120)]}),
)
SIZED = ("PNG", "JPEG", "GIF", "TGA", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "HEIF", "WEBP")
# Pillow can write these, and none of them is a photo
FOREIGN = ("ICO", "PCX", "ICNS", "DDS", "SGI", "IM", "SPIDER", "PDF", "EPS", "MSP", "XBM", "QOI", "BLP", "FLI", "PSD")
_FOREIGN_MODES = {"SPIDER": "F", "MSP": "1", "XBM": "1", "BLP": "P"}
ENDLESS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n{ } loop\n%%EOF\n"
MEGA = 1_000_000


def pick(draw: Draw, items: Sequence[T]) -> T:
    return items[int(draw.integers(len(items)))]


def sound(draw: Draw) -> bytes:
    kind, options = pick(draw, PHOTOS)
    return encode(kind, **options)


def damaged_photo(draw: Draw) -> bytes:
    return damaged(sound(draw), draw)


def another_size(draw: Draw) -> bytes:
    sizes = [(0, 0), (0, 9), (9, 0), (65535, 65535), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (30000, 6), (161, 121)]
    sizes += [(13377, 13377), (13378, 13378), (1, 2000), (5000, 5000)]
    return resized(pick(draw, SIZED), *pick(draw, sizes))


def foreign(draw: Draw) -> bytes:
    kind = pick(draw, FOREIGN)
    if kind == "FLI":
        return struct.pack("<IHHHHHHI", 20_000, 0xAF12, 9, 99, 99, 8, 3, 5).ljust(500, b"\0")
    if kind == "PSD":
        return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(2000)
    mode = _FOREIGN_MODES.get(kind, "RGB")
    return encode(kind, picture(64, 64, mode))


def text_of_another_kind(draw: Draw) -> bytes:
    return pick(
        draw,
        [
            ENDLESS,
            b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(ENDLESS)) + bytes(20) + ENDLESS,  # EPS in a DOS file
            b'/* XPM */\nstatic char *a[] = {\n"99999 99999 2 1",\n',
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/a.png"/></svg>',
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
            b"push graphic-context\nfill 'url(https://127.0.0.1/\"|touch marker\")'\n",
            b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = 8".ljust(2800),
            b"\xd7\xcd\xc6\x9a" + bytes(60),
            b"",
            b"\0",
        ],
    )


# --- small files of many pixels; the largest that are read have 178,956,970 ---


def png_bomb(draw: Draw) -> bytes:
    size = pick(draw, [(13377, 13377), (13378, 13378), (8000, 7000), (200_100, 1000), (5000, 6000)])
    bits, colour = pick(draw, [(1, 0), (1, 3), (8, 0), (8, 2), (16, 0), (8, 6)])
    return png(size, bits=bits, colour=colour)


def interlaced_png_bomb(draw: Draw) -> bytes:
    return png(pick(draw, [(13377, 13377), (7000, 7000)]), bits=1, colour=0, interlaced=True)


def tiff_bomb(draw: Draw) -> bytes:
    """Draw a TIFF whose strip says that it holds all rows, deflated."""
    width, height = pick(draw, [(13377, 13377), (13378, 13378), (6000, 6000)])
    data = zeros_in_zlib(width * height)
    return tiff(tiff_entries(width, height, compression=8, bytes=len(data)), data)


def gif_bomb(draw: Draw) -> bytes:
    """Draw a large canvas with a small frame."""
    small = encode("GIF")
    return small[:6] + struct.pack("<HH", *pick(draw, [(13377, 13377), (13378, 13378), (6000, 5000)])) + small[10:]


def jpeg_bomb(draw: Draw) -> bytes:
    return jpeg(*pick(draw, [(13376, 13376), (13384, 13384), (6000, 6000)]), components=pick(draw, [1, 3]))


def many_scans(draw: Draw) -> bytes:
    return jpeg(2000, 2000, scans=int(draw.integers(100, 500)))


def webp_bomb(draw: Draw) -> bytes:
    """Draw one that is too large for the memory, or too large at all; those between are in `costly`."""
    return webp(*pick(draw, [(16383, 16383), (13378, 13378), (4000, 5000)]))


def jpeg2000_bomb(draw: Draw) -> bytes:
    """Draw a header that says many pixels where the tiles hold few."""
    return resized("JPEG2000", *pick(draw, [(13377, 13377), (6000, 6000)]))


def heif_bomb(draw: Draw) -> bytes:
    kind = pick(draw, ["AVIF", "HEIF"])
    return resized(kind, *pick(draw, [(13377, 13377), (7400, 7400), (16, 16), (8000, 8000)]))


def real_bomb(draw: Draw) -> bytes:
    """Draw one whose pixels are really there, in formats that no few bytes can stand for."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("AVIF", {"speed": 10}),
        ("JPEG2000", {"irreversible": False}),
        ("GIF", {}),
    ]
    kind, options = pick(draw, kinds)
    side = pick(draw, [3000, 4000])
    return encode(kind, Image.new("P" if kind == "GIF" else "RGB", (side, side)), **options)


# --- chunks, frames, tags ---


def png_chunks(draw: Draw) -> bytes:
    packed = zeros_in_zlib(200 * MEGA)
    return png(
        (99, 99),
        *pick(
            draw,
            [
                [chunk(b"zTXt", b"a\0\0" + packed)],
                [chunk(b"iTXt", b"a\0\1\0\0\0" + packed)],
                [chunk(b"iCCP", b"a\0\0" + packed)],
                [chunk(b"iCCP", b"a\0\0" + draw.bytes(999))],
                [chunk(b"tEXt", b"a\0" + bytes(2 * MEGA))],
                [chunk(b"tEXt", b"%d\0b" % number) for number in range(20_000)],
                [chunk(b"eXIf", draw.bytes(300))],
                [chunk(b"eXIf", exif_of([(0x0112, 3, 1, int(draw.integers(0, 10_000)))]))],
                [chunk(b"tRNS", draw.bytes(int(draw.integers(0, 20))))],
                [chunk(b"pHYs", b""), chunk(b"gAMA", b"\0" * 4), chunk(b"cHRM", b"\0")],
                [chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 16, 6, 0, 0, 0))],
                [chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))],
                [chunk(b"fcTL", draw.bytes(26)), chunk(b"fdAT", draw.bytes(9))],
                [chunk(b"PLTE", draw.bytes(800))],
            ],
        ),
    )


def frames(draw: Draw) -> bytes:
    kind = pick(draw, ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
    turned = [picture(32, 32).rotate(number) for number in range(300)]
    data = encode(kind, turned[0], save_all=True, append_images=turned[1:])
    return damaged(data, draw) if draw.random() < 0.3 else data


def exif_of(entries: list[tuple[int, int, int, int]], *, following: int = 0) -> bytes:
    return tiff(entries, following=following)[: 14 + 12 * len(entries)]


def exif(draw: Draw) -> bytes:
    whole = exif_of([(0x0112, 3, 1, 6), (0x8769, 4, 1, 8)])
    return with_exif(
        pick(
            draw,
            [
                exif_of([(0x0112, 3, 1, int(draw.integers(0, 10_000)))]),
                exif_of([(0x0112, int(draw.integers(0, 15)), 1, 6)]),
                exif_of([(0x0112, 3, int(draw.integers(0, 2**32)), 6)]),
                exif_of([(0x0112, 5, 1, 2**32 - 1)]),
                exif_of([(0x0112, 2, 4, 0x41414141)]),
                exif_of([(0x0112, 3, 1, 6)], following=8),
                exif_of([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8)]),
                whole[: int(draw.integers(0, len(whole)))],
                flipped(whole, draw),
                draw.bytes(60_000),
            ],
        )
    )


def tags(draw: Draw) -> bytes:
    """Draw a TIFF that says of itself what cannot be, or what Pillow seldom meets."""
    wild = int(draw.integers(0, 2**32))
    changes = [{"strips": wild}, {"bytes": wild}, {"rows": 0}, {"rows": wild}, {"compression": wild & 0xFFFF}]
    changes += [{"bits": bits} for bits in (0, 1, 3, 7, 12, 16, 24, 32, 33, 64, 65535)]
    changes += [{"colours": colours} for colours in (0, 3, 4, 5, 6, 8, 9, 32803, 65535)]
    changes += [{"channels": channels} for channels in (0, 2, 4, 5, 100, 65535)]
    changes += [{"planes": 2}, {"format": 3}, {"format": 9}, {"predictor": 2}, {"tile": 0}, {"tile": wild}, {}]
    entries = tiff_entries(60, 50, **pick(draw, changes) | (pick(draw, changes) if draw.random() < 0.3 else {}))
    return tiff(entries, draw.bytes(60 * 50 * 3), following=pick(draw, [0, 8, 8, 4, 2**32 - 1]))


def modes(draw: Draw) -> bytes:
    """Draw a sound TIFF of uncommon colours."""
    mode, image = pick(draw, ["CMYK", "LAB", "YCbCr", "1", "I", "F", "LA"]), picture(90, 70)
    if mode == "LAB":  # converted, it would have a colour profile with the time in it
        return encode("TIFF", Image.frombytes("LAB", image.size, image.tobytes()))
    return encode("TIFF", image.convert(mode))


def large_looped_tiff(draw: Draw) -> bytes:
    """Draw one that is read row by row, and whose directories follow each other in a circle."""
    return tiff(tiff_entries(6000, 6000, rows=1), bytes(2000), following=8)


def broken_mpo(draw: Draw) -> bytes:
    data = encode("MPO", save_all=True, append_images=[picture(80, 60)])
    place = data.index(b"MPF\0") + 4
    changed = bytearray(data[place : place + 90])
    for _ in range(int(draw.integers(1, 9))):
        changed[int(draw.integers(len(changed)))] = int(draw.integers(256))
    return overwritten(data, place, bytes(changed))


def two_in_one(draw: Draw) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.txt", "x")
        archive.writestr("zeros", bytes(10 * MEGA))
    behind = [packed.getvalue(), b"<script>alert(1)</script>", b"%PDF-1.7\n", b"<?php system($_GET['c']); ?>", ENDLESS]
    return sound(draw) + pick(draw, behind)


def text_of_a_ppm(draw: Draw) -> bytes:
    heads = [
        b"P3\n9999 9999\n255\n",
        b"P1\n99 99\n",
        b"P6\n-5 5\n255\n",
        b"P5\n9 9\n0\n",
        b"P5\n9 9\n65536\n",
        b"Pf\n9 9\n1\n",
    ]
    heads += [b"P6 " + b"9" * 5000 + b" 9 255\n", b"P6\n#" + b"a" * 100_000, b"P7\nWIDTH 9\n", b"P6\n9 9\n1e9\n"]
    return pick(draw, heads) + pick(draw, [b"1 2 3 " * 900, draw.bytes(900), b"9" * 9000, b""])


def bmp(draw: Draw) -> bytes:
    data = bytearray(encode("BMP", picture(40, 30, "P")))
    place, value = int(draw.integers(10, 54)), int(draw.integers(256))
    data[place] = value
    return appended(data, draw)


def heic(draw: Draw) -> bytes:
    return damaged(encode("HEIF" if draw.random() < 0.5 else "AVIF"), draw)


def png_pixels(draw: Draw) -> bytes:
    """Draw a PNG whose pixels are no zlib stream, of another length, or in very many chunks."""
    head = PNG_MARK + chunk(b"IHDR", struct.pack(">IIBBBBB", 99, 99, 8, 2, 0, 0, 0))
    rows = zlib.compress(draw.bytes(99 * 298))
    parts = [rows[at : at + 1] for at in range(len(rows))]
    chosen = pick(draw, [[draw.bytes(500)], [], [b""], [zeros_in_zlib(500 * MEGA)], [zlib.compress(b"")], parts])
    return head + b"".join(chunk(b"IDAT", part) for part in chosen) + chunk(b"IEND", b"")


KINDS: tuple[Kind, ...] = (
    sound,
    damaged_photo,
    damaged_photo,
    damaged_photo,
    another_size,
    another_size,
    foreign,
    text_of_another_kind,
    png_bomb,
    interlaced_png_bomb,
    tiff_bomb,
    gif_bomb,
    jpeg_bomb,
    many_scans,
    webp_bomb,
    jpeg2000_bomb,
    heif_bomb,
    real_bomb,
    png_chunks,
    frames,
    exif,
    exif,
    tags,
    tags,
    modes,
    large_looped_tiff,
    broken_mpo,
    two_in_one,
    text_of_a_ppm,
    bmp,
    heic,
    png_pixels,
)
