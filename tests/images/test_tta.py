"""Test-time views: by hand with Pillow and torchvision's own crops; and how means are taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from regraft.images import decoding
from regraft.images.decoding import decode, decode_view, decode_views
from regraft.images.preprocess import Preprocess
from regraft.images.tta import MIRRORED, OF_CORNERS, PARTS, PLAIN, TTA, parts_of, tta_in_words

SQUARE = Preprocess(32, 32, 0.875, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RESIZING = 2  # of 255: what torchvision's filters may differ by from Pillow's
EVERY = (PLAIN, MIRRORED, OF_CORNERS)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a picture whose left and right, and whose corners, differ: 90 x 72 pixels."""
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    path = tmp_path / "picture.png"
    small.resize((90, 72), Image.Resampling.BICUBIC).save(path)
    return path


def differences(found: np.ndarray, expected: object) -> int:
    return int(np.abs(found.astype(int) - np.asarray(expected).astype(int)).max())


def test_the_mirrored_view_is_the_mirrored_photo(picture: Path, tmp_path: Path) -> None:
    """72 pixels are resized to 36, 90 to 45: of 45 - 32 = 13 left over an odd one, which goes to the other side."""
    with Image.open(picture) as image:
        square = image.crop((9, 0, 81, 72))
    square.save(tmp_path / "square.png")
    ImageOps.mirror(square).save(tmp_path / "mirrored.png")
    (found,) = decode_views(tmp_path / "square.png", SQUARE, (MIRRORED,))
    assert differences(found, decode(tmp_path / "mirrored.png", SQUARE)) <= 1
    assert differences(found, decode(tmp_path / "square.png", SQUARE)) > 50


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos"])
@pytest.mark.parametrize("crop_pct", [0.75, 0.875, 0.95, 1.0])
def test_corners_are_those_of_torchvisions_five_crops(picture: Path, crop_pct: float, interpolation: str) -> None:
    """Of the network's own resized photo, or of one of 36 pixels (32 / 0.875) where the crop would keep more of it."""
    preprocess = replace(SQUARE, crop_pct=crop_pct, interpolation=interpolation)
    short = {0.75: 42, 0.875: 36, 0.95: 36, 1.0: 36}[crop_pct]
    found = decode_views(picture, preprocess, (OF_CORNERS,))
    with Image.open(picture) as image:
        resized = transforms.resize(image, short, InterpolationMode(interpolation), antialias=True)
    assert min(resized.size) == short
    expected = transforms.five_crop(resized, 32)[:4]
    assert found.shape == (4, 32, 32, 3)
    assert [differences(one, other) <= RESIZING for one, other in zip(found, expected, strict=True)] == [True] * 4
    assert differences(found[0], expected[3]) > 50


def test_all_views_in_order_of_one_decoding(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    genuine = decoding.open_image
    monkeypatch.setattr(decoding, "open_image", lambda source: opened.append(source) or genuine(source))
    found = decode_views(picture, SQUARE, EVERY)
    assert opened == [picture]
    assert found.shape == (6, 32, 32, 3)
    assert np.array_equal(found[0], decode(picture, SQUARE))
    assert np.array_equal(found[1], found[0][:, ::-1])
    assert np.array_equal(found[2:], decode_views(picture, SQUARE, (OF_CORNERS,)))
    del opened[:]
    decode_views(picture, replace(SQUARE, crop_pct=1.0), (PLAIN, MIRRORED))
    assert len(opened) == 1


def test_the_plain_view_is_what_is_decoded_where_corners_need_more(picture: Path) -> None:
    preprocess = replace(SQUARE, crop_pct=1.0)
    assert np.array_equal(decode_views(picture, preprocess, EVERY)[0], decode(picture, preprocess))


@pytest.mark.parametrize("mode", ["squash", "border"])
def test_corners_of_photos_that_are_squashed_or_padded(picture: Path, mode: str) -> None:
    preprocess = replace(SQUARE, crop_mode=mode)
    found = decode_views(picture, preprocess, (PLAIN, OF_CORNERS))
    assert found.shape == (5, 32, 32, 3)
    if mode == "squash":  # to 36 x 36
        with Image.open(picture) as image:
            whole = np.asarray(image.resize((36, 36), Image.Resampling.BICUBIC))
        assert differences(found[1], whole[:32, :32]) <= RESIZING
        assert differences(found[4], whole[4:, 4:]) <= RESIZING


def test_views_have_numbers_of_their_own(picture: Path) -> None:
    numbers = [number for part in EVERY for number in PARTS[part].numbers]
    assert numbers == [0, -1, -2, -3, -4, -5]  # those of training are above 0
    for number, expected in zip(numbers, decode_views(picture, SQUARE, EVERY), strict=True):
        assert np.array_equal(decode_view(picture, SQUARE, number), expected)


def test_means_weigh_every_view_alike() -> None:
    """(1 + 4 * 6) / 5 = 5: the corners' value is the mean of four views."""
    parts = {PLAIN: np.full((2, 3), 1, np.float32), MIRRORED: np.full((2, 3), 4, np.float32)}
    parts[OF_CORNERS] = np.full((2, 3), 6, np.float32)
    assert {tta: row.mean(parts)[0, 0] for tta, row in TTA.items()} == {"none": 1, "flip": 2.5, "crops": 5}
    assert TTA["none"].mean(parts) is parts[PLAIN]  # nothing is copied
    assert TTA["crops"].mean(parts).dtype == np.float32


def test_what_views_cost_and_are() -> None:
    assert {tta: row.count for tta, row in TTA.items()} == {"none": 1, "flip": 2, "crops": 5}
    assert parts_of(*TTA) == EVERY
    assert tta_in_words("flip") == "the mean of 2 views: the photo and its mirror image"
    assert tta_in_words("crops") == "the mean of 5 views: the photo and its four corners"
