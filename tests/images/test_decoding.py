"""The quick path from an encoded image to pixels, against the plain one: `preprocess.pixels(read_image(source))`."""

import contextlib
import functools
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image, ImageCms
from tests.marks import some_slow
from timm.data.transforms import ResizeKeepRatio
from torchvision.transforms import Resize

from regraft.images import augment, loading
from regraft.images import preprocess as preprocess_
from regraft.images.augment import Augmentation
from regraft.images.decoding import decode
from regraft.images.preprocess import CROP_MODES, Preprocess
from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.resizing import INTERPOLATIONS, PILLOW, TORCHVISION, resize_by_pillow, resize_by_torchvision
from regraft.images.sources import Pixels, Source, TableCell
from regraft.images.tta import Place

MEAN, STD = (0.9, 0.2, 0.5), (0.3, 0.2, 0.1)  # black padding would be seen
SQUARE = Preprocess(32, 32, 0.875, "center", "bicubic", MEAN, STD)
RESIZING = 2  # of 255: what torchvision's filters may differ by from Pillow's
REDUCING = 1.0  # of 255, on average over a photo: what decoding at a reduced size may differ by
ORIENTATION = 0x0112


@functools.cache
def natural(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return soft shapes with edges and grain, as photos have them."""
    generator = np.random.default_rng(seed)
    soft = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), 3)
    hard = Image.fromarray(generator.integers(-40, 40, (6, 4), dtype=np.int32), "I").resize((width, height), 0)
    grain = generator.integers(-12, 13, (height, width, 1), dtype=np.int16)
    values = np.asarray(soft, dtype=np.int16) + np.asarray(hard, dtype=np.int16)[:, :, None] + grain
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def differences(source: Source, preprocess: Preprocess) -> dict[str, np.ndarray]:
    """Return (h, w, 3) how far each value of the quick path is from the plain one's, by what resizes."""
    expected = preprocess.pixels(read_image(source))
    by_resizer = {}
    for resizer in (PILLOW, TORCHVISION):
        found = decode(source, preprocess, resizer=resizer)
        assert found.dtype == np.uint8
        assert found.shape == expected.shape == (preprocess.height, preprocess.width, 3)
        by_resizer[resizer] = np.abs(found.astype(int) - expected)
    return by_resizer


def check_same(source: Source, preprocess: Preprocess) -> None:
    """See that Pillow resizes to the same pixels, and torchvision to nearly the same."""
    found = differences(source, preprocess)
    assert not found[PILLOW].any(), preprocess
    assert found[TORCHVISION].max() <= RESIZING, preprocess


def check_reduced(source: Source, preprocess: Preprocess) -> None:
    for resizer, found in differences(source, preprocess).items():
        assert found.mean() < REDUCING, (resizer, preprocess)
        assert np.percentile(found, 99.9) <= 16, (resizer, preprocess)  # nothing is shifted: an edge would be seen


def alpha(image: Image.Image) -> Image.Image:
    ramp = np.linspace(0, 255, image.width).astype(np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(np.tile(ramp, (image.height, 1))))
    return image


def sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def adobe_rgb(image: Image.Image) -> bytes:
    """Return a JPEG whose components are red, green and blue themselves, with a colour profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(image, "JPEG", quality=95, keep_rgb=True, icc_profile=profile)


PHOTO = natural(90, 66)
KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg 4:2:0": lambda: encoded(PHOTO, "JPEG", quality=90, subsampling="4:2:0"),
    "jpeg 4:2:2": lambda: encoded(PHOTO, "JPEG", quality=90, subsampling="4:2:2"),
    "jpeg 4:4:4": lambda: encoded(PHOTO, "JPEG", quality=90, subsampling="4:4:4"),
    "jpeg progressive": lambda: encoded(PHOTO, "JPEG", progressive=True),
    "jpeg grey": lambda: encoded(PHOTO.convert("L"), "JPEG"),
    "jpeg cmyk": lambda: encoded(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg adobe rgb": lambda: adobe_rgb(PHOTO),
    "jpeg poor": lambda: encoded(PHOTO, "JPEG", quality=5),
    "mpo": lambda: encoded(PHOTO, "MPO", save_all=True, append_images=[natural(90, 66, 1)]),
    "png": lambda: encoded(PHOTO, "PNG"),
    "png alpha": lambda: encoded(alpha(PHOTO), "PNG"),
    "png grey alpha": lambda: encoded(alpha(PHOTO).convert("LA"), "PNG"),
    "png palette": lambda: encoded(PHOTO.quantize(16), "PNG"),
    "png palette transparent": lambda: encoded(PHOTO.quantize(16), "PNG", transparency=3),
    "png 16 bit": lambda: encoded(sixteen_bits(PHOTO), "PNG"),
    "png 1 bit": lambda: encoded(PHOTO.convert("1"), "PNG"),
    "gif": lambda: encoded(PHOTO, "GIF"),
    "gif animated": lambda: encoded(PHOTO, "GIF", save_all=True, append_images=[natural(90, 66, 1)]),
    "webp": lambda: encoded(PHOTO, "WEBP"),
    "webp alpha": lambda: encoded(alpha(PHOTO), "WEBP", lossless=True),
    "bmp": lambda: encoded(PHOTO, "BMP"),
    "tiff": lambda: encoded(PHOTO, "TIFF"),
    "tiff deflated": lambda: encoded(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes bytes into a file; what it holds is found by the bytes alone."""

    def write(data: bytes) -> Path:
        path = tmp_path / "photo.jpg"
        path.write_bytes(data)
        return path

    return write


Put = Callable[[bytes], Path]


# --- the same pixels ---


@pytest.mark.parametrize("kind", KINDS)
def test_same_pixels_of_every_kind(put: Put, kind: str) -> None:
    path = put(KINDS[kind]())
    for size, crop_mode in [((32, 32), "center"), ((60, 40), "squash"), ((40, 60), "border"), ((100, 100), "center")]:
        check_same(path, replace(SQUARE, height=size[0], width=size[1], crop_mode=crop_mode))


@pytest.mark.parametrize("kind", ["jpeg 4:2:0", "jpeg grey", "jpeg progressive", "jpeg adobe rgb"])
def test_jpegs_without_resizing_are_pillows_bit_for_bit(put: Put, kind: str) -> None:
    path = put(KINDS[kind]())
    for preprocess in (
        replace(SQUARE, height=66, width=90, crop_pct=1.0, crop_mode="squash"),
        replace(SQUARE, height=40, width=40, crop_pct=40 / 66),
    ):
        assert not any(found.any() for found in differences(path, preprocess).values())


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
def test_same_pixels_by_every_filter_and_crop(put: Put, crop_mode: str, interpolation: str) -> None:
    photo = natural(61, 47)
    path = put(encoded(photo, "JPEG", quality=90))
    for height, width, crop_pct in [(32, 32, 0.875), (24, 40, 1.0), (40, 24, 0.9), (29, 31, 0.8), (90, 90, 1.0)]:
        preprocess = Preprocess(height, width, crop_pct, crop_mode, interpolation, MEAN, STD)
        check_same(path, preprocess)
        check_same(Pixels(photo, "x"), preprocess)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (2, 399), (200, 1), (31, 32), (3, 2), (20, 20)])
