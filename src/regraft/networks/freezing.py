"""Freezing: what training does to every tensor of a network, planned and applied."""

import hashlib
from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.errors import OptionError, option, shortlist
from regraft.networks.backbone import Backbone, tensor_bytes
from regraft.networks.lora import passed_by
from regraft.networks.plan import Plan, TensorPlan

BATCH_NORMS = ("held", "trained")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


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
