"""What the benchmark of int8 compares, and what it says without NNCF. Nothing is quantised here."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.__main__ import main
from benchmarks.environments import NoEnvironmentError
from benchmarks.record import Record
from PIL import Image

from benchmarks import int8
from regraft.images.loading import Batch, load_batches
from regraft.networks.backbones import Backbone


def test_without_nncf_it_is_left_out_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setattr(int8, "shared", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "int8", "--quick"])
    assert main() == 0
    assert "int8 is left out: needs NNCF, which quantises networks: pip install nncf" in capsys.readouterr().err
    with pytest.raises(NoEnvironmentError, match="pip install nncf"):
        int8.nncf()


def test_nncf_does_not_find_the_package_that_reports_its_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("")
    (tmp_path / "nncf.py").write_text(
        "try:\n    import openvino_telemetry\nexcept ImportError:\n    reports = False\nelse:\n    reports = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    assert int8.nncf().reports is False
    monkeypatch.delitem(sys.modules, "nncf")


@pytest.mark.slow  # it converts a network
def test_all_engines_run_the_same_network(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the quantised network stands the one that was to be quantised."""
    calibration: list[list[Batch]] = []

    def unchanged(model: object, batches: list[Batch]) -> int8.Quantised:
        calibration.append(batches)
        return int8.Quantised(model, 2.5)

    monkeypatch.setattr(int8, "quantise", unchanged)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    batches = list(load_batches([tmp_path / "photo.png"], backbone.preprocess))
    engines, seconds = int8.engines_of(backbone, batches)
    assert (calibration, seconds) == ([batches], 2.5)
    assert {int8.REFERENCE, int8.FLOAT32, int8.INT8} <= set(engines) <= set(int8.ENGINES)
    assert len({engine.name for engine in engines.values()}) == len(engines)
    expected = engines[int8.REFERENCE].features(batches[0].pixels)
    for engine in engines.values():
        np.testing.assert_allclose(engine.features(batches[0].pixels), expected, atol=0.05 * np.abs(expected).max())


def test_differences_are_to_the_reference_and_in_points() -> None:
    """Of 40 photos int8 answers 2 wrongly that the reference answers rightly: 95 % and -5 points."""
    labels = np.arange(40) % 2
    right = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)
    answers = {int8.REFERENCE: right, int8.INT8: np.concatenate([right[:2, ::-1], right[2:]])}
    dataset = SimpleNamespace(labels=labels, classes=("a", "b"), groups=None)
    settings = SimpleNamespace(positive=None)
    record = Record("int8", "?")
    experiment = SimpleNamespace(dataset=dataset, settings=settings, folds=lambda: None)
    int8.compare_answers(record, "n", answers, experiment)  # type: ignore[arg-type]
    found = {(one.by, one.unit): one.median for one in record.measurements}
    assert found[f"{int8.REFERENCE}: accuracy", "%"] == 100
    assert found[f"{int8.INT8}: accuracy", "%"] == 95
    assert found[f"{int8.INT8}: accuracy difference", "points"] == pytest.approx(-5)
    loss = found[f"{int8.INT8}: log_loss difference", "nats"]
    assert loss == pytest.approx(2 / 40 * (np.log(0.9) - np.log(0.1)))
    low, high = (found[f"{int8.INT8}: accuracy difference, {end}", "points"] for end in ("from", "to"))
    assert low < -5 < high
