"""Held-out answers as a table: what each photo that evaluated a classifier was answered, for anyone to work on with."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regraft.cli.console import json_text, note
from regraft.cli.formats import SUFFIXES, Format, format_of
from regraft.data.csv_text import csv_text
from regraft.errors import OptionError, OutputError, counted, printable
from regraft.files import atomic_write, check_local, check_output, utf8

if TYPE_CHECKING:  # it imports torch
    from regraft.data.dataset import Dataset


def check_answers_file(file: Path, *, option: str) -> None:
    """Raise `OptionError` or `OutputError` unless held-out answers can be written into `file`."""
    check_local(file, option)
    if file.is_dir():
        example = printable(file / "held-out.csv")
        raise OutputError(f"{option} {printable(file)} is a folder. Name a file in it, e.g. {example}.")
    if SUFFIXES.get(file.suffix.lower(), Format.table) is Format.table:
        raise OptionError(
            f"{option} {printable(file)}: the answers are a table for programs. Name it {printable(file.stem)}.csv, or "
            ".tsv, .json, .jsonl or .parquet."
        )
    check_output(file, option=option)


def write_held_out_answers(
    file: Path, dataset: "Dataset", probabilities: np.ndarray, answers: np.ndarray, folds: np.ndarray | None
) -> None:
    """Write one row for each photo: file, label, fold, group, answer, and the probability of each class.

    Args:
        file: whose ending says how.
        dataset: n photos that were not learned from when they were answered.
        probabilities: (n, c) of these.
        answers: (n,) positions of classes.
        folds: (n,) numbers of the folds without which each photo was answered; None where one classifier answered all.
    """
    classes = dataset.classes
    heads = ["file", "label", "fold", "group", "answer", *(f"probability_{name}" for name in classes)]
    groups = dataset.samples.names_of_groups()
    sources, labels = dataset.samples.sources, dataset.labels
    start = [
        [sources[row], classes[labels[row]], None if folds is None else int(folds[row]), groups[row], classes[answer]]
        for row, answer in enumerate(answers.tolist())
    ]
    format = format_of(file, None)
    with atomic_write(file) as temporary:
        if format is Format.parquet:
            temporary.write_bytes(_parquet(heads, start, probabilities))
        else:
            text = _text(format, heads, start, probabilities)
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")  # no UTF-8 names
    note(f"wrote {printable(file)} ({counted(len(dataset), 'held-out answer')})")


def _text(format: Format, heads: Sequence[str], start: Sequence[Sequence[object]], probabilities: np.ndarray) -> str:
    if format in (Format.csv, Format.tsv):
        rows = (
            [*("" if cell is None else cell for cell in own), *(format_number(value) for value in values)]
            for own, values in zip(start, probabilities.tolist(), strict=True)
        )
        return csv_text([heads, *rows], delimiter="\t" if format is Format.tsv else ",")
    records = [
        json_text(dict(zip(heads, [str(own[0]), *own[1:], *values], strict=True)))
        for own, values in zip(start, probabilities.tolist(), strict=True)
    ]
    return "[\n" + ",\n".join(records) + "\n]\n" if format is Format.json else "".join(f"{one}\n" for one in records)


def format_number(value: float) -> str:
    """Return a probability with all digits, so that rules can be applied to it as to the number itself.

    >>> format_number(0.25), format_number(1.23456789e-7)
    ('0.25', '1.23456789e-07')
    """
    return repr(float(value))


def _parquet(heads: Sequence[str], start: Sequence[Sequence[object]], probabilities: np.ndarray) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*start, strict=True))
    arrays = [
        pa.array(list(column), pa.int64())
        if name == "fold"
        else pa.array([None if cell is None else utf8(str(cell)) for cell in column], pa.string())
        for name, column in zip(heads[:5], columns, strict=True)
    ]
    arrays += [pa.array(values) for values in np.asarray(probabilities, dtype=np.float64).T]
    file = io.BytesIO()
    pq.write_table(pa.table(arrays, names=[utf8(name) for name in heads]), file)
    return file.getvalue()
