"""The table of engines: where each one runs, how it is built, and how closely it must agree with the reference.

A new engine is an `Engine` in a file of its own and a row here. The command line's help is made from this table, so the
functions of a row import their libraries themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regraft.errors import option
from regraft.runtime import MANY_PHOTOS, Device, is_installed

if TYPE_CHECKING:
    from regraft.engines.engine import Engine
    from regraft.engines.workload import Workload

AUTO, REFERENCE = "auto", "torch-float32"
OF_GRAPH = "openvino-float32"  # the reference for a network whose graph was compared with PyTorch when it was made
WORTH_CONVERTING = MANY_PHOTOS  # PyTorch runs fewer in less time than the conversion takes


@dataclass(frozen=True)
class Precision:
    """A number format, and the agreement with the reference that is required in it.

    Attributes:
        name: as PyTorch calls it.
        least_cosine: to the reference's outputs.
        every_photo: the least agreement is required of each photo; else of their mean.
        exact: good enough for the inputs of training.
    """

    name: str
    least_cosine: float
    every_photo: bool = False
    exact: bool = False


FLOAT32 = Precision("float32", 0.9999, every_photo=True, exact=True)
BFLOAT16 = Precision("bfloat16", 0.99)
FLOAT16 = Precision("float16", 0.99)


@dataclass(frozen=True)
class EngineKind:
    """One way to run a network.

    Attributes:
        library: what runs it.
        precision: that it computes in.
        build: returns the engine for a workload; raises `EngineError` if it cannot run the network.
        obstacle: why it cannot run on a device, the end of a sentence about the option; None where it can.
        preference: its place among those that "auto" tries on a device, lowest first; None where it is not tried.
        worth_from: photos from which "auto" tries it.
    """

    library: str
    precision: Precision
    build: "Callable[[Workload], Engine]"
    obstacle: "Callable[[Device], str | None]" = lambda _: None
    preference: "Callable[[Device], int | None]" = lambda _: None
    worth_from: int = 0

    @property
    def name(self) -> str:
        """Return what a user calls it, e.g. "torch-float32"."""
        return f"{self.library}-{self.precision.name}"

    def engine_name(self, device: Device) -> str:
        """Return the name of its engines on `device`, e.g. "torch-cpu-float32"."""
        return f"{self.library}-{device.type}-{self.precision.name}"


def _torch(precision: str) -> "Callable[[Workload], Engine]":
    def build(workload: "Workload") -> "Engine":
        import torch

        from regraft.engines.pytorch import TorchEngine

        device = torch.device(str(workload.device))
        return TorchEngine(workload.backbone, device, workload.module, precision=precision)

    return build


def _openvino(precision: str) -> "Callable[[Workload], Engine]":
    def build(workload: "Workload") -> "Engine":
        from regraft.engines import openvino

        preprocess = workload.backbone.preprocess

        def model() -> object:
            if workload.graph is not None:
                return openvino.read_graph(workload.graph, workload.backbone.arrays())
            return openvino.load_or_convert(lambda: workload.part, preprocess, workload.folder, workload.say)

        width = None if workload.graph is None else workload.graph.width
        return openvino.OpenVinoEngine(workload.shared("openvino", model), preprocess, precision, width)

    return build


def _openvino_obstacle(precision: str) -> "Callable[[Device], str | None]":
    def obstacle(device: Device) -> str | None:
        from regraft.engines import openvino

        if device.type != "cpu":
            return f"runs on the CPU, and {option('device')} is {device}. Add {option('device', 'cpu')}."
        usable = openvino.usable_precisions()
        if not usable:
            return "needs OpenVINO, which does not run on this machine."
        if precision not in usable:
            return f"needs a processor that computes in {precision}. OpenVINO runs here in: {', '.join(usable)}."
        return None

    return obstacle


def _torch_obstacle(_: Device) -> str | None:
    return None if is_installed("torch") else "needs PyTorch, which is not installed: pip install 'regraft[train]'."


def _float16_obstacle(device: Device) -> str | None:
    if device.type == "cpu":
        return "needs a GPU. On the CPU use torch-bfloat16, or leave it out."
    return _torch_obstacle(device)


def _on_gpus(*, with_bfloat16: bool) -> "Callable[[Device], int | None]":
    """Return the preference of what is tried on GPUs that compute in bfloat16, or on those that do not."""

    def preference(device: Device) -> int | None:
        if device.type != "cuda":
            return None
        import torch

        return 0 if torch.cuda.is_bf16_supported(including_emulation=False) == with_bfloat16 else None

    return preference


ENGINE_KINDS = {
    kind.name: kind
    for kind in (
        EngineKind("torch", FLOAT32, _torch("float32"), obstacle=_torch_obstacle),
        EngineKind(
            "torch",
            BFLOAT16,
            _torch("bfloat16"),
            obstacle=_torch_obstacle,
            preference=_on_gpus(with_bfloat16=True),
        ),
        EngineKind(
            "torch",
            FLOAT16,
            _torch("float16"),
            obstacle=_float16_obstacle,
            preference=_on_gpus(with_bfloat16=False),
        ),
        EngineKind(
            "openvino",
            FLOAT32,
            _openvino("float32"),
            obstacle=_openvino_obstacle("float32"),
            preference=lambda device: 1 if device.type == "cpu" else None,
            worth_from=WORTH_CONVERTING,
        ),
        EngineKind(
            "openvino",
            BFLOAT16,
            _openvino("bfloat16"),
            obstacle=_openvino_obstacle("bfloat16"),
            preference=lambda device: 0 if device.type == "cpu" else None,
            worth_from=WORTH_CONVERTING,
        ),
    )
}


def engine_names() -> tuple[str, ...]:
    """Return the values of the option, "auto" first."""
    return (AUTO, *ENGINE_KINDS)


def kind_of(engine_name: str, device: Device) -> EngineKind:
    """Return the kind whose engines have this name on `device`."""
    return next(kind for kind in ENGINE_KINDS.values() if kind.engine_name(device) == engine_name)


def engine_help() -> str:
    """Return the option's help."""
    *names, last = ENGINE_KINDS
    return (
        f"What runs the network where nothing is trained: {AUTO} (the fastest that is right), {', '.join(names)} or "
        f"{last}."
    )


def candidates(device: Device, *, exact: bool = False) -> list[EngineKind]:
    """Return the engines that "auto" tries on `device`, the fastest first.

    Args:
        device: where PyTorch runs.
        exact: only those that are good enough for the inputs of training.
    """
    placed = [(kind.preference(device), kind) for kind in ENGINE_KINDS.values() if kind.precision.exact or not exact]
    found = [(place, kind) for place, kind in placed if place is not None and kind.obstacle(device) is None]
    return [kind for _, kind in sorted(found, key=lambda both: both[0])]
