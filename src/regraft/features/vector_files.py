"""Files of vectors, written a block at a time: Parquet and NumPy's .npz. No reader ever finds half of one."""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from regraft.data.photo_list import PhotoList
from regraft.errors import OptionError, printable
from regraft.files import atomic_write, utf8

_ROWS = 4096  # of an array that are copied at a time
_OTHERS = {".npy": "A name and a label belong to each vector: name it .npz.", ".pq": "Name it .parquet."}
_OTHERS |= dict.fromkeys(
    (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx"),
    "Thousands of numbers a photo are no text: name it .parquet, which pandas reads, too.",
)


class VectorFile(Protocol):
    """A file of vectors that is being written."""

    def add(self, positions: np.ndarray, vectors: np.ndarray) -> None:
        """Write m rows more.

        Args:
            positions: (m,) of the photos in their list.
            vectors: (m, d) float32.
        """

    def finish(self) -> None:
        """Write what ends the file."""


class _ParquetFile:
    """Columns key (of a part), path, label, split (of a part, or where there are any), and features: d float32 each."""

    def __init__(
        self,
        stack: ExitStack,
        stream: BinaryIO,
        photos: PhotoList,
        about: Mapping[str, Any],
        keys: Sequence[str] | None,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._texts, self._dimension = _texts_of(photos), about["features"]
        if keys is not None:  # a part: of all parts the columns are the same
            self._texts = [("key", keys), *_texts_of(photos, splits=True)]
        columns = [(name, pa.string()) for name, _ in self._texts]
        self._schema = pa.schema(
            [*columns, ("features", pa.list_(pa.float32(), self._dimension))],
            metadata={"regraft": json.dumps(about, sort_keys=True)},
        )
        # text alone is worth a dictionary
        self._file = stack.enter_context(pq.ParquetWriter(stream, self._schema, use_dictionary=["label", "split"]))

    def add(self, positions: np.ndarray, vectors: np.ndarray) -> None:
        import pyarrow as pa

        found = []
        for _, values in self._texts:
            chosen = [values[place] for place in positions]
            found.append(pa.array([None if value is None else utf8(value) for value in chosen], pa.string()))
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        found.append(pa.FixedSizeListArray.from_arrays(flat, self._dimension))
        self._file.write_table(pa.Table.from_arrays(found, schema=self._schema))

    def finish(self) -> None:
        self._file.close()


class _NpzFile:
    """Arrays path, label ("" for none), split (where there are splits; likewise), features (n, d) float32, and about.

    An array begins with its shape, which is known at the end: until then the vectors lie in a file without a name.
    """

    def __init__(
        self,
        stack: ExitStack,
        stream: BinaryIO,
        photos: PhotoList,
        about: Mapping[str, Any],
        keys: Sequence[str] | None,
    ) -> None:
        assert keys is None  # nothing writes them here
        self._photos, self._about, self._dimension = photos, about, about["features"]
        self._body = stack.enter_context(tempfile.TemporaryFile(dir=Path(stream.name).parent))  # noqa: SIM115
        self._archive = stack.enter_context(zipfile.ZipFile(stream, "w"))
        self._positions: list[int] = []

    def add(self, positions: np.ndarray, vectors: np.ndarray) -> None:
        self._positions += positions.tolist()
        self._body.write(np.ascontiguousarray(vectors, dtype="<f4").data)

    def finish(self) -> None:
        for name, values in _texts_of(self._photos):
            self._add_texts(name, [str(values[place] or "") for place in self._positions])
        self._body.seek(0)
        n, size = len(self._positions), 4 * self._dimension
        blocks = (self._body.read(min(_ROWS, n - start) * size) for start in range(0, n, _ROWS))
        self._add_array("features", "<f4", (n, self._dimension), blocks)
        self._add_texts("about", [json.dumps(self._about, sort_keys=True)])
        self._archive.close()

    def _add_texts(self, name: str, texts: Sequence[str]) -> None:
        dtype = f"<U{max(1, *map(len, texts))}" if texts else "<U1"
        parts = (texts[start : start + _ROWS] for start in range(0, len(texts), _ROWS))
        self._add_array(name, dtype, (len(texts),), (np.array(part, dtype=dtype).tobytes() for part in parts))

    def _add_array(self, name: str, dtype: str, shape: tuple[int, ...], blocks: Iterator[bytes]) -> None:
        """Add an array as `np.load` reads it, under a date that is always the same: equal vectors are equal files."""
        entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED if "U" in dtype else zipfile.ZIP_STORED  # texts are padded
        with self._archive.open(entry, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
            for block in blocks:
                file.write(block)


_WRITERS: dict[str, type[_ParquetFile] | type[_NpzFile]] = {".parquet": _ParquetFile, ".npz": _NpzFile}


def check_vector_file(path: Path, *, option: str = "path") -> None:
    """Raise `OptionError` unless the ending of `path` is one that vectors are written with.

    Args:
        path: of the file.
        option: what the user calls it, for the message.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        more = f" {_OTHERS[suffix]}" if suffix in _OTHERS else ""
        raise OptionError(f"{option} must end in {' or '.join(_WRITERS)}. Got {printable(path)}.{more}")


@contextmanager
def open_vector_file(
    path: Path, photos: PhotoList, about: Mapping[str, Any], *, keys: Sequence[str] | None = None
) -> Iterator[VectorFile]:
    """Yield what writes rows into a file at `path`, which appears when the block ends without an error.

    Args:
        path: with an ending that `check_vector_file` allows.
        photos: whose vectors are written.
        about: what they were made with, in JSON types, kept in the file; "features" is their length.
        keys: of the photos' contents, for a column of a Parquet file that is one of several parts; None for others.

    Raises:
        OutputError: the disk is full, the folder is missing or not writable.
    """
    with atomic_write(path) as temporary, temporary.open("xb") as stream, ExitStack() as stack:
        file: VectorFile = _WRITERS[path.suffix.lower()](stack, stream, photos, about, keys)
        yield file
        file.finish()


def _texts_of(photos: PhotoList, *, splits: bool = False) -> list[tuple[str, Sequence[object]]]:
    """Return the names and values of the columns of text: n values each, None where there is none.

    Args:
        photos: n photos.
        splits: whether there is a column of splits even if no photo is of one.
    """
    found: list[tuple[str, Sequence[object]]] = [("path", photos.sources), ("label", photos.labels)]
    return [*found, ("split", photos.splits)] if splits or photos.has_splits else found
