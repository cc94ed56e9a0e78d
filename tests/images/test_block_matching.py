"""Agreement of details between two small pictures."""

import numpy as np
import pytest

from regraft.images.block_matching import agreement

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
    """Not even where 225 places and 8 orientations are tried for each block."""
    assert compared(textures(50), textures(50, seed=1)).max() < 0.7


def test_a_shifted_picture_agrees() -> None:
    large = textures(10, side=96)
    assert compared(large[:, 10:74, 10:74], large[:, 13:77, 5:69]).min() > 0.75


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
