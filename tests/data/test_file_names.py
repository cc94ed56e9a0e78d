"""Labels and clips in file names; names that carry none, and names that can be read in two ways."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from regraft.data.file_names import NameLabels, labels_in_names
from regraft.errors import DataError


def read(stems: Iterable[str]) -> NameLabels:
    return labels_in_names([Path(f"{stem}.jpg") for stem in stems], "here")


def refused(stems: Iterable[str]) -> str:
    with pytest.raises(DataError) as caught:
        read(stems)
    return str(caught.value)


def clips(pattern: str, count: int = 4, frames: int = 3) -> list[str]:
    """Return names of `count` clips of cats and dogs each; `pattern` has {kind}, {clip} and {frame}."""
    return [
        pattern.format(kind=kind, clip=clip + first, frame=frame)
        for kind, first in (("cat", 0), ("dog", count))
        for clip in range(count)
        for frame in range(frames)
    ]


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("cat.0", "cat"),
        ("cat_12", "cat"),
        ("cat-0001", "cat"),
        ("cat 3", "cat"),
        ("cat (3)", "cat"),
        ("cat(3)", "cat"),
        ("american_bulldog_12", "american_bulldog"),
        ("toy car 7", "toy car"),
        ("n02085620_7", "n02085620"),
        ("Éclair 7", "Éclair"),
        ("image_net_7", "image_net"),
        ("cat_2021-05-03_7", "cat"),
        ("cat_2021-05-03", "cat"),
        ("cat_20210503_123456", "cat"),
        ("cat_20210503_123456789", "cat"),
        ("cat_03.05.2021_7", "cat"),
        ("cat_2021-05-03_12-30-45_7", "cat"),
        ("cat_2021_7", "cat"),
        ("cat_2021_05_7", "cat"),
    ],
)
def test_the_label_is_the_word_before_the_numbers(stem: str, label: str) -> None:
    found = read([stem, "dog_1"])
    assert found.labels == [label, "dog"]
    assert found.groups is None


UNLABELLED = """
    IMG_12 DSC_12 DSC01234 DSC_0001-2 DSCN0001 _DSC1234 P1010001 P1010001_2 PXL_20210503_123456789
    20210503_123456 MVIMG_20210503_123456 IMG-20210503-WA0001 Screenshot_20210503-123456 frame_0001 image_3
    Image(3) FB_IMG_1580 download-1 photo_7 scan0001 video_1_frame_2 100_0001
    a1b2c3d4-e5f6-7890-abcd-123456789012 cat 12 cat0
"""


@pytest.mark.parametrize("stem", UNLABELLED.split())
def test_names_that_carry_no_label(stem: str) -> None:
    assert refused([stem, "dog_1"]).startswith("here: 1 of 2 file names carry no label")


@pytest.mark.parametrize("stem", ["WhatsApp Image 2021-05-03 at 12.30.45", "Screenshot (4)", "Bildschirmfoto 1 um 2"])
def test_names_with_blanks_that_carry_no_label(stem: str) -> None:
    assert refused([stem, "dog_1"]).startswith("here: 1 of 2 file names carry no label (")


def test_what_cameras_call_photos_is_counted() -> None:
    assert refused(["DSC_1", "IMG_1", "IMG_2", "17"]) == (
        "here: 4 of 4 file names carry no label (IMG 2, DSC 1: cameras and programs give such names). Expected label, "
        "separator, number, as in cat.0.jpg; or one sub-folder per class; or a CSV with image_column and label_column. "
        "Got:\n  DSC_1.jpg\n  IMG_1.jpg\n  IMG_2.jpg\n  17.jpg"
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "{kind}_{clip}_{frame}",
        "{kind}-{clip:03d}-{frame:05d}",
        "{kind}.{clip}.{frame}",
        "{kind} {clip} ({frame})",
        "{kind}_2021_{clip}_{frame}",
        "{kind}_2021-05-03_{clip}_{frame}",
        "{kind}_{clip}_{frame}_0",
        "{kind}_7_{clip}_{frame}",
        "{kind}_clip_{clip}_frame_{frame}",
        "{kind}_vid{clip}_{frame}",
        "{kind}_clip{clip}_frame{frame}",
        "{kind}_patient_{clip}_{frame}",
    ],
)
def test_the_first_of_two_numbers_counts_clips(pattern: str) -> None:
    found = read(clips(pattern))
    assert found.labels == ["cat"] * 12 + ["dog"] * 12
    assert found.groups is not None
    numbered = {name: number for number, name in enumerate(dict.fromkeys(found.groups))}
    assert [numbered[name] for name in found.groups] == [photo // 3 for photo in range(24)]


def test_what_was_taken_as_a_clip_is_said() -> None:
    assert read(clips("{kind}_{clip}_{frame}")).note == (
        "labels come from the file names: cat 12, dog 12; the clips are groups: cat_0_0.jpg and cat_0_1.jpg are of one "
        "clip (8 in all)"
    )


def test_clips_far_apart_are_clips_where_they_are_many() -> None:
    found = read(
        f"{kind}_{number}_{frame}" for kind in ("cat", "dog") for number in range(9, 999, 90) for frame in "12"
    )
    assert set(found.labels) == {"cat", "dog"}
    assert len(set(found.groups or [])) == 22


def test_a_copy_is_of_the_clip_of_its_photo() -> None:
    found = read(["cat.0", "cat.0 (1)", "cat.1", "dog.0", "dog.1"])
    assert found.labels == ["cat", "cat", "cat", "dog", "dog"]
    assert found.groups == ["cat.0", "cat.0", "cat.1", "dog.0", "dog.1"]


@pytest.mark.parametrize(
    ("stems", "labels"),
    [
        (["covid_19_1", "covid_19_2", "normal_1"], ["covid_19", "covid_19", "normal"]),
        (["b-52_1", "b-52_2", "f-16_1"], ["b-52", "b-52", "f-16"]),
        (["cat_0_17", "cat_0_18", "dog_1_17"], ["cat", "cat", "dog"]),
    ],
)
def test_a_number_that_is_the_same_all_through_a_class_counts_nothing(stems: list[str], labels: list[str]) -> None:
    assert (read(stems).labels, read(stems).groups) == (labels, None)


@pytest.mark.parametrize(
    ("stems", "number", "label"),
    [
        (["boeing_737_1", "boeing_747_1", "airbus_320_1"], "737", "boeing"),
        (["grade_1_1", "grade_2_1", "normal_1"], "1", "grade"),
        (clips("{kind}{clip}_{frame}"), "0", "cat"),
        (clips("{kind}_{clip}_left_{frame}"), "0", "cat"),
    ],
)
def test_numbers_that_may_be_part_of_a_class(stems: list[str], number: str, label: str) -> None:
    assert refused(stems) == (
        f"here: it is not clear whether {number} in names like {stems[0]!r} is part of the class or counts clips of "
        f"the class {label!r}. Name the photos as in cat.0.jpg; or one sub-folder per class; or a CSV with "
        "image_column and label_column (with group_column for clips)."
    )


def test_digits_within_words_are_part_of_classes() -> None:
    assert set(read([f"digit{kind}_{number}" for kind in "0123" for number in "12"]).labels) == {
        f"digit{kind}" for kind in "0123"
    }
    assert set(read(["n02085620_7", "n02085620_8", "n02086240_1", "n02087046_1"]).labels) == {
        "n02085620",
        "n02086240",
        "n02087046",
    }


def test_one_label_in_all_names_may_be_a_mistake() -> None:
    assert read(["type_1_1", "type_2_1", "type_2_2"]).advice.startswith("In names like 'type_1_1' the first number is")
