"""What is used of a network's configuration in timm's format, and what it must be."""

from collections.abc import Callable, Mapping
from typing import Any

from regraft.data.preprocess import INTERPOLATIONS
from regraft.errors import ModelError


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise `ModelError` for a value of timm's `pretrained_cfg` that cannot be used.

    Args:
        settings: by name; what is missing or None is not used.
        where: for the message, with {} in place of the name.
    """
    for name, allowed, fits in _SETTINGS:
        if settings.get(name) is not None and not fits(settings[name]):
            raise ModelError(f"{where.replace('{}', name)} must be {allowed}. Got {settings[name]!r}.")


def _are_numbers(values: object, count: int, kind: type = float) -> bool:
    return (
        isinstance(values, (list, tuple)) and len(values) == count and all(isinstance(v, (int, kind)) for v in values)
    )


# name, allowed values in words, test
_SETTINGS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("input_size", "[3, height, width]", lambda v: _are_numbers(v, 3, int) and v[0] == 3 and min(v) > 0),
    ("mean", "three numbers", lambda v: _are_numbers(v, 3)),
    ("std", "three numbers above 0", lambda v: _are_numbers(v, 3) and min(v) > 0),
    ("crop_pct", "a number above 0, at most 1", lambda v: isinstance(v, (int, float)) and 0 < v <= 1),
    ("interpolation", f"one of {', '.join(INTERPOLATIONS)}", lambda v: v in (*INTERPOLATIONS, "random")),
)
