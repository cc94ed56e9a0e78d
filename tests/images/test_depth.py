"""Photos of more than 8 bits: one picture, stored in every way, is one picture of 8 bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.images.deep import pgm, png, tiff, tiff_of_12_bits

from regraft.data.audit import inspect
from regraft.images import reading as images
from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.value_range import Ranges, choose_ranges

GREY = np.random.default_rng(0).integers(0, 256, (24, 32))
GREY[0, :2] = 0, 255
DARK = GREY // 8  # alone it would be taken for less: the data set decides


def white(values: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    return np.stack([values, np.full_like(values, 65535) if alpha is None else alpha], axis=2)


def rgb(values: np.ndarray, *more: np.ndarray) -> np.ndarray:
    return np.stack([values, values, values, *more], axis=2)


STORED: dict[str, Any] = {  # a function from greys of 8 bits to a file
    "tif 10 in 16": lambda g: tiff((g * 4).astype(np.uint16)),
    "tif 12 in 16": lambda g: tiff((g * 16).astype(np.uint16)),
    "tif 14 in 16": lambda g: tiff((g * 64).astype(np.uint16)),
    "tif 16": lambda g: tiff((g * 257).astype(np.uint16)),
    "tif 8 in 16": lambda g: tiff(g.astype(np.uint16)),
    "tif 12": lambda g: tiff_of_12_bits(g * 16),
    "tif 32": lambda g: tiff((g << 24).astype(np.uint32)),
    "tif 12 in 32": lambda g: tiff((g * 16).astype(np.uint32)),
    "tif CT": lambda g: tiff((g * 12 - 1000).astype(np.int16)),
    "tif signed, none negative": lambda g: tiff((g * 16).astype(np.int16)),
    "tif signed 32": lambda g: tiff((g * 1000 - 50_000).astype(np.int32)),
    "tif signed 8": lambda g: tiff((g - 128).astype(np.int8)),
    "tif float 0..1": lambda g: tiff((g / 255).astype(np.float32)),
    "tif float 0..255": lambda g: tiff(g.astype(np.float32)),
    "tif float 0..4095": lambda g: tiff((g * 16).astype(np.float32)),
    "tif float -1..1": lambda g: tiff((g / 127.5 - 1).astype(np.float32)),
    "tif float 0..2.5": lambda g: tiff((g / 102).astype(np.float32)),
    "tif NaN": lambda g: tiff(np.where(g == 0, np.nan, g / 255).astype(np.float32)),
    "tif lowest float": lambda g: tiff(np.where(g == 0, -3.4e38, g / 255).astype(np.float32)),
    "tif no data": lambda g: tiff(np.where(g == 0, -9999, g / 255).astype(np.float32), tags={42113: ("s", b"-9999")}),
    "tif white is zero, 8": lambda g: tiff((255 - g).astype(np.uint8), white_is_zero=True),
    "tif white is zero, 16": lambda g: tiff((65535 - g * 257).astype(np.uint16), white_is_zero=True),
    "tif white is zero, 12 in 16": lambda g: tiff((4095 - g * 16).astype(np.uint16), white_is_zero=True),
    "tif white is zero, float": lambda g: tiff((1 - g / 255).astype(np.float32), white_is_zero=True),
    "tif MaxSampleValue": lambda g: tiff(np.rint(g / 255 * 3000).astype(np.uint16), tags={281: ("H", 3000)}),
    "tif SMinSampleValue": lambda g: tiff(
        np.rint(g / 255 * 2500 + 500).astype(np.uint16), tags={340: ("H", 500), 341: ("H", 3000)}
    ),
    "tif MaxSampleValue of the type": lambda g: tiff((g * 16).astype(np.uint16), tags={281: ("H", 65535)}),
    "tif colours, 16": lambda g: tiff(rgb(g * 257).astype(np.uint16)),
    "tif colours, 12 in 16": lambda g: tiff(rgb(g * 16).astype(np.uint16)),
    "png 16": lambda g: png(g * 257),
    "png 12 in 16": lambda g: png(g * 16),
    "png sBIT of what is not scaled": lambda g: png(g * 16, significant=(12,)),
    "png sBIT of what is scaled": lambda g: png(g * 257, significant=(8,)),
    "png alpha, 12 in 16": lambda g: png(white(g * 16)),
    "png colours, 16": lambda g: png(rgb(g * 257)),
    "png colours, 12 in 16": lambda g: png(rgb(g * 16)),
    "png colours with alpha, 12 in 16": lambda g: png(rgb(g * 16, np.full_like(g, 65535))),
    "pgm 4095": lambda g: pgm(g * 16 + g // 16, 4095),
    "pgm 65535": lambda g: pgm(g * 257, 65535),
    "pgm 12 in 16": lambda g: pgm(g * 16, 65535),
}


def ranges_of(*files: Path) -> Ranges:
    found = inspect(tuple(files))
    assert not found.unreadable
    return choose_ranges([(files[place], extent) for place, extent in found.extents.items()], say=lambda _: None)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("large", [False, True])
def test_a_picture_is_the_same_in_every_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, *, large: bool
) -> None:
    """Within a level, the dark one too; 4 x 4 equal pixels of a large photo are one."""
    times = 4 if large else 1
    files = []
    for name, greys in (("bright", GREY), ("dark", DARK)):
        values = greys.repeat(times, axis=0).repeat(times, axis=1)
        files.append(tmp_path / f"{name}.{stored.split(maxsplit=1)[0]}")
        files[-1].write_bytes(STORED[stored](values))
    if large:
        monkeypatch.setattr(images, "LARGE", 100)
    ranges = ranges_of(*files)
    for file, greys in zip(files, (GREY, DARK), strict=True):
        found = np.asarray(read_image(file, min_side=24 if large else None, ranges=ranges)).astype(int)
        assert np.abs(found - greys[..., None]).max() <= 1


def test_alpha_keeps_its_sixteen_bits(tmp_path: Path) -> None:
    """0x8000 of 0xffff, half: a black of 12 bits on white is 127."""
    file = tmp_path / "x.png"
    file.write_bytes(png(white(np.array([[0, 4095, 0]]), np.array([[0x8000, 0xFFFF, 0]]))))
    found = np.asarray(read_image(file, ranges=(("uint16", 0.0, 4095.0),)))
    assert np.abs(found[0, :, 0].astype(int) - [127, 255, 255]).max() <= 1


def test_a_photo_of_8_bits_is_not_decoded_for_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "measure", None)
    for kind in ("RGB", "L", "P", "1"):
        Image.new(kind, (8, 8)).save(tmp_path / f"{kind}.png")
    assert not inspect(tuple(tmp_path.iterdir())).extents


def test_damage_is_named_where_the_pixels_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png(GREY * 16)[:600])
    found = inspect((file,))
    assert not found.extents
    assert not found.unreadable
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_image(file)


def test_what_holds_no_measurement_is_black(tmp_path: Path) -> None:
    file = tmp_path / "x.tif"
    file.write_bytes(tiff(np.full((8, 8), np.nan, np.float32)))
    assert not np.asarray(read_image(file, ranges=ranges_of(file))).any()


def test_an_interlaced_png_of_sixteen_bits_for_each_colour_has_the_higher_eight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where libvips reads nothing: 4080 is 0x0ff0, its higher byte 15 stands for 3855 of 4095, 240 of 255."""
    monkeypatch.setattr(images, "read_colours", lambda *_: None)
    file = tmp_path / "x.png"
    file.write_bytes(png(rgb(np.array([[0, 4080]]))))
    assert np.asarray(read_image(file, ranges=(("uint16", 0.0, 4095.0),)))[0, :, 0].tolist() == [0, 240]
