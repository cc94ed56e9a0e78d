"""Several networks whose features one last layer sees: what it answers, its file, and what it cannot do."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from tests.conftest import write_network
from tests.fixtures.networks import edit_config
from tests.marks import some_slow

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.evaluate import evaluate
from regraft.classifier.predict import Predictor
from regraft.data.dataset import open_datasets
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.features.depths import find_depths
from regraft.features.extraction import FeatureExtractor
from regraft.networks.backbones import load_backbone
from regraft.networks.names import read_names
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Fit = Callable[..., FitResult]
COMPUTE = Compute(device="cpu", engine="torch-float32", cache=False)
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a network of 48 x 48 pixels."""
    network = f"local-dir:{write_network(tmp_path_factory.mktemp('larger'), seed=2)}"
    return edit_config(network, pretrained_cfg={"input_size": [3, 48, 48]})


@pytest.fixture
def join(tiny_network: str, larger: str) -> Fit:
    """Return join(folder, observer, features=...), which fits one last layer on both."""

    def run(data: Path, observer: Any = None, folder: Path | None = None, **settings: Any) -> FitResult:
        load, other = (functools.partial(load_backbone, name) for name in (tiny_network, larger))
        return fit(
            find_samples(data),
            load,
            model=f"{tiny_network} + {larger}",
            joined=[other],
            settings=FitSettings(**settings),
            compute=COMPUTE,
            observer=observer,
            folder=folder,
        )

    return run


@pytest.mark.parametrize("features", some_slow(["last", "late", "all"], {"all"}))
def test_it_answers_as_its_head_on_the_features_of_both_by_hand(
    join: Fit, photos: Photos, *, tiny_network: str, larger: str, tmp_path: Path, features: str
) -> None:
    classifier = join(photos(red=10, blue=10), features=features).classifier
    folder = photos("new", first_seed=500, red=3, blue=3)
    (dataset,) = open_datasets([find_samples(folder)["train"]], Observer())
    parts = []
    for name, side in ((tiny_network, 32), (larger, 48)):
        network = load_backbone(name)
        network = network.with_depths(find_depths(network))
        assert network.preprocess.height == side
        count = len(network.depths)
        used = {"last": 0, "late": -(-count // 3), "all": count}[features]  # depths, the last ones
        units = network.features + sum(depth.units for depth in network.depths[count - used :])
        values = FeatureExtractor(network, COMPUTE).extract(dataset.samples.sources, dataset.keys).values
        parts.append(values[:, -units:])
    together = np.concatenate(parts, axis=1)
    state = classifier.head.state()
    assert state["weight"].shape == (2, together.shape[1])
    expected = softmax((together @ state["weight"].T + state["bias"]) / classifier.temperature, axis=1)
    found = Predictor(classifier, COMPUTE).predict(dataset.samples.sources).probabilities
    assert found == pytest.approx(expected, abs=1e-5)

    save_bundle(classifier, tmp_path / "joint.safetensors")
    loaded = load_bundle(tmp_path / "joint.safetensors")
    again = Predictor(loaded, COMPUTE).predict(dataset.samples.sources).probabilities
    assert np.array_equal(again, found)
    assert loaded.model == f"{name_of(tiny_network)} + {name_of(larger)}"  # its author's folders are not in it
    assert evaluate(loaded, find_samples(folder)["train"], compute=COMPUTE).report.accuracy == 1.0  # type: ignore[union-attr]


def name_of(model: str) -> str:
    return f"local-dir:{Path(model).name}"


def test_auto_trains_the_last_layer_alone_and_says_so(join: Fit, photos: Photos, listener: Any) -> None:
    result = join(photos(red=10, blue=10), listener, strategy="auto")
    reason = "the last layer alone is trained, on the features of all networks together"
    assert (result.classifier.strategy, result.record.tried, result.record.reason) == ("frozen", (), reason)
    assert f"auto: {reason}" in listener.said


def test_a_run_is_of_all_its_networks(
    join: Fit, photos: Photos, tmp_path: Path, tiny_network: str, larger: str
) -> None:
    result = join(photos(red=10, blue=10), folder=tmp_path / "run")
    result.run.save(["anything"], {}, {})
    arguments = json.loads((tmp_path / "run" / "arguments.json").read_text())["arguments"]
    for name in (tiny_network, larger):
        assert arguments[f"model={name!r}"] == load_backbone(name).fingerprint()[:12]
        side = load_backbone(name).preprocess.height
        assert arguments[f"preprocessing of {name}"]["height"] == side


def test_what_takes_one_network_says_so(join: Fit, photos: Photos) -> None:
    classifier = join(photos(red=10, blue=10), features="last").classifier
    with pytest.raises(OptionError, match=r"^One module is of one network\. Got a classifier that joins 2: local-dir:"):
        classifier.as_module()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "top"}, "strategy='top' trains one network. Got 2 (model), whose features are joined. Name one"),
        ({"strategy": "whole"}, "strategy='whole' trains one network."),
        ({"strategy": "scratch"}, "strategy='scratch' trains one network."),
        ({"strategy": "top", "train_from": "blocks.2"}, "train_from trains one network."),
        ({"strategy": "top", "train_only": "blocks.2", "lora": 2}, "train_only and lora train one network."),
        (
            {"strategy": "auto", "schedule": Schedule(epochs=3)},
            "epochs goes with training more than the last layer. Got 2 networks (model), whose features are joined "
            "under a last layer alone: it would ignore it. Leave it out, or name one network.",
        ),
        ({"strategy": "auto", "budget": 5.0}, "budget goes with training more than the last layer."),
    ],
)
def test_joined_networks_are_not_trained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        FitSettings(**settings).check_networks(read_names(["a", "b"]), weights=False)
    FitSettings(**settings).check_networks(read_names(["auto", "a", "b"]), weights=False)  # one is chosen
    FitSettings(**settings).check_networks(read_names("a"), weights=True)


@pytest.mark.parametrize("strategy", ["frozen", "auto"])
def test_joined_networks_get_a_last_layer(strategy: str) -> None:
    FitSettings(strategy=strategy).check_networks(read_names(["a", "b"]), weights=False)


def test_all_networks_are_proven_to_stay(join: Fit, photos: Photos, tiny_network: str) -> None:
    record = join(photos(red=10, blue=10), features="last").record
    tensors = 2 * len(load_backbone(tiny_network).tensor_hashes())  # the same architecture twice
    assert record.trained == f"trained: the head alone; {tensors} tensors frozen"
    assert record.frozen == f"0 of {tensors} frozen tensors changed"
