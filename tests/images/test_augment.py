"""Views: reproducible one by one, and augmented in the ways that were asked for."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from regraft.images import augment
from regraft.images.augment import AUGMENTATIONS, DEFAULT_KINDS, KINDS, Augmentation, Kind, Target, kinds_in_words
from regraft.images.preprocess import Preprocess

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def preprocess() -> Preprocess:
    mean = std = (0.5, 0.5, 0.5)
    return Preprocess(40, 48, 1.0, "squash", "bilinear", mean, std)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8))


@pytest.mark.parametrize("kinds", [KINDS, ()])
def test_view_0_is_the_photo_as_it_is_evaluated(
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
    assert 70 <= flipped <= 130  # 200 fair coins: outside in one of 50,000 cases


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


def reference(name: str, image: Image.Image, magnitude: float) -> np.ndarray:
    """Return what torchvision's RandAugment does by its own table of operations."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op

    return np.asarray(_apply_op(image, name, magnitude, InterpolationMode.NEAREST, None))


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_randaugment_does_what_torchvision_does(image: Image.Image, strength: float, sign: float) -> None:
    """Its ranges: 0.3 of shear, 150/331 of a side, 30 degrees, 0.9 of a factor, 4 bits, 255 of a threshold."""
    moves = {"across": 150 / 331 * image.width, "down": 150 / 331 * image.height}
    expected = {
        "identity": ("Identity", 0.0),
        "shear across": ("ShearX", 0.3 * strength * sign),
        "shear down": ("ShearY", 0.3 * strength * sign),
        "shift across": ("TranslateX", round(moves["across"] * strength * sign)),
        "shift down": ("TranslateY", round(moves["down"] * strength * sign)),
        "rotate": ("Rotate", 30 * strength * sign),
        "brightness": ("Brightness", 0.9 * strength * sign),
        "colour": ("Color", 0.9 * strength * sign),
        "contrast": ("Contrast", 0.9 * strength * sign),
        "sharpness": ("Sharpness", 0.9 * strength * sign),
        "posterise": ("Posterize", 8 - round(4 * strength)),
        "solarise": ("Solarize", 255 * (1 - strength)),
        "stretch": ("AutoContrast", 0.0),
        "equalise": ("Equalize", 0.0),
    }
    assert set(expected) == set(augment._RANDAUGMENT)
    for name, (theirs, magnitude) in expected.items():
        found = np.asarray(augment._RANDAUGMENT[name](image, strength, sign))
        assert np.array_equal(found, reference(theirs, image, magnitude)), name


def test_randaugment_changes_most_views_and_no_two_alike(image: Image.Image, preprocess: Preprocess) -> None:
    views = [Augmentation(("randaugment",)).view(image, preprocess, key=KEY, number=n) for n in range(1, 101)]
    plain = preprocess.pixels(image)
    assert sum(np.array_equal(view, plain) for view in views) < 10  # twice the identity of 14 operations: one in 196
    assert len({view.tobytes() for view in views}) > 85


def test_erasing_covers_one_rectangle_of_half_of_the_views(preprocess: Preprocess) -> None:
    grey = Image.fromarray(np.full((50, 60, 3), 77, dtype=np.uint8))
    erased = []
    for number in range(1, 201):
        view = Augmentation(("erase",)).view(grey, preprocess, key=KEY, number=number)
        changed = np.argwhere((view != 77).any(axis=2))
        if len(changed):
            (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
            area = (bottom - top + 1) * (right - left + 1)
            assert len(changed) > 0.95 * area  # noise; a pixel of 77 three times over is one in 16 million
            erased.append(area / (40 * 48))
    assert 70 <= len(erased) <= 130  # 200 fair coins
    assert min(erased) > 0.01
    assert max(erased) < 0.36  # a third, rounded to pixels


def test_smaller_crops_are_asked_for_by_their_area(preprocess: Preprocess) -> None:
    """A picture that gets brighter to the right: the range of a crop's brightness is its share of the width."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (160, 200, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    shares = {}
    for area in (0.5, 0.1):
        made = Augmentation(("crop",), area=area)
        views = [made.view(image, preprocess, key=KEY, number=n).astype(float) for n in range(1, 101)]
        shares[area] = min(np.ptp(view) for view in views) / 199
    assert shares[0.1] < 0.4 < shares[0.5]  # widths: the square root of 0.5 x 3/4 is 0.61; of 0.1 x 3/4 0.27
    assert Augmentation(("crop",), area=0.1).min_side(preprocess) > Augmentation(("crop",)).min_side(preprocess)


# --- the table ---


def test_names_defaults_and_help_come_from_the_table() -> None:
    assert KINDS == ("flip", "vertical-flip", "crop", "colour", "randaugment", "erase")
    assert DEFAULT_KINDS == ("flip", "crop", "colour")
    assert kinds_in_words().startswith("flip (half of the views mirrored), vertical-flip (")
    assert all(f"{name} (" in kinds_in_words() for name in AUGMENTATIONS)


def test_a_new_kind_is_one_row(image: Image.Image, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees what the rows before it gave; what they draw stays as it was."""

    def invert(image: Image.Image, rng: np.random.Generator, _: Target) -> Image.Image:
        return ImageOps.invert(image) if rng.random() < 2 else image

    monkeypatch.setitem(AUGMENTATIONS, "invert", Kind(invert, "a negative"))
    for kinds in [(), KINDS]:
        view = Augmentation(("invert", *kinds)).view(image, preprocess, key=KEY, number=1)
        plain = Augmentation(kinds).view(image, preprocess, key=KEY, number=1)
        assert np.array_equal(view, 255 - plain)
    assert kinds_in_words().endswith(", invert (a negative)")


def test_a_new_kind_may_take_the_place_of_the_evaluation_transform(
    image: Image.Image, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corner(image: Image.Image, _: np.random.Generator, target: Target) -> Image.Image:
        assert image.size == (60, 50)  # the whole photo
        return image.crop((0, 0, target.preprocess.width, target.preprocess.height))

    monkeypatch.setitem(AUGMENTATIONS, "corner", Kind(corner, "the upper left corner", of_photo=True))
    view = Augmentation(("corner",)).view(image, preprocess, key=KEY, number=1)
    assert np.array_equal(view, np.asarray(image)[:40, :48])


def test_the_same_numbers_are_drawn_in_the_same_order(preprocess: Preprocess) -> None:
    """Views of a plain photo, as NumPy's generator draws them: crop, then flips, then colour."""
    grey = Image.fromarray(np.full((50, 60, 3), 100, dtype=np.uint8))
    for number in range(1, 9):
        rng = np.random.default_rng([0, number, int.from_bytes(KEY[:8], "big")])
        while True:  # a crop that fits is found within ten attempts
            area, ratio = 3000 * rng.uniform(0.5, 1.0), np.exp(rng.uniform(*np.log([3 / 4, 4 / 3]))) * 48 / 40
            width, height = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if width <= 60 and height <= 50:
                rng.integers(0, 60 - width + 1), rng.integers(0, 50 - height + 1)
                break
        rng.random(), rng.random()
        brightness = rng.uniform(0.8, 1.2)
        expected = np.uint8(100 * brightness)  # contrast and saturation leave a plain grey as it is
        view = Augmentation(("colour", "vertical-flip", "flip", "crop")).view(grey, preprocess, key=KEY, number=number)
        assert np.abs(view.astype(int) - int(expected)).max() <= 1
