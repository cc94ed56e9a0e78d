"""What a class could be guessed from: which cues there are, and what they say in words."""

import calendar

import numpy as np
import pytest

from regraft.images.headers import Header
from regraft.images.measures import MEASURES
from regraft.photo_audit.cues import Cue, Names, Numbers, file_cues, pixel_cues

SOME = Header(640, 480, 1000, "JPEG", "RGB", "quality 75", "Canon EOS", 86_400)
OTHER = Header(1024, 1024, 2_500_000, "PNG", "L", "", "", None)


def by_name(cues: list[Cue]) -> dict[str, Cue]:
    return {cue.name: cue for cue in cues}


def test_files_have_six_cues_one_of_which_the_subject_changes() -> None:
    cues = by_name(file_cues([SOME, OTHER]))
    assert {name: cue.of_file for name, cue in cues.items()} == {
        "file format": True,
        "dimensions": True,
        "file size": False,
        "JPEG tables": True,
        "camera": True,
        "date": True,
    }


def test_their_values_and_words() -> None:
    cues = by_name(file_cues([SOME, OTHER, None]))

    def values(name: str, place: int = 0) -> list[object]:
        return list(cues[name].properties[place].values.tolist())

    assert values("file format") == ["JPEG RGB", "PNG L", ""]
    assert values("dimensions")[:2] == ["640 x 480", "1,024 x 1,024"]
    assert (values("dimensions", 1)[:2], values("dimensions", 2)[:2]) == ([640, 1024], [480, 1024])
    assert values("JPEG tables") == ["quality 75", "", ""]
    assert values("camera") == ["Canon EOS", "", ""]
    np.testing.assert_array_equal(values("file size"), [1000, 2_500_000, np.nan])
    np.testing.assert_array_equal(values("date"), [86_400, np.nan, np.nan])
    said = {name: cue.properties[0].said("one") for name, cue in cues.items() if isinstance(cue.properties[0], Names)}
    assert said == {
        "file format": "are one",
        "dimensions": "are one pixels",
        "JPEG tables": "are JPEGs of one",
        "camera": "were taken with one",
    }


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("dimensions", 1, 1024, "are at most 1,024 pixels wide"),
        ("dimensions", 2, 480, "are at most 480 pixels high"),
        ("date", 0, calendar.timegm((2024, 2, 29, 12, 0, 0)), "were taken until 2024-02-29"),
    ],
)
def test_numbers_in_words(name: str, place: int, value: float, words: str) -> None:
    one = by_name(file_cues([SOME, OTHER]))[name].properties[place]
    assert isinstance(one, Numbers)
    assert one.said("at most", value) == words


def test_from_a_day_on() -> None:
    one = by_name(file_cues([SOME, OTHER]))["date"].properties[0]
    assert isinstance(one, Numbers)
    assert one.said("at least", 0.0) == "were taken from 1970-01-01 on"


def test_what_tells_no_two_photos_apart_is_no_cue() -> None:
    assert file_cues([SOME] * 5) == []
    assert [
        cue.name for cue in file_cues([SOME, Header(640, 480, 2000, "JPEG", "RGB", "quality 75", "Canon EOS", 86_400)])
    ] == ["file size"]


def test_photos_without_headers() -> None:
    assert file_cues([None] * 5) == []
    assert file_cues([]) == []
    # that only some have a header, a camera or a date is a difference
    assert {"file format", "dimensions", "camera", "date"} <= by_name(file_cues([SOME, None])).keys()


def test_photos_without_exif() -> None:
    plain = [Header(640, 480, size, "JPEG", "RGB", "quality 75") for size in (10, 20)]
    assert [cue.name for cue in file_cues(plain)] == ["file size"]


def test_pixels_have_four_cues_of_all_measures_but_those_of_quality() -> None:
    measures = np.arange(2.0 * len(MEASURES)).reshape(2, -1)
    cues = by_name(pixel_cues(measures))
    assert list(cues) == ["border", "corners", "mean colour", "background"]
    assert not any(cue.of_file for cue in cues.values())
    used = sorted(float(one.values[0]) for cue in cues.values() for one in cue.properties)  # a measure's place
    assert used == list(range(3, len(MEASURES)))  # brightness, contrast and sharpness are not among them
    green = cues["mean colour"].properties[1]
    assert isinstance(green, Numbers)
    assert green.values.tolist() == [4, 4 + len(MEASURES)]
    assert green.said("at least", 12.4) == "have a mean green of at least 12"
