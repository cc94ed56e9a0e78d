"""Where photos lie: a path of this machine, or an address in a store, which can be asked what a path is asked."""

import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from regraft import files
from regraft.errors import DataError, StorageError, printable
from regraft.storage.addresses import SCHEMES, check_address
from regraft.storage.opening import store_of
from regraft.storage.store import PIECE, Entry, Store

BLOCKS_IN_MEMORY = 32  # of `PIECE` bytes: of archives, whose photos are read in order by threads near each other
# `pathlib` makes one slash of two: s3:/bucket is what a Path of s3://bucket says of itself
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<second>/?)(?P<rest>.*)", re.DOTALL)
_BUFFER = 1 << 16  # bytes that are read ahead of a table: columns of labels are short, and lie far from each other


class RemotePath(PurePosixPath):
    """An address in a store, of the form scheme://bucket/folder/name, that is asked what a `Path` is asked.

    Its parts are ("s3:", "bucket", "folder", "name"). UPath (universal_pathlib) does the same for any file system, but
    is no `PurePath`, takes ten times as long to make as a path, and asks the store for each of a folder's files.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return the address."""
        text = super().__str__()
        head, slash, rest = text.partition("/")
        return f"{head}//{rest}" if slash and head.endswith(":") else text

    @property
    def store(self) -> Store:
        """The store that it is an address of."""
        return store_of(str(self))

    def entry(self) -> Entry | None:
        """Return what is there; None where nothing is.

        Raises:
            StorageError: the store does not answer, or refuses access.
        """
        return self.store.entry(str(self)) if len(self.parts) > 1 else None

    def exists(self) -> bool:
        """Tell whether anything is there."""
        return self.entry() is not None

    def is_file(self) -> bool:
        """Tell whether a file is there."""
        found = self.entry()
        return found is not None and not found.is_folder

    def is_dir(self) -> bool:
        """Tell whether a folder is there; a web server has none."""
        found = self.entry() if self.store.lists else None
        return found is not None and found.is_folder

    @property
    def lists(self) -> bool:
        """Whether its store says which files there are: a web server does not."""
        return self.store.lists

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yield what lies directly in the folder."""
        return (self / name for name in self.store.listing(str(self)))

    def walk(self) -> Iterator[tuple["RemotePath", list[str], list[str]]]:
        """Yield each folder from this one on, and the names of the folders and files in it, as `os.walk` does."""
        self.list_below()
        yield from self._walk()

    def _walk(self) -> Iterator[tuple["RemotePath", list[str], list[str]]]:
        found = self.store.listing(str(self))
        folders = [name for name, entry in found.items() if entry.is_folder]
        yield self, folders, [name for name, entry in found.items() if not entry.is_folder]
        for name in folders:  # those that are still there
            yield from (self / name)._walk()

    def list_below(self) -> None:
        """Have all that lies below listed by one request for a thousand files, not one for each folder."""
        self.store.list_below(str(self))

    def matching(self) -> list["RemotePath"]:
        """Return the files that fit this pattern, in no order."""
        return [RemotePath(url) for url in self.store.matching(str(self))]

    def stamp(self) -> str:
        """Return what changes when the file does, as it was listed; "" where there is none."""
        found = self.store.listed(str(self))
        return found.stamp if found else ""

    def normal(self) -> "RemotePath":
        """Return the address without `..`, which never leads out of the bucket."""
        kept: list[str] = []
        for part in self.parts:
            if part != "..":
                kept.append(part)
            elif len(kept) > 2:
                kept.pop()
        return RemotePath(*kept)

    # What a path of this machine has, so that both can be asked

    def expanduser(self) -> "RemotePath":
        """Return itself: it names no user's folder."""
        return self

    def absolute(self) -> "RemotePath":
        """Return itself."""
        return self

    def resolve(self) -> "RemotePath":
        """Return the address without `..`; a store has no links."""
        return self.normal()

    def is_symlink(self) -> bool:
        """Return False: a store has no links."""
        return False


Location = Path | RemotePath


def address(name: str | os.PathLike[str]) -> RemotePath | None:
    """Return the address in a store that a user names; None for a path of this machine.

    Raises:
        StorageError: an address that holds credentials.
    """
    if isinstance(name, RemotePath):
        return name
    text = os.fspath(name)
    if "::" in text and "://" in text:  # fsspec's chains, whose parts may hold what `check_address` looks for
        raise StorageError("addresses with :: are not read. Name one store, as in s3://bucket/pets.")
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return None
    scheme, second = found["scheme"].lower(), found["second"]
    if scheme == "file" or (not second and scheme not in SCHEMES):  # a folder whose name ends in a colon
        return None
    url = f"{scheme}://{found['rest'].lstrip('/')}"
    check_address(url)
    if not found["rest"].strip("/"):
        raise StorageError(f"{scheme}:// names no bucket or host. Name one, as in s3://bucket/pets.")
    return RemotePath(url.rstrip("/"))


def location(name: str | os.PathLike[str]) -> Location:
    """Return what a user names: an address such as s3://bucket/pets, or a path, in which ~ is the user's folder.

    Raises:
        StorageError: an address that holds credentials.
    """
    found = address(name)
    if found is not None:
        return found
    text = os.fspath(name)
    if text.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    return Path(name).expanduser()


