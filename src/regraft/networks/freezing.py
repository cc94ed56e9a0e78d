"""Freezing as a plan: which tensors of a network are trained, which are frozen, and the proof that these stayed."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.errors import FrozenTensorError, OptionError, did_you_mean, option, shortlist
from regraft.networks.backbone import Backbone, tensor_bytes
from regraft.networks.lora import passed_by

BATCH_NORMS = ("held", "trained")
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
        size: how many scalars it holds.
    """

    name: str
    kind: str
    stage: str
    group: str
    rate: float
    size: int

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
        trained = {tensor.stage for tensor in self.tensors if tensor.group != "frozen"}
        return tuple(stage for stage in self.stages if stage in trained)

    def summary(self) -> str:
        """Return one line: what is trained and how many parameters that are."""
        parameters = sum(tensor.size for tensor in self.tensors if tensor.group in ("trained", "low-rank"))
        stages = self.trained_stages
        if not stages:
            return f"trained: the head alone; {len(self.frozen)} tensors frozen"
        where = stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"
        how = f" by adapters of rank {self.lora}" if self.lora else ""
        return (
            f"trained: {where} and the head{how} ({parameters:,} parameters); "
            f"{len(self.frozen)} of {len(self.tensors)} tensors frozen; batch-norm statistics {self.batch_norm}"
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
        tensors = [
            {
                "name": tensor.name,
                "kind": tensor.kind,
                "stage": tensor.stage,
                "group": tensor.group,
                "rate": tensor.learning_rate,
                "numbers": tensor.size,
            }
            for tensor in self.tensors
        ]
        return {"summary": self.summary(), "tensors": tensors}


def stages_to_train(
    stages: Sequence[str], default: Sequence[str], *, train_from: str | None = None, train_only: str | None = None
) -> tuple[str, ...]:
    """Return the names of the stages that are trained.

    Args:
        stages: the names of all, from pixels to features.
        default: those that are trained if neither of the others is given.
        train_from: the first stage that is trained.
        train_only: the one stage that is trained; those after it run, but stay as they are.

    Raises:
        OptionError: no such stage.
    """
    for name, stage in (("train_only", train_only), ("train_from", train_from)):
        if stage is not None and stage not in stages:
            raise OptionError(
                f"{option(name)} must name a stage of the network: {', '.join(stages)}. Got {stage!r}."
                f"{did_you_mean(stage, stages)}"
            )
    if train_only is not None:
        return (train_only,)
    return tuple(default) if train_from is None else tuple(stages[stages.index(train_from) :])


def plan_training(
    backbone: Backbone,
    *,
    trained: Sequence[str],
    parameters: Callable[[str], bool] = lambda _: True,
    lr_decay: float = 1.0,
    batch_norm: str = "held",
    lora: int = 0,
) -> Plan:
    """Return what training does to every tensor of `backbone`.

    Args:
        backbone: its stages are traced; it is not changed.
        trained: the names of the stages in which something is trained, from pixels to features; none for the head
            alone.
        parameters: which parameters of these stages are trained, by name.
        lr_decay: learning rate of each trained stage relative to the one after it.
        batch_norm: of the trained stages: "held" or "trained".
        lora: rank of low-rank adapters (Hu et al. 2021) on the linear layers of the trained stages; 0 trains the
            weights themselves.

    Raises:
        OptionError: adapters where there is no linear layer or where they would learn nothing.
    """
    stages = backbone.stages()
    rates = {name: lr_decay ** (len(trained) - 1 - index) for index, name in enumerate(trained)}
    modules, own = dict(backbone.module.named_modules()), dict(backbone.module.named_parameters())
    sizes = {name: tensor.numel() for name, tensor in [*own.items(), *backbone.module.named_buffers()]}
    tensors = []
    for stage, name in [(one.name, name) for one in stages for name in one.tensors]:
        kind, group = "parameter" if name in own else "buffer", "frozen"
        if stage in rates and (kind == "buffer" or parameters(name)):
            group = _group(modules[name.rpartition(".")[0]], name, kind, batch_norm=batch_norm, lora=lora)
        tensors.append(TensorPlan(name, kind, stage, group, rates.get(stage, 0.0), sizes[name]))
    names = tuple(stage.name for stage in stages)
    plan = Plan(trained[0] if trained else None, names, tuple(tensors), batch_norm, lora)
    if trained and lora:
        _check_adapters(backbone, plan, trained)
    return plan


def apply_plan(network: nn.Module, plan: Plan) -> list[nn.Module]:
    """Make trainable what `plan` says and nothing else, and return the modules that belong into training mode.

    These are the modules of the trained stages: dropout elsewhere would only add noise. Batch norm is among them only
    where its statistics are trained.

    Args:
        network: with the plan's names, or a part of it; its `requires_grad` is set.
        plan: what is trained.
    """
    trainable = set(plan.names("trained"))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trainable)
    trained = set(plan.trained_stages)
    owners = {tensor.name.rpartition(".")[0] for tensor in plan.tensors if tensor.stage in trained}
    others = {tensor.name.rpartition(".")[0] for tensor in plan.tensors if tensor.stage not in trained}
    found = []
    for name, module in network.named_modules():
        above = {".".join(name.split(".")[:length]) for length in range(1, name.count(".") + 2)}
        inside = bool(above & owners) or any(owner.startswith(f"{name}.") for owner in owners)
        shared = any(owner.startswith(f"{name}.") for owner in others)  # with a frozen stage: has no mode of its own
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


def _check_adapters(backbone: Backbone, plan: Plan, trained: Sequence[str]) -> None:
    network, preprocess = backbone.recipe.architecture, backbone.preprocess
    weights, lora = plan.names("low-rank"), option("lora", plan.lora)
    if not weights:
        raise OptionError(
            f"{lora} is for linear layers, and {network} has none in {', '.join(trained)}. Leave it out: these "
            "stages are then trained themselves."
        )
    idle = passed_by(backbone.module, weights, (3, preprocess.height, preprocess.width))
    if idle:
        raise OptionError(
            f"{lora}: {network} does not call {len(idle):,} of the {len(weights):,} linear layers that are to have "
            f"adapters but takes their weights past them, so that these adapters would learn nothing:\n"
            f"{shortlist([name.removesuffix('.weight') for name in idle])}\n"
            f"Leave {option('lora')} out: the stages are then trained themselves. Or choose another network."
        )


def _group(owner: nn.Module, name: str, kind: str, *, batch_norm: str, lora: int) -> str:
    """Return the group of a tensor of a trained stage."""
    if kind == "buffer":
        is_statistic = isinstance(owner, _BatchNorm) and name.rpartition(".")[2] in _STATISTICS
        return "statistics" if is_statistic and batch_norm == "trained" else "frozen"
    if lora:
        return "low-rank" if type(owner) is nn.Linear and name.endswith(".weight") else "frozen"
    return "trained"
