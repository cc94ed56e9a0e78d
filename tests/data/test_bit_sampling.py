"""Close pairs by samples of bits, beside all pairs by products of signs; bits that are changed are counted by hand."""

from math import log

import numpy as np
import pytest
from tests.fixtures.hashes import signs

from regraft.data import bit_sampling
from regraft.data.bit_sampling import RECALL, close_pairs, is_sampled, log_missed
from regraft.data.near_duplicates import learned_limit, number_pictures, seen_before
from regraft.images.perceptual_hash import BITS, HASH_BYTES, PARITIES, TRANSPOSED

LIMIT = 60
EIGHT = [(down, across, turned) for down in (0, 1) for across in (0, 1) for turned in (0, 1)]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample the bits of few photos, too."""
    monkeypatch.setattr(bit_sampling, "MOST_PAIRS", 0)
    monkeypatch.setattr(bit_sampling, "_PAIRS_PER_PHOTO", 0)


def hashes_of(bits: np.ndarray) -> np.ndarray:
    """Return (n, 32) hashes with these (n, BITS) booleans."""
    return np.packbits(np.pad(bits, ((0, 0), (0, 8 * HASH_BYTES - BITS))), axis=1)


def seen_as(bits: np.ndarray, down: int, across: int, turned: int) -> np.ndarray:
    """Return (BITS,) of a photo that is turned about its diagonal, upside down and mirrored, or some of these."""
    found = bits[TRANSPOSED] if turned else bits.copy()
    for parity, part in enumerate(PARITIES):
        found[part] ^= bool((down * (parity // 2) + across * (parity % 2)) % 2)
    return found


def planted(count: int, pairs: int, most: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, BITS) of independent photos, the last of which are the first ones with k bits changed, and k.

    Of `pairs` for each k from 1 to `most`, in all eight orientations in turn.
    """
    rng = np.random.default_rng(seed)
    bits = rng.random((count, BITS)) < 0.5
    changed = np.repeat(np.arange(1, most + 1), pairs)
    for place, k in enumerate(changed):
        other = bits[place].copy()
        other[rng.choice(BITS, k, replace=False)] ^= True
        bits[count - 1 - place] = seen_as(other, *EIGHT[place % 8])
    return bits, changed


def found_in(hashes: np.ndarray, limit: int) -> dict[tuple[int, int], int]:
    """Return the distances of the pairs that are found."""
    pairs = list(close_pairs(hashes, None, limit, lambda first, _: np.ones(len(first), dtype=bool)))
    parts = [np.stack([one.first, one.second, one.distance], axis=1) for one in pairs]
    return {(i, j): k for i, j, k in np.concatenate([np.empty((0, 3), dtype=int), *parts]).tolist()}


def all_pairs(hashes: np.ndarray, limit: int) -> dict[tuple[int, int], int]:
    """Return the distances of all pairs, from products of signs in the eight orientations."""
    own, best = signs(hashes).astype(np.float32), np.full((len(hashes), len(hashes)), -np.inf, dtype=np.float32)
    for turned in (own, own[:, TRANSPOSED]):
        ee, eo, oe, oo = (own[:, part] @ turned[:, part].T for part in PARITIES)
        best = np.maximum(best, np.maximum(ee + eo + np.abs(oe + oo), ee - eo + np.abs(oe - oo)))
    distance = (BITS - best) / 2
    first, second = np.nonzero(np.triu(distance <= limit, 1))
    return {(int(i), int(j)): int(distance[i, j]) for i, j in zip(first, second, strict=True)}


@pytest.mark.usefixtures("sampled")
def test_pairs_of_each_distance_and_orientation_are_found() -> None:
    """Of pairs that differ in 60 bits, the limit, one in 100 may be missed; fewer of those that differ in fewer."""
    bits, changed = planted(1500, 12, LIMIT)
    expected, found = all_pairs(hashes_of(bits), LIMIT), found_in(hashes_of(bits), LIMIT)
    assert {(place, 1499 - place) for place in range(len(changed))} <= expected.keys()
    assert found.items() <= expected.items()  # each with its distance
    missed = [distance for pair, distance in expected.items() if pair not in found]
    assert all(distance > 50 for distance in missed)
    assert len(missed) <= 4  # of the 120 beyond 50 bits: less than 1 % are expected


