"""Pairs of one picture among all pairs, by distances in bits that are made to order."""

import numpy as np
import pytest
from tests.fixtures.hashes import signs

from regraft.data import close_pairs, near_duplicates
from regraft.data.close_pairs import distances
from regraft.data.near_duplicates import (
    DOUBTFUL,
    SURE,
    Pictures,
    first_of_each,
    learned_limit,
    number_pictures,
    same_rows,
    seen_before,
)
from regraft.images.perceptual_hash import BITS, HASH_BYTES, PARITIES, TRANSPOSED, hash_words


def hashes_of(bits: np.ndarray) -> np.ndarray:
    """Return (n, 32) hashes with these (n, BITS) booleans."""
    return np.packbits(np.pad(bits, ((0, 0), (0, 8 * HASH_BYTES - BITS))), axis=1)


def independent(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, BITS)) < 0.5


def changed(bits: np.ndarray, count: int) -> np.ndarray:
    """Return `bits` (BITS,) with `count` of them changed."""
    found = bits.copy()
    found[:: BITS // count][:count] ^= True
    assert (found != bits).sum() == count
    return found


def keys_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 256, (count, 32), dtype=np.uint8)


def numbered(bits: np.ndarray, *, agree: bool = True, near: bool = True) -> list[int]:
    def thumbnails(positions: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)
        one = rng.normal(size=(64, 64))
        return np.stack([one if agree else rng.normal(size=(64, 64)) for _ in positions]).astype(np.float32)

    found = number_pictures(keys_of(len(bits)), hashes_of(bits), thumbnails, near=near)
    return [found.tolist().index(number) for number in found]  # the first photo of each picture


