"""What int8 loses: by hand on answers that are known, and what is said where it cannot be asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.exports.test_parity import LEAST, Table

from regraft.classifier.classifier import Classifier
from regraft.data.photo_list import PhotoList
from regraft.errors import DataError, ExportError, OptionError
from regraft.evaluation.intervals import wilson
from regraft.evaluation.paired_tests import score_interval
from regraft.exports.formats import format_named
from regraft.exports.parity import Reference
from regraft.exports.quantisation import (
    DecodedPhotos,
    QuantisationLoss,
    decodable,
    loss_of,
    split_photos,
)
from regraft.exports.request import check_int8
from regraft.progress import Observer

KNOWN = np.eye(3)[[0, 1, 2, 0]]
LOSS = QuantisationLoss(200, 100, True, 1.5, (0.2, 3.6), 5.0, 12.5)


def judged(classifier: Classifier, photos: list[Path], labels: list[str | None], found: np.ndarray) -> QuantisationLoss:
    listed = replace(PhotoList.unlabelled(photos), labels=tuple(labels))
    timed = np.concatenate([found] * 3)  # photos are shown again to be timed
    graphs = Table(np.concatenate([KNOWN] * 3)), Table(timed)
    given = {"least": LEAST, "calibrated_on": 7, "learned_from": 0, "observer": Observer()}
    return loss_of(classifier, Reference(listed, KNOWN), graphs, **given)


def test_loss_of_accuracy_by_hand(make: Callable[[str], Classifier], several: list[Path]) -> None:
    """Of four photos the first is right in float32 alone, the second in int8 alone, the third in both, the last in
    neither: nothing is lost."""
    found = np.eye(3)[[1, 0, 2, 1]]
    one = judged(make("plain"), several, ["Kätzchen", "Kätzchen", "7", "7"], found)
    assert (one.labelled, one.photos, one.calibrated_on, one.value) == (True, 4, 7, 0.0)
    two = judged(make("plain"), several, ["Kätzchen", "dog", "7", "7"], found)  # two are lost
    low, high = score_interval(2, 0, 4)
    assert two.value == 50.0
    assert two.interval == pytest.approx((100 * min(low, 0.0), 100 * high))  # McNemar: two of two are chance


@pytest.mark.parametrize("labels", [[None] * 4, ["Kätzchen", "dog", "7", "no class of it"]])
def test_loss_of_agreement_by_hand(
    make: Callable[[str], Classifier], several: list[Path], labels: list[str | None]
) -> None:
    found = judged(make("plain"), several, labels, np.eye(3)[[0, 1, 0, 0]])
    assert (found.labelled, found.value) == (False, 25.0)
    assert found.interval == pytest.approx(tuple(100 * bound for bound in wilson(1, 4)))


def test_the_decision_answers(make: Callable[[str], Classifier], several: list[Path]) -> None:
    """dog is answered from 20 % on, though it is not the most probable class."""
    found = np.array([[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1], [0.85, 0.15, 0]])
    assert judged(make("decision"), several, [None] * 4, found).value == 25.0
    assert judged(make("plain"), several, [None] * 4, found).value == 0.0


def test_what_is_said() -> None:
    assert str(LOSS) == (
        "int8 loses 1.5 points of accuracy [0.2, 3.6] on 200 photos (calibrated on 100 others); 5.0 ms a photo, "
        "float32 12.5 ms: 2.5 times as fast"
    )
    assert "of agreement with the classifier's answers [" in str(replace(LOSS, labelled=False))
    LOSS.check("onnx", 1.5)
    message = (
        r"^the onnx file in int8 was removed: it loses 1\.5 points of accuracy \[0\.2, 3\.6\] on 200 photos, and "
        r"max_loss allows 1\. Leave int8=True out, or allow more\.$"
    )
    with pytest.raises(ExportError, match=message):
        LOSS.check("onnx", 1)


def test_too_few_photos_to_exclude_a_loss_are_called_so() -> None:
    assert LOSS.doubt(2.0) == (
        "200 photos do not exclude a loss of up to 3.6 points, more than the 2 that max_loss allows: judge it on more"
    )
    assert LOSS.doubt(3.6) == ""


def test_photos_are_calibrated_on_or_judged_on() -> None:
    calibrating, judging = split_photos(keys(90), np.zeros(90, dtype=bool))
    assert (len(calibrating), len(judging)) == (30, 60)
    assert sorted([*calibrating, *judging]) == list(range(90))
    assert sorted(calibrating) != list(range(30))  # no class alone
    assert [len(part) for part in split_photos(keys(5000), np.zeros(5000, dtype=bool))] == [300, 2000]
    message = (
        r"^int8=True needs 40 different photos or more, as it is judged on others than it is calibrated on\. "
        r"check names 39\.$"
    )
    with pytest.raises(DataError, match=message):
        split_photos(keys(39) + keys(39), np.zeros(78, dtype=bool))  # copies are one


def test_what_the_classifier_learned_from_calibrates_and_others_judge() -> None:
    seen = np.arange(90) < 50
    calibrating, judging = split_photos(keys(90), seen)
    assert seen[calibrating].all()
    assert sorted(judging) == list(range(50, 90))
    calibrating, judging = split_photos(keys(90), np.arange(90) < 80)  # ten others say too little
    assert (len(calibrating), len(judging), seen[calibrating].sum() >= 0) == (30, 60, True)
    told = str(replace(LOSS, learned_from=7))
    assert ", 7 of which the classifier learned from: others may lose more (calibrated on" in told
    assert "learned from" not in str(LOSS)


def keys(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("to", "photos", "max_loss", "message"),
    [
        ("pt2", True, None, r"^int8=True is for to='onnx', to='openvino'\. Got to='pt2'\.$"),
        (
            "onnx",
            False,
            None,
            r"^int8=True needs photos that it is calibrated and judged on: name them with check, e\.g\. ",
        ),
        ("onnx", True, -1.0, r"^max_loss must be percentage points from 0 to 100\. Got -1\.0\.$"),
        ("onnx", True, float("nan"), r"^max_loss must be percentage points from 0 to 100\. Got nan\.$"),
    ],
)
def test_what_cannot_be_asked_for(to: str, photos: bool, max_loss: float | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_int8(format_named(to), photos=photos, max_loss=max_loss)


def test_photos_to_calibrate_on_are_decoded_when_they_are_needed(several: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    assert decodable([broken, *several], LEAST) == several
    photos = DecodedPhotos(several, LEAST)
    assert [one.shape[1:3] for one in photos] == [(47, 61), (40, 90), (118, 158), (23, 20)]
    assert (len(photos), photos[3].shape) == (4, (1, 23, 20, 3))
    with pytest.raises(DataError, match=r"^none of the 1 photos to calibrate int8 on can be read\. Name others\.$"):
        decodable([broken], LEAST)
