"""Options declared once: a field of a settings class with its help, its rule, and what is allowed in words.

The check, the messages, the command line and the scikit-learn estimator are made from these fields.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any, NewType

import numpy as np

from regraft.errors import OptionError, did_you_mean, option

Bytes = NewType("Bytes", int)  # an option that people give as 500MB
Seconds = NewType("Seconds", float)  # likewise, as 90s or 10m
Interval = tuple[float, float]  # likewise, as 0:4095
_HOURS_FROM = 2 * 3600  # seconds; fewer are said in minutes
_KEY = "regraft"  # of a field's metadata
GROUP = MappingProxyType({_KEY: None})  # metadata of a field that is no option but holds other settings


class Duration(float):
    """Seconds as a message names them to each user: as the command line reads them, and in Python as a number.

    >>> str(Duration(3000)), repr(Duration(3000)), str(Duration(9000)), str(Duration(90))
    ('50m', '3000', '2.5h', '90s')
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return e.g. "50m"."""
        if self >= _HOURS_FROM and self % 1800 == 0:
            return f"{self / 3600:.10g}h"
        return f"{self / 60:.10g}m" if self >= 60 and self % 60 == 0 else f"{self!r}s"

    def __repr__(self) -> str:
        """Return e.g. "3000"."""
        return format(float(self), ".10g")


@dataclass(frozen=True)
class Setting:
    """What a field of a settings class says of itself.

    Attributes:
        help: as the command line shows it.
        allowed: the values in words, after "must be".
        is_allowed: the rule; None as a default is allowed without it.
        choices: the names that there are, where there are only so many.
        flag: what the command line calls the field instead of its name; "" for its name.
        low: the least number, which the command line checks while it reads its arguments; None where there is none.
    """

    help: str
    allowed: str
    is_allowed: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    flag: str = ""
    low: int | None = None


def setting(
    default: Any = MISSING,
    *,
    help: str,
    allowed: str = "",
    check: Callable[[Any], bool] | None = None,
    choices: tuple[str, ...] = (),
    flag: str = "",
    low: int | None = None,
    default_factory: Any = MISSING,
) -> Any:
    """Return a dataclass field that is an option.

    Args:
        default: of the field; None for one that depends on other things, and is then always allowed.
        help: as the command line shows it.
        allowed: the values in words, as in "must be a number above 0"; of `choices`, one of them, if left out.
        check: tells whether a value is allowed; one of `choices`, if left out.
        choices: the names that there are.
        flag: what the command line calls it, as a Python name, where that is not the field's.
        low: the least number that the command line lets pass.
        default_factory: as of `dataclasses.field`, instead of `default`.

    Raises:
        TypeError: it has no help, no rule, or no words for the rule.
    """
    if choices:
        allowed = allowed or f"one of {', '.join(choices)}"
        check = check or (lambda value: value in choices)
    if not help or not allowed or check is None:
        raise TypeError("an option needs its help, a rule (check or choices), and what is allowed in words")
    metadata = {_KEY: Setting(help, allowed, check, choices, flag, low)}
    return field(default=default, default_factory=default_factory, metadata=metadata)


def declared_settings(kind: Any) -> Mapping[str, tuple[Field[Any], Setting]]:
    """Return the fields of a settings class, or of one of its objects, by name, each with what it says of itself.

    Raises:
        TypeError: a field was not made by `setting`.
    """
    bare = [one.name for one in fields(kind) if _KEY not in one.metadata]
    if bare:
        raise TypeError(f"fields without help and rule: {', '.join(bare)}")
    own = [one for one in fields(kind) if one.metadata[_KEY] is not None]  # else a group of others
    return MappingProxyType({one.name: (one, one.metadata[_KEY]) for one in own})


def flags_of(*kinds: Any) -> dict[str, str]:
    """Return the flags that are not made of the field's name, as `errors.flags_in_messages` takes them."""
    return {
        f"{kind.__name__}.{name}": f"--{said.flag.replace('_', '-')}"
        for kind in kinds
        for name, (_, said) in declared_settings(kind).items()
        if said.flag
    }


def check_settings(settings: Any) -> None:
    """Check every field of a settings object by its rule.

    Raises:
        OptionError: one or more values are not allowed; each has a line.
    """
    wrong = []
    for name, (declared, said) in declared_settings(settings).items():
        value = getattr(settings, name)
        if not (value is None and declared.default is None) and not said.is_allowed(value):
            known_as = option(f"{type(settings).__name__}.{name}")
            close = did_you_mean(value, said.choices) if isinstance(value, str) else ""
            wrong.append(f"{known_as} must be {said.allowed}. Got {value!r}.{close}")
    if wrong:
        raise OptionError("\n".join(wrong))


def truth(value: Any) -> bool:
    """Tell whether `value` is True or False, or the 1 or 0 that a grid of numbers has for them.

    >>> truth(True), truth(0), truth(2), truth("no")
    (True, True, False, False)
    """
    return isinstance(value, (int, np.bool_)) and value in (0, 1)


def whole_number(value: Any, low: int, high: float = math.inf) -> bool:
    """Tell whether `value` is an integer, no boolean, from `low` to `high`."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def interval(value: Any) -> bool:
    """Tell whether `value` is two finite numbers, the lower first.

    >>> interval((0, 4095)), interval((-1000.0, 3000.0)), interval((5, 5)), interval("0:4095")
    (True, True, False, False)
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    plain = [one.item() if isinstance(one, np.generic) else one for one in value]
    return all(number(one, -sys.float_info.max) for one in plain) and plain[0] < plain[1]


def number(value: Any, low: float, high: float = math.inf, *, above: bool = False) -> bool:
    """Tell whether `value` is a finite number, no boolean, from `low` (or `above` it) to `high`.

    >>> number(0.0, 0), number(0.0, 0, above=True), number(float("inf"), 0), number(True, 0)
    (True, False, False, False)
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return low <= value <= min(high, sys.float_info.max) and not (above and value == low)
