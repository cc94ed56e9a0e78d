"""An optimizer is a row of a table."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regraft.data.layouts import find_samples
from regraft.errors import OptionError
from regraft.networks.backbone import Backbone
from regraft.training.optimizers import OPTIMIZERS, OptimizerKind
from regraft.training.schedule import Schedule
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings


def test_rates_follow_the_table() -> None:
    assert Schedule(optimizer="adamw").learning_rate(1e-3) == 1e-3
    assert Schedule(optimizer="sgd").learning_rate(1e-3) == pytest.approx(0.03)
    assert Schedule(optimizer="sgd", lr=0.5).learning_rate(1e-3) == 0.5


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_is_torchs_with_each_groups_own_decay(name: str) -> None:
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
    made = OPTIMIZERS[name].build(groups, 0.25)
    assert type(made) is {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    assert [(group["lr"], group["weight_decay"]) for group in made.param_groups] == [(0.25, 0.1), (0.25, 0.0)]


def test_the_first_step_of_adamw_by_hand() -> None:
    """Each group decays by its own rate times decay, then moves by its own rate against the gradient's sign."""
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
    made = OPTIMIZERS["adamw"].build(groups, 0.25)
    made.param_groups[1]["lr"] = 0.125
    weight.grad, bias.grad = torch.tensor([[3.0, -2.0], [0.5, -0.25]]), torch.tensor([1.0, -4.0])
    made.step()
    assert weight.tolist() == [pytest.approx([0.725, 1.225])] * 2  # 1 - 0.25 x 0.1, minus or plus 0.25
    assert bias.tolist() == pytest.approx([0.875, 1.125])


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_tensors_are_updated_by_one_kernel(name: str) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
    assert OPTIMIZERS[name].build(groups, 0.1).param_groups[0]["fused"] is True
    elsewhere = [{"params": [torch.nn.Parameter(torch.ones(2, device="meta"))]}]
    assert not OPTIMIZERS[name].build(elsewhere, 0.1).param_groups[0]["fused"]


def test_another_one_is_a_row(
    monkeypatch: pytest.MonkeyPatch,
    backbone: Backbone,
    photos: Callable[..., Path],
    few_draws: None,
    few_strengths: None,
) -> None:
    built: list[float] = []

    def rmsprop(groups: list[dict[str, object]], rate: float) -> torch.optim.Optimizer:
        built.append(rate)
        return torch.optim.RMSprop(groups, lr=rate)

    with pytest.raises(OptionError, match="optimizer must be one of adamw, sgd"):
        Schedule(optimizer="melt").check()
    monkeypatch.setitem(OPTIMIZERS, "rmsprop", OptimizerKind("rmsprop", rmsprop, rate_factor=0.5))
    settings = FitSettings(strategy="top", force=True, schedule=Schedule(optimizer="rmsprop", epochs=1, views=1))
    monkeypatch.setattr(FitSettings, "check", lambda *_: None)  # choices are read when the module is imported
    fit(find_samples(photos("pets", red=10, blue=10)), lambda: backbone, model="tiny", settings=settings)
    assert built == [3e-4 * 0.5] * 6  # five folds and the final one
