"""The chunks of a PNG that Pillow passes over."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.images.deep import png

from regraft.images.png import SIGNIFICANT_BITS, complete, find_chunk

GREYS = np.zeros((2, 3), np.int64)


def test_a_chunk_is_found_by_its_name() -> None:
    stream = io.BytesIO(png(GREYS, significant=(12,)))
    stream.seek(5)
    assert find_chunk(stream, b"sBIT") == b"\x0c"
    assert find_chunk(stream, b"sBIT", before=b"IHDR") == find_chunk(stream, b"eXIf") == b""
    assert stream.tell() == 5


@pytest.mark.parametrize("cut", [9, 20, 40])
def test_a_file_that_is_cut_off_has_no_chunk(cut: int) -> None:
    assert find_chunk(io.BytesIO(png(GREYS)[:cut]), b"eXIf") == b""


@pytest.mark.parametrize(
    ("channels", "significant", "expected"),
    [
        (1, (12,), 12),
        (3, (10, 12, 11), 12),
        (4, (10, 10, 10, 16), 10),
        (1, (), None),
        (1, (0,), None),
        (1, (99,), None),
    ],
)
def test_significant_bits_are_those_of_colours(
    channels: int, significant: tuple[int, ...], expected: int | None
) -> None:
    """11.3.2.7: a byte for each channel, of which the last is alpha."""
    values = GREYS if channels == 1 else np.zeros((2, 3, channels), np.int64)
    stream = io.BytesIO(png(values, significant=significant))
    image = Image.open(stream)
    complete(image, stream, deep=True)
    assert image.info[SIGNIFICANT_BITS] == expected
