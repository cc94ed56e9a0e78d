"""Labels as Python users have them: read from `y`, named as classes, and made again from the names in a file."""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np

from regraft.data.cells import is_missing
from regraft.data.samples import clean_name
from regraft.errors import DataError, printable

_SHOWN = 10  # positions in a message
# arrays that a file can say, by the type of their labels; any type may lie in an array of objects, too
_DTYPES = {"int": r"[iu][1248]", "float": r"f[248]", "datetime64": r"M8\[(Y|M|W|D|h|m|s|ms|us|ns)\]"}
_BY_KIND = {"U": "str", "i": "int", "u": "int", "f": "float", "b": "bool", "S": "bytes", "M": "datetime64"}
_PLAIN: dict[type, str] = {kind: kind.__name__ for kind in (str, int, float, bool, bytes, Decimal, np.datetime64)}
_PLAIN |= {datetime.date: "date", datetime.datetime: "datetime"}


def _read_bool(name: str) -> bool:
    return {"True": True, "False": False}[name]


def _read_timestamp(name: str) -> Any:
    import pandas as pd

    return pd.Timestamp(name)


@dataclass(frozen=True)
class LabelType:
    """One type of label that survives a file.

    Attributes:
        name_of: a label -> the name of its class.
        read: the name -> an equal label of the same type.
    """

    name_of: Callable[[Any], str]
    read: Callable[[str], Any]


LABEL_TYPES: dict[str, LabelType] = {
    "str": LabelType(str, str),
    "int": LabelType(str, int),
    "float": LabelType(str, float),
    "bool": LabelType(str, _read_bool),
    "bytes": LabelType(bytes.decode, str.encode),
    "date": LabelType(datetime.date.isoformat, datetime.date.fromisoformat),
    "datetime": LabelType(datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "Timestamp": LabelType(lambda label: str(label.isoformat()), _read_timestamp),
    "datetime64": LabelType(str, np.datetime64),
    "Decimal": LabelType(str, Decimal),
}


@dataclass(frozen=True, eq=False)
class Labels:
    """n labels and their c classes.

    Attributes:
        values: (c,) the distinct labels, of the user's type, in NumPy's order, which scikit-learn's scorers rely on.
        names: of the classes, c.
        positions: (n,) of each label in `values`.
        type: its name in `LABEL_TYPES`.
    """

    values: np.ndarray
    names: tuple[str, ...]
    positions: np.ndarray
    type: str

    @property
    def dtype(self) -> str:
        """Return the type of the array as a file keeps it, "" where it follows from the labels themselves."""
        natural = _array([LABEL_TYPES[self.type].read(name) for name in self.names], self.type)
        return "" if self.values.dtype == natural.dtype else _letters(self.values.dtype)


def read_labels(y: Any, count: int) -> Labels:
    """Return the labels of `count` images.

    Args:
        y: (n,) labels: a list, an array, a pandas Series or Categorical, whose index is ignored.
        count: n.

    Raises:
        DataError: another number of them; some are missing; or they are of several types, or of one that cannot be
            kept in a file.
    """
    values = _flat(y, count)
    _check_missing(y, values)
    values, kind = _typed(values, is_array=hasattr(y, "__array__"))
    _check_whole(values, kind)
    distinct, positions = np.unique(values, return_inverse=True)
    if distinct.dtype.kind in "US":
        distinct = np.array(distinct.tolist())  # no wider than the longest
    try:
        names = tuple(LABEL_TYPES[kind].name_of(value) for value in distinct)
    except UnicodeDecodeError:
        raise DataError(
            "the labels in y are bytes that are no UTF-8 text, which cannot name classes. Decode them: "
            'y = [label.decode("latin-1") for label in y].'
        ) from None
    if kind in ("str", "bytes"):
        _check_names(names)
    return Labels(distinct, names, positions.astype(np.int64), kind)


def make_labels(names: Sequence[str], kind: str, dtype: str = "") -> np.ndarray:
    """Return (c,) labels from the names of their classes: what `Labels.values` was.

    Args:
        names: of the classes.
        kind: of `LABEL_TYPES`.
        dtype: `Labels.dtype`.

    Raises:
        ValueError: no such type, or the names are not of it, or not distinct in it.
    """
    if kind not in LABEL_TYPES:
        raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}. Got {kind!r}")
    if dtype not in ("", "O") and not re.fullmatch(_DTYPES.get(kind, "(?!)"), dtype):
        raise ValueError(f"label_dtype must be one for labels of type {kind}. Got {dtype!r}")
    values = [_read(kind, name) for name in names]
    if len(set(values)) != len(names):
        raise ValueError(f"classes must differ from each other as labels of type {kind}")
    try:
        return _objects(values) if dtype == "O" else np.array(values, dtype) if dtype else _array(values, kind)
    except (ValueError, OverflowError):
        raise ValueError(f"classes must be labels of type {kind} {dtype}") from None


def name_of(label: Any) -> str:
    """Return the name of the class that one label stands for, as `read_labels` gives it.

    >>> name_of("cat"), name_of(np.int64(3)), name_of(b"cat"), name_of(datetime.date(2024, 2, 29))
    ('cat', '3', 'cat', '2024-02-29')
    """
    value = _python(label)
    kind = _kind_of(value)
    return LABEL_TYPES[kind].name_of(value) if kind in LABEL_TYPES else str(label)


