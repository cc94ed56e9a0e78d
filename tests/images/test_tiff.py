"""The structure of TIFFs that Pillow wrote, and of what is cut off."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.images import deep

from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.tiff import block_size, count_directories


def tiff(pages: int = 1, **options: object) -> bytes:
    stream = io.BytesIO()
    first, *others = [Image.new("RGB", (20, 10), (page, 0, 0)) for page in range(pages)]
    first.save(stream, "TIFF", save_all=pages > 1, append_images=others, **options)
    return stream.getvalue()


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_pages_are_counted(pages: int) -> None:
    assert count_directories(io.BytesIO(tiff(pages)), most=10)[0] == pages


def test_counting_ends_one_beyond_what_is_allowed() -> None:
    assert count_directories(io.BytesIO(tiff(5)), most=2)[0] == 3


def test_the_bytes_of_a_big_tag_are_counted() -> None:
    plain = count_directories(io.BytesIO(tiff()), most=1)[1]
    noted = count_directories(io.BytesIO(tiff(description="x" * 1000)), most=1)[1]
    assert noted - plain == pytest.approx(1000, abs=2)  # with its end of 1 byte


def test_a_directory_that_names_itself_as_the_next_ends() -> None:
    """By hand: a header, then a directory without entries at byte 8 whose next one is at byte 8."""
    data = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HI", 0, 8)
    assert count_directories(io.BytesIO(data), most=7) == (8, 0)


def test_big_tiff_by_hand() -> None:
    """One directory at byte 16 with one entry of 3 longs (12 bytes), and no next one."""
    header = struct.pack(">2sHHHQ", b"MM", 43, 8, 0, 16)
    data = header + struct.pack(">Q", 1) + struct.pack(">HHQ8s", 256, 4, 3, b"") + struct.pack(">Q", 0)
    assert count_directories(io.BytesIO(data), most=7) == (1, 12)


def test_what_is_cut_off_counts_as_far_as_it_goes_and_the_stream_stays_where_it_was() -> None:
    whole = tiff(3)
    stream = io.BytesIO(whole[:100])
    stream.seek(7)
    assert count_directories(stream, most=9)[0] <= 3
    assert stream.tell() == 7
    assert count_directories(io.BytesIO(b"II"), most=9) == (0, 0)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({278: 4, 258: (8, 8, 8), 277: 3}, (4 * 20 * 3, False)),  # strips of 4 rows
        ({278: 1000, 258: (8, 8, 8), 277: 3}, (10 * 20 * 3, False)),  # no strip has more rows than the image
        ({258: (16,), 277: 1}, (10 * 20 * 2, False)),  # one strip, 16 bits
        ({322: 64, 323: 32, 258: (8,), 277: 4}, (64 * 32 * 4, True)),  # a tile may be larger than the image
        ({258: 1}, (10 * 20, False)),  # bits are held as bytes
    ],
)
def test_block_size(tags: dict[int, object], expected: tuple[int, bool]) -> None:
    assert block_size(tags, (20, 10)) == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros((4, 4), np.float64), "64-bit floats"),
        (np.zeros((4, 4), np.float16), "16-bit floats"),
        (np.zeros((4, 4), np.int64), "64-bit signed integers"),
        (np.zeros((4, 4, 3), np.float32), "32-bit floats in 3 channels"),
    ],
)
def test_numbers_that_are_not_read_are_named(tmp_path: Path, values: np.ndarray, kind: str) -> None:
    (tmp_path / "x.tif").write_bytes(deep.tiff(values))
    with pytest.raises(UnreadableImageError) as caught:
        read_image(tmp_path / "x.tif")
    assert str(caught.value) == (
        f"a TIFF of {kind}, which is not read. Save it as grey or RGB of 8 or 16 bits, or as grey of 32-bit floats"
    )
