"""Where one image's bytes come from: a file, a cell of a Parquet table, or memory."""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.errors import DataError
from regraft.files import is_file, sha256

ROW_GROUPS_IN_MEMORY = 4  # at least: a pass goes through the table in order, and threads work near each other
ROWS_IN_MEMORY = 1 << 30  # bytes of row groups beyond these: a table that fits is read once, in whatever order


@dataclass(frozen=True)
class TableCell:
    """One image inside a Parquet file in the Hugging Face layout, read when it is needed."""

    file: Path
    column: str
    row_group: int
    row: int  # within the row group
    name: str

    def __str__(self) -> str:
        """Return the name to show: the table and the image in it."""
        return f"{self.file}:{self.name}"

    def read_bytes(self) -> bytes:
        """Return the encoded image."""
        value = _row_groups.column(self)[self.row].as_py()
        data = value["bytes"] if isinstance(value, dict) else value
        if data is None and isinstance(value, dict) and value.get("path"):
            return (self.file.parent / str(value["path"])).read_bytes()
        if data is None:
            raise OSError("the table holds no bytes for this image")
        return bytes(data)


class _RowGroups:
    """The row groups read last. One lock: a reader beside the first waits for the same row group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._columns: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._size = 0  # bytes

    def column(self, cell: TableCell) -> Any:
        import pyarrow.parquet as pq

        key = (cell.file, cell.row_group)
        with self._lock:
            if key not in self._columns:
                with pq.ParquetFile(cell.file) as table:
                    self._columns[key] = table.read_row_group(cell.row_group, columns=[cell.column]).column(0)
                self._size += self._columns[key].nbytes
                while len(self._columns) > ROW_GROUPS_IN_MEMORY and self._size > ROWS_IN_MEMORY:
                    self._size -= self._columns.popitem(last=False)[1].nbytes
            self._columns.move_to_end(key)
            return self._columns[key]


_row_groups = _RowGroups()


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image that is already in memory."""

    image: Image.Image
    name: str

    def __str__(self) -> str:
        """Return the name to show."""
        return self.name


Source = Path | TableCell | Pixels


def encoded(source: Source) -> bytes | None:
    """Return the bytes of the image's file, None where it is in memory as pixels."""
    return None if isinstance(source, Pixels) else source.read_bytes()


def content_key(source: Source, data: bytes | None = None) -> bytes:
    """Return 32 bytes that are equal exactly when two images' contents are: SHA-256 of file or pixels.

    Args:
        source: the image.
        data: what `encoded` gives for it, if it was read already.
    """
    if isinstance(source, Pixels):
        image = source.image
        palette = image.getpalette() if image.mode == "P" else None
        orientation = image.getexif().get(0x0112)
        head = repr((image.mode, image.size, palette, orientation, image.info.get("transparency")))
        return sha256(head.encode() + image.tobytes())
    return sha256(source.read_bytes() if data is None else data)


def open_source(source: Source, data: bytes | None = None) -> Image.Image:
    """Return the image of `source`, its header read and its pixels not yet decoded.

    Args:
        source: the image.
        data: what `encoded` gives for it, if it was read already.
    """
    if isinstance(source, Pixels):
        return source.image
    return Image.open(io.BytesIO(source.read_bytes() if data is None else data))


def as_sources(images: Sequence[Any] | np.ndarray) -> list[Source]:
    """Turn what Python users have into sources.

    Args:
        images: paths (str or Path), PIL images, or uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4).

    Raises:
        DataError: something else, or an array of another type or shape; or a path that does not exist.
    """
    if isinstance(images, (str, Path)):
        raise DataError(f"expected a list of images. Got one path, {str(images)!r}. Put it into a list.")
    if not isinstance(images, Iterable):
        raise DataError(
            f"expected a list of images. Got {type(images).__name__}. Allowed are paths, PIL images or arrays."
        )
    sources = [_as_source(image, position) for position, image in enumerate(images)]
    missing = [source for source in sources if isinstance(source, Path) and not is_file(source)]
    if missing:
        shown = ", ".join(str(path) for path in missing[:20])
        raise DataError(f"{len(missing)} of {len(sources)} image files do not exist: {shown}. Check the paths.")
    return sources


def _as_source(image: Any, position: int) -> Source:
    name = f"image {position}"
    if isinstance(image, (TableCell, Pixels)):
        return image
    if isinstance(image, (str, Path)):
        return Path(image)
    if isinstance(image, Image.Image):
        return Pixels(image, name)
    if isinstance(image, np.ndarray):
        if not image.size:
            raise DataError(f"{name}: an array of shape {image.shape} holds no pixels. Leave it out.")
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise DataError(
                f"{name}: an array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4). "
                f"Got {image.dtype} of shape {image.shape}. Scale the values to 0..255 and put channels last."
            )
        return Pixels(Image.fromarray(image), name)
    raise DataError(f"{name}: allowed are a path, a PIL image or a uint8 array. Got {type(image).__name__}.")
