"""Parquet files in the Hugging Face image layout: images as bytes or paths, class names in the schema."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from regraft.data.cells import is_missing
from regraft.errors import DataError, option
from regraft.images.sources import TableCell
from regraft.storage.locations import Location, open_file

PARQUET_SUFFIX = ".parquet"


class ParquetTable:
    """The n rows of an open Parquet file."""

    notes: Sequence[str] = ()

    def __init__(self, file: Location, table: Any) -> None:
        self.file = file
        self._table = table
        self.columns: Sequence[str] = table.schema_arrow.names

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.metadata.num_rows)

    @property
    def row_groups(self) -> list[int]:
        """Return how many rows each row group has."""
        about = self._table.metadata
        return [about.row_group(group).num_rows for group in range(about.num_row_groups)]

    def values(self, column: str) -> list[Any]:
        """Return the n cells of a column; of a struct's field by its path in the schema."""
        values: list[Any] = self._table.read(columns=[column]).column(0).to_pylist()
        return values

    def row_name(self, position: int) -> str:
        """Return how messages call a row."""
        return f"row {position}"

    def labels(self, column: str) -> list[Any]:
        """Return the n labels, named where the Hugging Face schema names them; None where there is none (-1, too).

        Raises:
            DataError: lists or other values that are no label, or a number that the schema does not name.
        """
        from pyarrow import types

        kind = self._table.schema_arrow.field(column).type
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            raise DataError(
                f"{self.file}: the label column {column!r} holds {kind}, several labels of one photo, which is not "
                f"supported. Keep one label for each, or name another column with {option('label_column')}."
            )
        if types.is_nested(kind):
            raise DataError(
                f"{self.file}: the label column {column!r} holds {kind}. Allowed are text and numbers. Name another "
                f"with {option('label_column')}; the columns are: {', '.join(self.columns)}."
            )
        values = self.values(column)
        names = self._class_names(column)
        if names is None or any(isinstance(value, str) for value in values):
            return [None if is_missing(value) or value == -1 else value for value in values]
        named = {float(number): name for number, name in enumerate(names)}  # pandas turns numbers with gaps into floats
        unknown = [value for value in values if not (is_missing(value) or value == -1 or value in named)]
        if unknown:
            raise DataError(
                f"{self.file}: label {unknown[0]!r} has no name; the schema names {len(names)} classes (0 to n-1)."
            )
        return [None if is_missing(value) or value == -1 else named[value] for value in values]

    def _class_names(self, column: str) -> list[str] | None:
        """Return the ClassLabel names in Hugging Face's schema metadata, or None."""
        raw = (self._table.schema_arrow.metadata or {}).get(b"huggingface")
        if raw is None:
            return None
        try:
            feature = json.loads(raw).get("info", {}).get("features", {}).get(column, {})
            names = feature.get("names") if isinstance(feature, dict) else None
            return [str(name) for name in names] if names else None
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise DataError(
                f"{self.file}: the class names in its Hugging Face metadata cannot be read. Write the file again, or "
                "with names in the label column."
            ) from None

    def cells(self, column: str) -> list[TableCell] | None:
        """Return the n images that a column holds; None if it holds paths.

        Raises:
            DataError: it holds neither.
        """
        from pyarrow import types

        kind = self._table.schema_arrow.field(column).type
        text = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_string(text) or types.is_large_string(text) or types.is_string_view(text):
            return None
        fields = {field.name for field in kind} if types.is_struct(kind) else set()
        if not ("bytes" in fields or types.is_binary(kind) or types.is_large_binary(kind)):
            raise DataError(
                f"{self.file}: the image column {column!r} holds {kind}. Allowed are bytes, a struct of bytes and "
                f"path, or paths as text. Name another with {option('image_column')}; the columns are: "
                f"{', '.join(self.columns)}."
            )
        return self._images(column)

    def _images(self, column: str) -> list[TableCell]:
        table = self._table
        paths: list[str | None] = []
        if f"{column}.path" in {table.schema.column(i).path for i in range(len(table.schema))}:
            paths = [value and value["path"] for value in self.values(f"{column}.path")]
        cells: list[TableCell] = []
        for group in range(table.num_row_groups):
            for row in range(table.metadata.row_group(group).num_rows):
                name = (paths[len(cells)] if paths else None) or f"row {len(cells)}"
                cells.append(TableCell(self.file, column, group, row, name))
        return cells


def row_groups(file: Location) -> list[int]:
    """Return how many rows each row group of a file has.

    Raises:
        DataError: it cannot be read.
    """
    with open_parquet_table(file) as table:
        return table.row_groups


@contextmanager
def open_parquet_table(file: Location) -> Iterator[ParquetTable]:
    """Open a Parquet file for reading.

    Raises:
        DataError: it cannot be read, at once or later.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(file) as stream, pq.ParquetFile(stream) as table:
            yield ParquetTable(file, table)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet file: {error}") from None