@pytest.mark.usefixtures("sampled")
def test_fewer_bits_than_parts_are_found_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,500 photos, and as many turned ones, parts have 13 + 2 bits: 15 bits do not lie in all of 16 parts."""
    monkeypatch.setattr(bit_sampling, "RECALL", 1e-9)
    bits, changed = planted(2500, 64, BITS // 15 - 1)
    found = found_in(hashes_of(bits), BITS // 15 - 1)
    assert [found[place, 2499 - place] for place in range(len(changed))] == changed.tolist()


def test_shares_that_are_missed_follow_from_counting() -> None:
    """Two parts of 123 bits: two bits that differ leave one untouched in 2 C(124, 2) of C(247, 2) ways."""
    assert log_missed(123, 2) == pytest.approx(2 * log(1 - 2 * (124 * 123) / (247 * 246)))
    assert log_missed(123, 1) == -np.inf


def test_the_share_that_is_found_is_the_stated_one() -> None:
    """8,000 ways in which 57 bits may lie: how many leave a part of 23 bits, of the ten of a division, untouched."""
    rng = np.random.default_rng(0)
    numbers = rng.permuted(np.tile(np.arange(BITS), (8000, 1)), axis=1)[:, :57] // 23
    touched = np.stack([(numbers == part).any(axis=1) for part in range(10)], axis=1)
    share = float((~touched).any(axis=1).mean())
    expected = 1 - np.exp(log_missed(23, 57) / 2)
    assert abs(share - expected) < 4 * np.sqrt(expected / 8000)


def test_many_photos_are_sampled_and_fewer_compared_with_all() -> None:
    assert not is_sampled(100_000, None, 55)  # 4,999,950,000 pairs
    assert is_sampled(100_001, None, 55)
    assert is_sampled(10_000, 1_000_000, 40)
    assert not is_sampled(1_000, 10_000_000, 40)  # thousand comparisons of a photo take less time than tables
    assert not is_sampled(1_000_000, None, -1)


@pytest.mark.usefixtures("sampled")
def test_what_is_found_does_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = hashes_of(planted(300, 2, LIMIT)[0])
    parts = []
    for cores in (1, 5):
        monkeypatch.setattr(bit_sampling, "cpu_count", lambda cores=cores: cores)
        pairs = close_pairs(hashes, None, 30, lambda first, _: np.ones(len(first), dtype=bool))
        parts.append([(*one.first, *one.second) for one in pairs])
    assert parts[0] == parts[1]


def numbers_of(bits: np.ndarray, said: list[str] | None = None, done: list[int] | None = None) -> list[int]:
    keys = np.random.default_rng(1).integers(1, 256, (len(bits), 32), dtype=np.uint8)
    told, counted = [] if said is None else said, [] if done is None else done
    found = number_pictures(
        keys,
        hashes_of(bits),
        lambda places: np.zeros((len(places), 64, 64), dtype=np.uint8),
        say=told.append,
        advance=counted.append,
    )
    return found.tolist()


def crowds() -> np.ndarray:
    """Return bits of 200 photos that show nothing, 200 equal ones, 200 frames of a scene that changes, and others.

    From one frame to the next two bits change, so that the first and the last have no more in common than others have.
    """
    rng = np.random.default_rng(3)
    frames = np.tile(rng.random(BITS) < 0.5, (200, 1))
    for place in range(1, 200):
        frames[place] = frames[place - 1]
        frames[place, rng.choice(BITS, 2, replace=False)] ^= True
    same = np.tile(rng.random(BITS) < 0.5, (200, 1))
    return np.concatenate([np.zeros_like(same), same, frames, planted(400, 2, 40, seed=4)[0]])


def test_crowds_are_joined_as_by_all_pairs(request: pytest.FixtureRequest) -> None:
    expected, said, done = numbers_of(crowds()), list[str](), list[int]()
    request.getfixturevalue("sampled")
    assert numbers_of(crowds(), said, done) == expected
    assert (len(set(expected[:200])), len(set(expected[200:400])), len(set(expected[400:600]))) == (200, 1, 1)
    limit = learned_limit(hashes_of(crowds()))
    assert said == [
        "601 photos are too many to compare each with all: those whose perceptual hashes agree in random samples of "
        f"bits are compared, which finds 99% of the pairs that differ in {limit} bits, the most allowed here, and more "
        "of those that differ in fewer"
    ]
    assert (sum(done), min(done) >= 0) == (601, True)


def fixed_camera() -> np.ndarray:
    """Return bits of 1,500 photos that differ from one in 12 bits, two of them pairs that differ in one and three."""
    rng = np.random.default_rng(5)
    bits = np.tile(rng.random(BITS) < 0.5, (1500, 1))
    for row in bits:
        row[rng.choice(BITS, 12, replace=False)] ^= True
    bits[70], bits[90] = bits[1400], bits[1300]
    bits[70, 5] ^= True
    bits[90, [7, 70, 200]] ^= True
    return bits


def test_parts_become_longer_where_all_photos_are_alike(request: pytest.FixtureRequest) -> None:
    expected = numbers_of(fixed_camera())
    assert (expected[70] == expected[1400], expected[90] == expected[1300], len(set(expected))) == (True, True, 1498)
    request.getfixturevalue("sampled")
    assert numbers_of(fixed_camera()) == expected


def test_all_are_compared_where_samples_would_take_longer(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Parts of 14 bits are worth their time, those that photos of a fixed camera need are not."""
    request.getfixturevalue("sampled")
    done: list[int] = []
    worth = bit_sampling._work
    monkeypatch.setattr(
        bit_sampling, "_work", lambda photos, bits, limit: np.inf if bits > 20 else worth(photos, bits, limit)
    )
    hashes = hashes_of(fixed_camera())
    pairs = list(close_pairs(hashes, None, 4, lambda first, _: np.ones(len(first), dtype=bool), done.append))
    found = {(i, j): k for one in pairs for i, j, k in zip(one.first, one.second, one.distance, strict=True)}
    assert found == all_pairs(hashes, 4)
    assert sum(done) == 1500


