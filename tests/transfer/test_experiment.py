"""An experiment: what is prepared before training, by which engine, and what a plan and a run rest on."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.cache import engines_folder
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.engines.pytorch import TorchEngine
from regraft.engines.workload import EngineChoice, machine
from regraft.errors import DataError, OptionError, ResumeError
from regraft.images.decoding import decode
from regraft.images.resizing import TORCHVISION
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone, reinitialised
from regraft.networks.cutting import cut_before
from regraft.progress import Observer
from regraft.ray_workers import workers_on
from regraft.training.schedule import Schedule
from regraft.transfer import experiment as experiment_module
from regraft.transfer.experiment import Experiment, open_run, plan_of
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

Photos = Callable[..., Path]


def prepare(
    splits: Mapping[str, Samples], network: str, settings: FitSettings, observer: Observer, **compute: Any
) -> Experiment:
    where = Compute(**{"device": "cpu", **compute})
    return prepare_experiment(splits, lambda: load_backbone(network), settings, where, observer)


@pytest.fixture
def experiment(photos: Photos, tiny_network: str) -> Experiment:
    return prepare(find_samples(photos(red=6, blue=6)), tiny_network, FitSettings(), Observer())


def weights_files() -> list[Path]:
    return sorted(engines_folder().rglob("*.bin"))


# --- before training ---


def test_last_layers_are_fitted_where_large_features_are_shared(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def share(*what: Any) -> AbstractContextManager[np.ndarray]:
        given.extend(what)
        return nullcontext(what[2])

    monkeypatch.setattr(experiment_module, "share_features", share)
    experiment.compute = replace(experiment.compute, on="ray:10.0.0.1:6379")
    experiment.heads.of(np.arange(12))
    workers, observer, features, labels = given
    assert workers is workers_on("ray:10.0.0.1:6379")
    assert observer is experiment.observer
    assert features is experiment.features.values
    assert labels is experiment.dataset.labels


def test_without_a_train_split_there_is_nothing_to_train_on(photos: Photos) -> None:
    samples = find_samples(photos(red=2, blue=2))["train"]
    for splits, named in (({"test": samples}, "only test"), ({}, "only none at all")):
        with pytest.raises(DataError, match=f"^there is nothing to train on: no train split, {named}"):
            prepare_experiment(splits, lambda: pytest.fail("it was loaded"), FitSettings(), Compute(), Observer())


def test_features_and_labels_are_of_the_same_photos(photos: Photos, tiny_network: str, listener: Any) -> None:
    folder = photos("data/train", red=10, blue=10).parent
    photos("data/validation", first_seed=100, red=10, blue=10)
    for split, number in (("train", 3), ("validation", 4)):
        torn = folder / split / "blue" / f"{number}.jpg"
        torn.write_bytes(torn.read_bytes()[:700])
    found = prepare(find_samples(folder), tiny_network, FitSettings(), listener)
    assert found.validation is not None
    assert found.validation_features is not None
    engine = TorchEngine(found.backbone, torch.device("cpu"))
    for dataset, features in ((found.dataset, found.features), (found.validation, found.validation_features)):
        assert len(dataset) == 19
        assert [path.parent.name for path in dataset.samples.sources] == ["blue"] * 9 + ["red"] * 10
        assert dataset.labels.tolist() == [0] * 9 + [1] * 10
        pixels = np.stack([decode(source, found.backbone.preprocess) for source in dataset.samples.sources])
        expected = engine.features(pixels)
        np.testing.assert_allclose(features.values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_hashes_are_of_before_training(experiment: Experiment) -> None:
    before = experiment.backbone.tensor_hashes()
    with torch.no_grad():
        experiment.backbone.module.conv_stem.weight.add_(1)  # type: ignore[union-attr, operator]
    assert experiment.hashes(tuple(before)) == before
    assert experiment.backbone.tensor_hashes()["conv_stem.weight"] != before["conv_stem.weight"]


def test_the_network_with_random_weights_is_the_same_one_each_time(experiment: Experiment) -> None:
    pretrained = experiment.network(random_weights=False)
    random = experiment.network(random_weights=True)
    assert pretrained is experiment.backbone
    assert experiment.network(random_weights=True) is random
    assert random.fingerprint() != pretrained.fingerprint()
    assert random.fingerprint() == reinitialised(pretrained, 1).fingerprint()
    names = ("conv_stem.weight",)
    assert experiment.hashes(names, random_weights=True) == {names[0]: random.tensor_hashes()[names[0]]}


# --- plans and runs ---


def test_one_photo_has_no_batch_norm_statistics(backbone: Backbone) -> None:
    single = Schedule(batch_size=1)
    assert plan_of(Candidate("top"), backbone, single).batch_norm == "held"
    message = (
        r"^batch_size must be 2 or more where batch-norm statistics are trained \(strategy='scratch', "
        r"batch_norm='trained'\): one photo has none\. Got 1\.$"
    )
    for candidate, schedule in (
        (Candidate("scratch"), single),
        (Candidate("top"), replace(single, batch_norm="trained")),
    ):
        with pytest.raises(OptionError, match=message):
            plan_of(candidate, backbone, schedule)
    assert plan_of(Candidate("scratch"), backbone, replace(single, batch_norm="held")).batch_norm == "held"


def test_a_stage_may_be_chosen_and_must_exist(backbone: Backbone) -> None:
    stages = [stage.name for stage in backbone.stages()]
    assert plan_of(Candidate("top", train_from=stages[1]), backbone, Schedule()).cut == stages[1]
    assert plan_of(Candidate("top", train_only=stages[1]), backbone, Schedule()).trained_stages == (stages[1],)
    with pytest.raises(OptionError, match=r"^train_from must name a stage of the network: .* Got 'block'\."):
        plan_of(Candidate("top", train_from="block"), backbone, Schedule())


def test_a_run_is_of_these_photos_networks_and_settings(experiment: Experiment, tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", {"net": experiment})
    assert experiment.run is run
    run.record_fact("anything", "a fact", "so")
    assert open_run(tmp_path / "run", {"net": experiment}).fact("anything") == "so"
    experiment.settings = replace(experiment.settings, seed=5, schedule=Schedule(batch_size=7))
    with pytest.raises(ResumeError) as caught:
        open_run(tmp_path / "run", {"net": experiment})
    assert str(caught.value).splitlines()[1:-1] == ["  seed: 0 then, 5 now", "  batch_size: 32 then, 7 now"]
    experiment.settings = replace(experiment.settings, restart=True)
    assert open_run(tmp_path / "run", {"net": experiment}).fact("anything") is None


# --- the engine ---


@pytest.mark.slow
def test_validation_photos_count_too(tiny_network: str, photos: Photos, listener: Any) -> None:
    """Eight photos to train on and 128 to validate on are worth a conversion, for both."""
    splits = {
        "train": find_samples(photos("train", red=4, blue=4))["train"],
        "validation": find_samples(photos("val", 5000, red=64, blue=64))["train"],
    }
    experiment = prepare(splits, tiny_network, FitSettings(), listener)
    assert experiment.validation_features is not None
    engines = {experiment.features.engine, experiment.validation_features.engine}
    assert len(engines) == 1
    assert engines.pop().startswith("openvino-cpu-")
    assert experiment.engine_choice is not None
    named = experiment.features.engine.replace("-cpu-", "-")
    assert experiment.engine_choice == EngineChoice(named, machine(torch.device("cpu")))


@pytest.mark.parametrize("views", [1, 16])
def test_the_trunk_runs_in_float32(tiny_network: str, photos: Photos, listener: Any, views: int) -> None:
    """8 photos in 16 views are worth a conversion; bfloat16, the fastest, is not even tried."""
    samples = find_samples(photos(red=4, blue=4))["train"]
    settings = FitSettings(strategy="top", features="last", schedule=Schedule(views=views))
    experiment = prepare({"train": samples}, tiny_network, settings, listener)
    stages = [stage.name for stage in experiment.backbone.stages()]
    listener.heard.clear()
    _, activations = experiment.at_cut(stages[-2])
    said = [text.partition(" (")[0] for text in listener.said]
    assert said == ([] if views == 1 else ["engine: openvino-cpu-float32"])
    assert len(weights_files()) == (views == 16)
    preprocess = experiment.backbone.preprocess
    trunk, _ = cut_before(experiment.backbone.module, stages[-2], (3, 32, 32))
    reference = TorchEngine(experiment.backbone, torch.device("cpu"), trunk)
    images = np.stack([decode(source, preprocess, resizer=TORCHVISION) for source in samples.sources])
    expected = reference.activations(images)
    (found,) = activations.stream([[(photo, 0) for photo in range(8)]])
    assert torch.allclose(found, expected, rtol=2**-10, atol=1e-3 * float(expected.abs().max()))  # kept in float16


def test_the_first_stage_is_not_converted(tiny_network: str, photos: Photos, listener: Any) -> None:
    """Before it there are the photos themselves."""
    samples = find_samples(photos(red=4, blue=4))["train"]
    settings = FitSettings(strategy="whole", schedule=Schedule(views=16))
    experiment = prepare({"train": samples}, tiny_network, settings, listener, engine="openvino-float32")
    before = weights_files()
    _, images = experiment.at_cut(experiment.backbone.stages()[0].name)
    (found,) = images.stream([[(0, 0)]])
    assert found.shape == (1, 3, 32, 32)
    assert weights_files() == before
