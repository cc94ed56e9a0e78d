"""Where a classifier looks, by hand: a made-up one looks at a single pixel."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from regraft.images.preprocess import Preprocess
from regraft.images.sources import Pixels, Source
from regraft.serve.heatmap import occlusion_map

GREY = (0.5, 0.5, 0.5)
PREPROCESS = Preprocess(32, 32, 1.0, "center", "bicubic", GREY, GREY)
FALL = np.log(4)  # from odds of 4 to 1, 0.8 / 0.2, to even ones


def answers(sources: Sequence[Source]) -> np.ndarray:
    """Return 0.8 for the second of two classes while the first pixel is white, else 0.5."""
    found = []
    for source in sources:
        assert isinstance(source, Pixels)
        white = source.image.getpixel((0, 0)) == (255, 255, 255)
        found.append([0.2, 0.8] if white else [0.5, 0.5])
    return np.array(found)


def photo(width: int, height: int) -> Pixels:
    return Pixels(Image.new("RGB", (width, height), "white"), "white")


def test_the_cells_that_are_covered_with_the_pixel_share_the_fall() -> None:
    """Of the squares (two cells by two) one covers the pixel; the cells inside are in one, two and four squares."""
    found = occlusion_map(photo(32, 32), 1, answers, PREPROCESS)
    expected = np.zeros((8, 8))
    expected[:2, :2] = FALL * np.array([[1, 1 / 2], [1 / 2, 1 / 4]])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_for_the_other_class_it_speaks_against() -> None:
    found = occlusion_map(photo(32, 32), 0, answers, PREPROCESS)
    assert found[0, 0] == pytest.approx(-np.log(4))
    assert found.min() == found[0, 0]


@pytest.mark.parametrize(
    ("size", "shape"),
    [((64, 32), (8, 16)), ((32, 48), (12, 8)), ((320, 32), (8, 16)), ((200, 100), (8, 16)), ((3, 3), (8, 8))],
)
def test_photos_that_are_not_square_have_more_cells_along_the_longer_side(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    """16 cells at most; 200 x 100 pixels are made smaller, 3 x 3 larger, before anything is covered."""
    assert occlusion_map(photo(*size), 1, answers, PREPROCESS).shape == shape
