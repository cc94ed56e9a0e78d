"""The first inferences of a process, by two threads at once: what a first call sets up is set up before."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regraft.engines import openvino as converted
from regraft.images.preprocess import Preprocess

SCRIPT = Path(__file__).with_name("first_inference.py")
PREPROCESS = Preprocess(8, 8, 1.0, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)


def hung(folder: Path, count: int) -> int:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    converted.save(converted.convert(module.eval(), PREPROCESS), folder)
    command = [sys.executable, str(SCRIPT), str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 20 * count, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_thirty_processes(tmp_path: Path) -> None:
    """Without what this tests, one in nine hangs."""
    assert hung(tmp_path, 30) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_two_hundred_processes(tmp_path: Path) -> None:
    assert hung(tmp_path, 200) == 0


def test_tensors_are_made_once_before_any_engine_has_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that matters: an array becomes a tensor and is read back where OpenVINO is first asked for."""
    import openvino

    made: list[type] = []
    original = openvino.Tensor

    def tensor(values: np.ndarray) -> openvino.Tensor:
        made.append(type(values))
        return original(values)

    monkeypatch.setattr(openvino, "Tensor", tensor)
    converted._library.cache_clear()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    for _ in range(2):
        converted.OpenVinoEngine(converted.convert(module, PREPROCESS), PREPROCESS, "float32")
    assert made == [np.ndarray]
