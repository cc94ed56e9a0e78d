"""A CSV file as rows of text: its encoding, its separator, its header, and the line that each row stands on."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.data.samples import without_blanks
from regraft.errors import DataError, shortlist
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.storage.locations import Location, read_file

CSV_SUFFIXES = (".csv", ".tsv")
_MAX_BYTES = 100_000_000
_MAX_ROWS = 3_000_000
_MAX_CELLS = 20_000_000
_MAX_LINE = 1_000_000  # characters
_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_SAMPLE = 65_536  # characters that the separator is found by
_EXCEL_SEPARATOR = re.compile(r'"?sep=(?P<separator>[,;|\t])"?[,;|\t]*(\r\n|\r|\n)', re.IGNORECASE)
# the longer marks first: UTF-32's begins with UTF-16's
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF8: "UTF-8-sig",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_NO_TEXT = {
    b"PK\x03\x04": "an Excel, OpenDocument or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\x1f\x8b": "a compressed file (gzip)",
    b"PAR1": "a Parquet file (name it .parquet)",
    b"%PDF": "a PDF",
}
_MAX_COLUMNS = 10_000
# accented letters, three in a row or before a sign such as ¢: what other encodings look like as Windows-1252
_NOT_WESTERN = re.compile(r"[^\W\d_a-zA-Z]{3}|[^\W\d_a-zA-Z][¡-¨¬¯-¹¼-¾]")
_ACCENTED = re.compile(r"\w{0,20}[^\W\d_a-zA-Z]\w{0,20}")  # bounded, or a long word would take its square in steps
_AS_UTF8 = "Save it as UTF-8 (in Excel: 'CSV UTF-8')"


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The n rows of a CSV file; blank lines are no rows.

    Attributes:
        file: where they stand.
        columns: the names in the header; "" for a column without one.
        rows: n lists of text, without blanks at the ends, as long as `columns`.
        lines: n numbers, counted from 1, of the lines that the rows begin on.
        notes: what was assumed of the file, in words.
    """

    file: Location
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def values(self, column: str) -> list[str]:
        """Return the n cells of a column."""
        position = self.columns.index(column)
        return [row[position] for row in self.rows]

    def row_name(self, position: int) -> str:
        """Return how messages call a row."""
        return f"line {self.lines[position]}"


def read_csv_table(file: Location) -> CsvTable:
    """Return the rows of a CSV (or TSV) file; every value is text, so that "01" stays "01".

    Columns are separated by commas (tabs in .tsv), or else by what the header shows: tabs, semicolons, vertical bars.
    Text is UTF-8, UTF-16 or UTF-32 by its byte order mark, or else Windows-1252, which is noted.

    Raises:
        DataError: no text, a quote without an end, or rows that are longer or shorter than the header.
    """
    try:
        data = read_file(file, limit=_MAX_BYTES)
    except OSError as error:
        raise _unreadable(file, str(error)) from None
    text, notes = _decoded(file, data)
    own = "\t" if file.suffix.lower() == ".tsv" else ","
    said = _EXCEL_SEPARATOR.match(text)
    text, first = (text[said.end() :], 2) if said else (text, 1)
    quote = "'" if text.lstrip().startswith("'") else '"'
    separator = said["separator"] if said else separator_of(text, own, quote)
    if separator != own:
        notes.append(f"{file}: columns are taken to be separated by a {_SEPARATORS[separator]}")
    form = {"delimiter": separator, "quotechar": quote, "skipinitialspace": True}
    records = _records(file, text, form, first=first)
    header = next(records, None)
    if header is None:
        raise _unreadable(file, "it is empty")
    if len(header[1]) > _MAX_COLUMNS:
        raise _unreadable(file, f"it has {len(header[1]):,} columns, and at most {_MAX_COLUMNS:,} are read")
    names, rows, lines = _shaped(file, list(header[1]), list(records), notes)
    return CsvTable(file, tuple(names), rows, lines, tuple(notes))


def _unreadable(file: Location, reason: str) -> DataError:
    return DataError(f"{file} is not a readable CSV table: {reason}.")


def _decoded(file: Location, data: bytes) -> tuple[str, list[str]]:
    """Return the text of a file, and a note on its encoding where that had to be guessed."""
    for start, kind in _NO_TEXT.items():
        if data.startswith(start):
            raise _unreadable(file, f"it is {kind}. Save the table as CSV (in Excel: 'CSV UTF-8')")
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data[:2]:  # of a first letter, by UTF-16 without a mark
        marked = "UTF-16-BE" if data[0] == 0 else "UTF-16-LE"
    try:
        text = data.decode(marked or "UTF-8")
    except UnicodeDecodeError as error:
        if marked:
            raise _unreadable(file, f"its text is not valid {marked}. {_AS_UTF8}") from None
        return _as_windows_1252(file, data, line=data.count(b"\n", 0, error.start) + 1)
    if "\0" in text:
        raise _unreadable(file, f"it holds NUL characters, as no text does. {_AS_UTF8}")
    notes = [f"{file}: read as {marked}"] if marked and marked.startswith("UTF-16-") else []
    return text.removeprefix("\ufeff"), notes


def _as_windows_1252(file: Location, data: bytes, line: int) -> tuple[str, list[str]]:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text or _NOT_WESTERN.search(text):
        raise _unreadable(file, f"line {line} is neither UTF-8 nor Western European text. {_AS_UTF8}")
    word = _ACCENTED.search(text)
    example = f", as in {word[0]!r}" if word else ""
    return text, [
        f"{file}: it is not UTF-8 (line {line}) and was read as Western European text, Windows-1252{example}. "
        f"{_AS_UTF8} if that is wrong"
    ]


