"""Answers that are means over views: what is averaged, which views are taken, and what the figures are of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from tests.conftest import write_network
from tests.fixtures.networks import edit_config

from regraft.api.estimator import load
from regraft.classifier.bundle import load_bundle, read_description, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import evaluation_of
from regraft.classifier.predict import Predictor
from regraft.classifier.record import FitRecord
from regraft.data.audit import inspect
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.features import extraction
from regraft.features.extraction import FeatureExtractor
from regraft.heads.linear import LinearHead
from regraft.images.resizing import TORCHVISION
from regraft.images.tta import MIRRORED, OF_CORNERS, PLAIN, TTA
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.training.finetuner import Finetuner
from regraft.training.schedule import Schedule
from regraft.transfer import experiment, view_choice
from regraft.transfer.cross_validation import CrossValidation
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.network_choice import choose_network
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.view_choice import choose_views, fewest_views, record_of_views, views_in_words

Photos = Callable[..., Path]
Fit = Callable[..., FitResult]
COMPUTE = Compute(device="cpu", engine="torch-float32")
N = 200
LABELS = np.arange(N) % 2
FOLDS = np.arange(N) // 2 % 5
NOISE = np.random.default_rng(0).normal(size=(3, N))
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


@pytest.fixture
def fitted(tiny_network: str, photos: Photos) -> Fit:
    """Return fitted(observer, data=None, **settings), which fits on twenty photos of two colours."""

    def run(observer: Any = None, data: Path | None = None, **settings: Any) -> FitResult:
        folder = data or photos("learned", red=10, blue=10)
        given = FitSettings(**{"features": "last", **settings})
        return fit(
            find_samples(folder),
            lambda: load_backbone(tiny_network),
            model=tiny_network,
            settings=given,
            compute=COMPUTE,
            observer=observer,
        )

    return run


def parts_by_hand(classifier: Classifier, sources: list[Path]) -> dict[str, np.ndarray]:
    """Return the features of each part that the head sees, without the code that takes means."""
    extractor = FeatureExtractor(classifier.backbone, replace(COMPUTE, cache=False))
    keys = inspect(tuple(sources)).keys
    found = extractor.extract_parts(sources, keys, parts=(PLAIN, MIRRORED, OF_CORNERS))
    return {part: one.values[:, classifier.columns] for part, one in found.items()}


# --- the answers ---


@pytest.mark.parametrize(("tta", "weights"), [("flip", (1, 1, 0)), ("crops", (1, 0, 4))])
def test_answers_are_the_means_of_the_logits_of_all_views(
    tta: str, weights: tuple[int, ...], *, fitted: Fit, photos: Photos, tmp_path: Path
) -> None:
    """The same from the classifier, its file, `evaluate` and the estimator."""
    result = fitted(tta=tta)
    classifier, folder = result.classifier, photos("new", first_seed=500, red=3, blue=3)
    samples = find_samples(folder)["train"]
    sources = list(samples.sources)
    parts = parts_by_hand(classifier, sources)
    state = classifier.head.state()
    logits = [
        weight * (parts[part] @ state["weight"].T + state["bias"]) for weight, part in zip(weights, parts, strict=True)
    ]
    expected = softmax(sum(logits).astype(float) / sum(weights) / classifier.temperature, axis=1)
    found = Predictor(classifier, COMPUTE).predict(sources).probabilities
    assert found == pytest.approx(expected, abs=1e-6)
    plain = Predictor(replace(classifier, tta="none"), COMPUTE).predict(sources).probabilities
    assert np.abs(found - plain).max() > 1e-5

    file = tmp_path / "c.safetensors"
    save_bundle(classifier, file)
    loaded = load_bundle(file)
    assert loaded.tta == tta
    assert read_description(file)["format"] == 4  # a program that knows 1 to 3 would answer by the photo alone
    assert loaded.record is not None
    assert loaded.record.tta == tta
    assert np.array_equal(Predictor(loaded, COMPUTE).predict(sources).probabilities, found)
    assert evaluation_of(loaded, samples, compute=COMPUTE).probabilities == pytest.approx(found, abs=1e-6)
    estimator = load(file).set_params(engine="torch-float32", device="cpu")
    assert estimator.tta == tta
    assert estimator.predict_proba(sources) == pytest.approx(found, abs=1e-6)


def test_files_of_the_photo_alone_are_as_before(fitted: Fit, tmp_path: Path) -> None:
    result = fitted()
    save_bundle(result.classifier, tmp_path / "c.safetensors")
    about = read_description(tmp_path / "c.safetensors")
    assert about["format"] == 1
    assert "tta" not in about
    assert "tta" not in about["numbers"]
    assert record_of_views(result.record) == ""


def test_the_head_learns_from_means_and_figures_are_of_means(fitted: Fit) -> None:
    """By hand: the last layer on the mean features, fold by fold."""
    from regraft.heads.probe import CalibratedHeads

    result = fitted(tta="flip")
    dataset, folds = result.experiment.dataset, result.experiment.folds()
    parts = parts_by_hand(result.classifier, list(dataset.samples.sources))
    means = ((parts[PLAIN] + parts[MIRRORED]) / 2).astype(np.float32)
    heads = CalibratedHeads(means, dataset, seed=0, all_too=True)
    expected = np.empty((20, 2))
    for fold in range(5):
        expected[folds == fold] = heads.of(np.flatnonzero(folds != fold)).probabilities(means[folds == fold])
    assert result.probabilities == pytest.approx(expected, abs=1e-4)
    assert result.classifier.temperature == pytest.approx(heads.of(np.arange(20)).temperature, rel=1e-3)


def test_new_photos_are_compared_with_means(fitted: Fit) -> None:
    """Photos that were learned from lie at no distance from themselves: both are the means over views."""
    result = fitted(tta="crops")
    classifier = result.classifier
    sources = list(result.experiment.dataset.samples.sources)
    found = Predictor(classifier, COMPUTE).predict_with_features(sources)
    assert found.features == pytest.approx(result.experiment.features.values, abs=1e-5)
    assert classifier.reference is not None


@pytest.mark.slow
def test_networks_that_are_trained_further_answer_by_means_too(
    fitted: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that hardly moves ends at the last layer's answers; activations are kept in half precision."""
    asked: list[tuple[int, ...]] = []
    genuine = Finetuner.logits

    def logits_of(self: Finetuner, photos: np.ndarray, views: tuple[int, ...] = (0,)) -> np.ndarray:
        asked.append(tuple(views))
        return genuine(self, photos, views)

    monkeypatch.setattr(Finetuner, "logits", logits_of)
    schedule = Schedule(epochs=1, views=2, lr=1e-12, weight_decay=0.0)
    frozen, top = fitted(tta="crops"), fitted(tta="crops", strategy="top", schedule=schedule)
    assert (top.classifier.tta, top.record.strategy) == ("crops", "top")
    assert asked.count((0, -2, -3, -4, -5)) == 5  # the answers of each fold, which set the temperature, too
    new = sorted(photos("new", first_seed=500, red=3, blue=3).rglob("*.jpg"))
    logits = []
    for classifier in (frozen.classifier, top.classifier):
        probabilities = Predictor(replace(classifier, temperature=1.0), COMPUTE).predict(new).probabilities
        logits.append(np.log(probabilities))
    assert np.allclose(logits[0], logits[1], atol=0.05 * np.ptp(logits[1]) + 1e-3)


