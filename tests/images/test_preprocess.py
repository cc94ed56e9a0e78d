"""The evaluation transform against timm's, pixel for pixel."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from regraft.images.preprocess import CROP_MODES, Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQUARE = Preprocess(32, 32, 0.875, "center", "bicubic", MEAN, STD)
# width x height: a photo each way, square, the exact size, smaller than the input, one pixel, stripes, odd sides
SIZES = [(64, 48), (48, 64), (50, 50), (32, 32), (20, 10), (7, 13), (1, 1), (99, 3), (2, 70), (33, 47), (101, 36)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def by_timm(preprocess: Preprocess, image: Image.Image) -> np.ndarray:
    transform = create_transform(
        (3, preprocess.height, preprocess.width),
        is_training=False,
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=preprocess.crop_pct,
        crop_mode=preprocess.crop_mode,
        normalize=False,
    )
    return transform(image).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.8, 0.875, 0.95, 1.0])
@pytest.mark.parametrize("height_width", [(32, 32), (40, 24), (24, 40), (29, 31)])
def test_equal_to_timm(crop_mode: str, interpolation: str, crop_pct: float, height_width: tuple[int, int]) -> None:
    preprocess = Preprocess(*height_width, crop_pct, crop_mode, interpolation, MEAN, STD)
    for size in SIZES:
        found = preprocess.pixels(noise(size))
        assert (found.shape, found.dtype) == ((*height_width, 3), np.uint8)
        assert np.array_equal(found, by_timm(preprocess, noise(size))), f"{size} differs"


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(200, 1), (1, 200), (2, 399)])
def test_equal_to_timm_on_the_longest_stripes_that_are_read(crop_mode: str, size: tuple[int, int]) -> None:
    preprocess = replace(SQUARE, crop_mode=crop_mode)
    assert np.array_equal(preprocess.pixels(noise(size)), by_timm(preprocess, noise(size)))


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("size", [(640, 480), (375, 500), (224, 224), (90, 60), (1000, 40)])
def test_equal_to_timm_at_the_usual_input_size(crop_mode: str, size: tuple[int, int]) -> None:
    preprocess = replace(SQUARE, height=224, width=224, crop_mode=crop_mode)
    assert np.array_equal(preprocess.pixels(noise(size)), by_timm(preprocess, noise(size)))


def test_normalised_values_equal_timms() -> None:
    """What the network is fed: (pixels / 255 - mean) / std of these pixels is timm's whole transform."""
    whole = create_transform((3, 32, 32), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.875)
    fed = (SQUARE.pixels(noise((64, 48))).astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    assert np.allclose(fed.transpose(2, 0, 1), whole(noise((64, 48))).numpy(), rtol=0, atol=1e-6)


def test_an_image_of_the_input_size_is_not_touched() -> None:
    image = noise((32, 32))
    for crop_mode in CROP_MODES:
        preprocess = replace(SQUARE, crop_pct=1.0, crop_mode=crop_mode)
        assert np.array_equal(preprocess.pixels(image), np.asarray(image))


def test_centre_crop_without_resizing() -> None:
    """40 x 40 at 32 / 40 = 0.8: nothing is resized, and 4 pixels go from each side."""
    image = noise((40, 40))
    assert np.array_equal(replace(SQUARE, crop_pct=0.8).pixels(image), np.asarray(image)[4:36, 4:36])


def test_border_fills_with_the_networks_mean() -> None:
    """A white 64 x 32 image becomes 32 x 16; 8 rows above and below are round(255 * mean)."""
    preprocess = replace(SQUARE, crop_pct=1.0, crop_mode="border")
    found = preprocess.pixels(Image.new("RGB", (64, 32), "white"))
    assert (found[8:24] == 255).all()
    for rows in (found[:8], found[24:]):
        assert np.array_equal(rows, np.broadcast_to([124, 116, 104], rows.shape))


def test_squash_keeps_the_whole_image() -> None:
    """Left half red, right half blue: still half and half when 64 x 16 became 32 x 32."""
    image = Image.new("RGB", (64, 16), "red")
    image.paste("blue", (32, 0, 64, 16))
    found = replace(SQUARE, crop_pct=1.0, crop_mode="squash", interpolation="nearest").pixels(image)
    assert (found[:, :16] == (255, 0, 0)).all()
    assert (found[:, 16:] == (0, 0, 255)).all()


@pytest.mark.parametrize("crop_mode", CROP_MODES)
def test_json_round_trip(crop_mode: str) -> None:
    preprocess = replace(SQUARE, height=24, width=40, crop_mode=crop_mode)
    text = json.dumps(preprocess.to_json())
    assert Preprocess.from_json(json.loads(text)) == preprocess
    assert json.loads(text) == {
        "height": 24,
        "width": 40,
        "crop_pct": 0.875,
        "crop_mode": crop_mode,
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


@pytest.mark.parametrize(
    ("crop_mode", "words"), [("center", "centre crop"), ("squash", "squashed"), ("border", "padded")]
)
def test_one_line_for_people(crop_mode: str, words: str) -> None:
    preprocess = replace(SQUARE, height=24, width=40, crop_mode=crop_mode)
    assert str(preprocess) == f"40 x 24 pixels, bicubic, {words} of 87.5%"


def test_a_stripe_is_padded_not_lost() -> None:
    """100 x 1 pixels brought to 36 x 36 keeping the ratio would be 0.36 pixels high: it is one."""
    preprocess = Preprocess(32, 32, 0.875, "border", "bicubic", (0.0,) * 3, (1.0,) * 3)
    pixels = preprocess.pixels(Image.new("RGB", (100, 1), (255, 255, 255)))
    assert pixels.shape == (32, 32, 3)
    assert (pixels.max(axis=(1, 2)) == 255).sum() == 1


def test_ranges_are_in_json_only_where_there_are_some() -> None:
    """Else the keys of caches, and classifiers' files, would change."""
    plain = Preprocess(10, 12, 1.0, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
    assert "ranges" not in plain.to_json()
    deep = replace(plain, ranges=(("int16", -1000.0, 2060.0), ("uint16", 0.0, 4095.0)))
    assert deep.to_json()["ranges"] == {"int16": [-1000.0, 2060.0], "uint16": [0.0, 4095.0]}
    assert Preprocess.from_json(json.loads(json.dumps(deep.to_json()))) == deep
