"""Which features a last layer sees: what each choice gives, what a classifier keeps of it, and how it is said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import sem
from scipy.stats import t as student

from regraft.classifier.bundle import load_bundle, read_description, save_bundle
from regraft.classifier.predict import Predictor
from regraft.classifier.record import FeatureTrial, FitRecord
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import BundleError
from regraft.features.depths import find_depths
from regraft.heads import probe
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer import preparation
from regraft.transfer.feature_choice import features_in_words, try_features
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
EXACT = Compute(engine="torch-float32", device="cpu")
Photos = Callable[..., Path]


def told(features: str, stages: tuple[str, ...], trials: tuple[FeatureTrial, ...]) -> str:
    record = SimpleNamespace(features=features, stages=stages, features_tried=trials)
    return features_in_words(cast(FitRecord, record))


@pytest.fixture
def fitted(photos: Photos, tiny_network: str) -> Callable[..., FitResult]:
    """Return a function that fits on 20 photos of two colours."""

    def make(**settings: Any) -> FitResult:
        return fit(
            find_samples(photos("learned", red=10, blue=10)),
            lambda: load_backbone(tiny_network),
            model=tiny_network,
            settings=FitSettings(force=True, **settings),
            compute=EXACT,
        )

    return make


@pytest.mark.parametrize("features", ["last", "late", "all"])
def test_a_classifier_sees_the_features_that_were_asked_for_and_comes_back_from_its_file(
    features: str, fitted: Callable[..., FitResult], photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    result = fitted(features=features)
    record = result.record
    assert (record.features, record.features_tried) == (features, ())
    backbone = load_backbone(tiny_network)
    depths = find_depths(backbone)
    used = {"last": (), "late": depths[-2:], "all": depths}[features]  # of four a third, rounded up
    assert record.stages == tuple(depth.stage for depth in used)
    assert result.classifier.head.features == sum(depth.units for depth in used) + backbone.features
    save_bundle(result.classifier, tmp_path / "c.safetensors")
    assert read_description(tmp_path / "c.safetensors")["format"] == (1 if features == "last" else 2)
    back = load_bundle(tmp_path / "c.safetensors")
    new = sorted(photos("new", red=2, blue=2).rglob("*.jpg"))
    answers = Predictor(back, EXACT).predict(new)
    assert np.array_equal(answers.probabilities, Predictor(result.classifier, EXACT).predict(new).probabilities)
    # by hand: the network's features of these depths, the head, the temperature
    loader = Predictor(back, EXACT)
    samples = find_samples(tmp_path / "new")["train"]
    _, whole = loader.features(loader.open(samples.aligned(back.classes)))
    own = whole.values[:, whole.values.shape[1] - back.head.features :]
    head = back.head
    assert isinstance(head, LinearHead)
    by_hand = softmax((own @ head.weight.T + head.bias) / back.temperature, axis=1)
    assert np.allclose(np.sort(by_hand, axis=0), np.sort(answers.probabilities, axis=0), atol=1e-6)
    module = back.as_module()
    assert not any(part.training for part in module.modules())
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(back.backbone.preprocess.mean)[:, None, None]) / (
            torch.tensor(back.backbone.preprocess.std)[:, None, None]
        )
        seen = back.backbone.feature_module(images)[:, back.columns].numpy()
        expected = softmax((seen @ head.weight.T + head.bias) / back.temperature, axis=1)
        assert np.allclose(module(pixels).numpy(), expected, atol=1e-5)


def test_what_each_choice_gives_is_out_of_fold(photos: Photos, tiny_network: str) -> None:
    """By hand, fold by fold, with the heads of each choice."""
    samples = find_samples(photos("learned", red=10, blue=10))
    experiment = prepare_experiment(samples, lambda: load_backbone(tiny_network), FitSettings(), EXACT, Observer())
    trials = {trial.features: trial for trial in try_features(experiment)}
    folds, labels, values = experiment.folds(), experiment.dataset.labels, experiment.features.values
    assert list(trials) == ["last", "late", "all"]
    chosen = np.empty(20)
    for name, trial in trials.items():
        losses, right = np.empty(20), np.empty(20)
        for fold in range(5):
            learn, away = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            found = experiment.heads.of_each_choice(learn)[name].probabilities(values[away])
            losses[away] = -np.log(found[np.arange(len(away)), labels[away]])
            right[away] = found.argmax(axis=1) == labels[away]
            best = experiment.heads.of(learn).probabilities(values[away])
            chosen[away] = -np.log(best[np.arange(len(away)), labels[away]])
        assert trial.log_loss == pytest.approx(losses.mean())
        assert trial.accuracy == right.mean()
        assert trial.log_loss_difference == pytest.approx((losses - chosen).mean())
        differences = losses - chosen  # of five heads: errors 1.5 times as large (Nadeau and Bengio 2003)
        half = 1.5 * student.ppf(0.975, 19) * sem(differences)
        assert trial.log_loss_interval == pytest.approx((differences.mean() - half, differences.mean() + half))
        assert trial.accuracy_interval is not None
        low, high = trial.accuracy_interval
        assert low <= trial.accuracy_difference <= high


def test_of_many_photos_all_choices_are_compared_on_one_sample(
    photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice differs from itself by nothing, though the head that is used learned from more photos."""
    monkeypatch.setattr(probe, "_PLENTY", 10)
    monkeypatch.setattr(probe, "_OF_EACH_CLASS", 6)
    monkeypatch.setattr(probe, "_COMPARED", 1)
    samples = find_samples(photos("learned", red=10, blue=10))
    experiment = prepare_experiment(samples, lambda: load_backbone(tiny_network), FitSettings(), EXACT, Observer())
    folds, trials = experiment.folds(), try_features(experiment)
    chosen = {experiment.heads.of(np.flatnonzero(folds != fold)).choice for fold in range(5)}
    assert {trial.learned_from for trial in trials} == {12}
    differences = {trial.features: (trial.accuracy_difference, trial.log_loss_difference) for trial in trials}
    assert len(chosen) == 1
    assert differences[chosen.pop()] == (0.0, 0.0)
    everything = np.arange(20)
    used, compared = experiment.heads.of(everything), experiment.heads.of_each_choice(everything)
    assert not np.allclose(
        used.logits(experiment.features.values), compared[used.choice].logits(experiment.features.values)
    )
    beaten = any(trial.log_loss_difference < 0 for trial in trials)
    more = "; the choice is made anew for each fold, which costs it a little" if beaten else ""
    assert told(used.choice, (), trials).endswith(f" (compared on a sample of 12 photos){more}")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["top", "whole"])
