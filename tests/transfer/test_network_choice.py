"""Choosing one of several networks: what they cost, which is taken, what the figures are of, and the time."""

import functools
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fixtures.learning import dataset_of
from torch import nn

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.record import NetworkTrial
from regraft.data.columns import Columns
from regraft.data.dataset import Dataset
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, ResumeError
from regraft.features.extraction import FeatureExtractor, Features
from regraft.features.joint import JointExtractor
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone
from regraft.progress import Observer
from regraft.transfer import fit as fitting
from regraft.transfer import network_choice
from regraft.transfer.cross_validation import CrossValidation
from regraft.transfer.fit import FitResult, fit_best
from regraft.transfer.network_choice import (
    NetworkChoice,
    cheapest_network,
    choose_network,
    multiply_adds,
    sample_of,
)
from regraft.transfer.preparation import ExtractedSplits
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Best = Callable[..., FitResult]
COMPUTE = Compute(device="cpu", engine="torch-float32")
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


@pytest.fixture
def loaders(tiny_network: str, other_network: str) -> dict[str, Callable[[], Backbone]]:
    return {name: functools.partial(load_backbone, name) for name in (tiny_network, other_network)}


@pytest.fixture
def best(loaders: Mapping[str, Callable[[], Backbone]]) -> Best:
    """Return best(folder, observer, budget=...), which chooses between two networks and fits."""

    def run(data: Path, observer: Any = None, folder: Path | None = None, **settings: Any) -> FitResult:
        options = FitSettings(**{"features": "last", **settings})
        samples = find_samples(data)
        return fit_best(samples, loaders, settings=options, compute=COMPUTE, observer=observer, folder=folder)

    return run


def test_the_cost_is_the_multiply_adds_of_one_image(backbone: Backbone) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    network = replace(backbone, module=layers, preprocess=replace(backbone.preprocess, height=16, width=20))
    assert multiply_adds(network) == 16 * 20 * 8 * (3 * 3 * 3) + 8 * 4
    known = multiply_adds(build_untrained("mobilenetv2_100"))
    assert known == pytest.approx(300e6, rel=0.01)  # Sandler et al. 2018, table 4


def test_a_sample_has_of_each_class_its_share_and_a_few_at_least() -> None:
    labels = np.array([0] * 1500 + [1] * 495 + [2] * 5)
    dataset = dataset_of(labels)
    chosen = sample_of(dataset)
    assert np.bincount(labels[chosen]).tolist() == [375, 124, 3]  # of 500 in 2,000: 375, 123.75, 1.25
    assert np.array_equal(chosen, np.unique(chosen))
    turned = dataset.select(np.arange(2000)[::-1])
    assert {turned.keys[place] for place in sample_of(turned)} == {dataset.keys[place] for place in chosen}


def test_the_cheapest_that_no_other_is_proven_better_than() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 100)
    losses = {"large": 1.0 + noise, "small": 1.01 + noise[::-1], "bad": 3.0 + noise}
    costs = {"large": 9, "small": 5, "bad": 1}
    assert cheapest_network(losses, costs, None) == "small"  # "bad" is proven worse, "small" is not
    assert cheapest_network(losses, {**costs, "small": 9}, None) == "large"  # of equal costs the lower loss


