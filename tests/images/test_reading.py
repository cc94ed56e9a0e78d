"""Reading one image: upright, RGB, 8 bits; and the reason in words where it cannot be read."""

import contextlib
import errno
import hashlib
import io
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.images import depth, sources
from regraft.images import reading as images
from regraft.images.reading import MAX_ASPECT_RATIO, UnreadableImageError, look_at, read_image
from regraft.images.sources import Pixels

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


def test_black_and_white_of_sixteen_bits_may_be_known(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[0, 200]], np.uint16)), tmp_path / "x.png")
    assert read(path).tolist() == [grey(0, 200)]  # alone: eight bits hold it
    found = read_image(path, ranges=(("uint16", 0.0, 65535.0),))
    assert np.asarray(found).tolist() == [grey(0, 1)]  # 200 / 257 = 0.78


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),  # eight bits in wide integers
        ([0, 257, 65535], [0, 1, 255]),
        ([-5, 257, 100_000], [0, 1, 255]),  # 262 of 100,005 are 0.67 of 255
        ([0, 16, 4095], [0, 1, 255]),
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
        ([-1.0, 99.6, 300.0], [0, 85, 255]),  # 100.6 of 301 are 85.2 of 255
        ([0.0, 1.25, 2.5], [0, 128, 255]),
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
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sources, "open_file", fail)  # what the disk says cannot be staged otherwise
    assert reason(tmp_path / "x.jpg") == expected


@pytest.mark.parametrize("name", ["x.heic", "X.HEIC", "x.heif", "x.jpg"])
def test_heic_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(images, "decoders", lambda: ("JPEG", "PNG", "AVIF"))  # as where pillow_heif is missing
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert reason(tmp_path / name) == "HEIC images need one more package: pip install 'regraft[heif]'"


@pytest.mark.parametrize("name", ["x.heic", "x.jpg", "x.png"])
def test_heic_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    stored = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    found = read(saved(stored, tmp_path / name, format="HEIF", quality=95))
    assert np.abs(found.astype(int) - np.asarray(stored)).mean() < 3


@pytest.mark.parametrize("name", ["x.heic", "x.avif", "x.tga"])
def test_a_jpeg_is_known_by_its_content(tmp_path: Path, pixels: PixelsOf, name: str) -> None:
    stored = Image.fromarray(pixels(0))
    path = saved(stored, tmp_path / name, format="JPEG", quality=95)
    with Image.open(path) as plain:
        assert np.array_equal(read(path), np.asarray(plain))


# --- what may be opened ---


@pytest.mark.parametrize("name", ["x.jpg", "x.eps", "x.tif"])
def test_postscript_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n")
    assert reason(tmp_path / name) == "not an image, or damaged at its start"


@pytest.mark.parametrize("ending", ["EPS", "PDF", "ICO", "PCX", "SGI", "DDS", "MSP", "XBM", "QOI", "ICNS", "PSD"])
def test_other_formats_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "x.jpg"
    if ending == "PSD":  # Pillow does not write it
        path.write_bytes(b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 32, 32, 8, 3) + bytes(4000))
    else:
        Image.new("1" if ending in ("MSP", "XBM") else "RGB", (32, 32)).save(path, format=ending)
    assert reason(path) == "not an image, or damaged at its start"