def _read(kind: str, name: str) -> Any:
    """Return the label of this name.

    Raises:
        ValueError: it is of another type.
    """
    try:
        value = LABEL_TYPES[kind].read(name)
        numeric = kind in ("int", "float")  # which are spelled in several ways
        if numeric or (LABEL_TYPES[kind].name_of(value) == name and value == value):  # noqa: PLR0124 (NaT)
            return value
    except (ValueError, KeyError, ArithmeticError, TypeError):
        pass
    raise ValueError(f"classes must be of label_type {kind}. Got {name!r}")


def _array(values: Sequence[Any], kind: str) -> np.ndarray:
    """Return labels of one type as NumPy has them by itself; whole numbers too large for it stay Python's."""
    made = np.array(values)
    return _objects(values) if kind == "int" and made.dtype.kind not in "iu" else made


def _objects(values: Sequence[Any]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _letters(dtype: Any) -> str:
    return str(dtype.str).lstrip("<>|=")


def _flat(y: Any, count: int) -> np.ndarray:
    """Return (count,) labels: an array as it is, anything else as objects, so that NumPy makes none of them another."""
    if isinstance(y, (str, bytes, AbstractSet, Mapping)):
        raise DataError(f"y must hold one label for each image, in their order. Got a {type(y).__name__}.")
    if hasattr(y, "__array__"):
        values = np.asarray(y)
        shape = values.shape
    else:
        given = list(y) if isinstance(y, Iterable) else []
        values = np.fromiter(given, dtype=object, count=len(given))
        inner = {np.shape(value) for value in given if isinstance(value, (list, tuple, np.ndarray))}
        shape = (len(given), *(inner.pop() if len(inner) == 1 else ()))
    if shape != (count,):
        raise DataError(
            f"y must hold one label for each image, shape ({count},). Got {count} images and labels of shape {shape}."
        )
    return values


def _check_missing(y: Any, values: np.ndarray) -> None:
    missing = np.zeros(len(values), dtype=bool)
    if values.dtype.kind not in "biu":
        missing = np.fromiter((is_missing(value) for value in values), dtype=bool, count=len(values))
    if np.ma.isMaskedArray(y):
        missing |= np.ma.getmaskarray(y)
    if missing.any():
        places = np.flatnonzero(missing)
        shown = ", ".join(map(str, places[:_SHOWN])) + (" ..." if len(places) > _SHOWN else "")
        raise DataError(
            f"{len(places):,} of {len(values):,} labels in y are missing (None, NaN or blank), at positions {shown}. "
            "Give these images a label, or leave them and their labels out."
        )


def _typed(values: np.ndarray, *, is_array: bool) -> tuple[np.ndarray, str]:
    """Return the labels as one array of one type, and its name in `LABEL_TYPES`."""
    if values.dtype.kind not in "OT":  # T: NumPy's text of any length
        kind = _BY_KIND.get(values.dtype.kind, "")
        if not kind or (kind in _DTYPES and not re.fullmatch(_DTYPES[kind], _letters(values.dtype))):
            raise _unknown_type(str(values.dtype))
        return values.astype(values.dtype.newbyteorder("=")), kind
    given = [_python(value) for value in values]
    kinds = sorted({_kind_of(value) for value in given})
    if kinds == ["float", "int"]:
        given, kinds = [float(value) for value in given], ["float"]
    if len(kinds) > 1:
        raise DataError(
            f"the labels in y must be of one type. Got {', '.join(kinds)}. Make them all text or all numbers."
        )
    (kind,) = kinds or ["str"]
    if kind not in LABEL_TYPES:
        raise _unknown_type(kind)
    keeps_objects = is_array and values.dtype == object and kind != "datetime64"
    return _objects(given) if keeps_objects else _array(given, kind), kind


def _kind_of(value: Any) -> str:
    """Return the name of a label's type in `LABEL_TYPES`, or another one for what has no row there."""
    kind = type(value)
    name = _PLAIN.get(kind, f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
    if kind.__name__ == "Timestamp" and kind.__module__.partition(".")[0] == "pandas":
        name = "Timestamp"
    return f"{name} with a time zone" if getattr(value, "tzinfo", None) is not None else name


def _python(value: Any) -> Any:
    """Return a label as plain Python has it: of NumPy's scalars, or of a member of an `IntEnum`, which are equal."""
    if isinstance(value, Enum):
        return value.value if isinstance(value, (str, int)) and type(value.value) in (str, int) else value
    if isinstance(value, (np.str_, np.bytes_, np.bool_, np.integer, np.floating)):
        return value.item()
    return value


def _unknown_type(kind: str) -> DataError:
    return DataError(
        f"labels of type {printable(kind)} cannot be kept in a classifier's file. Allowed are text, whole numbers, "
        "booleans, bytes, and dates and times without a time zone. Make them text: y = [str(label) for label in y]."
    )


def _check_whole(values: np.ndarray, kind: str) -> None:
    if kind == "float":
        numbers = values.astype(np.float64)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    elif kind == "Decimal":
        whole = np.array([value == value.to_integral_value() for value in values])
    else:
        return
    if not whole.all():
        raise DataError("the labels in y must name classes. Got numbers with fractions (continuous).")


def _check_names(names: Sequence[str]) -> None:
    """Refuse classes that no reader could tell apart."""
    alike: dict[str, str] = {}
    for name in names:
        first = alike.setdefault(clean_name(name), name)
        if first is not name:
            raise DataError(
                f"the labels {first!a} and {name!a} in y differ by blanks around them, or by how an accent "
                "is written, alone. Give both the same name."
            )
