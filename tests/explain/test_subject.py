"""What a report is about: which photos are looked at, which evaluate a classifier, and the network before training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.learning import Listener

from regraft.classifier.classifier import Classifier
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.explain.subject import (
    OF_FIT,
    ON_THESE,
    Subject,
    find_subject_photos,
    subject_of_classifier,
    subject_of_fit,
    subject_of_network,
)
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.training.schedule import Schedule
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
CPU = Compute(device="cpu")


@pytest.fixture
def fitted(tiny_network: str, photos: Photos) -> Callable[..., FitResult]:
    """Return a function that trains on eight photos of each of two classes: fitted("top")."""

    def make(strategy: str = "frozen", folder: Path | None = None) -> FitResult:
        splits = find_samples(folder or photos("pets", red=8, blue=8))
        settings = FitSettings(strategy=strategy, force=True, schedule=Schedule(epochs=1, views=1))
        return fit(splits, lambda: load_backbone(tiny_network), model=tiny_network, settings=settings, compute=CPU)

    return make


def subject_of(
    classifier: Classifier,
    folder: Path,
    listener: Listener,
    *,
    labelled: bool = True,
    before: Callable[[], Backbone] | None = None,
) -> Subject:
    samples = find_samples(folder)["train"]
    return subject_of_classifier(classifier, samples, labelled=labelled, before=before, compute=CPU, observer=listener)


def test_train_and_validation_are_taken_together_and_test_is_not_read(photos: Photos, tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        photos(f"split/{split}", first_seed=100 * seed, red=2, blue=1)
    found, labelled = find_subject_photos(tmp_path / "split")
    assert labelled
    assert sorted({Path(str(source)).parents[1].name for source in found.sources}) == ["train", "val"]
    assert (len(found), found.classes) == (6, ("blue", "red"))


@pytest.mark.parametrize("name", ["test", "Testing", "test_set"])
def test_a_test_split_alone_is_read_if_it_is_named(photos: Photos, tmp_path: Path, name: str) -> None:
    named = photos(f"alone/{name}", red=2, blue=1)
    with pytest.raises(DataError) as caught:
        find_subject_photos(tmp_path / "alone")
    assert str(caught.value) == (
        f"{tmp_path / 'alone'} has a test split only, which is kept for `regraft evaluate`. To look into it all the "
        f"same, name it: {named}."
    )
    assert len(find_subject_photos(named)[0]) == 3


def test_a_flat_folder_without_names_has_no_labels(photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for name, source in zip("abc", sorted(photos(red=3).rglob("*.jpg")), strict=True):
        shutil.copy(source, tmp_path / "flat" / f"{name}.jpg")
    found, labelled = find_subject_photos(tmp_path / "flat")
    assert not labelled
    assert (len(found), found.labels.tolist()) == (3, [0, 0, 0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        find_subject_photos(tmp_path / "empty")


def test_a_network_alone(tiny_network: str, photos: Photos, listener: Listener) -> None:
    folder = photos("broken", red=9, blue=9)
    (folder / "red" / "2.jpg").write_bytes(b"no photo")
    backbone, samples = load_backbone(tiny_network), find_samples(folder)["train"]
    found = subject_of_network(backbone, samples, labelled=True, model=tiny_network, compute=CPU, observer=listener)
    assert found.backbone is backbone
    assert (len(found.dataset), [photo.name for photo in found.dataset.unreadable]) == (
        17,
        [str(folder / "red" / "2.jpg")],
    )
    assert (found.head, found.evaluated, found.probabilities, dict(found.reports)) == (None, None, None, {})
    assert not found.fine_tuned


def test_copies_stay_on_one_side_of_the_folds_that_a_network_is_evaluated_by(
    tiny_network: str, photos: Photos, listener: Listener
) -> None:
    """A copy with a comment (ITU T.81, B.2.4.5) has other bytes and the same pixels."""
    folder = photos("copied", red=4, blue=4)
    data = (folder / "red" / "0.jpg").read_bytes()
    (folder / "red" / "copy.jpg").write_bytes(data[:2] + b"\xff\xfe\x00\x08edited" + data[2:])
    backbone, samples = load_backbone(tiny_network), find_samples(folder)["train"]
    found = subject_of_network(backbone, samples, labelled=True, model=tiny_network, compute=CPU, observer=listener)
    names = [Path(str(source)).name for source in found.dataset.samples.sources]
    groups = found.dataset.groups
    assert groups is not None
    red = dict(zip(names[4:], groups[4:].tolist(), strict=True))
    assert red["0.jpg"] == red["copy.jpg"]


@pytest.mark.slow
def test_what_was_just_trained(fitted: Callable[..., FitResult]) -> None:
    result = fitted()
    found = subject_of_fit(result)
    assert found.evaluated is found.dataset is result.experiment.dataset
    assert found.probabilities is result.probabilities
    assert dict(found.reports) == {OF_FIT: result.report}
    assert found.note.startswith("Each photo was answered by a classifier that learned without it (out-of-fold)")
    assert (found.labelled, found.pretrained, found.fine_tuned) == (True, None, False)
    assert (found.temperature, found.decision, found.tta) == (result.classifier.temperature, None, "none")
    further = fitted("top")
    assert subject_of_fit(further).pretrained is further.experiment.backbone
    assert subject_of_fit(further).fine_tuned


@pytest.mark.parametrize("features", ["last", "all"])
def test_the_learning_curve_is_of_the_features_that_were_taken(
    features: str, tiny_network: str, photos: Photos
) -> None:
    splits = find_samples(photos("pets", red=8, blue=8))
    settings = FitSettings(strategy="frozen", force=True, features=features)
    result = fit(splits, lambda: load_backbone(tiny_network), model=tiny_network, settings=settings, compute=CPU)
    subject = subject_of_fit(result)
    assert subject.features is not None
    assert subject.features.shape == (16, result.classifier.head.features)
    # the last columns are the network's own features, and those of depths come before them
    whole = result.experiment.features.values
    assert np.array_equal(subject.features, whole[:, whole.shape[1] - subject.features.shape[1] :])
    assert (subject.features.shape[1] > result.classifier.backbone.features) == (features == "all")


def test_with_a_validation_split_its_photos_evaluate(
    fitted: Callable[..., FitResult], photos: Photos, tmp_path: Path
) -> None:
    photos("split/train", red=8, blue=8)
    photos("split/val", first_seed=500, red=3, blue=2)
    result = fitted(folder=tmp_path / "split")
    found = subject_of_fit(result)
    assert (len(found.dataset), found.evaluated) == (21, result.experiment.validation)
    assert found.note == "These photos took no part in training."


def test_photos_that_a_classifier_was_trained_on_are_known_as_such(
    fitted: Callable[..., FitResult], photos: Photos, tmp_path: Path, listener: Listener
) -> None:
    result = fitted()
    result.classifier.decision = Decision(ThresholdRule(1, 0.095), "a threshold")
    known = subject_of(result.classifier, tmp_path / "pets", listener)
    assert (known.temperature, known.decision) == (result.classifier.temperature, result.classifier.decision)
    assert subject_of_fit(result).decision is result.classifier.decision
    assert known.note.startswith("The classifier was trained on every one of these photos")
    assert list(known.reports) == [OF_FIT]
    assert known.evaluated is known.dataset
    for number, source in enumerate(sorted(photos("more", first_seed=700, red=3).rglob("*.jpg"))):
        shutil.copy(source, tmp_path / "pets" / "red" / f"new{number}.jpg")
    mixed = subject_of(result.classifier, tmp_path / "pets", listener)
    assert mixed.note == "3 of the 19 photos took no part in training; these are shown."
    assert mixed.evaluated is not None
    assert [Path(str(source)).name for source in mixed.evaluated.samples.sources] == [
        "new0.jpg",
        "new1.jpg",
        "new2.jpg",
    ]
    assert mixed.probabilities is not None
    assert mixed.probabilities.shape == (3, 2)
    assert list(mixed.reports) == [OF_FIT, ON_THESE]
    assert (mixed.reports[ON_THESE].n, mixed.reports[ON_THESE].estimate) == (3, "test")


def test_without_labels_the_answers_are_the_labels(
    fitted: Callable[..., FitResult], photos: Photos, listener: Listener
) -> None:
    result = fitted()
    found = subject_of(result.classifier, photos("new", first_seed=500, red=3, blue=2), listener, labelled=False)
    assert found.probabilities is not None
    assert np.array_equal(found.dataset.labels, found.probabilities.argmax(axis=1))
    assert found.dataset.classes == ("blue", "red")
    assert list(found.reports) == [OF_FIT]
    assert found.note == (
        "None of these photos took part in training. They have no labels, so mistakes cannot be identified."
    )


@pytest.mark.slow
def test_the_network_before_training(
    fitted: Callable[..., FitResult], tiny_network: str, tmp_path: Path, listener: Listener
) -> None:
    before = load_backbone(tiny_network)
    named = subject_of(fitted("top").classifier, tmp_path / "pets", listener, before=lambda: before)
    assert named.pretrained is before
    local = subject_of(fitted("top").classifier, tmp_path / "pets", listener)  # where it lies is not in the file
    assert local.pretrained is None
    assert f"where {tiny_network} lies is not known here: name it with before='local-dir:FOLDER'" in listener.said
    for strategy, how in (("frozen", "is as it was pretrained"), ("scratch", "was trained from random weights")):
        with pytest.raises(OptionError) as caught:
            subject_of(fitted(strategy).classifier, tmp_path / "pets", listener, before=lambda: before)
        assert str(caught.value) == (
            "before is for a classifier whose network was trained further; this one's " + how + ". Leave it out."
        )
