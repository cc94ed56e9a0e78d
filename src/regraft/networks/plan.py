"""What training does to every tensor of a network, as data; and the proof that what is frozen stayed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regraft.errors import FrozenTensorError, OptionError, did_you_mean, option, shortlist
from regraft.networks.backbone import Backbone


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


def frozen_plan(backbone: Backbone, *, batch_norm: str = "held", lora: int = 0) -> Plan:
    """Return the plan that trains the head alone: nothing of the network."""
    stages, outlines = backbone.stages(), backbone.tensor_outlines()
    tensors = [
        TensorPlan(name, outlines[name].kind, stage.name, "frozen", 0.0, outlines[name].size)
        for stage in stages
        for name in stage.tensors
    ]
    return Plan(None, tuple(stage.name for stage in stages), tuple(tensors), batch_norm, lora)


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
