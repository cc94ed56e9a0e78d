"""Agreement of details between two small pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from regraft.images.block_matching import agreement, enlarged

SIDE = 64


def textures(count: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return (count, side, side) noise smoothed over a few pixels: detail between the bounds that are looked at."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]) * SIDE
    spectrum = np.fft.fft2(rng.normal(size=(count, side, side))) * np.exp(-((frequency / 14) ** 2))
    found = np.fft.ifft2(spectrum).real
    return (128 + 40 * found / found.std()).astype(np.float32)


def compared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    count = len(first)
    return agreement(np.concatenate([first, second]), np.arange(count), np.arange(count) + count)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_same_picture_agrees_in_every_orientation(quarter: int, mirrored: bool) -> None:
    picture = textures(3)
    other = np.rot90(picture[:, :, ::-1] if mirrored else picture, quarter, axes=(1, 2))
    assert compared(picture, np.ascontiguousarray(0.5 * other + 30)) == pytest.approx(np.ones(3), abs=1e-4)


def test_other_pictures_do_not_agree() -> None:
    """Not even at the best of all displacements and eight orientations."""
    assert compared(textures(50), textures(50, seed=1)).max() < 0.6


@pytest.mark.parametrize("turned", [False, True])
def test_a_part_of_a_picture_agrees_with_it(turned: bool) -> None:
    """0.8 of the sides, from one corner."""
    large = textures(10, side=80)
    whole, part = large[:, ::1], large[:, 16:, :64]
    found = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in whole])
    assert (compared(part, found) if turned else compared(found, part)).min() > 0.8


def test_a_caption_over_a_part_does_no_harm() -> None:
    picture = textures(10)
    covered = picture.copy()
    covered[:, 50:] = 0
    covered[:, 54:60, ::3] = 255
    assert np.median(compared(picture, covered)) > 0.75


def test_what_is_flat_agrees_with_nothing() -> None:
    flat = np.full((1, SIDE, SIDE), 90, dtype=np.float32)
    assert abs(compared(flat, textures(1))[0]) < 0.1
    assert compared(flat[:0], flat[:0]).shape == (0,)


@pytest.mark.parametrize("side", [64, 71, 80, 128])
def test_pictures_are_enlarged_as_pytorch_does(side: int) -> None:
    pictures = textures(3, side=56)
    exact = torch.from_numpy(pictures)[:, None].double()
    expected = torch.nn.functional.interpolate(exact, (side, side), mode="bicubic")[:, 0]
    assert enlarged(pictures, side) == pytest.approx(expected.numpy(), abs=1e-4)  # rounding of float32, of 255 levels
    assert enlarged(pictures, 56) is pictures


def test_pairs_are_compared_alike_however_many_are_asked_about() -> None:
    """More than are compared at a time; each agrees with itself alone."""
    pictures = textures(7)
    first, second = np.divmod(np.arange(49), 7)
    found = agreement(pictures, first, second)
    assert np.flatnonzero(found > 0.9).tolist() == [8 * place for place in range(7)]
    for place in (0, 1, 40):
        assert agreement(pictures, first[place : place + 1], second[place : place + 1]) == pytest.approx(found[place])
