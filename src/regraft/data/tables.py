"""Tables of photos to samples: CSV beside image files, and Parquet in the Hugging Face image layout."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from regraft.data.archives import is_compressed_tar
from regraft.data.cells import as_text, check_labels, groups_of, is_missing, one_hot_labels
from regraft.data.columns import ChosenColumns, Columns, MissingColumnError, choose_columns, group_column, rows_by_split
from regraft.data.csv_table import CsvTable, read_csv_table
from regraft.data.folders import SPLIT_FOLDERS, entries, scan, split_of
from regraft.data.image_paths import find_images
from regraft.data.parquet_table import PARQUET_SUFFIX, ParquetTable, open_parquet_table
from regraft.data.samples import Samples, clean_name, without_blanks
from regraft.data.tar_table import TAR_SUFFIX, TarTable, empty_archive, is_tar, open_tar_table, tar_files
from regraft.errors import DataError, counted, first_few, shortlist
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import Source
from regraft.storage.locations import Location, location

_Table = CsvTable | ParquetTable | TarTable


@dataclass
class _Rows:
    """Rows of one or more tables: images, the text of their labels, and the cells of the group column."""

    sources: list[Source] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_tables(
    files: Sequence[Location], columns: Columns, split: str = "train", *, unlabelled: bool = False
) -> Samples:
    """Return the labelled images of one split of CSV, TSV or Parquet files.

    A CSV's image is what `image_paths.find_images` finds below `columns.image_root` (default: the table's folder); a
    Parquet's is a struct {bytes, path}, bytes, or such a path. The images stay in the files until they are read. Rows
    that repeat an image, its label and its group are left out; an image under two labels is the audit's to name.

    Args:
        files: the tables.
        columns: how to read them.
        split: of tables with a split column, whose rows to read: images, labels and groups of the others are not.
        unlabelled: whether rows without a label are read, too; else they are an error.

    Raises:
        DataError: unreadable table, missing column, rows without a label or with several, or whose image file is
            missing or ambiguous.
    """
    where = ", ".join(str(file) for file in files)
    rows = _Rows()
    for table in _tables(files):
        by_split = None if _is_shard(table.file, columns) else rows_by_split(table, columns)
        chosen = _chosen(table, columns, by_split.column if by_split else None, unlabelled=unlabelled)
        rows.notes += [*table.notes, *chosen.notes]
        if by_split is not None:
            rows.notes.append(by_split.note)
            where = where if len(files) > 1 else f"{table.file} ({split})"
        positions = range(len(table)) if by_split is None else by_split.rows.get(split, ())
        _add_rows(rows, table, chosen, positions, columns, unlabelled=unlabelled)
        named = chosen.label  # of the last one, for messages; they are nearly always equal
    if named is not None:
        rows.notes += check_labels([label for label in rows.labels if label is not None], named, where)
    return _samples(rows, where, columns.group)


def images_in_table(path: Location, columns: Columns) -> list[Source]:
    """Return the images of a table, or of a folder of Parquet files, row by row, with or without labels.

    Of files that are named after splits, those of train, validation and test come one after the other.

    Raises:
        DataError: unreadable table, missing column, or rows whose image file is missing or ambiguous.
    """
    sources: list[Source] = []
    for table in _tables([file for file, _ in tables_in_order(path)]):
        chosen = choose_columns(table, columns, labelled=False)
        sources += _images(table, chosen.image, range(len(table)), columns)[0]
    return sources


@dataclass
class TableRows:
    """All n rows of a table or of several, in order.

    Attributes:
        sources: their images.
        labels: the name of each image's class; None where it has none.
        splits: "train", "validation" or "test"; None where nothing says.
        notes: what was assumed, in words.
    """

    sources: list[Source] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rows_in_table(path: Location, columns: Columns) -> TableRows:
    """Return the rows of `images_in_table` with their labels and splits, as far as they have any.

    Raises:
        DataError: as `images_in_table`; a column that was named is not there or holds no labels, or a split column
            holds other values.
    """
    return rows_of_tables(tables_in_order(path), columns)


def rows_of_tables(files: Sequence[tuple[Location, str | None]], columns: Columns) -> TableRows:
    """Return the rows of tables, each with the split that its name says. See `rows_in_table`."""
    found = TableRows()
    named = dict(files)
    for table in _tables(list(named)):
        by_split = None if _is_shard(table.file, columns) else rows_by_split(table, columns)
        chosen = _with_labels_if_any(table, columns, by_split.column if by_split else None)
        sources, notes = _images(table, chosen.image, range(len(table)), columns)
        found.sources += sources
        found.notes += [*table.notes, *chosen.notes, *notes]
        found.labels += _labels_if_any(table, chosen, columns, found.notes)
        splits = [named[table.file]] * len(table)
        for split, positions in ({} if by_split is None else by_split.rows).items():
            for position in positions:
                splits[position] = split
        found.splits += splits
    return found


def groups_in_table(path: Location, name: str) -> tuple[list[str | None], list[str]]:
    """Return the group of each row of `rows_in_table`, None where it has none, and notes on these.

    Args:
        path: of a table, or of a folder of Parquet files.
        name: of the group column.

    Raises:
        MissingColumnError: the column is not there.
    """
    cells: list[Any] = []
    for table in _tables([file for file, _ in tables_in_order(path)]):
        cells += table.values(group_column(table, name))
    groups, notes = groups_of(cells, name, str(path))
    return [group and clean_name(group) for group in groups], notes


def _with_labels_if_any(table: _Table, columns: Columns, split: str | None) -> ChosenColumns:
    try:
        return choose_columns(table, columns, grouped=False, split=split)
    except MissingColumnError:
        if columns.label is not None:
            raise
    return choose_columns(table, columns, labelled=False)


def _labels_if_any(table: _Table, chosen: ChosenColumns, columns: Columns, notes: list[str]) -> list[str | None]:
    """Return the label of each row, None where it has none; add to `notes` why no row has one.

    Raises:
        DataError: a column that was named holds no labels.
    """
    try:
        if chosen.one_hot:
            return [*_labels(table, chosen, range(len(table)))]
        if chosen.label is not None:
            values = (
                table.labels(chosen.label) if isinstance(table, ParquetTable | TarTable) else table.values(chosen.label)
            )
            return [None if is_missing(value) else clean_name(as_text(value)) for value in values]
    except DataError as error:
        if columns.label is not None:
            raise
        notes.append(f"no label is taken from {table.file}: {error}")
    return [None] * len(table)


def table_splits(path: Location, columns: Columns) -> dict[str, list[Location]]:
    """Return the files that have rows of each split, of a table or a folder of Parquet files. Opens no image.

    A name like `train-00000-of-00004.parquet` says it of a file in a folder, a split column of others
    (`rows_by_split`); all are "train" if nothing says.

    Raises:
        DataError: it is said of some files and not of others, or a column's values are no splits.
    """
    splits: dict[str, list[Location]] = defaultdict(list)
    files, several = _files(path)
    unnamed = [file for file in files if not _is_shard(file, columns)]
    found = {table.file: rows_by_split(table, columns) for table in _tables(unnamed, alone=len(unnamed) == len(files))}
    empty = set(unnamed) - set(found)
    for file in files:
        by_split = found.get(file)
        named: Iterable[str] = [_split_in_name(file) if several else ""] if by_split is None else by_split.rows
        for split in () if file in empty else named:
            splits[split].append(file)
    if list(splits) == [""]:
        return {"train": splits[""]}
    if "" in splits:
        kind = ".tar" if is_tar(path) else "Parquet"
        raise DataError(
            f"{path}: some {kind} files are named after a split and others are not: {splits[''][0].name}. Name all of "
            "them train-*, validation-* or test-*, or pass one file."
        )
    return dict(splits)


def _files(path: Location) -> tuple[list[Location], bool]:
    """Return the tables that a path names, and whether it names a set of them, whose names may say splits."""
    if not path.is_dir():
        return (tar_files(path), not path.is_file()) if is_tar(path) else ([path], False)
    files = tar_files(path) if is_tar(path) else parquet_files(path)
    if files:  # else photos may lie below, which take long to list
        _check_none_below(path, files)
        _check_none_compressed(path, files)
    return files, True


def _check_none_below(folder: Location, files: Sequence[Location]) -> None:
    """Raise `DataError` where folders below hold tables of the kind of `files`, too: they would be left out."""
    kinds = {file.suffix.lower() for file in files}
    below = [str(path) for path in scan(folder).others if path.suffix.lower() in kinds and path.parent != folder]
    if below:
        raise DataError(
            f"{folder} has {counted(len(files), 'table')}, and folders below it have {len(below):,} more, which are "
            f"not read with it: {first_few(below, 3)}. Put all of them into one folder, or name a folder at a time."
        )


def _check_none_compressed(folder: Location, files: Sequence[Location]) -> None:
    """Raise `DataError` where compressed .tar files lie beside `files`, .tar shards: they would be left out."""
    if files[0].suffix.lower() != TAR_SUFFIX:
        return
    names = [path.name for path in entries(folder) if path.suffix.lower() != TAR_SUFFIX and is_compressed_tar(path)]
    if names:
        raise DataError(
            f"{folder} has {counted(len(files), '.tar file')} and {len(names):,} compressed, in which no place can be "
            f"looked up: {first_few(sorted(names), 3)}. Make a .tar of each (gunzip, unzstd, bunzip2 or unxz), move "
            "them elsewhere, or name the .tar files with braces."
        )


def parquet_files(folder: Location) -> list[Location]:
    """Return the Parquet files directly in a folder, but hidden ones, [] if images lie beside them.

    Raises:
        DataError: the folder cannot be read.
    """
    paths = entries(folder)
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in paths):
        return []
    return sorted(path for path in paths if path.suffix.lower() == PARQUET_SUFFIX and not path.name.startswith("."))


def _tables(files: Sequence[Location], *, alone: bool = True) -> Iterator[_Table]:
    """Open tables one after the other, but archives of nothing: their writers were given no samples.

    Args:
        files: the tables.
        alone: whether there are no others.

    Raises:
        EmptyArchiveError: all there are are such archives.
    """
    empty = 0
    for file in files:
        with _open(file) as table:
            if isinstance(table, TarTable) and not len(table):
                empty += 1
            else:
                yield table
    if alone and files and empty == len(files):
        raise empty_archive(files[0])


@contextmanager
def _open(file: Location) -> Iterator[_Table]:
    if file.suffix.lower() == PARQUET_SUFFIX:
        with open_parquet_table(file) as table:
            yield table
    elif is_tar(file):
        yield open_tar_table(file)
    else:
        yield read_csv_table(file)


def tables_in_order(path: Location) -> list[tuple[Location, str | None]]:
    """Return a table, or those that a path names, each with its split: no split first, then train, validation and test.

    Names of files say splits where there is a set of them; None where a name says none.
    """
    files, several = _files(path)
    order = ["", *SPLIT_FOLDERS]
    found = sorted(files, key=lambda file: order.index(_split_in_name(file)))
    return [(file, (_split_in_name(file) if several else "") or None) for file in found]


def split_of_shard(file: Location) -> str | None:
    """Return the split that the name of a Parquet or .tar file says, one of several; None where it says none."""
    return (_split_in_name(file) or None) if file.suffix.lower() in (PARQUET_SUFFIX, TAR_SUFFIX) else None


def _split_in_name(file: Location) -> str:
    return split_of(file.stem.split("-")[0]) or ""


def _is_shard(file: Location, columns: Columns) -> bool:
    """Tell whether a file is named as a part of a split, so that its columns are not asked unless an option says so."""
    in_parts = file.suffix.lower() == PARQUET_SUFFIX or is_tar(file)
    return columns.split is None and in_parts and "-" in file.stem and bool(_split_in_name(file))


def _chosen(table: _Table, columns: Columns, split: str | None, *, unlabelled: bool) -> ChosenColumns:
    try:
        return choose_columns(table, columns, split=split)
    except MissingColumnError as error:
        if not unlabelled or columns.label is not None:
            raise MissingColumnError(f"{error}{table.advice if isinstance(table, TarTable) else ''}") from None
    found = choose_columns(table, columns, labelled=False)
    return found if columns.group is None else replace(found, group=group_column(table, columns.group))


def _add_rows(
    rows: _Rows,
    table: _Table,
    chosen: ChosenColumns,
    positions: Sequence[int],
    columns: Columns,
    *,
    unlabelled: bool,
) -> None:
    sources, notes = _images(table, chosen.image, positions, columns)
    rows.labels += _labels(table, chosen, positions, unlabelled=unlabelled)
    rows.sources += sources
    rows.notes += notes
    if chosen.group is not None:
        groups = table.values(chosen.group)
        rows.groups += [groups[position] for position in positions]


def _labels(
    table: _Table, chosen: ChosenColumns, positions: Sequence[int], *, unlabelled: bool = False
) -> Sequence[str | None]:
    if chosen.label is None and unlabelled and not chosen.one_hot:
        return [None] * len(positions)
    if chosen.label is None:
        cells = {name: [table.values(name)[position] for position in positions] for name in chosen.one_hot}
        return one_hot_labels(cells, lambda row: table.row_name(positions[row]), str(table.file))
    values = table.labels(chosen.label) if isinstance(table, ParquetTable | TarTable) else table.values(chosen.label)
    empty = [_named(table, position, values[position]) for position in positions if is_missing(values[position])]
    if empty and not unlabelled:
        raise DataError(
            f"{table.file}: {len(empty):,} of {len(positions):,} rows have no value in the label column "
            f"{chosen.label!r}:\n{shortlist(empty)}\nFill them in or remove the rows."
        )
    return [None if is_missing(values[position]) else as_text(values[position]) for position in positions]


def _named(table: _Table, position: int, value: Any) -> str:
    """Return the name of a row, with what stands in its cell if that can be seen."""
    shown = f": {value!r}" if isinstance(value, str) and without_blanks(value) else ""
    return table.row_name(position) + shown


def _images(
    table: _Table, column: str, positions: Sequence[int], columns: Columns
) -> tuple[Sequence[Source], list[str]]:
    cells = table.cells(column) if isinstance(table, ParquetTable | TarTable) else None
    if cells is not None:
        return [cells[position] for position in positions], []
    values = table.values(column)
    return find_images(
        [without_blanks(values[position] or "") for position in positions],
        location(columns.image_root or table.file.parent),
        where=str(table.file),
        row_name=lambda row: table.row_name(positions[row]),
        notes=table.notes,
    )


def _samples(rows: _Rows, where: str, group_column: str | None) -> Samples:
    groups: list[str | None] = [None] * len(rows.labels)
    notes = rows.notes
    if group_column is not None:
        groups, more = groups_of(rows.groups, group_column, where)
        notes = [*notes, *more]
    distinct = list(dict.fromkeys(zip(rows.sources, rows.labels, groups, strict=True)))
    if len(distinct) < len(rows.labels):
        notes = [*notes, f"{len(rows.labels) - len(distinct):,} rows of {where} repeat another row: left out"]
    return Samples.from_labels(
        where,
        [source for source, _, _ in distinct],
        [label for _, label, _ in distinct],
        groups=None if group_column is None else [group for _, _, group in distinct],
        grouped_by=group_column or "",
        notes=notes,
    )
