"""Features on disk: what is written is read back, with other writers beside it and foreign files in the folder."""

import errno
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.features.shards import ABOUT, DIMENSION, shards, vectors

from regraft.cache import describe, features_folder
from regraft.errors import OutputError
from regraft.features.store import FeatureStore

Key = Callable[[object], bytes]


@pytest.fixture
def kept() -> FeatureStore:
    return FeatureStore(ABOUT, DIMENSION)


# --- write and read ---


def test_what_was_written_is_read_by_another(kept: FeatureStore, key: Key) -> None:
    kept.write([key(0), key(1)], vectors(0, 2))
    kept.write([key(2)], vectors(2, 1))
    found, there = FeatureStore(ABOUT, DIMENSION).read([key(2), key(0), key(1)])
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 2.25, 2.5, 2.75], [0, 0.25, 0.5, 0.75], [1, 1.25, 1.5, 1.75]]
    assert there.tolist() == [True, True, True]


def test_float64_and_strided_vectors_become_float32(kept: FeatureStore, key: Key) -> None:
    wide = np.asfortranarray(np.arange(16, dtype=np.float64).reshape(2, 8))[:, ::2]
    kept.write([key(0), key(1)], wide)
    found, _ = kept.read([key(0), key(1)])
    assert (found.dtype, found.tolist()) == (np.float32, [[0, 2, 4, 6], [8, 10, 12, 14]])


def test_unknown_keys_are_zeros_and_not_found(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1)], vectors(1, 1))
    found, there = kept.read([key("a"), key(1), key("b")])
    assert there.tolist() == [False, True, False]
    assert found[[0, 2]].tolist() == [[0] * 4] * 2


def test_repeated_keys_are_found_at_every_place(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1), key(2)], vectors(1, 2))
    found, there = kept.read([key(1), key(2), key(1), key(1)])
    assert there.all()
    assert found[:, 0].tolist() == [1, 2, 1, 1]


def test_key_written_twice_is_found_once(kept: FeatureStore, key: Key) -> None:
    for _ in range(2):  # two processes that computed the same photo
        kept.write([key(1)], vectors(1, 1))
    found, there = kept.read([key(1), key(1)])
    assert there.all()
    assert found[:, 0].tolist() == [1, 1]


def test_no_key_is_never_found(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1)], vectors(1, 1))
    found, there = kept.read([b"", key(1), b""])
    assert there.tolist() == [False, True, False]
    assert not found[0].any()


def test_reading_before_anything_was_written(kept: FeatureStore, key: Key) -> None:
    found, there = kept.read([key(1)])
    assert (found.tolist(), there.tolist()) == ([[0.0] * 4], [False])
    assert not features_folder().exists()
    assert [part.shape for part in kept.read([])] == [(0, DIMENSION), (0,)]


def test_two_descriptions_share_nothing(kept: FeatureStore, key: Key) -> None:
    other = FeatureStore({**ABOUT, "cut": "layer3"}, DIMENSION)
    kept.write([key(1)], vectors(1, 1))
    other.write([key(1)], vectors(7, 1))
    assert kept.folder != other.folder
    assert (kept.read([key(1)])[0][0, 0], other.read([key(1)])[0][0, 0]) == (1, 7)
    assert FeatureStore({**ABOUT, "extra": 1}, DIMENSION).read([key(1)])[1].tolist() == [False]


def test_order_of_a_description_does_not_matter(kept: FeatureStore) -> None:
    assert FeatureStore(dict(reversed(ABOUT.items())), DIMENSION).folder == kept.folder


def write_many(process: int) -> None:
    kept = FeatureStore(ABOUT, DIMENSION)
    for number in range(10):
        name = f"{process} {number}"
        kept.write([hashlib.sha256(name.encode()).digest()], vectors(100 * process + number, 1))


def test_processes_that_write_at_once_lose_nothing(kept: FeatureStore, key: Key) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(number,)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    names = [(process, number) for process in range(3) for number in range(10)]
    found, there = kept.read([key(f"{process} {number}") for process, number in names])
    assert there.all()
    assert found[:, 0].tolist() == [100 * process + number for process, number in names]
    assert len(shards(kept)) == 30
    assert not list(kept.folder.glob(".*"))  # no temporary file is left


