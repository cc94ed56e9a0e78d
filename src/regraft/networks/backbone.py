"""A network without its last layer, as data: PyTorch's module is built when it is first asked for."""

import copy
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.images.preprocess import Preprocess
from regraft.images.value_range import Ranges
from regraft.networks.graph import Graph
from regraft.networks.hook_points import Depth
from regraft.networks.outline import Outline, Stage, TensorOutline
from regraft.networks.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from regraft.networks.weights import StateDict


_STATISTICS = ("running_mean", "running_var")  # of batch norm


class LazyModule:
    """A network that is built when it is first asked for, once, whichever thread asks.

    Args:
        arrays: its tensors, by name.
        build: returns the module, in eval mode.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], build: "Callable[[], nn.Module]") -> None:
        self.arrays, self._build = arrays, build
        self._building = threading.Lock()
        self._built: nn.Module | None = None
        self.versions: tuple[Any, ...] = ()  # of its tensors when it was built

    @property
    def is_built(self) -> bool:
        """Tell whether it was asked for: its tensors may have been changed since."""
        return self._built is not None

    def get(self) -> "nn.Module":
        """Return the module.

        Raises:
            WeightsError, ModelError: it cannot be built.
        """
        with self._building:
            if self._built is None:
                built = self._build()
                self.versions, self._built = _versions(built), built
            return self._built

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process builds it of: the module goes along only where its tensors were changed."""
        changed = self._built is not None and _versions(self._built) != self.versions
        return {"arrays": self.arrays, "build": self._build, "built": self._built if changed else None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["arrays"], state["build"])  # type: ignore[misc]
        self._built = state["built"]


class _BuiltOnDemand:
    """The field of a dataclass that holds a module or a `LazyModule`, and gives the module."""

    def __get__(self, instance: Any, owner: Any) -> "nn.Module":
        if instance is None:
            raise AttributeError  # the field has no default
        held: nn.Module | LazyModule = instance.__dict__["_held"]
        return held.get() if isinstance(held, LazyModule) else held

    def __set__(self, instance: Any, value: "nn.Module | LazyModule") -> None:
        instance.__dict__["_held"] = value