def test_distances_are_the_least_over_eight_orientations() -> None:
    hashes = hashes_of(independent(2))
    one, other = signs(hashes)
    signed = []
    for bits in (other, other[TRANSPOSED]):
        for down in (1.0, -1.0):
            for across in (1.0, -1.0):
                flipped = bits.copy()
                for number, part in enumerate(PARITIES):
                    flipped[part] *= (down if number // 2 else 1.0) * (across if number % 2 else 1.0)
                signed.append(int((flipped != one).sum()))
    assert distances(hash_words(hashes[:1]), hash_words(hashes[1:])).item() == min(signed)


def test_distances_follow_from_products_of_signs() -> None:
    """Of k bits of which d differ, the product of the signs is k - 2 d: the nearest orientation has the largest sum."""
    first, second = hashes_of(independent(150)), hashes_of(independent(70, seed=1))
    second[:50] = hashes_of(np.stack([changed(row[TRANSPOSED], 9) for row in independent(50)]))
    best = np.full((150, 70), -np.inf)
    for other in (signs(second), signs(second)[:, TRANSPOSED]):
        ee, eo, oe, oo = (signs(first)[:, part] @ other[:, part].T for part in PARITIES)
        best = np.maximum(best, np.maximum(ee + eo + np.abs(oe + oo), ee - eo + np.abs(oe - oo)))
    found = distances(hash_words(first), hash_words(second))
    assert found.dtype == np.uint8
    assert np.array_equal(found, (BITS - best) / 2)


def test_photos_that_show_nothing_are_far_from_all() -> None:
    hashes = hashes_of(independent(3))
    hashes[1] = 0
    found = distances(hash_words(hashes), hash_words(hashes))
    assert (found.diagonal().tolist(), found[1].tolist(), found[:, 1].tolist()) == (
        [0, BITS, 0],
        [BITS] * 3,
        [BITS] * 3,
    )


def test_copies_are_numbered_together_and_through_others() -> None:
    bits = independent(40)
    bits[7] = changed(bits[3], SURE - 1)
    bits[9] = bits[7][TRANSPOSED]  # turned
    expected = list(range(40))
    expected[7] = expected[9] = 3
    assert numbered(bits) == expected


@pytest.mark.parametrize(("agree", "first"), [(True, 3), (False, 7)])
def test_what_is_in_doubt_is_decided_by_pixels(agree: bool, first: int) -> None:
    bits = independent(40)
    bits[7] = changed(bits[3], SURE + 5)
    assert numbered(bits, agree=agree)[7] == first


def test_beyond_doubt_nothing_is_compared() -> None:
    bits = independent(40)
    bits[7] = changed(bits[3], DOUBTFUL + 2)
    assert numbered(bits) == list(range(40))


def test_without_near_duplicates_equal_pixels_alone_count() -> None:
    bits = independent(5)
    bits[4] = bits[0]
    assert numbered(bits, near=False) == list(range(5))
    keys = keys_of(5)
    keys[3] = keys[1]
    found = number_pictures(keys, hashes_of(bits), lambda _: np.empty(0), near=False)
    assert (found[3] == found[1], len(np.unique(found))) == (True, 4)


def test_photos_that_could_not_be_read_or_show_nothing_are_pictures_of_their_own() -> None:
    nothing = np.zeros((4, HASH_BYTES), dtype=np.uint8)
    assert len(np.unique(number_pictures(nothing, nothing, lambda _: np.empty(0)))) == 4


def test_a_set_whose_photos_are_all_alike_has_no_near_duplicates() -> None:
    """A fixed camera: all photos differ from one in 20 bits, so that 20 bits say nothing."""
    rng = np.random.default_rng(0)
    bits = np.tile(independent(1), (60, 1))
    for row in bits:
        row[rng.choice(BITS, 20, replace=False)] ^= True
    assert learned_limit(hashes_of(bits)) < 20
    assert numbered(bits) == list(range(60))


def test_the_limit_lies_below_what_chance_gives() -> None:
    """Least of eight distances of about BITS / 2 with deviation sqrt(BITS) / 2: some 113 +- 5, so 113 - 4.9 * 5."""
    assert learned_limit(hashes_of(independent(200))) in range(60, DOUBTFUL + 1)
    assert learned_limit(hashes_of(independent(5))) == SURE  # ten pairs say nothing
    assert learned_limit(hashes_of(independent(60)), hashes_of(independent(50, seed=1))) in range(60, DOUBTFUL + 1)


def test_many_copies_are_not_taken_for_the_nature_of_a_set() -> None:
    """Six scenes, five photos of each: 60 of 435 pairs are copies."""
    bits = np.repeat(independent(6), 5, axis=0)
    bits = np.stack([changed(row, 1 + place % 5) for place, row in enumerate(bits)])
    assert numbered(bits) == [place // 5 * 5 for place in range(30)]


def test_a_cluster_beyond_the_links_that_are_held_is_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_MOST_LINKS", 20)
    bits = np.concatenate([independent(60), np.stack([changed(independent(1, seed=5)[0], k + 1) for k in range(12)])])
    assert numbered(bits) == [*range(60), *[60] * 12]


def test_doubtful_pairs_beyond_those_that_are_held_are_the_farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve pairs in doubt, found in blocks, more are not held than the four of them that are compared."""
    monkeypatch.setattr(near_duplicates, "_MOST_LINKS", 5)
    monkeypatch.setattr(near_duplicates, "MOST_COMPARED", 4)
    monkeypatch.setattr(close_pairs, "BLOCK", 4)
    bits, compared = independent(60), list[int]()
    for number in range(12):
        bits[59 - number] = changed(bits[number], SURE + 15 - number)

    def thumbnails(positions: np.ndarray) -> np.ndarray:
        compared.extend(positions.tolist())
        return np.zeros((len(positions), 64, 64))

    number_pictures(keys_of(60), hashes_of(bits), thumbnails)
    assert compared == [8, 9, 10, 11, 48, 49, 50, 51]


def test_blocks_meet_at_their_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_pairs, "BLOCK", 7)
    bits = independent(30)
    bits[29], bits[14], bits[13] = changed(bits[0], 3), changed(bits[6], 4), changed(bits[7], 5)
    expected = list(range(30))
    expected[29], expected[14], expected[13] = 0, 6, 7
    done: list[int] = []
    found = number_pictures(keys_of(30), hashes_of(bits), lambda _: np.empty(0), advance=done.append)
    assert [found.tolist().index(number) for number in found] == expected
    assert sum(done) == 30


def test_photos_of_known_pictures_are_recognised() -> None:
    known, new = independent(50), independent(40, seed=1)
    new[5], new[6] = changed(known[49], SURE - 2), changed(known[49], SURE + 4)
    assert np.flatnonzero(seen_before(hashes_of(new), hashes_of(known))).tolist() == [5]
    assert not seen_before(hashes_of(new), hashes_of(known[:0])).any()


def test_rows_that_are_equal() -> None:
    rows = np.array([[1, 2], [0, 0], [3, 4], [1, 2], [0, 0], [1, 2]], dtype=np.uint8)
    first, other = same_rows(rows)
    assert (first.tolist(), other.tolist()) == ([0, 0], [3, 5])
    assert first_of_each(rows).tolist() == [True, False, True, False, False, False]


def test_pictures_are_selected_and_joined() -> None:
    inner = hashes_of(independent(3, seed=9)) * np.array([[0], [1], [0]], dtype=np.uint8)
    one = Pictures(keys_of(3), hashes_of(independent(3)), inner, np.array([0, 1, 0]))
    joined = Pictures.joined([one.select(np.array([2, 0])), one.select(np.array([False, True, False]))])
    assert joined.numbers.tolist() == [0, 0, 1]
    assert np.array_equal(joined.keys, one.keys[[2, 0, 1]])
    assert np.array_equal(joined.hashes, one.hashes[[2, 0, 1]])
    rows, photos = joined.every_hash()
    assert np.array_equal(rows, np.concatenate([joined.hashes, inner[1:2]]))
    assert photos.tolist() == [0, 1, 2, 2]


def test_a_photo_is_known_without_its_margins() -> None:
    """What is inside of the margins of 7 is 3; what is inside of those of 9 is nobody's."""
    bits, inner = independent(40), np.zeros((40, HASH_BYTES), dtype=np.uint8)
    inner[7], inner[9] = hashes_of(np.stack([changed(bits[3], 9), independent(1, seed=8)[0]]))
    found = number_pictures(keys_of(40), hashes_of(bits), lambda _: np.empty(0), inner=inner)
    expected = list(range(40))
    expected[7] = 3
    assert [found.tolist().index(number) for number in found] == expected
