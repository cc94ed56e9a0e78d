"""A competition's sample submission, as it is: its columns, its ids, its order."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regraft.data.csv_table import separator_of
from regraft.data.csv_text import safe_cell
from regraft.errors import DataError, first_few, printable, shortlist
from regraft.files import read_regular

_MAX_SAMPLE = 1000**3  # bytes
_SHOWN, _LETTERS = 5, 60  # examples in a message, and of each


@dataclass(frozen=True)
class Sample:
    """A competition's sample submission.

    Attributes:
        name: of the file, to show.
        delimiter: between cells.
        header: names of the columns, as they are.
        rows: the cells of each row, as they are.
    """

    name: str
    delimiter: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, position: int) -> list[str]:
        """Return the cells of one column."""
        return [row[position] for row in self.rows]


def read_sample(file: Path) -> Sample:
    """Return a sample submission: a table with a header, separated as other tables are.

    Raises:
        DataError: it is no such table, in words that say what to do.
    """
    name = f"--like {printable(file)}"
    try:
        data = read_regular(file, limit=_MAX_SAMPLE)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}. Name the sample submission.") from None
    if data.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise DataError(f"{name} is packed (zip, gzip or a spreadsheet). Unpack it, or save it as CSV.")
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{name} is no text in UTF-8. Save it as CSV in UTF-8.") from None
    delimiter = separator_of(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, tuple(row)) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{name} is not a readable CSV table: {error}. Download it again.") from None
    header, *rows = lines or [(1, ())]
    if len(header[1]) < 2 or not rows:
        raise DataError(
            f"{name}: a sample submission has a header, a column of ids, one or more of answers, and a row for each "
            f"photo. This one has {len(header[1])} columns and {len(rows)} rows."
        )
    torn = [f"line {line}: {len(row)} cells" for line, row in rows if len(row) != len(header[1])]
    if torn:
        raise DataError(
            f"{name}: {len(torn):,} rows have not the {len(header[1])} cells of the header:\n{shortlist(torn)}\n"
            "Download it again."
        )
    twice = [column for column, count in Counter(map(str.strip, header[1])).items() if count > 1]
    if twice:
        raise DataError(f"{name} has several columns of one name: {some(twice)}. Download it again.")
    return Sample(name, delimiter, header[1], tuple(row for _, row in rows))


def is_exact_cell(cell: str) -> bool:
    """Tell whether a cell starts no formula that does anything: ids like -0aB_c are common, and call nothing."""
    return safe_cell(cell) == cell or re.fullmatch(r"-[\w.-]*", cell) is not None


def some(names: Sequence[str]) -> str:
    """Return the first names, or the starts of long ones, and how many more there are, in one line."""
    return first_few(
        [printable(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 3]}...") for name in names], _SHOWN
    )
