"""The chunks of a PNG (PNG 3rd edition, section 5.3) that Pillow does not read, or only with all pixels."""

import io
import struct
from typing import BinaryIO


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


def significant_bits(stream: BinaryIO, *, alpha: bool) -> int | None:
    """Return how many of 16 bits carry information, by the chunk sBIT (11.3.2.7); None if it does not say.

    Args:
        stream: the file.
        alpha: whether its last channel is no colour.
    """
    bits = list(find_chunk(stream, b"sBIT", before=b"IDAT")[:4])
    colours = bits[:-1] if alpha else bits
    return max(colours) if colours and 8 <= max(colours) <= 16 else None
