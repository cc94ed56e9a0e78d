"""Every photo of a folder, table or pattern, with the label that training would take it to have, and its split."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regraft.data.columns import Columns
from regraft.data.layouts import find_samples
from regraft.data.photo_list import PhotoList, list_photos
from regraft.data.photos import find_photos
from regraft.errors import DataError, OptionError

Write = Callable[..., Path]
Row = tuple[str, str | None, str | None]


def rows(photos: PhotoList, folder: Path | None = None) -> list[Row]:
    """Return name, label and split of each photo."""
    names = [str(s if folder is None else Path(str(s)).relative_to(folder)) for s in photos.sources]
    return list(zip(names, photos.labels, photos.splits, strict=True))


def table(folder: Path, *lines: str, name: str = "photos.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


# --- folders ---


def test_class_folders_give_labels_and_other_photos_none(write: Write) -> None:
    folder = write("pets", "dog/10.png", "dog/2.png", "cat/deep/1.png", "loose.png")
    assert rows(list_photos(folder), folder) == [
        ("cat/deep/1.png", "cat", None),
        ("dog/2.png", "dog", None),
        ("dog/10.png", "dog", None),
        ("loose.png", None, None),
    ]


def test_splits_of_folders_one_of_them_without_labels(write: Write) -> None:
    """As Kaggle's Dogs vs. Cats has them: the labels of train stand in the names, test1 has none."""
    folder = write("data", "train/cat.0.png", "train/dog.0.png", "test1/1.png", "test1/2.png")
    found = list_photos(str(folder))
    assert rows(found, folder) == [
        ("test1/1.png", None, "test"),
        ("test1/2.png", None, "test"),
        ("train/cat.0.png", "cat", "train"),
        ("train/dog.0.png", "dog", "train"),
    ]
    assert (found.counts(), found.split_counts()) == ({"cat": 1, "dog": 1}, {"train": 2, "test": 2})
    assert str(found) == f"4 photos of {folder}; labels: cat 1, dog 1; without one 2; splits: train 2, test 2"
    assert found.notes == ()


def test_labels_are_those_of_training(write: Write) -> None:
    folder = write("data", *(f"{part}/{name}/{k}.png" for part in ("train", "val") for name in "ab" for k in range(2)))
    found = list_photos(folder)
    known = dict(zip(found.sources, zip(found.labels, found.splits, strict=True), strict=True))
    for split, samples in find_samples(folder).items():
        for source, label in zip(samples.sources, samples.labels, strict=True):
            assert known.pop(source) == (samples.classes[label], split)
    assert known == {}


@pytest.mark.parametrize("names", [["IMG_1.png", "IMG_2.png"], ["1.png"]])
def test_a_flat_folder_without_labels(write: Write, names: list[str]) -> None:
    folder = write("new", *names)
    found = list_photos(folder)
    assert rows(found, folder) == [(name, None, None) for name in names]
    assert (found.has_labels, found.has_splits, found.notes) == (False, False, ())
    assert str(found) == f"{len(names)} photo{'s' if len(names) > 1 else ''} of {folder}; without labels"


def test_labels_that_training_would_refuse_are_left_out_and_named(write: Write) -> None:
    """Years with the classes in them: it is not known which are meant."""
    folder = write("all", *(f"{year}/{name}/1.png" for year in (2023, 2024) for name in ("cat", "dog")))
    found = list_photos(folder)
    assert [row[1] for row in rows(found)] == [None] * 4
    (note,) = found.notes
    assert note.startswith(f"no label is taken from {folder}: ")
    assert "one level too high?" in note


def test_splits_that_are_not_clear_are_left_out_and_named(write: Write) -> None:
    folder = write("all", "train/a/1.png", "train/b/1.png", "more/1.png", "val/a/1.png")
    found = list_photos(folder)
    assert not found.has_splits
    assert found.notes[0].startswith(f"no split is taken from {folder}: {folder} has train/ with classes in it")


def test_one_photo_and_a_pattern(write: Write) -> None:
    folder = write("pets", "cat/1.png", "cat/2.png", "dog/1.png")
    assert rows(list_photos(folder / "cat" / "1.png"), folder) == [("cat/1.png", None, None)]
    assert rows(list_photos(f"{folder}/*/1.png"), folder) == [("cat/1.png", None, None), ("dog/1.png", None, None)]


def test_a_pattern_of_tables_says_of_each_photo_what_its_table_does(
    write: Write, parquet: Callable[..., Path], png: Callable[[int], bytes], tmp_path: Path
) -> None:
    folder = write("data", "a.png", "b.png", "c.png", "d.png", "loose.png")
    table(folder, "image,label,split", "a.png,cat,train", "b.png,,test", name="1.csv")
    table(folder, "image,label", "b.png,dog", "c.png,dog", name="2.csv")
    table(folder, "name of the owner,street", "Ann,High Street", name="3.csv")  # no table of photos
    table(folder, "image,label,split", "d.png,cat,fold1", name="6.csv")  # which `fit` would refuse
    cells: list[Any] = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in range(2)]
    parquet("data/4.parquet", cells, ["x", "y"])
    with tarfile.open(folder / "5.tar", "w"):
        pass
    found = list_photos(folder / "[a-z0-9]*.[pct]*")
    assert rows(found, folder) == [
        ("a.png", "cat", "train"),
        ("b.png", None, "test"),
        ("c.png", "dog", None),
        ("3.csv", None, None),
        ("4.parquet:0.png", "x", None),
        ("4.parquet:1.png", "y", None),
        ("d.png", None, None),
        ("loose.png", None, None),
    ]
    assert [note[: note.index(": ")] for note in found.notes] == [
        f"no label or split is taken from {folder / name}" for name in ("3.csv", "6.csv")
    ]
    assert rows(list_photos(folder / "*.parquet"), folder)[1] == ("4.parquet:1.png", "y", None)


