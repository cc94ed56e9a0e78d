"""Layouts: which reader reads a path, which splits there are, and what is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from regraft.data.columns import Columns
from regraft.data.layouts import READERS, SPLITS, Reader, find_samples, layouts_in_words, split_names
from regraft.data.photos import find_photos
from regraft.data.samples import Samples
from regraft.errors import DataError, OptionError, flags_in_messages

Write = Callable[..., Path]


def test_a_path_may_be_text_and_start_at_home(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("pets", "a/1.png", "b/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(find_samples("~/pets")["train"]) == 2


def test_splits_are_named_without_being_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png", "val/a/2.png", "test/a/3.png")
    plain = write("plain", "a/1.png", "b/1.png")

    def never(*_: object) -> Samples:
        raise AssertionError("a split was read")

    monkeypatch.setitem(READERS, "folder", replace(READERS["folder"], read=never))
    assert split_names(folder) == ("train", "validation", "test")
    assert split_names(plain) == ("train",)


def test_a_split_that_is_not_there(write: Write) -> None:
    folder = write("pets", "train/a/1.png", "train/b/1.png", "val/a/2.png")
    with pytest.raises(DataError, match=r"pets has no test split\. It has: train, validation\. Add a folder"):
        find_samples(folder, splits=("test",))


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_samples(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere'} does not exist. Name a folder of photos, a .csv or .tsv file, a .parquet file, or a "
        ".tar file."
    )


def test_a_plain_file(tmp_path: Path) -> None:
    file = tmp_path / "photos.dat"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"photos\.dat is a file of an unknown kind\. Allowed are a folder .*\.parquet"):
        find_samples(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xlsx", "is an Excel file. Save it as CSV (in Excel: 'CSV UTF-8') and name that file."),
        ("a.ODS", "is a spreadsheet. Save it as CSV (in Excel: 'CSV UTF-8') and name that file."),
        ("a.json", "is a JSON file. Write a CSV with a line for each photo, as in image,label."),
        ("a.txt", "is plain text. If it is a table, rename it: to .tsv if tabs separate the columns, else to .csv."),
        ("a.csv.gz", "is compressed. Unpack it, and name {folder}/a.csv."),
        ("a.jsonl", "pandas.read_json('{folder}/a.jsonl', lines=True).to_csv('{folder}/a.csv', index=False)"),
        ("a.feather", "pandas.read_feather('{folder}/a.feather').to_csv('{folder}/a.csv', index=False)"),
    ],
)
def test_tables_in_other_formats_are_told_how_to_be_saved(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        find_samples(tmp_path / name)
    assert message.format(folder=tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("photos.zip", "unzip {}"),
        ("photos.tar.gz", "tar -xf {}"),
        ("photos.TGZ", "tar -xf {}"),
        ("photos.7z", "7z x {}"),
        ("photos.rar", "unrar x {}"),
    ],
)
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str, command: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        find_samples(file)
    assert str(caught.value).startswith(
        f"{file} is an archive: unpack it ({command.format(file)}) and name the folder that comes out. Allowed are "
    )


@pytest.mark.parametrize("pattern", ["*.jpg", "*", "a*/*.png", "**/?.png"])
def test_a_pattern_is_no_folder(write: Write, pattern: str) -> None:
    folder = write("pets", "a/1.png", "b/1.png")
    with pytest.raises(DataError) as caught:
        find_samples(f"{folder}/{pattern}")
    assert str(caught.value) == (
        f"{folder}/{pattern} is a pattern, not a folder of photos, a .csv or .tsv file, a .parquet file, or a .tar "
        f"file. Name the folder itself, whose photos are all read: {folder}."
    )


def test_one_photo_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "photo.JPG").write_bytes(b"x")
    with pytest.raises(DataError, match=r"photo\.JPG is one photo\. Name the folder that it lies in\."):
        find_samples(tmp_path / "photo.JPG")


@pytest.mark.parametrize(
    "columns", [Columns(image="image"), Columns(label="y"), Columns(split="set"), Columns(image_root=Path("x"))]
)
def test_column_options_with_a_folder(write: Write, columns: Columns) -> None:
    folder = write("pets", "a/1.png", "b/1.png")
    with pytest.raises(
        OptionError, match=r"image_column, label_column, group_column, split_column and image_root are for tables\. "
    ):
        find_samples(folder, columns)
    with flags_in_messages({}), pytest.raises(OptionError) as caught:
        find_samples(folder, columns)
    assert str(caught.value) == (
        f"--image-column, --label-column, --group-column, --split-column and --image-root are for tables. {folder} is "
        "a folder: name a CSV or Parquet file instead, or leave them out."
    )


def test_splits_stand_in_one_order_whatever_their_files_are_called(
    parquet: Callable[..., Path], png: Callable[[int], bytes]
) -> None:
    """By name, test-* would come before train-*."""
    for split in ("validation", "test", "train"):
        folder = parquet(f"hub/{split}-0.parquet", [{"bytes": png(0), "path": None}], ["a"]).parent
    assert split_names(folder) == SPLITS == ("train", "validation", "test")
    assert tuple(find_samples(folder, splits=SPLITS)) == SPLITS


def test_every_layout_is_in_the_help() -> None:
    assert layouts_in_words() == (
        "Class folders; train/ and val/ of class folders; a flat folder of cat.0.jpg, dog.0.jpg ...; a CSV; Parquet "
        "files; or WebDataset's .tar shards."
    )


# --- a new layout ---


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a layout: a folder with one JSON file for each split, of {image: label}."""

    def lists(folder: Path, _: Columns) -> dict[str, list[Path]]:
        return {split: [folder / f"{split}.json"] for split in SPLITS if (folder / f"{split}.json").exists()}

    def images(folder: Path, _: Columns) -> list[Path]:
        return [folder / name for [file] in lists(folder, Columns()).values() for name in json.loads(file.read_text())]

    def read(files: Sequence[Path], _: Columns, split: str, __: bool) -> Samples:
        assert files[0].stem == split
        labels = json.loads(files[0].read_text())
        return Samples.from_labels(str(files[0]), [files[0].parent / name for name in labels], list(labels.values()))

    row = Reader("a folder of JSON lists", "JSON lists", lambda path: bool(lists(path, Columns())), lists, read, images)
    monkeypatch.setitem(READERS, "lists", row)


