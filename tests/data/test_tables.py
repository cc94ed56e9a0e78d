"""CSV beside image files, and Parquet in the Hugging Face image layout."""

import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.data.samples import Samples, together
from regraft.data.tables import images_in_table, tables_in_order
from regraft.errors import DataError, flags_in_messages
from regraft.files import sha256
from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.sources import TableCell, content_key

Write = Callable[..., Path]
Png = Callable[[int], bytes]
PixelsOf = Callable[[int], np.ndarray]


def table(folder: Path, *lines: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def train(path: Path, columns: Columns | None = None) -> Samples:
    return find_samples(path, columns)["train"]


def labelled(samples: Samples) -> list[tuple[str, str]]:
    names = [Path(str(source)).name for source in samples.sources]
    return [(name, samples.classes[label]) for name, label in zip(names, samples.labels, strict=True)]


def message_of(path: Path, columns: Columns | None = None) -> str:
    with pytest.raises(DataError) as caught:
        find_samples(path, columns)
    return str(caught.value)


# --- CSV ---


def test_csv_of_paths_beside_it(write: Write) -> None:
    folder = write("set", "images/1.png", "images/2.png")
    samples = train(table(folder, "image,label", "images/2.png,dog", "images/1.png,cat"))
    assert samples.sources == (folder / "images/2.png", folder / "images/1.png")
    assert labelled(samples) == [("2.png", "dog"), ("1.png", "cat")]
    assert samples.where == str(folder / "labels.csv")
    assert samples.groups is None
    assert samples.notes == ()


def test_csv_ids_without_a_file_ending(write: Write) -> None:
    folder = write("isic", "part_1/ISIC_0024306.jpg", "part_2/ISIC_0024307.jpg")
    file = table(folder, "image_id,dx", "ISIC_0024307,mel", "ISIC_0024306,nv")
    samples = train(file, Columns(label="dx"))
    assert samples.sources == (folder / "part_2/ISIC_0024307.jpg", folder / "part_1/ISIC_0024306.jpg")
    assert labelled(samples) == [("ISIC_0024307.jpg", "mel"), ("ISIC_0024306.jpg", "nv")]


def test_csv_file_names_in_sub_folders(write: Write) -> None:
    folder = write("set", "x/1.png", "y/z/2.png")
    samples = train(table(folder, "file,label", "1.png,a", "2.png,b"))
    assert samples.sources == (folder / "x/1.png", folder / "y/z/2.png")


def test_csv_with_an_image_root(write: Write, tmp_path: Path) -> None:
    root = write("photos", "1.png", "deep/2.png")
    file = table(tmp_path, "image,label", "1,a", "2.png,b")
    samples = train(file, Columns(image_root=root))
    assert samples.sources == (root / "1.png", root / "deep/2.png")


def test_csv_image_root_that_is_no_folder(write: Write, tmp_path: Path) -> None:
    file = table(write("photos", "1.png"), "image,label", "1.png,a")
    message = message_of(file, Columns(image_root=tmp_path / "gone"))
    assert message == f"image_root {tmp_path / 'gone'} is no folder. Name the folder that the images of {file} lie in."


def test_csv_missing_label_column_suggests_the_close_one(write: Write) -> None:
    file = table(write("set", "1.png"), "image,diagnosis", "1.png,nv")
    message = message_of(file, Columns(label="diagnosi"))
    assert message == (
        f"{file}: label_column 'diagnosi' is not there. Did you mean 'diagnosis'? Its columns are: image, diagnosis."
    )


def test_csv_without_any_usual_column_names_both_options(write: Write) -> None:
    message = message_of(table(write("set", "1.png"), "foo,bar", "1.png,nv"))
    assert "image_column is needed: none of image, image_path, path" in message
    assert "label_column is needed: none of label, labels, class" in message
    assert message.endswith("Its columns are: foo, bar.")


def test_csv_missing_group_column(write: Write) -> None:
    file = table(write("set", "1.png"), "image,label,patient_id", "1.png,nv,7")
    message = message_of(file, Columns(group="patientid"))
    assert "group_column 'patientid' is not there. Did you mean 'patient_id'?" in message


def test_csv_usual_columns_are_tried_in_order(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "id,target,path,label", "2.png,x,1.png,y")
    assert labelled(train(file)) == [("1.png", "y")]
    assert labelled(train(file, Columns(image="id", label="target"))) == [("2.png", "x")]


def test_csv_missing_files_are_all_named_up_to_20_and_counted(write: Write) -> None:
    folder = write("set", "there.png")
    file = table(folder, "image,label", "there.png,a", *(f"gone{number}.png,b" for number in range(23)))
    message = message_of(file)
    assert message.startswith(f"{file}: 23 of 24 rows name no image file below {folder}:\n")
    assert re.findall(r"line (\d+): '(gone\d+\.png)' is missing", message) == [
        (str(number + 3), f"gone{number}.png") for number in range(20)
    ]
    assert "\n  and 3 more\n" in message
    assert message.endswith("Correct the rows, or name the images' folder with image_root.")


def test_csv_ambiguous_ids_name_the_candidates(write: Write) -> None:
    folder = write("set", "x/1.png", "y/1.png")
    message = message_of(table(folder, "image,label", "1,a"))
    assert f"line 2: '1' fits {Path('x/1.png')}, {Path('y/1.png')}" in message


def test_csv_full_path_is_not_ambiguous(write: Write) -> None:
    folder = write("set", "x/1.png", "y/1.png")
    samples = train(table(folder, "image,label", "x/1.png,a", f"{folder / 'y/1.png'},b"))
    assert samples.sources == (folder / "x/1.png", folder / "y/1.png")


def test_csv_empty_labels_are_named_by_row(write: Write) -> None:
    file = table(write("set", "1.png", "2.png", "3.png"), "image,label", "1.png,a", "2.png,", "3.png,  ")
    message = message_of(file)
    assert message == (
        f"{file}: 2 of 3 rows have no value in the label column 'label':\n  line 3\n  line 4\nFill them in or remove "
        "the rows."
    )


def test_csv_repeats_are_left_out_and_noted(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label", "1.png,a", "2.png,b", "1.png,a", "1,a")
    samples = train(file)
    assert labelled(samples) == [("1.png", "a"), ("2.png", "b")]
    assert samples.notes == (f"2 rows of {file} repeat another row: left out",)


def test_csv_contradicting_rows_are_both_kept_for_the_audit(write: Write) -> None:
    file = table(write("set", "1.png"), "image,label", "1.png,a", "1.png,b")
    assert labelled(train(file)) == [("1.png", "a"), ("1.png", "b")]


def test_csv_values_stay_text(write: Write) -> None:
    folder = write("set", "1.png", "2.png", "3.png", "4.png", "5.png")
    file = table(folder, "image,label", "1.png,01", "2.png,1", "3.png,NA", "4.png,null", "5.png,1.0")
    samples = train(file)
    assert set(samples.classes) == {"01", "1", "NA", "null", "1.0"}
    assert labelled(samples)[2] == ("3.png", "NA")


def test_csv_ids_of_digits_stay_text(write: Write) -> None:
    folder = write("set", "0007.png", "7.png")
    assert train(table(folder, "id,label", "0007,a", "7,b")).sources == (folder / "0007.png", folder / "7.png")


def test_csv_labels_lose_blanks_at_the_ends(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label", "1.png, cat", "2.png,cat ")
    assert train(file).classes == ("cat",)


def test_csv_group_column(write: Write) -> None:
    folder = write("set", "1.png", "2.png", "3.png")
    file = table(folder, "image,label,patient", "1.png,a,p2", "2.png,b,p1", "3.png,a,p2")
    groups = train(file, Columns(group="patient")).groups
    assert groups is not None
    assert groups.dtype == np.int64
    assert groups.tolist() == [1, 0, 1]  # p1, p2 in order


def test_csv_group_names_lose_blanks_and_empty_cells_are_groups_of_their_own(write: Write) -> None:
    folder = write("set", *(f"{number}.png" for number in range(1, 6)))
    file = table(folder, "image,label,patient", "1.png,a,P1", "2.png,b,P1 ", "3.png,a,", "4.png,b,  ", "5.png,b,P0")
    samples = train(file, Columns(group="patient"))
    assert samples.groups is not None
    assert samples.groups.tolist() == [1, 1, 2, 3, 0]
    assert samples.group_names == ("P0", "P1", None, None)
    assert samples.notes == (
        f"2 of 5 rows of {file} have no value in the group column 'patient': each of these photos is taken as a group "
        "of its own",
    )


def test_csv_group_column_survives_repeats(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label,g", "1.png,a,x", "1.png,a,x", "2.png,b,y")
    samples = train(file, Columns(group="g"))
    assert samples.groups is not None
    assert (len(samples), samples.groups.tolist()) == (2, [0, 1])


def test_tsv(write: Write) -> None:
    folder = write("set", "1.png", "a,b.png")
    file = table(folder, "image\tlabel", "1.png\tx", "a,b.png\ty, z", name="labels.tsv")
    assert labelled(train(file)) == [("1.png", "x"), ("a,b.png", "y, z")]


def test_csv_with_a_byte_order_mark(write: Write) -> None:
    folder = write("set", "1.png")
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbfimage,label\r\n1.png,K\xc3\xa4fer\r\n")
    assert labelled(train(folder / "labels.csv")) == [("1.png", "Käfer")]


@pytest.mark.parametrize("content", [b"", b"image,label\n1.png,caf\x81\n", b'image,label\n"1.png,a\n'])
def test_csv_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    assert "labels.csv is not a readable CSV table: " in message_of(tmp_path / "labels.csv")


def test_csv_of_a_header_only(tmp_path: Path) -> None:
    file = table(tmp_path, "image,label")
    assert message_of(file) == f"{file} holds no images."


# --- splits in a column ---


def test_split_column_is_used_and_said(write: Write) -> None:
    folder = write("set", *(f"{number}.png" for number in range(6)))
    words = ("Train", "test", "valid", "training ", "Testing", "train")
    rows = [f"{number}.png,{'ab'[number % 2]},{word}" for number, word in enumerate(words)]
    file = table(folder, "image,label,split", *rows)
    assert split_names(file) == ("train", "validation", "test")
    found = find_samples(file)
    assert {split: labelled(samples) for split, samples in found.items()} == {
        "train": [("0.png", "a"), ("3.png", "b"), ("5.png", "b")],
        "validation": [("2.png", "a")],
    }
    assert found["train"].where == f"{file} (train)"
    note = f"{file}: the column 'split' says which split each row is of: train 3, validation 1, test 2"
    assert found["train"].notes == (note,)
    assert found["validation"].notes == ()  # it was said
    test = find_samples(file, splits=("test",))["test"]
    assert (labelled(test), test.notes) == ([("1.png", "b"), ("4.png", "a")], (note,))


def test_rows_of_another_split_are_not_looked_at(write: Write) -> None:
    """A test row need not have a label, a group or a photo here, as in a competition."""
    file = table(write("set", "1.png"), "image,label,patient,split", "1.png,a,p,train", "gone.png,,,test")
    assert labelled(train(file, Columns(group="patient"))) == [("1.png", "a")]
    with pytest.raises(DataError, match=r"line 3: 'gone\.png' is missing"):
        find_samples(file, splits=("test",))


@pytest.mark.parametrize("name", ["Split", "set", "SUBSET", "fold", "partition"])
def test_usual_names_of_a_split_column(write: Write, name: str) -> None:
    file = table(write("set", "1.png", "2.png"), f"image,label,{name}", "1.png,a,train", "2.png,b,val")
    assert split_names(file) == ("train", "validation")


@pytest.mark.parametrize("columns", ["image,label,set", "image,label,fold", "image,label,train", "image,set,x"])
def test_columns_that_say_no_split_are_let_alone(write: Write, columns: str) -> None:
    file = table(write("set", "1.png", "2.png"), columns, "1.png,test,1", "2.png,b,2")
    assert split_names(file, Columns(label=columns.split(",")[1])) == ("train",)


def test_split_column_by_option(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label,part,split", "1.png,a,train,x", "2.png,b,test,y")
    assert split_names(file, Columns(split="part")) == ("train", "test")
    assert split_names(file, Columns(split="none")) == ("train",)
    assert len(train(file, Columns(split="none"))) == 2
    assert message_of(file, Columns(split="prt")).endswith(
        "split_column 'prt' is not there. Did you mean 'part'? Its columns are: image, label, part, split."
    )


@pytest.mark.parametrize("name", ["split", "set"])
def test_other_values_of_a_split_column_are_listed(write: Write, name: str) -> None:
    file = table(
        write("set", "1.png"), f"image,label,{name}", "1.png,a,train", "1.png,a,B", "1.png,a,B", "1.png,a,", "1.png,a,A"
    )
    assert message_of(file) == (
        f"{file}: the split column {name!r} has values that name no split:\n"
        "  'B': 2 rows\n  '': 1 rows\n  'A': 1 rows\nAllowed are train, validation (or val) and test. "
        "Rename them, name another column with split_column, or take all rows as one set: "
        "split_column='none'."
    )


def test_table_of_test_rows_alone_is_not_trained_on(write: Write) -> None:
    file = table(write("set", "1.png"), "image,label,split", "1.png,a,test")
    assert split_names(file) == ("test",)
    assert message_of(file) == (
        f"{file} has no train split. It has: test. Add a folder (or Parquet files) of that name, or name the folder or "
        "file that you mean, or take all rows as one set: split_column='none'."
    )


def test_parts_of_a_split_are_not_asked_for_a_column(parquet: Write, png: Png) -> None:
    """A test part is not opened by training; of train-0, all rows are train."""
    images = [cell(png(seed)) for seed in range(2)]
    folder = parquet("hub/train-0.parquet", images, ["x", "y"], split=["test", "train"]).parent
    (folder / "test-0.parquet").touch()
    assert split_names(folder) == ("train", "test")
    assert len(train(folder)) == 2
    assert train(folder / "train-0.parquet", Columns(split="split")).counts() == {"y": 1}


def test_groups_are_compared_between_the_splits_of_a_column(write: Write) -> None:
    folder = write("set", "1.png", "2.png", "3.png")
    file = table(
        folder, "image,label,patient,split", "1.png,a,p,train", "2.png,b,q,train", "3.png,a,q,val", "1.png,a,NA,val"
    )
    both = together(list(find_samples(file, Columns(group="patient")).values()))
    assert both.groups is not None
    assert both.groups.tolist() == [0, 1, 1, 2]


def test_split_column_of_parquet_files(parquet: Write, png: Png) -> None:
    images = [cell(png(seed)) for seed in range(3)]
    for name in ("a", "b"):
        folder = parquet(f"hub/{name}.parquet", images, ["x", "y", "x"], split=["train", "test", "train"]).parent
    assert split_names(folder) == ("train", "test")
    assert find_samples(folder, splits=("test",))["test"].counts() == {"y": 2}
    assert train(folder / "a.parquet").counts() == {"x": 2}
    odd = parquet("odd.parquet", images, ["x", "y", "x"], split=[0, 1, 0])
    assert "has values that name no split:\n  0: 2 rows\n  1: 1 rows\n" in message_of(odd)


# --- what labels and columns are meant ---


def test_columns_that_could_be_meant_are_noted(write: Write) -> None:
    file = table(write("set", "1.png"), "id,image,path,label,class", "7,1.png,x,a,b")
    assert train(file).notes == (
        f"{file}: 'image' is taken as the image column; 'path' could be meant, too: name the one that is with "
        "image_column",
        f"{file}: 'label' is taken as the label column; 'class' could be meant, too: name the one that is with "
        "label_column",
    )
    assert train(file, Columns(image="image", label="label")).notes == ()
    assert train(file, Columns(image="image", label="label")).classes == ("a",)


def test_columns_that_figures_depend_on_are_noted(write: Write) -> None:
    folder = write("set", "1.png", "2.png", "3.png")
    file = table(folder, "image,label,Patient ID,is_valid", "1.png,a,7,0", "2.png,b,7,1", "3.png,b,8,0")
    assert train(file).notes == (
        f"{file}: 'is_valid' is not used: all rows are one set. For splits write train, validation and test into a "
        "column and name it with split_column",
        f"{file}: photos of one 'Patient ID' are taken to be independent. If they are not, keep them on one side of "
        "every split: group_column 'Patient ID'",
    )
    assert train(file, Columns(group="patient id", split="none")).notes == ()
    once = table(folder, "image,label,patient", "1.png,a,7", "2.png,b,8", "3.png,b,9")
    assert train(once).notes == ()


def test_a_column_that_differs_in_case_alone_could_be_meant(write: Write) -> None:
    file = table(write("set", "1.png"), "image,Label,label", "1.png,a,b")
    assert train(file).classes == ("b",)
    assert train(file).notes[0].startswith(f"{file}: 'label' is taken as the label column; 'Label' could be meant, too")
    assert train(file, Columns(label="Label")).classes == ("a",)


@pytest.mark.parametrize("header", ["Image,LABEL", " image , label ", '"File Name",Class', "file-name,target"])
def test_usual_names_in_another_spelling(write: Write, header: str) -> None:
    assert labelled(train(table(write("set", "1.png"), header, "1.png,a"))) == [("1.png", "a")]


def test_parquet_column_names_lose_blanks(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    pq.write_table(pa.table({"image ": ["1.png", " 2.png "], " Label": ["a", "b"]}), folder / "set.parquet")
    assert labelled(train(folder / "set.parquet")) == [("1.png", "a"), ("2.png", "b")]


def test_csv_two_columns_of_one_name(write: Write) -> None:
    file = table(write("set", "1.png"), "image,label,label", "1.png,a,b")
    assert message_of(file) == f"{file}: Several columns are called 'label'. Its columns are: image, label, label."


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (["1.png,cat", "2.png,dog"], "They look like a photo's row: the first line must name the columns"),
        (["image label", "1.png cat"], "That is one column: commas, tabs, semicolons and | separate columns"),
    ],
)
def test_csv_header_that_is_none(write: Write, lines: list[str], hint: str) -> None:
    assert hint in message_of(table(write("set", "1.png"), *lines))


def test_many_columns_are_not_all_listed(write: Write) -> None:
    names = [f"x{number}" for number in range(53)]
    message = message_of(table(write("set", "1.png"), ",".join(names), ",".join(names)))
    assert message.endswith(f"Its columns are: {', '.join(names[:50])} and 3 more.")


SEVERAL = ("cat|dog", "cat;dog", '"cat,dog"', "cat, dog", "cat dog", "cat/dog", "cat & dog", "Dog and cat", "cat|bird")


@pytest.mark.parametrize("label", [*SEVERAL, "['cat', 'dog']", "[cat; dog]"])
def test_csv_several_labels_in_a_cell(write: Write, label: str) -> None:
    folder = write("set", "1.png", "2.png", "3.png")
    text = label.strip('"')
    file = table(folder, "image,label", "1.png,cat", "2.png,dog", f'3.png,"{text}"')
    assert message_of(file) == (
        f"{file}: 1 of 3 values in the label column 'label' look like several labels of one photo, which is not "
        f"supported:\n  {text!r}\nKeep one label for each photo, remove these photos, or name another column with "
        "label_column; if it is a class of its own, give it a name without the names of others."
    )


def test_csv_labels_over_several_lines_miss_a_quote(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label", '1.png,"cat', '2.png,"dog"')
    assert message_of(file) == (
        f"{file}: labels in the label column 'label' go on over several lines; a quote may be missing:\n"
        "  'cat\\n2.png,dog\"'\nCorrect them."
    )


@pytest.mark.parametrize("label", ["cat, wild", "Canis lupus", "cat/", "n02123045, tabby", "catdog", "cat-dog"])
def test_csv_labels_with_separators_are_classes(write: Write, label: str) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label", "1.png,cat", f'2.png,"{label}"')
    assert set(train(file).classes) == {"cat", label}


def test_parquet_lists_of_labels(write: Write) -> None:
    folder = write("set", "1.png")
    pq.write_table(pa.table({"image": ["1.png"], "label": [["a", "b"]]}), folder / "set.parquet")
    assert "the label column 'label' holds list<element: string>, several labels of one photo, which is not" in (
        message_of(folder / "set.parquet")
    )
    pq.write_table(pa.table({"image": ["1.png"], "label": [{"x": 1}]}), folder / "set.parquet")
    assert "the label column 'label' holds struct<x: int64>. Allowed are text and numbers." in (
        message_of(folder / "set.parquet")
    )


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([b"cat", b"dog"], ("cat", "dog")),
        ([1.0, 0.0], ("0", "1")),
        ([True, False], ("False", "True")),
        (pa.array(["cat", "dog"]).dictionary_encode(), ("cat", "dog")),
    ],
)
def test_parquet_labels_of_other_types(write: Write, values: Any, classes: tuple[str, ...]) -> None:
    folder = write("set", "1.png", "2.png")
    images = pa.array(["1.png", "2.png"]).dictionary_encode()
    pq.write_table(pa.table({"image": images, "label": values}), folder / "set.parquet")
    assert train(folder / "set.parquet").classes == classes


def test_csv_a_column_of_0_and_1_for_each_class(write: Write) -> None:
    """As ISIC writes its ground truth."""
    folder = write("set", "1.png", "2.png", "3.png")
    file = table(folder, "image,MEL,NV,BCC", "1,0.0,1.0,0.0", "2,1.0,0.0,0.0", "3,0.0,0.0,1.0")
    samples = train(file)
    assert labelled(samples) == [("1.png", "NV"), ("2.png", "MEL"), ("3.png", "BCC")]
    assert samples.notes == (f"{file}: the label of a row is its column that holds a 1: MEL, NV, BCC",)


def test_csv_a_column_for_each_class_and_rows_with_several_or_none(write: Write) -> None:
    file = table(write("set", "1.png", "2.png"), "image,cat,dog", "1,1,1", "2,0,0", "1,1,0")
    assert message_of(file) == (
        f"{file} has a column of 0 and 1 for each class, and 2 of 3 rows have several labels or none, which is not "
        "supported:\n  line 2: cat, dog\n  line 3: none\nKeep the rows with one 1, or write one label for each photo "
        "into a column and name it with label_column."
    )


@pytest.mark.parametrize("words", [("train2017", "val2017"), ("Training", "development"), ("trn", "validate")])
def test_csv_a_split_column_has_the_words_that_folders_have(write: Write, words: tuple[str, str]) -> None:
    folder = write("set", *(f"{number}.png" for number in range(4)))
    rows = [f"{number}.png,{'cat' if number % 2 else 'dog'},{words[number // 2]}" for number in range(4)]
    found = find_samples(table(folder, "image,label,split", *rows))
    assert {split: len(samples) for split, samples in found.items()} == {"train": 2, "validation": 2}


def test_parquet_other_columns_may_hold_anything(parquet: Write, png: Png, tmp_path: Path) -> None:
    """Boxes and masks, as lists and structs, beside the images: no columns for classes."""
    file = tmp_path / "boxes.parquet"
    columns = {"image": [cell(png(0)), cell(png(1))], "boxes": [[1, 2], []], "size": [{"w": 1}, {"w": 2}]}
    pq.write_table(pa.table(columns), file)
    assert "label_column is needed: none of label, labels, class, target, category is there" in message_of(file)


@pytest.mark.parametrize("header", ["image,cat,age", "image,malignant", "image,cat,dog,age"])
def test_csv_columns_that_are_not_all_classes_are_no_labels(write: Write, header: str) -> None:
    row = ["1.png", "1", "0", "33"][: header.count(",") + 1] if "age" not in header else ["1.png", "1", "33", "33"]
    message = message_of(table(write("set", "1.png"), header, ",".join(row[: header.count(",") + 1])))
    assert "label_column is needed" in message


@pytest.mark.parametrize("value", ["nan", "NaN", "<NA>", "NaT", "\u00a0"])
def test_csv_labels_that_pandas_writes_for_nothing_are_none(write: Write, value: str) -> None:
    file = table(write("set", "1.png", "2.png"), "image,label", "1.png,a", f"2.png,{value}")
    shown = f": {value!r}" if value.strip() else ""
    assert f"1 of 2 rows have no value in the label column 'label':\n  line 3{shown}\n" in message_of(file)


def test_csv_classes_that_may_be_missing_labels_are_noted(write: Write) -> None:
    """The neutral class, Namibia, a medium without a name: NA and None may be classes."""
    file = table(write("set", "1.png", "2.png"), "image,label", "1.png,NA", "2.png,None")
    samples = train(file)
    assert samples.classes == ("NA", "None")
    assert samples.notes == (
        f"{file}: 'NA' (1), 'None' (1) in the label column 'label' is taken as a class. If it says that there is no "
        "label, remove these photos",
    )


def test_csv_classes_that_are_spelled_nearly_alike_are_noted(write: Write) -> None:
    folder = write("set", *(f"{number}.png" for number in range(6)))
    labels = ("Cat", "cat", "1", "1.0", "tabby cat", "tabby_cat")
    samples = train(table(folder, "image,label", *(f"{number}.png,{label}" for number, label in enumerate(labels))))
    assert len(samples.classes) == 6
    file = folder / "labels.csv"
    assert samples.notes == (
        f"{file}: classes of the label column 'label' that are spelled nearly alike stay apart: '1' and '1.0'; 'tabby "
        "cat' and 'tabby_cat'",
        "Cat and cat differ in upper and lower case alone, and are taken as 2 classes: rename them if they are one",
    )


def test_csv_labels_in_two_unicode_forms_are_one_class(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    forms = [unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD")]
    assert train(table(folder, "image,label", f"1.png,{forms[0]}", f"2.png,{forms[1]}")).classes == (forms[0],)


NOTHING = ("NA", "NA", "N/A", "nan", "None", "null", "-", "?", "unknown", "Unknown", "#N/A", "<NA>", ".", "-1", " ")


def test_csv_groups_that_say_nothing_are_groups_of_their_own(write: Write) -> None:
    folder = write("set", *(f"{number}.png" for number in range(len(NOTHING) + 2)))
    rows = [f"{number}.png,a,{value}" for number, value in enumerate([*NOTHING, "0", "0"])]  # 0 is a patient
    file = table(folder, "image,label,patient", *rows)
    samples = train(file, Columns(group="patient"))
    assert samples.groups is not None
    assert len(set(samples.groups.tolist())) == len(NOTHING) + 1
    assert samples.notes == (
        f"15 of 17 rows of {file} have no value in the group column 'patient' ('NA', 'N/A', 'nan', 'None', 'null' "
        "...): each of these photos is taken as a group of its own",
    )


# --- Parquet ---


def cell(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def test_parquet_class_names_come_from_the_schema(parquet: Write, png: Png, pixels: PixelsOf) -> None:
    images = [cell(png(seed), f"{seed}.png") for seed in range(3)]
    file = parquet("pets.parquet", images, [1, 0, 1], names=["cat", "dog"])
    samples = train(file)
    assert samples.classes == ("cat", "dog")
    assert samples.labels.tolist() == [1, 0, 1]
    assert [str(source) for source in samples.sources] == [f"{file}:{seed}.png" for seed in range(3)]
    for seed, source in enumerate(samples.sources):
        assert np.array_equal(np.asarray(read_image(source)), pixels(seed))
        assert content_key(source) == sha256(png(seed))


def test_parquet_classes_stand_in_natural_order_not_in_the_schemas(parquet: Write, png: Png) -> None:
    file = parquet("d.parquet", [cell(png(0)), cell(png(1))], [0, 1], names=["10", "2"])
    samples = train(file)
    assert samples.classes == ("2", "10")
    assert samples.labels.tolist() == [1, 0]


def test_parquet_of_several_row_groups(parquet: Write, png: Png, pixels: PixelsOf) -> None:
    images = [cell(png(seed)) for seed in range(13)]
    file = parquet("many.parquet", images, ["a", "b"] * 6 + ["a"], row_group_size=2)
    samples = train(file)
    cells = [source for source in samples.sources if isinstance(source, TableCell)]
    assert [(c.row_group, c.row) for c in cells] == [(row // 2, row % 2) for row in range(13)]
    assert [c.name for c in cells] == [f"row {row}" for row in range(13)]
    for seed in (12, 0, 5, 11, 1):  # more row groups than are kept in memory, out of order
        assert np.array_equal(np.asarray(read_image(cells[seed])), pixels(seed))


def test_parquet_splits_by_file_name(parquet: Write, png: Png) -> None:
    for number in range(2):
        parquet(f"hub/train-0000{number}-of-00002.parquet", [cell(png(number))], ["ab"[number]])
    parquet("hub/validation-00000-of-00001.parquet", [cell(png(2))], ["a"])
    folder = parquet("hub/test-00000-of-00001.parquet", [cell(png(3))], ["b"]).parent
    found = find_samples(folder)
    assert {split: samples.counts() for split, samples in found.items()} == {
        "train": {"a": 1, "b": 1},
        "validation": {"a": 1},
    }
    assert find_samples(folder, splits=("test",))["test"].counts() == {"b": 1}


@pytest.mark.parametrize("there", [("test",), ("validation",), ("validation", "test")])
def test_parquet_folder_without_a_training_split(parquet: Write, png: Png, there: tuple[str, ...]) -> None:
    for split in there:
        folder = parquet(f"hub/{split}-00000-of-00001.parquet", [cell(png(0)), cell(png(1))], ["a", "b"]).parent
    assert split_names(folder) == there
    assert message_of(folder) == (
        f"{folder} has no train split. It has: {', '.join(there)}. Add a folder (or Parquet files) of that name, or "
        "name the folder or file that you mean."
    )
    assert list(find_samples(folder, splits=(there[-1],))) == [there[-1]]


def test_parquet_files_without_a_split_are_all_train(parquet: Write, png: Png) -> None:
    parquet("hub/part-1.parquet", [cell(png(1))], ["b"])
    folder = parquet("hub/part-0.parquet", [cell(png(0))], ["a"]).parent
    found = find_samples(folder)
    assert list(found) == ["train"]
    assert labelled(found["train"]) == [("part-0.parquet:row 0", "a"), ("part-1.parquet:row 0", "b")]


def test_parquet_files_only_some_of_which_name_a_split(parquet: Write, png: Png) -> None:
    parquet("hub/extra.parquet", [cell(png(1))], ["b"])
    folder = parquet("hub/train-00000-of-00001.parquet", [cell(png(0))], ["a"]).parent
    with pytest.raises(
        DataError, match=r"others are not: extra\.parquet\. Name all of them train-\*, .* or pass one file"
    ):
        find_samples(folder)


@pytest.mark.parametrize("none", [-1, None])
def test_parquet_rows_without_a_label(parquet: Write, png: Png, none: int | None) -> None:
    images = [cell(png(seed)) for seed in range(3)]
    file = parquet("test.parquet", images, [0, none, none], names=["cat", "dog"])
    assert message_of(file) == (
        f"{file}: 2 of 3 rows have no value in the label column 'label':\n  row 1\n  row 2\nFill them in or remove the "
        "rows."
    )


@pytest.mark.parametrize("labels", [[math.nan, 1.0, math.nan], ["", "cat", " \t"]])
def test_parquet_labels_that_say_nothing_are_no_labels(parquet: Write, png: Png, labels: list[Any]) -> None:
    file = parquet("test.parquet", [cell(png(seed)) for seed in range(3)], labels)
    assert message_of(file).startswith(
        f"{file}: 2 of 3 rows have no value in the label column 'label':\n  row 0\n  row 2\n"
    )


def test_parquet_labels_lose_blanks_at_the_ends(parquet: Write, png: Png) -> None:
    assert train(parquet("x.parquet", [cell(png(0)), cell(png(1))], [" cat", "cat "])).classes == ("cat",)


def test_parquet_label_beyond_the_names(parquet: Write, png: Png) -> None:
    file = parquet("x.parquet", [cell(png(0)), cell(png(1))], [0, 2], names=["cat", "dog"])
    assert message_of(file) == f"{file}: label 2 has no name; the schema names 2 classes (0 to n-1)."


def test_parquet_whole_numbers_as_floats_have_names(parquet: Write, png: Png) -> None:
    path = parquet("pets.parquet", [cell(png(1)), cell(png(2))], [1.0, 0.0], names=["cat", "dog"])
    assert [name for _, name in labelled(train(path))] == ["dog", "cat"]


@pytest.mark.parametrize("label", [0.5, 2, -3])
def test_parquet_labels_that_are_no_number_of_a_name(parquet: Write, png: Png, label: float) -> None:
    path = parquet("pets.parquet", [cell(png(1)), cell(png(2))], [0, label], names=["cat", "dog"])
    assert "has no name; the schema names 2 classes" in message_of(path)


@pytest.mark.parametrize("about", [b"{", b"[]", b'{"info": {"features": {"label": {"names": 3}}}}'])
def test_parquet_class_names_that_cannot_be_read(tmp_path: Path, png: Png, about: bytes) -> None:
    rows = pa.table({"image": [png(1), png(2)], "label": [0, 1]}).replace_schema_metadata({b"huggingface": about})
    pq.write_table(rows, tmp_path / "pets.parquet")
    assert "the class names in its Hugging Face metadata cannot be read" in message_of(tmp_path / "pets.parquet")


def test_parquet_column_of_paths(write: Write) -> None:
    folder = write("set", "images/1.png", "images/2.png")
    pq.write_table(pa.table({"image": ["images/2.png", "1.png"], "label": ["dog", "cat"]}), folder / "set.parquet")
    assert labelled(train(folder / "set.parquet")) == [("2.png", "dog"), ("1.png", "cat")]


def test_parquet_column_of_paths_that_are_missing(write: Write) -> None:
    folder = write("set", "1.png")
    pq.write_table(pa.table({"image": ["1.png", "gone.png", None], "label": ["a", "b", "b"]}), folder / "set.parquet")
    message = message_of(folder / "set.parquet")
    assert "2 of 3 rows name no image file below" in message
    assert "row 1: 'gone.png' is missing" in message


def test_parquet_column_that_holds_no_images(parquet: Write, png: Png) -> None:
    path = parquet("pets.parquet", [cell(png(1)), cell(png(2))], [0, 1])
    message = message_of(path, Columns(image="label"))
    assert "the image column 'label' holds int64. Allowed are bytes, a struct of bytes and path, or paths as text." in (
        message
    )
    assert "image_column; the columns are: image, label." in message


def test_csv_column_of_long_texts_names_no_files(write: Write) -> None:
    folder = write("set", "1.png")
    message = message_of(table(folder, "image,label", "a" * 5000 + ",cat"))
    assert "1 of 1 rows name no image file below" in message


def test_parquet_numbers_without_names_become_text(parquet: Write, png: Png) -> None:
    file = parquet("x.parquet", [cell(png(0)), cell(png(1))], [10, 2])
    assert train(file).classes == ("2", "10")


def test_parquet_text_labels_win_over_the_schemas_names(parquet: Write, png: Png) -> None:
    file = parquet("x.parquet", [cell(png(0)), cell(png(1))], ["x", "y"], names=["cat", "dog"])
    assert train(file).classes == ("x", "y")


def test_parquet_group_column(parquet: Write, png: Png) -> None:
    images = [cell(png(seed)) for seed in range(3)]
    file = parquet("x.parquet", images, ["a", "b", "a"], patient=[30, 4, 30])
    groups = train(file, Columns(group="patient")).groups
    assert groups is not None
    assert groups[0] == groups[2] != groups[1]


@pytest.mark.parametrize(
    ("patients", "names"),
    [
        (["P1", None, "P0", "P1 ", None], ("P0", "P1", None, None)),
        ([1.5, math.nan, 0.0, 1.5, math.nan], ("0", "1.5", None, None)),
    ],
)
def test_parquet_groups_without_a_name_are_groups_of_their_own(
    parquet: Write, png: Png, patients: list[Any], names: tuple[str | None, ...]
) -> None:
    file = parquet("x.parquet", [cell(png(seed)) for seed in range(5)], list("ababa"), patient=patients)
    samples = train(file, Columns(group="patient"))
    assert samples.groups is not None
    assert samples.groups.tolist() == [1, 2, 0, 1, 3]
    assert samples.group_names == names
    assert samples.notes[0].startswith(f"2 of 5 rows of {file} have no value in the group column 'patient': ")


def test_parquet_group_names_are_compared_between_splits(parquet: Write, png: Png) -> None:
    """Of patients a, b and one unknown, and b, c and one unknown, b is one group."""
    images = [cell(png(seed)) for seed in range(3)]
    parquet("hub/train-0.parquet", images, ["x", "y", "x"], patient=["a", "b", None])
    folder = parquet("hub/validation-0.parquet", images, ["x", "y", "x"], patient=["c", "b", None]).parent
    both = together(list(find_samples(folder, Columns(group="patient")).values()))
    assert both.groups is not None
    assert both.groups.tolist() == [0, 1, 2, 3, 1, 4]


def test_parquet_missing_columns_lists_those_there(parquet: Write, png: Png) -> None:
    file = parquet("x.parquet", [cell(png(0))], ["a"], extra=["e"])
    message = message_of(file, Columns(image="imag", label="lable"))
    assert "image_column 'imag' is not there. Did you mean 'image'?" in message
    assert "label_column 'lable' is not there. Did you mean 'label'?" in message
    assert message.endswith("Its columns are: image, label, extra.")


def test_parquet_damaged_file(parquet: Write, png: Png) -> None:
    file = parquet("x.parquet", [cell(png(0))], ["a"])
    file.write_bytes(file.read_bytes()[:-20])
    assert "x.parquet is not a readable Parquet file: " in message_of(file)


def test_parquet_column_of_plain_bytes(tmp_path: Path, png: Png, pixels: PixelsOf) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [png(4)], "label": ["a"]}), file)
    assert np.array_equal(np.asarray(read_image(train(file).sources[0])), pixels(4))


def test_parquet_cell_that_only_names_a_file(parquet: Write, write: Write, pixels: PixelsOf) -> None:
    folder = write("hub", "images/7.png", first_seed=7)
    file = parquet("hub/x.parquet", [cell(None, "images/7.png")], ["a"])
    assert file.parent == folder
    assert np.array_equal(np.asarray(read_image(train(file).sources[0])), pixels(7))


@pytest.mark.parametrize("nothing", [None, {"bytes": None, "path": None}])
def test_parquet_row_without_an_image_is_unreadable_not_fatal(
    parquet: Write, png: Png, nothing: dict[str, None] | None
) -> None:
    samples = train(parquet("x.parquet", [nothing, cell(png(1), "1.png")], ["a", "b"]))
    assert [Path(str(source)).name for source in samples.sources] == ["x.parquet:row 0", "x.parquet:1.png"]
    with pytest.raises(UnreadableImageError, match="the table holds no bytes for this image"):
        read_image(samples.sources[0])


def test_parquet_without_rows(parquet: Write, png: Png) -> None:
    file = parquet("hub/train-00000-of-00002.parquet", [], [], names=["cat", "dog"])
    assert message_of(file) == f"{file} holds no images."
    parquet("hub/train-00001-of-00002.parquet", [cell(png(0))], [1], names=["cat", "dog"])
    assert train(file.parent).counts() == {"dog": 1}


# --- images alone ---


def test_images_in_a_csv_need_no_labels(write: Write) -> None:
    folder = write("set", "1.png", "deep/2.png")
    file = table(folder, "image,label", "2,", "1.png,a", "2.png,b")
    assert images_in_table(file, Columns()) == [folder / "deep/2.png", folder / "1.png", folder / "deep/2.png"]
    assert images_in_table(table(folder, "id", "1"), Columns()) == [folder / "1.png"]


def test_images_in_a_csv_have_a_column(write: Write) -> None:
    folder = write("set", "1.png")
    file = table(folder, "foo,bar", "1.png,nv")
    with pytest.raises(DataError) as caught:
        images_in_table(file, Columns())
    assert str(caught.value) == (
        f"{file}: image_column is needed: none of image, image_path, path, file, file_name, filename, image_id, id is "
        "there. Its columns are: foo, bar."
    )
    assert images_in_table(file, Columns(image="foo", label="gone", group="gone")) == [folder / "1.png"]
    with pytest.raises(DataError, match=r"image_column 'fo' is not there\. Did you mean 'foo'\?"):
        images_in_table(file, Columns(image="fo"))


def test_images_in_parquet_need_no_labels(parquet: Write, png: Png) -> None:
    files = [parquet(f"hub/{n}.parquet", [cell(png(n), f"{n}.png"), cell(png(9))], [-1, None]) for n in range(2)]
    assert [str(source) for source in images_in_table(files[0].parent, Columns())] == [
        *(f"{files[0]}:0.png", f"{files[0]}:row 1", f"{files[1]}:1.png", f"{files[1]}:row 1"),
    ]


def test_images_in_parquet_of_paths_alone(write: Write) -> None:
    folder = write("set", "1.png", "2.png")
    pq.write_table(pa.table({"photo": ["2.png", "1.png"]}), folder / "set.parquet")
    found = images_in_table(folder / "set.parquet", Columns(image="photo"))
    assert found == [folder / "2.png", folder / "1.png"]
    with pytest.raises(DataError, match=r"image_column is needed: none of image, .* Its columns are: photo"):
        images_in_table(folder / "set.parquet", Columns())


def test_options_are_flags_on_the_command_line(write: Write) -> None:
    file = table(write("set", "1.png"), "foo,bar", "1.png,nv")
    with flags_in_messages({}):
        message = message_of(file, Columns(group="gone"))
    for flag in ("--image-column is needed", "--label-column is needed", "--group-column 'gone' is not there"):
        assert flag in message


def test_hidden_parquet_files_are_passed_over(parquet: Write, png: Png) -> None:
    """macOS writes ._a.parquet beside a.parquet, and it is none."""
    file = parquet("hub/a.parquet", [{"bytes": png(0), "path": "0.png"}], ["x"])
    (file.parent / "._a.parquet").write_bytes(b"x" * 100)
    assert [str(found) for found, _ in tables_in_order(file.parent)] == [str(file)]


@pytest.mark.parametrize("place", ["sub", "a/b"])
def test_tables_in_folders_below_are_not_left_out_silently(parquet: Write, png: Png, place: str) -> None:
    images = [{"bytes": png(0), "path": "0.png"}]
    folder = parquet("hub/a.parquet", images, ["x"]).parent
    assert [str(file) for file, _ in tables_in_order(folder)] == [str(folder / "a.parquet")]
    parquet("hub/.hidden/b.parquet", images, ["x"])
    assert len(tables_in_order(folder)) == 1
    other = parquet(f"hub/{place}/b.parquet", images, ["x"])
    with pytest.raises(
        DataError, match=r"has 1 table, and folders below it have 1 more, which are not read .*b\.parquet"
    ):
        tables_in_order(folder)
    assert len(tables_in_order(other.parent)) == 1
