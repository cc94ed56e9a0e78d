"""Pictures: colours by hand, and the geometry of grids."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from regraft.plots.images import as_data, filter_pictures, grid, heat_over, projection_picture

GREY = [128, 128, 128]  # 127.5 rounded to even


def test_a_projection_of_nothing_is_grey() -> None:
    found = projection_picture(np.zeros((3, 5, 7), dtype=np.float32))
    assert found.shape == (5, 7, 3)
    assert found.dtype == np.uint8
    assert (found == 128).all()


def test_a_projection_is_white_and_black_at_its_extremes() -> None:
    values = np.zeros((3, 8, 8), dtype=np.float32)
    values[0, :4], values[1, 4:] = 2e-6, -2e-6  # however small they are
    found = projection_picture(values)
    assert found[0, 0].tolist() == [255, 128, 128]
    assert found[7, 7].tolist() == [128, 0, 128]
    half = projection_picture(np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.5), np.full((4, 4), -0.5)]))
    assert half[2, 2].tolist() == [255, 191, 64]  # 0.75 and 0.25 of 255


def test_one_pixel_alone_is_seen() -> None:
    """It is beyond the percentile that is drawn as full colour, which is 0 here."""
    values = np.zeros((3, 20, 20), dtype=np.float32)
    values[2, 3, 4] = 0.01
    found = projection_picture(values)
    assert found[3, 4].tolist() == [128, 128, 255]
    assert (np.delete(found.reshape(-1, 3), 64, axis=0) == 128).all()


def test_a_few_outliers_do_not_darken_the_rest() -> None:
    values = np.ones((3, 10, 10), dtype=np.float32)
    values[0, 0, 0] = 1000  # one of 300: the 98th percentile is 1
    assert (projection_picture(values) == 255).all()


def test_a_large_projection_is_made_smaller_before_its_contrast_is_set() -> None:
    """Noise of single pixels averages out; what is left of it has full contrast."""
    values = np.random.default_rng(0).normal(0, 1, (3, 448, 224)).astype(np.float32)
    found = projection_picture(values)
    assert found.shape == (112, 56, 3)
    assert (found.min(), found.max()) == (0, 255)
    # of normal deviates, 2 % are beyond the scale at 2.326: the deviation is 127.5 / 2.326 less what is cut off
    assert found.std() == pytest.approx(127.5 / 2.326, rel=0.03)
    assert projection_picture(np.zeros((3, 500, 2)), tile=50).shape == (50, 1, 3)


def plain(height: int, width: int, colour: list[int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (height, width, 3)).copy()


def test_the_geometry_of_a_grid() -> None:
    colours = [[200, 10 * k, 0] for k in range(4)]
    sheet = grid([plain(5, 5, colour) for colour in colours], columns=3, tile=10)
    assert sheet.size == (3 * 10 + 2 * 3, 2 * 10 + 3)
    pixels = np.asarray(sheet.convert("RGBA"))
    for place, colour in enumerate(colours):
        left, upper = place % 3 * 13, place // 3 * 13
        assert (pixels[upper : upper + 10, left : left + 10] == [*colour, 255]).all()
    assert (pixels[:, 10:13, 3] == 0).all()  # gaps and what is missing are transparent
    assert (pixels[10:13, :, 3] == 0).all()
    assert (pixels[13:, 13:, 3] == 0).all()
    assert (pixels[..., 3] > 0).sum() == 4 * 100


def test_a_tile_keeps_its_ratio_and_is_grey_beside_it() -> None:
    (wide,) = (np.asarray(grid([plain(4, 8, [10, 20, 30])], columns=1, tile=16).convert("RGB")),)
    assert wide.shape == (16, 16, 3)
    assert (wide[4:12] == [10, 20, 30]).all()
    assert (wide[:4] == GREY).all()
    assert (wide[12:] == GREY).all()
    tall = np.asarray(grid([plain(40, 10, [10, 20, 30])], columns=1, tile=16).convert("RGB"))
    assert (tall[:, 6:10] == [10, 20, 30]).all()
    assert (np.delete(tall, range(6, 10), axis=1) == GREY).all()
    thin = np.asarray(grid([plain(100, 1, [10, 20, 30])], columns=1, tile=16).convert("RGB"))
    assert (thin != GREY).any(axis=2).sum() == 16  # not even a hundredth is lost


def test_few_pixels_are_enlarged_as_they_are() -> None:
    picture = np.array([[[0, 0, 0], [255, 255, 255]], [[255, 0, 0], [0, 0, 255]]], dtype=np.uint8)
    found = np.asarray(grid([picture], columns=1, tile=12).convert("RGB"))
    assert np.array_equal(found, picture.repeat(6, axis=0).repeat(6, axis=1))


def test_filters_by_hand() -> None:
    weight = np.zeros((2, 3, 2, 2), dtype=np.float32)
    weight[0, 0, 0, 1], weight[0, 1, 1, 0], weight[0, 2, 1, 1] = 0.2, -0.2, 0.1
    first, second = filter_pictures(weight)
    assert first.dtype == np.uint8
    assert first.tolist() == [[GREY, [255, 128, 128]], [[128, 0, 128], [128, 128, 191]]]
    assert second.tolist() == [[GREY, GREY], [GREY, GREY]]  # a filter of zeros


def test_where_there_is_no_heat_the_photo_is_dimmed_grey() -> None:
    photo = np.array([[[30, 60, 90], [255, 255, 255]], [[0, 0, 0], [10, 20, 0]]], dtype=np.uint8)
    for signed in (False, True):
        found = heat_over(photo, np.zeros((2, 2)), signed=signed)
        assert found.dtype == np.uint8
        # 0.7 times the mean of the channels: 42, 178.5 rounded to even, 0, 7
        assert found.tolist() == [[[42] * 3, [178] * 3], [[0] * 3, [7] * 3]]


def test_heat_by_hand() -> None:
    photo = plain(1, 5, [100, 100, 100])  # dimmed: 70
    heat = np.array([[4.0, 1, 0, -1, -4]])
    found = heat_over(photo, heat, signed=True)[0]
    # the largest: a quarter of 70 and three quarters of the palest colour, 252 255 164
    assert found[0].tolist() == [round(17.5 + 0.75 * value) for value in (252, 255, 164)]
    # a quarter of it: 0.75 sqrt(0.25) = 0.375 of the colour at 0.25, 87 16 110
    assert found[1].tolist() == [round(70 + (value - 70) * 0.375) for value in (87, 16, 110)]
    assert found[2].tolist() == [70, 70, 70]
    # below 0: 0.75 / 4 and 0.75 of blue, 33 102 172
    assert found[3].tolist() == [round(70 + (value - 70) * 0.1875) for value in (33, 102, 172)]
    assert found[4].tolist() == [round(70 + (value - 70) * 0.75) for value in (33, 102, 172)]
    unsigned = heat_over(photo, heat)[0]
    assert np.array_equal(unsigned[:3], found[:3])
    assert unsigned[3:].tolist() == [[70, 70, 70]] * 2


def decoded(address: str) -> Image.Image:
    kind, _, data = address.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


def test_an_address_holds_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    exact = decoded(as_data(pixels, kind="png"))
    assert exact.size == (14, 9)
    assert np.array_equal(np.asarray(exact), pixels)
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 64, 3))
    small = decoded(as_data(smooth))
    assert (small.format, small.size) == ("JPEG", (64, 48))
    assert np.abs(np.asarray(small).astype(int) - smooth).max() < 12
    assert np.asarray(decoded(as_data(pixels[:, ::-1], kind="png"))).tolist() == pixels[:, ::-1].tolist()


def test_what_is_transparent_is_kept_as_png_and_grey_as_jpeg() -> None:
    sheet = grid([plain(8, 8, [200, 100, 0])] * 4, columns=3, tile=16)
    exact = decoded(as_data(sheet, kind="png"))
    assert np.array_equal(np.asarray(exact), np.asarray(sheet))
    flat = np.asarray(decoded(as_data(sheet)))
    assert flat.shape == (35, 54, 3)
    assert np.abs(flat[24:, 24:].astype(int) - 128).max() <= 6
    assert np.abs(flat[2:12, 2:12].astype(int) - [200, 100, 0]).max() <= 6
