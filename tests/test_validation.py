"""Plain JSON types against types with bounds."""

from types import SimpleNamespace
from typing import Any

import pytest

from regraft.validation import Bounds, Count, Fraction, Number, convert, json_fields


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (Number, -1e300, -1e300),
        (Number, 3, 3.0),
        (Count, 0, 0),
        (Fraction, 1 + 1e-7, 1 + 1e-7),
        (Bounds, [0, 0.5], (0.0, 0.5)),
        (Bounds, None, None),
        (dict[str, Count], {"a": 1}, {"a": 1}),
    ],
)
def test_what_fits(kind: Any, data: Any, expected: Any) -> None:
    found = convert(data, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (Number, float("inf"), r"`float` <= 1e\+300"),
        (Number, float("nan"), r"`float`"),
        (Number, True, "Expected `float`, got `bool`"),
        (Count, -1, "`int` >= 0"),
        (Count, 1.5, "Expected `int`, got `float`"),
        (Fraction, -0.1, "`float` >= -1e-06"),
        (Fraction, 1.1, r"`float` <= 1\.000001"),
        (Bounds, [0.1, 0.2, 0.3], "length 2, got 3"),
        (dict[str, Count], {"a": -1}, r"`int` >= 0 - at `\$\[\.\.\.\]`"),
    ],
)
def test_what_does_not_fit_is_named(kind: Any, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(data, kind)


def test_pairs_among_fields_are_lists_in_json() -> None:
    one = SimpleNamespace(value=0.5, interval=(0.25, 0.75), nothing=None, name="a")
    assert json_fields(one) == {"value": 0.5, "interval": [0.25, 0.75], "nothing": None, "name": "a"}
    assert isinstance(json_fields(one)["interval"], list)
