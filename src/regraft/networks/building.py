"""How timm is asked for a network: by an architecture and what describes one, and never for more than that.

A bundle or a config.json may come from anybody. What it says passes through here: no argument that names a file, an
address or weights reaches timm, and no network is built that is larger than it may be.
"""

import functools
import inspect
import math
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.models._manipulate import group_with_matcher
from torch import nn
from torch.nn.modules import module as registration

from regraft.deadline import deadline
from regraft.errors import ModelError, did_you_mean, option, printable
from regraft.networks.recipe import LARGEST_SIDE, Recipe
from regraft.networks.stages import groups_by_part
from regraft.networks.weights import StateDict, load_strictly

_FOREIGN = re.compile(r"pretrain|checkpoint|weights?$|file|path$|dir$|url|hub|cache|state_dict|cfg|^device$|^dtype$")
_OWN = frozenset({"self", "num_classes"})  # what is set here
_TEXT = re.compile(r"[\w.+\- ]{0,64}")  # names of layers and ways of pooling
_LARGEST = 16_384  # of a number that describes a network: widths, depths, pixels
_SIDES = re.compile(r"size|window|resolution|stride|patch|grid|kernel")
_LONGEST_BUILDING = 4.0  # seconds
_DEEPEST, _LONGEST = 3, 1_000  # lists within lists, and items of an argument
_MOST_MODULES = 20_000  # five times those of timm's largest
_MOST_PARAMETERS = 10_000_000_000
ROOM = 50_000_000  # parameters that a network may have besides those of its file: a last layer that is cut off
_building = threading.RLock()  # what is changed in PyTorch while timm builds is changed for all threads


def create(recipe: Recipe, *, classes: int, state: StateDict | None = None, most: int | None = None) -> nn.Module:
    """Let timm build a network, with `state` as its pretrained weights, without any download.

    Args:
        recipe: the network. Only arguments that describe it pass.
        classes: outputs of its last layer; 0 for none.
        state: its weights, or None for random ones.
        most: parameters that it may have; by default those of `state`, or what timm's largest have.

    Raises:
        ModelError: an argument that is not allowed, or with which it cannot be built.
    """
    check_arguments(recipe)
    if most is None:
        most = _MOST_PARAMETERS if state is None else sum(tensor.numel() for tensor in state.values()) + ROOM
    settings = {
        **recipe.settings,
        "source": None,
        "file": None,
        "url": None,
        "hf_hub_id": None,
        "state_dict": state,
        "num_classes": classes,
        "label_offset": 0,  # a background class before the others is just one more class here
        "custom_load": False,
    }
    if recipe.arguments:
        _check_outline(recipe, most)
    try:
        with _bounded(recipe, most):
            module: nn.Module = timm.create_model(
                recipe.architecture,
                pretrained=state is not None,
                pretrained_cfg=settings,
                num_classes=classes,
                **recipe.arguments,
            )
    except ModelError:
        raise
    except (TypeError, AssertionError, ArithmeticError, IndexError) as error:  # of the constructor
        raise misbuilt(recipe, error) from None
    except Exception as error:
        if state is not None:
            raise  # weights that do not fit: the caller knows their source
        raise misbuilt(recipe, error) from None
    return module.eval()


