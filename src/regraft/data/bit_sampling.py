"""Close pairs among very many photos, without comparing all: those whose hashes agree in all bits of a random sample.

The bits are divided at random into parts of k bits; photos that agree in a whole part are compared (Indyk and Motwani
1998, "Approximate nearest neighbors": bit sampling). Two hashes that differ in fewer bits than there are parts agree in
one of them, and are found for certain (Norouzi et al. 2012, "Fast search in Hamming space with multi-index hashing").
Of hashes that differ in more, a division finds a share that follows from counting; divisions are made until `RECALL` of
the pairs that differ in the most bits allowed are found, and more of the others.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from math import comb, inf, log, log1p

import numpy as np

from regraft.data.bit_tables import TELLING, BitTables, Wanted
from regraft.data.close_pairs import ClosePairs, blocks_of_pairs
from regraft.images.perceptual_hash import BITS
from regraft.runtime import cpu_count

RECALL = 0.99  # of pairs that differ in the most bits allowed, in any of eight orientations
MOST_PAIRS = 5_000_000_000  # of 100,000 photos: up to so many, all are compared
_PAIRS_PER_PHOTO = 10  # pairs that are compared in the time that a photo takes in a table
_SPARE = 2  # bits of a part beyond those that would give each photo a value of its own: one in two meets another one
_FEWEST_BITS = 12  # of a part: fewer seldom tell how a photo is flipped
_WINDOW = 16  # photos of one value that a photo is compared with at first: those that agree in the most further bits
_MOST_CUT = 0.005  # of the photos that may have more of their value than that; else the window is doubled
_CROWDED = 1.0  # pairs that a photo, as it is or turned, costs in a table: beyond, parts become longer
# thousands of photos of one scene are joined by few pairs each, before more are compared
_FIRST_WINDOWS = (1, 2, 4, 8, 16)
# of the photos that may meet another one in a table, or parts become longer before more is compared
_MOST_MEETING = 0.7
_AT_A_TIME = 8  # tables


def close_pairs(
    first: np.ndarray,
    second: np.ndarray | None,
    limit: int,
    wanted: Wanted,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[ClosePairs]:
    """Yield pairs that differ in at most `limit` bits: all, or of very many photos those that samples of bits find.

    Args:
        first: (n, 32) hashes.
        second: (m, 32) hashes; None for pairs (i, j), i < j, within `first`.
        limit: bits.
        wanted: positions (p,), (p,) -> (p,) booleans: the pairs that still matter. Others may be left out, and one may
            come more than once.
        advance: called with the number of photos done since the last call.
    """
    if limit < 0:
        advance(len(first))
        return
    shown = np.flatnonzero(first.any(axis=1))
    others = shown if second is None else np.flatnonzero(second.any(axis=1))
    own, count = len(shown), None if second is None else len(others)
    if not is_sampled(own, count, limit):
        yield from blocks_of_pairs(first, second, limit, advance)
        return

    def among(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Tell which pairs (p,), (p,) of those that show something, one set after the other, are wanted."""
        if second is None:
            return wanted(shown[a], shown[b])
        kept = (a < own) & (b >= own)
        kept[kept] = wanted(shown[a[kept]], others[b[kept] - own])
        return kept

    done = _Progress(len(first), advance)
    every = first[shown] if second is None else np.concatenate([first[shown], second[others]])
    tables = BitTables(every, limit, among, lambda: done.reach(0.0), own=None if second is None else own)
    search = _Search(tables, limit, _pairs(own, count), done.reach)
    for found in search.pairs():
        yield ClosePairs(shown[found.first], others[found.second - (0 if second is None else own)], found.distance)
    if not search.complete:
        yield from blocks_of_pairs(first, second, limit, done.rest())


class _Progress:
    """Tells how many of n photos are done, from the share of the work that is."""

    def __init__(self, photos: int, advance: Callable[[int], object]) -> None:
        self._photos, self._advance, self._told = photos, advance, 0

    def reach(self, share: float) -> None:
        """Tell that this share of the work, 0 to 1, is done."""
        reached = max(int(self._photos * share), self._told)  # what was cut off does not count in the end
        self._advance(reached - self._told)
        self._told = reached

    def rest(self) -> Callable[[int], None]:
        """Return what is to be called with the number of photos done, of all, while the share that is left is done."""
        before, compared = self._told, 0

        def advance(count: int) -> None:
            nonlocal compared
            compared += count
            self.reach((before + (self._photos - before) * compared / self._photos) / self._photos)

        return advance


def is_sampled(first: int, second: int | None, limit: int) -> bool:
    """Tell whether samples of bits are taken: of more than `MOST_PAIRS` pairs, where it takes less time.

    Args:
        first: number of photos.
        second: number of those that they are compared with; None where they are compared with each other.
        limit: bits.
    """
    pairs, photos = _pairs(first, second), first + (second or 0)
    return limit >= 0 and pairs > MOST_PAIRS and _work(photos, _first_bits(photos), limit) < pairs


