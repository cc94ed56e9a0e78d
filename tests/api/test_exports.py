"""`regraft.export`: classifiers in memory, in files and in estimators; photos as folders and lists."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import regraft
from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.exports import export as module


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return what is handed on to be written."""
    found: dict[str, object] = {}

    def write(classifier: Classifier, to: str, out: Path, **options: object) -> None:
        found.update(classifier=classifier, to=to, out=out, **options)

    monkeypatch.setattr("regraft.api.exports.write", write)
    return found


def test_a_file_is_exported_beside_itself(
    classifier: Callable[..., Classifier], photos: Callable[..., Path], tmp_path: Path, asked: dict[str, object]
) -> None:
    save_bundle(classifier(), tmp_path / "pets.safetensors")
    regraft.export(tmp_path / "pets.safetensors", "onnx", check=photos(red=2, blue=1), int8=True, max_loss=2)
    assert (asked["to"], asked["out"], asked["int8"], asked["max_loss"]) == ("onnx", tmp_path / "pets.onnx", True, 2)
    assert asked["check"].labels == ("blue", "red", "red")  # type: ignore[attr-defined]
    assert asked["classifier"].classes == ("Kätzchen", "dog", "7")  # type: ignore[attr-defined]


def test_one_in_memory_and_photos_in_memory(
    classifier: Callable[..., Classifier], tmp_path: Path, asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = classifier()
    regraft.export(made, "pt2", check=[np.zeros((8, 8, 3), dtype=np.uint8)])
    assert asked["classifier"] is made
    assert asked["out"] == Path("classifier.pt2")
    assert len(asked["check"]) == 1  # type: ignore[arg-type]
    regraft.export(made, "pt2", "~/a.pt2")
    assert asked["out"] == Path("~/a.pt2").expanduser()
    assert asked["check"] is None


def test_refusals(classifier: Callable[..., Classifier]) -> None:
    with pytest.raises(regraft.OptionError, match=r"^to must be one of onnx, openvino, pt2\. Got None\.$"):
        regraft.export("a.safetensors", None)  # type: ignore[arg-type]
    with pytest.raises(regraft.DataError, match=r"^check holds no images\.$"):
        regraft.export("a.safetensors", "pt2", check=[])
    with pytest.raises(TypeError, match=r"^export has no argument 'chek'\. Did you mean 'check'\?$"):
        regraft.export("a.safetensors", "pt2", chek="pets")
    with pytest.raises(
        regraft.OptionError, match=r"^classifier must be a fitted TransferClassifier, or the file of one"
    ):
        regraft.export(3, "pt2")  # type: ignore[arg-type]
    assert issubclass(regraft.ExportError, regraft.RegraftError)
    assert module.export is not regraft.export
