"""Settings: what is allowed, what goes together, and what trained weights depend on."""

import json
from typing import Any

import pytest

from regraft.engines.compute import Compute
from regraft.errors import OptionError, flags_in_messages
from regraft.options import declared_settings, flags_of
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings, strategies_that_use

CPU = Compute(device="cpu")


def refused(compute: Compute = CPU, **given: Any) -> str:
    with pytest.raises(OptionError) as caught:
        FitSettings(**given).check(compute, ("cat", "dog"))
    return str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"strategy": "auto", "budget": 0},
        {"strategy": "top", "train_from": "blocks.3"},
        {"strategy": "top", "train_only": "blocks.3"},
        {"seed": 2**32 - 1},
        {"positive": "cat", "force": True, "restart": True},
        {"class_weight": "balanced"},
        {"head": "logistic"},
        {"head": "discriminant", "strategy": "top"},
        {"class_weight": "dog=2.5", "strategy": "top"},
        {"strategy": "scratch", "precision": "bf16"},
    ],
)
def test_what_is_allowed(given: dict[str, Any]) -> None:
    FitSettings(**given).check(CPU, ("cat", "dog"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "melted"}, "strategy must be one of auto, frozen, top, whole, scratch. Got 'melted'."),
        ({"strategy": None}, "strategy must be one of auto, frozen, top, whole, scratch. Got None."),
        ({"head": "lda"}, "head must be one of auto, logistic, discriminant. Got 'lda'."),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295. Got -1."),
        ({"seed": 2**32}, "seed must be a whole number from 0 to 4294967295. Got 4294967296."),
        ({"seed": 0.5}, "seed must be a whole number from 0 to 4294967295. Got 0.5."),
        ({"seed": True}, "seed must be a whole number from 0 to 4294967295. Got True."),
        ({"budget": -1}, "budget must be a number of seconds from 0. Got -1."),
        ({"budget": float("nan")}, "budget must be a number of seconds from 0. Got nan."),
        ({"precision": "fp8"}, "precision must be one of auto, fp32, bf16, fp16. Got 'fp8'."),
        ({"lora": -1}, "lora must be a rank, a whole number from 1. Got -1."),
        ({"lora": 1.5}, "lora must be a rank, a whole number from 1. Got 1.5."),
        ({"force": "x"}, "force must be True or False. Got 'x'."),
        (
            {"class_weight": "cat=-1"},
            "class_weight must be balanced, or weights by class, each a number from 1e-06 to 1e+06, as "
            "malignant=5,benign=1. Got 'cat=-1'.",
        ),
        ({"class_weight": "cow=2"}, "class_weight must name classes: cat, dog. Got 'cow'."),
        ({"train_from": 3}, "train_from must be the name of a stage. Got 3."),
        (
            {"strategy": "top", "train_from": "a", "train_only": "b"},
            "train_from and train_only exclude each other: from a stage on, or one stage alone.",
        ),
        (
            {"strategy": "whole", "train_from": "a"},
            "train_from goes with strategy='top'. Got strategy='whole'.",
        ),
        (
            {"strategy": "auto", "train_only": "a"},
            "train_only goes with strategy='top'. Got strategy='auto'.",
        ),
        ({"strategy": "frozen", "lora": 8}, "lora goes with strategy top or whole. Got strategy='frozen'."),
        ({"strategy": "scratch", "lora": 8}, "lora goes with strategy top or whole. Got strategy='scratch'."),
        (
            {"strategy": "top", "precision": "fp16"},
            "precision='fp16' needs a GPU, and training runs on the CPU here (device). Use precision='bf16' or fp32, "
            "or leave it out.",
        ),
        ({"schedule": {"epochs": 2}}, "schedule must be a regraft.Schedule. Got {'epochs': 2}."),
        ({"schedule": Schedule(batch_size=0)}, "batch_size must be a whole number from 1. Got 0."),
        ({"positive": "fox"}, "positive must be one of cat, dog. Got 'fox'."),
    ],
)
def test_what_is_not_allowed_is_said(given: dict[str, Any], message: str) -> None:
    assert refused(**given) == message