def test_held_out_logits_of_a_trained_network_are_means(
    tiny_network: str, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: the network as it was trained, on the pixels of each view."""
    from regraft.transfer.strategies import Candidate
    from regraft.transfer.trainers import FineTuningTrainer, trainer_of

    samples = find_samples(photos("learned", red=8, blue=8))
    settings = FitSettings(strategy="whole", tta="crops", features="last", schedule=Schedule(epochs=1))
    prepared = prepare_experiment(samples, lambda: load_backbone(tiny_network), settings, COMPUTE, Observer())
    trainer = trainer_of(Candidate("whole"), prepared)
    assert isinstance(trainer, FineTuningTrainer)
    finetuner, _, _ = trainer._train(np.arange(16), "x", None, hold=False)
    held_out = np.array([3, 9])
    found = finetuner.logits(held_out, TTA["crops"].numbers)
    state, head = finetuner.finish()
    backbone, _ = trainer._prove(state)
    sources = [prepared.dataset.samples.sources[place] for place in held_out]
    extractor = FeatureExtractor(backbone, replace(COMPUTE, cache=False))
    monkeypatch.setattr(extraction, "resizer_for", lambda _: TORCHVISION)  # which resizes what networks are trained on
    parts = extractor.extract_parts(sources, inspect(tuple(sources)).keys, parts=(PLAIN, OF_CORNERS))
    own = prepared.heads.of(np.arange(16)).columns
    means = (parts[PLAIN].values + 4 * parts[OF_CORNERS].values) / 5
    assert found == pytest.approx(head.logits(means[:, own]), abs=1e-4)
    assert np.abs(found - head.logits(parts[PLAIN].values[:, own])).max() > 1e-4


def test_validation_photos_are_answered_by_means(fitted: Fit, photos: Photos) -> None:
    folder = photos("known/train", red=8, blue=8).parent
    photos("known/validation", first_seed=300, red=4, blue=4)
    for tta in ("flip", "auto"):
        result = fitted(data=folder, tta=tta)
        sources = result.evaluated.samples.sources
        assert result.evaluated.samples.where.endswith("validation")
        expected = Predictor(result.classifier, COMPUTE).predict(sources).probabilities
        assert result.probabilities == pytest.approx(expected, abs=1e-6)


# --- the choice ---


def answers(level: float, spread: float = 0.3, row: int = 0) -> np.ndarray:
    """Return (N, 2) probabilities, the true class's at about the logistic of `level`."""
    right = 1 / (1 + np.exp(-(level + spread * NOISE[row])))
    return np.where(LABELS[:, None] == np.arange(2), right[:, None], 1 - right[:, None])


def test_more_views_are_taken_only_where_they_are_proven_better() -> None:
    plain, better, alike = answers(1.0), answers(1.5, row=1), answers(1.0, row=2)
    assert fewest_views({"none": plain, "flip": better, "crops": alike}, LABELS, None, FOLDS) == "flip"
    assert fewest_views({"none": plain, "flip": alike, "crops": better}, LABELS, None, FOLDS) == "crops"
    assert fewest_views({"none": plain, "flip": better, "crops": answers(1.5, row=2)}, LABELS, None, FOLDS) == "flip"
    assert fewest_views({"none": plain, "flip": alike, "crops": alike}, LABELS, None, FOLDS) == "none"


def test_gains_of_log_loss_do_not_pay_for_mistakes() -> None:
    """Surer of 199 photos and wrong on one: proven better in log loss, and less accurate."""
    better = answers(1.5)
    better[0] = better[0, ::-1].clip(0.45, 0.55)
    assert (answers(1.0).argmax(axis=1) == LABELS).all()
    assert fewest_views({"none": answers(1.0), "flip": answers(1.5)}, LABELS, None, FOLDS) == "flip"
    assert fewest_views({"none": answers(1.0), "flip": better}, LABELS, None, FOLDS) == "none"


def test_photos_of_one_group_are_one_piece_of_evidence() -> None:
    """Each of four groups of 50: two gain, two lose less."""
    groups = np.arange(N) // 50
    gain = np.where(groups < 2, 0.6, -0.2)
    better = softmax(np.log(answers(1.0)) + gain[:, None] * (LABELS[:, None] == np.arange(2)), axis=1)
    pair = {"none": answers(1.0), "flip": better}
    assert fewest_views(pair, LABELS, None, FOLDS) == "flip"
    assert fewest_views(pair, LABELS, groups, None) == "none"


def scripted(monkeypatch: pytest.MonkeyPatch, shifts: list[Callable[[np.ndarray], np.ndarray]]) -> list[np.ndarray]:
    """Have cross-validation find the true class at log-odds of 1, plus a shift (n,) by fold for each row of views."""
    found: list[np.ndarray] = []
    script = iter(shifts)

    def cross_validate(_: object, dataset: Any, folds: np.ndarray, **__: object) -> CrossValidation:
        level = 1 + next(script)(folds) + np.linspace(-0.01, 0.01, len(folds))
        right = 1 / (1 + np.exp(-level))
        found.append(np.where(dataset.labels[:, None] == np.arange(2), right[:, None], 1 - right[:, None]))
        return CrossValidation(found[-1], None, np.ones(len(folds), dtype=bool), 5, 1.0, 1)

    monkeypatch.setattr(view_choice, "cross_validate", cross_validate)
    return found


def none(folds: np.ndarray) -> np.ndarray:
    return np.zeros(len(folds))


def test_each_fold_is_answered_by_the_views_that_are_chosen_without_it(
    tiny_network: str, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mirror images help in the first fold only: without it, the photo alone is taken."""
    found = scripted(monkeypatch, [none, lambda folds: 4.0 * (folds == 0), none])
    samples = find_samples(photos(red=35, blue=35))
    settings = FitSettings(features="last", tta="auto")
    prepared = prepare_experiment(samples, lambda: load_backbone(tiny_network), settings, COMPUTE, Observer())
    choice, folds = choose_views(prepared), prepared.folds()
    assert choice.experiment.tta == "flip"
    assert np.array_equal(choice.experiment.features.values, prepared.other_views["flip"][0].values)
    mixed = choice.answer_folds(found[1])
    assert np.array_equal(mixed[folds == 0], found[0][folds == 0])
    assert np.array_equal(mixed[folds != 0], found[1][folds != 0])
    assert [trial.tta for trial in choice.tried] == ["none", "flip", "crops"]
    losses = [-np.log(one[np.arange(70), prepared.dataset.labels]) for one in found]
    trial = choice.tried[1]
    assert trial.log_loss == pytest.approx(losses[1].mean())
    assert trial.gain == pytest.approx((losses[0] - losses[1]).mean())
    assert trial.gain_interval is not None
    assert trial.gain_interval[0] < trial.gain < trial.gain_interval[1]
    assert (trial.accuracy_gain, choice.tried[0].gain, choice.tried[0].gain_interval) == (0.0, 0.0, None)


@pytest.mark.parametrize(("shift", "taken"), [(2.0, "flip"), (0.0, "none")])
def test_auto_takes_what_is_proven_and_says_it_once(
    shift: float, taken: str, *, fitted: Fit, listener: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripted(monkeypatch, [none, lambda folds: np.full(len(folds), shift), none])
    result = fitted(listener, tta="auto")
    classifier = result.classifier
    save_bundle(classifier, tmp_path / "c.safetensors")
    loaded = load_bundle(tmp_path / "c.safetensors")
    assert (classifier.tta, result.record.tta, loaded.tta) == (taken, taken, taken)
    (said,) = [line for line in listener.said if line.startswith("tta")]
    assert (
        said
        == record_of_views(result.record)
        == record_of_views(loaded.record or FitRecord(report=None, model="", strategy="", temperature=1.0))
    )
    begin = {
        "flip": "tta auto took flip, the mean of 2 views: the photo and its mirror image; 2 passes through the "
        "network (proven better); against the photo alone flip (2 passes): log loss -0.2",
        "none": "tta auto took none, the photo alone (no gain of more views is proven); against the photo alone flip "
        "(2 passes): log loss +0.000",
    }[taken]
    assert said.startswith(begin)
    # ln(1 + e^-1) - ln(1 + e^-3) = 0.313 - 0.049
    assert "-0.265 [-0.26" in said or taken == "none"
    assert result.experiment.tta == taken


@pytest.mark.slow
def test_means_of_mirror_images_cannot_tell_left_from_right(tmp_path: Path) -> None:
    """Bright on the left or on the right: a photo and its mirror image have the same mean. Auto leaves them alone.

    Photos are of the network's size: nothing is cut off, of which an odd pixel would tell the sides apart.
    """
    network = f"local-dir:{write_network(tmp_path)}"
    edit_config(network, pretrained_cfg={"crop_pct": 1.0})
    generator = np.random.default_rng(0)
    for side in ("left", "right"):
        (tmp_path / "sides" / side).mkdir(parents=True)
        for number in range(15):
            pixels = generator.normal(90, 25, (32, 32, 3))
            pixels[:, :16] += 90 if side == "left" else 0
            pixels[:, 16:] += 90 if side == "right" else 0
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(tmp_path / "sides" / side / f"{number}.png")
    right = {}
    for tta in ("none", "flip", "auto"):
        result = fit(
            find_samples(tmp_path / "sides"),
            lambda: load_backbone(network),
            model=network,
            settings=FitSettings(tta=tta, force=True, near_duplicates="ignore"),
            compute=COMPUTE,
        )
        right[tta] = result.report.accuracy
        assert tta != "auto" or result.classifier.tta != "flip"
    assert right["none"] > 0.9
    assert right["flip"] < 0.8
    assert right["auto"] >= right["none"]


# --- what is said and refused ---


def test_views_that_were_named_are_said() -> None:
    assert views_in_words("flip") == (
        "tta flip: answers are the mean of 2 views: the photo and its mirror image; 2 passes through the network"
    )


def test_a_predictor_says_what_its_answers_are_the_mean_of(fitted: Fit, listener: Any) -> None:
    classifier = fitted(tta="crops").classifier
    Predictor(classifier, COMPUTE, listener)
    assert listener.said == ["answers are the mean of 5 views: the photo and its four corners"]
    Predictor(replace(classifier, tta="none"), COMPUTE, listener)
    assert len(listener.said) == 1


def test_one_module_makes_mirror_images_and_refuses_crops(backbone: Any) -> None:
    import torch

    generator = np.random.default_rng(0)
    weight = generator.normal(size=(2, backbone.features)).astype(np.float32)
    head = LinearHead(weight, np.array([0.1, -0.2], np.float32), 1.0)
    classifier = Classifier(backbone, head, ("a", "b"), 1.5, "tiny", "frozen", tta="flip")
    pixels = generator.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    engine = FeatureExtractor(backbone, replace(COMPUTE, cache=False)).choose([], [])
    both = (head.logits(engine.features(pixels)) + head.logits(engine.features(pixels[:, :, ::-1].copy()))) / 2
    with torch.no_grad():
        found = classifier.as_module()(torch.from_numpy(pixels)).numpy()
    assert found == pytest.approx(softmax(both / 1.5, axis=1), abs=1e-5)
    assert np.abs(found - softmax(head.logits(engine.features(pixels)) / 1.5, axis=1)).max() > 1e-4
    classifier.tta = "crops"
    with pytest.raises(OptionError) as caught:
        classifier.as_module()
    assert str(caught.value) == (
        "One module sees a photo as the network does. Got a classifier whose answers are the mean of 5 views: the "
        "photo and its four corners (tta='crops'). Take one that was fitted with tta='none' or flip."
    )


def test_views_are_chosen_for_one_network(tiny_network: str, other_network: str, photos: Photos) -> None:
    samples = find_samples(photos(red=5, blue=5))
    loaders = {name: (lambda: load_backbone(tiny_network)) for name in (tiny_network, other_network)}
    with pytest.raises(OptionError) as caught:
        choose_network(samples, loaders, settings=FitSettings(tta="auto"), compute=COMPUTE, observer=Observer())
    assert str(caught.value) == (
        "tta='auto' chooses views for one network, and here several are compared. Name the views: tta none, flip, "
        "crops."
    )


def test_too_few_photos_to_compare_views(
    fitted: Fit, photos: Photos, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("known/train", red=5, blue=5).parent
    photos("known/validation", first_seed=300, red=3, blue=3)

    def no_folds(*_: object) -> None:
        raise DataError("too few")

    monkeypatch.setattr(experiment, "outer_folds", no_folds)
    result = fitted(listener, data=folder, tta="auto", force=True)
    assert (result.classifier.tta, result.record.views_tried) == ("none", ())
    assert "tta: none; photos are too few for folds, on which views are compared" in listener.said
