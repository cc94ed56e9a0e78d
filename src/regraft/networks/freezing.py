"""Freezing as a plan: which tensors of a network are trained, which are not, and the proof that they were not."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.errors import FrozenTensorError, OptionError, did_you_mean, shortlist
from regraft.networks.backbones import Backbone, tensor_bytes
from regraft.networks.lora import passed_by

TOP_STAGES = 2  # that `top` trains
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of one parameter or buffer.

    Attributes:
        name: in the network.
        kind: "parameter" or "buffer".
        stage: the stage it belongs to.
        group: "frozen", "trained" (by the optimizer), "low-rank" (by an adapter that is added to it at the end) or
            "statistics" (batch-norm buffers that follow the data).
        rate: its stage's learning rate as a share of the head's.
        numbers: how many numbers it holds.
    """

    name: str
    kind: str
    stage: str
    group: str
    rate: float
    numbers: int

    @property
    def learning_rate(self) -> float:
        """Return its own learning rate as a share of the head's: 0 for what the optimizer does not train."""
        return self.rate if self.group in ("trained", "low-rank") else 0.0


@dataclass(frozen=True)
class Plan:
    """What training does to every tensor of a network.

    Attributes:
        cut: the stage before which the network is cut; None before the head, so that the head alone is trained.
        stages: the names of all stages, from pixels to features.
        tensors: every parameter and buffer, each once.
        batch_norm: "held" (statistics stay) or "trained" (they follow the photos) in the trained stages.
        lora: rank of the adapters, 0 for none.
    """

    cut: str | None
    stages: tuple[str, ...]
    tensors: tuple[TensorPlan, ...]
    batch_norm: str = "held"
    lora: int = 0

    def names(self, *groups: str) -> tuple[str, ...]:
        """Return the names of the tensors in `groups`."""
        return tuple(tensor.name for tensor in self.tensors if tensor.group in groups)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Return the names of the tensors that must not change."""
        return self.names("frozen")

    @property
    def trained_stages(self) -> tuple[str, ...]:
        """Return the stages in which something is trained."""
        there = {tensor.stage for tensor in self.tensors if tensor.group != "frozen"}
        return tuple(stage for stage in self.stages if stage in there)

    def summary(self) -> str:
        """Return one line: what is trained and how many numbers that are."""
        numbers = sum(tensor.numbers for tensor in self.tensors if tensor.group in ("trained", "low-rank"))
        stages = self.trained_stages
        if not stages:
            return f"trained: the head alone; {len(self.frozen)} tensors frozen"
        where = stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"
        how = f" by adapters of rank {self.lora}" if self.lora else ""
        return (
            f"trained: {where} and the head{how} ({numbers:,} numbers); {len(self.frozen)} of {len(self.tensors)} "
            f"tensors frozen; batch-norm statistics {self.batch_norm}"
        )

    def lines(self) -> list[str]:
        """Return a line for every tensor: its group, learning rate as a share of the head's, stage and name."""
        width = max(len(tensor.stage) for tensor in self.tensors)
        return [
            f"{one.group:<10}  {one.learning_rate:>6.3g}  {one.kind:<9}  {one.stage:<{width}}  {one.name}"
            for one in self.tensors
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the summary and every tensor in plain JSON types."""
        tensors = [asdict(tensor) | {"rate": tensor.learning_rate} for tensor in self.tensors]
        return {"summary": self.summary(), "tensors": tensors}


def plan_training(
    backbone: Backbone,
    *,
    strategy: str,
    train_from: str | None = None,
    train_only: str | None = None,
    lr_decay: float = 1.0,
    batch_norm: str = "held",
    lora: int = 0,
) -> Plan:
    """Return what training by `strategy` does to every tensor of `backbone`.

    Args:
        backbone: its stages are traced; it is not changed.
        strategy: "frozen", "top" (the last two stages, or from `train_from` on), "whole" or "scratch".
        train_from: the first stage that is trained.
        train_only: the one stage that is trained; those after it run, but stay as they are.
        lr_decay: each trained stage learns this much slower than the one after it.
        batch_norm: of the trained stages: "held" or "trained".
        lora: rank of low-rank adapters (Hu et al. 2021) on the linear layers of the trained stages; 0 trains the
            weights themselves.

    Raises:
        OptionError: no such stage, or adapters where there is no linear layer or where they would learn nothing.
    """
    stages = backbone.stages()
    names = tuple(stage.name for stage in stages)
    trained = _trained(names, strategy, train_from, train_only)
    rates = {name: lr_decay ** (len(trained) - 1 - place) for place, name in enumerate(trained)}
    modules, parameters = dict(backbone.module.named_modules()), dict(backbone.module.named_parameters())
    sizes = {name: t.numel() for name, t in [*parameters.items(), *backbone.module.named_buffers()]}
    tensors = []
    stage_of = {name: one for one in stages for name in one.tensors}
    for name, stage in stage_of.items():
        owner = modules[name.rpartition(".")[0]]
        group = _group(owner, name, is_parameter=name in parameters, batch_norm=batch_norm, lora=lora)
        group = group if stage.name in rates else "frozen"
        kind = "parameter" if name in parameters else "buffer"
        tensors.append(TensorPlan(name, kind, stage.name, group, rates.get(stage.name, 0.0), sizes[name]))
    plan = Plan(trained[0] if trained else None, names, tuple(tensors), batch_norm, lora)
    if trained and lora:
        _check_adapters(backbone, plan.names("low-rank"), f"--lora {lora}", trained)
    return plan


def apply_plan(network: nn.Module, plan: Plan) -> list[nn.Module]:
    """Let learn what `plan` says and nothing else, and return the modules that belong into training mode.

    These are the modules of the trained stages: dropout elsewhere would only add noise to what stays as it is. Batch
    norm is among them only where its statistics are to follow the photos.

    Args:
        network: with the plan's names, or a part of it; its `requires_grad` is set.
        plan: what is trained.
    """
    learns = set(plan.names("trained"))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learns)
    trained = set(plan.trained_stages)
    owners = {tensor.name.rpartition(".")[0] for tensor in plan.tensors if tensor.stage in trained}
    others = {tensor.name.rpartition(".")[0] for tensor in plan.tensors if tensor.stage not in trained}
    found = []
    for name, module in network.named_modules():
        above = {".".join(name.split(".")[:length]) for length in range(1, name.count(".") + 2)}
        inside = bool(above & owners) or any(owner.startswith(f"{name}.") for owner in owners)
        shared = any(owner.startswith(f"{name}.") for owner in others)  # also holds what stays: has no mode of its own
        if isinstance(module, _BatchNorm):
            inside = inside and plan.batch_norm == "trained"
        if inside and not shared:
            found.append(module)
    return found


def fingerprints(module: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """Return the hex SHA-256 of each named parameter or buffer of `module`."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: hashlib.sha256(tensor_bytes(tensors[name])).hexdigest() for name in names}


def check_frozen(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return "0 of N frozen tensors changed".

    Raises:
        FrozenTensorError: some changed; all of them are named.
    """
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    if changed:
        raise FrozenTensorError(
            f"{len(changed):,} of {len(before):,} frozen tensors changed during training:\n{shortlist(changed)}\n"
            "The classifier is not written. This is a defect in regraft; please report it with the command."
        )
    return f"0 of {len(before):,} frozen tensors changed"


def _trained(names: tuple[str, ...], strategy: str, train_from: str | None, train_only: str | None) -> tuple[str, ...]:
    if train_only is not None:
        return (_known(train_only, names, "--train-only"),)
    if train_from is not None:
        return names[names.index(_known(train_from, names, "--train-from")) :]
    return {"frozen": (), "top": names[-TOP_STAGES:], "whole": names, "scratch": names}[strategy]


def _known(stage: str, names: tuple[str, ...], option: str) -> str:
    if stage not in names:
        raise OptionError(
            f"{option} must name a stage of the network: {', '.join(names)}. Got {stage!r}.{did_you_mean(stage, names)}"
        )
    return stage


def _check_adapters(backbone: Backbone, weights: Sequence[str], option: str, trained: Sequence[str]) -> None:
    network, preprocess = backbone.recipe.architecture, backbone.preprocess
    if not weights:
        raise OptionError(
            f"{option} is for linear layers, and {network} has none in {', '.join(trained)}. Leave it out: these "
            "stages are then trained themselves."
        )
    idle = passed_by(backbone.module, weights, (3, preprocess.height, preprocess.width))
    if idle:
        raise OptionError(
            f"{option}: {network} does not call {len(idle):,} of the {len(weights):,} linear layers that are to have "
            f"adapters but takes their weights past them, so that these adapters would learn nothing:\n"
            f"{shortlist([name.removesuffix('.weight') for name in idle])}\n"
            "Leave --lora out: the stages are then trained themselves. Or choose another network."
        )


def _group(owner: nn.Module, name: str, *, is_parameter: bool, batch_norm: str, lora: int) -> str:
    """Return what a tensor becomes in a trained stage."""
    if not is_parameter:
        is_statistic = isinstance(owner, _BatchNorm) and name.rpartition(".")[2] in _STATISTICS
        return "statistics" if is_statistic and batch_norm == "trained" else "frozen"
    if lora:
        return "low-rank" if type(owner) is nn.Linear and name.endswith(".weight") else "frozen"
    return "trained"
