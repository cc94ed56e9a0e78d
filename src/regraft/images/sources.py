"""Where an image comes from: a file, a cell of a Parquet table, or memory, encoded or not."""

import hashlib
import io
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from regraft.errors import DataError
from regraft.files import UnusableFileError, sha256, too_large
from regraft.storage.locations import Location, RemotePath, address, is_file, open_file, read_part, size_of, stamp_of
from regraft.storage.store import PIECE

ROW_GROUPS_IN_MEMORY = 4  # at least: the table is read in order, by threads that work near each other
ROWS_IN_MEMORY = 1 << 30  # bytes that more row groups may take: a table that fits is read once, in any order
# greys of more than 8 bits that an array may hold, and what Pillow holds them in
DEEP_ARRAYS = {
    "uint16": np.uint16,
    "int16": np.int32,
    "int32": np.int32,
    "float16": np.float32,
    "float32": np.float32,
    "float64": np.float32,
}
_MAX_READ_AT_ONCE = 1 << 24  # bytes: a larger file is read by its decoder, piece by piece
FETCHED_IN_MEMORY = 1 << 29  # bytes of photos from stores that are kept, as they are asked for again
_SECONDS_KEPT = 600.0  # without being asked for


@dataclass(frozen=True)
class TableCell:
    """One image inside a Parquet file in the Hugging Face layout, read when it is needed."""

    file: Location
    column: str
    row_group: int
    row: int  # within the row group
    name: str

    def __str__(self) -> str:
        """Return the name to show: the table and the image in it."""
        return f"{self.file}:{self.name}"

    def open(self, *, limit: int | None = None) -> BinaryIO:
        """Open the encoded image, of at most `limit` bytes.

        Raises:
            UnusableFileError: a larger image, or the path of something that is no ordinary file.
            OSError: there is no image.
        """
        value = _row_groups.column(self)[self.row].as_py()
        data = value["bytes"] if isinstance(value, dict) else value
        if data is None and isinstance(value, dict) and value.get("path"):
            return open_encoded(self._file_beside(str(value["path"])), limit=limit)
        if data is None:
            raise OSError("the table holds no bytes for this image")
        if limit is not None and len(data) > limit:
            raise too_large(len(data), limit)
        return io.BytesIO(data)

    def _file_beside(self, path: str) -> Location:
        """Return the file of that name below the table's folder: a table from elsewhere may name no other file."""
        folder = self.file.parent.resolve()
        found: Location = (folder / path).resolve()
        if not found.is_relative_to(folder):
            raise UnusableFileError("the table names a file outside of its folder")
        return found


