"""Sites: where in a network a stage's activation is read, and as which map of units by place."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from regraft.errors import ModelError, did_you_mean
from regraft.networks.stages import Stage

_SKEW = 1.3  # how far a map's ratio of sides may be from the image's; padding moves it a little
_BLANK = 2  # images: one could not be told from what is the same for all, such as a pattern of positions


@dataclass(frozen=True)
class HookPoint:
    """Where an activation is read: what comes out of a module, or what goes into it, the first time that it runs.

    Attributes:
        module: its name, as `named_modules` has it.
        side: "output" or "input".
        layout: "b c h w", "b h w c", or "b n c" for the tokens of a transformer.
        skipped: tokens that stand for no place (a class token), before the others.
    """

    module: str
    side: str = "output"
    layout: str = "b c h w"
    skipped: int = 0

    def below(self, name: str) -> "HookPoint":
        """Return the same hook_point in a module that has the network as its part `name`."""
        return replace(self, module=f"{name}.{self.module}")

    def as_map(self, activation: torch.Tensor) -> torch.Tensor:
        """Return a view (b, c, h, w) of an activation: c units at h x w places.

        Raises:
            ModelError: it has no such places.
        """
        if self.layout == "b n c" and activation.ndim == 3:
            tokens = activation[:, self.skipped :]
            side = math.isqrt(tokens.shape[1])
            if side * side == tokens.shape[1]:
                return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        if self.layout == "b h w c" and activation.ndim == 4:
            return activation.permute(0, 3, 1, 2)
        if self.layout == "b c h w" and activation.ndim == 4:
            return activation
        raise ModelError(
            f"the {self.side} of {self.module} is no map of units by place: its shape is {tuple(activation.shape)}. "
            "Choose an earlier stage."
        )


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


class _Reached(Exception):  # noqa: N818 (a signal, not an error)
    pass


def as_hook_point(module: nn.Module, stage: "str | HookPoint") -> HookPoint:
    """Return where `stage` is read: a `HookPoint` as it is, a name as the output of the submodule of that name.

    Raises:
        ModelError: no such submodule.
    """
    hook_point = HookPoint(stage) if isinstance(stage, str) else stage
    names = [name for name, _ in module.named_modules() if name]
    if hook_point.module not in names:
        raise ModelError(
            f"stage must name a module of the network, such as {', '.join(names[:3])}. Got {hook_point.module!r}."
            f"{did_you_mean(hook_point.module, names)}"
        )
    return hook_point


@contextmanager
def watching(
    module: nn.Module, hook_points: Sequence[HookPoint], heard: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Tell `heard` number and activation of each of `hook_points`, once in each run of the network; no hook survives.

    What `heard` returns, if anything, goes on through the network instead of the activation.
    """
    told: set[int] = set()

    def tell(number: int, activation: torch.Tensor) -> torch.Tensor | None:
        if number in told:
            return None
        told.add(number)
        return heard(number, activation)

    def after(number: int) -> Any:
        return lambda _module, _inputs, output: tell(number, output)

    def before(number: int) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            given = tell(number, inputs[0])
            return None if given is None else (given, *inputs[1:])

        return hook

    handles = [module.register_forward_pre_hook(lambda *_: told.clear())]
    try:
        for number, hook_point in enumerate(hook_points):
            owner = module.get_submodule(hook_point.module)
            if hook_point.side == "output":
                handles.append(owner.register_forward_hook(after(number)))
            else:
                handles.append(owner.register_forward_pre_hook(before(number)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_to(module: nn.Module, hook_point: HookPoint, images: torch.Tensor) -> torch.Tensor:
    """Return the activation at `hook_point` of `images` (b, 3, h, w); nothing behind it is run.

    Raises:
        ModelError: the network never comes there.
    """
    found: list[torch.Tensor] = []

    def stop(_: int, activation: torch.Tensor) -> None:
        found.append(activation)
        raise _Reached

    with watching(module, [hook_point], stop):
        try:
            module(images)
        except _Reached:
            return found[0]
    raise ModelError(f"the network never runs {hook_point.module}. Choose another stage.")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every part of `module` into eval mode, and each back into its own mode at the end."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def find_stage_maps(module: nn.Module, stages: Sequence[Stage], input_shape: tuple[int, int, int]) -> list[StageMap]:
    """Return, for each of `stages` that has one, the last map of more than one place that it gives.

    Args:
        module: (b, 3, h, w) -> (b, d), in eval mode; it is run once on blank images and left as it was.
        stages: as `Backbone.stages` gives them.
        input_shape: (3, h, w).
    """
    read = _maps_in_order(module, input_shape)
    entries = [stage.name for stage in stages]
    starts = [next(place for place, (name, _) in enumerate(read) if name == entry) for entry in entries]
    aspect = input_shape[2] / input_shape[1]
    found: list[StageMap] = []
    seen: set[int] = set()
    for stage, start, end in zip(stages, starts, [*starts[1:], len(read) - 1], strict=True):
        seen.add(id(read[start][1]))  # what goes into a stage is of the one before
        for name, activation in reversed(read[start + 1 : end + 1]):
            place = _place(stage.name, name, activation, module, aspect)
            if place is not None and id(activation) not in seen:
                found.append(place)
                seen.add(id(activation))
                break
    return found


def _place(stage: str, name: str, activation: Any, module: nn.Module, aspect: float) -> StageMap | None:
    """Return where `stage` is read if `activation`, which goes into the module `name`, is a map, of the image's shape.

    `aspect` is the image's width by its height.
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


def _maps_in_order(module: nn.Module, input_shape: tuple[int, int, int]) -> list[tuple[str, Any]]:
    """Return the name and first input of every module, in the order in which they first run."""
    read: dict[str, Any] = {}

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            read.setdefault(name, inputs[0] if inputs else None)

        return hook

    parameter = next(module.parameters())
    images = torch.zeros(_BLANK, *input_shape, device=parameter.device, dtype=parameter.dtype)
    modules: Mapping[str, nn.Module] = {name: part for name, part in module.named_modules() if name}
    handles = [part.register_forward_pre_hook(hook_of(name)) for name, part in modules.items()]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return list(read.items())
