"""Tables of photos: CSV beside image files, and Parquet in the Hugging Face image layout."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.data.folders import SPLIT_FOLDERS, entries, image_files
from regraft.data.samples import Samples
from regraft.errors import DataError, did_you_mean, option, shortlist
from regraft.files import is_file, open_regular, read_regular
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import Source, TableCell

CSV_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIX = ".parquet"
_MAX_CSV = 1000**3  # bytes
_FIRST_CSV_ROW = 2  # the header is row 1
# tried in this order when no option names the column
_USUAL_COLUMNS = {
    "image_column": ("image", "image_path", "path", "file", "file_name", "filename", "image_id", "id"),
    "label_column": ("label", "labels", "class", "target", "category"),
}


class MissingColumnError(DataError):
    """A table has not the columns that it is to be read by: it may be no table of photos at all."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table to read; None where the usual names are to be tried."""

    image: str | None = None
    label: str | None = None
    group: str | None = None
    image_root: Path | None = None


def read_csv(file: Path, columns: Columns) -> Samples:
    """Return the rows of a CSV (or TSV) file; every value is text, so that "01" stays "01".

    An image is a path relative to `columns.image_root` (default: the CSV's folder), a file name found anywhere
    below it, or such a name without its ending ("ISIC_0024306"). Rows that repeat an image, its label and its group
    are left out; an image under two labels is the audit's to name.

    Raises:
        DataError: unreadable table, missing column, empty label, or rows whose image file is missing or ambiguous.
    """
    table = _csv_table(file)
    chosen = _choose_columns(file, list(table.columns), columns)
    labels = [value.strip() for value in table[chosen["label_column"]]]
    empty = [f"row {line}" for line, label in enumerate(labels, start=_FIRST_CSV_ROW) if not label]
    if empty:
        raise DataError(
            f"{file}: {len(empty):,} rows have no value in the label column {chosen['label_column']!r}:\n"
            f"{shortlist(empty)}\nFill them in or remove the rows."
        )
    sources = _image_paths(list(table[chosen["image_column"]]), file, columns, first=_FIRST_CSV_ROW)
    groups, notes = _groups(list(table[columns.group]), columns.group, str(file)) if columns.group else (None, [])
    distinct = list(dict.fromkeys(zip(sources, labels, groups or [None] * len(labels), strict=True)))
    if len(distinct) < len(labels):
        notes = [*notes, f"{len(labels) - len(distinct):,} rows of {file} repeat another row: left out"]
    return Samples.from_labels(
        str(file),
        [source for source, _, _ in distinct],
        [label for _, label, _ in distinct],
        groups=[group for _, _, group in distinct] if groups else None,
        notes=notes,
    )


def images_in_csv(file: Path, columns: Columns) -> list[Path]:
    """Return the images that a CSV (or TSV) file names, row by row, with or without labels.

    Raises:
        DataError: unreadable table, missing column, or rows whose image file is missing or ambiguous.
    """
    table = _csv_table(file)
    image = _choose_columns(file, list(table.columns), columns, labelled=False)["image_column"]
    return _image_paths(list(table[image]), file, columns, first=_FIRST_CSV_ROW)


def read_parquet(files: Sequence[Path], columns: Columns) -> Samples:
    """Return the rows of Parquet files: `image` a struct {bytes, path}, bytes or a path; `label` a number or text.

    Class names come from the Hugging Face schema metadata where `label` is a ClassLabel. The images stay in the
    files until they are read.

    Raises:
        DataError: unreadable file, missing column, or rows without a label.
    """
    where = ", ".join(str(file) for file in files)
    sources: list[Source] = []
    labels: list[str] = []
    values: list[Any] = []
    for file in files:
        with _parquet_table(file) as table:
            chosen = _choose_columns(file, table.schema_arrow.names, columns)
            label = chosen["label_column"]
            names = _class_names(table.schema_arrow, label, file)
            sources += _parquet_images(file, chosen["image_column"], table, columns)
            labels += _parquet_labels(_values(table, label), names, file)
            if columns.group:
                values += _values(table, columns.group)
    groups, notes = _groups(values, columns.group, where) if columns.group else (None, [])
    return Samples.from_labels(where, sources, labels, groups=groups, notes=notes)


