"""Rows as the text of a table that no spreadsheet takes for a formula."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from regraft.images.sources import TableCell


def safe_cell(value: object) -> str:
    """Return `value` as a cell that no spreadsheet takes for a formula.

    What begins as a formula does, and is no plain number, is changed so that it can be read back: a path gets "./" in
    front, which names the same file, any other text an apostrophe, which spreadsheets do not show (OWASP, CSV
    Injection). So does a text that has such apostrophes already: one less is always the text itself.

    >>> safe_cell("=1+1"), safe_cell(PurePath("-1+1.jpg")), safe_cell("-1.5"), safe_cell("'=1")
    ("'=1+1", './-1+1.jpg', '-1.5', "''=1")
    """
    text = str(value)
    if not text.lstrip("'").startswith(_FORMULA) or _NUMBER.fullmatch(text):
        return text
    if isinstance(value, PurePath | TableCell):
        return f"./{text}" if text.startswith(_FORMULA) else text
    return f"'{text}"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *map(chr, (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)))  # and = + - @ full-width
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_text(rows: Iterable[Sequence[object]], *, delimiter: str = ",", exact: bool = False) -> str:
    """Return lines of cells, in quotes where any program could take a part of one for a separator.

    Args:
        rows: of cells.
        delimiter: between cells.
        exact: cells stay as they are, for the caller has checked them; else each is a `safe_cell`.
    """
    cells = ([str(cell) if exact else safe_cell(cell) for cell in row] for row in rows)
    return "".join(delimiter.join(map(_quoted, row)) + "\n" for row in cells)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SEPARATOR.search(cell) else cell  # RFC 4180


_SEPARATOR = re.compile(r"""[",;\t\r\n]""")  # spreadsheets separate at semicolons where commas stand in numbers
