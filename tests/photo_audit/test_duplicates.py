"""Copies, photos of one picture and groups on both sides of a split: what is named, and what a clean list drops."""

from pathlib import Path

import pytest
from tests.photo_audit.made import made

from regraft.photo_audit.duplicates import find_duplicates, find_subject_leaks, redundant

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def test_photos_that_all_differ() -> None:
    photos = made([0, 0, 1, 1], numbers=[0, 1, 2, 3])
    assert find_duplicates(photos) == []
    assert find_duplicates(made([0, 0, 1, 1])) == []  # nobody has looked at pictures
    assert redundant(photos) == {}


def test_equal_contents_and_equal_pixels_are_exact() -> None:
    by_contents = made([0, 0, 1, 1], keys=[b"x", b"y", b"z", b"z"])
    (found,) = find_duplicates(by_contents)
    assert (found.kind, found.severity, found.files, found.across) == (
        "exact-duplicate",
        "medium",
        ("2.jpg", "3.jpg"),
        (),
    )
    by_pixels = made([0, 0, 1, 1], numbers=[0, 1, 2, 2], pixels=[1, 2, 3, 3])
    assert find_duplicates(by_pixels) == [found]
    assert redundant(by_pixels) == redundant(by_contents) == {3: "copy of 2.jpg"}


def test_photos_of_one_picture_are_near() -> None:
    photos = made([0, 0, 1, 1], numbers=[0, 1, 2, 2])
    (found,) = find_duplicates(photos)
    assert (found.kind, found.severity, found.files) == ("near-duplicate", "low", ("2.jpg", "3.jpg"))
    assert redundant(photos) == {}  # both may stay: `fit` keeps them together


def test_copies_of_one_photo_are_not_named_as_near_too_but_an_edited_third_is() -> None:
    copies = made([0, 0, 0], numbers=[0, 0, 1], pixels=[1, 1, 2])
    assert [one.kind for one in find_duplicates(copies)] == ["exact-duplicate"]
    three = made([0, 0, 0], numbers=[0, 0, 0], pixels=[1, 1, 2])
    assert [(one.kind, one.files) for one in find_duplicates(three)] == [
        ("exact-duplicate", ("0.jpg", "1.jpg")),
        ("near-duplicate", ("0.jpg", "1.jpg", "2.jpg")),
    ]


@pytest.mark.parametrize("pixels", [[1, 2, 3, 3], [1, 2, 3, 4]])
@pytest.mark.parametrize(
    ("labels", "splits", "across", "said"),
    [
        ([0, 1, 0, 0], [TRAIN, TRAIN, TRAIN, VALIDATION], ("splits",), "is in train and validation"),
        ([0, 1, 0, 0], [TRAIN, TRAIN, TEST, TRAIN], ("splits",), "is in test and train"),
        ([0, 1, 0, 1], [TRAIN] * 4, ("classes",), "stands under a and b"),
        ([0, 1, 1, 0], [TRAIN, TRAIN, TRAIN, TEST], ("splits", "classes"), "stands under a and b"),
        ([0, 1, -1, 0], [None] * 4, (), "keep"),
        ([0, 1, -1, 0], [TRAIN, TRAIN, TEST, TRAIN], ("splits",), "is in test and train"),
    ],
)
def test_what_stands_on_both_sides(
    labels: list[int], splits: list[str | None], across: tuple[str, ...], said: str, pixels: list[int]
) -> None:
    (found,) = find_duplicates(made(labels, splits=splits, numbers=[0, 1, 2, 2], pixels=pixels))
    exact = pixels[2] == pixels[3]
    assert (found.kind, found.files) == ("exact-duplicate" if exact else "near-duplicate", ("2.jpg", "3.jpg"))
    assert found.across == across
    assert found.severity == ("high" if across else "medium" if exact else "low")
    assert said in found.advice or not across
    assert ("the same photo" in found.advice) == exact


def test_photos_that_cannot_be_read_are_no_copies_of_each_other() -> None:
    photos = made([0, 0, 0], keys=[b"", b"", b"x"], numbers=[0, 0, 0])
    assert find_duplicates(photos) == []
    assert redundant(photos) == {0: "unreadable", 1: "unreadable"}


# --- groups ---