def test_same_pixels_of_small_images_and_stripes(put: Put, size: tuple[int, int]) -> None:
    path = put(encoded(natural(*size), "JPEG", quality=90))
    for crop_mode in CROP_MODES:
        for interpolation in ("bilinear", "bicubic", "lanczos"):
            preprocess = replace(SQUARE, crop_mode=crop_mode, interpolation=interpolation)
            check_same(path, preprocess)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
def test_same_pixels_whichever_way_the_photo_was_held(put: Put, kind: str, orientation: int) -> None:
    several = {"save_all": True} if kind == "MPO" else {}
    path = put(encoded(natural(60, 44), kind, exif=turned(orientation), **several))
    for height, width, crop_mode in [(32, 32, "center"), (40, 20, "border"), (20, 40, "border"), (44, 60, "border")]:
        preprocess = replace(SQUARE, height=height, width=width, crop_mode=crop_mode, crop_pct=1.0)
        check_same(path, preprocess)


def test_a_turned_tiff_is_padded_with_the_networks_mean(put: Put) -> None:
    """20 x 40 pixels that are shown as 40 x 20: half of 40 x 20 (width x height 20 x 40) is padding."""
    path = put(encoded(Image.new("RGB", (20, 40)), "TIFF", exif=turned(6)))
    found = decode(path, replace(SQUARE, height=40, width=20, crop_pct=1.0, crop_mode="border"))
    assert np.array_equal(found[0, 0], [230, 51, 128])  # 255 * MEAN, rounded
    assert np.array_equal(found[20, 10], [0, 0, 0])


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_orientations_that_there_are_not_change_nothing(put: Put, orientation: int) -> None:
    plain = decode(put(encoded(PHOTO, "JPEG")), SQUARE)
    assert np.array_equal(decode(put(encoded(PHOTO, "JPEG", exif=turned(orientation))), SQUARE), plain)