def test_all_mistakes_are_named_at_once() -> None:
    lines = refused(seed=-1, precision="fp8", force="yes").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["seed", "force", "precision"]


def test_a_positive_class_is_for_two_classes() -> None:
    with pytest.raises(OptionError, match=r"positive is for two classes\. There are 3; leave it out\."):
        FitSettings(positive="cat").check(CPU, ("cat", "dog", "fox"))


def test_the_command_line_reads_flags() -> None:
    with flags_in_messages(flags_of(FitSettings, Schedule)):
        found = refused(strategy="whole", train_from="a")
        assert found == "--train-from goes with --strategy top. Got --strategy whole."
        assert refused(schedule=Schedule(batch_size=0)) == "--train-batch-size must be a whole number from 1. Got 0."


def test_what_trained_weights_depend_on_is_plain_json() -> None:
    found = FitSettings(strategy="top", seed=3).training_arguments(Compute(device="cpu", cache=False))
    assert json.loads(json.dumps(found)) == {n: list(v) if isinstance(v, tuple) else v for n, v in found.items()}
    assert (found["strategy"], found["seed"], found["device"]) == ("top", 3, "cpu")
    assert (found["cache=False"], found["batch_size"]) == (True, 32)
    assert "budget" not in found  # of "auto" alone
    assert not {"force", "positive", "restart"} & set(found)
    assert FitSettings(strategy="auto", budget=5.0).training_arguments(CPU)["budget"] == 5.0
    assert not {"class_weight", "head"} & set(found)  # as in runs that began before there were these options
    assert FitSettings(head="discriminant").training_arguments(CPU)["head"] == "discriminant"
    assert FitSettings(class_weight="dog=2").training_arguments(CPU)["class_weight"] == "dog=2"
    schedule = set(Schedule.__dataclass_fields__)
    assert schedule <= set(found)
    with flags_in_messages(flags_of(FitSettings, Schedule)):
        flags = FitSettings().training_arguments(CPU)
    assert {"--strategy", "--train-from", "--train-batch-size", "--no-cache", "--device"} <= set(flags)
    assert flags["--no-cache"] is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"strategy": "frozen", "schedule": Schedule(epochs=5)},
            "epochs goes with strategy top, whole, scratch or auto. Got strategy frozen, which would ignore it. Leave "
            "it out.",
        ),
        (
            {"strategy": "scratch", "schedule": Schedule(views=2), "budget": 60.0},
            "views goes with strategy top or auto. Got strategy scratch, which would ignore it. Leave it out.\n"
            "budget goes with strategy auto. Got strategy scratch, which would ignore it. Leave it out.",
        ),
        (
            {"strategy": "scratch", "head": "logistic"},
            "head goes with strategy frozen, top, whole or auto. Got strategy scratch, which would ignore it. Leave it "
            "out.",
        ),
        (
            {"strategy": "scratch", "features": "last"},
            "features goes with strategy frozen, top, whole or auto. Got strategy scratch, which would ignore it. "
            "Leave it out.",
        ),
    ],
)
def test_an_option_that_the_strategy_does_not_use_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        FitSettings(**given).check_used((given["strategy"],), CPU)
    assert str(caught.value) == message


@pytest.mark.parametrize("strategy", ["frozen", "top", "whole", "scratch", "auto"])
def test_defaults_are_never_refused_and_each_option_is_used_by_some(strategy: str) -> None:
    FitSettings(strategy=strategy).check_used((strategy,), CPU)
    FitSettings(schedule=Schedule(epochs=2, views=3)).check_used((strategy, "top"), CPU, named="strategies")
    for name in declared_settings(Schedule):
        assert {"top", "auto"} <= set(strategies_that_use(f"Schedule.{name}"))
