"""Parameters of which some run with the slow tests only."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some_slow(values: Iterable[Any], slow: Collection[Any]) -> list[Any]:
    """Return `values` as parameters; those in `slow`, all of which must be there, are marked so."""
    listed = list(values)
    assert all(value in listed for value in slow), slow
    return [pytest.param(value, marks=[pytest.mark.slow] if value in slow else []) for value in listed]