def test_same_pixels_of_all_sources(put: Put, parquet: Callable[..., Path]) -> None:
    data = encoded(natural(70, 50), "JPEG", quality=90)
    table = parquet("photos.parquet", [{"bytes": data, "path": None}] * 2, [0, 1])
    expected = SQUARE.pixels(Image.open(io.BytesIO(data)))
    sources = put(data), TableCell(table, "image", 0, 1, "1"), Pixels(Image.open(io.BytesIO(data)), "x")
    for resizer, tolerance in ((PILLOW, 0), (TORCHVISION, RESIZING)):
        found = [decode(source, SQUARE, resizer=resizer) for source in sources]
        assert all(np.abs(pixels.astype(int) - expected).max() <= tolerance for pixels in found)
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


# --- decoding at a reduced size ---


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function from an EXIF orientation to a photo of 12 megapixels; no two of its corners are alike."""
    folder = tmp_path_factory.mktemp("large")
    plain = encoded(natural(4000, 3000, 5), "JPEG", quality=85)

    @functools.cache
    def write(orientation: int) -> Path:
        path = folder / f"{orientation}.jpg"
        exif = b"Exif\x00\x00" + turned(orientation).tobytes().removeprefix(b"Exif\x00\x00")
        segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
        path.write_bytes(plain[:2] + segment + plain[2:])
        return path

    return write


@pytest.mark.parametrize("orientation", some_slow([1, 3, 6], {1, 3}))
def test_reduced_decoding_is_within_its_tolerance(large: Callable[[int], Path], orientation: int) -> None:
    path = large(orientation)
    assert read_image(path).size == ((3000, 4000) if orientation == 6 else (4000, 3000))
    for preprocess in (
        replace(SQUARE, height=224, width=224),
        replace(SQUARE, height=299, width=299, interpolation="bilinear", crop_mode="squash"),
        replace(SQUARE, height=160, width=240, crop_mode="border", crop_pct=1.0),
        replace(SQUARE, height=224, width=224, interpolation="lanczos"),
    ):
        check_reduced(path, preprocess)


def test_reduced_photos_of_other_kinds(put: Put) -> None:
    photo = natural(1200, 904, 2)
    for data in (
        encoded(photo, "JPEG", progressive=True),
        encoded(photo.convert("L"), "JPEG"),
        encoded(photo.convert("CMYK"), "JPEG"),
        adobe_rgb(photo),
        encoded(photo, "MPO", save_all=True, append_images=[natural(90, 66)]),
    ):
        for crop_mode in CROP_MODES:
            check_reduced(put(data), replace(SQUARE, height=96, width=96, crop_mode=crop_mode))


def test_photos_that_cannot_be_reduced_exactly_are_not_shifted(put: Put) -> None:
    """An eighth of 1203 x 901 would be 150.4 x 112.6: rounded up, the photo would be shifted towards an edge."""
    path = put(encoded(natural(1203, 901, 2), "JPEG", quality=90))
    for crop_mode in CROP_MODES:
        check_same(path, replace(SQUARE, crop_mode=crop_mode))


def test_no_black_row_where_a_reduced_photo_would_be_rounded(put: Put) -> None:
    """4001 x 3940 on 32 x 32: 3940 / (4001 / 32) = 31.51 is 32 rows, no padding. At an eighth it is 501 x 493, of which
    493 / (501 / 32) = 31.49 would be 31 rows and one of padding.
    """
    path = put(encoded(Image.new("RGB", (4001, 3940), "white"), "JPEG"))
    preprocess = replace(SQUARE, crop_pct=1.0, crop_mode="border")
    for resizer in (PILLOW, TORCHVISION):
        assert (decode(path, preprocess, resizer=resizer) == 255).all()
        assert (decode(path, replace(preprocess, interpolation="lanczos"), resizer=resizer) == 255).all()


@pytest.mark.parametrize(
    ("side", "read"), [(128, 64), (126, 126), (127, 127), (2048, 256), (264, 66), (258, 129), (300, 75), (301, 301)]
)
def test_what_is_decoded_has_two_pixels_for_each_wanted(
    put: Put, monkeypatch: pytest.MonkeyPatch, side: int, read: int
) -> None:
    """For 32 pixels at least 64 are decoded, an eighth at least, and a whole number: of 258 a half, not a quarter."""
    sizes: list[tuple[int, ...]] = []
    genuine = Preprocess.crops

    def watched(
        self: Preprocess, image: Image.Image | np.ndarray, places: Sequence[Place], **options: str
    ) -> list[np.ndarray]:
        sizes.append(image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1])
        return genuine(self, image, places, **options)

    monkeypatch.setattr(Preprocess, "crops", watched)
    path = put(encoded(Image.new("RGB", (side, side)), "JPEG"))
    for resizer in (PILLOW, TORCHVISION):
        decode(path, replace(SQUARE, crop_pct=1.0), resizer=resizer)
    decode(put(encoded(Image.new("RGB", (side, side)), "JPEG", exif=turned(6))), replace(SQUARE, crop_pct=1.0))
    assert sizes == [(read, read)] * 3


def test_a_callers_image_stays_as_large_as_it_is(put: Put) -> None:
    path = put(encoded(natural(1200, 900), "JPEG"))
    for read in (lambda source: decode(source, SQUARE), lambda source: read_image(source, min_side=100)):
        image = Image.open(path)  # its pixels are not decoded yet
        read(Pixels(image, "x"))
        assert image.size == (1200, 900)


@pytest.mark.parametrize("resizer", [PILLOW, TORCHVISION])
def test_pixels_of_a_caller_are_not_written_to(resizer: str) -> None:
    image = natural(32, 32).copy()
    before = np.array(image)
    found = decode(Pixels(image, "x"), replace(SQUARE, crop_pct=1.0), resizer=resizer)  # nothing is resized
    assert np.array_equal(found, before)
    with contextlib.suppress(ValueError):  # where they cannot be written to
        found[:] = 0
    assert np.array_equal(np.asarray(image), before)


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((800, 600), 300, (400, 300)),
        ((800, 600), 301, (800, 600)),
        ((800, 600), 75, (100, 75)),
        ((800, 600), 1, (100, 75)),
        ((803, 605), 150, (201, 152)),  # a quarter, rounded up
        ((100, 100), 101, (100, 100)),
    ],
)
def test_read_image_keeps_the_least(put: Put, size: tuple[int, int], min_side: int, expected: tuple[int, int]) -> None:
    assert read_image(put(encoded(Image.new("RGB", size), "JPEG")), min_side=min_side).size == expected
    sideways = put(encoded(Image.new("RGB", size), "JPEG", exif=turned(8)))
    assert read_image(sideways, min_side=min_side).size == expected[::-1]
    assert read_image(put(encoded(Image.new("RGB", size), "PNG")), min_side=min_side).size == size


@pytest.mark.parametrize("target", [(32, 32), (20, 50), (64, 24)])
def test_augmentation_keeps_what_its_smallest_crop_needs(
    target: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No crop of a photo with `min_side` pixels a side is enlarged."""
    preprocess = replace(SQUARE, height=target[0], width=target[1])
    augmentation = Augmentation(("crop",))
    min_side = augmentation.min_side(preprocess)
    parts: list[tuple[int, int]] = []

    def watched(image: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
        parts.append(image.size[::-1])
        return resize_by_pillow(image, size, interpolation)

    monkeypatch.setattr(augment, "resize_by_pillow", watched)
    for size in [(min_side, min_side), (min_side, 2 * min_side), (2 * min_side, min_side)]:
        for number in range(1, 60):
            augmentation.view(Image.new("RGB", size), preprocess, key=bytes(32), number=number)
    assert len(parts) > 50
    assert all(height >= target[0] and width >= target[1] for height, width in parts)
    assert min_side <= 4 * max(target)  # and not far more than that: 2 / sqrt(0.375) = 3.3


# --- damage ---


def verdict(read: Callable[[], np.ndarray]) -> str | None:
    try:
        read()
    except UnreadableImageError as error:
        return str(error)
    return None


def check_same_verdict(path: Path, preprocess: Preprocess) -> str | None:
    expected = verdict(lambda: preprocess.pixels(read_image(path)))
    assert verdict(lambda: decode(path, preprocess)) == expected
    if expected is None:
        check_same(path, preprocess)
    return expected


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kind", ["jpeg 4:2:0", "jpeg progressive", "jpeg grey", "mpo", "png", "webp", "gif", "tiff"])
def test_cut_off_files_have_the_same_verdict(put: Put, kind: str) -> None:
    data = KINDS[kind]()
    reasons = {
        check_same_verdict(put(data[:length]), SQUARE) for length in [*range(0, len(data), 97), *range(-4, 0, 1)]
    }
    assert len(reasons) > 1  # some cannot be read


@pytest.mark.parametrize("kind", ["jpeg 4:2:0", "jpeg progressive", "jpeg grey", "jpeg cmyk"])
def test_corrupted_jpegs_have_the_same_verdict(put: Put, kind: str) -> None:
    """Bytes are changed, dropped or put in, in the header too; what Pillow can still read, it reads here too."""
    data, generator = KINDS[kind](), np.random.default_rng(1)
    verdicts: list[str | None] = []
    for _ in range(120):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 4)):
            damaged[place] = generator.integers(0, 256)
        place = int(generator.integers(2, len(data)))
        if generator.random() < 0.3:
            del damaged[place : place + int(generator.integers(1, 40))]
        elif generator.random() < 0.3:
            damaged[place:place] = generator.bytes(5)
        verdicts.append(check_same_verdict(put(bytes(damaged)), SQUARE))
    assert None in verdicts
    assert set(verdicts) - {None}


