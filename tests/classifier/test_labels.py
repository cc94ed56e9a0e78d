"""Labels of every type that users have: read as they are, named, and made again; or refused with a sentence."""

import datetime as dt
import enum
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regraft.classifier.labels import LABEL_TYPES, make_labels, name_of, read_labels
from regraft.errors import DataError


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(enum.StrEnum):
    A = "a"
    B = "b"


DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 5)

# labels, their distinct values in order, the type of the array, and the names of the classes
KEPT: list[tuple[Any, list[Any], str, list[str]]] = [
    (["b", "a"], ["a", "b"], "<U1", ["a", "b"]),
    (np.array(["bb", "a"], dtype="U9"), ["a", "bb"], "<U2", ["a", "bb"]),
    (np.array(["b", "a"], dtype=np.dtypes.StringDType()), ["a", "b"], "<U1", ["a", "b"]),
    (pd.Series(["b", "a"], index=[7, 7]), ["a", "b"], "O", ["a", "b"]),
    (pd.Series(["b", "a"], dtype="string"), ["a", "b"], "O", ["a", "b"]),
    (pd.Categorical(["b", "a"], categories=["c", "b", "a"]), ["a", "b"], "O", ["a", "b"]),
    ([np.str_("b"), "a"], ["a", "b"], "<U1", ["a", "b"]),
    ([Word.B, Word.A], ["a", "b"], "<U1", ["a", "b"]),
    ([10, 2], [2, 10], "i8", ["2", "10"]),
    ([Number.TWO, np.int64(1)], [1, 2], "i8", ["1", "2"]),
    (np.array([10, 2], dtype=">i4"), [2, 10], "i4", ["2", "10"]),
    (np.array([255, 2], dtype=np.uint8), [2, 255], "u1", ["2", "255"]),
    (np.array([2**63 + 5, 2], dtype=np.uint64), [2, 2**63 + 5], "u8", ["2", "9223372036854775813"]),
    (np.array([10, 2], dtype=np.uint64), [2, 10], "u8", ["2", "10"]),
    ([2**63, -1], [-1, 2**63], "O", ["-1", "9223372036854775808"]),
    (pd.array([10, 2], dtype="Int64"), [2, 10], "i8", ["2", "10"]),
    (np.array([10, 2], dtype=object), [2, 10], "O", ["2", "10"]),
    ([2, 1.0], [1.0, 2.0], "f8", ["1.0", "2.0"]),
    (np.array([1e10, 2], dtype=np.float32), [2.0, 1e10], "f4", ["2.0", "1e+10"]),
    ([True, False], [False, True], "?", ["False", "True"]),
    (np.array([True, False], dtype=object), [False, True], "O", ["False", "True"]),
    ([b"dog", b"cat"], [b"cat", b"dog"], "S3", ["cat", "dog"]),
    (np.array([b"dog", b"cat"], dtype=object), [b"cat", b"dog"], "O", ["cat", "dog"]),
    ([DAY, dt.date(2023, 1, 1)], [dt.date(2023, 1, 1), DAY], "O", ["2023-01-01", "2024-02-29"]),
    ([NOON, dt.datetime(2023, 1, 1)], [dt.datetime(2023, 1, 1), NOON], "O",
     ["2023-01-01T00:00:00", "2024-02-29T12:00:00.000005"]),
    ([pd.Timestamp(NOON), pd.Timestamp(DAY)], [pd.Timestamp(DAY), pd.Timestamp(NOON)], "O",
     ["2024-02-29T00:00:00", "2024-02-29T12:00:00.000005"]),
    (np.array(["2024-02-29", "2023-01-01"], dtype="M8[D]"), [dt.date(2023, 1, 1), DAY], "M8[D]",
     ["2023-01-01", "2024-02-29"]),
    (np.array(["2024", "2023"], dtype="M8[Y]"), [dt.date(2023, 1, 1), dt.date(2024, 1, 1)], "M8[Y]", ["2023", "2024"]),
    (np.array(["2024-02-29", "2024-02-22"], dtype="M8[W]"), [dt.date(2024, 2, 22), DAY], "M8[W]",
     ["2024-02-22", "2024-02-29"]),
    (pd.Series([NOON, DAY]).astype("M8[us]"), [dt.datetime(2024, 2, 29), NOON], "M8[us]",
     ["2024-02-29T00:00:00.000000", "2024-02-29T12:00:00.000005"]),
    ([Decimal("2"), Decimal("1.0")], [Decimal("1.0"), Decimal("2")], "O", ["1.0", "2"]),
]  # fmt: skip


@pytest.mark.parametrize(("y", "values", "dtype", "names"), KEPT, ids=lambda of: repr(of)[:40])
def test_labels_are_the_same_after_a_file(y: Any, values: list[Any], dtype: str, names: list[str]) -> None:
    read = read_labels(y, 2)
    made = make_labels(read.names, read.type, read.dtype)
    for found in (read.values, made):
        assert found.dtype == np.dtype(dtype)
        assert found.tolist() == values
        assert [type(value) for value in found.tolist()] == [type(value) for value in values]
    assert list(read.names) == names
    assert read.positions.tolist() == [1, 0]  # the larger comes first in every y


def test_every_type_is_tried() -> None:
    assert {read_labels(y, 2).type for y, _, _, _ in KEPT} == set(LABEL_TYPES)


MISSING = [
    None,
    float("nan"),
    np.nan,
    pd.NA,
    pd.NaT,
    "",
    "  ",
    "nan",
    "NaT",
    "<NA>",
    b"",
    Decimal("NaN"),
    Decimal("sNaN"),
    np.datetime64("NaT"),
]


