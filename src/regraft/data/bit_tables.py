"""Tables of photos by parts of the bits of their hashes: photos of one value stand together, and are compared."""

from collections.abc import Callable, Iterator

import numpy as np

from regraft.data.close_pairs import ClosePairs, least_of_flips
from regraft.images.perceptual_hash import BITS, PARITIES, TRANSPOSED, hash_words

_FALSE = 6  # bits of a hashed part beyond those that number the photos: other parts share a value with 1 in 64 of them
_PHOTOS = 1 << 15  # at a time: what is between their bits and their keys stays in the processor's cache
_PAIRS = 1 << 15
_WORD = 64
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))  # multipliers that spread bits to the upper ones
_parities = [np.arange(BITS)[part] for part in PARITIES]
# (2, BITS): whether a bit changes when a photo is mirrored, and when it is upside down; whether it does in one alone
_FLIPS = np.array([np.isin(np.arange(BITS), np.concatenate([_parities[parity], _parities[3]])) for parity in (1, 2)])
TELLING = _FLIPS & ~_FLIPS[::-1]
Wanted = Callable[[np.ndarray, np.ndarray], np.ndarray]


class BitTables:
    """Photos sorted by parts of their bits, and compared with those beside them.

    Each photo is there as it is and with rows and columns exchanged. Its flip is undone: of the bits of a part, the
    first that changes when a photo is mirrored, and no other flip, is made 0 by mirroring, and likewise upside down.

    Attributes:
        photos: how many there are.

    Args:
        hashes: (n, 32) of these.
        limit: bits.
        wanted: as of `close_pairs`.
        alive: called from time to time.
        own: how many of them are compared with the others; None for each with each.
    """

    def __init__(
        self,
        hashes: np.ndarray,
        limit: int,
        wanted: Wanted,
        alive: Callable[[], object],
        *,
        own: int | None = None,
    ) -> None:
        self.photos, self._limit, self._wanted, self._own = len(hashes), limit, wanted, own
        self._columns = np.empty((BITS, -(-len(hashes) // 8)), dtype=np.uint8)
        self._words = np.empty((2 * len(hashes), len(PARITIES)), dtype=np.uint64)
        for start in range(0, len(hashes), _PHOTOS):
            block = hashes[start : start + _PHOTOS]
            bits = np.ascontiguousarray(np.unpackbits(block, axis=1)[:, :BITS].T)
            self._columns[:, start // 8 : -(-(start + len(block)) // 8)] = np.packbits(bits, axis=1)
            for turned, words in enumerate(hash_words(block)):
                place = turned * len(hashes) + start
                self._words[place : place + len(block)] = words.T
            alive()
        self._numbering = (2 * len(hashes) - 1).bit_length()  # bits
        self._hashed = min(self._numbering + _FALSE, _WORD - self._numbering)

    def find(self, order: np.ndarray, bits: int, window: int) -> tuple[ClosePairs, int, int]:
        """Return close pairs, how many were compared, and how many were not as they lie beyond the window.

        Args:
            order: (BITS,) bits, those of the part first.
            bits: of the part.
            window: photos.
        """
        keys = self._keys(order[: bits + _WORD - self._numbering - self._hashed], bits)
        keys.sort()
        values = keys >> np.uint64(_WORD - self._hashed)
        keys &= np.uint64((1 << self._numbering) - 1)
        entries = keys.view(np.int64)
        found, compared, cut = [], 0, 0
        for step, places, beside in self._beside(values, entries, window):
            for start in range(0, len(places), _PAIRS):
                some = slice(start, start + _PAIRS)
                first, second, turned = self._matching(entries[places[some]], entries[beside[some]])
                if step > window:
                    cut += len(first)
                else:
                    compared += len(first)
                    found.append(self._close(first, second, turned))
        close = np.concatenate([np.empty((3, 0), dtype=np.int32), *found], axis=1)
        return ClosePairs(*close.astype(np.int64)), compared, cut

    def _beside(
        self, values: np.ndarray, entries: np.ndarray, window: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield steps up to one beyond the window, and pairs of places (p,), (p,) of one value that many steps apart.

        Of two sets only places of the other one are steps: however many of its own a photo has beside it.

        Args:
            values: (2 n,) of parts, ascending.
            entries: (2 n,) photos, as they are or turned.
            window: photos.
        """
        if self._own is None:
            places = np.arange(len(values))
            for step in range(1, window + 2):
                places = places[places < len(values) - step]
                places = places[values[places + step] == values[places]]
                yield step, places, places + step
            return
        is_other = np.where(entries >= self.photos, entries - self.photos, entries) >= self._own
        places, others = np.flatnonzero(~is_other), np.flatnonzero(is_other)
        after = np.searchsorted(others, places)
        sides = {1: (places, after), -1: (places, after - 1)}
        for step in range(1, window + 2):
            for way, (asked, index) in sides.items():
                beside = np.flatnonzero((index >= 0) & (index < len(others)))
                beside = beside[values[others[index[beside]]] == values[asked[beside]]]
                yield step, asked[beside], others[index[beside]]
                sides[way] = asked[beside], index[beside] + way

    def _matching(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return photos (k,), (k,) of the pairs of entries (p,) that are wanted, and whether one of them is turned."""
        turned = (one >= self.photos) != (other >= self.photos)
        one, other = (np.where(entries >= self.photos, entries - self.photos, entries) for entries in (one, other))
        first, second = np.minimum(one, other), np.maximum(one, other)
        kept = np.flatnonzero(first != second)
        kept = kept[self._wanted(first[kept], second[kept])]
        return first[kept], second[kept], turned[kept]

    def _close(self, first: np.ndarray, second: np.ndarray, turned: np.ndarray) -> np.ndarray:
        """Return (3, k) int32 photos, photos and distances of the pairs (p,) that differ in at most `limit` bits."""
        distance = self._distance(first, second, turned)
        close = np.flatnonzero(distance <= self._limit)
        first, second, turned, distance = (one[close] for one in (first, second, turned, distance))
        distance = np.minimum(distance, self._distance(first, second, ~turned))
        return np.stack([first, second, distance]).astype(np.int32)

    def _distance(self, first: np.ndarray, second: np.ndarray, turned: np.ndarray) -> np.ndarray:
        words = self._words
        a, b = (words.take(places, axis=0).T for places in (first, second + turned * self.photos))
        return least_of_flips(a, b)

    def _keys(self, places: np.ndarray, bits: int) -> np.ndarray:
        """Return (2 n,) keys of photos as they are and turned: a part of `bits`, hashed, further bits, and a number."""
        keys = np.empty(2 * self.photos, dtype=np.uint64)
        telling = TELLING[:, places].argmax(axis=1)
        changed = _FLIPS[:, places].view(np.uint8).T  # a photo for each flip, of which these bits are 1
        of_part, of_further = _packed(changed[:bits]), _packed(changed[bits:])
        room, numbers = np.uint64(_WORD - self._hashed), np.uint64((1 << self._numbering) - 1)
        for turned, columns in enumerate((places, TRANSPOSED[places])):
            for start in range(0, self.photos, _PHOTOS):
                stop = min(start + _PHOTOS, self.photos)
                rows = np.unpackbits(self._columns[columns, start // 8 : -(-stop // 8)], axis=1, count=stop - start)
                part, further = _packed(rows[:bits]), _packed(rows[bits:])
                for flip, place in enumerate(telling):
                    flipped = rows[place].astype(np.uint64)
                    part ^= of_part[:, flip, None] * flipped
                    further ^= of_further[:, flip, None] * flipped
                key = _hashed(part) >> room << room
                if len(further):
                    key |= further[0] >> np.uint64(self._hashed)
                first = turned * self.photos + start
                key = (key & ~numbers) | np.arange(first, first + stop - start, dtype=np.uint64)
                keys[first : first + stop - start] = key
        return keys


def _packed(rows: np.ndarray) -> np.ndarray:
    """Return (ceil(t / 64), n) uint64 of (t, n) bits, the first one uppermost."""
    octets = np.zeros((-(-len(rows) // _WORD), rows.shape[1], 8), dtype=np.uint8)
    for number, start in enumerate(range(0, len(rows), 8)):
        octet = rows[start].copy()
        for row in rows[start + 1 : start + 8]:
            octet <<= 1
            octet |= row
        octets[number // 8, :, number % 8] = octet << np.uint8(max(start + 8 - len(rows), 0))
    return octets.view(">u8")[..., 0].astype(np.uint64)


def _hashed(words: np.ndarray) -> np.ndarray:
    """Return (n,) uint64, of (w, n) words, whose upper bits depend on all of theirs."""
    found = words[0] * _ODD[0]
    for word in words[1:]:
        found ^= found >> np.uint64(29)
        found = (found ^ word) * _ODD[0]
    found ^= found >> np.uint64(32)
    return np.asarray(found * _ODD[1])
