"""Predictions as text: a table for people, CSV and JSON lines for programs, Kaggle's submission file."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len

from regraft.cli.console import json_text
from regraft.cli.tree_answers import path_columns, path_records, path_text
from regraft.data.csv_text import csv_text, safe_cell
from regraft.data.samples import natural_order
from regraft.errors import DataError, OptionError, did_you_mean, printable, shortlist
from regraft.files import utf8

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions


_LEAST_FILE, _LEAST_SHOWN = 24, 8  # cells of a line that names are not cut below
_BESIDE_NAMES = len("    100.0%  ( 50.0%)")  # what stands in a line of the table beside file and answers


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    tsv = "tsv"
    json = "json"
    jsonl = "jsonl"
    parquet = "parquet"
    kaggle = "kaggle"


SUFFIXES = {
    ".txt": Format.table,
    ".csv": Format.csv,
    ".tsv": Format.tsv,
    ".json": Format.json,
    ".jsonl": Format.jsonl,
    ".ndjson": Format.jsonl,
    ".parquet": Format.parquet,
}
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")
_OTHERS = (*_SPREADSHEETS, *_PACKED, ".html", ".pdf", ".safetensors")  # endings that promise something else


def format_of(out: Path | None, given: Format | None) -> Format:
    """Return the format of the file `out`, which its ending decides where none is given; of stdout for None.

    Raises:
        OptionError: an ending that no format has, or that of another format than `given`.
    """
    suffix = "" if out is None else out.suffix.lower()
    name = "" if out is None else printable(out)
    if given is Format.parquet and out is None:
        raise OptionError("--format parquet is no text, which could be printed. Name a file: --out FILE.parquet.")
    if given is None:
        if suffix and suffix not in SUFFIXES:
            hint = " Spreadsheets open .csv." if suffix in _SPREADSHEETS else ""
            raise OptionError(
                f"--out {name}: answers are not written as {printable(suffix)}. Allowed are {_allowed()}.{hint}"
            )
        return SUFFIXES.get(suffix, Format.table)
    meant = Format.csv if given is Format.kaggle else given
    plain = suffix == ".txt" and given is not Format.parquet  # which may hold any text
    if suffix in _OTHERS or not (plain or SUFFIXES.get(suffix, meant) is meant):
        fitting = next(ending for ending, format in SUFFIXES.items() if format is meant)
        raise OptionError(
            f"--format {given} is not what a file called {name} holds. Name one that ends in {fitting}"
            + (", or leave --format out." if suffix in SUFFIXES and given is not Format.kaggle else ".")
        )
    return given


def _allowed() -> str:
    endings = list(SUFFIXES)
    return f"{', '.join(endings[:-1])} and {endings[-1]}"


def as_table(predictions: "Predictions", classes: Sequence[str], *, width: int | None = None) -> str:
    """Return aligned lines: file, answer and its probability, the second guess, or why there is no answer.

    Args:
        predictions: what is shown.
        classes: their names.
        width: columns of the terminal, into which names are cut; None to show them whole.
    """
    first, next_best = np.argsort(-np.nan_to_num(predictions.probabilities), axis=1, kind="stable").T[:2]
    best = predictions.answers
    second = np.where(first == best, next_best, first)
    answered = [row for row in range(len(predictions.sources)) if row not in predictions.unreadable]
    names = [printable(source) for source in predictions.sources]
    answers = {column: printable(classes[column]) for row in answered for column in (best[row], second[row])}
    if width is not None:
        longest = max(map(cell_len, answers.values()), default=0)
        room = max(_LEAST_SHOWN, (width - _BESIDE_NAMES - _LEAST_FILE) // 2)
        answers = {column: _cut(answer, room) for column, answer in answers.items()}
        left = width - _BESIDE_NAMES - 2 * min(longest, room)
        names = [_cut(name, left, keep_end=True) for name in names]
    file_width = max(map(cell_len, names), default=0)
    answer_width = max((cell_len(answers[best[row]]) for row in answered), default=0)
    lines = []
    for row, name in enumerate(names):
        start = name + " " * (file_width - cell_len(name))
        if row in predictions.unreadable:
            lines.append(f"{start}  unreadable: {printable(predictions.unreadable[row])}")
            continue
        answer, values = answers[best[row]], predictions.probabilities[row]
        answer += " " * (answer_width - cell_len(answer))
        guess = f"({answers[second[row]]} {values[second[row]]:.1%})"
        line = f"{start}  {answer}  {values[best[row]]:6.1%}  {guess}"
        above = path_text(predictions, row)
        lines.append(line if not above or (width and cell_len(line + above) > width) else line + above)
    return "\n".join(lines) + "\n"


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """Return `text` in at most `width` cells of a terminal, of which "..." stands for what is left out."""
    if cell_len(text) <= width:
        return text
    kept = text[::-1] if keep_end else text
    while cell_len(kept) > width - 3:
        kept = kept[:-1]
    return f"...{kept[::-1]}" if keep_end else f"{kept}..."


def as_csv(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return a table with one column of probability per class; unreadable images have only an error."""
    return csv_text(_rows(predictions, classes))


