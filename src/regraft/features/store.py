"""Features on disk: vectors by content key, in files that are written once and never changed.

One folder for each network, preprocessing, cut and engine; in it, shards of up to a few hundred vectors. A shard
appears whole (atomic rename) under a random name, so that any number of processes may add shards at once without
locks, also on network file systems, and a killed process loses at most the shard it had not written yet.

Keys are read before vectors: of a shard that holds none of the requested vectors nothing else is read. Each vector has
a check, bound to its key and store, which is verified whenever the vector is read: a shard that has changed since it
was written is dropped, and its photos are computed again.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from regraft import matrices
from regraft.cache import ABOUT, LARGEST_TEXT, SHARD, features_folder, folder_name, listed
from regraft.errors import OutputError
from regraft.files import atomic_write, is_file, read_regular, remove, sha256

KEY_BYTES = 32
CHECK_BYTES = 8  # of a SHA-256: a change goes unseen once in 2^64 times
_FORMAT = 2  # of shards: those of another one lie in other folders
_SEAL = "regraft"  # the entry of a shard's metadata with a digest of its keys and checks


class _DamagedError(Exception):
    """A file has changed since it was written."""


class FeatureStore:
    """Vectors (d,) by content key, for one description of how they were computed.

    Args:
        about: the description, in JSON types.
        dimension: d.
        say: reports damaged files.
    """

    def __init__(self, about: Mapping[str, Any], dimension: int, say: Callable[[str], None] = lambda _: None) -> None:
        description = json.dumps({**about, "format": _FORMAT}, sort_keys=True)
        self._digest = sha256(description.encode())
        self.folder = features_folder() / folder_name(self._digest)
        self._description = description
        self._dimension = dimension
        self._say = say

    def read(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Look `keys` up. Damaged shards that hold some of them are dropped, which is reported.

        Args:
            keys: n content keys; b"" is never found.

        Returns:
            (n, d) float32 vectors, zeros where unknown, and (n,) booleans: which were found.
        """
        vectors = matrices.zeros(len(keys), self._dimension, features_folder())
        found = np.zeros(len(keys), dtype=bool)
        places, residency = _places(keys), matrices.Residency(vectors)
        damaged: list[Path] = []
        for shard in (path for path in listed(self.folder) if path.suffix == SHARD):
            if not places:
                break
            try:
                stored = self._read_shard(shard, places)
            except _DamagedError:
                damaged.append(shard)
                continue
            for key, vector in stored.items():
                rows = places.pop(key)
                vectors[rows] = vector
                found[rows] = True
                residency.add(vector.nbytes)
            if stored:
                with contextlib.suppress(OSError):
                    os.utime(shard)  # in use: the last to be dropped
        for shard in damaged:  # not sooner: the error holds on to the file, and Windows removes none that is mapped
            remove(shard)
        if damaged:
            others = f", and so are {len(damaged) - 1:,} more" if len(damaged) > 1 else ""
            self._say(f"the cached features in {damaged[0]} are damaged{others}: they are dropped and computed again")
        if found.any():
            with contextlib.suppress(OutputError):  # it is for people only
                self._describe()
        return vectors, found

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Add (n, d) float32 vectors.

        Raises:
            OutputError: they cannot be written (disk full, no permission).
        """
        with contextlib.suppress(OSError):  # if it fails, so does the write below, which says why
            self.folder.mkdir(parents=True, exist_ok=True)
        self._describe()
        key_rows = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        checks = self._checks(key_rows, vectors)
        tensors = {"keys": key_rows, "vectors": vectors, "checks": checks}
        data = save(tensors, {_SEAL: self._seal(key_rows, checks)})
        with atomic_write(self.folder / f"{uuid.uuid4().hex}{SHARD}") as temporary:
            temporary.write_bytes(data)

    def _describe(self) -> None:
        """Write the description of the folder, unless it is there."""
        about = self.folder / ABOUT
        try:
            if read_regular(about, limit=LARGEST_TEXT) == self._description.encode():
                return
            damaged = True
        except PermissionError:  # another user's
            return
        except OSError:
            damaged = os.path.lexists(about)
        if damaged:
            remove(about)
            self._say(f"the description {about} is damaged: it is written again")
        with atomic_write(about) as temporary:
            temporary.write_text(self._description, encoding="utf-8")

    def _read_shard(self, shard: Path, wanted: Container[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors (d,) in a shard whose keys are in `wanted`, by key.

        There are none if another process has dropped the shard, or it may not be read.

        Raises:
            _DamagedError: it is not what was written for this store.
        """
        if not is_file(shard):  # opening a pipe would wait for a writer
            if os.path.lexists(shard):
                raise _DamagedError
            return {}
        try:
            with safe_open(shard, framework="np") as file:
                return self._verified(file, wanted)
        except OSError:
            return {}
        except (SafetensorError, IndexError):  # IndexError: keys without a dimension
            raise _DamagedError from None

    def _verified(self, file: Any, wanted: Container[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors (d,) in an open shard whose keys are in `wanted`; of the others no byte is read."""
        part = file.get_slice("keys")
        n = part.get_shape()[0]
        _check_form(part, "U8", [n, KEY_BYTES])
        keys = part[:]
        rows = np.array([row for row, key in enumerate(keys) if key.tobytes() in wanted], dtype=np.int64)
        if not len(rows):
            return {}
        parts = {name: file.get_slice(name) for name in ("checks", "vectors")}
        _check_form(parts["checks"], "U8", [n, CHECK_BYTES])
        _check_form(parts["vectors"], "F32", [n, self._dimension])
        checks = parts["checks"][:]
        if (file.metadata() or {}).get(_SEAL) != self._seal(keys, checks):
            raise _DamagedError
        vectors = _rows(parts["vectors"], rows, self._dimension)
        if not np.isfinite(vectors).all() or not np.array_equal(self._checks(keys[rows], vectors), checks[rows]):
            raise _DamagedError
        return {key.tobytes(): vector for key, vector in zip(keys[rows], vectors, strict=True)}

    def _checks(self, keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return (n, 8) uint8: the first bytes of the SHA-256 of store, key (n, 32) and vector (n, d)."""
        rows = zip(keys, vectors, strict=True)
        found = [sha256(self._digest + key.tobytes() + vector.tobytes())[:CHECK_BYTES] for key, vector in rows]
        return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, CHECK_BYTES)

    def _seal(self, keys: np.ndarray, checks: np.ndarray) -> str:
        return sha256(self._digest + keys.tobytes() + checks.tobytes()).hex()


def _places(keys: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return where each key stands in `keys`, without b""."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        if key:
            places.setdefault(key, []).append(place)
    return places


def _check_form(part: Any, dtype: str, shape: list[int]) -> None:
    """Raise `_DamagedError` unless a tensor in a file has this type and shape."""
    if (part.get_dtype(), part.get_shape()) != (dtype, shape):
        raise _DamagedError


def _rows(part: Any, rows: np.ndarray, dimension: int) -> np.ndarray:
    """Return the vectors (m, d) at ascending `rows` (m,) of a tensor in a file, and read no others."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    found = [part[int(run[0]) : int(run[-1]) + 1] for run in runs if len(run)]
    return np.concatenate([np.empty((0, dimension), dtype=np.float32), *found])
