"""X, y, groups and options in every form that users have them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from regraft.api.arguments import columns_of, find_labelled, find_photos_of, split_options
from regraft.api.audits import audit
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.images.sources import Pixels

NONE = Columns()
COLOURS = ["b"] * 8 + ["r"] * 8


def names(found: list[Any]) -> list[str]:
    return [str(source) for source in found]


# --- images ---


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        iter,
        np.array,
        lambda paths: np.array(paths, dtype=object),
        lambda paths: np.array(paths)[:, None],
        lambda paths: [Path(path) for path in paths],
        lambda paths: pd.Series(paths, index=range(50, 66)),
        lambda paths: pd.Series(paths, dtype="string"),
        lambda paths: pd.DataFrame({"path": paths}),
        lambda paths: (path for path in paths),
    ],
)
def test_paths_in_any_list_are_the_images(sixteen: list[str], kind: Callable[[list[str]], Any]) -> None:
    assert names(find_photos_of(kind(sixteen), NONE)) == sixteen
    samples = find_labelled(kind(sixteen), COLOURS, None, NONE)[0]["train"]
    assert names(list(samples.sources)) == sixteen
    assert samples.labels.tolist() == [0] * 8 + [1] * 8


@pytest.mark.parametrize("shape", [(5, 4, 6, 3), (5, 4, 6, 4), (5, 4, 6)])
def test_an_array_is_its_images(shape: tuple[int, ...]) -> None:
    found = find_photos_of(np.zeros(shape, dtype=np.uint8), NONE)
    assert [source.image.size for source in found if isinstance(source, Pixels)] == [(6, 4)] * 5


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((40, 40, 3), np.uint8), r"Got an array of shape \(40, 40, 3\)\. This may be one image: put it into"),
        (np.zeros((40, 40), np.uint8), r"Got an array of shape \(40, 40\)\. This may be one image"),
        (np.zeros((2, 2, 4, 4, 3), np.uint8), r"Got an array of shape \(2, 2, 4, 4, 3\)\.$"),
        (Image.new("RGB", (4, 4)), r"^expected a list of images\. Got Image\."),
        ({"a": 1}, r"^X must be a list of images, in an order\. Got a dict\."),
        ({"a.jpg"}, r"^X must be a list of images, in an order\. Got a set\."),
        (b"a.jpg", r"^X must be a list of images, in an order\. Got a bytes\."),
        (pd.DataFrame({"path": ["a"], "label": ["b"]}), r"columns 'path', 'label'\. Give the one of the paths"),
        (["a.jpg", None], r"^image 1: allowed are a path, a PIL image or a uint8 array\. Got NoneType\."),
        (["gone.jpg"], r"^1 of 1 image files do not exist: gone\.jpg\."),
        (["gone*.jpg"], r"^no image found for: gone\*\.jpg\."),
    ],
)
def test_what_is_no_list_of_images_is_said(X: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_photos_of(X, NONE)


def test_folders_tables_and_globs_in_a_list_stand_for_their_images(sixteen: list[str], tmp_path: Path) -> None:
    """And what is listed twice is answered twice: a list has as many answers as it says."""
    folder = Path(sixteen[0]).parents[1]
    (folder / "red" / "7.jpg").rename(folder / "red" / "10.jpg")
    red = [str(folder / "red" / f"{number}.jpg") for number in (0, 1, 2, 3, 4, 5, 6, 10)]
    table = tmp_path / "some.csv"
    pd.DataFrame({"photo": ["blue/3.jpg", "red/2.jpg"], "label": ["b", "r"]}).to_csv(table, index=False)
    X = [folder / "red", sixteen[0], sixteen[0], str(folder / "blue" / "[12].jpg"), table]
    columns = Columns(image="photo", image_root=folder)
    assert names(find_photos_of(X, columns)) == [*red, *sixteen[:1] * 2, *sixteen[1:3], sixteen[3], red[2]]
    assert names(find_photos_of(str(folder / "red"), NONE)) == red


def test_a_file_whose_name_looks_like_a_glob_is_itself(sixteen: list[str]) -> None:
    odd = Path(sixteen[0]).rename(Path(sixteen[0]).with_name("[1].jpg"))
    assert find_photos_of([odd, sixteen[1]], NONE) == [odd, Path(sixteen[1])]


# --- labels and groups ---


def test_a_folder_among_images_with_labels_is_named(sixteen: list[str]) -> None:
    folder = Path(sixteen[0]).parent
    with pytest.raises(DataError) as caught:
        find_labelled([folder, folder.parent / "red"], ["b", "r"], None, NONE)
    assert str(caught.value) == (
        f"X holds 2 folders, e.g. {folder}, and y has one label for each image. Name the images, or give one folder of "
        "class folders as X and leave y out."
    )


NO_GROUP = [None, float("nan"), pd.NA, pd.NaT, "", " ", "NA", "n/a", "NaN", "None", "null", "<NA>"]


@pytest.mark.parametrize("nothing", NO_GROUP, ids=repr)
@pytest.mark.parametrize("kind", [list, tuple, pd.Series, lambda groups: np.array(groups, dtype=object)])
def test_images_without_a_group_are_groups_of_their_own(sixteen: list[str], nothing: Any, kind: Any) -> None:
    groups = [nothing, "p1", "p1", nothing] + ["p2"] * 12
    with pytest.warns(UserWarning, match="^2 of 16 groups are missing .*: each of these images is taken as a group"):
        samples = find_labelled(sixteen, COLOURS, kind(groups), NONE)[0]["train"]
    assert samples.groups is not None
    numbers = samples.groups.tolist()
    assert len(set(numbers)) == 4
    assert numbers[1] == numbers[2] != numbers[4]
    assert samples.group_names[numbers[1]] == "p1"
    assert len(samples.notes) == 1


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([1, 1.0, "1", np.int64(1)], ["1"] * 4),  # a column of numbers has many spellings, a patient one name
        (np.array([7, 8, 7, 8]), ["7", "8", "7", "8"]),
        ([("a", 1), ("a", 1), ("b", 1), ("b", 2)], ["('a', 1)", "('a', 1)", "('b', 1)", "('b', 2)"]),
        ([b"x", "x ", 2.5, True], ["x", "x", "2.5", "True"]),
        (pd.Categorical(["u", "v", "u", "v"]), ["u", "v", "u", "v"]),
    ],
)
def test_groups_are_known_by_name(sixteen: list[str], groups: Any, expected: list[str]) -> None:
    samples = find_labelled(sixteen[:4], ["a", "b", "a", "b"], groups, NONE)[0]["train"]
    assert samples.groups is not None
    assert [samples.group_names[number] for number in samples.groups] == expected
    assert samples.notes == ()


@pytest.mark.parametrize(
    ("groups", "shape"),
    [
        (["p"] * 15, "(15,)"),
        (np.zeros((16, 2)), "(16, 2)"),
        (pd.DataFrame({"a": range(16)}), "(16, 1)"),
        ("p", "()"),
        (3, "()"),
        ({"p": 1}, "()"),
    ],
)
def test_groups_of_another_number_are_refused(sixteen: list[str], groups: Any, shape: str) -> None:
    with pytest.raises(DataError) as caught:
        find_labelled(sixteen, COLOURS, groups, NONE)
    assert str(caught.value) == (
        f"groups must hold one value for each image, shape (16,). Got 16 images and groups of shape {shape}."
    )


def test_masked_groups_are_missing(sixteen: list[str]) -> None:
    groups = np.ma.array([1, 1, 1, 2], mask=[True, True, False, False])
    with pytest.warns(UserWarning, match="^2 of 4 groups are missing"):
        samples = find_labelled(sixteen[:4], ["a", "b", "a", "b"], groups, NONE)[0]["train"]
    assert samples.groups is not None
    assert len(set(samples.groups.tolist())) == 4


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["cat", "None", "cat", "None"], r"'None' \(2\) in y is taken as a class\. If it says"),
        (["cat", "Cat", "cat", "Cat"], "Cat and cat differ in upper and lower case alone, and are taken as"),
    ],
)
def test_doubtful_labels_are_warned_of(sixteen: list[str], y: list[str], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        samples = find_labelled(sixteen[:4], y, None, NONE)[0]["train"]
    assert len(samples.classes) == 2
    assert len(samples.notes) == 1


def test_several_labels_of_one_photo_are_refused(sixteen: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        find_labelled(sixteen[:4], ["cat", "dog", "cat|dog", "cat"], None, NONE)
    assert str(caught.value) == (
        "the given images: 1 of 4 values in y look like several labels of one photo, which is not supported:\n"
        "  'cat|dog'\nKeep one label for each photo, remove these photos; if it is a class of its own, give it a name "
        "without the names of others."
    )


def test_a_folder_brings_its_own_labels_and_groups(sixteen: list[str]) -> None:
    folder = Path(sixteen[0]).parents[1]
    with pytest.raises(DataError, match="is a folder, which brings its own labels: leave y out"):
        find_labelled(folder, COLOURS, None, NONE)
    with pytest.raises(DataError, match=r"^groups are for a list of images\. .* group_column\.$"):
        find_labelled(folder, None, COLOURS, NONE)


# --- options ---


def test_columns_are_named_as_messages_name_them() -> None:
    given = {"image_column": "a", "label_column": "b", "group_column": "c", "image_root": "d"}
    assert columns_of(given, "fit") == Columns(image="a", label="b", group="c", image_root=Path("d"))
    assert columns_of({}, "fit") == NONE
    with pytest.raises(OptionError, match=r"^label_column must be the name of a column\. Got 3\.$"):
        columns_of({"label_column": 3}, "fit")


def test_columns_are_for_tables(sixteen: list[str]) -> None:
    for find in (lambda c: find_photos_of(sixteen, c), lambda c: find_labelled(sixteen, COLOURS, None, c)):
        with pytest.raises(OptionError, match=r"image_column, .* are for tables\. X is a list of images"):
            find(Columns(label="diagnosis"))


def test_an_argument_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"^fit has no argument 'label_colum'\. Did you mean 'label_column'"):
        columns_of({"label_colum": "a"}, "fit")
    with pytest.raises(TypeError, match=r"^fit has no argument 'group'\. Did you mean 'groups'"):
        columns_of({"group": "a"}, "fit", own=("groups",))
    with pytest.raises(TypeError, match=r"^evaluate has no argument 'devic'\. Did you mean 'device'\?"):
        split_options({"devic": "cpu"}, "evaluate", Compute)
    columns, options = split_options({"batch_size": np.int64(4), "label_column": "x"}, "evaluate", Compute)
    assert (columns, options) == ({"label_column": "x"}, {"batch_size": 4})
    assert type(options["batch_size"]) is int


def test_reviewed_labels_are_of_a_folder_and_not_of_a_list(tmp_path: Path, photos: Callable[..., Path]) -> None:
    folder, table = photos("pets", red=2, blue=2), tmp_path / "reviewed.csv"
    table.write_text("file,label\npets/red/0.jpg,blue\n")
    corrections = LabelOptions(table)
    assert find_labelled(folder, None, None, Columns(), corrections=corrections)[0]["train"].counts() == {
        "blue": 3,
        "red": 1,
    }
    images = sorted(folder.rglob("*.jpg"))
    with pytest.raises(OptionError, match=r"labels corrects what a folder or table says\. X is a list .* correct y in"):
        find_labelled(images, list("aabb"), None, Columns(), corrections=corrections)
    with pytest.raises(OptionError, match=r"labels corrects .* data is a list of images: correct y instead"):
        audit(images, list("aabb"), labels=table)
    with pytest.raises(OptionError, match=r"labels must be a file\. Got 7"):
        find_labelled(folder, None, None, Columns(), corrections=LabelOptions(7))  # type: ignore[arg-type]
