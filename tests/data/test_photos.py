"""Photos without labels: what files, folders, globs and tables name, in the order given."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data.columns import Columns
from regraft.data.photos import find_photos
from regraft.errors import DataError, OptionError

Write = Callable[..., Path]
Png = Callable[[int], bytes]


def table(folder: Path, *lines: str, name: str = "photos.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def message_of(arguments: Sequence[str | Path], columns: Columns | None = None) -> str:
    with pytest.raises(DataError) as caught:
        find_photos(arguments, columns)
    return str(caught.value)


# --- files, folders, globs ---


def test_files_in_the_order_given_each_once(write: Write) -> None:
    folder = write("new", "1.png", "2.png", "10.png")
    found = find_photos([folder / "10.png", str(folder / "1.png"), folder / "10.png"])
    assert found == [folder / "10.png", folder / "1.png"]
    found = find_photos([folder / "10.png", folder])
    assert found == [folder / "10.png", folder / "1.png", folder / "2.png"]


def test_a_folder_is_all_images_below_it_in_natural_order(write: Write) -> None:
    """Splits and classes are folders like any other; what is hidden, or no image, is passed over."""
    folder = write("data", "train/b/10.png", "train/b/9.png", "train/a/1.png", "test/a/1.png", "0.png", ".x/1.png")
    (folder / "test/notes.txt").write_text("text")
    names = ["0.png", "test/a/1.png", "train/a/1.png", "train/b/9.png", "train/b/10.png"]
    assert find_photos([folder]) == [folder / name for name in names]


def test_home(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("new", "1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_photos(["~/new"]) == find_photos(["~/new/*.png"]) == [folder / "1.png"]


def test_globs_match_files_in_natural_order(write: Write) -> None:
    folder = write("new", "10.png", "9.png", "sub/1.png", "sub.png/x.png", "a.gif")
    assert find_photos([f"{folder}/*.png"]) == [folder / "9.png", folder / "10.png"]
    assert find_photos([f"{folder}/sub*/**/*.png"]) == [folder / "sub.png/x.png", folder / "sub/1.png"]


def test_a_name_with_brackets_is_a_name_where_there_is_one(write: Write) -> None:
    folder = write("new", "[1].png", "1.png")
    assert find_photos([folder / "[1].png"]) == [folder / "[1].png"]


def test_what_cannot_be_a_photo_is_found_all_the_same(write: Write) -> None:
    """It has its row with the reason, and the others are answered."""
    folder = write("new", "1.png")
    (folder / "notes.txt").write_text("text")
    (folder / "broken.png").symlink_to("nowhere.png")
    (folder / "broken.csv").symlink_to("nowhere.csv")
    os.mkfifo(folder / "pipe.csv")
    given = [folder / name for name in ("notes.txt", "broken.png", "broken.csv", "pipe.csv", "1.png")]
    assert find_photos(given) == given


def test_arguments_that_name_nothing_are_all_named(write: Write, tmp_path: Path) -> None:
    folder = write("new", "1.png")
    (tmp_path / "empty").mkdir()
    empty = table(tmp_path, "image")
    nothing = [tmp_path / "nowhere", tmp_path / "empty", f"{folder}/*.gif", empty]
    assert message_of([folder, *nothing]) == (
        f"no image found for: {', '.join(map(str, nothing))}. "
        "Name image files, folders of them, tables, or quoted globs."
    )


def test_what_lies_in_a_folder_without_photos(write: Write, tmp_path: Path) -> None:
    folder = write("new", "__old__/1.png")
    (folder / "photos.zip").write_bytes(b"x")
    assert message_of([folder]) == (
        f"no image found for: {folder}. Name image files, folders of them, tables, or quoted globs. Unpack what lies "
        f"in it: unzip {folder}/photos.zip. 1 images in {folder} are passed over as hidden (their names, or "
        "their folders', start with . or __, or are a system's): __old__ 1. Rename what is to count."
    )
    assert message_of([folder / "photos.zip"]) == (
        f"{folder}/photos.zip is an archive. Unpack it (unzip {folder}/photos.zip) and name the folder that comes out."
    )


# --- tables ---


def test_a_table_gives_the_image_of_each_row(write: Write) -> None:
    folder = write("new", "1.png", "deep/2.png", "3.png")
    rows = ("id,label", "3,", "2,x", "3,y")
    of_rows = [folder / "3.png", folder / "deep/2.png", folder / "3.png"]
    assert find_photos([table(folder, *rows)]) == of_rows
    assert find_photos([folder / "photos.csv", folder / "photos.csv"]) == of_rows  # named before: not repeated
    tsv = table(folder, "file\tnote", "deep/2.png\ta", "1.png\tb", name="photos.TSV")
    assert find_photos([folder / "3.png", tsv]) == [folder / "3.png", folder / "deep/2.png", folder / "1.png"]
    assert find_photos([f"{folder}/*.csv"]) == of_rows


def test_columns_and_root_of_a_table(write: Write, tmp_path: Path) -> None:
    root = write("new", "1.png", "2.png")
    file = table(tmp_path, "image,photo", "gone,2", "gone,1.png")
    columns = Columns(image="photo", image_root=root)
    assert find_photos([file, root], columns) == [root / "2.png", root / "1.png"]
    assert message_of([file]).startswith(f"{file}: 2 of 2 rows name no image file below {tmp_path}:\n")


def test_a_table_without_a_usual_column(write: Write) -> None:
    file = table(write("new", "1.png"), "photo", "1.png")
    assert message_of([file]).startswith(f"{file}: image_column is needed: none of image, image_path, ")


def test_a_table_that_cannot_be_read_is_an_error_alone_and_a_photo_beside_others(write: Write) -> None:
    """The other photos are answered, and it has its row with the reason."""
    folder = write("new", "1.png")
    file = table(folder, "photo", "1.png")
    assert find_photos([folder / "1.png", file]) == [folder / "1.png", file]
    assert find_photos([f"{folder}/*"]) == [folder / "1.png", file]
    with pytest.raises(DataError, match="image_column is needed"):
        find_photos([f"{folder}/*.csv"])


def test_columns_without_a_table(write: Write) -> None:
    with pytest.raises(OptionError) as caught:
        find_photos([write("new", "1.png")], Columns(image="photo"))
    assert str(caught.value) == (
        "image_column and image_root are for tables. None of the photos is named by a CSV or Parquet file: name one, "
        "or leave them out."
    )


def test_a_parquet_file_gives_its_cells(parquet: Write, png: Png) -> None:
    file = parquet("new.parquet", [{"bytes": png(seed), "path": f"{seed}.png"} for seed in (2, 1)], [None, None])
    assert [str(source) for source in find_photos([file])] == [f"{file}:2.png", f"{file}:1.png"]
    assert find_photos([file, file]) == find_photos([file])


def test_a_parquet_file_of_paths_gives_the_files(write: Write) -> None:
    folder = write("new", "1.png", "2.png")
    pq.write_table(pa.table({"path": ["2.png", "1.png", "2.png"]}), folder / "new.parquet")
    assert find_photos([folder / "new.parquet"]) == [folder / "2.png", folder / "1.png", folder / "2.png"]


def test_a_folder_of_parquet_files_gives_train_validation_and_test_in_turn(parquet: Write, png: Png) -> None:
    for seed, split in enumerate(("test", "train", "validation")):
        folder = parquet(f"hub/{split}-0.parquet", [{"bytes": png(seed), "path": None}], [0]).parent
    found = [Path(str(source)).name for source in find_photos([folder])]
    assert found == ["train-0.parquet:row 0", "validation-0.parquet:row 0", "test-0.parquet:row 0"]


def test_images_below_a_folder_count_before_its_parquet_files(parquet: Write, write: Write, png: Png) -> None:
    parquet("hub/train-0.parquet", [{"bytes": png(0), "path": None}], [0])
    folder = write("hub", "photos/1.png")
    assert find_photos([folder]) == [folder / "photos/1.png"]