def local_path(name: str | os.PathLike[str], what: str) -> Path:
    """Return a path of this machine.

    Args:
        name: as the user wrote it.
        what: for the message, e.g. "the photos of a review".

    Raises:
        DataError: an address in a store.
    """
    found = location(name)
    if isinstance(found, RemotePath):
        raise DataError(f"{what} must lie on this machine. Got {printable(found)}. Name a file or folder of it.")
    return found


def absolute_name(source: object) -> str:
    """Return the name of a photo that holds wherever a table of it is read: an address, or an absolute path."""
    text = str(source)
    return text if _ADDRESS.match(text) and "://" in text[:12] else str(Path(text).absolute())


def is_file(path: Location) -> bool:
    """Tell whether there is a file. See `files.is_file`."""
    return path.is_file() if isinstance(path, RemotePath) else files.is_file(path)


def open_file(path: Location, *, limit: int | None = None, kept: bool = False) -> BinaryIO:
    """Open a file for reading, of a store piece by piece as it is needed. See `files.open_regular`.

    Args:
        path: the file.
        limit: largest size in bytes.
        kept: whether what is read of a store is kept for `read_part`.

    Raises:
        UnusableFileError, OSError: as of `files.open_regular`.
        StorageError: the store is gone.
    """
    if not isinstance(path, RemotePath):
        return files.open_regular(path, limit=limit)
    return io.BufferedReader(_RemoteFile(path, size_of(path, limit), _blocks if kept else None), _BUFFER)


def read_file(path: Location, *, limit: int | None = None) -> bytes:
    """Return the contents of a file. See `open_file`."""
    if not isinstance(path, RemotePath):
        return files.read_regular(path, limit=limit)
    size = size_of(path, limit)
    if size <= PIECE:
        return path.store.read(str(path))
    pieces = (path.store.read_part(str(path), at, min(at + PIECE, size), size=size) for at in range(0, size, PIECE))
    return b"".join(pieces)


def write_file(path: Location, data: bytes) -> None:
    """Write a file, whole or not at all; folders that it lies in are made.

    Raises:
        OutputError: it cannot be written.
        StorageError: the store does not answer, or refuses access.
    """
    if isinstance(path, RemotePath):
        path.store.write(str(path), data)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_failure(path, error) from None
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(data)


def stamp_of(path: Location) -> tuple[object, ...]:
    """Return what tells one state of a file from all others: its name may stand for another file by now."""
    if isinstance(path, RemotePath):
        return (str(path), path.stamp())
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def size_of(path: RemotePath, limit: int | None = None, *, listed: bool = False) -> int:
    """Return the size of a file in bytes.

    Args:
        path: the file.
        limit: largest size.
        listed: as it was listed, however long ago; else as it is now.

    Raises:
        UnusableFileError: it is larger than `limit`, a folder, or of unknown size.
        OSError: it is not there.
        StorageError: the store does not answer.
    """
    found = path.store.listed(str(path)) if listed else path.entry()
    if found is None:
        raise FileNotFoundError("it is not there")
    if found.is_folder:
        raise files.UnusableFileError("not a file but a folder")
    if found.size is None:
        raise files.UnusableFileError("its server does not say how large it is")
    if limit is not None and found.size > limit:
        raise files.too_large(found.size, limit)
    return found.size


class _RemoteFile(io.RawIOBase):
    """A file of a store, whose bytes are asked for as they are read."""

    def __init__(self, path: RemotePath, size: int, blocks: "_Blocks | None") -> None:
        self._path, self._size, self._blocks, self._at = path, size, blocks, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if self._blocks is None:
            data = self._path.store.read_part(str(self._path), self._at, end, size=self._size)
        else:
            data = self._blocks.read(self._path, self._at, end, size=self._size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Blocks:
    """Blocks of files in stores. Who asks for one that is on its way waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, str, int], Future[bytes]] = OrderedDict()

    def read(self, path: RemotePath, start: int, end: int, *, size: int) -> bytes:
        stamp = path.stamp()
        numbers = range(start // PIECE, (end - 1) // PIECE + 1) if end > start else ()
        data = b"".join(self._block(path, stamp, number, size) for number in numbers)
        first = start // PIECE * PIECE
        return data[start - first : end - first]

    def _block(self, path: RemotePath, stamp: str, number: int, size: int) -> bytes:
        key = (str(path), stamp, number)
        with self._lock:
            found = self._blocks.get(key)
            mine = found is None
            if found is None:
                found = self._blocks[key] = Future()
                while len(self._blocks) > BLOCKS_IN_MEMORY:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
        if mine:
            self._fill(found, key, path, size)
        return found.result()

    def _fill(self, block: "Future[bytes]", key: tuple[str, str, int], path: RemotePath, size: int) -> None:
        start = key[2] * PIECE
        try:
            block.set_result(path.store.read_part(key[0], start, min(start + PIECE, size), size=size))
        except BaseException as error:
            with self._lock:
                self._blocks.pop(key, None)
            block.set_exception(error)


_blocks = _Blocks()


def read_part(path: Location, start: int, length: int) -> bytes:
    """Return `length` bytes of a file from `start` on; of a store, with what lies around them, for its neighbours.

    Raises:
        OSError: it cannot be read, or is shorter.
        StorageError: the store is gone.
    """
    if isinstance(path, RemotePath):
        size = size_of(path, listed=True)
        data = _blocks.read(path, start, min(start + length, size), size=size)
    else:
        with files.open_regular(path) as stream:
            stream.seek(start)
            data = stream.read(length)
    if len(data) < length:
        raise OSError("its archive ends before it does")
    return data
