"""Looking into a network while it runs: hooks, eval mode, blank images, runs that stop on the way.

Hooks are registered here and nowhere else, and every one is gone at the end, after a failure too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from regraft.errors import ModelError, did_you_mean
from regraft.networks.hook_points import HookPoint

Before = Callable[[tuple[Any, ...]], tuple[Any, ...] | None]  # inputs; what it returns, if anything, replaces them
After = Callable[[Any], Any]  # output; the same


def as_hook_point(module: nn.Module, stage: str | HookPoint) -> HookPoint:
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
def forward_hooks(
    module: nn.Module, *, before: Iterable[tuple[str, Before]] = (), after: Iterable[tuple[str, After]] = ()
) -> Iterator[None]:
    """Call functions whenever submodules run, as long as the context lasts.

    Args:
        module: the network.
        before: names of submodules ("" is the network itself), and what is called with their positional inputs.
        after: names of submodules, and what is called with their output.
    """

    def before_hook(call: Before) -> Any:
        return lambda _module, inputs: call(inputs)

    def after_hook(call: After) -> Any:
        return lambda _module, _inputs, output: call(output)

    handles = []
    try:
        for name, call in before:
            handles.append(module.get_submodule(name).register_forward_pre_hook(before_hook(call)))
        for name, call in after:
            handles.append(module.get_submodule(name).register_forward_hook(after_hook(call)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def hooked(
    module: nn.Module, hook_points: Sequence[HookPoint], receive: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Give `receive` number and activation of each of `hook_points`, once in each run of the network.

    What `receive` returns, if anything, goes on through the network instead of the activation.
    """
    done: set[int] = set()

    def start(_: tuple[Any, ...]) -> None:
        done.clear()

    def pass_on(number: int, activation: torch.Tensor) -> torch.Tensor | None:
        if number in done:
            return None
        done.add(number)
        return receive(number, activation)

    def input_of(number: int) -> Before:
        def call(inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            replacement = pass_on(number, inputs[0])
            return None if replacement is None else (replacement, *inputs[1:])

        return call

    def output_of(number: int) -> After:
        return lambda output: pass_on(number, output)

    points = list(enumerate(hook_points))
    inputs = [(point.module, input_of(number)) for number, point in points if point.side == "input"]
    outputs = [(point.module, output_of(number)) for number, point in points if point.side == "output"]
    with forward_hooks(module, before=[("", start), *inputs], after=outputs):
        yield


class _Stop(Exception):  # noqa: N818 (a signal, not an error)
    def __init__(self, activation: torch.Tensor) -> None:
        super().__init__()
        self.activation = activation


def run_to(module: nn.Module, hook_point: HookPoint, images: torch.Tensor) -> torch.Tensor:
    """Return the activation at `hook_point` of `images` (b, 3, h, w); nothing behind it is run.

    Raises:
        ModelError: the network never comes there.
    """

    def stop(_: int, activation: torch.Tensor) -> None:
        raise _Stop(activation)

    with hooked(module, [hook_point], stop):
        try:
            module(images)
        except _Stop as stopped:
            return stopped.activation
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


def blank_images(module: nn.Module, input_shape: tuple[int, int, int], count: int = 1) -> torch.Tensor:
    """Return `count` images of zeros, of `input_shape` (3, h, w), on the device and in the precision of `module`."""
    parameter = next(module.parameters(), torch.zeros(()))
    return torch.zeros(count, *input_shape, device=parameter.device, dtype=parameter.dtype)


def check_takes(module: nn.Module, height: int, width: int, problem: str) -> None:
    """Raise `ModelError` unless `module` takes a blank image of this size.

    Args:
        module: any network of colour images.
        height: in pixels.
        width: in pixels.
        problem: how the message begins, and how it ends, with {} in place of the reason.
    """
    try:
        with evaluating(module), torch.no_grad():
            module(blank_images(module, (3, height, width)))
    except (RuntimeError, AssertionError, ValueError, ArithmeticError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(problem.replace("{}", reason)) from None