def test_corrupted_jpegs_that_are_reduced_have_the_same_verdict(put: Put) -> None:
    data = encoded(natural(640, 480), "JPEG")
    generator = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(data)
        for place in generator.integers(600, len(data), 3):
            damaged[place] = generator.integers(0, 256)
        path = put(bytes(damaged[: generator.integers(len(data) // 2, 2 * len(data))]))
        expected = verdict(lambda path=path: SQUARE.pixels(read_image(path)))
        assert verdict(lambda path=path: decode(path, SQUARE)) == expected


def test_what_comes_after_the_photo_does_not_matter(put: Put) -> None:
    data = KINDS["jpeg 4:2:0"]()
    plain = decode(put(data), SQUARE)
    assert np.array_equal(decode(put(data + b"\0" * 50), SQUARE), plain)
    assert np.array_equal(decode(put(data + data), SQUARE), plain)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "not an image, or damaged at its start"),
        (KINDS["jpeg 4:2:0"]()[:900], "the file is cut off (truncated)"),
        (encoded(Image.new("L", (201, 1)), "JPEG"), "201 x 1 pixels: a stripe, not a photo"),
    ],
)
def test_reasons(put: Put, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode(put(data), SQUARE)
    assert str(caught.value) == reason


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"^the file is gone$"):
        decode(tmp_path / "gone.jpg", SQUARE)


def test_no_other_decoder_reads_what_pillow_has_refused(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libjpeg-turbo's own interface the answers are the same: it is quicker, nothing else."""
    path = put(KINDS["jpeg 4:2:0"]())
    quick = decode(path, SQUARE)

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("cannot decode")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    assert np.array_equal(decode(path, SQUARE), quick)


# --- sizes ---


@pytest.mark.parametrize("target", [(32, 32), (224, 224), (299, 299), (40, 24), (29, 31)])
@pytest.mark.parametrize("crop_pct", [0.8, 0.875, 0.95, 1.0])
def test_resized_is_torchvisions_and_timms_own_rule(target: tuple[int, int], crop_pct: float) -> None:
    preprocess = Preprocess(*target, crop_pct, "center", "nearest", MEAN, STD)
    scaled = [int(side / crop_pct) for side in target]
    sizes = [(1, 1), (50, 7), (7, 50), (32, 32), (33, 32), *np.random.default_rng(0).integers(8, 600, (40, 2)).tolist()]
    for height, width in sizes:
        image = Image.new("1", (width, height))
        long_side = ResizeKeepRatio(scaled, interpolation="nearest", longest=1.0)(image)
        short_side = ResizeKeepRatio(scaled, interpolation="nearest", longest=0.0)(image)
        square = Resize(scaled[0], INTERPOLATIONS["nearest"])
        center = square(image) if scaled[0] == scaled[1] else short_side
        for crop_mode, expected in [("center", center.size[::-1]), ("border", long_side.size[::-1])]:
            found = replace(preprocess, crop_mode=crop_mode).resized(height, width)
            assert found == expected, (crop_mode, height, width)
        assert replace(preprocess, crop_mode="squash").resized(height, width) == tuple(scaled)


@pytest.mark.parametrize(
    ("changes", "size", "taken"),
    [
        ({}, (100, 50), True),
        ({"interpolation": "bilinear"}, (100, 50), True),
        ({}, (3, 5), True),  # enlarged
        ({"interpolation": "lanczos"}, (100, 50), False),
        ({"interpolation": "nearest"}, (100, 50), False),
        ({"crop_mode": "border", "crop_pct": 1.0}, (50, 50), True),
        ({"crop_mode": "border", "crop_pct": 1.0}, (100, 50), False),  # there is padding
        ({"crop_mode": "border", "crop_pct": 1.0}, (50, 100), False),
        ({"crop_mode": "border", "crop_pct": 0.5}, (100, 50), True),  # 64 x 32: the crop takes all of the width
    ],
)
def test_torchvision_resizes_where_it_gives_nearly_the_same(
    changes: dict[str, Any], size: tuple[int, int], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def watched(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
        seen.append(pixels.shape[:2])
        return resize_by_torchvision(pixels, size, interpolation)

    monkeypatch.setattr(preprocess_, "resize_by_torchvision", watched)
    image = natural(size[1], size[0])
    preprocess = replace(SQUARE, **changes)
    for given in (image, np.array(image)):
        preprocess.pixels(given)
        assert seen == []
        found = preprocess.pixels(given, resizer=TORCHVISION)
        assert seen == [size] * taken
        assert np.abs(found.astype(int) - preprocess.pixels(image)).max() <= RESIZING
        seen.clear()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_of_an_array_are_those_of_the_image(interpolation: str) -> None:
    preprocess = replace(SQUARE, interpolation=interpolation)
    for size in [(64, 48), (33, 47), (20, 10), (1, 1), (32, 32), (500, 90)]:
        image = natural(*size)
        expected = preprocess.pixels(image)
        assert np.array_equal(preprocess.pixels(np.array(image)), expected)
        found = preprocess.pixels(np.array(image), resizer=TORCHVISION)
        assert np.abs(found.astype(int) - expected).max() <= RESIZING


# --- threads and processes ---


@pytest.mark.slow
def test_decoding_changes_nobodys_threads(put: Put) -> None:
    """The caller keeps its number of threads, one that has not asked PyTorch before too, and so do threads to come."""
    script = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from regraft.images.loading import load_batches\n"
        "from regraft.images.preprocess import Preprocess\n"
        "import torch\n"
        "def in_a_new_thread():\n"
        "    found = []\n"
        "    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    return found[0]\n"
        "before = in_a_new_thread()\n"
        "preprocess = Preprocess(32, 32, 0.875, 'center', 'bicubic', (0.5,) * 3, (0.5,) * 3)\n"
        "(batch,) = load_batches([Path(sys.argv[1])] * 8, preprocess)\n"
        "print(len(batch.pixels), in_a_new_thread() == before, torch.get_num_threads() == before)\n"
    )
    command = [sys.executable, "-c", script, str(put(KINDS["jpeg 4:2:0"]()))]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "True", "True"]


def test_the_threads_that_decode_use_one_processor_each(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def watched(*_: object, **__: str) -> np.ndarray:
        found.append(torch.get_num_threads())
        return np.zeros((32, 32, 3), dtype=np.uint8)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        monkeypatch.setattr(loading, "decode", watched)
        assert len(list(loading.load_batches([put(b"")] * 8, SQUARE, batch_size=4))) == 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert found == [1] * 8


def test_threads_that_decode_the_same_photo_do_not_disturb_each_other(put: Put) -> None:
    photo = natural(300, 200)
    sources: list[Source] = [put(encoded(photo, "JPEG", quality=90)), Pixels(photo, "x")]
    expected = [decode(source, SQUARE) for source in sources]
    wrong: list[int] = []

    def work() -> None:
        for place in [0, 1] * 20:
            if not np.array_equal(decode(sources[place], SQUARE), expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_given_back_is_not_changed_by_the_next(put: Put) -> None:
    first = decode(put(encoded(natural(60, 44), "JPEG")), SQUARE)
    kept = first.copy()
    decode(put(encoded(natural(60, 44, 9), "JPEG")), SQUARE)
    assert np.array_equal(first, kept)
