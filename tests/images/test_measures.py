"""What pictures are like: flat, striped, framed and blurred ones, whose numbers follow by hand."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from tests.fixtures.scenes import scene

from regraft.images.measures import MEASURES, SIDE, column, measure


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), colour, dtype=np.uint8)


def stripes() -> np.ndarray:
    """Return upright stripes of two columns each: 0, 0, 200, 200, ..."""
    picture = flat((0, 0, 0))
    picture[:, 2::4] = picture[:, 3::4] = 200
    return picture


def of(picture: np.ndarray, name: str) -> float:
    return float(column(measure(picture[None]), name)[0])


def numbers(picture: np.ndarray, *names: str) -> list[float]:
    return [of(picture, name) for name in names]


def test_a_flat_picture() -> None:
    picture = flat((200, 60, 20))
    assert of(picture, "brightness") == pytest.approx(0.299 * 200 + 0.587 * 60 + 0.114 * 20, abs=0.51)  # ITU-R BT.601
    assert numbers(picture, "red", "green", "blue") == [200, 60, 20]
    assert of(picture, "contrast") == 0
    assert of(picture, "sharpness") == pytest.approx(np.log(0.1), abs=1e-5)  # no Laplacian and no variance
    for place in ("border", "background"):
        assert of(picture, f"{place}_brightness") == pytest.approx(97.3, abs=1e-2)
        assert numbers(picture, f"{place}_red", f"{place}_blue") == pytest.approx([140, -40], abs=1e-3)
    even = ("border_evenness", "corner_detail", "corner_contrast", "background_contrast", "background_detail")
    assert numbers(picture, *even) == pytest.approx([0] * 5, abs=1e-4)


def test_stripes() -> None:
    picture = stripes()
    assert of(picture, "brightness") == pytest.approx(100)
    assert of(picture, "contrast") == 200
    # each pixel has three equal neighbours and one that differs by 200; the variance is 100 * 100
    assert of(picture, "sharpness") == pytest.approx(np.log(40_000.1 / 10_001), abs=1e-3)
    # 42 columns of a corner: 20 of them and of its 41 steps are bright
    assert of(picture, "corner_detail") == pytest.approx(200 * 20 / 41, abs=1e-3)
    assert of(picture, "corner_contrast") == pytest.approx(200 * np.sqrt(20 / 42 * 22 / 42), abs=1e-2)
    assert of(picture, "background_detail") == pytest.approx(100, abs=1)
    # along the border above and below 100, along the stripe at the left 0 and 200 in turn: 100, too
    assert of(picture, "border_evenness") == pytest.approx(100, abs=0.1)


def test_a_frame_shows_in_the_border() -> None:
    picture = flat((200, 200, 200))
    picture[:4] = picture[-4:] = (90, 60, 30)
    picture[:, :4] = picture[:, -4:] = (90, 60, 30)
    dark = 0.299 * 90 + 0.587 * 60 + 0.114 * 30
    assert numbers(picture, "border_brightness", "border_red", "border_blue") == pytest.approx(
        [dark, 30, -30], abs=1e-2
    )
    assert of(picture, "border_edge") == pytest.approx(200 - dark, abs=1e-2)
    assert of(picture, "border_evenness") == pytest.approx(0, abs=1e-4)
    assert of(flat((200, 200, 200)), "border_edge") == pytest.approx(0, abs=1e-3)


def test_writing_in_one_corner_shows_in_the_corners() -> None:
    picture = flat((128, 128, 128))
    picture[-42:, -42:] = stripes()[:42, :42]
    assert of(picture, "corner_detail") == pytest.approx(200 * 20 / 41, abs=1e-3)
    assert of(picture, "corner_contrast") == pytest.approx(200 * np.sqrt(20 / 42 * 22 / 42), abs=1e-2)
    picture[:] = 128
    picture[100:140, 100:140] = stripes()[:40, :40]  # the middle is neither corner nor background
    assert numbers(picture, "corner_detail", "corner_contrast", "background_detail") == pytest.approx([0, 0, 0])


def test_a_blurred_copy_is_less_sharp_and_a_darker_one_is_not() -> None:
    for seed in range(5):
        image = scene(seed)
        blurred = image.filter(ImageFilter.GaussianBlur(4))
        darker = Image.fromarray((np.asarray(image) // 2).astype(np.uint8))
        sharp, soft, dark = (of(np.asarray(one), "sharpness") for one in (image, blurred, darker))
        assert soft < sharp - 2
        assert abs(dark - sharp) < 0.2


def test_each_picture_of_a_batch_has_a_row() -> None:
    pictures = [np.asarray(scene(0)), stripes(), flat((1, 2, 3))]
    together = measure(np.stack(pictures))
    assert (together.shape, together.dtype) == ((3, len(MEASURES)), np.float32)
    np.testing.assert_array_equal(together, np.concatenate([measure(one[None]) for one in pictures]))
    assert column(together, "blue").tolist()[2] == 3
    nothing = measure(np.empty((0, SIDE, SIDE, 3), dtype=np.uint8))
    assert (nothing.shape, nothing.dtype) == ((0, len(MEASURES)), np.float32)


def test_every_picture_has_numbers() -> None:
    rng = np.random.default_rng(0)
    extremes = [flat((0, 0, 0)), flat((255, 255, 255)), rng.integers(0, 2, (SIDE, SIDE, 3), dtype=np.uint8) * 255]
    assert np.isfinite(measure(np.stack(extremes))).all()
