"""The runner of docs/export.md, as a user would run it: onnxruntime, Pillow and NumPy, and nothing else."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.engines.compute import Compute
from regraft.exports.export import export
from regraft.exports.photos import made_photos

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
HIDDEN = ("regraft", "torch", "torchvision", "timm", "openvino", "scipy", "safetensors", "simplejpeg", "pyvips")


def runner() -> str:
    """Return the one program of the document that reads photos."""
    (found,) = [one for one in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "ImageOps" in one]
    return found


@pytest.mark.slow
def test_the_runner_gives_the_answers(make: Callable[[str], Classifier], tmp_path: Path) -> None:
    classifier = make("plain")
    export(classifier, "onnx", tmp_path / "pets.onnx")
    program = tmp_path / "runner.py"
    hide = f"import sys\nfor name in {HIDDEN!r}:\n    sys.modules[name] = None\n"
    program.write_text(hide + runner(), encoding="utf-8")
    with made_photos() as photos:
        command = [sys.executable, str(program), str(tmp_path / "pets.onnx"), *map(str, photos)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, encoding="utf-8")
        known = Predictor(classifier, Compute(device="cpu", engine="torch-float32", cache=False)).predict(photos)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    best = known.probabilities.argmax(axis=1)
    assert [line[0] for line in lines] == [str(photo) for photo in photos]
    assert [line[1] for line in lines] == [classifier.classes[label] for label in best]
    given = np.array([float(line[2]) for line in lines])
    assert np.abs(given - known.probabilities[np.arange(len(best)), best]).max() <= 1e-3
