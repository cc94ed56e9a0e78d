"""Where photos lie: a path of this machine, or an address in a store, which can be asked what a path is asked."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from regraft import files
from regraft.errors import DataError, StorageError, printable
from regraft.storage.addresses import SCHEMES, check_address, hold, release
from regraft.storage.contents import Blocks, Content, ContentStream
from regraft.storage.opening import opened_store, store_of
from regraft.storage.store import PIECE, Entry, Store

# `pathlib` makes one slash of two: s3:/bucket is what a Path of s3://bucket says of itself
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<second>/?)(?P<rest>.*)", re.DOTALL)
_BUFFER = 1 << 16  # bytes that are read ahead of a table: columns of labels are short, and lie far from each other


class RemotePath(PurePosixPath):
    """An address in a store, of the form scheme://bucket/folder/name, that is asked what a `Path` is asked.

    Its parts are ("s3:", "bucket", "folder", "name"). An address is kept to the letter: s3://bucket/a//b and
    s3://bucket/a/./b are not s3://bucket/a/b (`addresses.hold`). UPath (universal_pathlib) does the same for any file
    system, but is no `PurePath`, takes ten times as long to make as a path, and asks the store for each of a folder's
    files.
    """

    __slots__ = ("_listed",)
    _listed: Entry  # as another process listed it that this path comes from

    def __new__(cls, *parts: str | os.PathLike[str]) -> "RemotePath":
        """Return the address that the parts make, of which the first may be a whole one."""
        return super().__new__(cls, *map(_held, parts))

    def __str__(self) -> str:
        """Return the address."""
        text = super().__str__()
        head, slash, rest = text.partition("/")
        return release(f"{head}//{rest}" if slash and head.endswith(":") else text)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with what is known of the file, so that workers need not ask again."""
        store = opened_store(str(self))
        listed = (store.remembered(str(self)) if store else None) or getattr(self, "_listed", None)
        about = None if listed is None or listed.is_folder else (listed.size, listed.stamp)
        return _arrived, (super().parts, about)

    @property
    def parts(self) -> tuple[str, ...]:
        """Its parts, as the store has them."""
        return tuple(map(release, super().parts))

    @property
    def name(self) -> str:
        """Its last part, as the store has it."""
        return release(super().name)

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
        return (self / hold(name) for name in self.store.listing(str(self)))

    def walk(self) -> Iterator[tuple["RemotePath", list[str], list[str]]]:
        """Yield each folder from this one on, and the names of the folders and files in it, as `os.walk` does.

        The names are to be joined to the folder, by `/`: they are as `addresses.hold` makes them.
        """
        self.list_below()
        yield from self._walk()

    def _walk(self) -> Iterator[tuple["RemotePath", list[str], list[str]]]:
        found = self.store.listing(str(self))
        folders = [hold(name) for name, entry in found.items() if entry.is_folder]
        yield self, folders, [hold(name) for name, entry in found.items() if not entry.is_folder]
        for name in folders:  # those that are still there
            yield from (self / name)._walk()

    def list_below(self) -> None:
        """Have all that lies below listed by one request for a thousand files, not one for each folder."""
        self.store.list_below(str(self))

    def matching(self) -> list["RemotePath"]:
        """Return the files that fit this pattern, in no order."""
        return [RemotePath(url) for url in self.store.matching(str(self))]

    def listed(self) -> Entry | None:
        """Return what a listing said of the file, of this process or of that which the path comes from, however old.

        Training reads photos for hours after they were listed. What was never listed is asked for now.

        Raises:
            StorageError: as `entry`.
        """
        arrived: Entry | None = getattr(self, "_listed", None)
        return arrived or self.store.remembered(str(self)) or self.entry()

    def stamp(self) -> str:
        """Return what changes when the file does, as it was listed; "" where there is none."""
        found = self.listed()
        return found.stamp if found else ""

    def normal(self) -> "RemotePath":
        """Return the address without `..`, which never leads out of the bucket."""
        kept: list[str] = []
        for part in super().parts:
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


def _held(part: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return a part that a path is made of; of a whole address the key as `hold` makes it."""
    if isinstance(part, PurePath) or "://" not in (text := os.fspath(part)):
        return part
    scheme, _, rest = text.partition("://")
    bucket, slash, key = rest.partition("/")
    return f"{scheme}://{bucket}{slash}{hold(key)}"


def _arrived(parts: tuple[str, ...], about: tuple[int | None, str] | None) -> RemotePath:
    """Return a path that was pickled, with the size and the stamp of its file where the other process knew them."""
    path = RemotePath(*parts)
    if about is not None:
        path._listed = Entry(False, *about)
    return path


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
    content = Content(path.store, str(path), size_of(path, limit), path.stamp() if kept else "")
    return io.BufferedReader(ContentStream(content, _blocks if kept else None), _BUFFER)


def read_file(path: Location, *, limit: int | None = None) -> bytes:
    """Return the contents of a file. See `open_file`."""
    if not isinstance(path, RemotePath):
        return files.read_regular(path, limit=limit)
    size = size_of(path, limit)
    if size <= PIECE:
        return path.store.read(str(path))
    pieces = (path.store.read_part(str(path), at, min(at + PIECE, size), size=size) for at in range(0, size, PIECE))
    return b"".join(pieces)


def write_file(path: Location, data: bytes, *, new: bool = False) -> None:
    """Write a file, whole or not at all; folders that it lies in are made.

    Args:
        path: the file.
        data: its contents.
        new: only if it is not there yet: of several processes that write it at once one does.

    Raises:
        FileExistsError: it is there, and is to be new.
        NotImplementedError: it is to be new, and the store cannot tell that.
        OutputError: it cannot be written.
        StorageError: the store does not answer, or refuses access.
    """
    if isinstance(path, RemotePath):
        path.store.write(str(path), data, new=new)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_failure(path, error) from None
    with files.atomic_write(path, new=new) as temporary:
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
    found = path.listed() if listed else path.entry()
    if found is None:
        raise FileNotFoundError("it is not there")
    if found.is_folder:
        raise files.UnusableFileError("not a file but a folder")
    if found.size is None:
        raise files.UnusableFileError("its server does not say how large it is")
    if limit is not None and found.size > limit:
        raise files.too_large(found.size, limit)
    return found.size


_blocks = Blocks()


def read_part(path: Location, start: int, length: int) -> bytes:
    """Return `length` bytes of a file from `start` on; of a store, with what lies around them, for its neighbours.

    Raises:
        OSError: it cannot be read, or is shorter.
        StorageError: the store is gone.
    """
    if isinstance(path, RemotePath):
        content = Content(path.store, str(path), size_of(path, listed=True), path.stamp())
        data = _blocks.read(content, start, start + length)
    else:
        with files.open_regular(path) as stream:
            stream.seek(start)
            data = stream.read(length)
    if len(data) < length:
        raise OSError("its archive ends before it does")
    return data
