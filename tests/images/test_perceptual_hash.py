"""Perceptual hashes: the same picture after every edit that keeps it, another one for other pictures."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.fft import dctn
from tests.fixtures.hashes import signs
from tests.fixtures.scenes import saved, scene

from regraft.images.perceptual_hash import (
    BITS,
    PARITIES,
    SIDE,
    TRANSPOSED,
    grey,
    hash_words,
    margin_hashes,
    perceptual_hashes,
    picture_keys,
)


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def bits_apart(first: Image.Image, second: Image.Image) -> int:
    one, other = perceptual_hashes(np.stack([thumbnail(first), thumbnail(second)]))
    return int(np.unpackbits(one ^ other).sum())


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: saved(image, 40),
        lambda image: image.resize((97, 150)),
        lambda image: image.convert("L"),
        lambda image: ImageEnhance.Brightness(image).enhance(0.6),
        lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    ],
    ids=["saved again", "resized", "grey", "darker", "paler"],
)
def test_a_picture_keeps_its_hash(edit: Callable[[Image.Image], Image.Image]) -> None:
    """Of independent pictures half of the bits would differ: 123 of 247."""
    assert max(bits_apart(scene(seed), edit(scene(seed))) for seed in range(5)) <= 12


def test_hashes_of_independent_pictures_differ_in_half_of_their_bits() -> None:
    """Bits are the signs of independent coefficients: binomial, mean BITS / 2, standard deviation sqrt(BITS) / 2."""
    apart = [bits_apart(scene(seed, 128), scene(seed + 100, 128)) for seed in range(40)]
    assert abs(np.mean(apart) - BITS / 2) < 4 * np.sqrt(BITS) / 2 / np.sqrt(40)
    assert min(apart) > BITS / 2 - 5 * np.sqrt(BITS) / 2


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_hash_of_each_orientation_follows_from_one(quarter: int, mirrored: bool) -> None:
    """A flip changes the signs of coefficients of odd rows, or columns; an exchange of axes exchanges them."""
    picture = np.asarray(scene(3, SIDE).convert("RGB"))
    turned = np.rot90(picture[:, ::-1] if mirrored else picture, quarter)
    one, other = signs(perceptual_hashes(np.stack([picture, turned])))
    parity = np.zeros(BITS, dtype=int)
    for number, part in enumerate(PARITIES):
        parity[part] = number
    candidates = [
        (flipped * (-1.0) ** (down * (parity // 2)) * (-1.0) ** (across * (parity % 2)) == one).mean()
        for flipped in (other, other[TRANSPOSED])
        for down in (0, 1)
        for across in (0, 1)
    ]
    assert max(candidates) > 0.99  # a coefficient of nearly 0 may round to either sign
    assert sorted(candidates)[-2] < 0.7


def test_bits_are_signs_of_cosine_coefficients_by_parity() -> None:
    picture = np.asarray(scene(1, SIDE).convert("RGB"))
    found = dctn(picture.astype(float) @ [0.299, 0.587, 0.114], norm="ortho")
    middle = [(u, v) for u in range(SIDE) for v in range(SIDE) if 25 <= u * u + v * v < 324]
    assert len(middle) == BITS
    ordered = sorted(middle, key=lambda pair: (pair[0] % 2, pair[1] % 2, *pair))
    expected = [1.0 if found[pair] >= 0 else -1.0 for pair in ordered]
    assert signs(perceptual_hashes(picture[None]))[0].tolist() == expected
    assert [part.stop - part.start for part in PARITIES] == [
        sum(u % 2 == row and v % 2 == column for u, v in middle) for row in (0, 1) for column in (0, 1)
    ]


def test_what_shows_nothing_has_no_hash() -> None:
    flat = np.full((1, SIDE, SIDE, 3), 200, dtype=np.uint8)
    flat[0, ::7, ::5] += 1
    assert not perceptual_hashes(flat).any()
    assert not hash_words(perceptual_hashes(flat)).any()
    assert perceptual_hashes(flat[:0]).shape == (0, 32)


def test_keys_are_of_pixels() -> None:
    pictures = np.stack([thumbnail(scene(0)), thumbnail(scene(0)), thumbnail(scene(1))])
    keys = picture_keys(pictures)
    assert keys[0].tobytes() == keys[1].tobytes() == hashlib.sha256(pictures[0].tobytes()).digest()
    pictures[1, 5, 5, 2] ^= 1
    assert picture_keys(pictures)[1].tobytes() != keys[1].tobytes()


def test_grey_is_the_luminance() -> None:
    assert np.allclose(
        grey(np.array([[[[255, 0, 0], [0, 255, 0], [10, 20, 30]]]], dtype=np.uint8)), [76.245, 149.685, 18.15]
    )


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (30, 90, 160)])
@pytest.mark.parametrize("sides", [(0, 0, 0, 0), (8, 8, 8, 8), (0, 40, 0, 40), (20, 0, 0, 0)])
def test_a_photo_in_a_frame_has_the_hash_of_what_is_inside(
    colour: tuple[int, int, int], sides: tuple[int, int, int, int]
) -> None:
    """Frames of 3 to 31 % of the sides; one whose rows at the border are half frame, half photo, is one row off."""
    left, top, right, bottom = sides
    photo = scene(4)
    framed = Image.new("RGB", (256 + left + right, 256 + top + bottom), colour)
    framed.paste(photo, (left, top))
    (found,) = margin_hashes(thumbnail(saved(framed, 85))[None])
    if not any(sides):
        assert not found.any()
        return
    (expected,) = perceptual_hashes(thumbnail(photo)[None])
    assert np.unpackbits(found ^ expected).sum() <= 40


def test_a_picture_of_one_colour_has_no_margins() -> None:
    plain = np.full((2, SIDE, SIDE, 3), 128, dtype=np.uint8)
    plain[1, 30:34, 30:34] = 0  # a spot: what is inside is less than half
    assert not margin_hashes(plain).any()


def test_words_of_many_hashes_are_those_of_each() -> None:
    """More than are worked on at a time, 4,096."""
    hashes = np.random.default_rng(0).integers(0, 256, (4200, 32), dtype=np.uint8)
    found = hash_words(hashes)
    for place in (0, 4095, 4096, 4199):
        assert np.array_equal(found[:, :, place], hash_words(hashes[place : place + 1])[:, :, 0])
