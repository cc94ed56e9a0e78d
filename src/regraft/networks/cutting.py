"""Cutting a network before a stage: the part before the cut runs once per image, the part after it is trained."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from regraft.errors import ModelError, option
from regraft.networks.depths import DepthFeatures, means_of_maps
from regraft.networks.hook_points import Depth, HookPoint
from regraft.networks.tracing import After, Before, forward_hooks, hooked, run_to

_TOLERANCE = 1e-4  # relative; the whole network and its two parts may round differently where other kernels are chosen


class Trunk(nn.Module):
    """The part of a network before a cut.

    Shares its tensors with the network. (b, 3, h, w) images -> (b, ...) activations at the cut.
    """

    def __init__(self, network: nn.Module, entry: str) -> None:
        super().__init__()
        self.network = network
        self.entry = entry

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations (b, ...) of `images` (b, 3, h, w); nothing behind the cut is run."""
        return run_to(self.network, HookPoint(self.entry, "input"), images)


class Top(nn.Module):
    """The part of a network from a cut on, with tensors of its own.

    (b, ...) activations at the cut -> (b, d) features. Tensors keep the names that they have in the network. The
    network's own `forward` is run, so that whatever it does between its modules is done; every module that has
    finished before the cut is replaced by its output for one blank image, and the activation is put in at the cut.
    """

    blank: torch.Tensor
    map_shape: tuple[int, ...] | None = None

    def __init__(self, network: nn.Module, entry: str, image: torch.Tensor) -> None:
        super().__init__()
        outputs = _outputs_before(network, entry, image)
        originals = {name: network.get_submodule(name) for name in outputs}
        # replaced in the copy
        memo = {id(module): _Constant(module, outputs[name]) for name, module in originals.items()}
        self.network = copy.deepcopy(network, memo)
        self.entry = entry
        self.register_buffer("blank", image, persistent=False)

    def forward(self, activation: torch.Tensor) -> torch.Tensor:
        """Return the features (b, d) of activations (b, ...)."""
        with hooked(self.network, [HookPoint(self.entry, "input")], lambda _number, _blank: activation):
            features: torch.Tensor = self.network(_spread(self.blank, len(activation)))
        return features


class DepthTrunk(Trunk):
    """The part of a network before a cut, whose output holds the features of depths there, too.

    (b, 3, h, w) images -> (b, k + a): k > 0 means of maps before the cut, then the a values of the activation there.
    """

    def __init__(self, network: nn.Module, entry: str, depths: Sequence[Depth]) -> None:
        super().__init__(network, entry)
        self.depths = list(depths)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (b, k + a) of `images` (b, 3, h, w); nothing behind the cut is run."""
        with means_of_maps(self.network, self.depths) as means:
            activation = super().forward(images)
        return torch.cat([*means, activation.flatten(1)], dim=1)


class DepthTop(Top):
    """The part of a network from a cut on, for a head that sees features of several depths. See `Top`.

    (b, k + a) as a `DepthTrunk` gives them, or (b, ...) of a `Trunk` where no depth is before the cut -> (b, width)
    features: of the depths before the cut, of those behind it, and the network's own.

    Attributes:
        first: the first column of these that is given out.
        map_shape: of the activation alone, which the last numbers of each photo are; None where they are all there is.
    """

    def __init__(
        self, network: nn.Module, entry: str, image: torch.Tensor, *, before: Sequence[Depth], behind: Sequence[Depth]
    ) -> None:
        super().__init__(network, entry, image)
        self.first = 0
        self.before = sum(depth.units for depth in before)
        self.behind = list(behind)
        self.map_shape = tuple(Trunk(network, entry)(image).shape[1:]) if before else None

    def forward(self, activation: torch.Tensor) -> torch.Tensor:
        """Return the features (b, width - first) of activations (b, k + a) or (b, ...)."""
        early = []
        if self.map_shape is not None:
            early = [activation[:, : self.before]]
            activation = activation[:, self.before :].reshape(-1, *self.map_shape)
        with means_of_maps(self.network, self.behind) as means:
            own = super().forward(activation)
        return torch.cat([*early, *means, own], dim=1)[:, self.first :]


def cut_before(
    network: nn.Module, stage: str, input_shape: tuple[int, int, int], *, depths: Sequence[Depth] = ()
) -> tuple[Trunk, Top]:
    """Cut `network` before `stage`, one of the names that `Backbone.stages` gives.

    Args:
        network: (b, 3, h, w) -> (b, d), in eval mode; it is run a few times and left as it was.
        stage: the module whose input is the activation at the cut.
        input_shape: (3, h, w).
        depths: places whose maps are parts of the features, too.

    Raises:
        ModelError: something besides the activation passes the cut: the parts do not give what the network gives.
    """
    parameter = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *input_shape, generator=generator).to(parameter.device, parameter.dtype)
    with torch.no_grad():
        blank = torch.zeros_like(images[:1])
        if depths:
            before, behind = _parted(network, stage, depths, blank)
            trunk = DepthTrunk(network, stage, before) if before else Trunk(network, stage)
            top: Top = DepthTop(network, stage, blank, before=before, behind=behind)
            expected = DepthFeatures(network, depths)(images)
        else:
            trunk, top, expected = Trunk(network, stage), Top(network, stage, blank), network(images)
        try:
            activation = trunk(images)
            found = top(activation)
            equal = isinstance(activation, torch.Tensor) and torch.allclose(
                found, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max())
            )
        except torch.OutOfMemoryError:  # a RuntimeError that says nothing of the cut
            raise
        except (RuntimeError, TypeError, ValueError, AttributeError):
            equal = False
    if not equal:
        raise ModelError(
            f"this network cannot be cut before {stage}: more than one activation passes there. Choose another stage "
            f"(`regraft models NAME` lists them), or {option('strategy', 'whole')}."
        )
    return trunk, top


def _parted(
    network: nn.Module, stage: str, depths: Sequence[Depth], image: torch.Tensor
) -> tuple[list[Depth], list[Depth]]:
    """Return the depths that are read before the cut, or at it, and those behind it."""
    order: list[int] = []
    points = [*(depth.hook_point for depth in depths), HookPoint(stage, "input")]

    def receive(number: int, _: torch.Tensor) -> None:
        order.append(number)

    with hooked(network, points, receive):
        network(image)
    early = set(order[: order.index(len(depths))])
    early |= {
        number
        for number, depth in enumerate(depths)
        if (depth.hook_point.module, depth.hook_point.side) == (stage, "input")
    }
    return (
        [depth for number, depth in enumerate(depths) if number in early],
        [depth for number, depth in enumerate(depths) if number not in early],
    )


class _Reference:
    """Refers to a module without making it a submodule; deep copies refer to the same module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, _: dict[int, Any]) -> "_Reference":
        return self


