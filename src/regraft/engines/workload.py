"""What an engine is chosen for: a network, the photos it will run, and the machine."""

import functools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.cache import engines_folder
from regraft.engines import openvino
from regraft.errors import EngineError
from regraft.files import sha256
from regraft.networks.backbone import Backbone
from regraft.networks.graph import Graph
from regraft.runtime import Device

if TYPE_CHECKING:
    from torch import nn

CHECKED_PHOTOS = 16
POOLED = "pooled"  # the cut after the network's pooled features


class CheckPhotos:
    """The photos that engines are compared on. Read once; another process gets their pixels: it may not see the files.

    Attributes:
        digest: identifies these photos by their content; verdicts are stored under it.

    Args:
        digest: see above.
        read: returns (up to `CHECKED_PHOTOS`, h, w, 3) uint8 of them.
    """

    def __init__(self, digest: str, read: Callable[[], np.ndarray]) -> None:
        self.digest = digest
        self._read: Callable[[], np.ndarray] | None = read
        self._pixels: np.ndarray | None = None
        self._reading = threading.Lock()

    def read(self) -> np.ndarray:
        """Return (up to `CHECKED_PHOTOS`, h, w, 3) uint8 of the photos."""
        with self._reading:
            if self._pixels is None:
                assert self._read is not None
                self._pixels, self._read = self._read(), None  # what it holds of other photos is let go
            return self._pixels

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes it again in another process."""
        return CheckPhotos, (self.digest, functools.partial(np.asarray, self.read()))


@dataclass(frozen=True)
class EngineChoice:
    """The engine that was chosen for a network, and on which machine.

    Attributes:
        engine: a name in `kinds.ENGINE_KINDS`.
        machine: what `machine` returned there.
    """

    engine: str
    machine: str


@dataclass(frozen=True)
class SharedChoice(EngineChoice):
    """A choice of one process that binds all that work for it: they run this engine or none.

    Attributes:
        check: the photos that machines of another kind compare it on first.
    """

    check: CheckPhotos = field(compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Workload:
    """A network and the photos that it is to run.

    Attributes:
        backbone: the network.
        device: where it runs.
        photos: how many there are.
        check: those of them that engines are compared on.
        module: the part of the network that is run, None for all of it.
        cut: where that part ends; "" where all of it is run.
        keep: False reads and writes nothing on disk.
        say: reports findings.
        earlier: the choice for this network when its classifier was trained, or the one that binds this process.
    """

    backbone: Backbone
    device: Device
    photos: int
    check: CheckPhotos
    module: "nn.Module | None" = None
    cut: str = ""
    keep: bool = True
    say: Callable[[str], None] = lambda _: None
    earlier: EngineChoice | None = None
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def folder(self) -> Path | None:
        """Return the folder of the converted network and of the verdicts on engines, None where nothing is kept."""
        return converted_folder(self.backbone, self.device, self.cut) if self.keep else None

    @property
    def graph(self) -> Graph | None:
        """Return what runs the network without PyTorch, None for a part of it, or on another processor."""
        return self.backbone.current_graph if self.module is None and self.device.type == "cpu" else None

    @property
    def part(self) -> "nn.Module":
        """Return the module that is run."""
        return self.backbone.feature_module if self.module is None else self.module

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many numbers of an output each depth and the network's own features have; () for a part of it."""
        depths = self.backbone.depths
        if self.module is not None or not depths:
            return ()
        return (*(depth.units for depth in depths), self.backbone.features)

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """Return the photos that engines are compared on."""
        return self.check.read()

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, called once for all engines of this workload: a converted network for example.

        Args:
            name: of the result.
            make: an `EngineError` of it is raised again each time.
        """
        if name not in self._shared:
            try:
                self._shared[name] = make()
            except EngineError as error:
                self._shared[name] = error
        found = self._shared[name]
        if isinstance(found, EngineError):
            raise found
        return found


def converted_folder(backbone: Backbone, device: Device, cut: str = "") -> Path:
    """Return where a converted network, and verdicts on the engines that run it, lie in the cache. See `Workload`."""
    about = {
        "network": backbone.fingerprint(),
        "cut": cut or features_of(backbone),
        "preprocess": backbone.preprocess.to_json(),
        "machine": machine(device),
    }
    return engines_folder() / sha256(json.dumps(about, sort_keys=True).encode()).hex()[:32]


def features_of(backbone: Backbone) -> str:
    """Return a name, for the cache, of which features of a network are computed."""
    places = (f"{depth.hook_point.module} {depth.hook_point.side}" for depth in backbone.depths)
    return ", ".join([*places, POOLED])


def machine(device: Device) -> str:
    """Return what engines' results depend on besides network and photos: libraries, processor and device."""
    precisions = ", ".join(openvino.usable_precisions()) or "no OpenVINO"
    name = gpu_name(device) if device.type == "cuda" else openvino.processor_name()
    versions = ", ".join(f"{package} {_version(package)}" for package in ("torch", "openvino"))
    return f"{device.type}, {name} ({precisions}), {versions}"


def device_type_of(there: str) -> str:
    """Return the type of the device in what `machine` returned.

    >>> device_type_of("cuda, NVIDIA H200 (float32), torch 2.9, openvino none")
    'cuda'
    """
    return there.partition(",")[0]


def gpu_name(device: Device) -> str:
    """Return what a GPU calls itself."""
    import torch

    return torch.cuda.get_device_name(torch.device(str(device)))


def _version(package: str) -> str:
    """Return the version of an installed package, without importing it; "none" without it."""
    try:
        return version(package)
    except ImportError:
        return "none"
