"""The feature map of each stage: where in the network it is read, and how many units and places it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from regraft.errors import ModelError
from regraft.networks.hook_points import HookPoint
from regraft.networks.outline import Stage
from regraft.networks.tracing import Before, blank_images, forward_hooks

_SKEW = 1.3  # how far a map's ratio of sides may be from the image's; padding moves it a little
_BLANK = 2  # images: with one, what is the same for all (an embedding of positions) could not be told apart


@dataclass(frozen=True)
class StageMap:
    """A stage that has a map, and where it is read.

    Attributes:
        stage: the stage's name.
        hook_point: where its last map is read.
        units: c, the number of its channels.
        height: h of the map.
        width: w of the map.
    """

    stage: str
    hook_point: HookPoint
    units: int
    height: int
    width: int


def find_stage_maps(module: nn.Module, stages: Sequence[Stage], input_shape: tuple[int, int, int]) -> list[StageMap]:
    """Return, for each of `stages` that has one, the last map of more than one place that it gives.

    Args:
        module: (b, 3, h, w) -> (b, d), in eval mode; it is run once on blank images and left as it was.
        stages: as `Backbone.stages` gives them.
        input_shape: (3, h, w).
    """
    inputs = _first_inputs(module, input_shape)
    entries = [stage.name for stage in stages]
    starts = [next(index for index, (name, _) in enumerate(inputs) if name == entry) for entry in entries]
    aspect = input_shape[2] / input_shape[1]
    found: list[StageMap] = []
    seen: set[int] = set()
    for stage, start, end in zip(stages, starts, [*starts[1:], len(inputs) - 1], strict=True):
        seen.add(id(inputs[start][1]))  # what goes into a stage is of the one before
        for name, activation in reversed(inputs[start + 1 : end + 1]):
            stage_map = _stage_map(stage.name, name, activation, module, aspect)
            if stage_map is not None and id(activation) not in seen:
                found.append(stage_map)
                seen.add(id(activation))
                break
    return found


def _stage_map(stage: str, name: str, activation: Any, module: nn.Module, aspect: float) -> StageMap | None:
    """Return the map of `stage` if `activation`, the input of the module `name`, is one of the image's proportions.

    `aspect` is the image's width divided by its height.
    """
    if not isinstance(activation, torch.Tensor) or activation.ndim not in (3, 4) or len(activation) != _BLANK:
        return None
    if isinstance(module.get_submodule(name), (nn.Dropout, nn.Softmax)):
        return None  # of attention: its weights are no map
    if activation.ndim == 3:
        hook_points = [HookPoint(name, "input", "b n c", int(getattr(module, "num_prefix_tokens", 0)))]
    else:
        layouts = ["b c h w", "b h w c"]
        hook_points = [HookPoint(name, "input", layout) for layout in layouts[:: -1 if _has_units_last(module) else 1]]
    for hook_point in hook_points:
        try:
            _, units, height, width = hook_point.as_map(activation).shape
        except ModelError:
            continue
        if height * width > 1 and 1 / _SKEW < height / width * aspect < _SKEW:
            return StageMap(stage, hook_point, units, height, width)
    return None


def _has_units_last(module: nn.Module) -> bool:
    return bool(getattr(module, "output_fmt", "") == "NHWC")


def _first_inputs(module: nn.Module, input_shape: tuple[int, int, int]) -> list[tuple[str, Any]]:
    """Return the name and first input of every module, in the order in which they first run."""
    found: dict[str, Any] = {}

    def record(name: str) -> Before:
        def call(inputs: tuple[Any, ...]) -> None:
            found.setdefault(name, inputs[0] if inputs else None)

        return call

    images = blank_images(module, input_shape, _BLANK)
    names = [name for name, _ in module.named_modules() if name]
    with forward_hooks(module, before=[(name, record(name)) for name in names]), torch.no_grad():
        module(images)
    return list(found.items())
