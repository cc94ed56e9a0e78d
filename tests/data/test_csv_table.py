"""CSV files as people have them: separators, encodings, blanks, and rows that are not as long as the header."""

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest

from regraft.data import csv_table
from regraft.data.columns import Columns, choose_columns, rows_by_split
from regraft.data.csv_table import CsvTable, read_csv_table
from regraft.errors import DataError

ROWS = [["a.jpg", "cat"], ["b.jpg", "dog"]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def read(file: Path, content: str | bytes) -> CsvTable:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv_table(file)


def message_of(file: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(file, content)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "image,label\na.jpg,cat\nb.jpg,dog\n",
        "image,label\r\na.jpg,cat\r\nb.jpg,dog",
        "image,label\ra.jpg,cat\rb.jpg,dog\r",
        "image, label\na.jpg ,\tcat\n b.jpg,dog \n",
        "\ufeffimage\u00a0,\u200blabel\na.jpg,\u00a0cat\u00a0\nb.jpg\u3000,dog\n",
        '"image", "label"\n"a.jpg" , "cat"\n"b.jpg","dog" \n',
        "'image','label'\n'a.jpg', 'cat'\n'b.jpg','dog'\n",
        '\u00a0"image",\u00a0"label"\n\u00a0"a.jpg","cat"\nb.jpg,dog\n',
        "image,label,,\na.jpg,cat\nb.jpg,dog\n",
        "image,label,,\na.jpg,cat,,\nb.jpg,dog,,\n",
        "image,label\na.jpg,cat\n,\n , \nb.jpg,dog\n,\n",
    ],
)
def test_the_same_table_however_it_is_written(file: Path, text: str) -> None:
    table = read(file, text)
    assert (list(table.columns), table.rows) == (["image", "label"], ROWS)


@pytest.mark.parametrize("ends", [(",", ","), (",,", ",,"), (",", ""), ("", ",,")])
def test_empty_cells_beyond_the_header_are_left_out(file: Path, ends: tuple[str, str]) -> None:
    table = read(file, f"image,label\na.jpg,cat{ends[0]}\nb.jpg,dog{ends[1]}\n")
    assert (list(table.columns), table.rows) == (["image", "label"], ROWS)
    assert table.notes == (f"{file}: empty cells at the ends of rows, beyond the header: left out",)


def test_row_names_of_r(file: Path) -> None:
    """`write.table(sep=",")` names no column of row names, so that the header is one shorter."""
    table = read(file, '"image","label","camera"\n"1","a.jpg","cat",NA\n"2","b.jpg","dog","x"\n')
    assert table.columns == ("", "image", "label", "camera")
    assert table.values("label") == ["cat", "dog"]
    assert table.notes == (
        f"{file}: the header has one name less than the rows have cells: the first cells are row names",
    )


def test_a_last_column_without_a_name_is_no_column_of_row_names(file: Path) -> None:
    """Read as R's, the label would be the camera, and the image another one."""
    message = message_of(file, "image,image_after,label\na.jpg,b.jpg,cat,nikon\nb.jpg,a.jpg,dog,canon\n")
    assert message.endswith("its rows have 4 cells and its header has 3 names. Name every column in line 1.")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("image,label\na.jpg,cat\nb.jpg,dog,x\n", ["line 3 has 3 cells"]),
        ("image,label,camera\na.jpg,cat\nb.jpg,dog\n", ["line 2 has 2 cells", "line 3 has 2 cells"]),
        ("image,label\n\n\na.jpg\nb.jpg,dog\n", ["line 4 has 1 cells"]),
        ('image,label\n"a\n.jpg",cat\nb.jpg,dog,x,y\n', ["line 4 has 4 cells"]),
        ("sep=;\nimage;label\na.jpg;cat\nb.jpg\n", ["line 4 has 1 cells"]),
        ("image,label\na.jpg,cat,,x\nb.jpg,dog,\n", ["line 2 has 4 cells"]),
    ],
)
def test_rows_longer_or_shorter_than_the_header_are_named_by_line(file: Path, text: str, lines: list[str]) -> None:
    message = message_of(file, text)
    assert [line.strip() for line in message.splitlines() if line.startswith("  ")] == lines
    assert "longer or shorter than the header" in message
    assert message.endswith("a cell with the separator in it stands in quotes.")


