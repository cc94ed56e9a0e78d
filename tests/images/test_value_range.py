"""Which values are black and white: of a data set, of a classifier, of the user; and what is said of it."""

import pytest

from regraft.images.value_range import Extent, Range, Ranges, choose_ranges, range_of, span_of


def extent(low: float, high: float, kind: str = "uint16", *, near: Range | None = None, **more: object) -> Extent:
    return Extent(kind, low, high, near or (low, high), **more)  # type: ignore[arg-type]


def chosen(*extents: Extent, given: Range | None = None, known: Ranges = ()) -> tuple[Ranges, list[str]]:
    said: list[str] = []
    photos = [(f"{place}.tif", one) for place, one in enumerate(extents)]
    return choose_ranges(photos, given=given, known=known, say=said.append), said


@pytest.mark.parametrize(
    ("extents", "expected"),
    [
        ([extent(0, 4080), extent(7, 900)], (0, 4095)),
        ([extent(0, 4096)], (0, 8191)),
        ([extent(0, 255)], (0, 255)),
        ([extent(3, 9)], (0, 255)),  # never fewer than 8 bits
        ([extent(0, 0)], (0, 255)),
        ([extent(-1000, 2060, "int16"), extent(-1024, 100, "int16")], (-1024, 2060)),
        ([extent(-5, -5, "int16")], (-5, -4)),
        ([extent(0, 4080, "int16")], (0, 4095)),
        ([extent(0, 1, "float32"), extent(0.2, 0.3, "float32", whole=False)], (0, 1)),
        ([extent(0, 1.5, "float32", whole=False)], (0, 1.5)),
        ([extent(0, 4080, "float32")], (0, 4095)),
        ([extent(-0.5, 0.5, "float32", whole=False)], (-0.5, 0.5)),
        ([extent(0, 100, "uint12")], (0, 4095)),
        ([extent(0, 100, "scaled")], (0, 65535)),
        # what files state
        ([extent(0, 900, stated=(0, 3000)), extent(0, 100, stated=(0, 3000))], (0, 3000)),
        ([extent(0, 900, stated=(0, 3000)), extent(0, 100)], (0, 4095)),
        (
            [extent(0, 900, stated=(0, 900)), extent(0, 100, stated=(0, 100))],
            (0, 1023),
        ),  # of each photo, not of the set
        ([extent(0, 4000, stated=(0, 3000))], (0, 4095)),  # beyond what is stated
        # a dead pixel of 16 bits in one photo of 12; what is as little as half a range is none
        ([extent(0, 65535, near=(0, 4000)), extent(0, 4000)], (0, 4095)),
        ([extent(0, 4000, near=(0, 2000))], (0, 4095)),
        ([extent(-30000, 2000, "int16", near=(-1000, 2000))], (-1000, 2000)),
        ([extent(0, 65535), *[extent(0, 4000)] * 9], (0, 65535)),  # a whole photo of 16 bits
    ],
)
def test_the_range_of_a_data_set(extents: list[Extent], expected: Range) -> None:
    assert range_of(extents)[0] == expected


def test_what_is_done_is_said() -> None:
    ranges, said = chosen(extent(0, 4080), extent(0, 900), extent(-1000, 2060, "int16"), extent(0, 9, "scaled"))
    assert ranges == (("int16", -1000, 2060), ("uint16", 0, 4095))  # the formats' own are known anyway
    assert said == [
        "signed 16-bit integers in 1 photo: -1,000 becomes black and 2,060 white, their least and largest value. "
        "value_range sets others.",
        "integers of more than 8 bits whose largest is in the file in 1 photo: 0 becomes black and 65,535 white, as "
        "their format states.",
        "1 photo has next to no contrast, fewer than 8 of 256 grey levels. Look at them, or set value_range:\n  3.tif",
        "16-bit integers in 2 photos: 0 becomes black and 4,095 white, as the largest takes 12 bits. value_range sets "
        "others.",
    ]


def test_nothing_is_said_of_photos_of_8_bits() -> None:
    assert chosen() == ((), [])
    assert chosen(known=(("uint16", 0, 4095),)) == ((("uint16", 0, 4095),), [])


def test_the_users_range() -> None:
    ranges, said = chosen(extent(0, 4080), extent(0, 1, "float32"), extent(0, 9, "uint12"), given=(0.0, 2000.0))
    assert ranges == (("float32", 0, 2000), ("uint12", 0, 2000), ("uint16", 0, 2000))
    assert "16-bit integers in 1 photo: 0 becomes black and 2,000 white, as value_range says." in " ".join(said)
    assert "1 photo has values beyond, which become black or white, too:\n  0.tif" in said
    assert span_of("uint12", ranges) == (0, 2000)
    assert chosen(given=(0.0, 9.0))[1] == ["no photo here has more than 8 bits: value_range changes nothing."]


@pytest.mark.parametrize(
    ("known", "extents", "expected", "said"),
    [
        ((0, 4095), [extent(0, 1900)], (0, 4095), "as when the classifier was made."),
        ((-1000, 2060), [extent(-1024, 3071)], (-1000, 2060), "as when the classifier was made."),
        ((0, 4095), [extent(0, 60000)], (0, 65535), "it was 0 to 4,095 when the classifier was made, and these go far"),
        ((0, 65535), [extent(0, 4000)], (0, 65535), "though only a small part of it is taken here."),
        ((0, 65535), [extent(0, 4000)] * 10, (0, 4095), "of which these take a small part."),
        ((0, 4095), [extent(0, 0.9, "float32", whole=False)], (0, 1), "of which these take a small part."),
        ((-1000, 2060), [extent(-1000, -500)] * 10, (-1000, 2060), "as when the classifier was made."),
    ],
)
def test_a_classifier_keeps_its_range(known: Range, extents: list[Extent], expected: Range, said: str) -> None:
    kind = extents[0].kind
    ranges, lines = chosen(*extents, known=((kind, *known),))
    assert ranges == ((kind, *expected),)
    assert said in lines[0]


def test_photos_without_contrast_are_named() -> None:
    """15 of 4095 are 0.9 of 255; 128 of 4095 are 7.97."""
    _, said = chosen(extent(0, 4080), extent(0, 15), extent(0, 128), extent(2000, 2129), extent(4000, 4000))
    assert said[1] == (
        "3 photos have next to no contrast, fewer than 8 of 256 grey levels. Look at them, or set value_range:\n"
        "  1.tif\n  2.tif\n  4.tif"
    )


def test_dead_pixels_are_named() -> None:
    _, said = chosen(extent(0, 65535, near=(0, 4000)), extent(0, 4000))
    assert said == [
        "16-bit integers in 2 photos: 0 becomes black and 4,095 white, as the largest takes 12 bits, but for single "
        "pixels. value_range sets others.",
        "1 photo has values beyond, which become black or white, too:\n  0.tif",
    ]
