"""A cache that cannot be used: a file in its place, a limit that is not a size. The work goes on, or says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.cache import describe
from regraft.data.audit import inspect
from regraft.engines.compute import Compute
from regraft.engines.pytorch import TorchEngine
from regraft.errors import OptionError
from regraft.features.extraction import FeatureExtractor, extract
from regraft.networks.backbone import Backbone

Photos = Callable[..., Path]


def test_a_file_where_the_cache_should_be(
    backbone: Backbone, engine: TorchEngine, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sorted(photos(red=3).rglob("*.jpg"))
    keys = inspect(tuple(sources)).keys
    expected = extract(sources, keys, backbone, engine).values
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    assert np.array_equal(extract(sources, keys, backbone, engine, cache_limit=10**9).values, expected)


def test_a_wrong_limit_is_an_error_before_the_first_photo(
    backbone: Backbone, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sorted(photos(red=3).rglob("*.jpg"))
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "much")
    with pytest.raises(OptionError, match="Got 'much'"):
        FeatureExtractor(backbone, Compute(device="cpu")).extract(sources, inspect(tuple(sources)).keys)
    assert describe() == []
