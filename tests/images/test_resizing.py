"""What resizes: Pillow, or torchvision where there are many photos."""

import sys

import numpy as np
import pytest
from PIL import Image
from tests.fixtures.scenes import saved, scene
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from regraft.images.preprocess import Preprocess
from regraft.images.resizing import (
    INTERPOLATIONS,
    PILLOW,
    TENSOR_FILTERS,
    TORCHVISION,
    prepare,
    resize_by_pillow,
    resize_by_torchvision,
    resizer_for,
)
from regraft.runtime import MANY_PHOTOS

MEAN, STD = (0.5,) * 3, (0.2,) * 3


@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_many_photos_are_worth_torchvision(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [resizer_for(count) for count in (0, 1, MANY_PHOTOS - 1)] == [PILLOW] * 3
    assert [resizer_for(count) for count in (MANY_PHOTOS, 10**6)] == [TORCHVISION] * 2
    monkeypatch.setitem(sys.modules, missing, None)
    assert resizer_for(10**6) == PILLOW


def test_pillow_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "torchvision", "torchvision.transforms", "torchvision.transforms.v2"):
        monkeypatch.setitem(sys.modules, name, None)
    prepare(PILLOW)
    assert resize_by_pillow(scene(0), (7, 9), "bicubic").size == (9, 7)
    with pytest.raises(ImportError):
        prepare(TORCHVISION)


def test_interpolations_are_torchvisions() -> None:
    assert set(INTERPOLATIONS) == {mode.value for mode in InterpolationMode}


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
def test_pillow_resizes_as_torchvision_resizes_images_of_pillow(interpolation: str) -> None:
    """By which networks were trained and published."""
    image = scene(1)
    for height, width in [(64, 64), (31, 57), (400, 300), (256, 256)]:
        expected = transforms.resize(image, [height, width], InterpolationMode(interpolation))
        assert np.array_equal(resize_by_pillow(image, (height, width), interpolation), expected)


@pytest.mark.parametrize("interpolation", TENSOR_FILTERS)
def test_torchvision_resizes_photos_to_nearly_the_same(interpolation: str) -> None:
    """Within 2 of 255, and most values are equal."""
    for seed, (height, width) in enumerate([(64, 64), (31, 57), (224, 224), (299, 300)]):
        image = saved(scene(seed), 90).convert("RGB")
        expected = np.asarray(resize_by_pillow(image, (height, width), interpolation)).astype(int)
        found = resize_by_torchvision(np.array(image), (height, width), interpolation)
        assert (found.dtype, found.shape) == (np.uint8, (height, width, 3))
        assert np.abs(found - expected).max() <= 2
        assert (found == expected).mean() > 0.7


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_networks_pixels_are_nearly_the_same(crop_mode: str) -> None:
    preprocess = Preprocess(96, 80, 0.875, crop_mode, "bicubic", MEAN, STD)
    for seed in range(3):
        image = saved(scene(seed), 80).convert("RGB").crop((0, 0, 200, 250))
        expected = preprocess.pixels(image).astype(int)
        assert np.abs(preprocess.pixels(image, resizer=TORCHVISION) - expected).max() <= 2


def test_what_has_the_size_stays_as_it_is() -> None:
    image = Image.new("RGB", (9, 7), "red")
    assert resize_by_pillow(image, (7, 9), "bicubic") is image
