"""Files: where the cache lives, fingerprints, and writing that leaves all or nothing."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from regraft.errors import OutputError

CACHE_VARIABLE = "REGRAFT_CACHE"
TEMPORARY_SUFFIX = ".part"  # what a killed process may leave behind ends in this
ENGINE_WEIGHTS_SUFFIX = ".bin"  # OpenVINO's: the weights of a converted network

_OUT_OF_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def cache_folder() -> Path:
    """Return the folder of everything that can be computed again: `$REGRAFT_CACHE` or the user's cache."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("regraft", appauthor=False))


def engines_folder() -> Path:
    """Return the folder of networks that were converted for faster engines, and of what was found of these."""
    return cache_folder() / "engines"


def sha256(data: bytes | memoryview) -> bytes:
    """Return the 32-byte SHA-256 digest (FIPS 180-4) of `data`."""
    return hashlib.sha256(data).digest()


def is_file(path: Path) -> bool:
    """Tell whether `path` is a file; False, too, for what cannot be a path (`Path.is_file` raises for a long text)."""
    return os.path.isfile(path)  # noqa: PTH113


def check_output(path: Path, *, option: str = "--out") -> None:
    """Raise `OutputError` unless a file can be written at `path`. Called before any expensive work."""
    path = _behind_link(path)
    try:  # all of it: a folder on the way may not be entered
        if path.is_dir():
            raise OutputError(f"{option} {path} is a folder. Name a file in it, e.g. {path / 'model.safetensors'}.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{option} {path} is no ordinary file (a device or a pipe). Name a file.")
        folder = path.parent
        if not folder.is_dir():
            raise OutputError(f"{option} {path}: the folder {folder} does not exist. Create it: mkdir -p {folder}")
        probe = _temporary_beside(path)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise write_failure(path, error) from None


def prepare_folder(path: Path, *, option: str = "--out") -> None:
    """Raise `OutputError` unless the folder `path` is there, or can be made, and files can be written into it.

    It is made only to see whether it can be: work that fails leaves no empty folder.
    """
    missing: list[Path] = []
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{option} {path} is a file. Name a folder; it is made if it is missing.")
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        check_output(path / "report", option=option)
    except OSError as error:
        raise write_failure(path, error) from None
    finally:
        for folder in missing:
            with suppress(OSError):  # it never came to be, or another process has put something into it
                folder.rmdir()


def check_own_folder(path: Path, mark: str, *, option: str = "--out") -> None:
    """Raise `OutputError` if the folder `path` holds files, but none called `mark`: somebody else's work."""
    if path.is_dir() and any(path.iterdir()) and not (path / mark).exists():
        raise OutputError(
            f"{option} {path} holds other files, which might be written over. Name another folder; it is made if it is "
            "missing."
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and move it there when the block ends without an error.

    Nothing half-written is ever seen under `path`: the data reach the disk (fsync) before the name does,
    and the temporary file is removed on any failure, Ctrl-C included. A link stays; what it points to is written.

    Raises:
        OutputError: the disk is full, the folder is missing or not writable.
    """
    path = _behind_link(path)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_failure(path, error) from None
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):  # it was moved, or never came to be
            temporary.unlink()


def write_failure(path: Path, error: OSError) -> OutputError:
    """Return the one sentence for a failed write to `path`."""
    if isinstance(error, OutputError):
        return error
    reason = _OUT_OF_SPACE.get(error.errno or 0, error.strerror or str(error))
    return OutputError(
        f"{path} could not be written: {reason}. Nothing was left half-written; "
        "free some space or choose another place and run the same command again."
    )


def _behind_link(path: Path) -> Path:
    """Return what a link points to, other paths as they are."""
    try:
        return path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise write_failure(path, error) from None


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