@pytest.mark.parametrize("nothing", MISSING, ids=repr)
@pytest.mark.parametrize("kind", [list, lambda y: np.array(y, dtype=object), lambda y: pd.Series(y, dtype=object)])
def test_missing_labels_are_counted_and_placed(nothing: Any, kind: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_labels(kind(["cat", nothing, "dog", nothing]), 4)
    assert str(caught.value) == (
        "2 of 4 labels in y are missing (None, NaN or blank), at positions 1, 3. Give these images a label, or leave "
        "them and their labels out."
    )


@pytest.mark.parametrize(
    "y",
    [
        np.array([1, np.nan]),
        pd.array([1, None], dtype="Int64"),
        pd.array([True, None], dtype="boolean"),
        pd.Categorical(["a", None]),
        pd.Series(["a", None], dtype="string"),
        np.array(["2024", "NaT"], dtype="M8[D]"),
        np.ma.array([1, 2], mask=[False, True]),
        np.array(["a", " "]),
        np.array(["a", np.nan]),  # which makes it a text
    ],
    ids=repr,
)
def test_missing_labels_of_arrays(y: Any) -> None:
    with pytest.raises(DataError, match=r"^1 of 2 labels in y are missing .* at positions 1\. Give"):
        read_labels(y, 2)


def test_many_missing_labels_are_not_all_listed() -> None:
    with pytest.raises(DataError, match=r"^12 of 13 .* at positions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 \.\.\.\. Give"):
        read_labels([None] * 12 + ["a"], 13)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        ([Colour.RED, Colour.BLUE], "test_labels.Colour"),
        (pd.Series([("a", 1), ("b", 2)]), "type tuple cannot"),
        (np.array([1j, 2]), "complex128"),
        (np.array([1, 2], dtype="m8[s]"), "timedelta64[s]"),
        (np.array([1, 2], dtype="M8[25s]"), "datetime64[25s]"),
        ([dt.timedelta(1), dt.timedelta(2)], "datetime.timedelta"),
        (pd.Series([pd.Timestamp("2024", tz="UTC"), pd.Timestamp("2025", tz="UTC")]), "Timestamp with a time zone"),
        ([dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (1, 2)], "datetime with a time zone"),
    ],
    ids=repr,
)
def test_what_no_file_can_hold_is_refused(y: Any, kind: str) -> None:
    with pytest.raises(DataError, match=f"^labels of .*{re.escape(kind)}.* Make them text: y = "):
        read_labels(y, 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["1", 1], "must be of one type. Got int, str. Make"),
        ([True, 2], "must be of one type. Got bool, int. Make"),
        ([dt.datetime(2024, 1, 1), DAY], "must be of one type. Got date, datetime. Make"),
        ([0.5, 1.0], "must name classes. Got numbers with fractions"),
        ([Decimal("0.5"), Decimal(1)], "must name classes. Got numbers with fractions"),
        ([float("inf"), 1.0], "must name classes. Got numbers with fractions"),
        ([b"\xff", b"a"], "bytes that are no UTF-8 text"),
        (["cat", "cat "], "'cat' and 'cat ' in y differ by blanks"),
        (["cat", "cat\u200b"], r"'cat' and 'cat\u200b' in y differ by blanks"),  # of no width
        (["e\u0301", "\xe9"], r"'e\u0301' and '\xe9' in y differ by blanks"),
        ({"a"}, "in their order. Got a set."),
        ({"a": 1, "b": 2}, "in their order. Got a dict."),
        ("ab", "in their order. Got a str."),
        (7, "Got 2 images and labels of shape (0,)."),
        ([("a", 1), ("b", 2)], "Got 2 images and labels of shape (2, 2)."),
        (pd.DataFrame({"y": ["a", "b"]}), "Got 2 images and labels of shape (2, 1)."),
    ],
    ids=repr,
)
def test_what_is_wrong_with_labels_is_said(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_labels(y, 2)


@pytest.mark.parametrize(
    ("names", "kind", "dtype", "message"),
    [
        (["a", "b"], "tuple", "", "label_type must be one of str, int,"),
        (["a", "b"], "str", "U9", "label_dtype must be one for labels of type str. Got 'U9'"),
        (["1", "2"], "int", "f8", "label_dtype must be one for labels of type int. Got 'f8'"),
        (["1", "2"], "int", "i3", "label_dtype must be one for labels of type int. Got 'i3'"),
        (["1", "300"], "int", "u1", "classes must be labels of type int u1"),
        (["1", "01"], "int", "", "classes must differ from each other as labels of type int"),
        (["1", "9" * 5000], "int", "", "classes must be of label_type int. Got '999"),
        (["now", "2024-01-01T00:00:00"], "Timestamp", "", "classes must be of label_type Timestamp. Got 'now'"),
        (["NaT", "2024"], "datetime64", "", "classes must be of label_type datetime64. Got 'NaT'"),
        (["True", "yes"], "bool", "", "classes must be of label_type bool. Got 'yes'"),
        (["\ud800", "a"], "bytes", "", "classes must be of label_type bytes"),
    ],
)
def test_what_a_file_says_of_labels_is_checked(names: Sequence[str], kind: str, dtype: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make_labels(names, kind, dtype)


def test_a_label_that_is_none_has_its_text_as_name() -> None:
    assert [name_of(label) for label in (0.5, Colour.RED, None, [1])] == ["0.5", "Colour.RED", "None", "[1]"]