def as_tsv(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return the table of `as_csv` with tabs between its cells."""
    return csv_text(_rows(predictions, classes), delimiter="\t")


def _rows(predictions: "Predictions", classes: Sequence[str]) -> Iterable[list[object]]:
    heads = ["file", "prediction", "probability", *(f"probability_{name}" for name in classes)]
    tree = path_columns(predictions)
    yield [*heads, *tree, "decided_by", "error"]
    for row, source in enumerate(predictions.sources):
        if row in predictions.unreadable:
            yield [source, "", "", *("" for _ in [*classes, *tree]), "", predictions.unreadable[row]]
        else:
            values = predictions.probabilities[row]
            answer = int(predictions.answers[row])
            shown = [f"{value:.6f}" for value in values]
            above = [
                cells[row] if column % 2 == 0 else f"{cells[row]:.6f}" for column, cells in enumerate(tree.values())
            ]
            yield [source, classes[answer], shown[answer], *shown, *above, predictions.decided_by, ""]


def as_json(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return one JSON array of the objects of `as_jsonl`, a line for each."""
    return "[\n" + ",\n".join(map(json_text, _records(predictions, classes))) + "\n]\n"


def as_jsonl(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return one JSON object per image and line; a probability that is not finite is null."""
    return "".join(f"{json_text(record)}\n" for record in _records(predictions, classes))


def _records(predictions: "Predictions", classes: Sequence[str]) -> Iterable[dict[str, object]]:
    for row, source in enumerate(predictions.sources):
        record: dict[str, object] = {"file": str(source), "prediction": None, "probability": None}
        if row in predictions.unreadable:
            record |= {"probabilities": None, **({"path": None} if predictions.levels else {})}
            record |= {"decided_by": None, "error": predictions.unreadable[row]}
        else:
            values = [round(float(value), 6) for value in predictions.probabilities[row]]
            answer = int(predictions.answers[row])
            record |= {"prediction": classes[answer], "probability": values[answer]}
            record |= {"probabilities": dict(zip(classes, values, strict=True))}
            record |= {"path": path_records(predictions, row)} if predictions.levels else {}
            record |= {"decided_by": predictions.decided_by, "error": None}
        yield record


def as_parquet(predictions: "Predictions", classes: Sequence[str]) -> bytes:
    """Return a Parquet file with the columns of `as_csv`; what an unreadable image has not is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = list(_records(predictions, classes))
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    columns = {
        name: pa.array([None if record[name] is None else utf8(record[name]) for record in records], pa.string())
        for name in ("file", "prediction", "decided_by", "error")
    }
    answered = probabilities[np.arange(len(probabilities)), predictions.answers]
    columns["probability"] = pa.array(answered, from_pandas=True)  # NaN is null
    by_class = [f"probability_{utf8(name)}" for name in classes]
    columns |= {name: pa.array(probabilities[:, at], from_pandas=True) for at, name in enumerate(by_class)}
    tree = path_columns(predictions)
    for name, cells in tree.items():
        values = [None if row in predictions.unreadable else cell for row, cell in enumerate(cells)]
        columns[name] = pa.array([utf8(cell) if isinstance(cell, str) else cell for cell in values])
    file = io.BytesIO()
    order = ["file", "prediction", "probability", *by_class, *tree, "decided_by", "error"]
    pq.write_table(pa.table([columns[name] for name in order], names=order), file)
    return file.getvalue()


def as_kaggle(predictions: "Predictions", classes: Sequence[str], *, positive: str | None, clip: float) -> str:
    """Return Kaggle's two-class submission: `id,label`, ids in numeric order, label the probability of `positive`.

    Probabilities are clipped to [clip, 1 - clip]: with log loss one confident mistake costs more than all certainty
    gains. An unreadable image has an empty label, which Kaggle refuses: nothing is made up for it.

    Raises:
        DataError: two files with the same id.
    """
    column = classes.index(check_kaggle(classes, positive=positive, clip=clip))
    ids = [Path(source.name).stem for source in predictions.sources]
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise DataError(f"--format kaggle: {len(twice)} ids belong to several files:\n{shortlist(twice)}")
    unsafe = [name for name in ids if safe_cell(name) != name]
    if unsafe:
        raise DataError(
            f"--format kaggle: {len(unsafe)} ids would begin a spreadsheet's formula:\n{shortlist(unsafe)}\n"
            "Rename the photos, or use --format csv."
        )
    labels = {
        name: "" if row in predictions.unreadable else f"{clipped(predictions.probabilities[row][column], clip):.6f}"
        for row, name in enumerate(ids)
    }
    return csv_text([["id", "label"], *([name, labels[name]] for name in natural_order(ids))])


def check_kaggle(classes: Sequence[str], *, positive: str | None, clip: float) -> str:
    """Return the positive class of a Kaggle submission; called before anything is predicted.

    Raises:
        OptionError: not two classes, no such class, or an impossible clip.
    """
    if len(classes) != 2:
        raise OptionError(
            f"--format kaggle is for two classes, and the classifier has {len(classes)}. Name the competition's own "
            "sample, whose columns and ids are kept: --like sample_submission.csv"
        )
    if positive is None or positive not in classes:
        allowed = " or ".join(map(printable, classes))
        raise OptionError(
            f"--format kaggle needs --positive, the class whose probability is asked for: {allowed}. "
            f"Got {positive!r}.{did_you_mean(positive or '', classes)}"
        )
    check_clip(clip)
    return positive


def check_clip(clip: float) -> None:
    """Raise `OptionError` unless probabilities can be kept `clip` away from 0 and from 1."""
    if not 0 <= clip < 0.5:
        raise OptionError(f"--clip must be from 0 to below 0.5. Got {clip}.")


FORMATTERS: dict[Format, Callable[["Predictions", Sequence[str]], str | bytes]] = {
    Format.table: as_table,
    Format.csv: as_csv,
    Format.tsv: as_tsv,
    Format.json: as_json,
    Format.jsonl: as_jsonl,
    Format.parquet: as_parquet,
}


def clipped(value: float, clip: float) -> float:
    """Return a probability at least `clip` away from 0 and 1."""
    return min(max(float(value), clip), 1 - clip)
