"""All photos of a data set with their labels, splits and groups, and which of them may be learned from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.photo_audit.made import made

from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.errors import DataError, OptionError
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos


def laid_out(folder: Path, *names: str) -> Path:
    """Write files that nobody decodes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8\xff\xe0" + name.encode())
    return folder


def known(photos: AuditPhotos, folder: Path) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Return label, split and group of each photo by its name."""
    labels = [None if label < 0 else photos.classes[label] for label in photos.labels.tolist()]
    names = [Path(str(source)).relative_to(folder).as_posix() for source in photos.sources]
    return dict(zip(names, zip(labels, photos.splits, photos.groups, strict=True), strict=True))


def test_train_val_and_test_of_class_folders(tmp_path: Path) -> None:
    laid_out(
        tmp_path, *(f"{split}/{label}/{k}.jpg" for split in ("train", "val", "test") for label in "ab" for k in "12")
    )
    photos = find_audit_photos(tmp_path)
    found = known(photos, tmp_path)
    assert len(found) == len(photos) == 12
    assert photos.classes == ("a", "b")
    assert found["train/a/1.jpg"] == ("a", "train", None)
    assert found["val/b/2.jpg"] == ("b", "validation", None)
    assert found["test/b/1.jpg"] == ("b", "test", None)


def test_a_test_split_without_labels(tmp_path: Path) -> None:
    laid_out(
        tmp_path, *(f"train/{name}.{k}.jpg" for name in ("cat", "dog") for k in "12345"), "test/1.jpg", "test/2.jpg"
    )
    found = known(find_audit_photos(tmp_path), tmp_path)
    assert found["train/cat.1.jpg"] == ("cat", "train", None)
    assert found["train/dog.5.jpg"] == ("dog", "train", None)
    assert found["test/1.jpg"] == found["test/2.jpg"] == (None, "test", None)


def test_class_folders_without_splits_and_flat_names(tmp_path: Path) -> None:
    laid_out(tmp_path / "folders", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    assert known(find_audit_photos(tmp_path / "folders"), tmp_path / "folders")["b/1.jpg"] == ("b", None, None)
    laid_out(tmp_path / "flat", *(f"{name}.{k}.jpg" for name in ("cat", "dog") for k in "12345"))
    assert known(find_audit_photos(tmp_path / "flat"), tmp_path / "flat")["dog.2.jpg"] == ("dog", None, None)


def test_photos_without_labels(tmp_path: Path) -> None:
    laid_out(tmp_path, "one.jpg", "other.jpg")
    photos = find_audit_photos(tmp_path)
    assert photos.classes == ()
    assert set(known(photos, tmp_path).values()) == {(None, None, None)}
    assert photos.learnable().tolist() == []
    assert find_audit_photos(tmp_path / "one.jpg").names([0]) == (str(tmp_path / "one.jpg"),)


def test_one_class(tmp_path: Path) -> None:
    photos = find_audit_photos(laid_out(tmp_path, "a/1.jpg", "a/2.jpg"))
    assert len(photos) == 2
    assert photos.groups == (None, None)
    with pytest.raises(DataError):
        find_audit_photos(tmp_path / "nowhere")


def test_a_table_with_groups_and_splits(tmp_path: Path) -> None:
    laid_out(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    rows = ["image,label,who,split", "1.jpg,10,p1,train", "2.jpg,2,p1,val", "3.jpg,2,NA,train", "4.jpg,10,p2,test"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    photos = find_audit_photos(tmp_path / "t.csv", Columns(group="who"))
    assert photos.classes == ("2", "10")  # in natural order
    assert known(photos, tmp_path) == {
        "1.jpg": ("10", "train", "p1"),
        "2.jpg": ("2", "validation", "p1"),
        "3.jpg": ("2", "train", None),  # no value
        "4.jpg": ("10", "test", "p2"),
    }
    assert find_audit_photos(tmp_path / "t.csv").groups == (None,) * 4  # nobody named the column


def test_a_group_column_that_is_not_there_or_of_no_table(tmp_path: Path) -> None:
    laid_out(tmp_path, "1.jpg", "a/2.jpg")
    (tmp_path / "t.csv").write_text("image,label\n1.jpg,x\n")
    with pytest.raises(DataError, match="patient"):
        find_audit_photos(tmp_path / "t.csv", Columns(group="patient"))
    with pytest.raises(OptionError):
        find_audit_photos(tmp_path / "a", Columns(image="x"))


# --- what is learned from ---


def test_only_readable_labelled_photos_outside_of_the_test_split_are_learned_from() -> None:
    splits = ["train", "train", "validation", "test", None, "test", "train", "train"]
    photos = made([0, 0, 0, 0, 0, 1, -1, 0], splits=splits, keys=[*(b"%d" % k for k in range(7)), b""])
    assert photos.learnable().tolist() == [0, 1, 2, 4]
    assert not {place for place in photos.learnable().tolist() if splits[place] == "test"}


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 0, 1], [0, 1]), ([0], []), ([-1, -1], []), ([0, 1, 2, 2], [2, 3])]
)
def test_a_class_of_one_photo_is_not_learned_from(labels: Sequence[int], expected: list[int]) -> None:
    assert made(labels).learnable().tolist() == expected


def test_a_second_photo_that_cannot_be_read_or_is_of_the_test_split_does_not_count() -> None:
    assert made([0, 0, 1, 1], keys=[b"a", b"b", b"c", b""]).learnable().tolist() == [0, 1]
    assert made([0, 0, 1, 1], splits=[None, None, None, "test"]).learnable().tolist() == [0, 1]


def test_a_photo_that_turns_out_to_be_damaged() -> None:
    photos = made([0, 0, 0], keys=[b"a", b"", b"c"])
    less = photos.without({2: "cut off"})
    assert less.keys == (b"a", b"", b"")
    assert dict(less.unreadable) == {1: "the file is empty", 2: "cut off"}
    assert photos.keys == (b"a", b"", b"c")


# --- as a data set ---


def test_the_data_set_has_the_labels_groups_and_copies_of_its_photos() -> None:
    photos = made([1, 0, 2, 2, 0], numbers=[0, 1, 2, 2, 3], groups=["p", "q", None, None, "p"])
    dataset = photos.dataset(np.array([1, 2, 3, 4]))
    assert dataset.classes == ("a", "c")
    assert dataset.labels.tolist() == [0, 1, 1, 0]
    assert [str(source) for source in dataset.samples.sources] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    groups = dataset.groups
    assert groups is not None
    assert (groups[1] == groups[2], len(np.unique(groups))) == (True, 3)  # photos 2 and 3 show one picture
    together = photos.dataset(np.array([0, 1, 4])).groups
    assert together is not None
    assert (together[0] == together[2], together[0] == together[1]) == (True, False)  # the group p


def test_pictures_and_named_groups_can_be_left_out() -> None:
    photos = made([0, 0, 1, 1], keys=[b"x", b"x", b"y", b"z"], numbers=[0, 0, 1, 2], groups=["p", "q", "r", "r"])
    apart = photos.dataset(np.arange(4), pictures=False).groups
    assert apart is not None
    assert len(np.unique(apart)) == 3  # r alone joins
    alone = photos.dataset(np.arange(4), groups=False).groups
    assert alone is not None
    assert len(np.unique(alone)) == 3  # copies alone join
    assert photos.dataset(np.arange(4), pictures=False, groups=False).groups is None


def test_pictures_have_numbers_or_are_all_their_own() -> None:
    assert made([0] * 3, numbers=[4, 4, 9]).numbers.tolist() == [4, 4, 9]
    assert made([0] * 3).numbers.tolist() == [0, 1, 2]


def test_what_training_would_say_is_said(tmp_path: Path) -> None:
    """Hidden photos, a folder one level too high, several labels in a cell, clips that names count."""
    tinted = Image.new("RGB", (8, 8))
    for name in ("p/cat/1.jpg", "p/cat/2.jpg", "p/dog/1.jpg", "p/dog/2.jpg", "p/cat/.hidden.jpg", "w/in/cat/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        tinted.save(tmp_path / name)
    assert any("passed over as hidden" in note for note in find_audit_photos(tmp_path / "p").listed.notes)
    refused = [note for note in find_audit_photos(tmp_path / "w").listed.notes if "`fit` would refuse" in note]
    assert ["one class only" in note for note in refused] == [True]
    (tmp_path / "p" / "t.csv").write_text("image,label\ncat/1.jpg,cat\ndog/1.jpg,dog\ncat/2.jpg,cat|dog\n")
    notes = find_audit_photos(tmp_path / "p" / "t.csv").listed.notes
    assert any("look like several labels of one photo" in note for note in notes)


def test_groups_of_rows_without_labels_are_known(tmp_path: Path) -> None:
    for place in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{place}.jpg")
    (tmp_path / "t.csv").write_text("image,label,split,patient\n0.jpg,a,train,p\n1.jpg,b,train,\n2.jpg,,test,p\n")
    assert find_audit_photos(tmp_path / "t.csv", Columns(group="patient")).groups == ("p", None, "p")
    (tmp_path / "u.csv").write_text("image,patient\n0.jpg,p\n1.jpg,q\n2.jpg,p\n")
    assert find_audit_photos(tmp_path / "u.csv", Columns(group="patient")).groups == ("p", "q", "p")


def test_labels_that_are_still_to_be_corrected_are_not_refused(tmp_path: Path) -> None:
    laid_out(tmp_path / "pets", "a/1.jpg", "a/2.jpg", "b/1.jpg")
    table = tmp_path / "reviewed.csv"
    table.write_text("image,label\na/2.jpg,b\nb/1.jpg,\n")
    assert any("would refuse" in note for note in find_audit_photos(tmp_path / "pets").listed.notes)
    photos = find_audit_photos(tmp_path / "pets", corrections=LabelOptions(table))
    assert {name: one[0] for name, one in known(photos, tmp_path / "pets").items()} == {"a/1.jpg": "a", "a/2.jpg": "b"}
    assert photos.listed.notes == ("labels: reviewed.csv changes 1 label, leaves out 1 photo",)
