"""Features that have changed on disk: none is used, they are computed again, and that is reported."""

import hashlib
import os
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from tests.damages import DAMAGES, damages, flipped, zeroed

from regraft.cache import describe, features_folder
from regraft.data.audit import inspect
from regraft.engines.pytorch import TorchEngine
from regraft.features import store as store_module
from regraft.features.extraction import extract
from regraft.features.store import FeatureStore
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("no_waiting")

# --- features ---


class Features:
    """Ten photos and their features, from the cache or not."""

    def __init__(self, folder: Path, engine: TorchEngine, backbone: Backbone, listener: Any) -> None:
        self.sources = sorted(folder.rglob("*.jpg"))
        self.keys = inspect(tuple(self.sources)).keys
        self.engine, self.backbone, self.listener = engine, backbone, listener

    def get(self, *, cache: bool = True) -> np.ndarray:
        given = (self.sources, self.keys, self.backbone, self.engine)
        result = extract(*given, cache_limit=10**9 if cache else None, batch_size=10, observer=self.listener)
        self.computed = result.computed
        return result.values

    @property
    def shard(self) -> Path:
        (path,) = features_folder().rglob("*.safetensors")
        return path


@pytest.fixture
def features(photos: Photos, engine: TorchEngine, backbone: Backbone, listener: Any) -> Features:
    return Features(photos(red=5, blue=5), engine, backbone, listener)


@damages
def test_damaged_features_are_computed_again(features: Features, damage: Callable[[Path], None], listener: Any) -> None:
    expected = features.get(cache=False)
    assert np.array_equal(features.get(), expected)
    shard = features.shard
    damage(shard)
    assert np.array_equal(features.get(), expected)
    assert features.computed == 10
    assert listener.said == [f"the cached features in {shard} are damaged: they are dropped and computed again"]
    assert not os.path.lexists(shard)
    assert np.array_equal(features.get(), expected)  # from another shard
    assert (features.computed, len(listener.said)) == (0, 1)


def test_features_of_another_network_are_computed_again(
    features: Features, other_network: str, monkeypatch: pytest.MonkeyPatch, listener: Any
) -> None:
    other = load_backbone(other_network)
    with monkeypatch.context() as patch:
        patch.setattr(features, "engine", TorchEngine(other, torch.device("cpu")))
        patch.setattr(features, "backbone", other)
        features.get()
    foreign = features.shard
    expected = features.get(cache=False)
    features.get()
    (own,) = (path for path in features_folder().rglob("*.safetensors") if path != foreign)
    foreign.replace(own)
    assert np.array_equal(features.get(), expected)
    assert [str(own) in line for line in listener.said] == [True]


KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(3)]
VECTORS = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 8


@pytest.fixture
def kept(listener: Any) -> FeatureStore:
    return FeatureStore({"cut": "pooled"}, 4, listener.say)


