"""The evaluation transform as tensor operations, against Pillow's own resizing and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from regraft.engines.openvino import core, translate
from regraft.exports.filters import FILTERS
from regraft.exports.openvino_format import FLOAT32
from regraft.exports.resizing import NEAREST, Crops, Geometry
from regraft.images.preprocess import Preprocess
from regraft.images.tta import CENTRE, CORNERS

MEAN = (0.485, 0.456, 0.406)
PREPROCESS = Preprocess(24, 24, 0.875, "center", "bicubic", MEAN, (0.2, 0.2, 0.2))
SIZES = ((31, 47), (24, 24), (90, 61), (13, 40), (27, 27))  # larger and smaller, both ways


def photo(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse[::3, ::3]).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth)


class First(nn.Module):
    """The first crop of several."""

    def __init__(self, crops: Crops) -> None:
        super().__init__()
        self.crops = crops

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.crops(pixels)[0]
        return found


def crops(
    preprocess: Preprocess, pixels: np.ndarray, places: tuple[tuple[float, float], ...] = (CENTRE,)
) -> np.ndarray:
    found = Crops(Geometry.of(preprocess), places)(torch.from_numpy(pixels[None].copy()))
    return np.concatenate([crop.permute(0, 2, 3, 1).numpy() for crop in found])


@pytest.mark.parametrize("interpolation", [name for name in FILTERS if name != "box"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_it_is_pillows_transform(interpolation: str, mode: str) -> None:
    preprocess = replace(PREPROCESS, interpolation=interpolation, crop_mode=mode)
    for size in SIZES:
        pixels = photo(*size)
        assert np.array_equal(crops(preprocess, pixels)[0], preprocess.pixels(pixels))


@pytest.mark.parametrize("interpolation", ["box", *NEAREST])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_filters_with_edges_are_pillows_where_no_pixel_lies_on_one(interpolation: str, mode: str) -> None:
    """Where one does, Pillow's sums of fractions decide by their rounding errors."""
    preprocess = replace(PREPROCESS, interpolation=interpolation, crop_mode=mode)
    for size in ((31, 47), (24, 24), (53, 41)):
        pixels = photo(*size)
        assert np.array_equal(crops(preprocess, pixels)[0], preprocess.pixels(pixels))


@pytest.mark.parametrize(("height", "width", "crop_pct"), [(20, 30, 0.9), (30, 21, 1.0), (24, 24, 1.25)])
def test_other_shapes_and_shares(height: int, width: int, crop_pct: float) -> None:
    """With a share above 1 the resized photo is smaller than the crop, and padded with black."""
    preprocess = replace(PREPROCESS, height=height, width=width, crop_pct=crop_pct)
    for size in SIZES:
        pixels = photo(*size)
        assert np.array_equal(crops(preprocess, pixels)[0], preprocess.pixels(pixels))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_openvino_which_has_no_float64_resizes_as_pillow_does(interpolation: str) -> None:
    """Of 0.4 million values each is the same: weights of one bit fewer give 4 to 20 others in 100,000."""
    preprocess = Preprocess(224, 224, 0.875, "center", interpolation, MEAN, MEAN)
    model = translate(First(Crops(Geometry.of(preprocess))), torch.zeros(2, 61, 83, 3, dtype=torch.uint8))
    model.reshape([-1, -1, -1, 3])
    resize = core().compile_model(model, "CPU", FLOAT32)
    for size in ((333, 500), (1201, 803), (180, 240)):
        pixels = photo(*size)
        assert np.array_equal(resize(pixels[None])[0][0].transpose(1, 2, 0), preprocess.pixels(pixels))


def test_very_tall_photos_differ_by_two_at_most() -> None:
    """Pillow 13 resizes them by rows first, and rounds what lies between the two directions."""
    pixels = photo(200, 33)
    assert np.abs(crops(PREPROCESS, pixels)[0] - PREPROCESS.pixels(pixels)).max() <= 2


def test_crops_at_corners() -> None:
    pixels, places = photo(40, 61), (CENTRE, *CORNERS)
    assert np.array_equal(crops(PREPROCESS, pixels, places), np.stack(PREPROCESS.crops(pixels, places)))


def test_two_pixels_become_four_by_hand() -> None:
    """Bilinear: the four lie at -1/4, 1/4, 3/4 and 5/4 between the two, which go on beyond themselves."""
    preprocess = Preprocess(4, 4, 1.0, "squash", "bilinear", MEAN, MEAN)
    pixels = np.array([[[0] * 3, [100] * 3]] * 2, dtype=np.uint8)
    assert crops(preprocess, pixels)[0, 0, :, 0].tolist() == [0.0, 25.0, 75.0, 100.0]


def test_four_pixels_become_their_means_by_hand() -> None:
    preprocess = Preprocess(1, 2, 1.0, "squash", "box", MEAN, MEAN)
    row = np.array([10, 20, 101, 200], dtype=np.uint8)
    pixels = np.repeat(np.stack([row, row])[..., None], 3, axis=2)
    assert crops(preprocess, pixels)[0, 0, :, 0].tolist() == [15.0, 151.0]  # of 150.5 the next


def test_a_photo_of_the_resized_size_stays_as_it_is() -> None:
    pixels = photo(27, 27)  # 24 / 0.875 = 27.4
    assert np.array_equal(crops(PREPROCESS, pixels)[0], pixels[2:26, 2:26])  # 1.5 is rounded to an even number


def test_photos_of_a_batch_do_not_mix() -> None:
    both = np.stack([photo(31, 47), photo(31, 47)[:, ::-1]])
    (found,) = Crops(Geometry.of(PREPROCESS))(torch.from_numpy(both.copy()))
    alone = [crops(PREPROCESS, one)[0] for one in both]
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), np.stack(alone))
