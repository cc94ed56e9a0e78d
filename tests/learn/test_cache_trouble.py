"""A cache that is in the way: foreign files in it, no folder, sizes that are none. Training goes on or says why."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from regraft.data.audit import inspect
from regraft.errors import OptionError
from regraft.learn.features import extract
from regraft.learn.store import FeatureStore, describe, size_limit
from regraft.models.backbones import Backbone
from regraft.models.engines import TorchEngine

Photos = Callable[..., Path]


def test_foreign_shards_count_as_absent() -> None:
    store, one, two = FeatureStore({"network": "a"}, 4), bytes([1] * 32), bytes([2] * 32)
    array = np.ones((1, 4), dtype=np.float32)
    store.write([one], array)
    names = np.frombuffer(two, dtype=np.uint8).reshape(1, 32)
    foreign = [
        {"keys": np.concatenate([names, names]), "vectors": array},
        {"keys": np.array(3, dtype=np.uint8), "vectors": array},
        {"keys": names[:, :8], "vectors": array},
        {"keys": names},
    ]
    for number, content in enumerate(foreign):
        save_file(content, store.folder / f"{number}.safetensors")
    entries = {
        "keys": {"dtype": "U8", "shape": [1, 32], "data_offsets": [0, 32]},
        "vectors": {"dtype": "BF16", "shape": [1, 4], "data_offsets": [32, 40]},
    }
    header = json.dumps(entries).encode()
    (store.folder / "5.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + two + bytes(8))
    assert store.read([one, two])[1].tolist() == [True, False]
    assert len(describe()) == 1


def test_a_file_where_the_cache_should_be(
    backbone: Backbone, engine: TorchEngine, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sorted(photos(red=3).rglob("*.jpg"))
    keys = inspect(tuple(sources)).keys
    expected = extract(sources, keys, backbone, engine, cache=False).features
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    assert np.array_equal(extract(sources, keys, backbone, engine).features, expected)


@pytest.mark.parametrize("text", ["-5GB", "inf", "1e400", "nan"])
def test_sizes_that_are_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", text)
    with pytest.raises(OptionError, match=r"REGRAFT_CACHE_LIMIT must be a size like 500MB or 20GB\. Got"):
        size_limit()


def test_a_wrong_limit_is_told_before_the_first_photo(
    backbone: Backbone, engine: TorchEngine, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sorted(photos(red=3).rglob("*.jpg"))
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "much")
    with pytest.raises(OptionError, match="Got 'much'"):
        extract(sources, inspect(tuple(sources)).keys, backbone, engine)
    assert describe() == []
