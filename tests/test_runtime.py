"""Devices by name, and the processors of this process."""

import os

import pytest
import torch

from regraft.errors import OptionError
from regraft.runtime import cpu_count, is_first_process, pick_device


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two GPUs, and no MPS."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("devices")
def test_devices_by_name() -> None:
    assert pick_device() == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device must be one of auto, cpu, cuda, mps. Got 'gpu'."),
        (None, "device must be one of auto, cpu, cuda, mps. Got None."),
        ("mps", "device='mps' is not present on this machine. Usable here: auto, cpu, cuda."),
        ("cuda:x", "device must be one of auto, cpu, cuda, mps, or a numbered one (cuda:0). Got 'cuda:x'."),
        ("cuda:2", "device='cuda:2' is not present on this machine. It has 2, from cuda:0."),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        pick_device(name)
    assert str(caught.value) == message


def test_auto_is_the_cpu_without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_reports(monkeypatch: pytest.MonkeyPatch, rank: str | None, first: bool) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first_process() == first


def test_processors_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu_count() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1
