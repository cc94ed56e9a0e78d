"""What a photo's file says besides its pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from regraft.images.headers import Header, header_of
from regraft.images.reading import look_at
from regraft.images.sources import Pixels


def photo(width: int = 8, height: int = 6) -> Image.Image:
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3))


def exif(**tags: object) -> Image.Exif:
    found = Image.Exif()
    for name, value in tags.items():
        if name.startswith("DateTime"):
            found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = value
        else:
            found[ExifTags.Base[name]] = value
    return found


def test_a_header_says_size_format_camera_and_time(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    tags = exif(Make="Canon\0", Model="EOS 70D ", Orientation=6, DateTimeOriginal="1970:01:02 00:00:05")
    photo().save(path, quality=75, exif=tags)
    found = look_at(path)[2]
    assert found == Header(6, 8, path.stat().st_size, "JPEG", "RGB", "quality 75", "Canon EOS 70D", 86_405)


@pytest.mark.parametrize("quality", [1, 30, 60, 90, 95])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    photo().save(tmp_path / "photo.jpg", quality=quality)
    assert look_at(tmp_path / "photo.jpg")[2].tables == f"quality {quality}"


def test_tables_that_libjpeg_does_not_make_are_named_by_the_nearest_quality(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.jpg", qtables=[[2] * 64, [3] * 64])  # 128 in all, of quality 98 it is 161, of 99 94
    assert look_at(tmp_path / "photo.jpg")[2].tables.startswith("tables of its own, about quality 9")


def test_a_maker_that_the_model_repeats_is_said_once(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.jpg", exif=exif(Make="NIKON", Model="NIKON D90"))
    assert look_at(tmp_path / "photo.jpg")[2].camera == "NIKON D90"


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "bmp"])
def test_other_formats_have_no_tables(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"photo.{ending}"
    photo().save(path)
    found = look_at(path)[2]
    assert (found.width, found.height, found.format, found.tables) == (8, 6, ending.upper(), "")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, while it opens the photo
def test_damaged_tags_count_as_none(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    found = look_at(tmp_path / "photo.jpg")[2]
    assert (found.width, found.camera, found.taken) == (8, "", None)


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "yesterday", "2020:02:30 10:00:00", ""])
def test_a_date_that_is_none_is_not_there(tmp_path: Path, text: str) -> None:
    photo().save(tmp_path / "photo.jpg", exif=exif(DateTimeOriginal=text))
    assert look_at(tmp_path / "photo.jpg")[2].taken is None


def test_a_png_is_not_decoded_for_its_tags(tmp_path: Path) -> None:
    photo().save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as image:
        header_of(image)
        assert image.tile  # Pillow forgets where the pixels are as soon as it has read them


def test_an_image_in_memory_has_no_file() -> None:
    found = look_at(Pixels(photo(), "image 0"))[2]
    assert (found.width, found.height, found.size, found.format) == (8, 6, None, "")
