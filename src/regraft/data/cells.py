"""What the cells of a table say: a label, a group, a split, or nothing."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from typing import Any

from regraft.data.folders import split_of
from regraft.data.samples import clean_name, without_blanks
from regraft.errors import DataError, option, shortlist

# what programs write where there is no value: pandas; R, Excel, SQL, SAS; people
_NOT_A_VALUE = {"nan", "<na>", "nat"}
_NO_VALUE = {"na", "n/a", "n.a.", "#n/a", "#na", "none", "null", "nil", "(null)", "(blank)", ".", "-", "--", "?", "-1"}
_NO_VALUE |= {"-1.0", "unknown", "unk", "missing", "not available", "not applicable", "unspecified", "undefined"}
_NO_GROUP = {"", *_NOT_A_VALUE, *_NO_VALUE}
_SEVERAL = re.compile(r"\s*[|,;/+&]\s*|\s+and\s+|\s+")
_BINARY = {0, 1, "0", "1", "0.0", "1.0"}  # True and False are equal to 1 and 0
_SHOWN = 5


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds no value: null, not a number (also as pandas spells it), or blank text.

    >>> [is_missing(value) for value in (None, float("nan"), " ", "NaN", b"", 0, "NA", ("a", None))]
    [True, True, True, True, True, False, False, False]
    """
    if isinstance(value, str):
        return without_blanks(value).lower() in {"", *_NOT_A_VALUE}
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas', which need not be imported to ask
        return True
    try:
        return not value.strip() if isinstance(value, bytes) else bool(value != value)  # noqa: PLR0124 - NaN
    except ArithmeticError:  # a decimal that is no number, and may not be asked
        return True
    except (TypeError, ValueError):
        return False  # an array, or something else that is there


def says_nothing(text: str) -> bool:
    """Tell whether a text stands for no group: a word such as "NA", "unknown" or "-".

    >>> [says_nothing(text) for text in ("NA", "n/a", "None", "Nancy", "0")]
    [True, True, True, False, False]
    """
    return text.casefold() in _NO_GROUP


