"""Cutting a network before a stage: what comes before the cut runs once per image, what comes after is trained."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from regraft.errors import ModelError

_TOLERANCE = 1e-4  # relative; between the whole network and its two parts, which round alike but for kernels chosen


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

        def stop(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            raise _ReachedCut(inputs[0])

        handle = self.network.get_submodule(self.entry).register_forward_pre_hook(stop)
        try:
            self.network(images)
        except _ReachedCut as reached:
            return reached.activation
        finally:
            handle.remove()
        raise ModelError(f"the network never runs its stage {self.entry}. Choose another cut.")


class Top(nn.Module):
    """The part of a network from a cut on, with tensors of its own.

    (b, ...) activations at the cut -> (b, d) features. Tensors keep the names that they have in the network. The
    network's own `forward` is run, so that whatever it does between its modules is done; every module that has
    finished before the cut is replaced by what it answered to one blank image, and the activation is put in at the
    cut.
    """

    blank: torch.Tensor

    def __init__(self, network: nn.Module, entry: str, image: torch.Tensor) -> None:
        super().__init__()
        answers = _answers_before(network, entry, image)
        originals = {name: network.get_submodule(name) for name in answers}
        memo = {
            id(module): _Answer(module, answers[name]) for name, module in originals.items()
        }  # not copied: left out
        self.network = copy.deepcopy(network, memo)
        self.entry = entry
        self.register_buffer("blank", image, persistent=False)

    def forward(self, activation: torch.Tensor) -> torch.Tensor:
        """Return the features (b, d) of activations (b, ...)."""
        waiting = [activation]  # a module that runs twice gets it the first time

        def put_in(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            return (waiting.pop(), *inputs[1:]) if waiting else None

        handle = self.network.get_submodule(self.entry).register_forward_pre_hook(put_in)
        try:
            features: torch.Tensor = self.network(_spread(self.blank, len(activation)))
        finally:
            handle.remove()
        return features


def cut_before(network: nn.Module, stage: str, input_shape: tuple[int, int, int]) -> tuple[Trunk, Top]:
    """Cut `network` before `stage`, one of the names that `Backbone.stages` gives.

    Args:
        network: (b, 3, h, w) -> (b, d), in eval mode; it is run a few times and left as it was.
        stage: the module whose input is the activation at the cut.
        input_shape: (3, h, w).

    Raises:
        ModelError: something besides the activation passes the cut: the parts do not give what the network gives.
    """
    parameter = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *input_shape, generator=generator).to(parameter.device, parameter.dtype)
    with torch.no_grad():
        trunk = Trunk(network, stage)
        top = Top(network, stage, torch.zeros_like(images[:1]))
        expected = network(images)
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
            "(`regraft models NAME` lists them), or --strategy whole."
        )
    return trunk, top


class _ReachedCut(Exception):  # noqa: N818 (a signal, not an error)
    def __init__(self, activation: torch.Tensor) -> None:
        super().__init__()
        self.activation = activation


class _Shared:
    """Holds a module that is neither copied nor counted as a part of whoever holds this."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, _: dict[int, Any]) -> "_Shared":
        return self


class _Answer(nn.Module):
    """Gives, call by call, what another module answered to one image, for as many images as its input has.

    Whatever else is asked of it (a patch embedding knows its grid) is answered by the module itself.
    """

    def __init__(self, module: nn.Module, answers: list[Any]) -> None:
        super().__init__()
        self._original = _Shared(module)
        self._specs = []
        self._names: list[list[str]] = []
        for call, answer in enumerate(answers):
            leaves, spec = tree_flatten(answer)
            names = [f"answer{call}_{place}" for place in range(len(leaves))]
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


def _answers_before(network: nn.Module, entry: str, image: torch.Tensor) -> dict[str, list[Any]]:
    """Return what every outermost module that has run for the last time before `entry` answers to `image`."""
    answers: dict[str, list[Any]] = {}
    too_late: set[str] = set()
    reached = False

    def starts(name: str) -> Any:
        def hook(*_: Any) -> None:
            nonlocal reached
            reached = reached or name == entry
            if reached:
                too_late.add(name)

        return hook

    def ends(name: str) -> Any:
        def hook(_: nn.Module, __: Any, answer: Any) -> None:
            if reached:
                too_late.add(name)
            else:
                answers.setdefault(name, []).append(answer)

        return hook

    modules = {name: module for name, module in network.named_modules() if name}
    with _hooked(
        [module.register_forward_pre_hook(starts(name)) for name, module in modules.items()]
        + [module.register_forward_hook(ends(name)) for name, module in modules.items()]
    ):
        network(image)
    done = {name: answer for name, answer in answers.items() if name not in too_late and _all_tensors(answer)}
    return {name: answer for name, answer in done.items() if not any(parent in done for parent in _parents(name))}


@contextmanager
def _hooked(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _all_tensors(answers: list[Any]) -> bool:
    return all(isinstance(leaf, torch.Tensor) for leaf in tree_flatten(answers)[0])


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]
