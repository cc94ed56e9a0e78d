"""Predictions as text, read back by the parsers of others."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regraft.classifier.predict import Predictions
from regraft.cli.answer_table import as_table
from regraft.cli.formats import (
    FORMATTERS,
    Format,
    as_csv,
    as_json,
    as_jsonl,
    as_kaggle,
    as_parquet,
    as_tsv,
    check_kaggle,
    format_of,
)
from regraft.errors import DataError, OptionError
from regraft.evaluation.conformal import Coverage
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.evaluation.levels import Level

SOURCES = (Path("10.jpg"), Path("a, b.jpg"), Path("2.jpg"))
PROBABILITIES = np.array([[0.25, 0.75], [np.nan, np.nan], [0.9999, 0.0001]])
FOUND = Predictions(SOURCES, PROBABILITIES, {1: "not an image"})
CLASSES = ("cat", "dog")


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(FOUND, CLASSES))))
    assert [row["file"] for row in rows] == ["10.jpg", "a, b.jpg", "2.jpg"]
    assert [row["prediction"] for row in rows] == ["dog", "", "cat"]
    assert [row["probability_dog"] for row in rows] == ["0.750000", "", "0.000100"]
    assert [row["error"] for row in rows] == ["", "not an image", ""]


def test_jsonl() -> None:
    rows = [json.loads(line) for line in as_jsonl(FOUND, CLASSES).splitlines()]
    assert rows[0] == {
        "file": "10.jpg",
        "prediction": "dog",
        "probability": 0.75,
        "probabilities": {"cat": 0.25, "dog": 0.75},
        "decided_by": "most probable class",
        "unsure": None,
        "unlike_training": None,
        "error": None,
    }
    assert rows[1]["probabilities"] is None
    assert rows[1]["error"] == "not an image"


def test_answers_are_those_of_the_rule() -> None:
    """From 0.3 on it is a dog: the answer, its probability and the rule stand in every format."""
    decision = Decision(ThresholdRule(1, 0.3), "threshold 0.3 for dog")
    sources = (Path("a.jpg"), Path("b.jpg"), Path("c.jpg"))
    probabilities = np.array([[0.65, 0.35], [np.nan, np.nan], [0.75, 0.25]])
    found = Predictions(sources, probabilities, {1: "torn"}, decision)
    assert found.answers.tolist() == [1, -1, 0]
    for table in (
        pd.read_csv(io.StringIO(as_csv(found, CLASSES))),
        pd.read_parquet(io.BytesIO(as_parquet(found, CLASSES))),
    ):
        assert table["prediction"].fillna("").tolist() == ["dog", "", "cat"]
        assert table["probability"].tolist() == pytest.approx([0.35, np.nan, 0.75], nan_ok=True)
        assert table["decided_by"].fillna("").tolist() == ["threshold 0.3 for dog", "", "threshold 0.3 for dog"]
    lines = as_table(found, CLASSES).splitlines()
    assert lines[0].split() == ["a.jpg", "dog", "35.0%", "(cat", "65.0%)"]
    assert lines[2].split() == ["c.jpg", "cat", "75.0%", "(dog", "25.0%)"]


def test_every_table_has_the_same_cells_and_both_json_the_same_objects() -> None:
    csv_table = pd.read_csv(io.StringIO(as_csv(FOUND, CLASSES)))
    assert pd.read_csv(io.StringIO(as_tsv(FOUND, CLASSES)), sep="\t").equals(csv_table)
    parquet = pd.read_parquet(io.BytesIO(as_parquet(FOUND, CLASSES)))
    pd.testing.assert_frame_equal(parquet.fillna(np.nan), csv_table, check_dtype=False)
    assert json.loads(as_json(FOUND, CLASSES)) == [json.loads(row) for row in as_jsonl(FOUND, CLASSES).splitlines()]


RED = 'a, "red" | one'  # whatever stands between names may be part of one
COLOURS = (RED, "green", "blue")
ASKED = Coverage()


def doubted(*, coverage: Coverage | None = ASKED, **more: Any) -> Predictions:
    """Return a sure answer, one of two, none of any, one unlike the training photos, and a photo that is torn."""
    probabilities = np.array([[0.9, 0.06, 0.04], [0.4, 0.45, 0.15], [0.2, 0.3, 0.5], [0.02, 0.95, 0.03], [np.nan] * 3])
    sets = np.array([[True, False, False], [True, True, False], [False] * 3, [False, True, False], [False] * 3])
    unlike = np.array([False, False, False, True, False])
    sources = tuple(Path(f"{letter}.jpg") for letter in "abcde")
    return Predictions(sources, probabilities, {4: "torn"}, sets=sets, unlike=unlike, coverage=coverage, **more)


def test_sets_and_doubts_stand_in_every_format() -> None:
    found = doubted()
    sets = [[RED], ["green", RED], [], ["green"]]  # the likeliest first
    unsure, unlike = [False, True, True, True], [False, False, False, True]
    rows = list(csv.DictReader(io.StringIO(as_csv(found, COLOURS))))
    assert list(rows[0])[-5:] == ["decided_by", "set", "unsure", "unlike_training", "error"]
    assert [json.loads(row["set"]) for row in rows[:4]] == sets
    assert [row["unsure"] for row in rows] == ["false", "true", "true", "true", ""]
    assert [row["unlike_training"] for row in rows] == ["false", "false", "false", "true", ""]
    assert rows[4]["set"] == ""  # nothing, as against no class
    assert [row["prediction"] for row in rows] == [RED, "green", "blue", "green", ""]
    records = [json.loads(line) for line in as_jsonl(found, COLOURS).splitlines()]
    table = pd.read_parquet(io.BytesIO(as_parquet(found, COLOURS)))
    assert list(table.columns) == list(rows[0])
    for name, expected in (("set", sets), ("unsure", unsure), ("unlike_training", unlike)):
        assert [record[name] for record in records] == [*expected, None]
        assert [list(one) if name == "set" else one for one in table[name][:4]] == expected
        assert table[name][4] is None


def test_withheld_answers_are_empty_and_their_probabilities_stay() -> None:
    found = doubted(abstains=True)
    rows = list(csv.DictReader(io.StringIO(as_csv(found, COLOURS))))
    assert [row["prediction"] for row in rows] == [RED, "", "", "", ""]
    assert [row["probability"] for row in rows] == ["0.900000", "", "", "", ""]
    assert [row["probability_green"] for row in rows] == ["0.060000", "0.450000", "0.300000", "0.950000", ""]
    records = [json.loads(line) for line in as_jsonl(found, COLOURS).splitlines()]
    assert [record["prediction"] for record in records] == [RED, None, None, None, None]
    assert [record["probability"] for record in records] == [0.9, None, None, None, None]
    assert records[1]["probabilities"]["green"] == 0.45
    table = pd.read_parquet(io.BytesIO(as_parquet(found, COLOURS)))
    assert table["prediction"].isna().tolist() == table["probability"].isna().tolist() == [False] + [True] * 4


def test_the_way_to_an_answer_that_is_withheld_is_empty() -> None:
    level = Level(1, ("warm", "cold"), np.array([0, 1, 1]))
    found = replace(doubted(abstains=True), levels=(level,))
    rows = list(csv.DictReader(io.StringIO(as_csv(found, COLOURS))))
    assert [row["level_1"] for row in rows] == ["warm", "", "", "", ""]
    assert [row["level_1_probability"] for row in rows] == ["0.900000", "", "", "", ""]
    records = [json.loads(line) for line in as_jsonl(found, COLOURS).splitlines()]
    assert [record["path"] is None for record in records] == [False] + [True] * 4
    table = pd.read_parquet(io.BytesIO(as_parquet(found, COLOURS)))
    assert list(table.columns) == list(rows[0])
    assert table["level_1_probability"].isna().tolist() == [False] + [True] * 4


def test_without_a_coverage_there_are_doubts_and_no_sets() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(doubted(coverage=None), COLOURS))))
    assert list(rows[0])[-4:] == ["decided_by", "unsure", "unlike_training", "error"]
    assert [row["unsure"] for row in rows] == ["false", "true", "true", "true", ""]


def test_the_table_says_what_is_doubted() -> None:
    short = ("red", "green", "blue")
    assert as_table(doubted(coverage=None), short).splitlines() == [
        "a.jpg  red     90.0%  (green 6.0%)",
        "b.jpg  green   45.0%  (red 40.0%)  not sure",
        "c.jpg  blue    50.0%  (green 30.0%)  not sure",
        "d.jpg  green   95.0%  (blue 3.0%)  unlike the training photos",
        "e.jpg  unreadable: torn",
    ]
    assert as_table(doubted(), short).splitlines()[:4] == [
        "a.jpg  red     90.0%  {red}",
        "b.jpg  green   45.0%  {green, red}  not sure",
        "c.jpg  blue    50.0%  {}  not sure",
        "d.jpg  green   95.0%  {green}  unlike the training photos",
    ]
    assert as_table(doubted(abstains=True), short).splitlines()[:4] == [
        "a.jpg  red     90.0%  {red}",
        "b.jpg  not sure: green or red?",
        "c.jpg  not sure: blue?",
        "d.jpg  not sure: unlike the training photos",
    ]


def test_a_large_set_is_cut_in_the_table() -> None:
    found = Predictions((Path("a.jpg"),), np.full((1, 12), 1 / 12), {}, sets=np.ones((1, 12), dtype=bool))
    for abstains, told in ((False, "{a, b, c and 9 more}  not sure"), (True, "not sure: a, b, c and 9 more?")):
        shown = as_table(replace(found, coverage=Coverage(), abstains=abstains), "abcdefghijkl")
        assert shown.rstrip().endswith(told)


def test_doubts_fit_the_terminal() -> None:
    """Where a line has no room for both, a doubt takes the place of the second guess, a short one if need be."""
    found = replace(doubted(coverage=None), sources=tuple(Path("x" * 90) / f"{n}.jpg" for n in range(5)))
    short = replace(found, sources=tuple(Path(f"{n}.jpg") for n in range(5)))
    for predictions, width, first, second in (
        (short, 62, "(red 40.0%)  not sure", "(blue 3.0%)  unlike the training photos"),
        (short, 48, "(red 40.0%)  not sure", "95.0%  unlike the training photos"),
        (found, 60, "45.0%  not sure", "95.0%  not sure"),
    ):
        lines = as_table(predictions, ("red", "green", "blue"), width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[1].endswith(first)
        assert lines[3].endswith(second)
    assert lines[0].endswith("(green 6.0%)")


def test_parquet_holds_names_that_are_no_utf_8() -> None:
    found = Predictions((Path("\udce9.jpg"),), PROBABILITIES[:1], {})
    assert list(pd.read_parquet(io.BytesIO(as_parquet(found, CLASSES)))["file"]) == [r"\udce9.jpg"]


@pytest.mark.parametrize(
    ("out", "format"),
    [
        (None, Format.table),
        ("answers", Format.table),
        ("answers.txt", Format.table),
        ("answers.csv", Format.csv),
        ("ANSWERS.CSV", Format.csv),
        ("a.tsv", Format.tsv),
        ("a.json", Format.json),
        ("a.jsonl", Format.jsonl),
        ("a.ndjson", Format.jsonl),
        ("a.parquet", Format.parquet),
    ],
)
def test_the_ending_decides_the_format(out: str | None, format: Format) -> None:
    assert format_of(None if out is None else Path(out), None) is format


@pytest.mark.parametrize(
    ("out", "given", "message"),
    [
        ("a.xlsx", None, "--out a.xlsx: answers are not written as .xlsx. Allowed are .txt, .csv, .tsv, .json, "),
        ("a.ods", None, "Spreadsheets open .csv."),
        ("a.csv.gz", None, "answers are not written as .gz."),
        ("a.v2", None, "answers are not written as .v2."),
        (
            "a.json",
            Format.csv,
            "--format csv is not what a file called a.json holds. Name one that ends in .csv, or",
        ),
        ("a.csv", Format.table, "Name one that ends in .txt, or leave --format out."),
        ("a.jsonl", Format.json, "Name one that ends in .json, or leave --format out."),
        ("a.xlsx", Format.csv, "Name one that ends in .csv."),
        ("a.txt", Format.parquet, "Name one that ends in .parquet, or leave --format out."),
        ("a.tsv", Format.kaggle, "--format kaggle is not what a file called a.tsv holds. Name one that ends in .csv."),
        (None, Format.parquet, "Name a file: --out FILE.parquet."),
    ],
)
def test_endings_that_promise_something_else_are_refused(out: str | None, given: Format | None, message: str) -> None:
    with pytest.raises(OptionError) as failed:
        format_of(None if out is None else Path(out), given)
    assert message in str(failed.value)


@pytest.mark.parametrize(
    ("out", "given"),
    [
        ("a.csv", Format.kaggle),
        ("a.txt", Format.csv),
        ("a.v2", Format.jsonl),
        ("a", Format.parquet),
        (None, Format.csv),
    ],
)
def test_other_files_hold_what_is_asked_for(out: str | None, given: Format) -> None:
    assert format_of(None if out is None else Path(out), given) is given


def test_the_second_guess_is_the_next_likeliest() -> None:
    found = Predictions((Path("a.jpg"), Path("b.jpg")), np.array([[0.3, 0.125, 0.575], [0.75, 0.25, 0.0]]), {})
    assert as_table(found, ("cat", "dog", "rabbit")).splitlines() == [
        "a.jpg  rabbit   57.5%  (cat 30.0%)",
        "b.jpg  cat      75.0%  (dog 25.0%)",
    ]


def test_the_table_is_aligned_where_letters_are_wide() -> None:
    """The letter of `cat` takes two cells of a terminal."""
    found = Predictions((Path("\u732b.jpg"), Path("b.jpg")), np.array([[0.25, 0.75], [0.75, 0.25]]), {})
    assert as_table(found, ("\u732b", "dog")).splitlines() == [
        "\u732b.jpg  dog   75.0%  (\u732b 25.0%)",
        "b.jpg   \u732b    75.0%  (dog 25.0%)",
    ]


def test_the_table_fits_the_terminal() -> None:
    names = (Path("holidays") / ("x" * 90) / "1.jpg", Path("2.jpg"))
    found = Predictions(names, np.array([[0.25, 0.75], [0.75, 0.25]]), {})
    long, short = as_table(found, ("cat", "dog"), width=80).splitlines()
    assert (long[:3], long[-34:]) == ("...", "xxxxx/1.jpg  dog   75.0%  (cat 25.0%)"[-34:])
    assert [len(long), len(short)] == [80, 80]
    assert max(map(len, as_table(found, ("c" * 70, "d" * 70), width=80).splitlines())) == 80
    assert as_table(found, CLASSES).startswith(str(names[0]))  # a file has whole names


def test_table() -> None:
    assert as_table(FOUND, CLASSES).splitlines() == [
        "10.jpg    dog   75.0%  (cat 25.0%)",
        "a, b.jpg  unreadable: not an image",
        "2.jpg     cat  100.0%  (dog 0.0%)",
    ]


def test_kaggle_has_ids_in_numeric_order_clipped_and_empty_where_nothing_was_read() -> None:
    found = Predictions((Path("10.jpg"), Path("3.jpg"), Path("2.jpg")), PROBABILITIES, {1: "not an image"})
    assert as_kaggle(found, CLASSES, positive="dog", clip=0.01) == "id,label\n2,0.010000\n3,\n10,0.750000\n"


def test_kaggle_ids_belong_to_one_file() -> None:
    found = Predictions((Path("a/1.jpg"), Path("b/1.jpg")), PROBABILITIES[[0, 2]], {})
    with pytest.raises(DataError, match="1 ids belong to several files"):
        as_kaggle(found, CLASSES, positive="dog", clip=0.0)


def test_kaggle_ids_of_many_files_take_no_time() -> None:
    """Counting each id by itself would take 10^10 steps."""
    count = 100_000
    photos = (*(Path(f"{number}.jpg") for number in range(count - 1)), Path("a/7.jpg"))
    found = Predictions(photos, np.full((count, 2), 0.5), {})
    with pytest.raises(DataError, match=r"^--format kaggle: 1 ids belong to several files:\n  7$"):
        as_kaggle(found, CLASSES, positive="dog", clip=0.0)


def test_kaggle_is_for_two_classes_one_of_which_is_named() -> None:
    with pytest.raises(OptionError, match="is for two classes"):
        check_kaggle(("a", "b", "c"), positive="a", clip=0.0)
    with pytest.raises(OptionError, match=r"Got 'dig'\. Did you mean 'dog'\?"):
        check_kaggle(CLASSES, positive="dig", clip=0.0)
    with pytest.raises(OptionError, match=r"--clip must be from 0 to below 0\.5"):
        check_kaggle(CLASSES, positive="dog", clip=0.5)


def test_every_format_but_kaggles_has_its_function() -> None:
    assert set(FORMATTERS) | {Format.kaggle} == set(Format)
