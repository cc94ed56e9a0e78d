"""The plan names every tensor once, does what it says, and a change of what is frozen is caught."""

from typing import Any

import pytest
import torch
from torch import nn

from regraft.errors import FrozenTensorError, OptionError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.freezing import apply_plan, fingerprints, plan_training
from regraft.networks.plan import Plan, check_frozen


@pytest.fixture(scope="module")
def mobilenet() -> Backbone:
    return build_untrained("mobilenetv2_100")


def stages_of(backbone: Backbone) -> list[str]:
    return [stage.name for stage in backbone.stages()]


def plan_of_top(backbone: Backbone, **options: Any) -> Plan:
    return plan_training(backbone, trained=stages_of(backbone)[-2:], **options)


def test_every_tensor_has_one_group(mobilenet: Backbone) -> None:
    names = sorted([*dict(mobilenet.module.named_parameters()), *dict(mobilenet.module.named_buffers())])
    stages = stages_of(mobilenet)
    for trained in ([], stages[-2:], stages, stages[2:3]):
        plan = plan_training(mobilenet, trained=trained)
        assert sorted(tensor.name for tensor in plan.tensors) == names
        assert len(plan.lines()) == len(names)


def test_the_last_two_stages(mobilenet: Backbone) -> None:
    plan = plan_of_top(mobilenet)
    assert plan.cut == "blocks.5"
    assert plan.trained_stages == ("blocks.5", "blocks.6")
    parameters = dict(mobilenet.module.named_parameters())
    last = [name for name in parameters if name.startswith(("blocks.5.", "blocks.6.", "conv_head.", "bn2."))]
    assert sorted(plan.names("trained")) == sorted(last)


def test_no_stage_and_every_stage_are_the_two_ends(mobilenet: Backbone) -> None:
    frozen, whole = plan_training(mobilenet, trained=()), plan_training(mobilenet, trained=stages_of(mobilenet))
    assert frozen.cut is None
    assert frozen.names("trained", "statistics") == ()
    assert frozen.summary().startswith("trained: the head alone")
    assert whole.cut == "conv_stem"
    parameters = dict(mobilenet.module.named_parameters())
    assert set(whole.names("trained")) == set(parameters)
    count = sum(parameter.numel() for parameter in parameters.values())
    assert whole.summary().startswith(f"trained: conv_stem to blocks.6 and the head ({count:,} parameters); ")


def test_one_stage_alone(mobilenet: Backbone) -> None:
    plan = plan_training(mobilenet, trained=["blocks.0"])
    assert plan.cut == plan.trained_stages[0] == "blocks.0"
    assert all(name.startswith("blocks.0.") for name in plan.names("trained"))


def test_rates_fall_by_the_decay_from_stage_to_stage(mobilenet: Backbone) -> None:
    plan = plan_training(mobilenet, trained=["blocks.4", "blocks.5", "blocks.6"], lr_decay=0.5)
    rates = {tensor.stage: tensor.rate for tensor in plan.tensors if tensor.group == "trained"}
    assert rates == {"blocks.4": 0.25, "blocks.5": 0.5, "blocks.6": 1.0}


def test_statistics_are_held_or_follow(mobilenet: Backbone) -> None:
    statistics = {n for n, _ in mobilenet.module.named_buffers() if n.startswith(("blocks.5.", "blocks.6.", "bn2."))}
    held = plan_of_top(mobilenet)
    trained = plan_of_top(mobilenet, batch_norm="trained")
    assert statistics <= set(held.frozen)
    assert set(trained.names("statistics")) == statistics


def test_only_the_parameters_that_are_asked_for_are_trained(mobilenet: Backbone) -> None:
    plan = plan_of_top(mobilenet, parameters=lambda name: name.endswith("bias"), batch_norm="trained")
    every = plan_of_top(mobilenet, batch_norm="trained")
    assert plan.names("trained") == tuple(name for name in every.names("trained") if name.endswith(".bias")) != ()
    assert plan.names("statistics") == every.names("statistics")
    assert plan.cut == every.cut == "blocks.5"


def test_adapters_need_linear_layers(mobilenet: Backbone) -> None:
    with pytest.raises(OptionError, match=r"lora=4 is for linear layers, and mobilenetv2_100 has none in blocks.5"):
        plan_of_top(mobilenet, lora=4)


def test_adapters_change_linear_weights_and_nothing_else() -> None:
    backbone = build_untrained("vit_tiny_patch16_224")
    plan = plan_of_top(backbone, lora=4)
    linear = {f"{name}.weight" for name, module in backbone.module.named_modules() if type(module) is nn.Linear}
    wanted = {name for name in linear if name.startswith(("blocks.10.", "blocks.11."))}
    assert set(plan.names("low-rank")) == wanted
    assert plan.names("trained", "statistics") == ()


def test_applying_a_plan_sets_gradients_and_modes(mobilenet: Backbone) -> None:
    for batch_norm in ("held", "trained"):
        plan = plan_of_top(mobilenet, batch_norm=batch_norm)
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
