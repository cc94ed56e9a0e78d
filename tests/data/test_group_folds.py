"""Each group left out in turn: which folds there are, what they are called, and what cannot be done."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from regraft.data.audit import Inspection
from regraft.data.dataset import Dataset
from regraft.data.group_folds import MOST_FOLDS, leave_groups_out
from regraft.data.samples import Samples
from regraft.errors import DataError, OptionError, flags_in_messages
from regraft.files import sha256


def clinics(names: Sequence[str | None] | None, labels: Sequence[str], contents: Sequence[object] = ()) -> Dataset:
    """Return photos of these clinics and classes; those of equal contents are copies."""
    known = [str(content) for content in contents or range(len(labels))]
    samples = Samples.from_labels("lesions", [Path(f"{n}.jpg") for n in range(len(labels))], labels, groups=names)
    return Dataset.of(samples, Inspection(tuple(sha256(content.encode()) for content in known)))


def test_each_group_is_a_fold_in_natural_order() -> None:
    found = leave_groups_out(clinics(["10", "2", "10", "2", "1", "1"], "ababab"))
    assert found.names == ("1", "2", "10")
    assert found.folds.tolist() == [2, 1, 2, 1, 0, 0]
    assert found.notes == ()


def test_joined_groups_are_named_and_said() -> None:
    found = leave_groups_out(clinics(["north", "south", "east", "north", "south", "east"], "aabbaa", "pqrspt"))
    assert found.names == ("east", "north = south")
    assert found.folds.tolist() == [1, 1, 0, 1, 1, 0]
    assert found.notes == ("north, south share pictures: these 2 groups are left out together",)


def test_a_photo_in_no_group_is_a_fold_of_its_own() -> None:
    found = leave_groups_out(clinics(["north", None, "north", None], "abba"))
    assert found.names == ("1.jpg", "3.jpg", "north")
    assert found.folds.tolist() == [2, 0, 2, 1]


def test_without_groups_nothing_can_be_left_out() -> None:
    with pytest.raises(OptionError) as caught:
        leave_groups_out(clinics(None, "abab"))
    assert str(caught.value) == (
        "folds='groups' leaves one group out at a time, and the photos in lesions are in no groups. Name the column of "
        "a table that holds them (group_column; in Python, of a list of images, fit(groups=...)), or have them guessed "
        "(grouping='guessed')."
    )
    said = r"^--folds groups .*\(--group-column; .*\(--groups guessed\)\.$"
    with flags_in_messages({"FitSettings.grouping": "--groups"}), pytest.raises(OptionError, match=said):
        leave_groups_out(clinics(None, "abab"))


def test_one_group_is_too_few() -> None:
    with pytest.raises(DataError) as caught:
        leave_groups_out(clinics(["north"] * 4, "abab"))
    assert str(caught.value) == (
        "folds='groups' needs from 2 to 100 groups, each of which is left out once. lesions has 1. Use "
        "folds='stratified', which keeps groups whole."
    )
    with pytest.raises(DataError, match=r"lesions has 1 \(of 2 names, some of which share pictures\)\. Use"):
        leave_groups_out(clinics(["north", "south"] * 2, "aabb", "ppqr"))


def test_more_than_a_hundred_groups_are_too_many() -> None:
    names = [str(number // 2) for number in range(2 * MOST_FOLDS + 2)]
    labels = ["a", "b"] * (MOST_FOLDS + 1)
    assert len(leave_groups_out(clinics(names[:-2], labels[:-2])).names) == 100
    with pytest.raises(DataError, match=r"lesions has 101\. Use .*whole, or name a column with fewer values\.$"):
        leave_groups_out(clinics(names, labels))


def test_a_class_of_one_group_is_named_with_it() -> None:
    with pytest.raises(DataError) as caught:
        leave_groups_out(clinics(["north", "north", "south", "south", "north"], ["cat", "dog", "cat", "cat", "dog"]))
    assert str(caught.value) == (
        "folds='groups': 1 classes are in one group only, and without it there is nothing to learn them from:\n"
        "  dog: north\nAdd photos of these classes from other groups, remove the classes, or leave folds='groups' out."
    )


def test_groups_of_one_name_in_different_places_are_kept_apart() -> None:
    """A photo in no group whose file is called as a group is."""
    dataset = clinics(["1.jpg", None, "1.jpg", "south"], "abba")
    found = leave_groups_out(replace(dataset))
    assert found.names == ("1.jpg", "1.jpg", "south")
    assert len(np.unique(found.folds[[0, 1, 3]])) == 3
    assert found.folds[0] == found.folds[2]
