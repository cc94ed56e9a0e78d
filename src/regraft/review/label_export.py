"""Decisions as a table of labels that `data.label_file` reads."""

import os
from collections.abc import Sequence
from pathlib import Path

from regraft.data.csv_text import csv_text
from regraft.data.label_table import EXCLUDE, read_label_table
from regraft.errors import DataError, OptionError, first_few, option, printable
from regraft.files import atomic_write, move_over
from regraft.review.decision import Action, Decision

LabelledRow = tuple[str, str, str, str, str]


def write_labels(decisions: Sequence[Decision], path: Path) -> int:
    """Write what counts for each photo as a table, whole or not at all, and return the number of rows.

    A photo that was decided on under several names has a row for each. Names are relative to the table's folder where
    they lie in it.

    Args:
        decisions: those in force, in order.
        path: of the table, a .csv file.

    Raises:
        OptionError: a name or label that cannot stand in a table.
        OutputError: it cannot be written.
    """
    return write_rows(_rows_of(decisions, path.absolute().parent), path)


def write_rows(rows: Sequence[LabelledRow], path: Path) -> int:
    """Write rows as a table, whole or not at all, and return their number.

    Args:
        rows: image, label, whether it is left out (yes or nothing), reviewer and time.
        path: of the table, a .csv file.

    Raises:
        OptionError: a name or label that cannot stand in a table.
        OutputError: it cannot be written.
    """
    if path.suffix.lower() != ".csv":
        raise OptionError(f"{option('path')} must end in .csv. Got {printable(path)}.")
    header = ("image", "label", EXCLUDE, "reviewer", "time")
    with atomic_write(path) as temporary:
        table = temporary.with_suffix(".csv")  # as it is read again by its name
        try:
            table.write_text(csv_text([header, *rows], exact=True), encoding="utf-8", newline="")
            _check_readable(table, rows, path)
            move_over(table, temporary)
        finally:
            table.unlink(missing_ok=True)
    return len(rows)


def row_of(name: str, decision: Decision) -> LabelledRow:
    """Return the row of a photo of that name."""
    left_out = decision.action is Action.exclude
    cells = ("" if left_out else decision.label or "", "yes" if left_out else "")
    return name, *cells, decision.reviewer, decision.time.isoformat(timespec="seconds")


def _rows_of(decisions: Sequence[Decision], folder: Path) -> list[LabelledRow]:
    """Return what counts as rows of a table in `folder`, by name."""
    state = {decision.key: decision for decision in decisions}
    of_name = {decision.path: decision.key for decision in decisions}  # a file that was replaced: what it was last
    rows = []
    for name, key in sorted(of_name.items()):
        below = name.startswith(f"{folder}{os.sep}")
        rows.append(row_of(os.path.relpath(name, folder) if below else name, state[key]))
    return rows


def _check_readable(table: Path, rows: Sequence[Sequence[str]], path: Path) -> None:
    """Raise `OptionError` unless a table is read as what was written: names may hold what no table can."""
    try:
        found = [(row.name, row.label) for row in read_label_table(table).rows]
    except DataError as error:
        reason = str(error).replace(str(table), str(path))
        raise OptionError(f"{printable(path)}: as a table these labels could not be read again. {reason}") from None
    wanted = [(name, label or None) for name, label, *_ in rows]
    if found != wanted:
        odd = [name for name, label in wanted if (name, label) not in set(found)]
        raise OptionError(
            f"{printable(path)}: these photos or their labels cannot stand in a table: "
            f"{printable(first_few([repr(name) for name in odd], 5))}. Rename them."
        )
