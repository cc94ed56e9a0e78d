"""The cache: where it lies, how much it may hold, what is dropped first, and what is in it."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError, safe_open

from regraft.files import TEMPORARY_SUFFIX, is_file, parse_size, parsed, read_regular, sha256

CACHE_VARIABLE = "REGRAFT_CACHE"
LIMIT_VARIABLE = "REGRAFT_CACHE_LIMIT"
DEFAULT_LIMIT = 10 * 1000**3  # bytes
LARGEST_TEXT = 1_000_000  # bytes of a description; ours have a few hundred
SHARD = ".safetensors"  # pooled features, see `features.store`
VIEWS_SUFFIX = ".views"  # activations at a cut, see `features.activations`
ENGINE_WEIGHTS_SUFFIX = ".bin"  # OpenVINO's: the weights of a converted network
ABOUT = "about.json"
_ABANDONED_AFTER = 24 * 3600  # seconds after which a temporary file belongs to no living process


@dataclass(frozen=True)
class StoreInfo:
    """What one folder of the cache holds."""

    about: dict[str, Any]
    vectors: int
    size: int  # bytes
    last_used: float  # seconds since the epoch


def cache_folder() -> Path:
    """Return the folder of everything that can be computed again: `$REGRAFT_CACHE` or the user's cache."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("regraft", appauthor=False))


def engines_folder() -> Path:
    """Return the folder of networks that were converted for faster engines, and of what was found of these."""
    return cache_folder() / "engines"


def features_folder() -> Path:
    """Return the folder that holds all feature stores."""
    return cache_folder() / "features"


def size_limit() -> int:
    """Return how many bytes the cache may take: `$REGRAFT_CACHE_LIMIT` ("500MB", "20GB") or 10 GB.

    Raises:
        OptionError: the variable holds no size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_LIMIT
    return parse_size(text, LIMIT_VARIABLE)


def keep_limit(limit: int | None = None) -> int:
    """Drop what was used longest ago until the cache fits into `limit` bytes; return bytes dropped.

    What cannot be dropped is passed over: the cache is never a reason for a run to fail.
    """
    limit = size_limit() if limit is None else limit
    shards: list[tuple[float, int, Path]] = []
    for path, status in _files():
        if path.suffix in (SHARD, VIEWS_SUFFIX, ENGINE_WEIGHTS_SUFFIX):
            shards.append((status.st_mtime, status.st_size, path))
        elif path.suffix == TEMPORARY_SUFFIX and time.time() - status.st_mtime > _ABANDONED_AFTER:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    for folder in engines_folder().glob(f"*/*{TEMPORARY_SUFFIX}"):  # of a conversion that was killed
        with contextlib.suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
    excess = sum(size for _, size, _ in shards) - limit
    dropped = 0
    for _, size, path in sorted(shards):
        if dropped >= excess:
            break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # another process may have dropped it first
            dropped += size
    return dropped


def clear() -> int:
    """Empty the cache; return how many bytes were freed."""
    freed = sum(status.st_size for _, status in _files())
    for folder in (features_folder(), engines_folder()):
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def converted_size() -> int:
    """Return how many bytes the networks take that were converted for faster engines."""
    return sum(status.st_size for _, status in _files(engines_folder()))


def describe() -> list[StoreInfo]:
    """Return what is in the cache, the last used first."""
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


def _files(*folders: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below `folders`, or of the whole cache."""
    for folder in folders or (features_folder(), engines_folder()):
        for parent, _, names in os.walk(folder):  # passes over a folder that is gone meanwhile
            for path in (Path(parent, name) for name in names):
                with contextlib.suppress(OSError):  # and so is a file that another process dropped
                    yield path, path.stat()


def listed(folder: Path) -> list[Path]:
    """Return what lies in `folder`, in order; nothing if it cannot be read or another process removed it."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _count(shard: Path) -> int:
    if not is_file(shard):  # opening a pipe would wait for a writer
        return 0
    try:
        with safe_open(shard, framework="np") as file:
            return int(file.get_slice("keys").get_shape()[0])
    except (SafetensorError, OSError, IndexError):
        return 0


def _about(folder: Path) -> dict[str, Any]:
    """Return the description of a folder of shards, nothing if it is damaged: the folder has its name from it."""
    try:
        text = read_regular(folder / ABOUT, limit=LARGEST_TEXT)
    except OSError:
        return {}
    found = parsed(text) if folder_name(sha256(text)) == folder.name else None
    return found if isinstance(found, dict) else {}


def folder_name(digest: bytes) -> str:
    """Return the name of the folder of what is described by a text of this SHA-256."""
    return digest.hex()[:32]