def images_in_parquet(files: Sequence[Path], columns: Columns) -> list[Source]:
    """Return the images in Parquet files, row by row, with or without labels.

    Raises:
        DataError: unreadable file, or missing column.
    """
    sources: list[Source] = []
    for file in files:
        with _parquet_table(file) as table:
            chosen = _choose_columns(file, table.schema_arrow.names, columns, labelled=False)
            sources += _parquet_images(file, chosen["image_column"], table, columns)
    return sources


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files directly in a folder, [] if images lie beside them.

    Raises:
        DataError: the folder cannot be read.
    """
    paths = entries(folder)
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in paths):
        return []
    return sorted(path for path in paths if path.suffix.lower() == PARQUET_SUFFIX)


def parquet_splits(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files by split, from names like `train-00000-of-00004.parquet`; all are "train" if none says."""
    splits: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(files):
        word = file.stem.split("-")[0].lower()
        splits[next((s for s, names in SPLIT_FOLDERS.items() if word in names), "")].append(file)
    if list(splits) == [""]:
        return {"train": splits[""]}
    if "" in splits:
        raise DataError(
            f"{splits[''][0].parent}: some Parquet files are named after a split and others are not: "
            f"{splits[''][0].name}. Name all of them train-*, validation-* or test-*, or pass one file."
        )
    return dict(splits)


