"""Damage to bytes, drawn at random: what copying, disks and people with bad intent do to files."""

from collections.abc import Callable

import numpy as np

Bytes = bytes | bytearray


def flipped(data: Bytes, draw: np.random.Generator) -> bytes:
    """Return `data` with 1 to 64 of its bits flipped."""
    changed = bytearray(data)
    for bit in draw.choice(8 * len(changed), min(int(draw.integers(1, 65)), 8 * len(changed)), replace=False).tolist():
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flipped_start(data: Bytes, draw: np.random.Generator) -> bytes:
    """Flip bits among the first bytes, where formats keep their sizes."""
    return flipped(data[:200], draw) + bytes(data[200:])


def truncated(data: Bytes, draw: np.random.Generator) -> bytes:
    return bytes(data[: int(draw.integers(0, len(data)))])


def zeroed(data: Bytes, draw: np.random.Generator) -> bytes:
    """Set a range to zero, somewhere where that changes something."""
    while True:
        start, end = sorted(draw.integers(0, len(data) + 1, 2).tolist())
        if any(data[start:end]):
            return bytes(data[:start]) + bytes(end - start) + bytes(data[end:])


def appended(data: Bytes, draw: np.random.Generator) -> bytes:
    return bytes(data) + draw.bytes(int(draw.integers(1, 5000)))


def inserted(data: Bytes, draw: np.random.Generator) -> bytes:
    place = int(draw.integers(0, len(data) + 1))
    return bytes(data[:place]) + draw.bytes(int(draw.integers(1, 100))) + bytes(data[place:])


def wild_number(data: Bytes, draw: np.random.Generator) -> bytes:
    """Write the smallest, the largest or a negative number over some bytes of the header."""
    place = int(draw.integers(0, min(len(data), 400)))
    number = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff", b"\0\0"]
    return overwritten(data, place, number[int(draw.integers(len(number)))])


def repeated(data: Bytes, draw: np.random.Generator) -> bytes:
    """Return the file twice, the second one from somewhere on."""
    return bytes(data) + bytes(data[int(draw.integers(0, len(data))) :])


def noise(data: Bytes, draw: np.random.Generator) -> bytes:
    return draw.bytes(len(data))


DAMAGES: tuple[Callable[[Bytes, np.random.Generator], bytes], ...] = (
    flipped,
    flipped_start,
    truncated,
    zeroed,
    appended,
    inserted,
    wild_number,
    repeated,
    noise,
)


def damaged(data: Bytes, draw: np.random.Generator) -> bytes:
    """Return `data` after one kind of damage, never as it was."""
    while True:
        changed = DAMAGES[int(draw.integers(len(DAMAGES)))](data, draw)
        if changed != data:
            return changed


def overwritten(data: Bytes, place: int, value: bytes) -> bytes:
    return bytes(data[:place]) + value + bytes(data[place + len(value) :])
