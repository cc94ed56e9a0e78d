"""Folders of photos: which files count, and which label each gets."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.data.class_folders import read_folder
from regraft.data.folders import image_files, split_folders, split_of
from regraft.data.layouts import find_samples, split_names
from regraft.errors import DataError

Write = Callable[..., Path]


def test_class_folders_give_the_classes(write: Write) -> None:
    folder = write("pets", "dog/1.jpg", "cat/1.jpg", "cat/2.PNG", "cat/2023/deep/3.webp")
    found = find_samples(folder)
    assert list(found) == ["train"]
    samples = found["train"]
    assert samples.classes == ("cat", "dog")
    assert samples.counts() == {"cat": 3, "dog": 1}
    labelled = {str(s): samples.classes[label] for s, label in zip(samples.sources, samples.labels, strict=True)}
    assert labelled == {
        str(folder / "cat/1.jpg"): "cat",
        str(folder / "cat/2.PNG"): "cat",
        str(folder / "cat/2023/deep/3.webp"): "cat",
        str(folder / "dog/1.jpg"): "dog",
    }
    assert samples.labels.dtype == np.int64
    assert samples.groups is None
    assert samples.where == str(folder)
    assert samples.notes == ()


def test_classes_and_files_stand_in_natural_order(write: Write) -> None:
    folder = write("digits", "10/a10.png", "10/a2.png", "2/x.png", "1/x.png")
    samples = find_samples(folder)["train"]
    assert samples.classes == ("1", "2", "10")
    assert [Path(str(source)).name for source in samples.sources[2:]] == ["a2.png", "a10.png"]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid"])
def test_validation_folder_by_any_of_its_names(write: Write, name: str) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png", f"{name}/a/2.png", f"{name}/b/2.png")
    found = find_samples(folder)
    assert list(found) == ["train", "validation"]
    assert found["train"].sources == (folder / "train/a/1.png", folder / "train/b/1.png")
    assert found["validation"].sources == (folder / name / "a/2.png", folder / name / "b/2.png")


def test_test_folder_is_not_even_opened_by_default(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png")
    (folder / "test").mkdir()  # empty: reading it would be an error
    assert list(find_samples(folder)) == ["train"]
    with pytest.raises(DataError, match=r"test holds no images"):
        find_samples(folder, splits=("test",))


def test_test_folder_is_read_when_asked_for(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "val/a/2.png", "test/a/3.png", "test/b/4.png")
    found = find_samples(folder, splits=("test",))
    assert list(found) == ["test"]
    assert found["test"].counts() == {"a": 1, "b": 1}


def test_train_folder_beside_classes_is_ambiguous(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "cat/1.png")
    with pytest.raises(
        DataError, match=r"also cat: it is not clear whether train is a split or a class\. Name .*train\."
    ):
        find_samples(folder)


def test_train_without_folders_beside_classes_is_a_class(write: Write) -> None:
    folder = write("vehicles", "train/1.png", "bus/1.png", "tram/1.png")
    assert find_samples(folder)["train"].classes == ("bus", "train", "tram")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("TRAIN", "TEST"),
        ("train_images", "test-images"),
        ("TrainSet", "holdout"),
        ("train2017", "hold-out"),
        ("trainval", "tests"),
        ("\uff54rain", " Test "),  # of full width; with blanks
        ("seg_train", "seg_test"),
        ("train.pets", "test.pets"),
    ],
)
def test_splits_by_other_names(write: Write, train: str, test: str) -> None:
    folder = write("pets", f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/2.png")
    assert split_folders(folder) == {"train": folder / train, "test": folder / test}
    found = find_samples(folder)
    assert found["train"].counts() == {"a": 1, "b": 1}
    unusual = train not in ("Training", "TRAIN")
    said = f"the folders of {folder} are taken as splits: {train} (train), {test} (test)"
    assert found["train"].notes == ((said,) if unusual else ())


@pytest.mark.parametrize("name", ["cat", "retrain", "trainer", "contest", "invalid", "devil", "images", "1", "testa"])
def test_names_that_say_no_split(name: str) -> None:
    assert split_of(name) is None


def test_words_of_vehicles_are_no_splits(write: Write) -> None:
    folder = write("vehicles", "freight_train/1.png", "toy_train/1.png", "school_bus/1.png")
    assert split_folders(folder) == {}
    assert find_samples(folder)["train"].notes == ()


@pytest.mark.parametrize(
    "names", ["testA testB trainA trainB", "test_cat test_dog train_cat train_dog", "test train_cat train_dog"]
)
def test_names_that_say_a_split_and_a_class(write: Write, names: str) -> None:
    folder = write("pets", *(f"{name}/1.png" for name in names.split()))
    with pytest.raises(DataError) as caught:
        find_samples(folder)
    assert str(caught.value) == (
        f"{folder}: it is not clear whether {', '.join(names.split())} are splits or classes. Lay them out as "
        "train/CLASS and test/CLASS; or name one folder."
    )


def test_classes_that_are_all_called_after_one_split(write: Write) -> None:
    folder = write("faces", "training_real/1.png", "training_fake/1.png")
    assert find_samples(folder)["train"].classes == ("training_fake", "training_real")


@pytest.mark.parametrize(
    ("one", "other", "split"),
    [("val", "valid", "validation"), ("Train", "train", "train"), ("test", "Testing", "test")],
)
def test_two_folders_for_one_split(write: Write, one: str, other: str, split: str) -> None:
    folder = write("pets", "train/a/1.png", f"{one}/a/1.png", f"{other}/a/2.png")
    with pytest.raises(DataError) as caught:
        find_samples(folder)
    first, second = sorted([one, other])
    assert str(caught.value) == (
        f"{folder} has more than one {split} folder: {first}, {second}. Keep one of them; if the other is "
        "another split, or a class, rename it."
    )


def test_validation_without_train_is_no_split_beside_others(write: Write) -> None:
    folder = write("pets", "valid/1.png", "invalid/1.png")
    assert split_folders(folder) == {}
    samples = find_samples(folder)["train"]
    assert samples.classes == ("invalid", "valid")
    assert samples.notes == ("valid is taken as a class, not as a split, as invalid lie beside it",)


def test_test_or_validation_alone_are_splits(write: Write) -> None:
    folder = write("pets", "test/a/1.png", "test/b/1.png", "Val/a/2.png")
    assert split_names(folder) == ("validation", "test")
    assert find_samples(folder, splits=("test",))["test"].counts() == {"a": 1, "b": 1}
    with pytest.raises(DataError, match=r"pets has no train split\. It has: validation, test\. Add a folder"):
        find_samples(folder)


def test_a_folder_without_photos_beside_train_is_no_class(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "1.xml").write_text("<a/>")
    assert split_folders(folder) == {"train": folder / "train"}


def test_flat_file_names_carry_the_label(write: Write) -> None:
    names = ["cat.0.jpg", "cat.1.jpg", "american_bulldog_12.jpg", "bee-3.png", "dog (4).jpg", "Éclair 7.png"]
    samples = find_samples(write("kaggle", *names))["train"]
    assert samples.counts() == {"american_bulldog": 1, "bee": 1, "cat": 2, "dog": 1, "Éclair": 1}
    labels = {Path(str(s)).name: samples.classes[i] for s, i in zip(samples.sources, samples.labels, strict=True)}
    assert labels["american_bulldog_12.jpg"] == "american_bulldog"
    assert labels["dog (4).jpg"] == "dog"
    assert samples.groups is None
    assert samples.notes == ("labels come from the file names: cat 2, Éclair 1, american_bulldog 1, bee 1, dog 1",)


def test_flat_train_folder_of_a_split(write: Write) -> None:
    folder = write("kaggle", "train/cat.0.png", "train/dog.0.png", "test/1.png")
    assert find_samples(folder)["train"].counts() == {"cat": 1, "dog": 1}


def test_file_names_without_a_label_are_named_and_counted(write: Write) -> None:
    folder = write("kaggle", "cat.0.png", *(f"{number}.png" for number in range(22)))
    with pytest.raises(DataError) as caught:
        find_samples(folder)
    message = str(caught.value)
    assert "22 of 23 file names carry no label" in message
    assert "cat.0.jpg; or one sub-folder per class; or a CSV" in message
    assert "\n  0.png\n" in message
    assert "\n  19.png\n  and 2 more" in message
    assert "20.png" not in message


def test_hidden_photos_are_passed_over_and_counted(write: Write) -> None:
    shown = ["a/1.png", "b/1.png"]
    hidden = [
        "a/.h.png",
        "a/@eaDir/1.png",
        "__MACOSX/1.png",
        "__MACOSX/sub/2.png",
        "a/deep/__thumbs/1.png",
        ".x.png",
        ".cache/1.png",
    ]
    folder = write("pets", *shown, *hidden, "__MACOSX/._1.png")  # the last one is no photo, but macOS's properties
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("text")
    samples = find_samples(folder)["train"]
    assert samples.counts() == {"a": 1, "b": 1}
    assert samples.notes == (
        f"7 images in {folder} are passed over as hidden (their names, or their folders', start with . or __, or are a "
        "system's): .* 1, .cache 1, __MACOSX 2, a/.* 1, a/@eaDir 1 and 1 more. Rename what is to count",
    )


def test_what_lies_beside_splits_is_noted_once(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png", "__old__/a/3.png")
    (folder / "docs").mkdir()
    found = find_samples(folder)
    assert found["train"].notes == (
        f"{folder / 'docs'} holds no image and is no split",
        f"1 images in {folder} are passed over as hidden (their names, or their folders', start with . or __, or are a "
        "system's): __old__ 1. Rename what is to count",
    )
    assert found["validation"].notes == ()


def test_files_that_are_no_images_are_counted(write: Write) -> None:
    folder = write("pets", "a/1.png", "b/1.png")
    for name in ("a/notes.txt", "b/Thumbs.db", "README.md"):
        (folder / name).write_text("text")
    samples = find_samples(folder)["train"]
    assert len(samples) == 2
    assert samples.notes == (f"3 other files in {folder} are no images: ignored",)


def test_empty_class_folder_is_noted_and_no_class(write: Write) -> None:
    folder = write("pets", "a/1.png", "b/1.png")
    (folder / "c").mkdir()
    samples = find_samples(folder)["train"]
    assert samples.classes == ("a", "b")
    assert samples.notes == (f"{folder / 'c'} holds no image and is not a class",)


def test_images_beside_class_folders_are_noted_and_left_out(write: Write) -> None:
    folder = write("pets", "a/1.png", "b/1.png", "cat.0.png", "montage.png")
    samples = find_samples(folder)["train"]
    assert samples.counts() == {"a": 1, "b": 1}
    assert samples.notes == (f"2 images lie directly in {folder}, in no class: left out",)


def test_a_link_back_up_does_not_loop(write: Write) -> None:
    folder = write("pets", "a/1.png", "a/sub/2.png", "b/1.png")
    (folder / "a/sub/loop").symlink_to(folder / "a", target_is_directory=True)
    assert find_samples(folder)["train"].counts() == {"a": 2, "b": 1}


def test_linked_class_folders_and_files_are_followed(write: Write, tmp_path: Path) -> None:
    store = write("store", "one/1.png", "two/1.png")
    folder = tmp_path / "pets"
    (folder / "b").mkdir(parents=True)
    (folder / "a").symlink_to(store / "one", target_is_directory=True)
    (folder / "b/2.png").symlink_to(store / "two/1.png")
    assert find_samples(folder)["train"].counts() == {"a": 1, "b": 1}


def test_kaggles_dogs_vs_cats_as_it_is_unpacked(write: Write) -> None:
    folder = write("dogs-vs-cats", "train/cat.0.png", "train/dog.0.png", "test1/1.png", "test1/2.png")
    assert find_samples(folder)["train"].counts() == {"cat": 1, "dog": 1}
    assert split_folders(folder) == {"train": folder / "train", "test": folder / "test1"}


def test_train_of_labelled_names_beside_an_unknown_folder(write: Write) -> None:
    folder = write("pets", "train/cat.0.png", "train/dog.0.png", "more/cat.1.png")
    with pytest.raises(DataError, match=r"has train/ with classes in it and also more: it is not clear whether"):
        find_samples(folder)


def test_vehicles_by_name_are_classes(write: Write) -> None:
    folder = write("vehicles", "train/train.0.png", "train/train.1.png", "car/1.png")
    assert find_samples(folder)["train"].counts() == {"car": 1, "train": 2}


@pytest.mark.parametrize(("call", "shut"), [("os.listdir", "train"), ("os.scandir", "a")])
def test_a_folder_without_permission_is_named_not_passed_over(
    write: Write, monkeypatch: pytest.MonkeyPatch, call: str, shut: str
) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png")
    module, name = os, call.removeprefix("os.")
    real = getattr(module, name)

    def refuses(path: Any) -> Any:
        if Path(path).name == shut:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(call, refuses)
    with pytest.raises(DataError, match=rf"{shut} cannot be read: Permission denied\. Allow it \(chmod -R u\+rX"):
        find_samples(folder)


def test_image_files_counts_the_others(write: Write) -> None:
    folder = write("mixed", "b10.png", "b9.png", "sub/a.gif")
    (folder / "sub/x.csv").write_text("")
    assert image_files(folder) == ([folder / "b9.png", folder / "b10.png", folder / "sub/a.gif"], 1)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no images\. Expected one sub-folder of images per class, or file names"
    ):
        read_folder(tmp_path)
