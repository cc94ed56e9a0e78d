"""The chunks of a PNG (PNG 3rd edition, section 5.3) that Pillow does not read, or only with all pixels."""

import io
import struct
from typing import BinaryIO

from PIL import Image

SIGNIFICANT_BITS = "sbit"  # of each colour, in `info`


def find_chunk(stream: BinaryIO, wanted: bytes, *, before: bytes = b"") -> bytes:
    """Return the data of the first chunk of that name, b"" if there is none, or none before one called `before`."""
    place, found = stream.tell(), b""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:  # each chunk: its length, its name, its data, four bytes of checksum
        length, name = struct.unpack(">I4s", head)
        if name == wanted:
            found = stream.read(length)
        if name in (wanted, before):
            break
        stream.seek(length + 4, io.SEEK_CUR)
    stream.seek(place)
    return found


def complete(image: Image.Image, stream: BinaryIO, *, deep: bool) -> None:
    """Put EXIF tags and significant bits (sBIT, 11.3.2.7) of a PNG into `image.info`; leave other formats as they are.

    Args:
        image: opened by Pillow.
        stream: its file.
        deep: whether it has 16 bits.
    """
    if image.format != "PNG":
        return
    if "exif" not in image.info:
        image.info["exif"] = find_chunk(stream, b"eXIf")  # Pillow would decode all pixels first
    if deep:
        bits = list(find_chunk(stream, b"sBIT", before=b"IDAT")[:4])
        most = max(bits[:-1] if image.mode == "RGBA" else bits, default=0)
        image.info[SIGNIFICANT_BITS] = most if 8 <= most <= 16 else None
