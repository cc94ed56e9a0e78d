"""Which columns of a table hold the images, the labels, the groups and the splits."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from regraft.data.cells import is_binary, known_splits, splits_of
from regraft.data.csv_table import CSV_SUFFIXES
from regraft.data.folders import SPLIT_FOLDERS
from regraft.data.samples import without_blanks
from regraft.errors import DataError, did_you_mean, first_few, option
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.options import setting
from regraft.storage.locations import Location

# tried in this order when no option names the column
_USUAL_COLUMNS = {
    "image_column": ("image", "image_path", "path", "file", "file_name", "filename", "image_id", "id"),
    "label_column": ("label", "labels", "class", "target", "category"),
}
_ROW_NUMBER = "id"  # beside another image column it is one
_SPLIT_COLUMN = "split"  # is asked about if its values are no splits; the others are not
_USUAL_SPLIT_COLUMNS = (_SPLIT_COLUMN, "splits", "set", "subset", "partition", "phase", "usage", "fold", "dataset")
_NO_SPLITS = "none"
# columns that are not used by themselves, but that change what figures mean
_SPLIT_FLAGS = ("is_train", "is_training", "is_valid", "is_val", "is_validation", "is_test")
_USUAL_GROUPS = ("patient", "patient_id", "subject", "subject_id", "participant", "person_id", "lesion", "lesion_id")
_SHOWN = 50  # columns in a message


class MissingColumnError(DataError):
    """A table has not the columns that it is to be read by: it may be no table of photos at all."""


def _column(flag: str, help: str) -> Any:
    return setting(None, help=help, allowed="the name of a column", check=lambda name: isinstance(name, str), flag=flag)


@dataclass(frozen=True)
class Columns:
    """How to read a table; the command line's options are made from these fields. None tries the usual names."""

    image: str | None = _column("image_column", "Table column of image paths, names or ids.")
    label: str | None = _column("label_column", "Table column of class labels.")
    group: str | None = _column(
        "group_column", "Table column of what must stay on one side of a split: patient, lesion, scene."
    )
    image_root: Path | None = setting(
        None,
        help="Folder of the table's images. [default: the table's folder]",
        allowed="a folder",
        check=lambda folder: isinstance(folder, (str, os.PathLike)),
    )
    split: str | None = _column(
        "split_column", "Table column of train, validation and test; none: all rows are one set. [default: split]"
    )


class Table(Protocol):
    """A table of n rows.

    Attributes:
        file: where it is.
        columns: the names of its columns; "" for one without a name.
    """

    @property
    def file(self) -> Location:  # noqa: D102 (above)
        ...

    @property
    def columns(self) -> Sequence[str]:  # noqa: D102 (above)
        ...

    def values(self, column: str) -> Sequence[Any]:
        """Return the n cells of a column."""
        ...

    def row_name(self, position: int) -> str:
        """Return how messages call a row."""
        ...


@dataclass(frozen=True)
class ChosenColumns:
    """The columns of one table that are read, by their names in it.

    Attributes:
        image: the images.
        label: the labels; None if they are not asked for, or are `one_hot`.
        group: the groups; None without an option.
        one_hot: a column of 0 and 1 for each class, instead of a label column.
        notes: which other columns could be meant, in words.
    """

    image: str
    label: str | None = None
    group: str | None = None
    one_hot: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_columns(
    table: Table, columns: Columns, *, labelled: bool = True, grouped: bool = True, split: str | None = None
) -> ChosenColumns:
    """Return the columns to read, by option or by their usual names.

    Args:
        table: the table.
        columns: the options.
        labelled: whether labels and groups are asked for.
        grouped: False where labels alone are.
        split: the split column, which is none of them.

    Raises:
        MissingColumnError: a column is not there, or there twice.
    """
    asked = {"image_column": columns.image}
    if labelled:
        asked |= {"label_column": columns.label} | ({"group_column": columns.group} if grouped else {})
    found = {field: _candidates(table, field, name) for field, name in asked.items()}
    chosen = {field: names[0] for field, names in found.items() if names}
    one_hot: tuple[str, ...] = ()
    if labelled and columns.label is None and not found["label_column"] and found["image_column"]:
        one_hot = _one_hot(table, {*chosen.values(), split})
    needed = [field for field, name in asked.items() if name or (field in _USUAL_COLUMNS and field not in chosen)]
    if one_hot:
        needed.remove("label_column")
    problems = [problem for field in needed if (problem := _problem(table, field, asked[field], found[field]))]
    problems += [f"Several columns are called {name!r}." for name in chosen.values() if _count(table, name) > 1]
    if problems:
        raise MissingColumnError(
            f"{table.file}: {' '.join(problems)} Its columns are: {first_few(table.columns, _SHOWN)}.{_hint(table)}"
        )
    notes = [note for field, names in found.items() if (note := _others(table, field, names, chosen))]
    if labelled and grouped:
        notes += _unused(table, columns, {*chosen.values(), split})
    if one_hot:
        notes.append(f"{table.file}: the label of a row is its column that holds a 1: {', '.join(one_hot)}")
    label, group = chosen.get("label_column"), chosen.get("group_column")
    return ChosenColumns(chosen["image_column"], label, group, one_hot, tuple(notes))


def usual_column(table: Table, field: str) -> str | None:
    """Return the column that is read by its name alone, without an option; None where there is none.

    Args:
        table: the table.
        field: "image_column" or "label_column", for their usual names; or the name itself.
    """
    found = _candidates(table, field, None if field in _USUAL_COLUMNS else field)
    return found[0] if found else None


def usual_names(field: str) -> tuple[str, ...]:
    """Return the names by which a column is known without an option: of "image_column" or "label_column"."""
    return _USUAL_COLUMNS[field]


