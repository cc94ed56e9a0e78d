"""The cache on disk: vectors by content key, in files that are written once and never changed.

One folder for each network, preprocessing, cut and engine; in it, shards of up to a few hundred vectors. A shard
appears whole (atomic rename) under a random name, so that any number of processes may add shards at once without
locks, also on network file systems, and a killed process loses at most the shard it had not written yet.
"""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from regraft.errors import OptionError
from regraft.files import (
    ENGINE_WEIGHTS_SUFFIX,
    TEMPORARY_SUFFIX,
    atomic_write,
    cache_folder,
    engines_folder,
    sha256,
)

LIMIT_VARIABLE = "REGRAFT_CACHE_LIMIT"
DEFAULT_LIMIT = 10 * 1000**3  # bytes
KEY_BYTES = 32
_SHARD = ".safetensors"
VIEWS_SUFFIX = ".views"  # activations at a cut, see `learn.views`
_ABOUT = "about.json"
_ABANDONED_AFTER = 24 * 3600  # seconds after which a temporary file belongs to no living process
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}


@dataclass(frozen=True)
class StoreInfo:
    """What one folder of the cache holds."""

    about: dict[str, Any]
    vectors: int
    size: int  # bytes
    last_used: float  # seconds since the epoch


class FeatureStore:
    """Vectors (d,) by content key, for one description of how they were computed."""

    def __init__(self, about: Mapping[str, Any], dimension: int) -> None:
        description = json.dumps(dict(about), sort_keys=True)
        self.folder = features_folder() / sha256(description.encode()).hex()[:32]
        self._description = description
        self._dimension = dimension

    def read(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Look `keys` up.

        Returns:
            (n, d) float32 vectors, zeros where unknown, and (n,) booleans: which were found.
        """
        vectors = np.zeros((len(keys), self._dimension), dtype=np.float32)
        found = np.zeros(len(keys), dtype=bool)
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            if key:
                places.setdefault(key, []).append(place)
        for shard in _listed(self.folder):
            if shard.suffix != _SHARD:
                continue
            stored = _read(shard, self._dimension)
            if stored is None:  # damaged, or dropped by another process meanwhile: its photos are computed again
                continue
            rows = [(row, places.pop(key)) for row, key in enumerate(stored[0]) if key in places]
            for row, wanted in rows:
                vectors[wanted] = stored[1][row]
                found[wanted] = True
            if rows:
                with contextlib.suppress(OSError):
                    os.utime(shard)  # in use: the last to be dropped
        return vectors, found

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Add (n, d) float32 vectors.

        Raises:
            OutputError: they cannot be written (disk full, no permission).
        """
        with contextlib.suppress(OSError):  # if it fails, so does the write below, which says why
            self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / _ABOUT
        if about not in _listed(self.folder):
            with atomic_write(about) as temporary:
                temporary.write_text(self._description)
        key_rows = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        data = save({"keys": key_rows, "vectors": np.ascontiguousarray(vectors, dtype=np.float32)})
        with atomic_write(self.folder / f"{uuid.uuid4().hex}{_SHARD}") as temporary:
            temporary.write_bytes(data)


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
    number = text.upper().rstrip("BKMGT ")
    unit = text.upper()[len(number) :].strip()
    try:
        size = int(float(number) * _UNITS[unit if unit.endswith("B") or not unit else f"{unit}B"])
        if size < 0:
            raise ValueError
        return size
    except (ValueError, KeyError, OverflowError):
        raise OptionError(f"{LIMIT_VARIABLE} must be a size like 500MB or 20GB. Got {text!r}.") from None


def keep_limit(limit: int | None = None) -> int:
    """Drop what was used longest ago until the cache fits into `limit` bytes; return bytes dropped.

    What cannot be dropped is passed over: the cache is never a reason for a run to fail.
    """
    limit = size_limit() if limit is None else limit
    shards: list[tuple[float, int, Path]] = []
    for path, status in _files():
        if path.suffix in (_SHARD, VIEWS_SUFFIX, ENGINE_WEIGHTS_SUFFIX):
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
    for folder in _listed(features_folder()):
        shards = [(path, status) for path, status in _files(folder) if path.suffix == _SHARD]
        try:
            about = json.loads((folder / _ABOUT).read_text())
        except (OSError, ValueError):
            about = {}
        if shards:
            infos.append(
                StoreInfo(
                    about=about,
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


def _listed(folder: Path) -> list[Path]:
    """Return what lies in `folder`, in order; nothing if it cannot be read or another process removed it."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(shard: Path, dimension: int) -> tuple[list[bytes], np.ndarray] | None:
    """Return the keys and (n, d) vectors of a shard, None if it is gone, damaged or of another dimension."""
    try:
        with safe_open(shard, framework="np") as file:
            keys, vectors = file.get_tensor("keys"), file.get_tensor("vectors")
    except (SafetensorError, OSError, TypeError):  # TypeError: a type of number that numpy does not have
        return None
    if keys.shape != (len(vectors), KEY_BYTES) or vectors.shape[1:] != (dimension,):
        return None
    return [row.tobytes() for row in keys], vectors


def _count(shard: Path) -> int:
    try:
        with safe_open(shard, framework="np") as file:
            return int(file.get_slice("keys").get_shape()[0])
    except (SafetensorError, OSError, IndexError):
        return 0
