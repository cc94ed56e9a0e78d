"""Mean colours: as the formulas give them."""

import colorsys

import numpy as np
import pytest

from regraft.images.colours import COLOURS, mean_colours


def test_means_of_one_colour_are_those_of_the_colour() -> None:
    pixels = np.broadcast_to(np.array([200, 100, 50], dtype=np.uint8), (1, 4, 6, 3))
    found = dict(zip(COLOURS, mean_colours(pixels)[0].tolist(), strict=True))
    assert found["red"] == pytest.approx(200 / 255)
    assert found["blue"] == pytest.approx(50 / 255)
    assert found["brightness"] == pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255)
    assert found["saturation"] == pytest.approx(150 / 200)


def test_saturation_is_the_mean_of_that_of_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    expected = [np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in one.reshape(-1, 3) / 255]) for one in pixels]
    assert mean_colours(pixels)[:, 1] == pytest.approx(np.array(expected), abs=1e-5)


def test_black_has_no_saturation() -> None:
    assert mean_colours(np.zeros((1, 2, 2, 3), dtype=np.uint8)).tolist() == [[0.0] * 5]
