"""The table of strategies: what each row trains, and that a new row is all that a new strategy takes."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.marks import some_slow

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.networks.freezing import BATCH_NORMS, fingerprints
from regraft.networks.plan import Plan
from regraft.options import declared_settings
from regraft.training.finetuner import Finetuner
from regraft.training.schedule import Schedule
from regraft.transfer import auto, settings
from regraft.transfer.experiment import plan_of
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import AUTO, STRATEGIES, Candidate, Strategy, auto_candidates, strategy_named

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
STAGES = ("stem", "one", "two", "three")
QUICK = Schedule(epochs=2, batch_size=8, views=1, averaging=0)
BITFIT = Strategy(
    "bitfit",
    "train the biases alone",  # Ben Zaken et al. 2022
    stages=lambda names: names,
    parameters=lambda name: name.endswith(".bias"),
    learning_rate=7e-3,
    epochs=60,  # more than the 50 that give two batches the least number of steps
)


@pytest.fixture
def bitfit(monkeypatch: pytest.MonkeyPatch) -> Strategy:
    """Add a row to the table for one test."""
    monkeypatch.setitem(STRATEGIES, BITFIT.name, BITFIT)
    return BITFIT


def settings_class() -> type[FitSettings]:
    """Return the settings as they are made from the table as it is now: their help and choices are, on import."""
    spec = importlib.util.spec_from_file_location("settings_of_this_table", settings.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kind: type[FitSettings] = module.FitSettings
    return kind


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the arguments that fine-tunings were started with, in order."""
    begun: list[dict[str, Any]] = []
    start = Finetuner.__init__

    def noted(self: Finetuner, *given: Any, **named: Any) -> None:
        begun.append(named)
        start(self, *given, **named)

    monkeypatch.setattr(Finetuner, "__init__", noted)
    return begun


def fitted(data: Path, network: str, strategy: str, schedule: Schedule = QUICK) -> FitResult:
    how = settings_class()(strategy=strategy, force=True, schedule=schedule)
    return fit(find_samples(data), lambda: load_backbone(network), model=network, settings=how)


def changed(result: FitResult, before: Backbone) -> set[str]:
    """Return the names of the tensors that are not what they were."""
    names = list(before.tensor_hashes())
    old, new = fingerprints(before.module, names), fingerprints(result.classifier.backbone.module, names)
    return {name for name in names if old[name] != new[name]}


def in_stages(plan: Plan, stages: Any) -> set[str]:
    return {tensor.name for tensor in plan.tensors if tensor.kind == "parameter" and tensor.stage in stages}


# --- the rows ---


def test_the_table_as_users_know_it() -> None:
    assert list(STRATEGIES) == ["frozen", "top", "whole", "scratch"]  # in order of cost, as `auto` and `compare` go
    tuned = {name: strategy for name, strategy in STRATEGIES.items() if strategy.stages(STAGES)}
    assert {name: one.learning_rate for name, one in tuned.items()} == {"top": 3e-4, "whole": 1e-4, "scratch": 1e-3}
    assert {name: one.adapter_rate for name, one in tuned.items() if one.adapters} == {"top": 1e-3, "whole": 1e-3}
    assert {name: one.epochs for name, one in tuned.items()} == {"top": 8, "whole": 8, "scratch": 24}
    trained = {name for name, one in STRATEGIES.items() if one.batch_norm == "trained"}
    assert trained == {"scratch"}  # it has no statistics yet
    assert [name for name, one in STRATEGIES.items() if one.stages_can_be_chosen] == ["top"]
    assert [name for name, one in STRATEGIES.items() if one.random_weights] == ["scratch"]
    assert {name: tuple(one.stages(STAGES)) for name, one in STRATEGIES.items()} == {
        "frozen": (),
        "top": ("two", "three"),
        "whole": STAGES,
        "scratch": STAGES,
    }
    assert auto_candidates() == (Candidate("frozen"), Candidate("top"), Candidate("whole"))


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (Candidate("top"), "top"),
        (Candidate("top", train_from="blocks.3"), "from blocks.3"),
        (Candidate("top", train_only="blocks.0"), "only blocks.0"),
        (Candidate("whole", lora=8), "whole, rank 8"),
        (Candidate("top", train_from="blocks.3", lora=2), "from blocks.3, rank 2"),
    ],
)
def test_a_candidate_has_a_short_name(candidate: Candidate, name: str) -> None:
    assert str(candidate) == name
    assert candidate.kind is STRATEGIES[candidate.strategy]


