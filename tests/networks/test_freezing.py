"""The plan names every tensor once, does what it says, and a change of what is frozen is caught."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from regraft.errors import FrozenTensorError, OptionError
from regraft.networks.backbones import Backbone, build_untrained
from regraft.networks.freezing import apply_plan, check_frozen, fingerprints, plan_training
from regraft.networks.lora import add_adapters, passed_by


@pytest.fixture(scope="module")
def mobilenet() -> Backbone:
    return build_untrained("mobilenetv2_100")


def test_every_tensor_has_one_group(mobilenet: Backbone) -> None:
    names = sorted([*dict(mobilenet.module.named_parameters()), *dict(mobilenet.module.named_buffers())])
    for strategy in ("frozen", "top", "whole", "scratch"):
        plan = plan_training(mobilenet, strategy=strategy)
        assert sorted(tensor.name for tensor in plan.tensors) == names
        assert len(plan.lines()) == len(names)


def test_top_is_the_last_two_stages(mobilenet: Backbone) -> None:
    plan = plan_training(mobilenet, strategy="top")
    assert plan.cut == "blocks.5"
    assert plan.trained_stages == ("blocks.5", "blocks.6")
    parameters = dict(mobilenet.module.named_parameters())
    last = [name for name in parameters if name.startswith(("blocks.5.", "blocks.6.", "conv_head.", "bn2."))]
    assert sorted(plan.names("trained")) == sorted(last)


def test_frozen_and_whole_are_the_two_ends(mobilenet: Backbone) -> None:
    frozen, whole = plan_training(mobilenet, strategy="frozen"), plan_training(mobilenet, strategy="whole")
    assert frozen.cut is None
    assert frozen.names("trained", "statistics") == ()
    assert frozen.summary().startswith("trained: the head alone")
    assert whole.cut == "conv_stem"
    assert set(whole.names("trained")) == set(dict(mobilenet.module.named_parameters()))


def test_one_stage_alone(mobilenet: Backbone) -> None:
    plan = plan_training(mobilenet, strategy="top", train_only="blocks.0")
    assert plan.cut == plan.trained_stages[0] == "blocks.0"
    assert all(name.startswith("blocks.0.") for name in plan.names("trained"))


def test_rates_fall_by_the_decay_from_stage_to_stage(mobilenet: Backbone) -> None:
    plan = plan_training(mobilenet, strategy="top", train_from="blocks.4", lr_decay=0.5)
    rates = {tensor.stage: tensor.rate for tensor in plan.tensors if tensor.group == "trained"}
    assert rates == {"blocks.4": 0.25, "blocks.5": 0.5, "blocks.6": 1.0}


def test_statistics_are_held_or_follow(mobilenet: Backbone) -> None:
    statistics = {n for n, _ in mobilenet.module.named_buffers() if n.startswith(("blocks.5.", "blocks.6.", "bn2."))}
    held = plan_training(mobilenet, strategy="top")
    trained = plan_training(mobilenet, strategy="top", batch_norm="trained")
    assert statistics <= set(held.frozen)
    assert set(trained.names("statistics")) == statistics


def test_an_unknown_stage_is_named_with_those_that_there_are(mobilenet: Backbone) -> None:
    with pytest.raises(OptionError, match=r"--train-from must name a stage of the network: conv_stem, .*Got 'block.5'"):
        plan_training(mobilenet, strategy="top", train_from="block.5")
    with pytest.raises(OptionError, match=r"Did you mean 'blocks\.5'"):
        plan_training(mobilenet, strategy="top", train_only="block.5")


def test_adapters_need_linear_layers(mobilenet: Backbone) -> None:
    with pytest.raises(OptionError, match=r"--lora 4 is for linear layers, and mobilenetv2_100 has none in blocks.5"):
        plan_training(mobilenet, strategy="top", lora=4)


def test_adapters_change_linear_weights_and_nothing_else() -> None:
    backbone = build_untrained("vit_tiny_patch16_224")
    plan = plan_training(backbone, strategy="top", lora=4)
    linear = {f"{name}.weight" for name, module in backbone.module.named_modules() if type(module) is nn.Linear}
    wanted = {name for name in linear if name.startswith(("blocks.10.", "blocks.11."))}
    assert set(plan.names("low-rank")) == wanted
    assert plan.names("trained", "statistics") == ()


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


@pytest.fixture(params=SMALL)
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
    if transformer.recipe.architecture.startswith("vit"):
        assert idle == []
        assert len(plan_training(transformer, strategy="whole", lora=2).names("low-rank")) == len(layers)
        return
    assert {name.rpartition(".")[2] for name in idle} == {"qkv"}
    with pytest.raises(OptionError, match="these adapters would learn nothing") as caught:
        plan_training(transformer, strategy="whole", lora=2)
    message = str(caught.value)
    start = f"--lora 2: {transformer.recipe.architecture} does not call {len(idle)} of the {len(layers)} linear layers "
    assert message.startswith(start)
    assert message.splitlines()[1:-1] == [f"  {name}" for name in idle]
    assert message.endswith("\nLeave --lora out: the stages are then trained themselves. Or choose another network.")


def test_a_network_without_any_gradient_has_adapters_that_learn_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), Detached())
    assert passed_by(network, ["1.weight"], (3, 2, 2)) == ("1.weight",)


class Detached(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


def test_applying_a_plan_sets_gradients_and_modes(mobilenet: Backbone) -> None:
    for batch_norm in ("held", "trained"):
        plan = plan_training(mobilenet, strategy="top", batch_norm=batch_norm)
        modules = apply_plan(mobilenet.module, plan)
        names = {name for name, module in mobilenet.module.named_modules() if any(module is one for one in modules)}
        assert {n for n, p in mobilenet.module.named_parameters() if p.requires_grad} == set(plan.names("trained"))
        assert "blocks.5" in names
        assert not {"", "blocks", "blocks.4", "conv_stem"} & names
        assert ("blocks.5.0.bn1" in names) is (batch_norm == "trained")


@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_a_changed_frozen_tensor_is_named(kind: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    name = {"parameter": "0.bias", "buffer": "1.running_var"}[kind]
    every = [n for n, _ in [*module.named_parameters(), *module.named_buffers()]]
    before = fingerprints(module, every)
    assert check_frozen(before, fingerprints(module, every)) == f"0 of {len(every)} frozen tensors changed"
    with torch.no_grad():
        dict([*module.named_parameters(), *module.named_buffers()])[name][0] += 1e-7
    with pytest.raises(FrozenTensorError, match=rf"1 of {len(every)} frozen tensors changed .*:\n  {name}"):
        check_frozen(before, fingerprints(module, every))
