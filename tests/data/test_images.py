"""Reading one image: upright, RGB, 8 bits; and the reason in words where it cannot be read."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.data import images
from regraft.data.images import MAX_ASPECT_RATIO, UnreadableImageError, look_at, read_image
from regraft.data.sources import Pixels

PixelsOf = Callable[[int], np.ndarray]

ORIENTATION = 0x0112
# What the EXIF standard (2.3, 4.6.4) says of a stored picture's row 0 and column 0, e.g. 6: row 0 is the right-hand
# side and column 0 the top, so that stored[r, c] = upright[c, width - 1 - r].
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def read(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def stored_mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def grey(*values: int) -> list[list[int]]:
    return [[value] * 3 for value in values]


def reason(source: Path | Pixels) -> str:
    """Return why `source` cannot be read, which its header alone must show."""
    with pytest.raises(UnreadableImageError) as of_header:
        look_at(source)
    with pytest.raises(UnreadableImageError) as of_image:
        read_image(source)
    assert str(of_header.value) == str(of_image.value)
    return str(of_image.value)


# --- upright ---


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_every_orientation_gives_the_same_upright_picture(
    tmp_path: Path, pixels: PixelsOf, orientation: int, ending: str
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels(0))))
    path = saved(stored, tmp_path / f"x.{ending}", exif=exif)
    assert np.array_equal(read(path), pixels(0))


def test_orientation_six_of_a_jpeg(tmp_path: Path) -> None:
    """A telephone held upright stores the picture lying on its left side: the stored left becomes the top."""
    lying = np.zeros((16, 32, 3), np.uint8)
    lying[:, :16] = (255, 0, 0)
    lying[:, 16:] = (0, 0, 255)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    found = read(saved(Image.fromarray(lying), tmp_path / "x.jpg", exif=exif, quality=95, subsampling=0))
    assert found.shape == (32, 16, 3)
    assert np.abs(found[:16].astype(int) - (255, 0, 0)).max() < 8
    assert np.abs(found[16:].astype(int) - (0, 0, 255)).max() < 8


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_orientations_that_do_not_exist_are_passed_over(tmp_path: Path, pixels: PixelsOf, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(read(saved(Image.fromarray(pixels(0)), tmp_path / "x.png", exif=exif)), pixels(0))


def test_an_image_in_memory_is_turned_and_itself_left_as_it_was(pixels: PixelsOf) -> None:
    image = Image.fromarray(np.ascontiguousarray(STORED[8](pixels(0))))
    image.getexif()[ORIENTATION] = 8
    before = image.tobytes()
    assert np.array_equal(np.asarray(read_image(Pixels(image, "x"))), pixels(0))
    assert (image.tobytes(), image.getexif()[ORIENTATION]) == (before, 8)


# --- three channels ---


def test_cmyk(tmp_path: Path) -> None:
    inks = np.array([[(0, 0, 0, 0), (0, 255, 255, 0), (255, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 128)]], np.uint8)
    path = saved(Image.fromarray(inks, "CMYK"), tmp_path / "x.tif")
    assert read(path).tolist() == [[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 0], [127, 127, 127]]]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "x.jpg", quality=95)
    assert np.abs(read(path).astype(int) - (255, 0, 0)).max() < 8


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    """alpha 0: white; 255: the colour; 51 = a fifth: 0.2 * 200 + 0.8 * 255 = 244 and 0.2 * 0 + 204 = 204."""
    colours = np.array([[(200, 0, 0, 0), (200, 0, 0, 255), (200, 0, 0, 51)]], np.uint8)
    path = saved(Image.fromarray(colours), tmp_path / "x.png")
    assert read(path).tolist() == [[[255, 255, 255], [200, 0, 0], [244, 204, 204]]]


def test_grey_with_alpha(tmp_path: Path) -> None:
    values = np.array([[(100, 0), (100, 255), (0, 51)]], np.uint8)
    path = saved(Image.fromarray(values, "LA"), tmp_path / "x.png")
    assert read(path).tolist() == [grey(255, 100, 204)]


def palette(*indices: int) -> Image.Image:
    """Return a row of palette colours: 0 red, 1 green, 2 blue."""
    image = Image.new("P", (len(indices), 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata(indices)
    return image


def test_palette(tmp_path: Path) -> None:
    assert read(saved(palette(2, 0, 1), tmp_path / "x.png")).tolist() == [[[0, 0, 255], [255, 0, 0], [0, 255, 0]]]


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_palette_with_one_transparent_colour(tmp_path: Path, ending: str) -> None:
    path = saved(palette(0, 1, 2), tmp_path / f"x.{ending}", transparency=1)
    assert read(path).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


def test_palette_with_an_alpha_for_each_colour(tmp_path: Path) -> None:
    path = saved(palette(0, 1, 2), tmp_path / "x.png", transparency=bytes([255, 0, 51]))
    assert read(path).tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 255]]]


def test_rgb_png_with_one_transparent_colour(tmp_path: Path) -> None:
    colours = np.array([[(10, 20, 30), (10, 20, 31)]], np.uint8)
    path = saved(Image.fromarray(colours), tmp_path / "x.png", transparency=(10, 20, 30))
    assert stored_mode(path) == "RGB"
    assert read(path).tolist() == [[[255, 255, 255], [10, 20, 31]]]


def test_grey_png_with_one_transparent_grey(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[7, 8]], np.uint8)), tmp_path / "x.png", transparency=7)
    assert stored_mode(path) == "L"
    assert read(path).tolist() == [grey(255, 8)]


def test_grey(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[0, 100, 255]], np.uint8)), tmp_path / "x.png")
    assert read(path).tolist() == [grey(0, 100, 255)]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_one_bit(tmp_path: Path, ending: str) -> None:
    path = saved(Image.fromarray(np.array([[True, False, True]])), tmp_path / f"x.{ending}")
    assert stored_mode(path) == "1"
    assert read(path).tolist() == [grey(255, 0, 255)]


# --- eight bits ---


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, ending: str) -> None:
    """65535 = 255 * 257: every 257 is one step; 32768 / 257 = 127.502."""
    values = np.array([[0, 257, 10 * 257, 32768, 65535]], np.uint16)
    path = saved(Image.fromarray(values), tmp_path / f"x.{ending}")
    assert stored_mode(path) == "I;16"
    assert read(path).tolist() == [grey(0, 1, 10, 128, 255)]


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[0, 200]], np.uint16)), tmp_path / "x.png")
    assert read(path).tolist() == [grey(0, 1)]  # 200 / 257 = 0.78


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),  # eight bits in wide integers
        ([0, 257, 65535], [0, 1, 255]),
        ([-5, 257, 100_000], [0, 1, 255]),
    ],
)
def test_integers_of_32_bits(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    path = saved(Image.fromarray(np.array([values], np.int32)), tmp_path / "x.tif")
    assert stored_mode(path) == "I"
    assert read(path).tolist() == [grey(*expected)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),  # shares
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 99.6, 300.0], [0, 100, 255]),
        ([float("nan"), 0.4, 1.0], [0, 102, 255]),
    ],
)
def test_floats(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    path = saved(Image.fromarray(np.array([values], np.float32)), tmp_path / "x.tif")
    assert stored_mode(path) == "F"
    assert read(path).tolist() == [grey(*expected)]


@pytest.mark.parametrize(("ending", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_first_frame_of_an_animation(tmp_path: Path, ending: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue", "lime")]
    path = saved(frames[0], tmp_path / f"x.{ending}", save_all=True, append_images=frames[1:], duration=50, **options)
    with Image.open(path) as stored:
        assert getattr(stored, "n_frames", 1) == 3
    assert np.array_equal(read(path), np.full((3, 4, 3), (255, 0, 0)))


# --- what cannot be read ---


def test_more_pixels_than_allowed(tmp_path: Path, pixels: PixelsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(pixels(0)), tmp_path / "x.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 120)
    assert read(path).shape == (10, 12, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 119)
    assert reason(path) == "12 x 10 pixels: more than 119"


def test_pillows_own_limit_becomes_a_reason(tmp_path: Path, pixels: PixelsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(pixels(0)), tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 59)  # Pillow refuses more than twice as many
    assert reason(path) == "more than 178,956,970 pixels"


@pytest.mark.parametrize("upright", [True, False])
def test_stripes(tmp_path: Path, *, upright: bool) -> None:
    def stripe(length: int) -> Path:
        return saved(Image.new("L", (1, length) if upright else (length, 1)), tmp_path / f"{length}.png")

    assert max(read(stripe(MAX_ASPECT_RATIO)).shape) == MAX_ASPECT_RATIO
    size = "1 x 201" if upright else "201 x 1"
    assert reason(stripe(MAX_ASPECT_RATIO + 1)) == f"{size} pixels: a stripe, not a photo"


def test_truncated_jpeg_passes_the_header_only(tmp_path: Path, pixels: PixelsOf) -> None:
    whole = saved(Image.fromarray(pixels(0)).resize((64, 64)), tmp_path / "whole.jpg").read_bytes()
    path = tmp_path / "x.jpg"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    look_at(path)
    with pytest.raises(UnreadableImageError, match=r"^the file is cut off \(truncated\)$"):
        read_image(path)


def test_truncated_png_passes_the_header_only(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(0)[:100])
    look_at(path)
    with pytest.raises(UnreadableImageError, match=r"^the file is cut off \(truncated\)$"):
        read_image(path)


def test_look_at_decodes_nothing(tmp_path: Path, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Image.Image) -> None:
        raise AssertionError("decoded")

    (tmp_path / "x.png").write_bytes(png(0))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    look_at(tmp_path / "x.png")
    with pytest.raises(AssertionError, match="decoded"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"This is no image.", "not an image, or damaged at its start"),
        (b"\xff\xd8\xff", "not an image, or damaged at its start"),
        (b"\0" * 4096, "not an image, or damaged at its start"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    assert reason(tmp_path / "x.jpg") == expected


def test_the_content_counts_not_the_file_ending(tmp_path: Path, png: Callable[[int], bytes], pixels: PixelsOf) -> None:
    (tmp_path / "x.jpg").write_bytes(png(3))
    assert np.array_equal(read(tmp_path / "x.jpg"), pixels(3))


def test_file_removed(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.jpg") == "the file is gone"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied"), "no permission to read it"),
        (MemoryError(), "too large for this machine's memory"),
        (OSError("bad sector."), "bad sector"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str) -> None:
    def fail(_: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert reason(tmp_path / "x.jpg") == expected


@pytest.mark.parametrize("name", ["x.heic", "X.HEIC", "x.heif"])
def test_heic_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    assert reason(tmp_path / name) == "HEIC images need one more package: pip install 'regraft[heif]'"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, of damaged TIFF tags
def test_damaged_bytes_never_raise_anything_else(
    tmp_path: Path, pixels: PixelsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of seven formats, damaged by seed in one byte of four hundred: an image or a reason, nothing else."""
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)  # a damaged header may announce gigabytes
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    generator = np.random.default_rng(0)
    outcomes: set[str] = set()
    for ending in ("png", "jpeg", "gif", "webp", "tiff", "bmp", "ppm"):
        stream = io.BytesIO()
        Image.fromarray(pixels(0)).save(stream, ending)
        whole = np.frombuffer(stream.getvalue(), np.uint8)
        for _ in range(30):
            damaged = whole.copy()
            places = generator.integers(0, len(whole), max(1, len(whole) // 400))
            damaged[places] = generator.integers(0, 256, len(places))
            (tmp_path / "x").write_bytes(damaged.tobytes())
            try:
                outcomes.add(read_image(tmp_path / "x").mode)
            except UnreadableImageError as error:
                outcomes.add("a reason" if str(error) else "no reason")
    assert outcomes == {"RGB", "a reason"}
