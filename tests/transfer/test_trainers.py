"""Trainers: what is predicted of held-out photos, from what, and what a run keeps of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.learning import dataset_of

from regraft.data.class_weights import ClassWeights
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.features.depth_choices import columns_from
from regraft.heads.probe import CalibratedHeads, fit_calibrated_head
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.training import losses
from regraft.training.checkpoints import Run
from regraft.training.losses import LabelLoss
from regraft.training.schedule import Schedule
from regraft.transfer.experiment import Experiment, class_weights
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import FURTHER, FineTuningTrainer, LastLayerTrainer, LinearProbe, hold_out, trainer_of

Reopen = Callable[[], Run]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
PLAIN: dict[str, Any] = {"strategy": "top", "force": True, "schedule": Schedule(epochs=2, views=2, batch_size=8)}


@pytest.fixture
def experiment(photos: Callable[..., Path], tiny_network: str) -> Experiment:
    """Return 10 red and 10 blue photos and the tiny network."""
    samples = find_samples(photos(red=10, blue=10))
    return prepare_experiment(samples, lambda: load_backbone(tiny_network), FitSettings(**PLAIN), Compute(), Observer())


def test_the_plan_says_which_trainer_it_is(experiment: Experiment) -> None:
    assert type(trainer_of(Candidate("frozen"), experiment)) is LastLayerTrainer
    assert type(trainer_of(Candidate("top"), experiment)) is FineTuningTrainer


def test_a_linear_probe_predicts_by_the_head_of_its_training_photos() -> None:
    generator = np.random.default_rng(0)
    dataset = dataset_of(np.arange(30) % 3)
    features = generator.normal(size=(30, 4)).astype(np.float32) + np.eye(4, dtype=np.float32)[dataset.labels]
    train, held_out = np.arange(24), np.arange(24, 30)
    found = LinearProbe(features, dataset, seed=1).predict_held_out(train, held_out, name="fold")
    head = fit_calibrated_head(features[train], dataset.select(train), seed=1)
    assert np.array_equal(found.logits, head.head.logits(features[held_out]))
    assert (found.temperature, found.images) == (head.temperature, 24)


def test_the_last_layer_is_the_head_of_all_photos_on_the_same_network(experiment: Experiment) -> None:
    outcome = trainer_of(Candidate("frozen"), experiment).fit()
    columns = {name: columns_from([experiment.backbone], first) for name, first in experiment.choices.items()}
    heads = CalibratedHeads(experiment.features.values, experiment.dataset, seed=0, all_too=True, choices=columns)
    expected = heads.of(np.arange(20))
    assert outcome.backbone is experiment.backbone
    assert np.array_equal(outcome.head.head.state()["weight"], expected.head.state()["weight"])
    assert outcome.head.temperature == expected.temperature
    assert (outcome.head.choice, outcome.head.columns) == (expected.choice, expected.columns)
    count = len(experiment.backbone.tensor_hashes())
    assert outcome.proof == f"0 of {count} frozen tensors changed"


def test_a_network_trained_further_says_so_and_takes_the_temperature_that_it_is_given(experiment: Experiment) -> None:
    outcome = trainer_of(Candidate("top"), experiment).fit(1.25)
    assert outcome.backbone.source == experiment.backbone.source + FURTHER
    assert outcome.head.temperature == 1.25


@pytest.mark.slow
def test_weights_of_classes_reach_the_last_layer_and_the_training(
    photos: Callable[..., Path], tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """18 red photos and 6 blue ones: 24 / (2 n_k), whose mean over the photos is 1."""
    samples = find_samples(photos(red=18, blue=6))
    settings = FitSettings(**PLAIN, class_weight="balanced")
    experiment = prepare_experiment(samples, lambda: load_backbone(tiny_network), settings, Compute(), Observer())
    weights = class_weights(settings, experiment.dataset)
    assert experiment.dataset.classes == ("blue", "red")
    np.testing.assert_allclose(weights, [2.0, 2 / 3])
    columns = {name: columns_from([experiment.backbone], first) for name, first in experiment.choices.items()}
    values, dataset = experiment.features.values, experiment.dataset
    given: dict[str, Any] = {"seed": 0, "all_too": True, "choices": columns}
    expected = CalibratedHeads(values, dataset, class_weights=ClassWeights(), **given).of(np.arange(24))
    plain = CalibratedHeads(values, dataset, **given).of(np.arange(24))
    found = trainer_of(Candidate("frozen"), experiment).fit().head.head.state()["weight"]
    assert np.array_equal(found, expected.head.state()["weight"])
    assert not np.array_equal(found, plain.head.state()["weight"])

    heard: list[np.ndarray] = []

    def hears(*given: Any, weights: np.ndarray, **more: Any) -> LabelLoss:
        heard.append(weights)
        return LabelLoss(*given, weights=weights, **more)

    monkeypatch.setattr(losses, "LabelLoss", hears)
    trainer = trainer_of(Candidate("top"), experiment)
    trainer.fit(1.0)
    some = np.concatenate([np.flatnonzero(dataset.labels == label)[:count] for label, count in ((0, 6), (1, 9))])
    trainer.predict_held_out(np.sort(some), np.arange(2), name="fold")
    np.testing.assert_allclose(heard[0], [2.0, 2 / 3])
    np.testing.assert_allclose(heard[1], [15 / 12, 15 / 18])  # of the photos that are learned from


def test_a_sixth_is_held_out_with_whole_groups() -> None:
    dataset = dataset_of(np.arange(48) % 2, groups=np.arange(48) // 4)
    photos = np.arange(8, 44)
    train, held_out = hold_out(dataset, photos, seed=0)
    assert sorted([*train, *held_out]) == photos.tolist()
    assert len(held_out) in (4, 8)  # nine groups of four in six folds: one or two in each
    assert not set(train // 4) & set(held_out // 4)
    assert set(dataset.labels[held_out]) == {0, 1}


def test_nothing_is_held_out_where_that_would_be_of_one_class() -> None:
    """All photos of class 1 are of one group, which is learned from."""
    labels = np.array([0] * 20 + [1] * 4)
    dataset = dataset_of(labels, groups=np.array([*range(20), 20, 20, 20, 20]))
    train, held_out = hold_out(dataset, np.arange(24), seed=0)
    assert (train.tolist(), len(held_out)) == (list(range(24)), 0)


def test_other_photos_of_the_same_name_are_another_training(experiment: Experiment, reopen: Reopen) -> None:
    experiment.run = reopen()
    trainer = trainer_of(Candidate("top"), experiment)
    everything = np.arange(20)
    first = trainer.predict_held_out(everything[4:], everything[:4], name="fold")
    again = trainer.predict_held_out(everything[4:], everything[:4], name="fold")
    others = trainer.predict_held_out(everything[:-4], everything[:4], name="fold")
    assert np.array_equal(first.logits, again.logits)
    assert first.seconds == again.seconds  # it came from the run
    assert not np.array_equal(first.logits, others.logits)
    assert len(trainer.predict_held_out(everything[4:], everything[:3], name="fold").logits) == 3


def test_the_pass_over_the_views_is_heard_once_before_the_trainings(experiment: Experiment) -> None:
    trainer = trainer_of(Candidate("top"), experiment)
    heard: list[tuple[float, bool]] = []

    def pace(share: float, *, once: bool = False) -> None:
        heard.append((share, once))

    everything = np.arange(20)
    for held_out in (everything[:4], everything[-4:]):
        trainer.predict_held_out(np.setdiff1d(everything, held_out), held_out, name="fold", pace=pace)
    assert [share for share, once in heard if once] == [32 / 40, 1.0]  # of two views each, 32 at a time
    shares = [share for share, once in heard if not once]
    assert heard[:2] == [(32 / 40, True), (1.0, True)]
    assert shares == [1 / 4, 2 / 4, 2 / 4, 3 / 4, 1.0, 1.0] * 2  # two steps and an end in each of two epochs