def test_full_disk_is_an_output_error_and_leaves_nothing(
    kept: FeatureStore, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write([key(1)], vectors(1, 1))
    before = sorted(kept.folder.iterdir())
    write_bytes = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match=r"could not be written: the disk is full\."):
        kept.write([key(2)], vectors(2, 1))
    assert sorted(kept.folder.iterdir()) == before
    assert kept.read([key(1), key(2)])[1].tolist() == [True, False]


# --- files that are not what they should be ---


def broken(path: Path, how: str) -> None:
    rows = np.frombuffer(hashlib.sha256(b"1").digest(), dtype=np.uint8).reshape(1, 32)
    tensors: dict[str, dict[str, np.ndarray]] = {
        "without keys": {"vectors": vectors(5, 1)},
        "without vectors": {"keys": rows},
        "without checks": {"keys": rows, "vectors": vectors(5, 1)},
        "without a seal": {"keys": rows, "vectors": vectors(5, 1), "checks": np.zeros((1, 8), np.uint8)},
        "other dimension": {"keys": rows, "vectors": np.ones((1, DIMENSION + 1), np.float32)},
        "flat vectors": {"keys": rows, "vectors": np.ones(DIMENSION, np.float32)},
        "float64 vectors": {"keys": rows, "vectors": np.ones((1, DIMENSION)), "checks": np.zeros((1, 8), np.uint8)},
        "more keys than vectors": {"keys": np.concatenate([rows, rows]), "vectors": vectors(5, 1)},
        "one number for keys": {"keys": np.array(3, dtype=np.uint8), "vectors": vectors(5, 1)},
        "short keys": {"keys": rows[:, :8], "vectors": vectors(5, 1)},
        "foreign": {"layer.weight": np.ones((3, 3), np.float32)},
    }
    stored = load_file(path)
    if how in tensors:
        save_file({"checks": stored["checks"], **tensors[how]} if "checks" not in how else tensors[how], path)
    else:
        assert how == "bfloat16"  # which numpy does not have
        parts = [("keys", "U8", [1, 32], 32), ("checks", "U8", [1, 8], 8), ("vectors", "BF16", [1, DIMENSION], 8)]
        header, end = {}, 0
        for name, kind, shape, size in parts:
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
            end += size
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + rows.tobytes() + bytes(16))


BROKEN = [
    "without keys",
    "without vectors",
    "without checks",
    "without a seal",
    "other dimension",
    "flat vectors",
    "float64 vectors",
    "more keys than vectors",
    "one number for keys",
    "short keys",
    "foreign",
    "bfloat16",
]


@pytest.mark.parametrize("how", BROKEN)
def test_shard_of_another_form_is_dropped(key: Key, listener: Any, how: str) -> None:
    kept = FeatureStore(ABOUT, DIMENSION, listener.say)
    kept.write([key(1)], vectors(1, 1))
    (shard,) = shards(kept)
    broken(shard, how)
    kept.write([key(2)], vectors(2, 1))
    found, there = kept.read([key(1), key(2)])
    assert there.tolist() == [False, True]
    assert found[:, 0].tolist() == [0, 2]
    assert listener.said == [f"the cached features in {shard} are damaged: they are dropped and computed again"]
    assert not shard.exists()
    kept.write([key(1)], vectors(1, 1))  # computed again
    for _ in range(2):
        found, there = kept.read([key(1), key(2), key(1)])
        assert there.all()
        assert found[:, 0].tolist() == [1, 2, 1]


def test_other_dimension_finds_nothing(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1)], vectors(1, 1))
    found, there = FeatureStore(ABOUT, DIMENSION + 1).read([key(1)])
    assert (found.shape, there.tolist()) == ((1, DIMENSION + 1), [False])


def test_left_over_temporary_file_is_ignored(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1)], vectors(1, 1))
    (shard,) = shards(kept)
    left = kept.folder / f".{key(2).hex()}.safetensors.0123.part"
    left.write_bytes(shard.read_bytes())
    shard.unlink()
    assert kept.read([key(1)])[1].tolist() == [False]
    assert describe() == []


def test_a_folder_that_cannot_be_read_is_named(kept: FeatureStore, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    for name in ("stat", "iterdir", "write_text"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(OutputError, match=r"/features/.* could not be written: Permission denied"):
        kept.write([key(0)], vectors(0, 1))
