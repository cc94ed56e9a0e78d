"""One training by several processes: the steps of one process, the same decisions, one checkpoint."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fixtures.processes import in_processes
from tests.training.jobs import CPU, PLAIN, finetuner, top_plan

from regraft.errors import TrainingError
from regraft.networks.backbone import Backbone
from regraft.processes import ProcessGroup
from regraft.progress import Observer
from regraft.training.checkpoints import Run
from regraft.training.finetuner import Finetuner
from regraft.training.schedule import Schedule

SGD = replace(PLAIN, optimizer="sgd", batch_size=6)  # 20 photos: three batches of 6 and one of 2
ROUNDING = 2.0**-24  # of a float32


def trained(
    network: Backbone, images: torch.Tensor, schedule: Schedule, group: ProcessGroup | None = None, **how: Any
) -> tuple[dict[str, torch.Tensor], Finetuner]:
    """Return what training gives: the weights that changed, and the head's."""
    network = copy.deepcopy(network)  # threads would see each other's hooks
    plan = top_plan(network)
    using = CPU if group is None else replace(CPU, processes=group)
    made, _, _ = finetuner(network, images, plan, schedule, using=using, **how)
    list(made.train())
    state, head = made.finish()
    found = {name: state[name] for name in plan.names("trained")}
    return found | {"head": torch.from_numpy(head.weight)}, made


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
@pytest.mark.parametrize("count", [2, 3])
def test_processes_take_the_steps_of_one(
    network: Backbone, images: torch.Tensor, count: int, mixed: dict[str, float]
) -> None:
    """Only the order of sums differs.

    A sum of b numbers in another order differs by at most b roundings of the sum of their sizes; photos share a
    batch of 6 here, in 8 steps of plain gradient descent, whose moves add up. Intermediate layers sum hundreds of
    products, in blocks that depend on how many photos there are: 1000 roundings of how far a tensor moved bound all.
    """
    schedule = replace(SGD, **mixed)
    alone, own = trained(network, images, schedule, epochs=2)
    before = network.module.state_dict()
    for found, made in in_processes(count, lambda group: trained(network, images, schedule, group, epochs=2)):
        assert made.images == own.images == 40
        for name, tensor in found.items():
            moved = float((alone[name] - before.get(name, 0)).abs().max())
            assert float((tensor - alone[name]).abs().max()) <= 1000 * ROUNDING * max(moved, 1e-3), name


def test_all_processes_have_the_same_weights(network: Backbone, images: torch.Tensor) -> None:
    first, second, third = in_processes(3, lambda group: trained(network, images, SGD, group)[0])
    assert all(torch.equal(first[name], other[name]) for other in (second, third) for name in first)


def test_all_start_as_the_first_one(network: Backbone, images: torch.Tensor) -> None:
    """Heads that were fitted on other machines differ in the last digits."""

    def work(group: ProcessGroup) -> dict[str, torch.Tensor]:
        own = copy.deepcopy(network)
        with torch.no_grad():
            for parameter in own.module.parameters():
                parameter.mul_(1 + 1e-4 * group.rank)
        return trained(own, images, SGD, group)[0]

    first, second = in_processes(2, work)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_stop_at_once(network: Backbone, images: torch.Tensor) -> None:
    labels = np.random.default_rng(3).integers(0, 3, 20)
    hasty = Schedule(batch_size=4, averaging=0, patience=2, clip=0, mixup=0)
    how: dict[str, Any] = {"epochs": 50, "rate": 0.3, "tune": range(12, 20), "labels": labels}
    _, alone = trained(network, images, hasty, **how)
    found = in_processes(2, lambda group: trained(network, images, hasty, group, **how)[1])
    assert alone.stopped_early
    for made in found:
        assert made.stopped_early
        assert len(made.curve) == len(alone.curve)
        assert [record.tuning_loss for record in made.curve] == [record.tuning_loss for record in found[0].curve]


def test_a_killed_training_goes_on_in_all_processes(network: Backbone, images: torch.Tensor, tmp_path: Path) -> None:
    """Killed after five steps, within an epoch; the checkpoint is the first process's."""

    def work(group: ProcessGroup, folder: Path, *, kill: bool = False) -> dict[str, torch.Tensor]:
        run = Run(folder, {"processes": 2}, restart=False, observer=Observer(), processes=group)
        using, own = replace(CPU, processes=group), copy.deepcopy(network)
        plan = top_plan(own)
        made, _, _ = finetuner(own, images, plan, SGD, epochs=2, run=run, using=using)
        for record in made.train():
            if kill and record.step == 5:
                made._save()
                return {}
        return {name: made.finish()[0][name] for name in plan.names("trained")[:1]} | trained_head(made)

    whole = in_processes(2, lambda group: work(group, tmp_path / "whole"))
    in_processes(2, lambda group: work(group, tmp_path / "killed", kill=True))
    files = [path.name for path in (tmp_path / "killed").iterdir()]
    assert len(files) == 2  # the arguments and one checkpoint
    resumed = in_processes(2, lambda group: work(group, tmp_path / "killed"))
    for before, after in zip(whole, resumed, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


def trained_head(made: Finetuner) -> dict[str, torch.Tensor]:
    return {"head": torch.from_numpy(made.finish()[1].weight)}


def test_a_loss_that_is_not_finite_ends_all(network: Backbone, images: torch.Tensor) -> None:
    images[3] = float("nan")  # which one of them has
    with pytest.raises(TrainingError, match="the training loss is nan"):
        in_processes(2, lambda group: trained(network, images, SGD, group))
