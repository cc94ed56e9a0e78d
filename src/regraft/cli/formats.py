"""Predictions as files: a table for people, CSV, JSON and Parquet for programs, Kaggle's submission file."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.cli.answer_table import as_table
from regraft.cli.console import json_text
from regraft.cli.tree_answers import path_columns, path_records
from regraft.data.csv_text import csv_text, safe_cell
from regraft.data.samples import natural_order
from regraft.errors import DataError, OptionError, did_you_mean, printable, shortlist
from regraft.files import utf8

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions


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


def as_csv(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return a table with one column of probability per class; unreadable images have only an error."""
    return csv_text(_rows(predictions, classes))


def as_tsv(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return the table of `as_csv` with tabs between its cells."""
    return csv_text(_rows(predictions, classes), delimiter="\t")


def _rows(predictions: "Predictions", classes: Sequence[str]) -> Iterable[list[object]]:
    """Yield heads, then the cells of each image."""
    more = _path_columns(predictions) | _more(predictions, classes)
    yield ["file", "prediction", "probability", *(f"probability_{name}" for name in classes), *more, "error"]
    for row, record in enumerate(_records(predictions, classes)):
        known = record["probabilities"]
        values = ["" if known is None else f"{value:.6f}" for value in predictions.probabilities[row]]
        shown = "" if record["probability"] is None else values[predictions.answers[row]]
        cells = [_cell(column[row]) for column in more.values()]
        yield [predictions.sources[row], _cell(record["prediction"]), shown, *values, *cells, _cell(record["error"])]


def _cell(value: Any) -> str:
    """Return nothing for None, text, digits, true or false; a list as JSON, for names may hold any separator."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.6f}" if isinstance(value, float) else json_text(value)


def as_json(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return one JSON array of the objects of `as_jsonl`, a line for each."""
    return "[\n" + ",\n".join(map(json_text, _records(predictions, classes))) + "\n]\n"


def as_jsonl(predictions: "Predictions", classes: Sequence[str]) -> str:
    """Return one JSON object per image and line; a probability that is not finite is null."""
    return "".join(f"{json_text(record)}\n" for record in _records(predictions, classes))


def _records(predictions: "Predictions", classes: Sequence[str]) -> Iterable[dict[str, Any]]:
    more = _more(predictions, classes)
    for row, source in enumerate(predictions.sources):
        error = predictions.unreadable.get(row)
        record: dict[str, Any] = {"file": str(source), "prediction": None, "probability": None, "probabilities": None}
        record |= {"path": None} if predictions.levels else {}
        if error is None:
            values = [round(float(value), 6) for value in predictions.probabilities[row]]
            record["probabilities"] = dict(zip(classes, values, strict=True))
            if not predictions.withheld[row]:
                answer = int(predictions.answers[row])
                record |= {"prediction": classes[answer], "probability": values[answer]}
                record |= {"path": path_records(predictions, row)} if predictions.levels else {}
        yield record | {name: column[row] for name, column in more.items()} | {"error": error}


def _path_columns(predictions: "Predictions") -> dict[str, list[Any]]:
    """Return the nodes above each answer and their probabilities, by name; None where there is no answer."""
    given = [
        row not in predictions.unreadable and not withheld for row, withheld in enumerate(predictions.withheld.tolist())
    ]
    return {
        name: [cell if there else None for cell, there in zip(column, given, strict=True)]
        for name, column in path_columns(predictions).items()
    }


def _more(predictions: "Predictions", classes: Sequence[str]) -> dict[str, list[Any]]:
    """Return by name what all formats for programs have of each image besides answer and probabilities.

    That is text, true or false, or a list of names; None where nothing is known, and of an unreadable image.
    """
    count = len(predictions.sources)
    found: dict[str, list[Any]] = {"decided_by": [predictions.decided_by] * count}
    if predictions.coverage is not None and predictions.sets is not None:
        found["set"] = [[classes[label] for label in labels] for labels in predictions.likeliest_first()]
    for name, marks in (("unsure", predictions.unsure), ("unlike_training", predictions.unlike)):
        found[name] = [None] * count if marks is None else marks.tolist()
    for column in found.values():
        for row in predictions.unreadable:
            column[row] = None
    return found


def as_parquet(predictions: "Predictions", classes: Sequence[str]) -> bytes:
    """Return a Parquet file with the columns of `as_csv`; what an unreadable image has not is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = list(_records(predictions, classes))
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    types = {"set": pa.list_(pa.string()), "unsure": pa.bool_(), "unlike_training": pa.bool_()}
    types |= {f"level_{level.number}_probability": pa.float64() for level in predictions.levels}
    more = _path_columns(predictions) | _more(predictions, classes)
    cells = {name: [record[name] for record in records] for name in ("file", "prediction", "error")} | more
    columns = {
        name: pa.array([_utf8(cell) for cell in own], types.get(name, pa.string())) for name, own in cells.items()
    }
    answered = probabilities[np.arange(len(probabilities)), predictions.answers]
    answered[predictions.withheld] = np.nan
    columns["probability"] = pa.array(answered, from_pandas=True)  # NaN is null
    by_class = [f"probability_{utf8(name)}" for name in classes]
    columns |= {name: pa.array(probabilities[:, at], from_pandas=True) for at, name in enumerate(by_class)}
    file = io.BytesIO()
    order = ["file", "prediction", "probability", *by_class, *more, "error"]
    pq.write_table(pa.table([columns[name] for name in order], names=order), file)
    return file.getvalue()


def _utf8(value: Any) -> Any:
    if isinstance(value, list):
        return [utf8(one) for one in value]
    return utf8(value) if isinstance(value, str) else value


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