def as_text(value: Any) -> str:
    """Return the text of a cell that holds a value, in Unicode's composed form (NFC).

    >>> as_text(" cat "), as_text(7), as_text(7.0), as_text(b"cat")  # pandas turns numbers with gaps into floats
    ('cat', '7', '7', 'cat')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return clean_name(text)


def groups_of(values: Sequence[Any], column: str, where: str) -> tuple[list[str | None], list[str]]:
    """Return the group of each row, None where the cell says nothing ("NA", "unknown" ...), and a note on these."""
    texts = [as_text(value) if isinstance(value, str) or not is_missing(value) else "" for value in values]
    groups = [None if says_nothing(text) else text for text in texts]
    nothing = Counter(text for text, group in zip(texts, groups, strict=True) if group is None)
    if not nothing:
        return groups, []
    spelled = [repr(text) for text, _ in nothing.most_common() if text]
    shown = f" ({', '.join(spelled[:_SHOWN])}{' ...' if len(spelled) > _SHOWN else ''})" if spelled else ""
    note = (
        f"{nothing.total():,} of {len(values):,} rows of {where} have no value in the group column {column!r}"
        f"{shown}: each of these photos is taken as a group of its own"
    )
    return groups, [note]


def check_labels(labels: Sequence[str], column: str | None, where: str, *, chosen: bool = True) -> list[str]:
    """Return notes on classes that may not be meant as such.

    Args:
        labels: n names of classes.
        column: of a table, that holds them; None for a list of labels, y.
        where: the table or the list.
        chosen: whether an option can name another column.

    Raises:
        DataError: labels that hold several classes of the same column, or line ends.
    """
    counts, called = Counter(labels), "y" if column is None else f"the label column {column!r}"
    broken = [label for label in counts if "\n" in label or "\r" in label]
    if broken:
        raise DataError(
            f"{where}: labels in {called} go on over several lines; a quote may be missing:\n"
            f"{shortlist([repr(label) for label in broken])}\nCorrect them."
        )
    classes = {label.casefold() for label in counts}
    several = [label for label in counts if holds_several(label, classes)]
    if several:
        rows = sum(counts[label] for label in several)
        another = "" if column is None or not chosen else f", or name another column with {option('label_column')}"
        raise DataError(
            f"{where}: {rows:,} of {len(labels):,} values in {called} look like several labels of one photo, which is "
            f"not supported:\n{shortlist([repr(label) for label in several])}\nKeep one label for each photo, remove "
            f"these photos{another}; if it is a class of its own, give it a name without the names of others."
        )
    return [*_notes_on_missing(counts, called, where), *_notes_on_alike(counts, called, where)]


def holds_several(label: str, classes: Container[str]) -> bool:
    """Tell whether a label is made of other classes of its column: "cat|dog", "cat, dog", "['cat', 'dog']".

    Args:
        label: any text.
        classes: all labels of the column, case-folded.
    """
    inner = label.strip("[](){}")
    parts = [part.strip("'\" ").casefold() for part in _SEVERAL.split(inner)]
    known = [part in classes or f"[{part!r}]" in classes for part in parts]
    return len(parts) > 1 and (all(known) or (any(known) and any(mark in inner for mark in "|;")))


def _notes_on_missing(counts: Mapping[str, int], called: str, where: str) -> list[str]:
    doubtful = [f"{label!r} ({count:,})" for label, count in counts.items() if label.casefold() in _NO_VALUE]
    if not doubtful:
        return []
    return [
        f"{where}: {', '.join(doubtful[:_SHOWN])} in {called} is taken as a class. If it says that there is no "
        "label, remove these photos"
    ]


def _notes_on_alike(counts: Mapping[str, int], called: str, where: str) -> list[str]:
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for label in counts:
        alike[_spelling(label)].append(label)
    found = [" and ".join(map(repr, labels)) for labels in alike.values() if len(set(map(str.casefold, labels))) > 1]
    if not found:
        return []
    return [f"{where}: classes of {called} that are spelled nearly alike stay apart: {'; '.join(found[:_SHOWN])}"]


def _spelling(label: str) -> Hashable:
    """Return what labels have in common that differ in case, in blanks, or in how a number is written."""
    try:
        return float(label)
    except ValueError:
        return " ".join(re.split(r"[\s_-]+", label.casefold()))


def known_splits(values: Sequence[Any]) -> dict[str, str]:
    """Return the split of each cell that names one."""
    named = {text: split_of(text) for text in {value for value in values if isinstance(value, str)}}
    return {text: split for text, split in named.items() if split is not None}


def splits_of(values: Sequence[Any], column: str, where: str) -> list[str]:
    """Return the split of each row.

    Raises:
        DataError: cells that name no split; they are listed.
    """
    known = known_splits(values)
    splits = [known.get(value) if isinstance(value, str) else None for value in values]
    others = Counter(repr(value) for value, split in zip(values, splits, strict=True) if split is None)
    if others:
        lines = [f"{value}: {count:,} rows" for value, count in others.most_common()]
        raise DataError(
            f"{where}: the split column {column!r} has values that name no split:\n{shortlist(lines)}\nAllowed are "
            f"train, validation (or val) and test. Rename them, name another column with {option('split_column')}, or "
            f"take all rows as one set: {option('split_column', 'none')}."
        )
    return [split for split in splits if split is not None]


def one_hot_labels(values: Mapping[str, Sequence[Any]], row_name: Callable[[int], str], where: str) -> list[str]:
    """Return the label of each row, which is the name of the one column that holds a 1.

    Args:
        values: n cells by column, each 0 or 1 (`is_binary`).
        row_name: how messages call a row.
        where: the table.

    Raises:
        DataError: rows with no 1, or with several.
    """
    names = list(values)
    labels, problems = [], []
    for position, cells in enumerate(zip(*values.values(), strict=True)):
        ones = [name for name, cell in zip(names, cells, strict=True) if float(cell) == 1]
        labels.append(ones[0] if ones else "")
        if len(ones) != 1:
            problems.append(f"{row_name(position)}: {', '.join(ones[:_SHOWN]) or 'none'}")
    if problems:
        raise DataError(
            f"{where} has a column of 0 and 1 for each class, and {len(problems):,} of {len(labels):,} rows have "
            f"several labels or none, which is not supported:\n{shortlist(problems)}\nKeep the rows with one 1, or "
            f"write one label for each photo into a column and name it with {option('label_column')}."
        )
    return labels


def is_binary(values: Sequence[Any]) -> bool:
    """Tell whether all cells are 0 or 1, as numbers, text ("0", "1.0") or booleans."""
    return bool(values) and all(isinstance(value, Hashable) and value in _BINARY for value in values)
