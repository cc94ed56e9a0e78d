"""Predictions as text, read back by the parsers of others."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from regraft.classifier.predict import Predictions
from regraft.cli.formats import FORMATTERS, Format, as_csv, as_jsonl, as_kaggle, as_table, check_kaggle
from regraft.errors import DataError, OptionError

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
        "error": None,
    }
    assert rows[1]["probabilities"] is None
    assert rows[1]["error"] == "not an image"


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


def test_kaggle_is_for_two_classes_one_of_which_is_named() -> None:
    with pytest.raises(OptionError, match="is for two classes"):
        check_kaggle(("a", "b", "c"), positive="a", clip=0.0)
    with pytest.raises(OptionError, match=r"Got 'dig'\. Did you mean 'dog'\?"):
        check_kaggle(CLASSES, positive="dig", clip=0.0)
    with pytest.raises(OptionError, match=r"--clip must be from 0 to below 0\.5"):
        check_kaggle(CLASSES, positive="dog", clip=0.5)


def test_every_format_but_kaggles_has_its_function() -> None:
    assert set(FORMATTERS) | {Format.kaggle} == set(Format)
