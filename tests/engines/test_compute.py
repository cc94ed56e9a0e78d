"""Where and how things run: what is allowed, and how much the cache may hold."""

from typing import Any

import pytest
import torch

from regraft.engines.compute import Compute
from regraft.errors import OptionError


def test_the_defaults_are_allowed() -> None:
    Compute(device="cpu").check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more. Got 0."),
        ({"batch_size": 2.5}, "batch_size must be 1 or more. Got 2.5."),
        ({"max_file_size": 0}, "max_file_size must be a size in bytes, 1 or more. Got 0."),
        ({"max_file_size": "1GB"}, "max_file_size must be a size in bytes, 1 or more. Got '1GB'."),
        ({"cache_limit": -1}, "cache_limit must be a size in bytes, 0 or more. Got -1."),
        ({"cache_limit": "1GB"}, "cache_limit must be a size in bytes, 0 or more. Got '1GB'."),
        (
            {"engine": "torch-float16"},
            "engine='torch-float16' needs a GPU. On the CPU use torch-bfloat16, or leave it out.",
        ),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, mps. Got 'gpu'."),
    ],
)
def test_refusals(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Compute(**{"device": "cpu", **given}).check()
    assert str(caught.value) == message


def test_the_device_by_name() -> None:
    assert Compute(device="cpu").torch_device == torch.device("cpu")


def test_what_the_cache_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "5MB")
    assert Compute().cache_bytes == 5_000_000
    assert Compute(cache_limit=7).cache_bytes == 7  # what a caller says goes before the user's own setting
    assert Compute(cache_limit=0).cache_bytes == 0
    assert Compute(cache=False, cache_limit=7).cache_bytes == 0
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "much")
    assert Compute(cache_limit=7).cache_bytes == 7
    with pytest.raises(OptionError, match="REGRAFT_CACHE_LIMIT must be a size like"):
        _ = Compute().cache_bytes


def test_a_limit_that_is_no_size_is_reported_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "much")
    with pytest.raises(OptionError, match="REGRAFT_CACHE_LIMIT must be a size like 500MB or 20GB\\. Got 'much'\\."):
        Compute(device="cpu").check()
    Compute(device="cpu", cache=False).check()
    Compute(device="cpu", cache_limit=7).check()