def test_rows_are_named_by_the_line_that_they_begin_on(file: Path) -> None:
    table = read(file, '\nimage,label\n\n"a\n\n.jpg",cat\n\r\nb.jpg,"d\rog"\nc.jpg,x')
    assert list(table.lines) == [4, 8, 10]
    assert table.row_name(1) == "line 8"


@pytest.mark.parametrize(
    ("name", "separator", "word"),
    [
        ("labels.csv", ";", "semicolon"),
        ("labels.csv", "\t", "tab"),
        ("labels.csv", "|", "vertical bar"),
        ("labels.tsv", ",", "comma"),
        ("labels.tsv", ";", "semicolon"),
    ],
)
def test_another_separator_is_taken_from_the_header_and_said(
    tmp_path: Path, name: str, separator: str, word: str
) -> None:
    lines = [["image", "label", "score"], ["a.jpg", "cat", '"0,5|;\t"'], ["b.jpg", "dog", '"1,5"']]
    table = read(tmp_path / name, "\n".join(separator.join(line) for line in lines))
    assert table.rows == [["a.jpg", "cat", "0,5|;"], ["b.jpg", "dog", "1,5"]]
    assert table.notes == (f"{tmp_path / name}: columns are taken to be separated by a {word}",)


def test_excels_first_line_names_the_separator(file: Path) -> None:
    assert read(file, "sep=;\r\nimage;label\r\na.jpg;cat\r\nb.jpg;dog\r\n").rows == ROWS


@pytest.mark.parametrize(
    ("text", "columns", "row"),
    [
        ('image,label,note\na.jpg,cat,"x; y; z"\n', 3, ["a.jpg", "cat", "x; y; z"]),
        ("image,label;kind\na.jpg,cat;x\n", 2, ["a.jpg", "cat;x"]),
        ('"image";"label, final"\na.jpg;cat\n', 2, ["a.jpg", "cat"]),
        ("image\na;b|c.jpg\n", 1, ["a;b|c.jpg"]),
        ('"image"\n"a,b.jpg"\n', 1, ["a,b.jpg"]),
        ('image,label\na.jpg,"he said ""cat"""\n', 2, ["a.jpg", 'he said "cat"']),
    ],
)
def test_separators_in_cells_separate_nothing(file: Path, text: str, columns: int, row: list[str]) -> None:
    table = read(file, text)
    assert (len(table.columns), table.rows) == (columns, [row])


def test_rows_inside_of_a_quote_are_noted(file: Path) -> None:
    table = read(file, 'image,label,note\na.jpg,cat,"x\nb.jpg,dog,y\nc.jpg,cat,"z"\n')
    assert table.notes == (
        f"{file}: a cell of line 2 goes on over lines that look like rows: a quote may be missing there",
    )
    assert read(file, 'image,label,note\na.jpg,cat,"Dear owner,\nthanks"\n').notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(file: Path, encoding: str) -> None:
    table = read(file, "image,label\na.jpg,Käfer\n犬.jpg,ねこ\n".encode(encoding))
    assert table.rows == [["a.jpg", "Käfer"], ["犬.jpg", "ねこ"]]
    assert table.notes == ()


