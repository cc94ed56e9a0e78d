"""Which photos show the same picture: found among all pairs by perceptual hashes, in doubt compared by their pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.bit_sampling import RECALL, close_pairs, is_sampled
from regraft.data.close_pairs import distances
from regraft.images.block_matching import EVERY_ORIENTATION, agreement
from regraft.images.perceptual_hash import hash_words
from regraft.progress import Detail

SURE = 40  # bits: photos of all kinds that differ in fewer show the same picture
DOUBTFUL = 64  # bits: photos that differ in more are never compared
AGREEMENT = 0.8  # of details, from which on two photos that may show the same picture do
MOST_COMPARED = 20_000  # pairs, the closest first
_COPY = 24  # bits: closer photos say nothing about how alike different ones are ...
_MOST_COPIES = 1 / 3  # ... unless so many pairs are that close: then that is how alike different photos are here
_MARGIN = 0.75  # of the distance at which some different photos are to be expected
_FALSE_PAIRS = 0.05  # different photos that may be as close as that distance, expected over all pairs
FEWEST_PAIRS = 28  # of eight photos: fewer say nothing about a set
_SAMPLE = 2048  # photos that a set's own distances are learned from
_REFRESHED = 0.01  # new links, of the photos, from which on those that join photos anew are told
_MOST_LINKS = 4_000_000  # pairs held at a time; beyond, those that are joined already are forgotten


@dataclass(frozen=True, eq=False)
class Pictures:
    """What n photos show.

    Attributes:
        keys: (n, 32) uint8, equal for equal pixels; zeros for photos that could not be read.
        hashes: (n, 32) uint8 perceptual hashes; zeros for photos that show nothing.
        inner: (n, 32) uint8 hashes without margins of one colour; zeros for photos without margins.
        numbers: (n,) int64, equal for photos of one picture, in all data sets that were looked at together.
        colours: (n, 5) float32 mean colours, see `images.colours`; NaN for photos that could not be read; None where
            nobody has asked.
    """

    keys: np.ndarray
    hashes: np.ndarray
    inner: np.ndarray
    numbers: np.ndarray
    colours: np.ndarray | None = None

    def select(self, positions: np.ndarray) -> "Pictures":
        """Return those at `positions` (integers or booleans)."""
        colours = None if self.colours is None else self.colours[positions]
        return Pictures(
            self.keys[positions], self.hashes[positions], self.inner[positions], self.numbers[positions], colours
        )

    def every_hash(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (k, 32) hashes, with and without margins, and (k,) the photos that they are of."""
        return every_hash(self.hashes, self.inner)

    @classmethod
    def joined(cls, parts: Sequence["Pictures"]) -> "Pictures":
        """Return all of several that were looked at together."""
        names = ("keys", "hashes", "inner", "numbers")
        keys, hashes, inner, numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        colours = [part.colours for part in parts if part.colours is not None]
        every = np.concatenate(colours) if colours and len(colours) == len(parts) else None
        return cls(keys, hashes, inner, numbers, every)