class _Constant(nn.Module):
    """Returns, call by call, the outputs of another module for one image, repeated for as many images as it gets.

    All other attributes (a patch embedding knows its grid) are those of that module.
    """

    def __init__(self, module: nn.Module, outputs: list[Any]) -> None:
        super().__init__()
        self._original = _Reference(module)
        self._specs = []
        self._names: list[list[str]] = []
        for call, output in enumerate(outputs):
            leaves, spec = tree_flatten(output)
            names = [f"output{call}_{index}" for index in range(len(leaves))]
            for name, leaf in zip(names, leaves, strict=True):
                self.register_buffer(name, leaf, persistent=False)
            self._specs.append(spec)
            self._names.append(names)
        self._call = 0

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_original"].module, name)

    def forward(self, *inputs: Any, **_: Any) -> Any:
        names, spec = self._names[self._call], self._specs[self._call]
        self._call = (self._call + 1) % len(self._names)
        count = len(inputs[0]) if inputs and isinstance(inputs[0], torch.Tensor) else 1
        return tree_unflatten([_spread(getattr(self, name), count) for name in names], spec)


def _spread(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """Return a view of `tensor` (1, ...) as (count, ...); tensors without a batch dimension of 1 as they are."""
    return tensor.expand(count, *tensor.shape[1:]) if tensor.ndim and tensor.shape[0] == 1 else tensor


def _outputs_before(network: nn.Module, entry: str, image: torch.Tensor) -> dict[str, list[Any]]:
    """Return, for `image`, the outputs of every outermost module whose last run is before that of `entry`."""
    outputs: dict[str, list[Any]] = {}
    too_late: set[str] = set()
    reached = False

    def starts(name: str) -> Before:
        def call(_: tuple[Any, ...]) -> None:
            nonlocal reached
            reached = reached or name == entry
            if reached:
                too_late.add(name)

        return call

    def ends(name: str) -> After:
        def call(output: Any) -> None:
            if reached:
                too_late.add(name)
            else:
                outputs.setdefault(name, []).append(output)

        return call

    names = [name for name, _ in network.named_modules() if name]
    before, after = [(name, starts(name)) for name in names], [(name, ends(name)) for name in names]
    with forward_hooks(network, before=before, after=after):
        network(image)
    done = {name: found for name, found in outputs.items() if name not in too_late and _all_tensors(found)}
    return {name: found for name, found in done.items() if not any(parent in done for parent in _parents(name))}


def _all_tensors(outputs: list[Any]) -> bool:
    return all(isinstance(leaf, torch.Tensor) for leaf in tree_flatten(outputs)[0])


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]
