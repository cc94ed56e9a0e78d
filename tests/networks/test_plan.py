"""What training does to a network, as data: which stages, and the plan that trains the head alone."""

import pytest

from regraft.errors import FrozenTensorError, OptionError
from regraft.networks.backbones import load_backbone
from regraft.networks.freezing import plan_training
from regraft.networks.plan import check_frozen, frozen_plan, stages_to_train

STAGES = ["stem", "blocks.0", "blocks.1", "blocks.2"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("blocks.2",)),
        ({"train_from": "blocks.1"}, ("blocks.1", "blocks.2")),
        ({"train_from": "stem"}, tuple(STAGES)),
        ({"train_only": "blocks.0"}, ("blocks.0",)),
    ],
)
def test_stages_to_train(options: dict[str, str], expected: tuple[str, ...]) -> None:
    assert stages_to_train(STAGES, ["blocks.2"], **options) == expected


@pytest.mark.parametrize("option", ["train_from", "train_only"])
def test_an_unknown_stage_is_named_with_those_that_there_are(option: str) -> None:
    message = rf"^{option} must name a stage of the network: stem, .*Got 'block\.1'\. Did you mean 'blocks\.1'"
    with pytest.raises(OptionError, match=message):
        stages_to_train(STAGES, [], **{option: "block.1"})


def test_a_plan_without_a_module_is_that_of_training_nothing(tiny_network: str) -> None:
    backbone = load_backbone(tiny_network)
    for batch_norm, lora in (("held", 0), ("trained", 4)):
        found = frozen_plan(backbone, batch_norm=batch_norm, lora=lora)
        assert found == plan_training(backbone, trained=(), batch_norm=batch_norm, lora=lora)
        assert set(found.frozen) == set(backbone.tensor_hashes())


def test_what_changed_or_is_gone_is_named() -> None:
    before = {"a": "1", "b": "2", "c": "3"}
    assert check_frozen(before, before | {"d": "4"}) == "0 of 3 frozen tensors changed"
    with pytest.raises(FrozenTensorError, match=r"^2 of 3 frozen tensors changed during training:\n  b\n  c\n"):
        check_frozen(before, {"a": "1", "b": "3"})
