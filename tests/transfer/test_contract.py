"""Every strategy on every kind of network: frozen tensors stay, the others learn, and the parts make the whole."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.marks import some_slow

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import cut_before
from regraft.networks.freezing import fingerprints
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer import trainers
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import STRATEGIES, Candidate
from regraft.transfer.trainers import FineTuningTrainer, trainer_of

# The classes are told apart without fail: among all strengths the head that is started from would be so sure of itself
# that no gradient is left
pytestmark = pytest.mark.usefixtures("few_strengths")

SIDE = 80  # pixels: the least that Inception-v3 can take is 75
NETWORKS: dict[str, dict[str, object]] = {
    "vgg16": {"mlp_ratio": 0.02},  # its first hidden layer holds nine tenths of all its parameters
    "resnet50": {"zero_init_last": False},  # else the first steps have no gradient in the branches
    "inception_v3": {},
    "mobilenetv2_100": {},
    "efficientnet_b0": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"img_size": SIDE, "depth": 4},
}
TUNED = [name for name, strategy in STRATEGIES.items() if strategy.stages(["stem", "blocks"])]


QUICK = ("mobilenetv2_100", "vit_tiny_patch16_224")
FAMILIES = some_slow(NETWORKS, set(NETWORKS) - set(QUICK))


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder: Path = tmp_path_factory.mktemp("network")
    settings = {"input_size": [3, SIDE, SIDE], "num_classes": 1000}
    config = {"architecture": request.param, "model_args": NETWORKS[request.param], "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    return build_untrained(f"local-dir:{folder}")


@pytest.fixture
def experiment(backbone: Backbone, photos: Callable[..., Path]) -> Experiment:
    schedule = Schedule(epochs=2, batch_size=4, views=1, averaging=0, lr=1e-3)
    settings = FitSettings(strategy="whole", schedule=schedule)
    splits = {"train": find_samples(photos(red=4, blue=4))["train"]}
    return prepare_experiment(splits, lambda: backbone, settings, Compute(), Observer())


@pytest.mark.parametrize(
    "kind", [*(name for name in STRATEGIES if name != "frozen"), "only the first", "from the middle"]
)
def test_training_changes_what_the_plan_says_and_nothing_else(
    backbone: Backbone, experiment: Experiment, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [stage.name for stage in backbone.stages()]
    candidate = {
        "only the first": Candidate("top", train_only=names[0]),
        "from the middle": Candidate("top", train_from=names[len(names) // 2]),
    }.get(kind) or Candidate(kind)
    # nothing held out: the start may be best there, and come back
    monkeypatch.setattr(trainers, "hold_out", lambda _, photos, **__: (photos, photos[:0]))
    trainer = trainer_of(candidate, experiment)
    assert isinstance(trainer, FineTuningTrainer)
    start = experiment.network(random_weights=kind == "scratch")
    plan = trainer.plan
    everything = [tensor.name for tensor in plan.tensors]
    before = fingerprints(start.module, everything)
    fitted = trainer.fit()
    after = fingerprints(fitted.backbone.module, everything)
    changed = {name for name in everything if before[name] != after[name]}
    assert changed.isdisjoint(plan.frozen)
    assert fitted.proof == f"0 of {len(plan.frozen)} frozen tensors changed"
    # the second of two biases that a softmax sees as one shift has no gradient, and neither has a dead filter's
    still = {name for name in plan.names("trained") if name not in changed}
    assert len(still) <= 0.05 * len(plan.names("trained")), sorted(still)
    assert any(name.startswith(plan.trained_stages[0]) for name in changed)
    assert fingerprints(start.module, everything) == before  # the pretrained network is used again for the next fold
    _check_the_parts(fitted.backbone, plan.cut, experiment)


def _check_the_parts(network: Backbone, cut: str | None, experiment: Experiment) -> None:
    assert cut is not None
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    trunk, top = cut_before(network.module, cut, (3, SIDE, SIDE))
    with torch.no_grad():
        whole, parts = network.module(pixels), top(trunk(pixels))
    assert np.isfinite(whole.numpy()).all()
    assert float((whole - parts).abs().max()) <= 1e-5 * max(float(whole.abs().max()), 1.0)
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.module.modules())
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in experiment.backbone.module.modules())