def compared_pairs(photos: int, limit: int) -> float:
    """Return how many pairs could be compared in the time that the search among so many photos takes, about."""
    return _work(photos, _first_bits(photos), limit) if is_sampled(photos, None, limit) else _pairs(photos, None)


def _pairs(first: int, second: int | None) -> int:
    return first * (first - 1) // 2 if second is None else first * second


def _first_bits(photos: int) -> int:
    """Return how many bits a part has at first."""
    return max((2 * photos - 1).bit_length() + _SPARE, _FEWEST_BITS)


def _work(photos: int, bits: int, limit: int) -> float:
    """Return how many pairs could be compared in the time that parts of so many bits take."""
    divisions = 1.0 if limit < BITS // bits else log(1 - RECALL) / log_missed(bits, limit)
    return divisions * (BITS // bits) * photos * _PAIRS_PER_PHOTO


@lru_cache
def log_missed(bits: int, distance: int) -> float:
    """Return the logarithm of the share of pairs that a division into parts of so many bits does not find.

    Of all ways in which `distance` bits may lie, those that leave no part untouched are counted by inclusion and
    exclusion. Parts of turned photos are other bits: each pair has two chances.
    """
    parts = BITS // bits
    if distance < parts:
        return -inf
    every = comb(BITS, distance)
    untouched = sum((-1) ** (j + 1) * comb(parts, j) * comb(BITS - j * bits, distance) for j in range(1, parts + 1))
    return 2 * log1p(-untouched / every)


class _Search:
    """Divisions of the bits of photos that all show something, until enough of their close pairs are found.

    Attributes:
        complete: whether it ended with that; False where hashes are so alike that comparing all takes less time.
    """

    def __init__(
        self, tables: BitTables, limit: int, pairs: int, reach: Callable[[float], object] = lambda _: None
    ) -> None:
        self._tables, self._limit, self._pairs, self._reach = tables, limit, pairs, reach
        self._random, self._bits, self._window = np.random.default_rng(0), _first_bits(tables.photos), _WINDOW
        self._missed, self._goal = 0.0, log(1 - RECALL)  # logarithms
        self._compared = self._cut = 0  # in a division
        self.complete = False

    def pairs(self) -> Iterator[ClosePairs]:
        """Yield what tables find, and tell the share of the work that is done."""
        with ThreadPoolExecutor(min(cpu_count(), _AT_A_TIME)) as pool:
            for window in _FIRST_WINDOWS:
                yield from self._found(pool, [_divide(self._random, self._bits)], window)
            most = _MOST_MEETING * 2 * self._tables.photos
            while self._tables.find(_divide(self._random, self._bits), self._bits, 0)[2] > most:
                self._bits += self._bits // 8
                self._reach(0.0)
            while not self.complete and self._is_worth():
                yield from self._division(pool)

    def _is_worth(self) -> bool:
        """Tell whether what is left takes less time than the comparison of all."""
        share = 1 - self._missed / self._goal
        return 2 * self._bits <= BITS and share * _work(self._tables.photos, self._bits, self._limit) < self._pairs

    def _division(self, pool: ThreadPoolExecutor) -> Iterator[ClosePairs]:
        """Yield what the tables of a division of the bits find; adapt parts and window to how many pairs it took."""
        bits, parts = self._bits, BITS // self._bits
        gained = log_missed(bits, self._limit)
        order = _divide(self._random, bits)
        orders = [np.roll(order, -number * bits) for number in range(parts)]
        self._compared = self._cut = 0
        for start in range(0, parts, _AT_A_TIME):
            yield from self._found(pool, orders[start : start + _AT_A_TIME], self._window)
            share = min(start + _AT_A_TIME, parts) / parts
            self._reach(min((self._missed + gained * share) / self._goal, 1.0))
        entries = 2 * self._tables.photos * parts
        too_many_cut = self._cut > _MOST_CUT * entries
        if not too_many_cut:
            self._missed += gained
            self.complete = self._missed <= self._goal
        if self._compared > _CROWDED * entries:
            self._bits += bits // 8
        elif too_many_cut:
            self._window *= 2

    def _found(self, pool: ThreadPoolExecutor, orders: Sequence[np.ndarray], window: int) -> Iterator[ClosePairs]:
        """Yield what several tables find, after all: so that no table depends on the number of cores."""
        several = []
        for one in pool.map(self._tables.find, orders, repeat(self._bits), repeat(window)):
            several.append(one)
            self._reach(0.0)
        for pairs, compared, cut in several:
            self._compared += compared
            self._cut += cut
            if len(pairs.first):
                yield pairs


def _divide(rng: np.random.Generator, bits: int) -> np.ndarray:
    """Return the bits in an order whose parts, one after the other, all have bits that tell how a photo is flipped."""
    while True:
        order = rng.permutation(BITS)
        parts = order[: BITS // bits * bits].reshape(-1, bits)
        if TELLING[:, parts].any(axis=2).all():
            return order
