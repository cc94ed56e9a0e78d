"""Evaluating a finished classifier: on photos that it was not trained on, by class names, with a record."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.evaluate import evaluate, evaluation_of
from regraft.data.layouts import find_samples
from regraft.errors import DataError, OptionError
from regraft.evaluation.conformal import HeldOutScores
from regraft.transfer.fit import FitResult

Photos = Callable[..., Path]


def test_evaluate_leaves_out_what_was_trained_on(
    trained: FitResult, photos: Photos, tmp_path: Path, listener: Any
) -> None:
    new = photos("new", first_seed=500, red=4, green=2, blue=3)
    for number in (1, 4):
        shutil.copy(tmp_path / "known" / "train" / "blue" / f"{number}.jpg", new / "blue" / f"known{number}.jpg")
    result = evaluate(trained.classifier, find_samples(new)["train"], observer=listener)
    assert (result.report.n, result.report.estimate, result.trained_on) == (9, "test", 2)
    assert result.report.confusion == [[3, 0, 0], [0, 2, 0], [0, 0, 4]]
    assert listener.said == [
        f"2 of 11 photos in {new} were trained on and are left out of the evaluation:\n"
        f"  {new / 'blue' / 'known1.jpg'}\n  {new / 'blue' / 'known4.jpg'}"
    ]


def test_evaluate_refuses_what_was_all_trained_on(trained: FitResult, tmp_path: Path) -> None:
    folder = tmp_path / "known" / "train"
    with pytest.raises(DataError) as caught:
        evaluate(trained.classifier, find_samples(folder)["train"])
    assert str(caught.value).startswith(
        f"{folder}: the classifier was trained on every one of these 18 photos, so they cannot evaluate it."
    )


def test_evaluate_calls_validation_photos_validation(trained: FitResult, tmp_path: Path) -> None:
    result = evaluate(trained.classifier, find_samples(tmp_path / "known" / "validation")["train"])
    assert (result.report.n, result.report.estimate, result.trained_on) == (6, "validation", 0)
    assert result.report.figures["log_loss"] == pytest.approx(trained.report.figures["log_loss"], rel=1e-6)


def test_evaluate_matches_classes_by_name(trained: FitResult, photos: Photos, listener: Any) -> None:
    new = photos("new", first_seed=500, red=5, green=2)
    result = evaluate(trained.classifier, find_samples(new)["train"], observer=listener)
    assert result.report.classes == ("blue", "green", "red")
    assert result.report.confusion == [[0, 0, 0], [0, 2, 0], [0, 0, 5]]
    assert listener.said == ["no photos of 1 class here, whose recall is unknown: blue"]
    with pytest.raises(DataError, match="has 1 class that the model does not know: grey"):
        evaluate(trained.classifier, find_samples(photos("other", grey=2, red=2))["train"])


def test_a_positive_class_that_there_is_not_is_refused(trained: FitResult, photos: Photos) -> None:
    samples = find_samples(photos("new", first_seed=500, red=2, green=2))["train"]
    with pytest.raises(OptionError, match="positive"):
        evaluate(trained.classifier, samples, positive="yellow")


def test_the_record_of_an_evaluation(trained: FitResult, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=11, green=2, blue=3)
    torn = new / "red" / "0.jpg"
    torn.write_bytes(torn.read_bytes()[:700])
    found = evaluate(trained.classifier, find_samples(new)["train"])
    classifier = trained.classifier
    assert (found.model, found.strategy) == (classifier.model, "frozen")
    assert (found.temperature, found.engine) == (classifier.temperature, "torch-cpu-float32")
    assert found.unreadable == (str(torn),)
    assert found.timing is not None
    assert found.timing.images_computed == 15
    assert 0 < found.timing.extraction_seconds <= found.timing.seconds


def test_sets_of_a_fit_are_evaluated_on_other_photos(trained: FitResult, photos: Photos) -> None:
    """Their thresholds are put there by hand: from 0.9 on, of every class, so that each unsure photo's set is empty."""
    trained.classifier.held_out = HeldOutScores.of(np.eye(3)[np.arange(60) % 3] * 0.9, np.arange(60) % 3)
    new = photos("new", first_seed=700, red=4, green=4, blue=4)
    found = evaluation_of(trained.classifier, find_samples(new)["train"])
    conformal = found.record.report and found.record.report.conformal
    assert conformal is not None
    true = found.probabilities[np.arange(12), found.dataset.labels]
    assert conformal.held == np.mean(true >= np.float32(0.9))
    assert conformal.mean_size == np.mean((found.probabilities >= np.float32(0.9)).sum(axis=1))


def test_sets_are_nested_on_photos_that_chose_them(trained: FitResult, photos: Photos, tmp_path: Path) -> None:
    """Of six validation photos the others promise nothing, whatever the file says of these photos."""
    trained.classifier.held_out = HeldOutScores.of(np.eye(3)[np.arange(60) % 3] * 0.9, np.arange(60) % 3)
    found = evaluate(trained.classifier, find_samples(tmp_path / "known" / "validation")["train"])
    assert found.report is not None
    assert found.report.conformal is None
