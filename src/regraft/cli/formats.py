"""Predictions as text: a table for people, CSV and JSON lines for programs, Kaggle's submission file."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from regraft.cli.console import json_text
from regraft.data.samples import natural_order
from regraft.errors import DataError, OptionError, did_you_mean, printable, shortlist

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    kaggle = "kaggle"


def as_table(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return aligned lines: file, answer and its probability, or why there is none."""
    names = [printable(source) for source in predictions.sources]
    answers = [printable(name) for name in classes]
    width = max(map(len, names), default=0)
    answer_width = max(map(len, answers))
    lines = []
    for row, name in enumerate(names):
        if row in predictions.unreadable:
            lines.append(f"{name:<{width}}  unreadable: {printable(predictions.unreadable[row])}")
        else:
            best = int(predictions.probabilities[row].argmax())
            lines.append(
                f"{name:<{width}}  {answers[best]:<{answer_width}}  {predictions.probabilities[row][best]:6.1%}"
            )
    return "\n".join(lines) + "\n"


def as_csv(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return a table with one column of probability per class; unreadable images have only an error."""

    def rows() -> Iterable[list[object]]:
        yield ["file", "prediction", "probability", *(f"probability_{name}" for name in classes), "error"]
        for row, source in enumerate(predictions.sources):
            if row in predictions.unreadable:
                yield [source, "", "", *("" for _ in classes), predictions.unreadable[row]]
            else:
                values = predictions.probabilities[row]
                best = int(values.argmax())
                yield [source, classes[best], f"{values[best]:.6f}", *(f"{value:.6f}" for value in values), ""]

    return _csv_text(rows())


def as_jsonl(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return one JSON object per image and line; a probability that is not finite is null."""
    lines = []
    for row, source in enumerate(predictions.sources):
        record: dict[str, object] = {"file": str(source), "prediction": None, "probability": None}
        if row in predictions.unreadable:
            record |= {"probabilities": None, "error": predictions.unreadable[row]}
        else:
            values = [round(float(value), 6) for value in predictions.probabilities[row]]
            best = int(predictions.probabilities[row].argmax())
            record |= {"prediction": classes[best], "probability": values[best]}
            record |= {"probabilities": dict(zip(classes, values, strict=True)), "error": None}
        lines.append(json_text(record))
    return "\n".join(lines) + "\n"


def as_kaggle(predictions: "Predictions", classes: Sequence[str], *, positive: str | None, clip: float) -> str:
    """Return Kaggle's two-class submission: `id,label`, ids in numeric order, label the probability of `positive`.

    Probabilities are clipped to [clip, 1 - clip]: with log loss one confident mistake costs more than all certainty
    gains. An unreadable image has an empty label, which Kaggle refuses: nothing is made up for it.

    Raises:
        DataError: two files with the same id.
    """
    column = classes.index(check_kaggle(classes, positive=positive, clip=clip))
    ids = [Path(source.name).stem for source in predictions.sources]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise DataError(f"--format kaggle: {len(twice)} ids belong to several files:\n{shortlist(twice)}")
    unsafe = [name for name in ids if safe_cell(name) != name]
    if unsafe:
        raise DataError(
            f"--format kaggle: {len(unsafe)} ids would begin a spreadsheet's formula:\n{shortlist(unsafe)}\n"
            "Rename the photos, or use --format csv."
        )
    labels = {
        name: "" if row in predictions.unreadable else f"{_clipped(predictions.probabilities[row][column], clip):.6f}"
        for row, name in enumerate(ids)
    }
    return _csv_text([["id", "label"], *([name, labels[name]] for name in natural_order(ids))])


def check_kaggle(classes: Sequence[str], *, positive: str | None, clip: float) -> str:
    """Return the positive class of a Kaggle submission; called before anything is predicted.

    Raises:
        OptionError: not two classes, no such class, or an impossible clip.
    """
    if len(classes) != 2:
        raise OptionError(f"--format kaggle is for two classes. The classifier has {len(classes)}; use --format csv.")
    if positive is None or positive not in classes:
        allowed = " or ".join(map(printable, classes))
        raise OptionError(
            f"--format kaggle needs --positive, the class whose probability is asked for: {allowed}. "
            f"Got {positive!r}.{did_you_mean(positive or '', classes)}"
        )
    if not 0 <= clip < 0.5:
        raise OptionError(f"--clip must be from 0 to below 0.5. Got {clip}.")
    return positive


FORMATTERS: dict[Format, Callable[["Predictions", Sequence[str]], str]] = {
    Format.table: as_table,
    Format.csv: as_csv,
    Format.jsonl: as_jsonl,
}


def safe_cell(value: object) -> str:
    """Return `value` as a cell that no spreadsheet takes for a formula.

    What begins as a formula does, and is no plain number, is changed: a file's path gets "./" in front, which names
    the same file, anything else an apostrophe, which spreadsheets do not show (OWASP, CSV Injection).

    >>> safe_cell("=1+1"), safe_cell(Path("-1+1.jpg")), safe_cell("-1.5")
    ("'=1+1", './-1+1.jpg', '-1.5')
    """
    text = str(value)
    if not text.startswith(_FORMULA) or _NUMBER.fullmatch(text):
        return text
    return f"./{text}" if isinstance(value, PurePath) else f"'{text}"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *map(chr, (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)))  # and = + - @ full-width
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _clipped(value: float, clip: float) -> float:
    return min(max(float(value), clip), 1 - clip)


def _csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return lines of cells, each a `safe_cell`; cells with line ends of any kind are quoted."""
    lines = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerow(map(safe_cell, row))  # it quotes what its own line end has
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)
