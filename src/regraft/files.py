"""Files: only ordinary ones are opened; digests, JSON and sizes; and writing that leaves all or nothing."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from regraft.errors import OptionError, OutputError

MAX_FILE_BYTES = 1000**3  # of a photo, unless the user allows more
TEMPORARY_SUFFIX = ".part"  # what a killed process may leave behind ends in this

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_ADDRESS = re.compile(r"(s3a?|gc?s|hf|https?|memory):/", re.IGNORECASE)  # `Path` makes one slash of two
_OF_FILES = (
    ".html",
    ".htm",
    ".pdf",
    ".zip",
    ".safetensors",
    ".pt",
    ".pth",
    ".png",
    ".csv",
    ".json",
    ".txt",
)  # suffixes
_IN_USE = (5, 32, 1224)  # Windows' errors: access denied, a sharing violation, a section that is mapped
_WAITS = (0.01, 0.03, 0.1, 0.3, 0.6)  # seconds: virus scanners look at a new file for some hundredths
_OUT_OF_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def sha256(data: bytes | memoryview) -> bytes:
    """Return the 32-byte SHA-256 digest (FIPS 180-4) of `data`."""
    return hashlib.sha256(data).digest()


def is_file(path: Path) -> bool:
    """Tell whether `path` is a file; False also for what cannot be a path (`Path.is_file` raises for a long text)."""
    return os.path.isfile(path)  # noqa: PTH113


class UnusableFileError(OSError):
    """No ordinary file, or larger than allowed; the text says which."""


def open_regular(path: Path, *, limit: int | None = None) -> BinaryIO:
    """Open an ordinary file for reading, and nothing else: opening a pipe waits for a writer, and a device has no end.

    Args:
        path: links are followed.
        limit: largest size in bytes.

    Raises:
        UnusableFileError: no ordinary file, or a larger one.
        OSError: it cannot be opened.
    """
    _check_regular(path.stat())  # before it is opened: opening a device can have effects
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags), "rb")
    try:
        status = os.fstat(stream.fileno())
        _check_regular(status)  # again: it may have been replaced
        if limit is not None and status.st_size > limit:
            raise too_large(status.st_size, limit)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: Path, *, limit: int | None = None) -> bytes:
    """Return the contents of an ordinary file. See `open_regular`."""
    with open_regular(path, limit=limit) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)


def utf8(text: object) -> str:
    r"""Return text that UTF-8 can hold: of bytes of file names that are no UTF-8, and halves of characters, an escape.

    >>> print(utf8("caf\udce9.jpg"))
    caf\udce9.jpg
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def parse_json(text: str | bytes) -> Any:
    """Parse JSON (RFC 8259): without NaN and infinities, which Python's own parser accepts.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is not a number in JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{digits} is larger than any number")
        return value

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_or_none(text: str | bytes) -> Any:
    """Parse JSON as `parse_json` does; None if that is impossible."""
    try:
        return parse_json(text)
    except ValueError:
        return None


def too_large(size: int, limit: int) -> UnusableFileError:
    """Return the error for a file of `size` bytes, which is more than `limit`."""
    actual, allowed = size_in_words(size), size_in_words(limit)
    if actual == allowed:
        actual, allowed = f"{size:,} bytes", f"{limit:,} bytes"
    return UnusableFileError(f"{actual}, and at most {allowed} are read")


def size_in_words(size: int) -> str:
    """Return a number of bytes in words.

    >>> size_in_words(21_474_836_480), size_in_words(1_000_000_000), size_in_words(512)
    ('21.5 GB', '1 GB', '512 bytes')
    """
    for unit, name in ((1000**3, "GB"), (1000**2, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


def parse_size(text: str, name: str) -> int:
    """Return a size in bytes.

    >>> parse_size("500MB", "max_file_size"), parse_size("1.5 gb", "max_file_size"), parse_size("7", "size")
    (500000000, 1500000000, 7)

    Args:
        text: a number with or without a unit.
        name: of the option or variable, for the message.

    Raises:
        OptionError: not a size.
    """
    number = text.strip().upper().rstrip("BKMGT ")
    unit = text.strip().upper()[len(number) :].strip()
    try:
        size = int(float(number) * _UNITS[unit if unit.endswith("B") or not unit else f"{unit}B"])
        if size < 0:
            raise ValueError
        return size
    except (ValueError, KeyError, OverflowError):
        raise OptionError(f"{name} must be a size like 500MB or 20GB. Got {text!r}.") from None


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for test, words in _KINDS if test(status.st_mode)), "something else")
        raise UnusableFileError(f"not a regular file but {kind}")


def check_output(path: Path, *, option: str = "path") -> None:
    """Raise `OutputError` unless a file can be written at `path`. Called before any expensive work.

    Args:
        path: of the file.
        option: what the user calls it, for the message.
    """
    check_local(path, option)
    path = _behind_link(path, option=option)
    try:  # all of it: a folder on the way may not be entered
        if path.is_dir():
            raise OutputError(f"{option} {path} is a folder. Name a file in it, e.g. {path / 'model.safetensors'}.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{option} {path} is not an ordinary file but a device or a pipe. Name a file.")
        folder = path.parent
        if not folder.is_dir():
            raise OutputError(f"{option} {path}: the folder {folder} does not exist. Create it: mkdir -p {folder}")
        probe = _temporary_beside(path)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise write_failure(path, error, option=option) from None


def check_local(path: Path | str, option: str) -> None:
    """Raise `OutputError` for an address in a store, without repeating it: it may hold a password."""
    if _ADDRESS.match(str(path)):
        raise OutputError(f"{option} is an address in a store, and results are written on this machine. Name a path.")


def prepare_folder(path: Path, *, option: str = "path") -> None:
    """Raise `OutputError` unless the folder `path` exists or can be created, and files can be written into it.

    It is created only to see whether that is possible: work that fails leaves no empty folder.

    Args:
        path: of the folder.
        option: what the user calls it, for the message.
    """
    check_local(path, option)
    missing: list[Path] = []
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{option} {path} is a file. Name a folder; it is created if it is missing.")
        if path.suffix.lower() in _OF_FILES and not path.exists():
            instead = path.with_suffix("")
            raise OutputError(f"{option} {path} looks like a file, and a folder is written. Name one, e.g. {instead}.")
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        check_output(path / "report", option=option)
    except OSError as error:
        raise write_failure(path, error, option=option) from None
    finally:
        for folder in missing:
            with suppress(OSError):  # it was never created, or another process has put something into it
                folder.rmdir()


def check_own_folder(path: Path, mark: str, *, option: str = "path") -> None:
    """Raise `OutputError` if the folder `path` holds files, but not `mark`: it was not written by this command.

    Args:
        path: of the folder.
        mark: the name of a file that the command writes.
        option: what the user calls the folder, for the message.
    """
    if path.is_dir() and any(path.iterdir()) and not (path / mark).exists():
        raise OutputError(
            f"{option} {path} holds other files, which might be overwritten. Name another folder; it is created if it "
            "is missing."
        )


def remove(path: Path) -> None:
    """Remove whatever is at `path`, a folder with its contents; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` and move it there when the block ends without an error.

    With `new` nothing is replaced: of processes that write a file at once one does (where the file system has links).

    No reader ever finds a half-written file at `path`: the data reach the disk (fsync) before the name does, and the
    temporary file is removed on any failure, Ctrl-C included. A link stays; its target is written.

    Raises:
        FileExistsError: it is there, and is to be new.
        OutputError: the disk is full, the folder is missing or not writable.
    """
    path = _behind_link(path)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        (_move_to_new if new else move_over)(temporary, path)
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            raise
        raise write_failure(path, error) from None
    finally:
        with suppress(OSError):  # it was moved, or never created, or what failed has it open (on Windows)
            temporary.unlink()


def _move_to_new(source: Path, target: Path) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "it is there", str(target))
    move_over(source, target)  # a file system without links


def move_over(source: Path, target: Path) -> None:
    """Give a file the name of another one, which it replaces at once.

    Windows refuses that while any program has one of them open or mapped: it is tried again, for a second in all.

    Raises:
        OSError: it cannot be moved.
    """
    for wait in (*_WAITS, None):
        try:
            source.replace(target)
            return
        except PermissionError as error:
            if wait is None or not _is_in_use(error):
                raise
            time.sleep(wait)


def _is_in_use(error: OSError) -> bool:
    return getattr(error, "winerror", None) in _IN_USE


@contextmanager
def atomic_write_of(path: Path, *endings: str) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; move that file, and those beside it, when the block ends.

    As `atomic_write`, for what writes several files: none appears unless all were written, and `path` is the last.

    Args:
        path: of the file.
        endings: of the files beside it, in place of its own.

    Raises:
        OutputError: as of `atomic_write`.
    """
    path = _behind_link(path)
    folder = _temporary_beside(path)
    try:
        folder.mkdir()
        yield folder / path.name
        names = [path.with_suffix(ending).name for ending in endings] + [path.name]
        for name in names:
            with (folder / name).open("rb+") as stream:
                os.fsync(stream.fileno())
        for name in names:
            move_over(folder / name, path.with_name(name))
    except OSError as error:
        raise write_failure(path, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_failure(path: Path, error: OSError, *, option: str = "") -> OutputError:
    """Return the error for a failed write to `path`.

    Args:
        path: of the file or folder.
        error: why.
        option: what the user calls it where this was found before anything was written; "" while writing.
    """
    if isinstance(error, OutputError):
        return error
    reason = _OUT_OF_SPACE.get(error.errno or 0, error.strerror or str(error))
    if _is_in_use(error):
        reason = f"{reason} (Windows keeps a file that another program has open: end that program)"
    if option and error.errno not in _OUT_OF_SPACE:
        if error.errno == errno.ENOENT and path.parent.is_dir():  # /proc
            reason = "no files can be made there"
        return OutputError(f"{option} {path} cannot be written: {reason}. Choose another place.")
    return OutputError(
        f"{path} could not be written: {reason}. Nothing was left half-written; "
        "free some space or choose another place and run the same command again."
    )


def _behind_link(path: Path, *, option: str = "") -> Path:
    """Return the target of a link, other paths as they are. See `write_failure`."""
    try:
        return path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise write_failure(path, error, option=option) from None


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
