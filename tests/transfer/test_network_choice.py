"""Choosing one of several networks: what they cost, which is taken, what the figures are of, and the time."""

import functools
from collections.abc import Callable, Mapping
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
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import ResumeError
from regraft.networks.backbones import Backbone, build_untrained, load_backbone
from regraft.progress import Observer
from regraft.transfer import network_choice
from regraft.transfer.cross_validation import CrossValidation
from regraft.transfer.fit import FitResult, fit_best
from regraft.transfer.network_choice import cheapest_network, choose_network, multiply_adds, sample_of
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
    data = photos(red=20, blue=20)
    settings = FitSettings(features="last")
    choice = choose_network(find_samples(data), loaders, settings=settings, compute=COMPUTE, observer=Observer())
    folds = choice.experiment.folds()
    # a fifth of all photos gain ln(.99 / .6) = .5, the others nothing: mean .1, its interval .1 +- 1.96 * .03
    assert choice.model == dear
    others = ~np.isnan(choice.others).any(axis=1)
    assert np.array_equal(others, folds == 0)
    assert np.array_equal(choice.others[others], found[0][others])
    mixed = choice.answer_folds(found[1])
    assert np.array_equal(mixed[folds == 0], found[0][folds == 0])
    assert np.array_equal(mixed[folds != 0], found[1][folds != 0])
    assert [trial.model for trial in choice.tried] == [cheap, dear]
    gain = choice.tried[0].log_loss_difference
    assert gain == pytest.approx(0.2 * np.log(0.99 / 0.6), abs=0.005)


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
