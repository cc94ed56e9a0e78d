"""Pairs of photos whose perceptual hashes differ in few bits, in the orientation in which they are closest."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from regraft.images.perceptual_hash import BITS, PARITIES, hash_words
from regraft.runtime import cpu_count

BLOCK = 512  # photos: a block of distances stays in the processor's cache
_STRIP = 64  # photos, of a block: what is between their hashes and distances stays in the cache nearest to one core


@dataclass(frozen=True, eq=False)
class ClosePairs:
    """p pairs of photos that may show the same picture.

    Attributes:
        first: (p,) positions.
        second: (p,) positions.
        distance: (p,) bits, in the orientation in which they are closest.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n, m) uint8 distances in bits, each in the orientation in which two photos are closest.

    A flip changes the signs of two of the four parities of coefficients, a turn exchanges rows and columns as well: the
    eight orientations are sums of eight numbers of bits that differ. Photos that show nothing are far from all.

    Args:
        first: (2, 4, n) of `hash_words`.
        second: (2, 4, m).
    """
    found = np.empty((first.shape[2], second.shape[2]), dtype=np.uint8)
    for start in range(0, len(found), _STRIP):
        strip = slice(start, start + _STRIP)
        upright, turned = (least_of_flips(first[0, :, strip, None], words[:, None]) for words in second)
        np.minimum(upright, turned, out=found[strip])
    found[~first[0].any(axis=0)] = BITS
    found[:, ~second[0].any(axis=0)] = BITS
    return found


def least_of_flips(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return uint8: in how many bits words (4, ...) and (4, ...) differ, in the flip where these are fewest.

    A changed sign turns the d bits of k that differ into k - d. All sums are at most `BITS`, which a byte holds.
    """
    _, most_eo, most_oe, most_oo = (part.stop - part.start for part in PARITIES)
    ee, eo, oe, oo = (np.bitwise_count(one ^ other) for one, other in zip(first, second, strict=True))
    kept, mixed = oe + oo, oe + (most_oo - oo)
    down, across = (np.minimum(one, most_oe + most_oo - one) for one in (kept, mixed))
    return np.asarray(ee + np.minimum(eo + down, (most_eo - eo) + across))


def blocks_of_pairs(
    first: np.ndarray, second: np.ndarray | None, limit: int, advance: Callable[[int], object] = lambda _: None
) -> Iterator[ClosePairs]:
    """Yield the pairs that differ in at most `limit` bits, a block of photos at a time.

    Args:
        first: (n, 32) hashes.
        second: (m, 32) hashes; None for pairs (i, j), i < j, within `first`.
        limit: bits.
        advance: called with the number of photos that were compared with all (the rest of) others.
    """
    a = hash_words(first)
    b = a if second is None else hash_words(second)
    workers = cpu_count()
    with ThreadPoolExecutor(workers) as pool:
        for row in range(0, len(first), BLOCK):
            rows = a[:, :, row : row + BLOCK]

            def find(column: int, row: int = row, rows: np.ndarray = rows) -> ClosePairs:
                close = distances(rows, b[:, :, column : column + BLOCK])
                places = np.flatnonzero(close <= limit)
                ups, across = np.divmod(places, close.shape[1])
                if second is None and row == column:
                    places, ups, across = (one[ups < across] for one in (places, ups, across))
                return ClosePairs(ups + row, across + column, close.ravel()[places].astype(np.int64))

            columns = range(row if second is None else 0, b.shape[2], BLOCK)
            for start in range(0, len(columns), workers):  # no more pairs are held than are found at a time
                yield from (pairs for pairs in pool.map(find, columns[start : start + workers]) if len(pairs.first))
            advance(rows.shape[2])