def test_a_named_group_in_two_splits() -> None:
    splits = [TRAIN, VALIDATION, TRAIN, TRAIN, TEST, TEST]
    photos = made([0] * 6, splits=splits, groups=["p1", "p1", "p2", "p2", None, None])
    (found,) = find_subject_leaks(photos, ["x"] * 6)  # a guess counts for nothing where groups are named
    assert (found.kind, found.severity, found.files, found.across) == (
        "subject-leak",
        "high",
        ("0.jpg", "1.jpg"),
        ("splits",),
    )
    assert found.to_json()["group"] == "p1"
    assert "guessed" not in found.to_json()
    assert found.advice.startswith("the group, p1, has photos in train and validation")


def test_a_guessed_group_in_two_splits() -> None:
    photos = made([0] * 4, splits=[TRAIN, VALIDATION, TRAIN, TEST], keys=[b"a", b"b", b"", b"d"])
    (found,) = find_subject_leaks(photos, ["p1", "p1", "p2", "p2"])  # of p2 one photo can be read
    assert (found.severity, found.files, found.more) == ("medium", ("0.jpg", "1.jpg"), {"group": "p1", "guessed": True})
    assert found.advice.startswith("what seems to be one group, p1, has photos in train and validation")


def test_no_groups_and_no_splits() -> None:
    assert find_subject_leaks(made([0] * 4, splits=[TRAIN, TEST] * 2)) == []
    assert find_subject_leaks(made([0] * 4, groups=["p"] * 4)) == []


# --- what a clean list leaves out ---


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        ([TRAIN, VALIDATION, TEST], 2),
        ([TRAIN, VALIDATION, TRAIN], 1),
        ([TRAIN, TRAIN, TRAIN], 0),
        ([None, None, None], 0),
        ([TEST, VALIDATION, TEST], 0),
    ],
)
def test_of_equal_photos_one_is_kept_test_before_validation_before_train(splits: list[str | None], kept: int) -> None:
    photos = made([0, 0, 0], splits=splits, keys=[b"x"] * 3)
    assert redundant(photos) == {place: f"copy of {kept}.jpg" for place in range(3) if place != kept}


def test_equal_photos_under_several_classes_are_dropped_entirely() -> None:
    photos = made([0, 1, 1, 0], keys=[b"x", b"x", b"x", b"y"], splits=[TRAIN, TEST, TRAIN, TRAIN])
    assert redundant(photos) == dict.fromkeys(range(3), "one photo under several classes")


def test_a_copy_without_a_label_contradicts_nothing() -> None:
    photos = made([-1, 0, 0], keys=[b"x", b"x", b"y"], splits=[TEST, TRAIN, TRAIN])
    assert redundant(photos) == {1: "copy of 0.jpg"}  # the unlabelled photo is of the test split


def test_of_one_picture_in_several_splits_those_that_are_trained_on_go() -> None:
    photos = made([0] * 6, splits=[TRAIN, TEST, VALIDATION, TEST, TRAIN, TRAIN], numbers=[0, 0, 0, 0, 1, 1])
    said = "shows the picture of 1.jpg, of another split"
    assert redundant(photos) == {0: said, 2: said}  # both of the test split stay; so do two of training alone


def test_near_duplicates_of_a_photo_that_was_dropped_as_a_contradiction_stay() -> None:
    photos = made(
        [0, 1, 0], splits=[TRAIN, VALIDATION, TRAIN], keys=[b"x", b"x", b"y"], numbers=[0, 0, 0], pixels=[1, 1, 2]
    )
    assert redundant(photos) == dict.fromkeys([0, 1], "one photo under several classes")


def test_names_are_those_of_the_photos() -> None:
    photos = made([0, 0], keys=[b"x", b"x"])
    assert photos.names([1, 0]) == (str(Path("1.jpg")), str(Path("0.jpg")))


def test_a_labelled_copy_is_kept_before_one_without_label_or_split() -> None:
    photos = made(
        [-1, 0, 0, 1, 1], keys=[b"x", b"x", b"c", b"d", b"e"], splits=[None, "train", "train", "train", "train"]
    )
    assert redundant(photos) == {0: "copy of 1.jpg"}
    (one,) = find_duplicates(photos)
    assert one.across == ()  # a photo beside the splits is in none
