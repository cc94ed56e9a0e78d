"""How a network is built: its architecture, and timm's settings of it, checked. Imports neither timm nor torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regraft.errors import ModelError, printable
from regraft.images.resizing import INTERPOLATIONS

SMALLEST_SIDE, LARGEST_SIDE = 16, 2048  # pixels of a network's input
LARGEST_CROP = 2.0  # share of the resized image; above 1 it is padded, as for timm's VOLO
_MOST_CLASSES = 1_000_000
# of timm's `pretrained_cfg`: where weights come from, which nothing but the network's name decides
SOURCE_SETTINGS = frozenset({"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load"})


@dataclass(frozen=True)
class Recipe:
    """How timm builds a network: plain JSON types, kept in every bundle.

    Attributes:
        architecture: timm's name, without a tag.
        arguments: of timm's constructor.
        settings: timm's pretrained configuration (input size, normalisation, name of the classifier ...).
    """

    architecture: str
    arguments: dict[str, Any]
    settings: dict[str, Any]


def without_licence(recipe: Recipe) -> Recipe:
    """Return a recipe without a licence: that is of weights which are not used."""
    return replace(recipe, settings={**recipe.settings, "license": None})


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise `ModelError` for a value of timm's `pretrained_cfg` that cannot be used.

    Args:
        settings: by name; what is missing or None is not used.
        where: for the message, with {} in place of the name.
    """
    for name, allowed, fits in _SETTINGS:
        if settings.get(name) is not None and not fits(settings[name]):
            got = printable(repr(settings[name])[:200])
            raise ModelError(f"{where.replace('{}', name)} must be {allowed}. Got {got}.")


def _are_numbers(values: object, count: int, kind: type = float) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) == count
        and all(_is_number(value) and isinstance(value, (int, kind)) for value in values)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_names(value: object) -> bool:
    names = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(name, str) for name in names)


def _is_size(value: Any) -> bool:
    return _are_numbers(value, 3, int) and value[0] == 3 and 0 < min(value) <= max(value) <= LARGEST_SIDE


# name, allowed values in words, test
_SETTINGS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("input_size", f"[3, height, width] of at most {LARGEST_SIDE} pixels", _is_size),
    ("fixed_input_size", "true or false", lambda v: isinstance(v, bool)),
    ("mean", "three numbers", lambda v: _are_numbers(v, 3)),
    ("std", "three numbers above 0", lambda v: _are_numbers(v, 3) and min(v) > 0),
    ("crop_pct", f"a number above 0, at most {LARGEST_CROP:g}", lambda v: _is_number(v) and 0 < v <= LARGEST_CROP),
    ("crop_mode", "a name", lambda v: isinstance(v, str)),
    ("interpolation", f"one of {', '.join(INTERPOLATIONS)}", lambda v: v in (*INTERPOLATIONS, "random")),
    ("num_classes", "a whole number", lambda v: isinstance(v, int) and 0 <= v <= _MOST_CLASSES),
    ("first_conv", "names of layers", _are_names),
    ("classifier", "names of layers", _are_names),
    ("license", "a name", lambda v: isinstance(v, str)),
)
