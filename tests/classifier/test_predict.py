"""A predictor: reasons instead of probabilities for what cannot be read, one engine, and nothing that trains."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.engines import openvino
from regraft.engines.compute import Compute
from regraft.engines.kinds import WORTH_CONVERTING
from regraft.errors import OptionError
from regraft.features import extraction
from regraft.networks import backbones
from regraft.transfer.fit import FitResult

Photos = Callable[..., Path]
NOTHING_THAT_TRAINS = """
import sys
import regraft.classifier.bundle, regraft.classifier.predict, regraft.classifier.evaluate
trains = ("regraft.training", "regraft.transfer", "regraft.pretraining")
print(*sorted(name for name in sys.modules if name.startswith(trains)))
"""


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of photos that engines were chosen for, in order."""
    chosen: list[int] = []
    choose = extraction.choose_engine

    def counted(workload: Any, *given: Any, **named: Any) -> Any:
        chosen.append(workload.photos)
        return choose(workload, *given, **named)

    monkeypatch.setattr(extraction, "choose_engine", counted)
    return chosen


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the tensors that were hashed as parts of a network, in order."""
    sizes: list[int] = []
    read = backbones.tensor_bytes

    def counted(tensor: Any) -> memoryview:
        sizes.append(tensor.numel())
        return read(tensor)

    monkeypatch.setattr(backbones, "tensor_bytes", counted)  # `fingerprint` and `tensor_hashes` read every tensor by it
    return sizes


def test_predict_gives_reasons_instead_of_probabilities(trained: FitResult, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=3, green=2, blue=1)
    sources = sorted(new.rglob("*.jpg"), key=lambda path: path.name)
    colours = [path.parent.name for path in sources]
    sources[1].write_bytes(b"garbage")
    sources[3].write_bytes(sources[3].read_bytes()[:700])
    found = Predictor(trained.classifier).predict(sources)
    assert found.sources == tuple(sources)
    assert found.unreadable == {1: "not an image, or damaged at its start", 3: "the file is cut off (truncated)"}
    assert np.isnan(found.probabilities[[1, 3]]).all()
    others = [0, 2, 4, 5]
    np.testing.assert_allclose(found.probabilities[others].sum(axis=1), 1, rtol=1e-12)
    answers = [trained.classifier.classes[k] for k in found.probabilities[others].argmax(axis=1)]
    assert answers == [colours[i] for i in others]


def test_predict_nothing_and_nothing_readable(trained: FitResult, tmp_path: Path) -> None:
    predictor = Predictor(trained.classifier)
    none = predictor.predict([])
    assert (none.probabilities.shape, none.unreadable) == ((0, 3), {})
    found = predictor.predict([tmp_path / "gone.jpg"])
    assert found.unreadable == {0: "the file is gone"}
    assert np.isnan(found.probabilities).all()


def test_predict_ignores_batch_size_and_cache(trained: FitResult, photos: Photos) -> None:
    sources = sorted(photos("new", first_seed=500, red=3, blue=4).rglob("*.jpg"))
    whole = Predictor(trained.classifier).predict(sources).probabilities
    single = Predictor(trained.classifier, Compute(batch_size=1, cache=False)).predict(sources).probabilities
    np.testing.assert_allclose(single, whole, atol=1e-4)


def test_photo_after_photo_is_one_engine_and_one_hash_of_the_weights(
    classifier: Callable[..., Classifier], photos: Photos, engines: list[int], hashed: list[int]
) -> None:
    made = classifier()
    predictor = Predictor(made)
    for path in files(photos(red=5, blue=5)):
        assert not predictor.predict([path]).unreadable
    assert engines == [1]
    network = made.backbone.module
    assert sorted(hashed) == sorted(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])


def test_many_photos_after_few_are_worth_another_engine_once(
    classifier: Callable[..., Classifier], photos: Photos, engines: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "usable_precisions", lambda: ("float32",))
    predictor = Predictor(classifier(), Compute(device="cpu"))
    paths = files(photos(red=2, blue=2)) * (WORTH_CONVERTING // 4)
    few, expected = paths[:4], {}
    for count in (1, WORTH_CONVERTING - 1, WORTH_CONVERTING, 4, WORTH_CONVERTING):
        found = predictor.predict(paths[:count]).probabilities
        expected.setdefault(count, found)
        np.testing.assert_array_equal(found, expected[count])
    assert engines == [1, WORTH_CONVERTING]
    alone = Predictor(classifier(name="alone"), Compute(device="cpu", cache=False)).predict(few).probabilities
    np.testing.assert_allclose(expected[4], alone, rtol=0, atol=1e-4)


def test_a_predictor_checks_its_settings_before_the_first_photo(classifier: Callable[..., Classifier]) -> None:
    with pytest.raises(OptionError, match=r"^batch_size must be 1 or more\. Got 0\."):
        Predictor(classifier(), Compute(batch_size=0))


def test_a_finished_classifier_loads_nothing_that_trains() -> None:
    found = subprocess.run([sys.executable, "-c", NOTHING_THAT_TRAINS], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
