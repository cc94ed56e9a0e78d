"""Tables of photos: CSV beside image files, and Parquet in the Hugging Face image layout."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.data.folders import SPLIT_FOLDERS, Rows, image_files
from regraft.data.formats import IMAGE_SUFFIXES
from regraft.data.sources import Source, TableCell
from regraft.errors import DataError, did_you_mean, shortlist
from regraft.files import is_file, open_regular, read_regular

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
PARQUET_SUFFIX = ".parquet"
_LARGEST_CSV = 1000**3  # bytes
# tried in this order when no option names the column
_USUAL_IMAGE_COLUMNS = ("image", "image_path", "path", "file", "file_name", "filename", "image_id", "id")
_USUAL_LABEL_COLUMNS = ("label", "labels", "class", "target", "category")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table to read; None where the usual names are to be tried."""

    image: str | None = None
    label: str | None = None
    group: str | None = None
    image_root: Path | None = None


def read_csv(file: Path, columns: Columns) -> Rows:
    """Return the rows of a CSV (or TSV) file; every value is text, so that "01" stays "01".

    An image is a path relative to `columns.image_root` (default: the CSV's folder), a file name found anywhere
    below it, or such a name without its ending ("ISIC_0024306").

    Raises:
        DataError: unreadable table, missing column, empty label, or rows whose image file is missing or ambiguous.
    """
    import pandas as pd

    try:
        text = read_regular(file, limit=_LARGEST_CSV)
        table = pd.read_csv(
            io.BytesIO(text),
            sep="\t" if file.suffix.lower() == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,  # a class may be called "NA"
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{file} is not a readable CSV table: {error}") from None
    image, label = _choose_columns(str(file), list(table.columns), columns)
    root = _image_root(file, columns)
    rows = Rows(where=str(file))
    empty = [f"row {line}" for line, value in enumerate(table[label], start=2) if not value.strip()]
    if empty:
        raise DataError(
            f"{file}: {len(empty):,} rows have no value in the label column {label!r}:\n{shortlist(empty)}\n"
            "Fill them in or remove the rows."
        )
    rows.sources = list(_resolve_images(list(table[image]), root, file, first=2))  # the header is row 1
    rows.labels = [value.strip() for value in table[label]]
    if columns.group:
        _set_groups(rows, list(table[columns.group]), columns.group)
    return _without_repeats(rows)


def read_parquet(files: Sequence[Path], columns: Columns) -> Rows:
    """Return the rows of Parquet files: `image` a struct {bytes, path}, bytes or a path; `label` a number or text.

    Class names come from the Hugging Face schema metadata where `label` is a ClassLabel. The images stay in the
    files until they are read.

    Raises:
        DataError: unreadable file, missing column, or rows without a label.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = Rows(where=", ".join(str(file) for file in files))
    groups: list[Any] = []
    for file in files:
        try:
            with open_regular(file) as stream, pq.ParquetFile(stream) as table:
                image, label = _choose_columns(str(file), table.schema_arrow.names, columns)
                names = _class_names(table.schema_arrow, label, file)
                rows.sources += _images(file, image, table, columns)
                rows.labels += _labels(table.read(columns=[label]).column(0).to_pylist(), names, file)
                if columns.group:
                    groups += table.read(columns=[columns.group]).column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} is not a readable Parquet file: {error}") from None
    if columns.group:
        _set_groups(rows, groups, columns.group)
    return rows


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


def _choose_columns(where: str, present: list[str], columns: Columns) -> tuple[str, str]:
    usual = {"--image-column": _USUAL_IMAGE_COLUMNS, "--label-column": _USUAL_LABEL_COLUMNS}
    asked = {
        "--image-column": columns.image,
        "--label-column": columns.label,
        "--group-column": columns.group,
    }
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for option, name in asked.items():
        if name is not None and name not in present:
            problems.append(f"{option} {name!r} is not there.{did_you_mean(name, present)}")
        elif name is None and option in usual:
            found = [column for column in usual[option] if column in present]
            if not found:
                problems.append(f"{option} is needed: none of {', '.join(usual[option])} is there.")
            chosen[option] = found[0] if found else ""
        elif name is not None:
            chosen[option] = name
    if problems:
        raise DataError(f"{where}: {' '.join(problems)} Its columns are: {', '.join(present)}.")
    return chosen["--image-column"], chosen["--label-column"]


def _image_root(file: Path, columns: Columns) -> Path:
    root = columns.image_root or file.parent
    if not root.is_dir():
        raise DataError(f"--image-root {root} is no folder. Name the folder that the images of {file} lie in.")
    return root


def _resolve_images(values: Sequence[str], root: Path, file: Path, *, first: int) -> list[Path]:
    """Return the files that `values` name below `root`; `first` is the first one's row, for messages."""
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
            f"{shortlist(problems)}\nCorrect the rows, or name the images' folder with --image-root."
        )
    return found


