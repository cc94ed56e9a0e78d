"""Large photos read row by row, against Pillow's reading of the whole."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.images import reading as images
from regraft.images import sources, streaming
from regraft.images.depth import depth_of
from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.streaming import measure_rows, read_reduced
from regraft.images.value_range import FULL, range_of

FACTOR = 4


def blocks(kind: str) -> Image.Image:
    """Return an image of 36 x 48 pixels, each 4 x 4 of them alike, in one of Pillow's modes."""
    small = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    image = Image.fromarray(small.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1))
    grey = np.asarray(image.convert("L"))
    deep: dict[str, Callable[[], np.ndarray]] = {
        "I;16": lambda: grey.astype(np.uint16) * 257,
        "I": lambda: grey.astype(np.int32) * 200,
        "F": lambda: np.where(grey > 250, np.nan, grey / 255).astype(np.float32),
        "F 255": lambda: grey.astype(np.float32),
        "I small": lambda: grey.astype(np.int32),
    }
    if kind in deep:
        return Image.fromarray(deep[kind]())
    if kind in ("RGBA", "LA"):
        image = image.convert(kind.removesuffix("A"))
        image.putalpha(Image.fromarray(grey // 2 + 100))
        return image
    return image.quantize(16) if kind == "P" else image.convert(kind, dither=Image.Dither.NONE)


def stored(image: Image.Image, format_: str, **options: Any) -> tuple[io.BytesIO, Image.Image]:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    stream.seek(0)
    return stream, Image.open(stream)


PNG = ["RGB", "L", "P", "1", "RGBA", "LA", "I;16"]
TIFF = [*PNG, "I", "I small", "F", "F 255"]


@pytest.mark.parametrize(
    ("format_", "kind"),
    [*(("PNG", kind) for kind in PNG), *(("TIFF", kind) for kind in TIFF), ("WEBP", "RGB"), ("WEBP", "RGBA")],
)
def test_each_kind_is_what_pillow_reads_reduced(format_: str, kind: str) -> None:
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    stream, image = stored(blocks(kind), format_, **options)
    depth = depth_of(image)
    span = FULL if depth is None else range_of([found for found in [measure_rows(stream, image, depth)] if found])[0]
    found = read_reduced(stream, image, 9, depth=depth, span=span)
    assert found is not None
    assert (found.mode, found.size) == ("RGB", (9, 12))
    whole = np.asarray(read_image(_file(stream)), dtype=int)
    assert np.abs(np.asarray(found, dtype=int) - whole[2::FACTOR, 2::FACTOR]).max() <= 1


def _file(stream: io.BytesIO) -> Any:
    """Return a source that reads `stream`."""
    return sources.Pixels(Image.open(io.BytesIO(stream.getvalue())), "whole")


def test_pixels_are_means() -> None:
    """Columns of 0 and 100 in turn, 17 of them: 50, and the last pixel stands for the one column that is left."""
    stream, image = stored(Image.fromarray(np.tile(np.array([0, 100], np.uint8), (16, 9))[:, :17]), "PNG")
    found = np.asarray(read_reduced(stream, image, 8))
    assert found.shape == (8, 9, 3)
    assert (found[:, :8] == 50).all()


def test_an_open_file_is_read_like_bytes(tmp_path: Path) -> None:
    stream, image = stored(blocks("RGB"), "PNG")
    (tmp_path / "x.png").write_bytes(stream.getvalue())
    expected = np.asarray(read_reduced(stream, image, 9))
    with (tmp_path / "x.png").open("rb") as file:
        assert np.array_equal(np.asarray(read_reduced(file, Image.open(file), 9)), expected)
        assert not file.closed


@pytest.mark.parametrize(
    ("format_", "kind", "options"),
    [("JPEG", "RGB", {}), ("GIF", "P", {}), ("BMP", "RGB", {}), ("TIFF", "CMYK", {})],
)
def test_pillow_reads_the_others(format_: str, kind: str, options: dict[str, Any]) -> None:
    assert read_reduced(*stored(blocks(kind), format_, **options), 9) is None


def test_nothing_is_reduced_below_what_is_wanted() -> None:
    stream, image = stored(blocks("RGB"), "PNG")
    assert read_reduced(stream, image, 19) is None  # 36 / 19 is less than 2


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_large_photos_are_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x"
    blocks("RGB").save(path, format_, exif=exif, **({"lossless": True} if format_ == "WEBP" else {}))
    whole = np.asarray(read_image(path), dtype=int)
    monkeypatch.setattr(images, "LARGE", 100)
    monkeypatch.setattr(images, "reserve_memory", None)  # Pillow is not asked
    found = np.asarray(read_image(path, min_side=9), dtype=int)
    assert np.abs(found - whole[2::FACTOR, 2::FACTOR]).max() <= 1


def test_tags_behind_the_pixels_of_a_png_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream, _ = stored(blocks("RGB"), "PNG")
    tags = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(tags)) + b"eXIf" + tags + struct.pack(">I", zlib.crc32(b"eXIf" + tags))
    path = tmp_path / "x.png"
    path.write_bytes(stream.getvalue()[:-12] + chunk + stream.getvalue()[-12:])  # before the last chunk, IEND
    assert read_image(path).size == (48, 36)
    monkeypatch.setattr(images, "LARGE", 100)
    assert read_image(path, min_side=9).size == (12, 9)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_a_large_photo_that_is_cut_off_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream, _ = stored(Image.fromarray(noise), format_)
    path = tmp_path / "x"
    path.write_bytes(stream.getvalue()[:6000])
    monkeypatch.setattr(images, "LARGE", 100)
    with pytest.raises(UnreadableImageError):
        read_image(path, min_side=9)


def test_what_libvips_declines_is_read_from_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is read piece by piece: libvips moves the place in it, behind the back of whoever reads on."""
    inks = np.random.default_rng(0).integers(0, 256, (200, 160, 4), dtype=np.uint8)
    path = tmp_path / "x.tif"
    Image.fromarray(inks, "CMYK").save(path)
    monkeypatch.setattr(images, "LARGE", 100)
    expected = np.asarray(read_image(path, min_side=20))
    monkeypatch.setattr(sources, "_MAX_READ_AT_ONCE", 1000)
    found = np.asarray(read_image(path, min_side=20))
    assert np.array_equal(found, expected)
    monkeypatch.setattr(images, "read_reduced", lambda *_, **__: None)
    assert np.array_equal(np.asarray(read_image(path, min_side=20)), expected)


def test_a_tiff_in_one_large_tile_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyvips

    noise = pyvips.Image.new_from_array(np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8))
    for tile, expected in ((64, True), (256, False)):
        data = noise.tiffsave_buffer(tile=True, tile_width=tile, tile_height=tile)
        monkeypatch.setattr(streaming, "_MAX_TILE", 64 * 64)  # bytes of a grey tile
        stream = io.BytesIO(data)
        assert (read_reduced(stream, Image.open(stream), 32) is not None) == expected


@pytest.mark.parametrize(("pages", "expected"), [(3, True), (4, False)])
def test_a_tiff_of_many_pages_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch, pages: int, *, expected: bool) -> None:
    monkeypatch.setattr(streaming, "_MAX_PAGES", 3)
    stream, image = stored(blocks("L"), "TIFF", save_all=True, append_images=[blocks("L")] * (pages - 1))
    assert (read_reduced(stream, image, 9) is not None) == expected


@pytest.mark.parametrize(("options", "expected"), [({}, True), ({"lossless": True}, False)])
def test_a_large_webp_without_loss_is_left_to_pillow(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], *, expected: bool
) -> None:
    monkeypatch.setattr(streaming, "_MAX_LOSSLESS_PIXELS", 100)
    stream, image = stored(blocks("RGB"), "WEBP", **options)
    assert (read_reduced(stream, image, 9) is not None) == expected
