"""A predictor: reasons instead of probabilities for what cannot be read, one engine, and nothing that trains."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictions, Predictor
from regraft.engines import openvino
from regraft.engines.compute import Compute
from regraft.engines.kinds import WORTH_CONVERTING
from regraft.errors import DataError, OptionError
from regraft.evaluation.conformal import Coverage, HeldOutScores
from regraft.evaluation.decisions import CostRule, Decision, ThresholdRule
from regraft.evaluation.levels import Level
from regraft.features import extraction
from regraft.heads.linear import LinearHead
from regraft.networks import backbone as backbone_
from regraft.networks.backbone import Backbone
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
    read = backbone_.tensor_bytes

    def counted(tensor: Any) -> memoryview:
        sizes.append(math.prod(tensor.shape))
        return read(tensor)

    monkeypatch.setattr(backbone_, "tensor_bytes", counted)  # `fingerprint` and `tensor_hashes` read every tensor by it
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


@pytest.mark.parametrize("engine", ["auto", "torch-bfloat16", "openvino-float32"])
def test_no_photos_no_answers(backbone: Backbone, engine: str) -> None:
    head = LinearHead(np.ones((2, backbone.features), np.float32), np.zeros(2, np.float32), 1.0)
    classifier = Classifier(backbone, head, ("a", "b"), 1.0, "tiny", "frozen")
    found = Predictor(classifier, Compute(engine=engine)).predict([])
    assert (found.probabilities.shape, found.unreadable) == ((0, 2), {})


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


# --- what is doubted ---

MALIGNANT = Decision(ThresholdRule(1, 0.1), "threshold 0.1 for malignant")
SETS = np.array([[True, False], [True, True], [False, False], [False, True], [True, False]])
SHARES = np.array([[0.95, 0.05], [0.8, 0.2], [0.85, 0.15], [0.6, 0.4], [0.93, 0.07]])


def predictions(decision: Decision | None = None, **more: Any) -> Predictions:
    """Return answers to five photos, the last of which is unlike the training photos."""
    photos = tuple(Path(f"{number}.jpg") for number in range(5))
    unlike = np.array([False, False, False, False, True])
    return Predictions(photos, SHARES, {}, decision, sets=SETS, unlike=unlike, **more)


def test_an_answer_is_sure_where_it_is_alone_in_the_set() -> None:
    """The fourth set is of one class, but not of the one that is answered; the fifth photo is unlike the others."""
    found = predictions()
    assert found.unsure is not None
    assert found.unsure.tolist() == [False, True, True, True, True]
    assert not found.withheld.any()
    assert predictions(abstains=True).withheld.tolist() == [False, True, True, True, True]


def test_an_alarm_is_never_withheld() -> None:
    """From 0.1 on it is malignant: the rule's answers are given, unsure as they are, so its sensitivity stays."""
    found = predictions(MALIGNANT, abstains=True)
    assert found.answers.tolist() == [0, 1, 1, 1, 0]
    assert found.unsure is not None
    assert found.unsure.tolist() == [False, True, True, False, True]
    assert found.withheld.tolist() == [False, False, False, False, True]


def test_answers_of_costs_are_withheld_as_those_of_probabilities() -> None:
    costs = Decision(CostRule(np.array([[0.0, 1.0], [9.0, 0.0]])), "cost malignant:benign=9")
    found = predictions(costs, abstains=True)
    assert found.answers.tolist() == [0, 1, 1, 1, 0]
    assert found.withheld.tolist() == [False, True, True, False, True]


def test_without_sets_nothing_is_known_to_be_unsure() -> None:
    found = Predictions((Path("a.jpg"),), SHARES[:1], {}, unlike=np.array([True]), abstains=True)
    assert found.unsure is None
    assert found.withheld.tolist() == [False]
    assert found.likeliest_first() == []


def test_sets_of_a_level_hold_the_nodes_of_their_classes() -> None:
    """Two classes that are not told apart are one node, of which the answer is sure."""
    level = Level(1, ("animal", "plant"), np.array([0, 0, 1]))
    sets = np.array([[True, True, False], [True, False, True], [False, False, False]])
    shares = np.array([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4]])
    photos = tuple(Path(f"{number}.jpg") for number in range(3))
    found = Predictions(photos, shares, {}, levels=(level,), sets=sets, unlike=np.zeros(3, dtype=bool))
    assert found.unsure is not None
    assert found.unsure.tolist() == [True, True, True]
    above = found.at(level)
    assert above.sets is not None
    assert above.sets.tolist() == [[True, False], [True, True], [False, False]]
    assert above.unsure is not None
    assert above.unsure.tolist() == [False, True, True]


def test_without_a_reference_sets_alone_say_what_is_unsure() -> None:
    found = Predictions((Path("a.jpg"), Path("b.jpg")), SHARES[:2], {}, sets=SETS[:2])
    assert found.unsure is not None
    assert found.unsure.tolist() == [False, True]


def test_a_predictor_knows_sets_and_what_is_unlike(trained: FitResult, photos: Photos) -> None:
    """By thresholds of the probabilities that evaluated the classifier, here of 30 that are put there by hand."""
    scores, labels = np.linspace(0.01, 0.3, 30), np.arange(30) % 3
    held_out = np.repeat((1 - scores[:, None]) / 2, 3, axis=1)
    held_out[np.arange(30), labels] = scores
    trained.classifier.held_out = HeldOutScores.of(held_out, labels)
    known, strange = files(photos("known-colours", first_seed=300, red=2, blue=1)), files(photos("strange", grey=2))
    found = Predictor(trained.classifier, coverage=Coverage(0.9)).predict([*known, *strange])
    # of 10 photos of each class the floor(0.1 * 11) = 1st: 0.01, 0.02 and 0.03
    assert found.sets is not None
    assert found.sets.tolist() == (found.probabilities >= np.float32([0.01, 0.02, 0.03])).tolist()
    assert found.coverage == Coverage(0.9)
    assert found.unlike is not None
    assert found.unlike[3:].all()  # grey
    plain = Predictor(trained.classifier).predict(known)  # 95 % of all classes together, as of each it takes 19
    assert plain.coverage is None
    assert plain.sets is not None
    assert plain.sets.tolist() == (plain.probabilities >= np.float32(0.01)).tolist()


def test_a_coverage_is_checked_before_the_first_photo(trained: FitResult) -> None:
    """Six photos validate it, of which nothing can be promised with 95 %: without being asked, it says nothing."""
    assert trained.classifier.held_out is not None
    assert len(trained.classifier.held_out.scores) == 6
    with pytest.raises(DataError, match="takes at least 19 held-out photos to be promised"):
        Predictor(trained.classifier, coverage=Coverage(0.95))
    with pytest.raises(DataError, match="takes at least 19 held-out photos"):
        Predictor(trained.classifier, abstain=True)
    assert Predictor(trained.classifier).predict([]).unsure is None


def test_what_cannot_be_read_is_neither_unsure_nor_unlike(trained: FitResult, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8torn")
    trained.classifier.held_out = HeldOutScores.of(np.full((40, 3), 1 / 3), np.arange(40) % 3)
    found = Predictor(trained.classifier).predict([tmp_path / "torn.jpg"])
    assert found.unsure is not None
    assert found.unlike is not None
    assert [found.unsure.tolist(), found.unlike.tolist()] == [[False], [False]]