def test_a_pattern_of_shards_is_as_the_folder_of_them(
    parquet: Callable[..., Path], png: Callable[[int], bytes], tmp_path: Path
) -> None:
    """Names of shards say splits; an image in several rows has the label of each."""
    cells: list[Any] = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in range(4)]
    parquet("hub/train-0.parquet", cells[:2], ["x", "y"])
    parquet("hub/val-0.parquet", cells[2:], ["x", "z"])
    named, matched = list_photos(tmp_path / "hub"), list_photos(tmp_path / "hub/*.parquet")
    assert rows(matched) == rows(named)
    assert (matched.labels, matched.splits) == (("x", "y", "x", "z"), ("train", "train", "validation", "validation"))


def test_rows_that_repeat_a_photo_keep_their_labels(write: Write) -> None:
    folder = write("data", "a.png", "b.png")
    table(folder, "image,label", "a.png,cat", "a.png,dog", name="1.csv")
    table(folder, "image,label", "b.png,dog", "a.png,bird", name="2.csv")
    found = list_photos(folder / "*.csv")
    assert rows(found, folder) == [("a.png", "cat", None), ("a.png", "dog", None), ("b.png", "dog", None)]


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image found for: .*\. Name image files, folders of them, tables"):
        list_photos(tmp_path)
    with pytest.raises(DataError, match="no image found for: "):
        list_photos(tmp_path / "gone")


def test_columns_are_for_tables(write: Write) -> None:
    with pytest.raises(OptionError, match=r"label_column, split_column and image_root are for tables\. .* is none"):
        list_photos(write("new", "1.png"), Columns(label="x"))


# --- tables ---


def test_rows_stay_as_they_are_with_what_they_have(write: Write) -> None:
    """Repeated rows and rows without a label too: what is written lies beside the table, row by row."""
    folder = write("set", "1.png", "2.png", "3.png")
    file = table(folder, "image,label,split", "3.png,b,train", "1.png,,val", "3.png,b,train", "2.png,a ,test")
    found = list_photos(file)
    assert rows(found, folder) == [
        ("3.png", "b", "train"),
        ("1.png", None, "validation"),
        ("3.png", "b", "train"),
        ("2.png", "a", "test"),
    ]
    assert list(found.sources) == find_photos([file])


def test_a_table_without_labels(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    found = list_photos(table(folder, "image,note", "2.png,x", "1.png,y"))
    assert rows(found, folder) == [("2.png", None, None), ("1.png", None, None)]
    assert found.notes == ()


def test_columns_that_are_named(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    file = table(folder, "foo,diagnosis,part", "1,nv,train", "2,mel,test")
    found = list_photos(file, Columns(image="foo", label="diagnosis", split="part"))
    assert rows(found, folder) == [("1.png", "nv", "train"), ("2.png", "mel", "test")]
    with pytest.raises(DataError, match=r"label_column 'diagnosys' is not there\. Did you mean 'diagnosis'"):
        list_photos(file, Columns(image="foo", label="diagnosys"))
    with pytest.raises(DataError, match="split_column 'gone' is not there"):
        list_photos(file, Columns(image="foo", split="gone"))
    with pytest.raises(DataError, match="image_column is needed"):
        list_photos(file)


def test_groups_are_not_spoken_of(write: Write) -> None:
    folder = write("set", "1.png", "2.png", "3.png")
    found = list_photos(table(folder, "image,label,patient", "1.png,a,x", "2.png,b,x", "3.png,b,y"))
    assert found.notes == ()


def test_one_column_for_each_class(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    assert [row[1] for row in rows(list_photos(table(folder, "image,a,b", "1.png,0,1", "2.png,1,0")))] == ["b", "a"]
    found = list_photos(table(folder, "image,smiles,glasses", "1.png,1,1", "2.png,0,1"))  # attributes, no classes
    assert found.labels == (None, None)
    assert "no label is taken from" in found.notes[-1]
    assert "several labels or none" in found.notes[-1]


def test_photos_inside_parquet(parquet: Callable[..., Path], png: Callable[[int], bytes], tmp_path: Path) -> None:
    cells: list[Any] = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in range(3)]
    parquet("hub/train-00000-of-00001.parquet", cells[:2], [0, -1], names=["cat", "dog"])
    parquet("hub/test-00000-of-00001.parquet", cells[2:], [1], names=["cat", "dog"])
    found = list_photos(tmp_path / "hub")
    assert [str(source).rpartition(":")[2] for source in found.sources] == ["0.png", "1.png", "2.png"]
    assert found.labels == ("cat", None, "dog")
    assert found.splits == ("train", "train", "test")


def test_photos_below_a_folder_count_more_than_a_table_in_it(write: Write) -> None:
    """As for `find_photos`: whatever lies beside them."""
    folder = write("pets", "cat/1.png", "dog/1.png")
    (folder / "features.parquet").touch()
    assert list(list_photos(folder).sources) == find_photos([folder])


def test_a_table_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        list_photos(table(tmp_path, "image,label"))


def test_what_cannot_be_read_is_taken_out_in_order(write: Write) -> None:
    folder = write("pets", "a/1.png", "a/2.png", "b/1.png")
    rest, lost = list_photos(folder).without({2: "torn", 0: "empty"})
    assert rows(rest, folder) == [("a/2.png", "a", None)]
    assert lost == [(folder / "a" / "1.png", "empty"), (folder / "b" / "1.png", "torn")]