def every_hash(hashes: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (k, 32) hashes (n, 32) and those of (n, 32) without margins, and (k,) the photos that they are of."""
    framed = np.flatnonzero(inner.any(axis=1))
    return np.concatenate([hashes, inner[framed]]), np.concatenate([np.arange(len(hashes)), framed])


def learned_limit(first: np.ndarray, second: np.ndarray | None = None) -> int:
    """Return how many bits two photos of a set may differ in and still show the same picture, -1 for none.

    The distances of different photos are about normal below their median; photos of one kind (lesions, digits) are
    closer than others. The limit lies a margin below the distance that pairs of different photos reach by chance.

    Args:
        first: (n, 32) hashes.
        second: (m, 32) hashes, where pairs are of one photo of each; None for pairs within `first`.
    """
    from scipy.special import ndtr, ndtri  # here, for one photo is answered in less time than it takes to import

    own = second is None
    some, others = _some(first), _some(first if second is None else second)
    found = distances(hash_words(some), hash_words(others)).astype(np.float32)
    among = found[np.triu_indices(len(found), 1)] if own else found.ravel()
    if len(among) < FEWEST_PAIRS:
        return SURE
    different = among[among > _COPY]
    if len(different) < (1 - _MOST_COPIES) * len(among):
        different = among
    middle, low = np.quantile(different, [0.5, ndtr(-2)])
    n, m = len(first), len(first if second is None else second)
    pairs = n * (n - 1) / 2 if own else n * m
    by_chance = middle + ndtri(min(_FALSE_PAIRS / pairs, 0.5)) * (middle - low) / 2
    return int(np.clip(np.floor(_MARGIN * by_chance), -1, DOUBTFUL))


def _some(hashes: np.ndarray) -> np.ndarray:
    """Return at most `_SAMPLE` of (n, 32) hashes of photos that show something, whatever their order."""
    shown = hashes[hashes.any(axis=1)]
    if len(shown) <= _SAMPLE:
        return shown
    ordered = shown[np.lexsort(shown.T)]
    return ordered[np.linspace(0, len(ordered) - 1, _SAMPLE).astype(np.int64)]


class Links:
    """Which of n photos are joined: links are collected, and those that add nothing are forgotten now and then."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[np.ndarray] = []
        self._held = 0
        self._known = np.arange(count)

    def apart(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return (p,) booleans: whether photos at (p,) and (p,) were not joined when `numbers` was last asked for."""
        return np.asarray(self._known[first] != self._known[second])

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Join photos at positions (p,) with those at (p,)."""
        self._parts.append(np.stack([first, second]))
        self._held += len(first)
        if self._held > _MOST_LINKS:
            numbers = self.numbers()
            self._parts, self._held = [np.stack([first_of_number(numbers), np.arange(self._count)])], self._count

    def numbers(self) -> np.ndarray:
        """Return (n,) int64: equal for photos that are joined, directly or through others."""
        from scipy.sparse import coo_array  # here, for one photo is answered in less time than it takes to import
        from scipy.sparse.csgraph import connected_components

        rows, columns = np.concatenate([np.empty((2, 0), dtype=np.int64), *self._parts], axis=1)
        graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(self._count, self._count))
        self._known = np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
        return self._known


def first_of_number(numbers: np.ndarray) -> np.ndarray:
    """Return (n,) positions: of each photo's number (n,) the first photo that has it."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.ravel()])


def number_pictures(
    keys: np.ndarray,
    hashes: np.ndarray,
    thumbnails: Callable[[np.ndarray], np.ndarray],
    *,
    inner: np.ndarray | None = None,
    near: bool = True,
    advance: Callable[[int], object] = lambda _: None,
    say: Callable[[str], object] = lambda _: None,
) -> np.ndarray:
    """Return (n,) int64 numbers of pictures: equal for photos that show the same one, directly or through others.

    Args:
        keys: (n, 32) uint8 of `picture_keys`; zeros for photos that could not be read.
        hashes: (n, 32) uint8 of `perceptual_hashes`.
        thumbnails: positions (k,) -> (k, 64, 64) luminances; called for photos that are in doubt alone.
        inner: (n, 32) uint8 of `margin_hashes`; None where no photo has margins.
        near: False joins photos with equal pixels alone.
        advance: called with the number of photos done since the last call.
        say: told that not all photos are compared with all, see `bit_sampling`.
    """
    links = Links(len(keys))
    links.add(*same_rows(keys))
    if not near:
        return links.numbers()
    limit = learned_limit(hashes)
    rows, photos = every_hash(hashes, np.zeros_like(hashes) if inner is None else inner)
    if limit >= 0:
        links.add(*(photos[places] for places in same_rows(rows)))
    some = np.flatnonzero(first_of_each(rows))  # thousands of one picture have millions of pairs
    if is_sampled(len(some), None, limit):
        say(
            Detail(
                f"{len(some):,} photos are too many to compare each with all: those whose perceptual hashes agree in "
                f"random samples of bits are compared, which finds {RECALL:.0%} of the pairs that differ in {limit} "
                "bits, the most allowed here, and more of those that differ in fewer"
            )
        )
    _join_close(links, rows[some], photos[some], limit, thumbnails, advance=advance)
    return links.numbers()


def _join_close(
    links: Links,
    hashes: np.ndarray,
    photos: np.ndarray,
    limit: int,
    thumbnails: Callable[[np.ndarray], np.ndarray],
    *,
    advance: Callable[[int], object],
) -> None:
    """Join photos (k,) whose hashes (k, 32) are close, in doubt compared by their pixels."""
    doubtful: list[np.ndarray] = []
    links.numbers()
    since = 0
    for pairs in close_pairs(hashes, None, limit, lambda i, j: links.apart(photos[i], photos[j]), advance):
        sure = pairs.distance <= min(SURE, limit)
        links.add(photos[pairs.first[sure]], photos[pairs.second[sure]])
        since += int(sure.sum())
        if not sure.all():
            doubtful.append(np.stack([pairs.first, pairs.second, pairs.distance])[:, ~sure])
        if sum(part.shape[1] for part in doubtful[1:]) > _MOST_LINKS:
            doubtful = [_nearest_apart(doubtful, links.numbers()[photos], most=_MOST_LINKS)]
        if since > _REFRESHED * len(hashes):
            links.numbers()
            since = 0
    if doubtful:
        first, second, _ = _nearest_apart(doubtful, links.numbers()[photos], most=MOST_COMPARED)
        first, second = photos[first], photos[second]
        same = same_by_pixels(first, second, thumbnails)
        links.add(first[same], second[same])


def _nearest_apart(pairs: Sequence[np.ndarray], numbers: np.ndarray, *, most: int) -> np.ndarray:
    """Return (3, k) first, second and distance, each once, of the nearest of pairs (3, p) that are not joined."""
    found = np.concatenate(pairs, axis=1)
    found = found[:, numbers[found[0]] != numbers[found[1]]]
    _, once = np.unique(found[0] * len(numbers) + found[1], return_index=True)
    found = found[:, np.sort(once)]
    return found[:, np.argsort(found[2], kind="stable")[:most]]


def same_by_pixels(
    first: np.ndarray,
    second: np.ndarray,
    thumbnails: Callable[[np.ndarray], np.ndarray],
    orientations: Sequence[tuple[bool, int]] = EVERY_ORIENTATION,
) -> np.ndarray:
    """Return (p,) booleans: whether the details of two photos agree in one of these orientations."""
    return agreement_of_details(first, second, thumbnails, orientations) >= AGREEMENT


def agreement_of_details(
    first: np.ndarray,
    second: np.ndarray,
    thumbnails: Callable[[np.ndarray], np.ndarray],
    orientations: Sequence[tuple[bool, int]],
) -> np.ndarray:
    """Return (p,) agreements of the details of photos at positions (p,) and (p,)."""
    if not len(first):
        return np.empty(0, dtype=np.float32)
    needed, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    found = thumbnails(needed)
    a, b = places[: len(first)], places[len(first) :]
    return agreement(found, a, b, orientations)


def same_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (k,) and (k,) of rows (n, b) uint8 that are equal; rows of zeros are equal to none."""
    known = np.flatnonzero(rows.any(axis=1))
    _, first, inverse = np.unique(rows[known], axis=0, return_index=True, return_inverse=True)
    other = np.flatnonzero(first[inverse.ravel()] != np.arange(len(known)))
    return known[first[inverse.ravel()[other]]], known[other]


def first_of_each(rows: np.ndarray) -> np.ndarray:
    """Return (n,) booleans: whether a row (n, b) uint8 is the first of its kind and not of zeros."""
    found = np.asarray(rows.any(axis=1))
    found[same_rows(rows)[1]] = False
    return found


def seen_before(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return (n,) booleans: which photos show the picture of one of others whose pixels are not at hand.

    Args:
        hashes: (n, 32) of the photos.
        known: (m, 32) of the others.
    """
    found = np.zeros(len(hashes), dtype=bool)
    if len(hashes) and len(known):
        limit = min(SURE, learned_limit(hashes, known))
        for pairs in close_pairs(hashes, known, limit, lambda new, _: ~found[new]):
            found[pairs.first] = True
    return found