def test_training_more_starts_from_the_features_that_were_chosen(
    strategy: str, fitted: Callable[..., FitResult], photos: Photos, tmp_path: Path
) -> None:
    schedule = Schedule(epochs=1, views=1, lr=1e-12, augment=(), weight_decay=0.0)
    result = fitted(features="all", strategy=strategy, schedule=schedule)
    frozen = fitted(features="all", strategy="frozen")
    new = sorted(photos("new", red=3, blue=3).rglob("*.jpg"))
    logits = []
    for classifier in (result.classifier, frozen.classifier):
        probabilities = Predictor(replace(classifier, temperature=1.0), EXACT).predict(new).probabilities
        logits.append(np.log(probabilities))
    assert result.classifier.first_depths == (0,)
    # a training that hardly moves ends where it began; activations are kept in half precision
    assert np.allclose(logits[0], logits[1], atol=0.05 * np.ptp(logits[1]) + 1e-3)


@pytest.mark.parametrize("features", ["late", "all"])
def test_a_network_without_depths_gives_its_last_features(
    features: str, fitted: Callable[..., FitResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "find_depths", lambda _: ())
    result = fitted(features=features)
    assert (result.record.features, result.record.stages) == ("last", ())
    assert result.classifier.head.features == result.classifier.backbone.features


def test_photos_are_cut_and_mixed_where_the_last_layer_sees_several_depths(fitted: Callable[..., FitResult]) -> None:
    result = fitted(features="all", strategy="top", schedule=Schedule(epochs=1, views=1, cutmix=1.0))
    assert result.record.features == "all"
    assert result.record.stages


def test_random_weights_have_no_depths_to_choose_from(fitted: Callable[..., FitResult]) -> None:
    result = fitted(strategy="scratch", schedule=Schedule(epochs=1))
    assert (result.record.features, result.record.stages, result.record.features_tried) == ("last", (), ())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda about: about["depths"][0].update(module="nowhere"), "stage must name a module of the network"),
        (lambda about: about["depths"][0].update(units=3), "its head is for "),
        (lambda about: about.update(first_depth=9), "first_depth must be at most 4, the number of depths"),
        (lambda about: about["depths"][0].update(layout="w"), "layout"),
    ],
)
def test_files_whose_depths_do_not_fit(
    change: Callable[[dict[str, Any]], Any], expected: str, fitted: Callable[..., FitResult], tmp_path: Path
) -> None:
    from tests.classifier.test_bundle import describe

    path = tmp_path / "c.safetensors"
    save_bundle(fitted(features="all").classifier, path)
    describe(path, change)
    with pytest.raises(BundleError, match=expected):
        load_bundle(path)


def test_the_sentence_on_features() -> None:
    trials = (
        FeatureTrial("last", 0.9, 0.30, -0.021, (-0.04, -0.002), 0.05, (0.01, 0.09)),
        FeatureTrial("late", 0.92, 0.25, 0.0, (0.0, 0.0), 0.0, (0.0, 0.0)),
        FeatureTrial("all", 0.93, 0.26, 0.005, None, 0.01, None),
    )
    assert told("late", ("layer3", "layer4"), trials) == (
        "features: late depths too (from layer3 on); the last layer's alone: -2.1 points [-4.0, -0.2], log loss +0.050 "
        "[+0.010, +0.090]; all depths: +0.5 points, log loss +0.010"
    )
    assert told("last", (), ()) == ""  # nothing was chosen