@pytest.fixture
def special(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes something that is named like a photo and is no ordinary file."""

    def make(kind: str) -> Path:
        path = tmp_path / "x.jpg"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(tmp_path):
                server.bind("x.jpg")
        elif kind == "folder":
            path.mkdir()
        elif kind == "sparse":
            with path.open("wb") as stream:
                stream.truncate(20 << 30)
        else:
            path.symlink_to(kind)
        return path

    return make


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pipe", "not a regular file but a pipe"),
        ("socket", "not a regular file but a socket"),
        ("folder", "not a regular file but a folder"),
        ("/dev/zero", "not a regular file but a device"),
        ("/dev/tty", "not a regular file but a device"),
        ("nowhere.jpg", "the file is gone"),
    ],
)
def test_special_files_are_named_at_once(special: Callable[[str], Path], kind: str, expected: str) -> None:
    assert reason(special(kind)) == expected


def test_a_link_to_the_standard_input_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("/dev/stdin")
    path = str(tmp_path / "x.jpg")
    code = f"from regraft.images.reading import look_at; from pathlib import Path; look_at(Path({path!r}))"
    reader, writer = os.pipe()  # stays open: whoever read it would wait for ever
    command = [sys.executable, "-c", code, str(tmp_path / "x.jpg")]
    done = subprocess.run(command, stdin=reader, capture_output=True, text=True, timeout=60, check=False)
    os.close(reader)
    os.close(writer)
    assert "not a regular file but a pipe" in done.stderr


def test_a_file_of_twenty_gigabytes_is_not_read(special: Callable[[str], Path]) -> None:
    with pytest.raises(UnreadableImageError, match=r"^21\.5 GB, and at most 1 GB are read$"):
        look_at(special("sparse"))


def test_the_largest_size_can_be_chosen(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(0))
    size = path.stat().st_size
    assert look_at(path, limit=size)[:2] == (hashlib.sha256(png(0)).digest(), None)
    with pytest.raises(UnreadableImageError, match=f"^{size} bytes, and at most {size - 1} bytes are read$"):
        look_at(path, limit=size - 1)


# --- large images ---


@pytest.fixture
def by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have large images read by Pillow, as those are that libvips does not stream."""
    monkeypatch.setattr(images, "read_reduced", lambda *_, **__: None)


@pytest.mark.parametrize("kind", ["RGB", "L", "P", "RGBA", "I;16", "I", "F"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_images_are_reduced_to_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pillow: None, kind: str, orientation: int
) -> None:
    """Blocks of 4 x 4 equal pixels: their means are what reading the whole image gives for one of each block."""
    small = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    image = Image.fromarray(small.repeat(4, axis=0).repeat(4, axis=1))
    if kind in ("I;16", "I", "F"):
        values = np.asarray(image.convert("L"))
        image = {
            "I;16": lambda: Image.fromarray(values.astype(np.uint16) * 257),
            "I": lambda: Image.fromarray(values.astype(np.int32)),
            "F": lambda: Image.fromarray(values.astype(np.float32) / 255),
        }[kind]()
    elif kind == "RGBA":
        image.putalpha(Image.fromarray((values := np.asarray(image.convert("L"))) // 2 + 100))
    else:
        image = image.convert(kind) if kind != "P" else image.quantize(16)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(image, tmp_path / "x.tif", exif=exif)
    whole = read(path)
    monkeypatch.setattr(images, "LARGE", 100)
    monkeypatch.setattr(depth, "STRIP_PIXELS", 200)  # several strips
    found = np.asarray(read_image(path, min_side=9))
    assert found.shape == ((9, 12, 3) if orientation == 6 else (12, 9, 3))
    assert np.abs(found.astype(int) - whole[2::4, 2::4]).max() <= 1


def test_the_mean_is_over_the_whole_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pillow: None) -> None:
    """Columns of 0 and 100 in turn: 50; the last block holds what is left."""
    values = np.tile(np.array([0, 100], np.uint8), (20, 9))[:, :17]
    path = saved(Image.fromarray(values), tmp_path / "x.png")
    monkeypatch.setattr(images, "LARGE", 100)
    found = np.asarray(read_image(path, min_side=8))
    assert found.shape == (10, 9, 3)
    assert (found[:, :8] == 50).all()
    assert (found[:, 8] == 0).all()


def test_what_takes_too_much_memory_is_refused_with_its_size(
    tmp_path: Path, pixels: PixelsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.fromarray(pixels(0)), tmp_path / "x.webp")
    monkeypatch.setattr(images, "_MAX_MEMORY", 12 * 10 * 23 - 1)  # Pillow's four, libwebp's twelve, RGB and array
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path)
    assert str(caught.value) == (
        "12 x 10 pixels: a WEBP of this size takes 2.8 kB of memory to read, and at most 2.8 kB are used. "
        "Save it smaller"
    )


def test_a_transparent_image_is_no_reason_to_refuse_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid on white it takes more, which is reserved for it."""
    path = saved(Image.new("RGBA", (12, 10), (200, 0, 0, 51)), tmp_path / "x.png")
    monkeypatch.setattr(images, "_MAX_MEMORY", 12 * 10 * (4 + 7))
    assert read(path)[0, 0].tolist() == [244, 204, 204]


# --- files that take long ---


def test_a_progressive_jpeg_of_thousands_of_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("RGB", (64, 64), (1, 2, 3)), tmp_path / "x.jpg", progressive=True)
    scans = path.read_bytes().count(b"\xff\xda")
    assert scans > 5
    monkeypatch.setattr(images, "_MAX_SCANNED_PIXELS", scans * 64 * 64)
    assert read(path).shape == (64, 64, 3)
    monkeypatch.setattr(images, "_MAX_SCANNED_PIXELS", scans * 64 * 64 - 1)
    assert reason(path) == f"a progressive JPEG of {scans} scans takes too long to read. Save it again"


@pytest.mark.parametrize(
    ("name", "start"), [("x.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(9)), ("x.ppm", b"P6 #")]
)
def test_a_header_that_is_looked_for_byte_by_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: bytes
) -> None:
    """A sparse file of 200 MB, through which Pillow goes in steps of one byte."""
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(200_000_000)
    monkeypatch.setattr(images, "_SECONDS_TO_OPEN", 0.5)
    started = time.monotonic()
    assert reason(path) == "reading it takes longer than 0.5 seconds"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("start", "most"), [(b"RIFF\0\0\0\0WEBPVP8 ", 300_000_000), (b"P3 9 9 255 ", 1 << 24), (b"\x89PNG", 300_000_000)]
)
def test_what_is_read_at_once_has_a_size_of_its_own(tmp_path: Path, start: bytes, most: int) -> None:
    path = tmp_path / "x"
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(most + 1)
    with pytest.raises(UnreadableImageError, match=r"and at most (300|16\.8) MB|bytes of its kind are read"):
        look_at(path)


def test_what_ails_the_machine_is_not_the_photos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "x.png")

    monkeypatch.setattr(sources, "open_file", exhausted)  # what the system says cannot be staged otherwise
    with pytest.raises(OSError, match="Too many open files"):
        look_at(tmp_path / "x.png")


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
