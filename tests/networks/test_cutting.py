"""A network in two parts gives what the whole gives, at every stage of every kind of network."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.marks import some_slow
from torch import nn

from regraft.errors import ModelError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import Top, cut_before

Randomise = Callable[[nn.Module, int], nn.Module]
SIDE = 96  # pixels: the least that Inception-v3 can take
# reduced in pixels
NETWORKS: dict[str, dict[str, object]] = {
    "vgg16": {"mlp_ratio": 0.02},  # its first hidden layer holds nine tenths of all its numbers
    "resnet50": {},
    "inception_v3": {},
    "mobilenetv2_100": {},
    "efficientnet_b0": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"img_size": SIDE},
}


PARAMETERS = some_slow(NETWORKS, {"vgg16", "resnet50", "inception_v3"})


@pytest.fixture(scope="module", params=PARAMETERS)
def backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, randomise: Randomise
) -> Backbone:
    folder: Path = tmp_path_factory.mktemp("network")
    settings = {"input_size": [3, SIDE, SIDE], "num_classes": 1000}
    config = {"architecture": request.param, "model_args": NETWORKS[request.param], "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    made = build_untrained(f"local-dir:{folder}")
    randomise(made.module, 0)
    return made


def images(count: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_trunk_then_top_is_the_whole_network(backbone: Backbone) -> None:
    network, batch = backbone.module, images()
    with torch.no_grad():
        expected = network(batch)
        for stage in backbone.stages():
            trunk, top = cut_before(network, stage.name, (3, SIDE, SIDE))
            scale = float(expected.abs().max())
            assert float((top(trunk(batch)) - expected).abs().max()) <= 1e-5 * scale, stage.name
    assert hooks(network) == 0


def test_top_holds_the_later_tensors_and_they_are_its_own(backbone: Backbone) -> None:
    network = backbone.module
    stages = backbone.stages()
    middle = len(stages) // 2
    _, top = cut_before(network, stages[middle].name, (3, SIDE, SIDE))
    there = dict(top.network.named_parameters())
    later = {name for stage in stages[middle:] for name in stage.tensors}
    assert later <= {*there, *dict(top.network.named_buffers())}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in there.values():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_gradients_reach_every_parameter_behind_the_cut(backbone: Backbone) -> None:
    stages = backbone.stages()
    cut = stages[-2].name
    trunk, top = cut_before(backbone.module, cut, (3, SIDE, SIDE))
    with torch.no_grad():
        activation = trunk(images())
    top(activation).square().sum().backward()
    parameters = dict(top.network.named_parameters())
    behind = [name for stage in stages[-2:] for name in stage.tensors if name in parameters]
    without = [name for name in behind if parameters[name].grad is None or not parameters[name].grad.abs().sum()]
    # a key's bias shifts all scores of a query alike, and the softmax cancels that: its gradient is 0 by right
    assert [name for name in without if "qkv.bias" not in name] == []


class Crossing(nn.Module):
    """A network in which a second tensor passes from the first stage to the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.first(x)
        return (self.last(early) * early).mean((2, 3))


def test_where_two_activations_pass_there_is_no_cut() -> None:
    network = Crossing().eval()
    with pytest.raises(ModelError, match=r"cannot be cut before last: more than one activation passes there"):
        cut_before(network, "last", (3, 8, 8))
    assert hooks(network) == 0


class Reused(nn.Module):
    """A network that uses one module on both sides of the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.last(self.act(self.first(x)))).mean((2, 3))


def test_a_module_on_both_sides_of_the_cut_still_runs_behind_it() -> None:
    network, batch = Reused().eval(), torch.randn(2, 3, 9, 9)
    trunk, top = cut_before(network, "last", (3, 9, 9))
    with torch.no_grad():
        assert torch.allclose(top(trunk(batch)), network(batch), atol=1e-6)


def test_hooks_are_gone_after_a_failure() -> None:
    network = Reused().eval()
    _, top = cut_before(network, "last", (3, 9, 9))
    assert isinstance(top, Top)
    with pytest.raises(RuntimeError):
        top(torch.zeros(2, 5, 7, 7))  # five channels where four are wanted
    assert hooks(top) == 0
