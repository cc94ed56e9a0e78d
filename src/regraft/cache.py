"""The cache: where it is, how much it may hold, what is dropped first, and what is in it."""

import contextlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError, safe_open

from regraft.files import TEMPORARY_SUFFIX, is_file, json_or_none, parse_size, read_regular, sha256
from regraft.processes import ProcessGroup

CACHE_VARIABLE = "REGRAFT_CACHE"
LIMIT_VARIABLE = "REGRAFT_CACHE_LIMIT"
DEFAULT_LIMIT = 10 * 1000**3  # bytes
LARGEST_TEXT = 1_000_000  # bytes of a description; ours have a few hundred
SHARD = ".safetensors"  # pooled features, see `features.store`
VIEWS_SUFFIX = ".views"  # activations at a cut, see `features.activations`
ENGINE_WEIGHTS_SUFFIX = ".bin"  # the weights of a converted network; OpenVINO's suffix
ABOUT = "about.json"
_COUNTED = (SHARD, VIEWS_SUFFIX, ENGINE_WEIGHTS_SUFFIX)  # towards the limit; the rest is small
_ABANDONED_AFTER = 24 * 3600  # seconds after which no living process still writes a temporary file


@dataclass(frozen=True)
class StoreInfo:
    """A feature store in the cache.

    Attributes:
        about: what its features were computed with; empty if that is damaged.
        vectors: how many it holds.
        size: in bytes.
        last_used: seconds since the epoch.
    """

    about: dict[str, Any]
    vectors: int
    size: int
    last_used: float


@dataclass(frozen=True)
class CacheSharers:
    """The processes that have one cache on one machine, so that they can write parts of one file in memory.

    Attributes:
        ranks: theirs, ascending; the first one makes files.
        machine: its name where those of other machines see the same folder, too; else "".
    """

    ranks: tuple[int, ...] = (0,)
    machine: str = ""

    @classmethod
    def of(cls, processes: ProcessGroup) -> "CacheSharers":
        """Return those that share with this process: each leaves a mark, and sees whose are in its folder."""
        if processes.count == 1:
            return cls()
        folder, own = features_folder(), processes.rank
        run = processes.first(lambda: uuid.uuid4().hex)
        marks = [folder / f".{run}-{rank}{TEMPORARY_SUFFIX}" for rank in range(processes.count)]
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            marks[own].touch()
        machines = processes.gather(platform.node())
        seen = [rank for rank, mark in enumerate(marks) if rank == own or mark.exists()]
        processes.wait()  # until all have looked
        with contextlib.suppress(OSError):
            marks[own].unlink(missing_ok=True)
        here = tuple(rank for rank in seen if machines[rank] == machines[own])
        return cls(here, machines[own] if len(here) < len(seen) else "")


def cache_folder() -> Path:
    """Return the folder of all that can be computed again: `$REGRAFT_CACHE` or the user's cache."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("regraft", appauthor=False))


def engines_folder() -> Path:
    """Return the folder of networks converted for faster engines, and of the verdicts on these."""
    return cache_folder() / "engines"


def networks_folder() -> Path:
    """Return the folder of pretrained networks as they were loaded, see `features.network_cache`."""
    return cache_folder() / "networks"


def features_folder() -> Path:
    """Return the folder of features and activations."""
    return cache_folder() / "features"


def folder_name(digest: bytes) -> str:
    """Return the name of a feature store's folder.

    Args:
        digest: SHA-256 of the description in it.
    """
    return digest.hex()[:32]


def size_limit() -> int:
    """Return how many bytes the cache may hold: `$REGRAFT_CACHE_LIMIT` ("500MB", "20GB") or 10 GB.

    Raises:
        OptionError: the variable does not hold a size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    return parse_size(text, LIMIT_VARIABLE) if text else DEFAULT_LIMIT


def keep_limit(limit: int) -> int:
    """Drop the least recently used files until the cache holds at most `limit` bytes; return the bytes dropped.

    Files that cannot be dropped are skipped: the cache never makes a run fail.
    """
    found = list(_files())
    _remove_abandoned(found)
    counted = [(status.st_mtime, status.st_size, path) for path, status in found if path.suffix in _COUNTED]
    excess = sum(size for _, size, _ in counted) - limit
    dropped = 0
    for _, size, path in sorted(counted):
        if dropped >= excess:
            break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # another process may have dropped it first
            dropped += size
    return dropped


def _remove_abandoned(files: list[tuple[Path, os.stat_result]]) -> None:
    """Remove what killed processes left half-written: some of `files`, and folders of conversions."""
    before = time.time() - _ABANDONED_AFTER
    for path, status in files:
        if path.suffix == TEMPORARY_SUFFIX and status.st_mtime < before:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    for folder in engines_folder().glob(f"*/*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def clear() -> int:
    """Empty the cache; return the bytes freed."""
    before = sum(status.st_size for _, status in _files())
    for folder in _folders():
        shutil.rmtree(folder, ignore_errors=True)
    return before - sum(status.st_size for _, status in _files())  # on Windows files that are in use stay


def converted_size() -> int:
    """Return the bytes of networks: as they were loaded, converted for faster engines, and the verdicts on these."""
    return sum(status.st_size for _, status in _files(engines_folder(), networks_folder()))


def describe() -> list[StoreInfo]:
    """Return the feature stores in the cache, the last used first."""
    infos = []
    for folder in listed(features_folder()):
        shards = [(path, status) for path, status in _files(folder) if path.suffix == SHARD]
        if shards:
            infos.append(
                StoreInfo(
                    about=_about(folder),
                    vectors=sum(_count(path) for path, _ in shards),
                    size=sum(status.st_size for _, status in shards),
                    last_used=max(status.st_mtime for _, status in shards),
                )
            )
    return sorted(infos, key=lambda info: -info.last_used)


def listed(folder: Path) -> list[Path]:
    """Return the contents of `folder`, sorted; nothing if it cannot be read or another process removed it."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _folders() -> tuple[Path, ...]:
    return features_folder(), engines_folder(), networks_folder()


def _files(*folders: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below `folders`, or of the whole cache."""
    for folder in folders or _folders():
        for parent, _, names in os.walk(folder):  # skips a folder that another process removed
            for path in (Path(parent, name) for name in names):
                with contextlib.suppress(OSError):  # likewise a file
                    yield path, path.stat()


def _count(shard: Path) -> int:
    """Return the number of vectors in a shard, 0 if it is damaged."""
    if not is_file(shard):  # opening a pipe would wait for a writer
        return 0
    try:
        with safe_open(shard, framework="np") as file:
            return int(file.get_slice("keys").get_shape()[0])
    except (SafetensorError, OSError, IndexError):
        return 0


def _about(folder: Path) -> dict[str, Any]:
    """Return the description of a feature store, from which its folder has its name; empty if it is damaged."""
    try:
        text = read_regular(folder / ABOUT, limit=LARGEST_TEXT)
    except OSError:
        return {}
    found = json_or_none(text) if folder_name(sha256(text)) == folder.name else None
    return found if isinstance(found, dict) else {}
