"""A cache that is in the way: foreign files in it, no folder, sizes that are none. Training goes on or says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.cache import describe, size_limit
from regraft.data.audit import inspect
from regraft.engines.pytorch import TorchEngine
from regraft.errors import OptionError
from regraft.features.extraction import extract
from regraft.networks.backbones import Backbone

Photos = Callable[..., Path]


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