def group_column(table: Table, name: str) -> str:
    """Return the column of groups that an option names.

    Raises:
        MissingColumnError: it is not there.
    """
    found = _candidates(table, "group_column", name)
    if not found:
        raise MissingColumnError(f"{table.file}: {_not_there(table, 'group_column', name)}")
    return found[0]


@dataclass(frozen=True)
class SplitRows:
    """The rows of each split of one table.

    Attributes:
        column: which says so.
        rows: the positions of the rows, by split, in the order of `folders.SPLIT_FOLDERS`.
        note: the same in words.
    """

    column: str
    rows: Mapping[str, Sequence[int]]
    note: str


def rows_by_split(table: Table, columns: Columns) -> SplitRows | None:
    """Return which rows are of which split by the split column; None where there is none.

    Without an option a column of a usual name is one if its values are splits.

    Raises:
        MissingColumnError: the column is not there.
        DataError: some of its values are splits and others are not, or any is not in a column called "split".
    """
    column = _split_column(table, columns)
    if column is None:
        return None
    splits = splits_of(table.values(column), column, str(table.file))
    rows = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLIT_FOLDERS if name in splits}
    counts = ", ".join(f"{name} {len(found):,}" for name, found in rows.items())
    return SplitRows(column, rows, f"{table.file}: the column {column!r} says which split each row is of: {counts}")


def _split_column(table: Table, columns: Columns) -> str | None:
    if columns.split is not None:
        present = _present(table, columns.split)
        if present is None and columns.split.casefold() != _NO_SPLITS:
            raise MissingColumnError(
                f"{table.file}: {_not_there(table, 'split_column', columns.split)} Its columns are: "
                f"{first_few(table.columns, _SHOWN)}."
            )
        return present
    named = {_present(table, name) for name in (columns.image, columns.label, columns.group) if name}
    for usual in _USUAL_SPLIT_COLUMNS:
        column = _present(table, usual)
        if column is None or column in named or _count(table, column) > 1:
            continue
        if usual == _SPLIT_COLUMN or known_splits(table.values(column)):
            return column
    return None


def _candidates(table: Table, field: str, name: str | None) -> list[str]:
    """Return the columns that an option may mean: that of the name, or those of the usual names in their order."""
    if name is not None:
        present = _present(table, name)
        return [] if present is None else [present]
    return list(dict.fromkeys(column for usual in _USUAL_COLUMNS.get(field, ()) for column in _alike(table, usual)))


def _present(table: Table, name: str) -> str | None:
    """Return the column of this name, or the only one that differs in case or blanks alone."""
    alike = _alike(table, name)
    return alike[0] if len(alike) == 1 or name in alike else None


def _alike(table: Table, name: str) -> list[str]:
    """Return the columns of this name, that which is written like it first."""
    found = [column for column in table.columns if _spelling(column) == _spelling(name)]
    return sorted(dict.fromkeys(found), key=lambda column: column != name)


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", without_blanks(name).casefold())


def _count(table: Table, name: str) -> int:
    return list(table.columns).count(name)


def _one_hot(table: Table, taken: set[str | None]) -> tuple[str, ...]:
    """Return the columns for classes, if all columns that are not taken hold 0 and 1 alone."""
    others = [column for column in table.columns if column and column not in taken]
    return tuple(others) if len(others) > 1 and all(is_binary(table.values(column)) for column in others) else ()


def _problem(table: Table, field: str, name: str | None, found: Sequence[str]) -> str:
    if found:
        return ""
    if name is not None:
        return _not_there(table, field, name)
    return f"{option(field)} is needed: none of {', '.join(_USUAL_COLUMNS[field])} is there."


def _not_there(table: Table, field: str, name: str) -> str:
    return f"{option(field)} {name!r} is not there.{did_you_mean(name, table.columns)}"


def _hint(table: Table) -> str:
    """Return what else may be wrong with a header, which texts alone have, that lacks columns."""
    names = table.columns
    if table.file.suffix.lower() not in CSV_SUFFIXES:
        return ""
    if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        return " They look like a photo's row: the first line must name the columns, as in image,label."
    if len(names) == 1:
        return " That is one column: commas, tabs, semicolons and | separate columns, outside of quotes."
    return ""


def _unused(table: Table, columns: Columns, taken: set[str | None]) -> list[str]:
    """Return notes on columns that say more of the photos than is used: that they belong together, or are a split."""
    notes = []
    flags = [column for name in _SPLIT_FLAGS for column in _alike(table, name) if column not in taken]
    if flags and columns.split is None and None in taken:
        notes.append(
            f"{table.file}: {flags[0]!r} is not used: all rows are one set. For splits write train, validation and "
            f"test into a column and name it with {option('split_column')}"
        )
    groups = [column for name in _USUAL_GROUPS for column in _alike(table, name) if column not in taken]
    if groups and columns.group is None:
        values = [str(value) for value in table.values(groups[0])]
        if 1 < len(set(values)) < len(values):
            notes.append(
                f"{table.file}: photos of one {groups[0]!r} are taken to be independent. If they are not, keep them on "
                f"one side of every split: {option('group_column')} {groups[0]!r}"
            )
    return notes


def _others(table: Table, field: str, names: Sequence[str], chosen: Mapping[str, str]) -> str:
    """Return a note on the columns that could be meant beside the first."""
    others = [name for name in names[1:] if name not in chosen.values() and _spelling(name) != _ROW_NUMBER]
    if not others:
        return ""
    return (
        f"{table.file}: {names[0]!r} is taken as the {field.replace('_', ' ')}; {', '.join(map(repr, others))} could "
        f"be meant, too: name the one that is with {option(field)}"
    )