@pytest.mark.parametrize("encoding", ["UTF-16-LE", "UTF-16-BE"])
def test_utf_16_without_a_mark(file: Path, encoding: str) -> None:
    table = read(file, "image,label\na.jpg,ねこ\n".encode(encoding))
    assert table.values("label") == ["ねこ"]
    assert table.notes == (f"{file}: read as {encoding}",)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_western_european_text_is_read_and_said(file: Path, encoding: str) -> None:
    table = read(file, "image,label\na.jpg,cat\nb.jpg,gât «été»\n".encode(encoding))
    assert table.rows[1] == ["b.jpg", "gât «été»"]
    assert table.notes == (
        f"{file}: it is not UTF-8 (line 3) and was read as Western European text, Windows-1252, as in 'gât'. Save it "
        "as UTF-8 (in Excel: 'CSV UTF-8') if that is wrong",
    )


@pytest.mark.parametrize(
    ("text", "encoding"), [("кот", "cp1251"), ("犬", "shift-jis"), ("小狗", "gbk"), ("γάτα", "cp1253")]
)
def test_text_in_another_encoding_is_refused(file: Path, text: str, encoding: str) -> None:
    assert message_of(file, f"image,label\na.jpg,{text}\n".encode(encoding)) == (
        f"{file} is not a readable CSV table: line 2 is neither UTF-8 nor Western European text. Save it as UTF-8 (in "
        "Excel: 'CSV UTF-8')."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty."),
        (b"\n \n,,\n", "it is empty."),
        (b"PK\x03\x04rest", "it is an Excel, OpenDocument or zip file. Save the table as CSV (in Excel: 'CSV UTF-8')."),
        (b"\x1f\x8brest", "it is a compressed file (gzip). Save the table as CSV (in Excel: 'CSV UTF-8')."),
        (b"\xff\xfea\0b", "its text is not valid UTF-16. Save it as UTF-8 (in Excel: 'CSV UTF-8')."),
        (b"image,label\na\0.jpg,cat\n", "it holds NUL characters, as no text does. "),
        (b'image,label\na.jpg,cat\n"b.jpg,dog\nc.jpg,cat\n', 'line 3 opens a quote (") that nothing closes.'),
        (b"image,label\na.jpg," + b"x" * 200_000, "line 2: field larger than field limit (131072)."),
        (b"image,label\na.jpg" + b"," * 1_000_001, "line 2 is longer than 1,000,000 characters."),
        (b",".join([b"x"] * 10_001), "it has 10,001 columns, and at most 10,000 are read."),
    ],
)
def test_what_is_no_table_is_told(file: Path, content: bytes, reason: str) -> None:
    assert message_of(file, content).startswith(f"{file} is not a readable CSV table: {reason}")


def test_tables_beyond_the_limits_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "_MAX_CELLS", 5)
    assert "it has more than 3,000,000 rows or 5 cells. Keep what is needed." in message_of(file, "a,b\nc,d\ne,f\n")
    monkeypatch.setattr(csv_table, "_MAX_BYTES", 5)
    assert "12 bytes, and at most 5 bytes are read" in message_of(file, "a,b\nc,d\ne,f\n")


JUNK = (
    b'"',
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xe9",
    b"nan",
    b"\xef\xbb\xbf",
    b"\xc2\xa0",
    b"sep=;\n",
)
JUNK += (b"9" * 5000, b" " * 5000, b"a|" * 500, b"..", b"train")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_damaged_tables_are_read_or_told(file: Path, encoding: str) -> None:
    """No other error comes of them, and none takes long."""
    good = "image,label,split\n" + "".join(f'{row}.jpg,"dög",{("train", "test")[row % 2]}\n' for row in range(6))
    random = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(100):
        data = bytearray(good.encode(encoding))
        for place in random.integers(0, len(data), random.integers(1, 6)).tolist():
            data[place : place + random.integers(0, 20)] = JUNK[random.integers(len(JUNK))]
        with contextlib.suppress(DataError):
            table = read(file, bytes(data))
            assert {len(row) for row in table.rows} <= {len(table.columns)}
            rows_by_split(table, Columns())
            choose_columns(table, Columns())
    assert time.process_time() - start < 10