def shards(kept: FeatureStore) -> list[Path]:
    return sorted(kept.folder.glob("*.safetensors"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
def test_a_damaged_shard_is_no_longer_mapped_when_it_is_removed(
    kept: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows would let it lie, to be found again by every run."""
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    data = bytearray(shard.read_bytes())
    data[data.index(VECTORS.tobytes())] ^= 1
    shard.write_bytes(data)
    mapped = []
    monkeypatch.setattr(store_module, "remove", lambda path: mapped.append(str(path) in _maps()))
    assert not kept.read(KEYS)[1].any()
    assert mapped == [False]


def _maps() -> str:
    return Path("/proc/self/maps").read_text()


def test_every_byte_of_a_shard_counts(kept: FeatureStore, listener: Any) -> None:
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    whole = shard.read_bytes()
    for place in range(len(whole)):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        found, there = kept.read(KEYS)
        assert not there.any(), place
        assert not found.any()
        assert not shard.exists()
    assert len(listener.said) == len(whole)
    shard.write_bytes(whole)
    assert np.array_equal(kept.read(KEYS)[0], VECTORS)


def test_checks_are_what_the_format_says(kept: FeatureStore) -> None:
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    description = b'{"cut": "pooled", "format": 2}'
    assert (kept.folder / "about.json").read_bytes() == description
    digest = hashlib.sha256(description).digest()
    assert kept.folder.name == digest.hex()[:32]
    stored = load_file(shard)
    for row in range(3):
        values = struct.pack("<4f", *(float(4 * row + place) / 8 for place in range(1, 5)))
        assert bytes(stored["checks"][row]) == hashlib.sha256(digest + KEYS[row] + values).digest()[:8]
    with safe_open(shard, framework="np") as file:
        sealed = hashlib.sha256(digest + b"".join(KEYS) + stored["checks"].tobytes()).hexdigest()
        assert file.metadata() == {"regraft": sealed}


class CountingFile:
    """An open shard that adds up the bytes of the slices that are read from it."""

    def __init__(self, file: Any, read: Counter[str]) -> None:
        self._file, self._read = file, read

    def metadata(self) -> Any:
        return self._file.metadata()

    def get_slice(self, name: str) -> "CountingSlice":
        return CountingSlice(self._file.get_slice(name), name, self._read)


class CountingSlice:
    def __init__(self, part: Any, name: str, read: Counter[str]) -> None:
        self._part, self._name, self._read = part, name, read

    def get_shape(self) -> list[int]:
        return list(self._part.get_shape())

    def get_dtype(self) -> str:
        return str(self._part.get_dtype())

    def __getitem__(self, rows: slice) -> np.ndarray:
        found: np.ndarray = self._part[rows]
        self._read[self._name] += found.nbytes
        return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how many bytes are read of each tensor. (Files are mapped: what the system reads is not the same.)"""
    counted: Counter[str] = Counter()

    @contextmanager
    def opened(path: Path, **options: Any) -> Iterator[CountingFile]:
        with safe_open(path, **options) as file:
            yield CountingFile(file, counted)

    monkeypatch.setattr(store_module, "safe_open", opened)
    return counted


SHARDS, ROWS, DIMENSION = 50, 512, 1280


def content_key(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "little")).digest()


@pytest.fixture
def large(listener: Any) -> FeatureStore:
    """Return a store of 25,600 vectors: 131 MB."""
    store = FeatureStore({"cut": "large"}, DIMENSION, listener.say)
    for shard in range(SHARDS):
        values = np.full((ROWS, DIMENSION), shard, dtype=np.float32)
        values[:, 0] = range(ROWS)
        store.write([content_key(shard * ROWS + row) for row in range(ROWS)], values)
    return store


def test_one_known_photo_among_25_600_reads_less_than_a_megabyte(
    large: FeatureStore, read: Counter[str], listener: Any
) -> None:
    found, there = large.read([content_key(17 * ROWS + 300)])
    assert there.tolist() == [True]
    assert found[0, :2].tolist() == [300, 17]
    assert sum(read.values()) < 1_000_000
    assert (read["checks"], read["vectors"]) == (ROWS * 8, DIMENSION * 4)  # of one shard, and of one row in it
    assert read["keys"] % (ROWS * 32) == 0
    read.clear()
    assert large.read([content_key(10**6)])[1].tolist() == [False]
    assert read == {"keys": SHARDS * ROWS * 32}
    assert not listener.said


def test_shards_after_the_last_key_is_found_are_not_opened(kept: FeatureStore, read: Counter[str]) -> None:
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    shutil.copy(shard, shard.with_name("zz.safetensors"))
    assert np.array_equal(kept.read(KEYS)[0], VECTORS)
    assert read == {"keys": 96, "checks": 24, "vectors": 48}


def test_a_damaged_shard_is_found_when_one_of_its_keys_is_asked_for(kept: FeatureStore, listener: Any) -> None:
    kept.write(KEYS[:2], VECTORS[:2])
    (shard,) = shards(kept)
    data = shard.read_bytes()
    at = data.index(struct.pack("<4f", *VECTORS[1].tolist()))
    shard.write_bytes(data[:at] + bytes(16) + data[at + 16 :])
    assert kept.read(KEYS[2:])[1].tolist() == [False]
    assert (listener.said, shards(kept)) == ([], [shard])
    assert kept.read(KEYS[1:])[1].tolist() == [False, False]
    assert (len(listener.said), shards(kept)) == (1, [])


def test_only_the_requested_vectors_are_verified(kept: FeatureStore, listener: Any) -> None:
    """Looking up one photo reads little of a large cache; what is not read cannot be checked."""
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    data = shard.read_bytes()
    at = data.index(struct.pack("<4f", *VECTORS[1].tolist()))
    shard.write_bytes(data[:at] + bytes(16) + data[at + 16 :])
    found, there = kept.read([KEYS[2], KEYS[0]])
    assert (found.tolist(), there.tolist()) == (VECTORS[[2, 0]].tolist(), [True, True])
    assert not listener.said
    assert kept.read(KEYS)[1].tolist() == [False] * 3
    assert len(listener.said) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_dropped(kept: FeatureStore, listener: Any, value: float) -> None:
    kept.write(KEYS, np.where(VECTORS[1, 2] == VECTORS, np.float32(value), VECTORS))
    assert kept.read(KEYS)[1].tolist() == [False] * 3
    assert (len(listener.said), shards(kept)) == (1, [])


def test_many_damaged_shards_are_reported_in_one_line(kept: FeatureStore, listener: Any) -> None:
    for key, vector in zip(KEYS, VECTORS, strict=True):
        kept.write([key], vector[None])
    for shard in shards(kept):
        flipped(shard, 0)
    first = shards(kept)[0]
    assert kept.read(KEYS)[1].tolist() == [False] * 3
    assert listener.said == [
        f"the cached features in {first} are damaged, and so are 2 more: they are dropped and computed again"
    ]


def test_a_damaged_shard_beside_a_whole_one_takes_nothing_from_it(kept: FeatureStore, listener: Any) -> None:
    kept.write(KEYS, VECTORS)
    (shard,) = shards(kept)
    for name in ("0.safetensors", "zz.safetensors"):  # one is read before the whole one, one after it
        shutil.copy(shard, shard.with_name(name))
        zeroed(shard.with_name(name))
    assert np.array_equal(kept.read(KEYS)[0], VECTORS)
    assert not shard.with_name("0.safetensors").exists()
    assert len(listener.said) == 1


@pytest.mark.parametrize("when", ["is_file", "safe_open"])
def test_a_shard_that_is_dropped_meanwhile_is_not_damaged(
    kept: FeatureStore, listener: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    kept.write(KEYS, VECTORS)
    genuine = getattr(store_module, when)

    def late(shard: Path, **named: Any) -> Any:
        shard.unlink()
        return genuine(shard, **named)

    monkeypatch.setattr(store_module, when, late)
    assert kept.read(KEYS)[1].tolist() == [False] * 3
    assert not listener.said


def test_a_damaged_shard_that_cannot_be_removed_gives_nothing(
    kept: FeatureStore, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    kept.write(KEYS, VECTORS)
    flipped(shards(kept)[0], 1)
    monkeypatch.setattr(Path, "unlink", refuse)
    for times in (1, 2):
        assert kept.read(KEYS)[1].tolist() == [False] * 3
        assert len(listener.said) == times


# --- what a folder of features is about ---

DESCRIPTIONS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "a number": lambda path: path.write_text("3"),
    "nothing": lambda path: path.write_text("null"),
    "another description": lambda path: path.write_text('{"cut": "other", "format": 2}'),
    "nested deeply": lambda path: path.write_text("[" * 200_000),
    "a large text": lambda path: path.write_text('{"cut": "' + "x" * 2_000_000 + '"}'),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("repair", ["read", "write"])
@pytest.mark.parametrize("damage", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_damaged_description_is_none_until_it_is_written_again(
    kept: FeatureStore, listener: Any, damage: Callable[[Path], None], repair: str
) -> None:
    kept.write(KEYS, VECTORS)
    about = kept.folder / "about.json"
    damage(about)
    assert [(info.about, info.vectors) for info in describe()] == [({}, 3)]
    for _ in range(2):
        if repair == "write":
            kept.write(KEYS, VECTORS)
        else:
            assert np.array_equal(kept.read(KEYS)[0], VECTORS)
    assert describe()[0].about == {"cut": "pooled", "format": 2}
    assert listener.said == [f"the description {about} is damaged: it is written again"]


def test_pipes_and_links_in_the_cache_are_counted_as_nothing(kept: FeatureStore) -> None:
    kept.write(KEYS, VECTORS)
    os.mkfifo(kept.folder / "pipe.safetensors")
    (kept.folder / "link.safetensors").symlink_to("nothing")
    os.mkfifo(features_folder() / "pipe")
    assert [info.vectors for info in describe()] == [3]
