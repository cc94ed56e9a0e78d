"""Cells that no spreadsheet takes for a formula, and that are read back as what they were."""

from pathlib import Path

import pytest

from regraft.data.csv_text import csv_text, safe_cell
from regraft.images.sources import TableCell


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_starts_a_formula(first: str) -> None:
    assert safe_cell(f"{first}1+cmd") == f"'{first}1+cmd"
    assert safe_cell(Path(f"{first}1+cmd.jpg")) == f"./{first}1+cmd.jpg"
    assert Path(f"./{first}1+cmd.jpg") == Path(f"{first}1+cmd.jpg")  # it names the same file
    assert safe_cell(TableCell(Path(f"{first}.parquet"), "image", 0, 0, "1")) == f"./{first}.parquet:1"
    for text in (f"{first}1", f"'{first}1", f"''{first}1"):  # one apostrophe less is the text
        assert safe_cell(text).removeprefix("'") == text


@pytest.mark.parametrize(
    "cell", ["-1", "+1.5e3", "-.5", "0.25", "", "a=1", "probability_=a", " =1", "1-2", "-1.", "x@y"]
)
def test_other_cells_stay(cell: str) -> None:
    assert safe_cell(cell) == cell


@pytest.mark.parametrize("cell", ["-1-1", "+1e", "-", "+", "--1", "-1\n", "-1.5.5", "-\uff11", "=1", "-0x1A", "-1,000"])
def test_what_only_looks_like_a_number_is_changed(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"


def test_text_is_in_quotes_where_a_program_could_split_it() -> None:
    rows = [["file", "n"], ["a;b.jpg", -1], [Path("=1.jpg"), 'say "x"'], ["=1", "a,b"]]
    assert csv_text(rows) == 'file,n\n"a;b.jpg",-1\n./=1.jpg,"say ""x"""\n\'=1,"a,b"\n'
    assert csv_text([["=1", "b"]], delimiter="\t", exact=True) == "=1\tb\n"