@pytest.mark.usefixtures("listed")
def test_a_new_layout_is_one_row(write: Write, tmp_path: Path) -> None:
    folder = write("set", "1.dat.png", "2.dat.png", "3.dat.png")
    (folder / "test.json").write_text(json.dumps({"3.dat.png": "cat"}))
    (folder / "train.json").write_text(json.dumps({"2.dat.png": "dog", "1.dat.png": "cat"}))
    assert split_names(folder) == ("train", "test")
    found = find_samples(folder)
    assert list(found) == ["train"]
    assert found["train"].sources == (folder / "2.dat.png", folder / "1.dat.png")
    assert found["train"].counts() == {"cat": 1, "dog": 1}
    assert find_samples(folder, splits=("test",))["test"].counts() == {"cat": 1}
    with pytest.raises(DataError, match=r"Name a folder of photos, .*, a \.tar file, or a folder of JSON lists\."):
        find_samples(tmp_path / "nowhere")
    assert layouts_in_words().endswith("; WebDataset's .tar shards; or JSON lists.")


@pytest.mark.usefixtures("listed")
def test_photos_of_a_new_layout_are_found(tmp_path: Path) -> None:
    """Its images need not look like any: no folder of photos finds them."""
    (tmp_path / "train.json").write_text(json.dumps({"b": "dog", "a": "cat"}))
    assert find_photos([tmp_path]) == [tmp_path / "b", tmp_path / "a"]


@pytest.mark.usefixtures("listed")
def test_other_layouts_stay_as_they_are(write: Write) -> None:
    assert find_samples(write("pets", "a/1.png", "b/1.png"))["train"].classes == ("a", "b")