def _csv_table(file: Path) -> Any:
    """Return a data frame of text."""
    import pandas as pd

    try:
        return pd.read_csv(
            io.BytesIO(read_regular(file, limit=_MAX_CSV)),
            sep="\t" if file.suffix.lower() == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,  # a class may be called "NA"
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{file} is not a readable CSV table: {error}") from None


@contextmanager
def _parquet_table(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(file) as stream, pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet file: {error}") from None


def _values(table: Any, column: str) -> list[Any]:
    values: list[Any] = table.read(columns=[column]).column(0).to_pylist()
    return values


def _choose_columns(file: Path, present: list[str], columns: Columns, *, labelled: bool = True) -> dict[str, str]:
    """Return the names of the columns to read, by option; without labels, of the images alone."""
    asked = {"image_column": columns.image}
    if labelled:
        asked |= {"label_column": columns.label, "group_column": columns.group}
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for field, name in asked.items():
        usual = [column for column in _USUAL_COLUMNS.get(field, ()) if column in present]
        if name is not None and name not in present:
            problems.append(f"{option(field)} {name!r} is not there.{did_you_mean(name, present)}")
        elif name is not None or usual:
            chosen[field] = usual[0] if name is None else name
        elif field in _USUAL_COLUMNS:
            problems.append(f"{option(field)} is needed: none of {', '.join(_USUAL_COLUMNS[field])} is there.")
    if problems:
        raise MissingColumnError(f"{file}: {' '.join(problems)} Its columns are: {', '.join(present)}.")
    return chosen


def _image_paths(values: Sequence[str], file: Path, columns: Columns, *, first: int) -> list[Path]:
    """Return the files that `values` name below the image root; `first` is the number of the first row, for messages.

    Raises:
        DataError: the root is no folder, or a value names no file, or several.
    """
    root = columns.image_root or file.parent
    if not root.is_dir():
        raise DataError(
            f"{option('image_root')} {root} is no folder. Name the folder that the images of {file} lie in."
        )
    index: dict[str, list[Path]] | None = None
    found: list[Path] = []
    problems: list[str] = []
    for line, value in enumerate(values, start=first):
        path = root / value
        if not is_file(path):
            index = _index_by_name(root) if index is None else index
            matches = index.get(value, [])
            if len(matches) != 1:
                several = ", ".join(str(match.relative_to(root)) for match in matches[:3])
                problems.append(f"row {line}: {value!r} " + (f"fits {several}" if matches else "is missing"))
                continue
            path = matches[0]
        found.append(path)
    if problems:
        raise DataError(
            f"{file}: {len(problems):,} of {len(values):,} rows name no image file below {root}:\n"
            f"{shortlist(problems)}\nCorrect the rows, or name the images' folder with {option('image_root')}."
        )
    return found


def _index_by_name(root: Path) -> dict[str, list[Path]]:
    index: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(root)[0]:
        index[path.name].append(path)
        index[path.stem].append(path)
    return index


def _groups(values: Sequence[Any], column: str, where: str) -> tuple[list[str | None], list[str]]:
    """Return the group of each row, None where there is no value, and a note on these rows."""
    groups = [None if _is_missing(value) else str(value).strip() for value in values]
    empty = groups.count(None)
    note = (
        f"{empty:,} of {len(values):,} rows of {where} have no value in the group column {column!r}: each of "
        "these photos is taken as a group of its own"
    )
    return groups, [note] if empty else []


def _is_missing(value: Any) -> bool:
    """Tell whether a cell holds no value: null, not a number, or blank text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124 - NaN


def _class_names(schema: Any, label: str, file: Path) -> list[str] | None:
    """Return the ClassLabel names in Hugging Face's schema metadata, or None."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    try:
        feature = json.loads(raw).get("info", {}).get("features", {}).get(label, {})
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(name) for name in names] if names else None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DataError(
            f"{file}: the class names in its Hugging Face metadata cannot be read. Write the file again, or with names "
            "in the label column."
        ) from None


def _parquet_labels(values: list[Any], names: list[str] | None, file: Path) -> list[str]:
    # -1 is the hub's "no label"
    missing = [row for row, value in enumerate(values) if _is_missing(value) or value == -1]
    if missing:
        raise DataError(f"{file}: {len(missing):,} of {len(values):,} rows have no label (first: row {missing[0]}).")
    if names is None or not values or isinstance(values[0], str):
        return [str(value).strip() for value in values]
    named = {float(number): name for number, name in enumerate(names)}  # pandas turns numbers with gaps into floats
    unknown = [value for value in values if value not in named]
    if unknown:
        raise DataError(f"{file}: label {unknown[0]!r} has no name; the schema names {len(names)} classes (0 to n-1).")
    return [named[value] for value in values]


def _parquet_images(file: Path, image: str, table: Any, columns: Columns) -> Sequence[Source]:
    from pyarrow import types

    kind = table.schema_arrow.field(image).type
    if types.is_string(kind) or types.is_large_string(kind):
        return _image_paths([value or "" for value in _values(table, image)], file, columns, first=0)
    fields = {field.name for field in kind} if types.is_struct(kind) else set()
    if not ("bytes" in fields or types.is_binary(kind) or types.is_large_binary(kind)):
        raise DataError(
            f"{file}: the image column {image!r} holds {kind}. Allowed are bytes, a struct of bytes and path, or "
            f"paths as text. Name another with {option('image_column')}; the columns are: "
            f"{', '.join(table.schema_arrow.names)}."
        )
    return _cells(file, image, table)


def _cells(file: Path, image: str, table: Any) -> list[TableCell]:
    paths: list[str | None] = []
    if f"{image}.path" in {table.schema.column(i).path for i in range(len(table.schema))}:
        paths = [value and value["path"] for value in _values(table, f"{image}.path")]
    cells: list[TableCell] = []
    for group in range(table.num_row_groups):
        for row in range(table.metadata.row_group(group).num_rows):
            name = (paths[len(cells)] if paths else None) or f"row {len(cells)}"
            cells.append(TableCell(file, image, group, row, name))
    return cells