class _RowGroups:
    """A cache of row groups. One lock: a second reader of a row group waits for the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._columns: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._size = 0  # bytes

    def column(self, cell: TableCell) -> Any:
        import pyarrow.parquet as pq

        key = (*stamp_of(cell.file), cell.column, cell.row_group)
        with self._lock:
            if key not in self._columns:
                with open_file(cell.file) as stream, pq.ParquetFile(stream) as table:
                    self._columns[key] = table.read_row_group(cell.row_group, columns=[cell.column]).column(0)
                self._size += self._columns[key].nbytes
                while len(self._columns) > ROW_GROUPS_IN_MEMORY and self._size > ROWS_IN_MEMORY:
                    self._size -= self._columns.popitem(last=False)[1].nbytes
            self._columns.move_to_end(key)
            return self._columns[key]


_row_groups = _RowGroups()


@dataclass(frozen=True)
class ArchiveMember:
    """One image inside a .tar file, which is not unpacked.

    Attributes:
        file: the archive.
        start: the place of its first byte.
        size: in bytes.
        name: in the archive.
    """

    file: Location
    start: int
    size: int
    name: str

    def __str__(self) -> str:
        """Return the name to show: the archive and the image in it."""
        return f"{self.file}:{self.name}"

    def open(self, *, limit: int | None = None) -> BinaryIO:
        """Open the encoded image, of at most `limit` bytes, as a file of its size is opened.

        Raises:
            UnusableFileError: a larger image.
            OSError: the archive cannot be read, or ends before.
        """
        if limit is not None and self.size > limit:
            raise too_large(self.size, limit)
        if self.size <= _MAX_READ_AT_ONCE:
            return io.BytesIO(read_part(self.file, self.start, self.size))
        ends = range(self.start, self.start + self.size, PIECE)
        return _spooled(read_part(self.file, at, min(PIECE, self.start + self.size - at)) for at in ends)


class _Fetched:
    """Photos of stores that were read once and will be read again soon, as far as there is room.

    All photos are gone through several times in one order: to make room for the next by dropping the oldest would drop
    each before it is asked for again. The first ones stay, until nobody has asked for them for a while.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._photos: OrderedDict[tuple[object, ...], tuple[float, bytes]] = OrderedDict()  # and when last asked for
        self._size = 0  # bytes

    def find(self, key: tuple[object, ...]) -> bytes | None:
        """Return the bytes of a photo; None where they are not here."""
        with self._lock:
            found = self._photos.get(key)
            if found is None:
                return None
            self._photos[key] = (time.monotonic(), found[1])
            self._photos.move_to_end(key)
        return found[1]

    def keep(self, key: tuple[object, ...], data: bytes) -> None:
        """Keep the bytes of a photo if there is room."""
        now = time.monotonic()
        with self._lock:
            while self._photos and self._size + len(data) > FETCHED_IN_MEMORY:
                oldest, (asked, held) = next(iter(self._photos.items()))
                if now - asked < _SECONDS_KEPT:
                    return
                del self._photos[oldest]
                self._size -= len(held)
            if key not in self._photos and self._size + len(data) <= FETCHED_IN_MEMORY:
                self._photos[key] = (now, data)
                self._size += len(data)


_fetched = _Fetched()


def _open_remote(path: RemotePath, limit: int | None) -> BinaryIO:
    """Open a photo of a store: a small one in memory, a large one as an unnamed temporary file.

    Each photo is looked at and then decoded, by `fit` twice (for copies, and for features): what is read for the first
    is kept for the others, as far as there is room.
    """
    size = size_of(path, limit, listed=True)
    if size > _MAX_READ_AT_ONCE:
        ends = range(0, size, PIECE)
        return _spooled(path.store.read_part(str(path), at, min(at + PIECE, size), size=size) for at in ends)
    key = stamp_of(path)
    data = _fetched.find(key)
    if data is None:
        data = path.store.read(str(path))
        _fetched.keep(key, data)
    if limit is not None and len(data) > limit:  # it has grown since it was listed
        raise too_large(len(data), limit)
    return io.BytesIO(data)


def _spooled(pieces: Iterable[bytes]) -> BinaryIO:
    """Return an open file without a name, on disk."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by who reads it)
    try:
        for piece in pieces:
            file.write(piece)
    except BaseException:
        file.close()
        raise
    file.flush()  # decoders read it by its descriptor
    file.seek(0)
    return file


_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()  # by the id of image or file
_locks_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An encoded image that is already in memory, as a server receives it.

    Attributes:
        data: as its file would hold it.
        name: to show.
    """

    data: bytes = field(repr=False)
    name: str

    def __str__(self) -> str:
        """Return the name to show."""
        return self.name

    def open(self, *, limit: int | None = None) -> BinaryIO:
        """Open the encoded image, of at most `limit` bytes, as a file of its size is opened.

        Raises:
            UnusableFileError: a larger image.
        """
        if limit is not None and len(self.data) > limit:
            raise too_large(len(self.data), limit)
        return io.BytesIO(self.data) if len(self.data) <= _MAX_READ_AT_ONCE else _as_file(self.data)