@dataclass(eq=False)
class Backbone:
    """A network from pixels to pooled features.

    Attributes:
        module: (b, 3, h, w) normalised images -> (b, d) features; in eval mode. A `LazyModule` is built when it is
            read.
        recipe: how timm builds it.
        preprocess: size and normalisation of its images.
        features: d, the length of a feature vector of the module.
        source: where the weights came from, in words.
        depths: further places in it whose maps are parts of the features, from pixels on.
        graph: what runs it without PyTorch, from pixels to the features of all depths and its own; None without one.
        outline: what is known of it without building it; None where nothing is.
    """

    if TYPE_CHECKING:
        module: nn.Module
    else:
        module: Any = _BuiltOnDemand()
    recipe: Recipe
    preprocess: Preprocess
    features: int
    source: str
    depths: tuple[Depth, ...] = ()
    graph: Graph | None = None
    outline: Outline | None = None
    _hashes: "_Hashes | None" = field(default=None, init=False, repr=False)
    _graph_versions: tuple[Any, ...] = field(default=(), init=False, repr=False)  # of tensors when it was given
    _traced: "tuple[nn.Module, tuple[int, int, int], list[Stage]] | None" = field(default=None, init=False, repr=False)

    @property
    def width(self) -> int:
        """Return how many numbers the features of all depths and the module's own are together."""
        return sum(depth.units for depth in self.depths) + self.features

    @property
    def feature_module(self) -> "nn.Module":
        """Return (b, 3, h, w) normalised images -> (b, width) features: those of the depths, then the module's own."""
        if not self.depths:
            return self.module
        from regraft.networks.depths import DepthFeatures

        return DepthFeatures(self.module, self.depths)

    @property
    def current_graph(self) -> Graph | None:
        """Return `graph`; None once a tensor was changed in place: some of a graph's numbers are made of tensors."""
        held = self.__dict__["_held"]
        given = self._graph_versions or (held.versions if isinstance(held, LazyModule) else ())
        return self.graph if not given or _versions(self.module) == given else None

    @property
    def _unbuilt(self) -> LazyModule | None:
        """Return what will build the module, None where it is there."""
        held = self.__dict__["_held"]
        return held if isinstance(held, LazyModule) and not held.is_built else None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return parameters and buffers by name, as `state_dict` has them. They may share its memory."""
        lazy = self._unbuilt
        if lazy is not None:
            return dict(lazy.arrays)
        return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self.module.state_dict().items()}

    def parameter_count(self) -> int:
        """Return how many parameters it has, counted one by one; batch-norm statistics are none."""
        if self._unbuilt is None:
            return sum(parameter.numel() for parameter in self.module.parameters())
        arrays = self._unbuilt.arrays.items()
        return sum(a.size for name, a in arrays if a.dtype.kind == "f" and not name.endswith(_STATISTICS))

    def fingerprint(self) -> str:
        """Return a hex SHA-256 over architecture, arguments and every tensor: equal networks, equal string.

        The tensors are hashed once, and again only after one was changed.
        """
        return self._hashed().whole

    def tensor_hashes(self) -> dict[str, str]:
        """Return the hex SHA-256 of every parameter and buffer, hashed together with `fingerprint`."""
        if self._unbuilt is None or self.outline is None:
            _ = self.module  # which alone knows the buffers that are not saved
            return dict(self._hashed().tensors)
        unsaved = {name: one.sha256 for name, one in self.outline.tensors.items() if one.sha256}
        return {**self._hashed().tensors, **unsaved}

    def hash_tensors(self) -> dict[str, str]:
        """Return the hex SHA-256 of every parameter and buffer as they are now: nothing that was known is used."""
        found = copy.copy(self)
        found._hashes = None
        return found.tensor_hashes()

    def tensor_outlines(self) -> dict[str, TensorOutline]:
        """Return what every parameter and buffer is, by name."""
        if self._unbuilt is not None and self.outline is not None:
            return dict(self.outline.tensors)
        saved, hashes = self.module.state_dict(), self.tensor_hashes()
        parameters = {name: TensorOutline("parameter", one.numel()) for name, one in self.module.named_parameters()}
        buffers = {
            name: TensorOutline("buffer", one.numel(), "" if name in saved else hashes[name])
            for name, one in self.module.named_buffers()
        }
        return parameters | buffers

    def _hashed(self) -> "_Hashes":
        about, lazy = repr((self.recipe.architecture, sorted(self.recipe.arguments.items()))), self._unbuilt
        state: Mapping[str, np.ndarray | torch.Tensor]
        versions: tuple[Any, ...]
        if lazy is not None:
            state, unsaved, versions = lazy.arrays, {}, (about, id(lazy))
        else:
            state, unsaved = self.module.state_dict(), dict(self.module.named_buffers())
            versions = (about, *_versions(self.module))
        if self._hashes is None or self._hashes.versions != versions:
            whole, each = hashlib.sha256(about.encode()), {}
            for name, tensor in sorted({**unsaved, **state}.items()):
                memory = tensor_bytes(tensor)
                each[name] = hashlib.sha256(memory).hexdigest()
                if name in state:
                    whole.update(f"{name} {tensor_type(tensor)} {tuple(tensor.shape)}".encode())
                    whole.update(memory)
            self._hashes = _Hashes(versions, whole.hexdigest(), each)
        return self._hashes

    def with_tensors(self, tensors: "StateDict", source: str) -> "Backbone":
        """Return a copy of this network with `tensors` in place of those of the same names."""
        module = copy.deepcopy(self.module)
        module.load_state_dict({**module.state_dict(), **tensors}, strict=True)
        found = copy.copy(self)
        found.module, found.source, found.graph, found.outline = module.eval(), source, None, None
        found._hashes = found._traced = None
        return found

    def with_ranges(self, ranges: Ranges) -> "Backbone":
        """Return this network with these values of black and white in its preprocessing; itself where it has them."""
        if ranges == self.preprocess.ranges:
            return self
        found = copy.copy(self)  # shares the module, and what is known of it
        found.preprocess = self.preprocess.with_ranges(ranges)
        return found

    def with_depths(self, depths: Sequence[Depth]) -> "Backbone":
        """Return this network with the maps of these places before its own features."""
        found = copy.copy(self)
        found.depths = tuple(depths)
        found.graph = self.graph if found.depths == self.depths else None
        return found

    def with_graph(self, graph: Graph) -> "Backbone":
        """Return this network with what runs it without PyTorch."""
        found = copy.copy(self)
        found.graph = graph
        found._graph_versions = () if self._unbuilt is not None else _versions(self.module)
        return found

    def for_another_process(self) -> "Backbone":
        """Return the same to be pickled: what is known of tensors by their places in this process's memory is left."""
        found = copy.copy(self)
        found.graph, found._graph_versions = self.current_graph, ()
        found._hashes = found._traced = None
        return found

    def stages(self) -> list[Stage]:
        """Return the named parts between which the network can be cut, by timm's own grouping of its layers.

        The network is run once on one blank image, for all calls.
        """
        if self._unbuilt is not None and self.outline is not None:
            return list(self.outline.stages)
        input_shape = (3, self.preprocess.height, self.preprocess.width)
        if self._traced is None or self._traced[:2] != (self.module, input_shape):
            self._traced = (self.module, input_shape, self._trace(input_shape))
        return list(self._traced[2])

    def blocks(self) -> list[Stage]:
        """Return the parts of the network as `stages` does, as small as timm groups layers: the blocks of stages."""
        return self._trace((3, self.preprocess.height, self.preprocess.width), coarse=False)

    def _trace(self, input_shape: tuple[int, int, int], *, coarse: bool = True) -> list[Stage]:
        from regraft.networks.building import tensor_groups
        from regraft.networks.stages import trace_stages

        return trace_stages(self.module, tensor_groups(self.module, coarse=coarse), input_shape)


@dataclass(frozen=True)
class _Hashes:
    versions: tuple[Any, ...]  # of what was hashed
    whole: str
    tensors: dict[str, str]


def _versions(module: "nn.Module") -> tuple[Any, ...]:
    """Return what differs once a tensor of a network was changed or exchanged; moved to a device is not changed."""
    own = [*module.named_parameters(), *module.named_buffers()]
    return tuple((name, id(tensor), _version(tensor)) for name, tensor in own)


def _version(tensor: "torch.Tensor") -> int:
    """Return how often `tensor` was changed in place, as autograd counts it; what cannot be changed has no count."""
    return 0 if tensor.is_inference() else tensor._version


def tensor_bytes(tensor: "torch.Tensor | np.ndarray") -> memoryview:
    """Return the memory of a tensor or array, for hashing."""
    if not isinstance(tensor, np.ndarray):
        tensor = tensor.detach().cpu().contiguous().numpy()
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def tensor_type(tensor: "torch.Tensor | np.ndarray") -> str:
    """Return PyTorch's name of the type of numbers, as `str` gives it: "torch.float32"."""
    return f"torch.{tensor.dtype.name}" if isinstance(tensor, np.ndarray) else str(tensor.dtype)