def separator_of(text: str, own: str = ",", quote: str = '"') -> str:
    """Return what separates the columns of a table: `own`, unless the header shows that it is another."""
    lines = io.StringIO(text[:_SAMPLE], newline="").readlines()
    if len(text) > _SAMPLE and len(lines) > 1:
        del lines[-1]  # it was cut

    def widths(separator: str) -> list[int]:
        try:
            rows = list(csv.reader(lines, delimiter=separator, quotechar=quote, skipinitialspace=True))
        except csv.Error:
            return []
        return [len(row) for row in rows if any(map(without_blanks, row))]

    found = {separator: widths(separator) for separator in (own, *_SEPARATORS)}
    several = [separator for separator, counts in found.items() if counts and counts[0] > 1]
    steady = [separator for separator in several if set(found[separator]) == {found[separator][0]}]
    if own in several and (own in steady or not steady):
        return own
    return next(iter(steady + several), own)


def _records(file: Location, text: str, form: Mapping[str, Any], *, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each record that is not blank, read as `csv.reader` reads this form."""
    ended = False
    rows_so_far = cells_so_far = 0

    def lines() -> Iterator[str]:
        nonlocal ended
        for number, line in enumerate(io.StringIO(text, newline=""), start=first):
            if len(line) > _MAX_LINE:
                raise _unreadable(file, f"line {number} is longer than {_MAX_LINE:,} characters")
            yield line
        ended = True
        yield "end"  # a record of its own, unless a quote is open

    reader = csv.reader(lines(), **form)
    line = first
    while not ended:
        try:
            cells = next(reader)
        except csv.Error as error:
            raise _unreadable(file, f"line {line}: {error}") from None
        if ended and cells != ["end"]:
            raise _unreadable(file, f"line {line} opens a quote ({form['quotechar']}) that nothing closes")
        rows_so_far, cells_so_far = rows_so_far + 1, cells_so_far + len(cells)
        if rows_so_far > _MAX_ROWS or cells_so_far > _MAX_CELLS:
            raise _unreadable(file, f"it has more than {_MAX_ROWS:,} rows or {_MAX_CELLS:,} cells. Keep what is needed")
        cells = [cell_text(cell, form["quotechar"]) for cell in cells]
        if not ended and any(cells):
            yield line, cells
        line = first + reader.line_num


def cell_text(cell: str, quote: str = '"') -> str:
    """Return what is read of a cell: without blanks at its ends, and quotes around it that such a blank hid."""
    cell = without_blanks(cell)
    return without_blanks(cell[1:-1]) if len(cell) > 1 and cell[0] == cell[-1] == quote else cell


def _shaped(
    file: Location, names: list[str], records: list[tuple[int, list[str]]], notes: list[str]
) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, and rows as long as it is with their lines.

    A cell too many is left out where it is empty in every row (commas at the ends of lines). Where every row has one
    more than the header, and it is not empty, the first are R's row names.

    Raises:
        DataError: any other row that is longer or shorter than the header.
    """
    used = max((_used(cells) for _, cells in records), default=0)
    while names and not names[-1] and used < len(names):
        names.pop()  # a comma at the end of the header
    if used == len(names) + 1 and all(len(cells) == used for _, cells in records):
        if _look_like_images([cells[0] for _, cells in records]):
            raise _unreadable(
                file, f"its rows have {used} cells and its header has {len(names)} names. Name every column in line 1"
            )
        notes.append(f"{file}: the header has one name less than the rows have cells: the first cells are row names")
        names = ["", *names]
    wide = len(names)
    wrong = [
        f"line {line} has {max(_used(cells), min(len(cells), wide))} cells"
        for line, cells in records
        if _used(cells) > wide or len(cells) < wide
    ]
    if wrong:
        raise DataError(
            f"{file}: {len(wrong):,} of {len(records):,} rows are longer or shorter than the header, which has {wide} "
            f"columns:\n{shortlist(wrong)}\nCorrect them; a cell with the separator in it stands in quotes."
        )
    swallowed = [line for line, cells in records if any(_holds_rows(cell, wide) for cell in cells)]
    if swallowed:
        notes.append(
            f"{file}: a cell of line {swallowed[0]} goes on over lines that look like rows: a quote may be missing "
            "there"
        )
    if any(len(cells) > wide for _, cells in records):
        notes.append(f"{file}: empty cells at the ends of rows, beyond the header: left out")
    return names, [cells[:wide] for _, cells in records], [line for line, _ in records]


def _holds_rows(cell: str, wide: int) -> bool:
    """Tell whether a cell with line ends has a line with as many separators, of any kind, as a row."""
    lines = cell.splitlines()[1:] if "\n" in cell or "\r" in cell else ()
    return wide > 1 and any(line.count(separator) == wide - 1 for line in lines for separator in _SEPARATORS)


def _used(cells: Sequence[str]) -> int:
    """Return how many cells there are without the empty ones at the end."""
    return len(cells) - sum(1 for _ in itertools.takewhile(lambda cell: not cell, reversed(cells)))


def _look_like_images(values: Sequence[str]) -> bool:
    return any(Path(value).suffix.lower() in IMAGE_SUFFIXES for value in values[:100])