@pytest.mark.parametrize("name", some_slow([*STRATEGIES, "bitfit"], {"whole", "scratch"}))
def test_every_row_keeps_the_contract(
    name: str, bitfit: Strategy, backbone: Backbone, tiny_network: str, photos: Callable[..., Path]
) -> None:
    """Its fields are sound, settings take it, its plan is of its stages, and `fit` changes nothing else."""
    strategy = STRATEGIES[name]
    assert strategy.name == name != AUTO
    assert strategy.help
    assert strategy.batch_norm in BATCH_NORMS
    for rate in (strategy.learning_rate, strategy.adapter_rate):
        Schedule(lr=rate).check()
    Schedule(epochs=strategy.epochs).check()
    stages = [stage.name for stage in backbone.stages()]
    own = list(strategy.stages(stages))
    assert own == [stage for stage in stages if stage in own]  # in order, from pixels on
    assert bool(own) or not (strategy.random_weights or strategy.adapters or strategy.stages_can_be_chosen)

    settings_class()(strategy=name).check(Compute(), ("a", "b"))
    plan = plan_of(Candidate(name), backbone, QUICK)
    assert plan.cut == (own[0] if own else None)
    assert set(plan.names("trained")) == {n for n in in_stages(plan, own) if strategy.parameters(n)}

    result = fitted(photos(red=8, blue=8), tiny_network, name)
    before = result.experiment.network(random_weights=strategy.random_weights)
    touched = changed(result, before)
    assert bool(touched) == bool(own)
    assert touched <= set(plan.names("trained", "statistics"))
    assert result.record.frozen == f"0 of {len(plan.frozen)} frozen tensors changed"
    assert result.record.trained == plan.summary()
    assert result.classifier.strategy == result.record.strategy == name
    assert result.report.n == 16


# --- a new row ---


def test_settings_know_a_new_row(bitfit: Strategy) -> None:
    extended = settings_class()
    extended(strategy="bitfit").check_training(Compute())
    with pytest.raises(OptionError, match=r"^train_from goes with strategy='top'\. Got strategy='bitfit'\.$"):
        extended(strategy="bitfit", train_from="blocks.0").check_training(Compute())
    with pytest.raises(OptionError, match=r"^lora goes with strategy top or whole\. Got strategy='bitfit'\.$"):
        extended(strategy="bitfit", lora=2).check_training(Compute())
    message = r"^strategy must be one of auto, frozen, top, whole, scratch, bitfit\. Got 'melted'\.$"
    with pytest.raises(OptionError, match=message):
        extended(strategy="melted").check_training(Compute())


def test_help_names_a_new_row(bitfit: Strategy) -> None:
    _, said = declared_settings(settings_class())["strategy"]
    assert " bitfit: train the biases alone. auto: the cheapest of frozen, top, whole that" in said.help
    assert said.choices == ("auto", "frozen", "top", "whole", "scratch", "bitfit")


@pytest.mark.slow
def test_a_new_row_trains_its_parameters_with_its_own_rate(
    bitfit: Strategy, tiny_network: str, photos: Callable[..., Path], trainings: list[dict[str, Any]]
) -> None:
    result = fitted(photos(red=8, blue=8), tiny_network, "bitfit", replace(QUICK, epochs=None))
    assert {training["rate"] for training in trainings} == {7e-3}
    assert {training["epochs"] for training in trainings} == {60}
    network = result.experiment.backbone
    biases = {name for name, _ in network.module.named_parameters() if name.endswith(".bias")}
    plan = plan_of(Candidate("bitfit"), network, QUICK)
    assert set(plan.names("trained")) == biases
    assert {tensor.learning_rate for tensor in plan.tensors if tensor.group == "trained"} == {1.0}
    touched = changed(result, network)
    assert touched <= biases
    assert len(touched) > 0.9 * len(biases)
    tensors = len(network.tensor_hashes())
    assert result.record.frozen == f"0 of {tensors - len(biases)} frozen tensors changed"
    assert f"{sum(network.module.get_parameter(name).numel() for name in biases):,} parameters" in result.record.trained


@pytest.mark.parametrize("tried", some_slow([False, True], {True}))
def test_auto_tries_a_new_row_only_if_that_says_so(
    tried: bool, bitfit: Strategy, monkeypatch: pytest.MonkeyPatch, tiny_network: str, photos: Callable[..., Path]
) -> None:
    monkeypatch.setitem(STRATEGIES, "bitfit", replace(bitfit, tried_by_auto=tried))
    monkeypatch.setattr(auto, "PROVABLE", 0)  # the photos are told apart without fail; else nothing more is tried
    result = fitted(photos(red=8, blue=8), tiny_network, AUTO)
    assert result.record.tried is not None
    found = [attempt.strategy for attempt in result.record.tried]
    assert found == ["frozen", "top", "whole", *(["bitfit"] if tried else [])]


def test_what_a_report_says_of_the_network_comes_from_the_row(bitfit: Strategy) -> None:
    assert [name for name in STRATEGIES if not strategy_named(name).trains_network] == ["frozen"]
    assert [name for name in STRATEGIES if strategy_named(name).random_weights] == ["scratch"]
    assert strategy_named(bitfit.name) is bitfit


def test_a_strategy_that_only_a_file_knows_trained_a_pretrained_network() -> None:
    unknown = strategy_named("of a later version")
    assert unknown.trains_network
    assert not unknown.random_weights
