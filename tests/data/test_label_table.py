"""A table of reviewed labels: its columns, its cells, and what is refused."""

from pathlib import Path

import pytest

from regraft.data.label_table import LabelRow, read_label_table
from regraft.errors import DataError


def written(folder: Path, text: str, name: str = "reviewed.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_no_label_and_a_true_cell_leave_a_photo_out(tmp_path: Path) -> None:
    text = "file,label,exclude\n1.jpg,cat,\n2.jpg,,0\n3.jpg,dog,yes\n4.jpg, owl ,no\n5.jpg,01,FALSE\n6.jpg,nan,x\n"
    assert read_label_table(written(tmp_path, text)).rows == (
        LabelRow("line 2", "1.jpg", "cat"),
        LabelRow("line 3", "2.jpg", None),
        LabelRow("line 4", "3.jpg", None),
        LabelRow("line 5", "4.jpg", "owl"),
        LabelRow("line 6", "5.jpg", "01"),
        LabelRow("line 7", "6.jpg", None),
    )


def test_tabs_and_usual_names_in_any_case(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "Image Path\tClass\na.jpg\tcat\n", "reviewed.tsv"))
    assert table.rows == (LabelRow("line 2", "a.jpg", "cat"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,label\n1.jpg,cat\n", r"none of image, image_path, .* is there\. Its columns are: photo, label\. Name"),
        ("file,kind\n1.jpg,cat\n", r"none of label, labels, .* is there\. Its columns are: file, kind\. Name the"),
        ("file,label,exclude\n1.jpg,cat,perhaps\n", r"Allowed are 1, true, yes and x, .* Got:\n  line 2: 'perhaps'\n"),
        ("file,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat|dog\n", r"look like several labels .* give it a name without"),
    ],
)
def test_what_is_no_such_table_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s)reviewed.csv.*{message}") as caught:
        read_label_table(written(tmp_path, text))
    assert "label_column" not in str(caught.value)  # which is about the photos' own table


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels .*none\.csv is no file\. Name a CSV of image and label\."):
        read_label_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"labels must be a \.csv or \.tsv file of image and label\. Got .*b\.xlsx"):
        read_label_table(tmp_path / "b.xlsx")
