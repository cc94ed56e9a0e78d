"""Fitting: which photos take part in what, in which order, and what the figures say."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from regraft.classifier.evaluate import evaluate
from regraft.classifier.predict import Predictor
from regraft.data import dataset as datasets
from regraft.data.audit import inspect
from regraft.data.class_folders import read_folder
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, FrozenTensorError, OptionError, SanityError
from regraft.files import open_regular
from regraft.heads.probe import CalibratedHeads
from regraft.images import sources
from regraft.networks import backbone as backbones
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.options import declared_settings
from regraft.training.schedule import Schedule
from regraft.transfer import fit as fitting
from regraft.transfer.fit import FitResult
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Fit = Callable[..., FitResult]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


@pytest.fixture
def fit(tiny_network: str) -> Fit:
    """Return fit(folder or splits, observer, seed=1 ...), which trains with the tiny network."""

    def run(data: Path | Mapping[str, Samples], observer: Any = None, **settings: Any) -> FitResult:
        splits = find_samples(data) if isinstance(data, Path) else data
        options, compute = divided(settings)
        return fitting.fit(
            splits,
            lambda: load_backbone(tiny_network),
            model=tiny_network,
            settings=options,
            compute=compute,
            observer=observer,
        )

    return run


def divided(options: Mapping[str, Any]) -> tuple[FitSettings, Compute]:
    """Return the settings that these options belong to."""
    where = {name: value for name, value in options.items() if name in declared_settings(Compute)}
    how = {name: value for name, value in options.items() if name not in where}
    return FitSettings(**how), Compute(**where)


def never() -> Backbone:
    raise AssertionError("the network was loaded")


def refused(data: Path | Mapping[str, Samples], **settings: Any) -> str:
    """Return the message of a training that stops before the network is loaded."""
    splits = find_samples(data) if isinstance(data, Path) else data
    options, compute = divided(settings)
    with pytest.raises((DataError, OptionError)) as caught:
        fitting.fit(splits, never, model="none", settings=options, compute=compute)
    return str(caught.value)


def one_colour(folder: Path) -> Samples:
    """Return photos of one colour under two names that mean nothing."""
    sources = sorted(folder.rglob("*.jpg"))
    labels = np.random.default_rng(1).permutation(np.arange(len(sources)) % 2)
    return Samples(tuple(sources), labels, ("heads", "tails"))


def cut_off(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:700])
    return path


# --- what evaluates ---


def test_without_a_validation_split_every_figure_is_out_of_fold(fit: Fit, photos: Photos) -> None:
    result = fit(photos(red=9, blue=8))
    assert (result.report.estimate, result.report.n) == ("out-of-fold", 17)
    assert result.report.folds == 5  # photos are ranked within these
    assert result.report.classes == result.classifier.classes == ("blue", "red")
    assert result.report.confusion == [[8, 0], [0, 9]]


def test_validation_split_evaluates_and_takes_no_part(fit: Fit, photos: Photos) -> None:
    train_folder = photos("data/train", red=8, blue=8)
    photos("data/validation", first_seed=100, red=3, blue=4)
    evaluated, alone = fit(train_folder.parent), fit(train_folder)
    assert (evaluated.report.estimate, evaluated.report.n) == ("validation", 7)
    assert evaluated.report.folds is None
    assert evaluated.report.confusion == [[4, 0], [0, 3]]
    assert np.array_equal(evaluated.classifier.head.weight, alone.classifier.head.weight)
    assert np.array_equal(evaluated.classifier.head.bias, alone.classifier.head.bias)
    assert evaluated.classifier.temperature == alone.classifier.temperature
    assert evaluated.classifier.head.strength == alone.classifier.head.strength


def test_a_named_engine_that_does_not_agree_for_the_trained_network_loses_no_training(
    fit: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch, listener: Any
) -> None:
    photos("data/train", red=8, blue=8)
    photos("data/validation", first_seed=100, red=3, blue=4)
    predict, schedule = fitting._predict_validation, Schedule(epochs=1, views=1)

    def predict_trained(*given: Any) -> np.ndarray:
        monkeypatch.setattr("regraft.engines.agreement.Agreement.suffices", lambda *_: False)
        return predict(*given)

    monkeypatch.setattr(fitting, "_predict_validation", predict_trained)
    found = fit(
        photos("data/train", red=8).parent,
        listener,
        strategy="top",
        schedule=schedule,
        force=True,
        engine="openvino-float32",
        device="cpu",
    )
    assert (found.classifier.strategy, found.report.estimate, found.report.n) == ("top", "validation", 7)
    (line,) = [line for line in listener.said if "trained network" in line]
    assert line.startswith("engine='torch-float32' runs the trained network: engine='openvino-float32' does not give")
    probabilities = Predictor(found.classifier, Compute(device="cpu", engine="torch-float32")).predict(
        found.evaluated.samples.sources
    )
    np.testing.assert_allclose(found.probabilities, probabilities.probabilities, atol=1e-6)


def test_validation_figures_are_those_of_the_classifier(fit: Fit, photos: Photos) -> None:
    folder = photos("data/train", red=8, grey=8).parent
    photos("data/validation", first_seed=100, red=4, grey=4)
    result = fit(folder)
    validation = find_samples(folder)["validation"]
    probabilities = Predictor(result.classifier).predict(validation.sources).probabilities
    right = probabilities[np.arange(8), validation.labels]
    assert result.report.figures["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-6)


def test_validation_without_some_class(fit: Fit, photos: Photos) -> None:
    folder = photos("data/train", red=6, blue=6, grey=6).parent
    photos("data/validation", first_seed=100, red=2, grey=5)
    result = fit(folder)  # its own numbering would be grey 0, red 1
    assert result.report.confusion == [[0, 0, 0], [0, 5, 0], [0, 0, 2]]


def test_test_split_is_not_touched(fit: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=2, blue=2)
    photos("data/test", first_seed=200, red=2, blue=2)
    (folder / "test" / "red" / "0.jpg").write_bytes(b"garbage")
    opened: list[Path] = []

    def noted(path: Path, *, limit: int | None = None) -> BinaryIO:
        opened.append(path)
        return open_regular(path, limit=limit)

    monkeypatch.setattr(sources, "open_file", noted)
    fit(folder, cache=False)
    assert {path.relative_to(folder).parts[0] for path in opened if folder in path.parents} == {"train", "validation"}


def test_copies_of_one_photo_do_not_evaluate_each_other(
    fit: Fit, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = one_colour(photos(red=16))
    sources = list(originals.sources)
    for number in range(3):
        for path in map(Path, map(str, originals.sources)):
            copy = tmp_path / f"{number}-{path.name}"
            copy.write_bytes(path.read_bytes() + bytes(number + 1))  # equal files would share a fold by their content
            sources.append(copy)
    samples = replace(originals, sources=tuple(sources), labels=np.tile(originals.labels, 4))
    with pytest.raises(SanityError):
        fit({"train": samples})
    monkeypatch.setattr(datasets, "joined_groups", lambda *_: None)
    assert fit({"train": samples}).report.accuracy > 0.9  # what memorising would claim


def test_validation_photos_that_were_trained_on_are_left_out(fit: Fit, photos: Photos, listener: Any) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=3, blue=3)
    copy = folder / "validation" / "red" / "copy.jpg"
    shutil.copy(folder / "train" / "red" / "5.jpg", copy)
    result = fit(folder, listener)
    assert result.report.n == 6
    assert listener.said[0] == (
        f"1 of 7 photos in {folder / 'validation'} are also training photos and are left out of the "
        f"evaluation:\n  {copy}"
    )
    copied = inspect((copy,)).keys
    assert result.classifier.was_seen(copied, "training").tolist() == [True]
    assert result.classifier.was_seen(copied, "validation").tolist() == [False]


def grouped(folder: Path, names: list[str | None]) -> Samples:
    """Return the photos of a folder, which belong to groups of these names."""
    samples = read_folder(folder)
    labels = [samples.classes[label] for label in samples.labels]
    return Samples.from_labels(samples.where, samples.sources, labels, groups=names, notes=samples.notes)


def test_validation_photos_of_groups_in_training_are_left_out(fit: Fit, photos: Photos, listener: Any) -> None:
    """Patient e is in training too; of patient f there is a copy of a training photo; g and h are new."""
    training = grouped(photos("train", red=4, blue=4), ["a", "b", "c", "d", "e", "e", None, None])
    folder = photos("new", first_seed=100, red=4, blue=4)
    shutil.copy(training.sources[0], folder / "blue" / "0.jpg")  # sources are blue first
    validation = grouped(folder, ["f", "f", "e", "g", "e", None, "h", "g"])
    result = fit({"train": training, "validation": validation}, listener, force=True)  # four photos prove nothing
    assert result.report.n == 4
    assert result.report.confusion == [[1, 0], [0, 3]]
    assert listener.said[:2] == [
        f"1 of 8 photos in {folder} are also training photos and are left out of the evaluation:\n"
        f"  {folder / 'blue' / '0.jpg'}",
        f"3 of 8 photos in {folder} are of groups that are also in training and are left out of the evaluation:\n"
        f"  {folder / 'blue' / '1.jpg'}\n  {folder / 'blue' / '2.jpg'}\n  {folder / 'red' / '0.jpg'}",
    ]


def test_validation_of_groups_in_training_alone_is_refused(photos: Photos) -> None:
    training = grouped(photos("train", red=2, blue=2), ["a", "b", "c", "d"])
    folder = photos("new", first_seed=100, red=2, blue=2)
    assert refused({"train": training, "validation": grouped(folder, ["a", "b", "c", "c"])}) == (
        f"{folder}: every validation photo is also a training photo or of a group that is also in training, so none "
        "is left to evaluate on. Remove what training has, or the validation folder: the figures are then out-of-fold."
    )


def test_validation_of_copies_alone_is_refused(fit: Fit, photos: Photos) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    shutil.copytree(folder / "train", folder / "validation")
    with pytest.raises(DataError) as caught:
        fit(folder)
    assert str(caught.value) == (
        f"{folder / 'validation'}: every validation photo is also a training photo, so none is left to evaluate on. "
        "Remove the copies, or the validation folder: the figures are then out-of-fold."
    )


def in_copies(folder: Path, count: int) -> Samples:
    """Return the photos of a folder, each with copies of it beside it."""
    samples = find_samples(folder)["train"]
    originals = np.repeat(np.arange(len(samples)), count)
    sources = []
    for position, number in zip(originals, np.tile(np.arange(count), len(samples)), strict=True):
        source = Path(str(samples.sources[position]))
        sources.append(Path(shutil.copy(source, source.with_name(f"{source.stem}-{number}.jpg"))))
    return replace(samples, sources=tuple(sources), labels=samples.labels[originals])


def test_copies_that_evaluate_are_drawn_whole(fit: Fit, photos: Photos) -> None:
    """The intervals of 8 photos with three copies each are those of 8 groups that are named as such."""
    training = find_samples(photos("train", red=8, blue=8))["train"]
    copies = in_copies(photos("validation", first_seed=100, red=4, blue=4), 3)
    named = replace(copies, groups=np.repeat(np.arange(8), 3))
    found, expected = (fit({"train": training, "validation": part}) for part in (copies, named))
    assert found.report.intervals == expected.report.intervals
    assert found.report.per_class == expected.report.per_class
    new = in_copies(photos("new", first_seed=200, red=4, blue=4), 3)
    named = replace(new, groups=np.repeat(np.arange(8), 3))
    tested, expected = (evaluate(found.classifier, part) for part in (new, named))
    assert tested.report.intervals == expected.report.intervals


# --- before the network is loaded ---


@pytest.mark.parametrize("split", ["train", "validation"])
def test_too_many_unreadable_stop_before_the_network_is_loaded(photos: Photos, split: str) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=8, blue=8)
    for number in (1, 2):
        (folder / split / "red" / f"{number}.jpg").write_bytes(b"garbage")
    message = refused(folder)
    assert message.startswith(f"{folder / split}: 2 of 16 images cannot be read, more than 10%:\n")
    assert f"  {folder / split / 'red' / '1.jpg'}: not an image, or damaged at its start\n" in message
    assert f"  {folder / split / 'red' / '2.jpg'}: " in message


def test_contradictions_and_wrong_settings_stop_before_the_network_is_loaded(photos: Photos) -> None:
    folder = photos(red=4, blue=4)
    assert refused(folder, seed=-1) == "seed must be a whole number from 0 to 4294967295. Got -1."
    assert refused(folder, batch_size=0) == "batch_size must be 1 or more. Got 0."
    shutil.copy(folder / "red" / "0.jpg", folder / "blue" / "copy.jpg")
    assert "1 images stand under more than one class" in refused(folder)
    shutil.rmtree(folder / "red")
    assert "has one class only: 'blue' (5 images)" in refused(folder)


def test_one_photo_under_two_classes_of_two_splits_stops_before_the_network_is_loaded(photos: Photos) -> None:
    folder = photos("data/train", red=4, blue=4).parent
    photos("data/validation", first_seed=100, red=2, blue=2)
    original, copy = folder / "train" / "red" / "0.jpg", folder / "validation" / "blue" / "copy.jpg"
    shutil.copy(original, copy)
    assert refused(folder) == (
        f"{folder / 'train'} and {folder / 'validation'}: 1 images stand under more than one class:\n"
        f"  {original} (red) = {copy} (blue)\nKeep each under its right class only."
    )


def test_validation_of_one_class_stops_before_the_network_is_loaded(photos: Photos) -> None:
    folder = photos("data/train", red=4, blue=4, grey=4).parent
    photos("data/validation", first_seed=100, red=20)
    end = (
        "; there are none of: blue, grey. A classifier cannot be evaluated on one class. Add photos of the others, or "
        "remove the validation folder: the figures are then out-of-fold."
    )
    assert refused(folder) == f"{folder / 'validation'} has photos of one class only{end}"
    (folder / "validation" / "blue").mkdir()
    (folder / "validation" / "blue" / "torn.jpg").write_bytes(b"garbage")
    assert refused(folder) == f"{folder / 'validation'} has photos of one class only{end}"
    shutil.copy(folder / "train" / "blue" / "0.jpg", folder / "validation" / "blue" / "copy.jpg")
    assert (
        refused(folder) == f"{folder / 'validation'} has photos of one class only besides those that training has{end}"
    )


def test_classes_that_no_fold_could_hold_out_stop_before_the_network_is_loaded(photos: Photos) -> None:
    samples = find_samples(photos(red=4, blue=4))["train"]
    grouped = replace(samples, groups=np.array([0, 0, 0, 0, 1, 2, 3, 4]))
    assert refused({"train": grouped}).startswith(
        "1 classes come from one photo or one group only, copies of a photo counted as one, and cannot be both "
        "learned from and held out:\n  blue\n"
    )
    for number in (1, 2, 3):
        shutil.copy(samples.sources[0], samples.sources[number])
    assert "\n  blue\n" in refused({"train": samples})


def test_auto_keeps_the_last_layer_where_no_fold_could_hold_out(fit: Fit, photos: Photos, listener: Any) -> None:
    """A validation folder evaluates, so that `frozen` needs no folds; nothing else can be compared with it."""
    samples = find_samples(photos("train", red=8, blue=8))["train"]
    validation = find_samples(photos("new", first_seed=100, red=3, blue=3))["train"]
    grouped = replace(samples, groups=np.array([0] * 8 + list(range(1, 9))))
    result = fit({"train": grouped, "validation": validation}, listener, strategy="auto")
    frozen = fit({"train": grouped, "validation": validation}, strategy="frozen")
    assert np.array_equal(result.classifier.head.weight, frozen.classifier.head.weight)
    assert result.report.estimate == "validation"
    assert (result.record.strategy, result.record.tried) == ("frozen", ())
    assert result.record.reason == (
        "the last layer alone is trained; nothing more can be tried: 1 classes come from one photo or one group only, "
        "copies of a photo counted as one, and cannot be both learned from and held out: blue. Add photos from "
        "another group (patient, object, scene) or remove the class. Where different photos were taken for "
        "near-duplicates: near_duplicates='ignore'."
    )
    assert f"auto: {result.record.reason}" in listener.said


def test_the_last_layer_too_proves_that_the_network_stayed(
    fit: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(red=8, blue=8)
    proof = fit(folder).record.frozen
    assert re.fullmatch(r"0 of \d+ frozen tensors changed", proof)
    probe = CalibratedHeads.of

    def spoils(*given: Any, **named: Any) -> Any:
        network["it"].module.conv_stem.weight.data.add_(1)
        return probe(*given, **named)

    network: dict[str, Backbone] = {}

    def prepared(*given: Any, **named: Any) -> Any:
        experiment = prepare_experiment(*given, **named)
        network["it"] = experiment.backbone
        return experiment

    monkeypatch.setattr(fitting, "prepare_experiment", prepared)
    monkeypatch.setattr(CalibratedHeads, "of", spoils)
    with pytest.raises(
        FrozenTensorError, match=r"1 of \d+ frozen tensors changed during training:\n  conv_stem.weight"
    ):
        fit(folder)


def test_class_with_one_readable_photo_stops_before_the_network_is_loaded(photos: Photos) -> None:
    folder = photos(red=20, blue=2)
    (folder / "blue" / "1.jpg").write_bytes(b"garbage")
    assert "1 of 2 classes have fewer than two images" in refused(folder)


def test_validation_class_that_training_has_not_stops_before_the_network_is_loaded(photos: Photos) -> None:
    folder = photos("data/train", red=4, blue=4).parent
    photos("data/validation", first_seed=100, red=2, grey=2)
    assert f"{folder / 'validation'} has 1 class that the model does not know: grey." in refused(folder)


def test_unreadable_beyond_the_header_stop_before_anything_is_fitted(fit: Fit, photos: Photos, listener: Any) -> None:
    folder = photos(red=8, blue=8)
    for number in (1, 2):
        cut_off(folder / "red" / f"{number}.jpg")
    with pytest.raises(DataError, match="2 of 16 images cannot be read, more than 10%"):
        fit(folder, listener)
    assert "fitting the last layer" not in listener.said


def test_class_whose_photos_turn_out_unreadable(fit: Fit, photos: Photos) -> None:
    folder = photos(red=20, blue=2)
    cut_off(folder / "blue" / "1.jpg")
    with pytest.raises(DataError, match="1 of 2 classes have fewer than two images") as caught:
        fit(folder)
    assert "\n  blue\n" in str(caught.value)


def test_unreadable_photos_are_named_and_left_out(fit: Fit, photos: Photos, listener: Any) -> None:
    folder = photos(red=12, blue=12)
    torn, garbage = folder / "blue" / "3.jpg", folder / "red" / "7.jpg"
    cut_off(torn)
    garbage.write_bytes(b"garbage")
    result = fit(folder, listener)
    assert listener.said[0] == (
        "2 of 24 images cannot be read and are left out:\n"
        f"  {torn}: the file is cut off (truncated)\n"
        f"  {garbage}: not an image, or damaged at its start"
    )
    assert listener.said[-1] == "fitting the last layer"
    assert result.record.unreadable == (str(torn), str(garbage))
    assert result.report.confusion == [[11, 0], [0, 11]]
    assert len(result.classifier.seen["training"]) == 22


# --- sanity ---


def test_labels_that_mean_nothing_are_refused_unless_forced(fit: Fit, photos: Photos) -> None:
    splits = {"train": one_colour(photos(red=40))}
    with pytest.raises(SanityError, match="not clearly better than always saying the largest class"):
        fit(splits)
    result = fit(splits, force=True)
    assert result.report.n == 40
    assert abs(result.report.accuracy - 0.5) < 4 * np.sqrt(0.25 / 40)  # four standard deviations of a coin


def test_wrong_validation_labels_are_refused(fit: Fit, photos: Photos) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=4, blue=4)
    (folder / "validation" / "red").rename(folder / "validation" / "x")
    (folder / "validation" / "blue").rename(folder / "validation" / "red")
    (folder / "validation" / "x").rename(folder / "validation" / "blue")
    with pytest.raises(SanityError, match=r"accuracy 0\.0% where the largest class has 50\.0% of the photos"):
        fit(folder)


# --- the record ---


def test_the_record_says_how_figures_came_about(fit: Fit, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=8, blue=8)
    first, second = fit(folder, seed=7), fit(folder, seed=7)
    numbers = first.record.to_json()
    assert (numbers["seed"], numbers["model"], numbers["strategy"]) == (7, tiny_network, "frozen")
    assert (numbers["estimate"], numbers["n"], numbers["unreadable"]) == ("out-of-fold", 16, [])
    assert numbers["temperature"] == first.classifier.temperature
    assert 0 < numbers["extraction_seconds"] <= numbers["seconds"]
    assert numbers["images_per_second"] > 0
    assert (numbers["images_computed"], second.record.to_json()["images_computed"]) == (16, 0)
    assert second.record.to_json()["images_per_second"] is None
    assert first.classifier.record is first.record
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_the_record_counts_both_splits(fit: Fit, photos: Photos) -> None:
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=10, blue=10)
    torn = cut_off(folder / "validation" / "red" / "0.jpg")
    numbers = fit(folder).record.to_json()
    assert (numbers["images_computed"], numbers["n"], numbers["unreadable"]) == (35, 19, [str(torn)])


def test_same_seed_same_bits(fit: Fit, photos: Photos) -> None:
    folder = photos(red=8, blue=8, grey=8)
    one, two = (fit(folder, seed=3, cache=False) for _ in range(2))
    assert np.array_equal(one.classifier.head.weight, two.classifier.head.weight)
    assert np.array_equal(one.classifier.head.bias, two.classifier.head.bias)
    assert one.classifier.temperature == two.classifier.temperature
    losses = [made.report.figures["log_loss"] for made in (one, two, fit(folder, seed=4))]
    assert losses[0] == losses[1] != losses[2]


# --- each thing once ---


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often folds were drawn, groups joined, tensors hashed, and all of them anew for the proof."""
    counts: Counter[str] = Counter()

    def count(name: str, module: Any, attribute: str) -> None:
        call = getattr(module, attribute)

        def counted(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return call(*given, **named)

        monkeypatch.setattr(module, attribute, counted)

    count("folds", datasets, "stratified_folds")
    count("groups", datasets, "joined_groups")
    count("hashed", backbones, "tensor_bytes")  # one call a tensor, for `fingerprint` and `tensor_hashes` together
    count("proven", Backbone, "hash_tensors")  # one more for each
    return counts


@pytest.mark.parametrize("cache", [True, False])
def test_the_last_layer_takes_folds_groups_and_hashes_once(
    fit: Fit, photos: Photos, calls: Counter[str], *, cache: bool
) -> None:
    """The network is hashed once for cache and proof, and its frozen tensors once more when all is trained."""
    network = fit(photos(red=8, blue=8), cache=cache).classifier.backbone
    tensors = len(network.tensor_hashes())
    assert calls == {"folds": 1, "groups": 1, "hashed": 2 * tensors, "proven": 1}


def test_a_validation_split_needs_no_second_look_at_the_training_photos(
    fit: Fit, photos: Photos, calls: Counter[str]
) -> None:
    """Groups are those of training, of validation, and of both together: before and after all were decoded.

    Folds are those of the choice on the training photos, and those that thresholds on the validation photos are nested
    by.
    """
    folder = photos("data/train", red=8, blue=8).parent
    photos("data/validation", first_seed=100, red=4, blue=4)
    network = fit(folder).classifier.backbone
    tensors = len(network.tensor_hashes())
    assert calls == {"folds": 2, "groups": 4, "hashed": 2 * tensors, "proven": 1}


# --- what new photos are compared with ---


def test_the_reference_is_of_the_training_photos(fit: Fit, photos: Photos) -> None:
    folder = photos("pets/train", red=8, blue=10).parent
    photos("pets/validation", first_seed=50, red=3, blue=3)
    found = fit(folder, strategy="frozen")
    reference = found.classifier.reference
    assert reference is not None
    assert reference.counts.tolist() == [10, 8]  # blue, red
    assert reference.width == found.classifier.head.features
    assert reference.measures["megapixels"].values == pytest.approx([48 * 40 / 1e6] * 5)
    assert reference.measures["blue"].count == 18
    seen = found.experiment.features.values[:, found.classifier.columns]
    assert (reference.distances_of(seen) <= reference.limit(0.99)).mean() > 0.9


def test_a_network_that_was_trained_further_has_no_reference(fit: Fit, photos: Photos) -> None:
    found = fit(photos("pets/train", red=8, blue=10), strategy="top", schedule=Schedule(epochs=1, views=1))
    assert found.classifier.strategy == "top"
    assert found.classifier.reference is None
