"""Stages: the named parts of a network between which it can be cut, from pixels to pooled features."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from regraft.networks.outline import Stage
from regraft.networks.tracing import Before, blank_images, forward_hooks


def trace_stages(module: nn.Module, group_of: Mapping[str, int], input_shape: tuple[int, int, int]) -> list[Stage]:
    """Return the stages of `module` in the order in which they run.

    Groups whose modules do not run one group after the other are joined: there is no cut between them.

    Args:
        module: (b, 3, h, w) -> (b, d), in eval mode; it is run once on a blank image and left as it was.
        group_of: the group number of every parameter and buffer, by name.
        input_shape: (3, h, w).
    """
    owner = {name: _owner(name, group_of) for name, _ in module.named_modules() if name}
    whole = {name: group for name, group in owner.items() if group is not None}
    outermost = {name for name in whole if whole.get(name.rpartition(".")[0]) != whole[name]}
    runs, features = _input_shapes(module, outermost, input_shape)
    order = _joined([whole[name] for name, _ in runs])
    entries = {group: run for run, group in reversed(list(zip(runs, order, strict=True)))}
    members: dict[int, list[str]] = {group: [] for group in dict.fromkeys(order)}
    renamed = {whole[name]: group for (name, _), group in zip(runs, order, strict=True)}
    last = order[-1]
    for name, group in group_of.items():  # a tensor whose module never ran goes with its nearest group
        members[renamed.get(group, last)].append(name)
    outputs = [*[entries[group][1] for group in members][1:], features]
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return [
        Stage(
            name=entries[group][0],
            tensors=tuple(tensors),
            parameters=sum(sizes.get(name, 0) for name in tensors),
            output=output,
        )
        for (group, tensors), output in zip(members.items(), outputs, strict=True)
    ]


def _owner(name: str, group_of: Mapping[str, int]) -> int | None:
    """Return the one group that all tensors below `name` belong to, None if there are several or no tensors."""
    groups = {group for tensor, group in group_of.items() if tensor.startswith(f"{name}.")}
    return groups.pop() if len(groups) == 1 else None


def _input_shapes(
    module: nn.Module, names: set[str], input_shape: tuple[int, int, int]
) -> tuple[list[tuple[str, tuple[int, ...]]], tuple[int, ...]]:
    """Run `module` on one blank image; return the runs of `names` with the shapes of their inputs, and its output's."""
    runs: list[tuple[str, tuple[int, ...]]] = []

    def record(name: str) -> Before:
        def call(inputs: tuple[Any, ...]) -> None:
            first = inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else None
            runs.append((name, () if first is None else tuple(first.shape[1:])))

        return call

    with forward_hooks(module, before=[(name, record(name)) for name in names]), torch.no_grad():
        output = module(blank_images(module, input_shape))
    return runs, tuple(output.shape[1:])


def _joined(order: list[int]) -> list[int]:
    """Give groups that interleave the same number, so that equal numbers are adjacent.

    >>> _joined([0, 1, 2, 1, 3])
    [0, 1, 1, 1, 3]
    """
    last = {group: place for place, group in enumerate(order)}
    joined: list[int] = []
    end = -1  # of the run of groups that overlap the ones before
    for place, group in enumerate(order):
        joined.append(group if place > end else joined[-1])
        end = max(end, last[group])
    return joined


def groups_by_part(module: nn.Module, names: list[str]) -> dict[str, int]:
    """Group tensors by the network's parts, and by the members of those that are sequences: for the few networks of
    timm that name no groups.
    """
    sequences = {name for name, part in module.named_children() if isinstance(part, (nn.Sequential, nn.ModuleList))}
    parts = [".".join(name.split(".")[: 2 if name.split(".")[0] in sequences else 1]) for name in names]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    return {name: numbers[part] for name, part in zip(names, parts, strict=True)}
