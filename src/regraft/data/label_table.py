"""A table of reviewed labels as rows: the name of a photo, and its class or that it is left out."""

from dataclasses import dataclass

from regraft.data.cells import as_text, check_labels, is_missing
from regraft.data.columns import usual_column, usual_names
from regraft.data.csv_table import CSV_SUFFIXES, CsvTable, read_csv_table
from regraft.data.samples import without_blanks
from regraft.errors import DataError, first_few, option, printable, shortlist
from regraft.storage.locations import Location, is_file

EXCLUDE = "exclude"  # the column of photos to leave out
_TRUE, _FALSE = {"1", "1.0", "true", "yes", "y", "x"}, {"", "0", "0.0", "false", "no", "n"}


@dataclass(frozen=True)
class LabelRow:
    """A row of the table.

    Attributes:
        line: how messages call it.
        name: of the photo.
        label: its class; None leaves it out.
    """

    line: str
    name: str
    label: str | None


@dataclass(frozen=True)
class LabelTable:
    """The rows of a file, and what was assumed of it, in words.

    Attributes:
        file: the table.
        rows: its n rows.
        notes: what was assumed.
    """

    file: Location
    rows: tuple[LabelRow, ...]
    notes: tuple[str, ...]


def read_label_table(file: Location) -> LabelTable:
    """Return the rows of a table of photos and labels.

    Raises:
        DataError: no table, or one without the two columns, or a cell that cannot be read.
    """
    where = printable(file)
    if file.suffix.lower() not in CSV_SUFFIXES:
        raise DataError(
            f"{option('labels')} must be a .csv or .tsv file of image and label. Got {where}. Save the table as CSV."
        )
    if not is_file(file):
        raise DataError(f"{option('labels')} {where} is no file. Name a CSV of image and label.")
    table = read_csv_table(file)
    image, label, exclude = (usual_column(table, name) for name in ("image_column", "label_column", EXCLUDE))
    for name, column in (("image_column", image), ("label_column", label)):
        if column is None:
            raise DataError(
                f"{where} ({option('labels')}): a column is missing: none of {', '.join(usual_names(name))} is there. "
                f"Its columns are: {printable(first_few(table.columns, 50))}. Name the columns image and label."
            )
    assert image is not None  # as it was just checked
    assert label is not None
    excluded = [False] * len(table) if exclude is None else _excluded(table, exclude)
    cells = [
        None if left or is_missing(cell) else as_text(cell)
        for cell, left in zip(table.values(label), excluded, strict=True)
    ]
    notes = check_labels([cell for cell in cells if cell is not None], label, where, chosen=False)
    rows = tuple(
        LabelRow(table.row_name(place), without_blanks(name), cells[place])
        for place, name in enumerate(table.values(image))
    )
    return LabelTable(file, rows, (*table.notes, *notes))


def _excluded(table: CsvTable, column: str) -> list[bool]:
    """Return which rows a column of yes and no leaves out."""
    values = ["" if is_missing(cell) else cell.casefold() for cell in table.values(column)]
    wrong = [f"{table.row_name(place)}: {value!r}" for place, value in enumerate(values) if value not in _TRUE | _FALSE]
    if wrong:
        raise DataError(
            f"{printable(table.file)}: the column {column!r} says which photos are left out. Allowed are 1, true, yes "
            f"and x, or 0, false, no and nothing. Got:\n{shortlist(wrong)}\nCorrect these cells."
        )
    return [value in _TRUE for value in values]