def test_each_fold_is_answered_by_what_is_chosen_without_it(
    photos: Photos, loaders: Mapping[str, Callable[[], Backbone]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dear network is better on one fold only: without that fold, the cheap one is taken."""
    cheap, dear = loaders
    costs = iter([1, 2])
    monkeypatch.setattr(network_choice, "multiply_adds", lambda _: next(costs))
    found: list[np.ndarray] = []

    def answers(_: object, dataset: Any, folds: np.ndarray, **__: object) -> CrossValidation:
        sure = 0.6 + np.linspace(-0.001, 0.001, len(folds))
        sure[folds == 0] += 0.39 if found else 0.0  # the dear one comes second
        probabilities = np.where(dataset.labels[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
        found.append(probabilities)
        return CrossValidation(probabilities, None, np.ones(len(folds), dtype=bool), 5, 1.0, 1)

    monkeypatch.setattr(network_choice, "cross_validate", answers)
    data = photos(red=35, blue=35)
    settings = FitSettings(features="last")
    choice = choose_network(find_samples(data), loaders, settings=settings, compute=COMPUTE, observer=Observer())
    folds = choice.experiment.folds()
    # about a fifth of all photos gain ln(.99 / .6) = .5, the others nothing: mean .1, its interval .1 +- 2 * 1.5 * .024
    assert choice.model == dear
    others = ~np.isnan(choice.others).any(axis=1)
    assert np.array_equal(others, folds == 0)
    assert np.array_equal(choice.others[others], found[0][others])
    mixed = choice.answer_folds(found[1])
    assert np.array_equal(mixed[folds == 0], found[0][folds == 0])
    assert np.array_equal(mixed[folds != 0], found[1][folds != 0])
    assert [trial.model for trial in choice.tried] == [cheap, dear]
    gain = choice.tried[0].log_loss_difference
    assert gain == pytest.approx(np.mean(folds == 0) * np.log(0.99 / 0.6), abs=0.005)


def test_it_goes_on_with_the_network_and_keeps_what_was_tried(
    best: Best, photos: Photos, *, tiny_network: str, other_network: str, listener: Any, tmp_path: Path
) -> None:
    result = best(photos(red=12, blue=12), listener, strategy="auto", budget=60.0)
    record = result.record
    assert {trial.model for trial in record.networks_tried} == {tiny_network, other_network}
    assert record.model in {tiny_network, other_network}
    assert record.model == result.classifier.model
    assert record.reason is not None  # of the strategy, which is chosen next
    assert all(trial.log_loss is not None and trial.seconds > 0 for trial in record.networks_tried)  # type: ignore[operator]
    assert sum(trial.log_loss_difference == 0.0 for trial in record.networks_tried) == 1  # to itself
    said = "\n".join(listener.said)
    assert "networks, the cheapest first (multiply-adds of an image): " in said
    assert f"network: {record.model}, the cheapest that is not proven worse than another" in said
    listed = record.to_json()["networks_tried"]
    assert set(listed[0]) >= {"model", "multiply_adds", "log_loss", "log_loss_interval", "seconds", "left_out"}

    save_bundle(result.classifier, tmp_path / "best.safetensors")
    kept = load_bundle(tmp_path / "best.safetensors").record
    assert kept is not None
    names = {f"local-dir:{Path(name).name}" for name in (tiny_network, other_network)}
    assert {trial.model for trial in kept.networks_tried} == names
    assert [replace(one, model="", seconds=None) for one in record.networks_tried] == [
        replace(one, model="") for one in kept.networks_tried
    ]


def test_the_best_ranked_is_tried_first_where_time_is_short(
    best: Best, photos: Photos, *, tiny_network: str, other_network: str, monkeypatch: pytest.MonkeyPatch, listener: Any
) -> None:
    def score(trials: Any, name: str, *_: object) -> float:
        trials._rates[name] = 100.0  # seconds of a photo: 32 take 3,200
        return {tiny_network: 0.7, other_network: 0.4}[name]

    monkeypatch.setattr(network_choice, "SAMPLE", 20)
    monkeypatch.setattr(network_choice._Trials, "_score", score)
    record = best(photos(red=16, blue=16), listener, budget=3000.0).record
    assert record.model == other_network
    assert [trial.sample_log_loss for trial in record.networks_tried] == [0.7, 0.4]  # equally dear: as named
    assert [trial.left_out for trial in record.networks_tried] == ["budget does not suffice", ""]
    assert any("ranked on 20 of 32 photos first, then tried on all, the best first" in line for line in listener.said)


@pytest.mark.slow
def test_a_score_is_the_log_loss_out_of_fold(best: Best, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are told apart by any network, and labels that mean nothing by none: ln 2 is what they cost."""
    monkeypatch.setattr(network_choice, "SAMPLE", 20)
    for trial in best(photos(red=16, blue=16)).record.networks_tried:
        assert trial.sample_log_loss is not None
        assert trial.sample_log_loss < 0.3
    mixed = photos("mixed", red=32, first_seed=50)
    (mixed / "blue").mkdir()
    for number in range(16):
        (mixed / "red" / f"{number}.jpg").rename(mixed / "blue" / f"{number}.jpg")
    for trial in best(mixed, force=True).record.networks_tried:
        assert trial.sample_log_loss is not None
        assert 0.6 < trial.sample_log_loss < 1.2


@pytest.mark.slow
def test_what_the_budget_left_out_stays_so_when_the_run_is_resumed(
    best: Best, photos: Photos, tmp_path: Path, other_network: str, listener: Any
) -> None:
    data, run = photos(red=12, blue=12), tmp_path / "run"
    first = best(data, listener, run, budget=0.0).record
    left_out = {trial.model: trial.left_out for trial in first.networks_tried if trial.left_out}
    assert left_out == {other_network: "budget does not suffice"}  # equally dear: the first that is named is tried
    assert f"  {other_network}: left out, as budget does not suffice; 0.0 s" in listener.said
    clocks: list[float] = []
    original = network_choice.PersistentClock.left
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_choice.PersistentClock, "left", lambda self: clocks.append(original(self)) or 1e9)
        again = best(data, None, run, budget=0.0).record  # a faster machine would have the time
    assert [trial.left_out for trial in again.networks_tried] == [trial.left_out for trial in first.networks_tried]
    assert not clocks
    with pytest.raises(ResumeError, match=r"budget: 0\.0 then, 60\.0 now"):
        best(data, None, run, budget=60.0)
    anew = best(data, None, run, budget=60.0, restart=True).record
    assert not any(trial.left_out for trial in anew.networks_tried)


def test_a_trial_is_what_it_was_in_json() -> None:
    trial = NetworkTrial(model="a", multiply_adds=3, log_loss=0.5, log_loss_difference=0.1, log_loss_interval=(0, 0.2))
    assert NetworkTrial.from_json(trial.to_json()) == trial
    left_out = NetworkTrial(model="a", multiply_adds=3, left_out="budget does not suffice", seconds=1.0)
    assert NetworkTrial.from_json(left_out.to_json()) == left_out


@pytest.mark.slow
def test_the_validation_photos_take_no_part_in_the_choice(best: Best, photos: Photos, tmp_path: Path) -> None:
    train = photos("data/train", red=12, blue=12)
    photos("data/val", first_seed=500, red=3, blue=3)
    result = best(train.parent)
    alone = best(train)
    assert result.report.n == 6
    losses = [[trial.log_loss for trial in one.record.networks_tried] for one in (result, alone)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)  # heads are fitted with others, which stops them elsewhere


def test_what_runs_a_network_is_left_as_it_was(backbone: Backbone) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    multiply_adds(backbone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.module.state_dict().items())
    assert not backbone.module.training


def grouped(folder: Path, groups: Mapping[Path, str]) -> dict[str, Any]:
    """Return the samples of the photos below a folder, in a table with the group of each."""
    rows = [f"{photo.relative_to(folder)},{photo.parent.name},{groups[photo]}" for photo in folder.rglob("*.jpg")]
    table = folder / "photos.csv"
    table.write_text("\n".join(["image,label,group", *rows]), encoding="utf-8")
    return dict(find_samples(table, Columns(group="group")))


def choose(samples: Mapping[str, Any], loaders: Mapping[str, Callable[[], Backbone]], **settings: Any) -> NetworkChoice:
    options = FitSettings(**{"features": "last", "near_duplicates": "ignore", **settings})
    return choose_network(samples, loaders, settings=options, compute=COMPUTE, observer=Observer())


def test_photos_that_one_network_cannot_read_are_left_out_of_all(
    loaders: Mapping[str, Callable[[], Backbone]], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the features that are left are those of the photos that are left, of each network."""
    original = JointExtractor.parts_of_dataset
    passes: list[int] = []

    def parts_of_dataset(
        extractor: JointExtractor, dataset: Dataset, parts: Sequence[str]
    ) -> tuple[Dataset, dict[str, Features]]:
        passes.append(len(dataset))
        found, features = original(extractor, dataset, parts)
        kept = np.arange(len(found)) != (3 if len(passes) == 2 else -1)  # as if it had vanished since the first pass
        return found.select(kept), {part: one.select(kept) for part, one in features.items()}

    samples = find_samples(photos(red=12, blue=12))
    for named in (loaders, dict(reversed(loaders.items()))):
        passes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(JointExtractor, "parts_of_dataset", parts_of_dataset)
            experiment = choose(samples, named).experiment
        assert passes == [24, 24]
        dataset = experiment.dataset
        assert len(dataset) == 23
        alone = FeatureExtractor(experiment.backbone, COMPUTE).extract(dataset.samples.sources, dataset.keys)
        assert np.allclose(experiment.features.values, alone.values, atol=1e-5)


def test_what_one_network_finds_of_validation_photos_the_next_one_knows(
    loaders: Mapping[str, Callable[[], Backbone]], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what training has, too, is left out in the end: numbers of pictures are of both parts together."""
    train = photos("data/train", red=12, blue=12)
    photos("data/val", first_seed=500, red=3, blue=3)
    original, given, found = network_choice.extract_splits, [], []

    def extract(dataset: Dataset, validation: Dataset, *networks: Any, **options: Any) -> ExtractedSplits:
        given.append((dataset, validation))
        one = original(dataset, validation, *networks, **options)
        assert one.validation is not None
        found.append(replace(one, dataset=one.dataset.select(one.dataset.positions >= 0)))  # another one, as joined
        return found[-1]

    monkeypatch.setattr(network_choice, "extract_splits", extract)
    choice = choose(find_samples(train.parent), loaders)
    assert given[1] == (found[0].dataset, found[0].validation)
    assert choice.experiment.dataset is found[1].dataset


def test_networks_cannot_be_compared_where_nothing_can_be_held_out(
    loaders: Mapping[str, Callable[[], Backbone]], photos: Photos
) -> None:
    folder = photos("data", red=6, blue=6)
    groups = {photo: "one" if photo.parent.name == "red" else str(photo) for photo in folder.rglob("*.jpg")}
    samples = grouped(folder, groups)
    samples["validation"] = find_samples(photos("val", first_seed=500, red=3, blue=3))["train"]
    loaded: list[str] = []
    heard = {name: functools.partial(loaded.append, name) for name in loaders}
    message = r"(?s)one group only.*red.*held out\. Name one network \(model"
    with pytest.raises(DataError, match=message):
        choose(samples, heard)  # type: ignore[arg-type]
    assert not loaded


def test_a_sample_of_which_nothing_can_be_held_out_ranks_nothing(
    loaders: Mapping[str, Callable[[], Backbone]], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("data", red=12, blue=12)
    names = sorted(folder.rglob("*.jpg"))
    groups = {photo: f"{photo.parent.name} {number % 3}" for number, photo in enumerate(names)}
    monkeypatch.setattr(network_choice, "SAMPLE", 8)
    monkeypatch.setattr(
        network_choice, "sample_of", lambda dataset: np.flatnonzero(np.isin(dataset.groups, dataset.groups[[0, 12]]))
    )
    tried = choose(grouped(folder, groups), loaders).tried
    assert [trial.sample_log_loss for trial in tried] == [math.inf, math.inf]
    assert all(trial.log_loss is not None for trial in tried)


def test_one_network_under_two_names_is_refused(tiny_network: str, photos: Photos, tmp_path: Path) -> None:
    shutil.copytree(tiny_network.removeprefix("local-dir:"), tmp_path / "copy")
    names = [tiny_network, f"local-dir:{tmp_path / 'copy'}"]
    loaders = {name: functools.partial(load_backbone, name) for name in names}
    with pytest.raises(OptionError, match=r"/copy are the same network\. Name it once \(model\)\.$"):
        choose(find_samples(photos(red=6, blue=6)), loaders)


def test_a_killed_run_that_began_with_restart_goes_on(
    best: Best, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_network: str
) -> None:
    """What was decided of the networks is still known."""
    data, run = photos(red=12, blue=12), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "_train", raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            best(data, None, run, budget=0.0, restart=True)
    monkeypatch.setattr(network_choice.PersistentClock, "left", lambda _: 1e9)
    tried = best(data, None, run, budget=0.0).record.networks_tried
    assert {trial.model for trial in tried if trial.left_out} == {other_network}


def raise_keyboard_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_large_features_wait_on_the_disk(
    loaders: Mapping[str, Callable[[], Backbone]], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = find_samples(photos(red=6, blue=6))
    expected = choose(samples, loaders).experiment.features.values
    kept: list[np.ndarray] = []
    original = network_choice._on_disk
    monkeypatch.setattr(network_choice, "_LARGE", 1)
    monkeypatch.setattr(network_choice, "_on_disk", lambda one: (kept.append(original(one).values), original(one))[1])
    found = choose(samples, loaders).experiment.features.values
    assert [type(values) for values in kept] == [np.memmap, np.memmap]
    assert type(found) is np.ndarray
    assert np.array_equal(found, expected)


def test_the_time_of_a_network_that_was_not_timed_is_that_of_others_by_its_cost(backbone: Backbone) -> None:
    trials = network_choice._Trials(
        {"a": backbone, "b": backbone}, {"a": 10, "b": 40}, FitSettings(), COMPUTE, Observer()
    )
    assert trials._rate("b") == 0.0
    trials._rates["a"] = 0.5
    assert trials._rate("b") == 2.0
