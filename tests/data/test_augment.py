"""Views: reproducible one by one, and different in the ways that were asked for."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from regraft.data.augment import KINDS, Augmentation
from regraft.data.preprocess import Preprocess

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def preprocess() -> Preprocess:
    mean = std = (0.5, 0.5, 0.5)
    return Preprocess(40, 48, 1.0, "squash", "bilinear", mean, std)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8))


@pytest.mark.parametrize("kinds", [KINDS, ()])
def test_view_0_is_the_photo_as_it_is_judged(
    image: Image.Image, preprocess: Preprocess, kinds: tuple[str, ...]
) -> None:
    view = Augmentation(kinds).view(image, preprocess, key=KEY, number=0)
    assert np.array_equal(view, preprocess.pixels(image))


def test_a_view_depends_on_seed_photo_and_number_alone(image: Image.Image, preprocess: Preprocess) -> None:
    def view(seed: int, key: bytes, number: int) -> np.ndarray:
        return Augmentation(seed=seed).view(image, preprocess, key=key, number=number)

    first = view(0, KEY, 1)
    assert first.shape == (40, 48, 3)
    others = [view(1, KEY, 1), view(0, OTHER, 1), view(0, KEY, 2)]
    assert np.array_equal(view(0, KEY, 1), first)  # whatever was drawn in between
    assert all(not np.array_equal(other, first) for other in others)


@pytest.mark.parametrize(("kind", "mirrored"), [("flip", ImageOps.mirror), ("vertical-flip", ImageOps.flip)])
def test_flips_mirror_about_half_of_the_views(
    image: Image.Image, preprocess: Preprocess, kind: str, mirrored: object
) -> None:
    plain = preprocess.pixels(image)
    turned = np.asarray(mirrored(Image.fromarray(plain)))  # type: ignore[operator]
    flipped = 0
    for number in range(1, 201):
        view = Augmentation((kind,)).view(image, preprocess, key=KEY, number=number)
        assert np.array_equal(view, plain) or np.array_equal(view, turned)
        flipped += np.array_equal(view, turned)
    assert 70 <= flipped <= 130  # 200 fair throws: outside in one of 50,000 cases


def test_crops_show_half_of_the_photo_or_more(preprocess: Preprocess) -> None:
    """In a picture whose red and green are a pixel's place, the corners of a view tell what was cut out."""
    across, down = np.meshgrid(np.arange(200), np.arange(160))
    image = Image.fromarray(np.stack([across, down, 0 * down], axis=2).astype(np.uint8))
    areas = []
    for number in range(1, 60):
        view = Augmentation(("crop",)).view(image, preprocess, key=KEY, number=number).astype(float)
        width = (view[20, -1, 0] - view[20, 0, 0]) * 48 / 47  # between the middles of the outer pixels
        height = (view[-1, 20, 1] - view[0, 20, 1]) * 40 / 39
        areas.append(width * height / (200 * 160))
    assert 0.45 < min(areas) < 0.6
    assert 0.8 < max(areas) < 1.05


def test_colour_keeps_shapes_and_changes_values(image: Image.Image, preprocess: Preprocess) -> None:
    plain = preprocess.pixels(image).astype(float)
    view = Augmentation(("colour",)).view(image, preprocess, key=KEY, number=1).astype(float)
    assert not np.array_equal(view, plain)
    assert np.corrcoef(view.ravel(), plain.ravel())[0, 1] > 0.95


def test_a_panorama_of_which_no_such_part_fits_is_shown_whole(preprocess: Preprocess) -> None:
    strip = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 400, 3)).astype(np.uint8))
    view = Augmentation(("crop",)).view(strip, preprocess, key=KEY, number=3)
    assert np.array_equal(view, preprocess.pixels(strip))