@pytest.mark.usefixtures("sampled")
def test_photos_of_known_pictures_are_recognised() -> None:
    """The first 160 are changed in 1 to 40 bits; of two new ones that are alike neither is known."""
    bits, changed = planted(1200, 4, 40)
    new, known = hashes_of(bits[600:]), hashes_of(bits[:600])
    new[0], new[1] = new[2], 0
    assert np.flatnonzero(seen_before(new, known)).tolist() == list(range(600 - len(changed), 600))


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize("most", [0, 3])
@pytest.mark.parametrize("crowd", ["new", "known"])
def test_photos_are_recognised_however_many_are_like_them(crowd: str, most: int) -> None:
    """A fixed camera: 200 frames that differ in at most 3 bits from one, on one side, and the one on the other."""
    rng = np.random.default_rng(1)
    bits = rng.random((1600, BITS)) < 0.5
    frames = np.repeat(bits[:1], 200, axis=0)
    for frame in frames[1:]:
        frame[rng.choice(BITS, rng.integers(0, most + 1), replace=False)] ^= True
    sides = [np.concatenate([bits[1:800], frames]), np.concatenate([bits[800:], frames[:1]])]
    new, known = (hashes_of(side) for side in (sides if crowd == "new" else sides[::-1]))
    expected = 200 if crowd == "new" else 1
    assert np.flatnonzero(seen_before(new, known)).tolist() == list(range(len(new) - expected, len(new)))


@pytest.mark.slow
def test_a_hundred_thousand_photos() -> None:
    """100 pairs of each distance: of those at the limit 99 % are found, and all that differ in no more than 40 bits."""
    limit = 54  # what is learned of so many photos whose bits are independent
    bits, changed = planted(100_100, 100, limit)
    hashes = hashes_of(bits)
    assert is_sampled(len(hashes), None, limit)
    found = found_in(hashes, limit)
    lost = changed[[place for place in range(len(changed)) if (place, len(bits) - 1 - place) not in found]]
    assert (lost > 45).all()
    assert (lost == limit).sum() <= 5  # of 100, of which 1 is expected
    assert RECALL == 0.99