def _as_file(data: bytes) -> BinaryIO:
    """Return an open file, in memory where the system has such: decoders read it by its descriptor."""
    if not hasattr(os, "memfd_create"):
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by who reads it)
        file.write(data)
        file.seek(0)
        return file
    descriptor = os.memfd_create("image", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as written:
        written.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.fdopen(descriptor, "rb")


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image that is already in memory.

    Attributes:
        image: the user's; another `Pixels` may hold the same one, or one that reads the same open file.
        name: to show.
        lock: must be held to read `image`: Pillow loads pixels and EXIF tags lazily, and is not thread-safe in it.
    """

    image: Image.Image
    name: str
    lock: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find or create the lock of this image."""
        read_from = getattr(self.image, "fp", None)  # None once its pixels are loaded
        names = [id(thing) for thing in (self.image, read_from) if thing is not None]
        with _locks_lock:
            lock = next((_locks[name] for name in names if name in _locks), None) or threading.RLock()
            _locks.update(dict.fromkeys(names, lock))
        object.__setattr__(self, "lock", lock)

    def __reduce__(self) -> tuple[type, tuple[Image.Image, str]]:
        """Pickle without the lock."""
        return Pixels, (self.image, self.name)

    def __str__(self) -> str:
        """Return the name to show."""
        return self.name


Source = Location | TableCell | ArchiveMember | EncodedImage | Pixels


def open_encoded(source: Location | TableCell | ArchiveMember | EncodedImage, *, limit: int | None = None) -> BinaryIO:
    """Open the file of an image; a small one is read into memory, a large one as needed.

    Args:
        source: the image.
        limit: largest size in bytes.

    Raises:
        UnusableFileError: no ordinary file, or too large.
        OSError: it cannot be opened.
        StorageError: the store that it lies in is gone.
    """
    if isinstance(source, TableCell | ArchiveMember | EncodedImage):
        return source.open(limit=limit)
    if isinstance(source, RemotePath):
        return _open_remote(source, limit)
    stream = open_file(source, limit=limit)
    if os.fstat(stream.fileno()).st_size > _MAX_READ_AT_ONCE:
        return stream
    with stream:
        return io.BytesIO(stream.read())


def content_key(source: Source) -> bytes:
    """Return the SHA-256 of an image's file or pixels: 32 bytes, equal for equal contents only."""
    if isinstance(source, Pixels):
        with source.lock:
            return _pixels_key(source.image)
    with open_encoded(source) as stream:
        return file_key(stream)


def file_key(stream: BinaryIO) -> bytes:
    """Return the content key of an open file."""
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type] # every such stream has readinto


def _pixels_key(image: Image.Image) -> bytes:
    image.load()  # first: some formats have another palette, size or orientation from then on
    palette = image.getpalette() if image.mode == "P" else None
    orientation = image.getexif().get(0x0112)
    head = repr((image.mode, image.size, palette, orientation, image.info.get("transparency")))
    return sha256(head.encode() + image.tobytes())


def as_sources(images: Sequence[Any] | np.ndarray) -> list[Source]:
    """Turn images as Python users have them into sources.

    Args:
        images: paths (str or Path), PIL images, uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4), or greys of shape
            (h, w) in one of `DEEP_ARRAYS`.

    Raises:
        DataError: something else, or an array of another type or shape; or a path that does not exist.
    """
    if isinstance(images, (str, PurePath)):
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
    if isinstance(image, (TableCell, ArchiveMember, EncodedImage, Pixels)):
        return image
    if isinstance(image, (str, PurePath)):
        return address(image) or Path(image)
    if isinstance(image, Image.Image):
        return Pixels(image, name)
    if isinstance(image, np.ndarray):
        if not image.size:
            raise DataError(f"{name}: an array of shape {image.shape} holds no pixels. Leave it out.")
        if image.ndim == 2 and image.dtype.name in DEEP_ARRAYS:
            return Pixels(Image.fromarray(image.astype(DEEP_ARRAYS[image.dtype.name])), name)
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise DataError(
                f"{name}: an array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4), or greys of shape (h, w) in "
                f"{', '.join(DEEP_ARRAYS)}. Got {image.dtype} of shape {image.shape}. Scale the values to 0..255 and "
                "put channels last."
            )
        return Pixels(Image.fromarray(image), name)
    raise DataError(f"{name}: allowed are a path, a PIL image or a uint8 array. Got {type(image).__name__}.")