def misbuilt(recipe: Recipe, error: object) -> ModelError:
    """Return the error that says why a network cannot be built."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ModelError(
        f"{recipe.architecture} cannot be built with the arguments {printable(_shown(recipe.arguments))}: "
        f"{printable(reason)}. Correct model_args in its config.json, or {option('build_untrained.arguments')}."
    )


def check_arguments(recipe: Recipe) -> None:
    """Raise `ModelError` unless every argument is one of the network's own, and a bounded value.

    Allowed are the parameters of the class that timm builds, less those for weights, files, addresses and devices.
    """
    if not recipe.arguments:
        return
    allowed = _parameters(recipe.architecture)
    for name, value in recipe.arguments.items():
        if name not in allowed:
            hint = did_you_mean(str(name), allowed)
            raise misbuilt(recipe, f"{name!r} is none of its arguments.{hint} Allowed are {', '.join(allowed)}")
        if name == "in_chans" and value != 3:
            raise misbuilt(recipe, f"in_chans must be 3, for photos are red, green and blue. Got {_shown(value)}")
        _check_value(recipe, name, value)


def tensor_groups(module: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Return the number of the group of every parameter and buffer, by name: timm's own grouping where it has one.

    Args:
        module: the network.
        coarse: by stages; else by the blocks of stages.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if not hasattr(module, "group_matcher"):
        return groups_by_part(module, [name for name, _ in tensors])
    matcher = module.group_matcher(coarse=coarse)  # type: ignore[operator]
    groups: dict[str, int] = group_with_matcher(iter(tensors), matcher, reverse=True)
    return groups


@contextmanager
def strict_loading(architecture: str, source: str) -> Iterator[None]:
    """Load as `load_strictly` does wherever timm loads weights while it builds: some of its networks ask for less.

    Args:
        architecture: the network's name, for the message.
        source: where the weights are from, for the message.
    """
    original = nn.Module.load_state_dict
    thread = threading.get_ident()

    def strict_here(self: nn.Module, state: Any, strict: bool = True, assign: bool = False) -> Any:
        if threading.get_ident() != thread:
            return original(self, state, strict=strict, assign=assign)
        return load_strictly(self, state, architecture=architecture, source=source, load=original, assign=assign)

    with _building:
        nn.Module.load_state_dict = strict_here  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.load_state_dict = original  # type: ignore[method-assign]


@functools.cache
def _parameters(architecture: str) -> tuple[str, ...]:
    """Return the names of the arguments by which the class of a network describes it."""
    with torch.device("meta"):  # no memory, and nothing is drawn
        kind = type(timm.create_model(architecture, num_classes=0))
    own: dict[str, None] = {}
    for part in kind.__mro__:
        parameters = inspect.signature(vars(part)["__init__"]).parameters.values() if "__init__" in vars(part) else ()
        own |= dict.fromkeys(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break  # it hands nothing on to the class that it is derived from
    return tuple(name for name in own if name not in _OWN and not _FOREIGN.search(name))


def _check_value(recipe: Recipe, name: str, value: Any, depth: int = 0) -> None:
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        if len(value) > _LONGEST or depth >= _DEEPEST:
            raise misbuilt(recipe, f"{name} must have at most {_LONGEST:,} items, at most {_DEEPEST} lists deep")
        for item in value:
            _check_value(recipe, name, item, depth + 1)
    elif isinstance(value, str):
        if not _TEXT.fullmatch(value):
            raise misbuilt(recipe, f"{name} must be a short name of letters and digits. Got {_shown(value)}")
    elif isinstance(value, (int, float)):
        largest = LARGEST_SIDE if _SIDES.search(name) else _LARGEST
        if not (math.isfinite(value) and abs(value) <= largest):
            raise misbuilt(recipe, f"{name} must be a number up to {largest:,}. Got {_shown(value)}")
    elif value is not None:
        raise misbuilt(recipe, f"{name} must be numbers, names or lists of them. Got {type(value).__name__}")


def _check_outline(recipe: Recipe, most: int) -> None:
    """Build the network without memory for its weights, to see how large it gets and that it comes to an end.

    Some of timm's networks go through all pairs of positions of a window in Python, which no count of layers bounds.
    """
    too_long = misbuilt(recipe, f"that takes longer than {_LONGEST_BUILDING:g} seconds")
    for device in ("meta", "cpu"):  # some networks need values: all of it again with these
        try:
            with torch.device(device), _bounded(recipe, most), _ending(too_long):
                timm.create_model(recipe.architecture, num_classes=0, pretrained_cfg=None, **recipe.arguments)
            return
        except ModelError:
            raise
        except Exception:  # whatever a constructor raises here, `create` meets and reports with the values given
            continue


@contextmanager
def _ending(too_long: ModelError) -> Iterator[None]:
    """Have timm end with `too_long` after `_LONGEST_BUILDING`, and PyTorch be as it was before."""
    gradients = torch.is_grad_enabled()  # timm draws weights without, and may be stopped on its way out of that
    try:
        with deadline(_LONGEST_BUILDING, too_long, within=("timm.",)):
            yield
    finally:
        torch.set_grad_enabled(gradients)


@contextmanager
def _bounded(recipe: Recipe, most: int) -> Iterator[None]:
    """Refuse to build a network of more than `most` parameters or `_MOST_MODULES` layers, in this thread."""
    thread, modules, parameters = threading.get_ident(), 0, 0

    def count(_: nn.Module, __: str, part: nn.Module | None) -> None:
        nonlocal modules
        modules += threading.get_ident() == thread and part is not None
        if modules > _MOST_MODULES:
            raise misbuilt(recipe, f"it gets more than {_MOST_MODULES:,} layers")

    def measure(_: nn.Module, __: str, part: torch.Tensor | None) -> None:
        nonlocal parameters
        if threading.get_ident() == thread and part is not None and not isinstance(part, nn.UninitializedParameter):
            parameters += part.numel()
        if parameters > most:
            raise misbuilt(recipe, f"it gets more than the {most:,} parameters that it may have")

    hooks = [
        registration.register_module_module_registration_hook(count),
        registration.register_module_parameter_registration_hook(measure),
        registration.register_module_buffer_registration_hook(measure),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " ..."
