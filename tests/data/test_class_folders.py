"""Folders that are one level too high or too low, wrapped, empty of photos, or beside the table with the labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.data.layouts import find_samples
from regraft.data.samples import together
from regraft.errors import DataError

Write = Callable[..., Path]


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_samples(folder)["train"].check_trainable()
    return str(caught.value)


def product(*levels: str) -> list[str]:
    """Return a photo in each folder that the words of the levels make: of "a b" and "c", a/c/1.png and b/c/1.png."""
    folders = [""]
    for level in levels:
        folders = [f"{folder}{word}/" for folder in folders for word in level.split()]
    return [f"{folder}1.png" for folder in folders]


# --- wrapped ---


@pytest.mark.parametrize(
    ("names", "wrapper", "held"),
    [
        (product("PetImages", "Cat Dog"), "PetImages", "Cat, Dog"),
        (product("archive", "dataset", "Cat Dog"), "archive/dataset", "Cat, Dog"),
        (product("dataset", "train test", "Cat Dog"), "dataset", "test, train"),
        (product("archive", "dataset", "train", "Cat Dog"), "archive/dataset", "train"),
        (product("train", "train", "Cat Dog"), "train/train", "Cat, Dog"),
        ([*product("PetImages", "Cat Dog"), "montage.png"], "PetImages", "Cat, Dog"),
    ],
)
def test_the_folder_that_holds_the_classes_is_named(write: Write, names: list[str], wrapper: str, held: str) -> None:
    folder = write("pets", *names)
    assert "has one class only: " in (message := refused(folder))
    wrapper = str(folder / wrapper)
    assert message.endswith(f" {wrapper} holds {held}: name {wrapper} if these are the classes or splits.")
    assert find_samples(wrapper)["train"].classes == ("Cat", "Dog")


def test_a_wrapped_folder_of_names_with_labels_is_named(write: Write) -> None:
    folder = write("pets", "train/train/cat.0.png", "train/train/dog.0.png")
    assert refused(folder).endswith(
        f" The file names in {folder}/train/train carry labels (cat, dog): name {folder}/train/train if these are the "
        "classes."
    )


def test_one_class_of_the_classifiers_can_be_evaluated_whatever_lies_in_it(write: Write) -> None:
    folder = write("pets", *product("cat", "indoor outdoor"))
    samples = find_samples(folder)["train"]
    assert samples.aligned(["cat", "dog"]).counts() == {"cat": 2, "dog": 0}
    with pytest.raises(DataError, match=r"does not know: cat\..*/cat holds indoor, outdoor: name "):
        samples.aligned(["indoor", "outdoor"])


# --- the level ---


@pytest.mark.parametrize(
    ("names", "outer", "inner"),
    [
        (product("2023 2024", "cat dog"), "2023, 2024", "cat, dog"),
        (product("2023 2024", "photos", "cat dog"), "2023, 2024", "cat, dog"),
        (product("fold_1 fold_2 fold_10", "0 1"), "fold_1, fold_2, fold_10", "0, 1"),
        (product("Leeds York", "benign malignant"), "Leeds, York", "benign, malignant"),
        (product("10253 10254 10255", "0 1"), "10253, 10254, 10255", "0, 1"),
        (product("cat dog", "images masks"), "cat, dog", "images, masks"),
        ([*product("2023", "cat dog"), *product("2024", "cat")], "2023, 2024", "cat"),
        ([*product("2023 2024", "cat dog"), "2024/montage.png"], "2023, 2024", "cat, dog"),
    ],
)
def test_the_same_folders_in_all_are_the_classes(write: Write, names: list[str], outer: str, inner: str) -> None:
    folder = write("pets", *names)
    first = outer.split(",", maxsplit=1)[0]
    assert f"{folder}: the folders {outer} " in (message := refused(folder))
    assert f"all have the same sub-folders ({inner}): one level too high? If {inner} are the classes, " in message
    assert f"e.g. {folder / first}, or bring the photos of each class into one folder." in message
    assert message.endswith(f"If {outer} are, write a table of image and label, and name it.")


def test_the_same_folders_in_nearly_all(write: Write) -> None:
    folder = write("pets", *product("a b c d e f g h i", "cat dog"), *product("j", "cat"))
    assert "nearly all have the same sub-folders (cat, dog)" in refused(folder)


@pytest.mark.parametrize(
    "names",
    [
        ["cat/indoor/1.png", "dog/outdoor/1.png"],
        ["cat/indoor/1.png", "dog/indoor/1.png", "dog/outdoor/1.png"],
        product("cat dog", "2021 2022"),
        product("cat dog", "session1 session2"),
        product("cat dog", "images"),
        product("cat dog", "images", "2021"),
        [*product("cat dog", "left right"), "cat/1.png", "dog/1.png"],
        ["cat/tabby/1.png", "cat/siamese/1.png", "dog/pug/1.png", "dog/beagle/1.png"],
        product("cat", "cat") + product("dog", "dog"),
        product("2023 2024"),
        product("1 2 3"),
    ],
)
def test_folders_in_classes_stay(write: Write, names: list[str]) -> None:
    samples = find_samples(write("pets", *names))["train"]
    assert set(samples.classes) == {name.split("/")[0] for name in names}
    assert len(samples) == len(names)


def test_splits_inside_the_classes(write: Write) -> None:
    folder = write("pets", *product("cat dog", "train test"))
    assert refused(folder) == (
        f"{folder}: the folders cat, dog hold splits (test, train). Lay them out the other way round: test/cat instead "
        "of cat/test; or write a table of image, label and split, and name it."
    )


def test_splits_inside_one_of_the_folders(write: Write) -> None:
    folder = write("pets", *product("dataset", "train val", "cat dog"), "more/1.png")
    assert refused(folder) == (
        f"{folder}: dataset has splits in it (train, val), so that it seems to be no class. Name {folder}/dataset, or "
        "move it away from the classes beside it."
    )


@pytest.mark.parametrize("name", ["test", "more"])
def test_a_folder_of_the_same_classes_beside_them(write: Write, name: str) -> None:
    folder = write("pets", *product("cat dog"), *product(name, "cat dog"), f"{name}/1.png")
    assert f"{folder}: {name} holds folders of the same names as the classes beside it (cat, dog), so" in refused(
        folder
    )


# --- one class in two spellings ---


def test_two_unicode_forms_in_one_folder_and_across_splits(write: Write) -> None:
    folder = write("pets", "train/Ka\u0308tzchen/1.png", "train/K\u00e4tzchen/2.png", "train/dog/1.png")
    write("pets", "val/Ka\u0308tzchen /1.png", "val/dog/1.png")
    found = find_samples(folder)
    assert found["train"].counts() == {"K\u00e4tzchen": 2, "dog": 1}
    assert found["validation"].aligned(found["train"].classes).counts() == {"K\u00e4tzchen": 1, "dog": 1}


def test_case_alone_across_splits_is_said(write: Write) -> None:
    found = find_samples(write("pets", "train/Cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png"))
    with pytest.raises(DataError, match="'cat' and 'Cat' differ in upper and lower case alone: use one spelling"):
        found["validation"].aligned(found["train"].classes)


# --- no photos, no labels ---


def test_endings_of_what_a_folder_without_photos_holds(write: Write) -> None:
    folder = write("scans")
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.dcm", "a/2.DCM", "3.mp4", "README", "photos 1.zip", "labels.csv"):
        (folder / name).write_bytes(b"x")
    message = refused(folder)
    assert message.startswith(f"{folder} holds no images. Expected one sub-folder of images per class, or file names ")
    assert "It holds other files: 2 .dcm, 1 " in message
    for part in ("1 .mp4", "1 without an ending", f"Unpack what lies in it: unzip '{folder}/photos 1.zip'."):
        assert part in message
    assert message.endswith(f"If the labels stand in a table, name the table: {folder}/labels.csv.")


def test_a_folder_of_hidden_photos_alone(write: Write) -> None:
    folder = write("pets", "__cat__/1.png", "__dog__/1.png")
    assert "2 images in " in (message := refused(folder))
    assert message.endswith("or are a system's): __cat__ 1, __dog__ 1. Rename what is to count.")


@pytest.mark.parametrize("photos", [["images/a1.png", "images/b2.png"], ["a1.png", "b2.png"]])
def test_the_table_that_lies_beside_photos_is_named(write: Write, photos: list[str]) -> None:
    folder = write("kaggle", *photos)
    for name in ("sample_submission.csv", "other.csv", "train.csv"):
        (folder / name).write_text("image,label\n")
    assert refused(folder).endswith(
        f"If the labels stand in a table, name the table: {folder}/train.csv (one of 2 there)."
    )


def test_the_table_beside_an_unlabelled_split_is_named(write: Write) -> None:
    folder = write("kaggle", "train/a1.png", "train/b2.png", "test/c3.png")
    (folder / "train_labels.csv").write_text("image,label\n")
    assert refused(folder).endswith(f"If the labels stand in a table, name the table: {folder}/train_labels.csv.")


# --- clips across splits ---


def flat_splits(*, restart: bool) -> list[str]:
    return [
        f"{split}/{kind}_{clip}_{frame}.png"
        for split, frames in (("train", "01"), ("val", "01" if restart else "23"))
        for kind in ("cat", "dog")
        for clip in "012"
        for frame in frames
    ]


@pytest.mark.parametrize(("restart", "clips"), [(False, 6), (True, 12)])
def test_clips_of_one_name_are_one_clip_unless_each_split_counts_its_own(
    write: Write, restart: bool, clips: int
) -> None:
    found = find_samples(write("pets", *flat_splits(restart=restart)))
    both = together(list(found.values()))
    assert both.groups is not None
    assert len(set(both.groups.tolist())) == clips
