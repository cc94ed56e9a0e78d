"""What stands for "no value" among labels and groups."""

from typing import Any

# what pandas takes for it in a file, and what Python's `str` makes of it; compared without regard to case
MISSING_WORDS = frozenset(
    ["", "#n/a", "#n/a n/a", "#na", "-nan", "<na>", "n/a", "na", "nan", "nat", "none", "null", "missing"]
)


def is_missing(value: Any) -> bool:
    """Tell whether a value is none: None, NaN, pandas' NA and NaT, or blank text.

    >>> [is_missing(value) for value in (None, float("nan"), " ", b"", 0, "NA", ("a", None))]
    [True, True, True, True, False, False, False]
    """
    if isinstance(value, (str, bytes)):
        return not value.strip()
    if value is None:
        return True
    kind = type(value)
    if kind.__name__ in ("NAType", "NaTType"):  # pandas', which need not be imported to ask
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 (NaN and NumPy's NaT)
    except (TypeError, ValueError, ArithmeticError):
        return False  # an array, or something else that is there


def names_nothing(text: str) -> bool:
    """Tell whether a text is a word for a missing value, as it stands in tables.

    >>> [names_nothing(text) for text in ("NA", " n/a", "NaN", "None", "Nancy", "0")]
    [True, True, True, True, False, False]
    """
    return text.strip().casefold() in MISSING_WORDS