def _index_by_name(root: Path) -> dict[str, list[Path]]:
    index: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(root)[0]:
        index[path.name].append(path)
        index[path.stem].append(path)
    return index


def _set_groups(rows: Rows, values: Sequence[Any], column: str) -> None:
    rows.groups = [None if _is_missing(value) else str(value).strip() for value in values]
    empty = rows.groups.count(None)
    if empty:
        rows.notes.append(
            f"{empty:,} of {len(values):,} rows of {rows.where} have no value in the group column {column!r}: each of "
            "these photos is taken as a group of its own"
        )


def _is_missing(value: Any) -> bool:
    """Tell whether a cell says nothing: null, not a number, or blank text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124 - NaN


def _without_repeats(rows: Rows) -> Rows:
    """Drop rows that repeat an earlier row's image and label; contradictions are the audit's to name."""
    groups = rows.groups or [None] * len(rows.labels)
    kept = list(dict.fromkeys(zip(rows.sources, rows.labels, groups, strict=True)))
    if len(kept) < len(rows.labels):
        rows.notes.append(f"{len(rows.labels) - len(kept):,} rows of {rows.where} repeat another row: left out")
        rows.sources = [source for source, _, _ in kept]
        rows.labels = [label for _, label, _ in kept]
        rows.groups = [group for _, _, group in kept] if rows.groups else None
    return rows


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


def _labels(values: list[Any], names: list[str] | None, file: Path) -> list[str]:
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


def _images(file: Path, image: str, table: Any, columns: Columns) -> Sequence[Source]:
    from pyarrow import types

    kind = table.schema_arrow.field(image).type
    if types.is_string(kind) or types.is_large_string(kind):
        values = table.read(columns=[image]).column(0).to_pylist()
        return _resolve_images([value or "" for value in values], _image_root(file, columns), file, first=0)
    fields = {field.name for field in kind} if types.is_struct(kind) else set()
    if not ("bytes" in fields or types.is_binary(kind) or types.is_large_binary(kind)):
        raise DataError(
            f"{file}: the image column {image!r} holds {kind}. Allowed are bytes, a struct of bytes and path, or "
            f"paths as text. Name another with --image-column; the columns are: {', '.join(table.schema_arrow.names)}."
        )
    return _cells(file, image, table)


def _cells(file: Path, image: str, table: Any) -> list[TableCell]:
    paths: list[str | None] = []
    if f"{image}.path" in {table.schema.column(i).path for i in range(len(table.schema))}:
        paths = [value and value["path"] for value in table.read(columns=[f"{image}.path"]).column(0).to_pylist()]
    cells: list[TableCell] = []
    for group in range(table.num_row_groups):
        for row in range(table.metadata.row_group(group).num_rows):
            name = (paths[len(cells)] if paths else None) or f"row {len(cells)}"
            cells.append(TableCell(file, image, group, row, name))
    return cells


def is_table(path: Path) -> bool:
    """Tell whether `path` is named like a table that this module reads."""
    return path.suffix.lower() in CSV_SUFFIXES | {PARQUET_SUFFIX}


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder that holds no images of its own, else []."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == PARQUET_SUFFIX)
    loose_image = any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
    return [] if loose_image else files
