"""Low-rank adapters: those that would learn nothing are refused, and the others leave the network as it was."""

import copy
import json
from pathlib import Path

import pytest
import torch
from tests.marks import some_slow
from torch import nn

from regraft.errors import MissingPackageError, OptionError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.freezing import plan_training
from regraft.networks.lora import adapted_weight, add_adapters, check_peft, merge_adapters, passed_by

SMALL: dict[str, dict[str, object]] = {
    "beit_base_patch16_224": {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 2},
    "swinv2_tiny_window8_256": {
        "img_size": 64,
        "window_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [1, 2],
    },
    "vit_tiny_patch16_224": {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 2},
}


@pytest.fixture(params=some_slow(SMALL, {"beit_base_patch16_224"}))
def transformer(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    arguments = SMALL[request.param]
    side = arguments["img_size"]
    settings = {"input_size": [3, side, side], "num_classes": 5}
    config = {"architecture": request.param, "model_args": arguments, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return build_untrained(f"local-dir:{tmp_path}")


def test_adapters_that_would_learn_nothing_are_refused_by_name(transformer: Backbone) -> None:
    """Which these are is what peft's own adapters say after a step backward."""
    network = copy.deepcopy(transformer.module)
    layers = [name for name, module in network.named_modules() if type(module) is nn.Linear]
    add_adapters(network, [f"{name}.weight" for name in layers], rank=2, seed=0)
    shape = (3, transformer.preprocess.height, transformer.preprocess.width)
    network(torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    idle = [n for n in layers if network.get_parameter(f"{n}.lora_B.default.weight").grad is None]
    weights = [f"{name}.weight" for name in layers]
    assert passed_by(transformer.module, weights, shape) == tuple(f"{name}.weight" for name in idle)
    assert all(not module._forward_hooks for module in transformer.module.modules())
    stages = [stage.name for stage in transformer.stages()]
    if transformer.recipe.architecture.startswith("vit"):
        assert idle == []
        assert len(plan_training(transformer, trained=stages, lora=2).names("low-rank")) == len(layers)
        return
    assert {name.rpartition(".")[2] for name in idle} == {"qkv"}
    with pytest.raises(OptionError, match="these adapters would learn nothing") as caught:
        plan_training(transformer, trained=stages, lora=2)
    message = str(caught.value)
    start = f"lora=2: {transformer.recipe.architecture} does not call {len(idle)} of the {len(layers)} linear layers "
    assert message.startswith(start)
    assert message.splitlines()[1:-1] == [f"  {name}" for name in idle]
    assert message.endswith("\nLeave lora out: the stages are then trained themselves. Or choose another network.")


def test_a_network_without_any_gradient_has_adapters_that_learn_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), Detached())
    assert passed_by(network, ["1.weight"], (3, 2, 2)) == ("1.weight",)


class Detached(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


def test_adapters_start_at_zero_and_are_added_to_the_weights(transformer: Backbone) -> None:
    network = copy.deepcopy(transformer.module)
    side = transformer.preprocess.height
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    layer = next(name for name, module in network.named_modules() if name.endswith("mlp.fc1"))
    with torch.no_grad():
        expected = network(images)
        adapted = add_adapters(network, [f"{layer}.weight"], rank=2, seed=0)
        assert torch.equal(network(images), expected)
        factors = {name: p for name, p in network.named_parameters() if p.requires_grad}
        assert {adapted_weight(name) for name in factors} == {f"{layer}.weight"}
        a, b = (network.get_parameter(f"{layer}.lora_{one}.default.weight") for one in "AB")
        b.copy_(torch.randn(b.shape, generator=torch.Generator().manual_seed(2)))
        merged = merge_adapters(adapted)
    weight = transformer.module.get_parameter(f"{layer}.weight")
    torch.testing.assert_close(merged.get_parameter(f"{layer}.weight"), weight + b @ a)
    assert merged.state_dict().keys() == transformer.module.state_dict().keys()


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    check_peft()
    monkeypatch.setattr("regraft.extras.is_installed", lambda _: False)
    message = r"^lora needs the package peft, which is not installed: pip install 'regraft\[lora\]'$"
    with pytest.raises(MissingPackageError, match=message):
        check_peft()
