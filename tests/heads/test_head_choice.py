"""Which last layer is fitted, by the number of photos, features and classes."""

import json
from pathlib import Path

import pytest

from regraft.errors import flags_in_messages
from regraft.heads.head_choice import DISCRIMINANT, LOGISTIC, choose_head, logistic_seconds

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "heads.json"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((500_000, 1_280, 2), LOGISTIC),
        ((100_000, 2_800, 100), LOGISTIC),
        # 2 hours are 7,200 s = n x 1,280 x (2.0e-7 + 1,000 x 6.7e-9): n = 815,217
        ((815_000, 1_280, 1_000), LOGISTIC),
        ((816_000, 1_280, 1_000), DISCRIMINANT),
        # and of two classes, with one row of weights, n x 2,800 x 2.067e-7: n = 12.44 million
        ((12_400_000, 2_800, 2), LOGISTIC),
        ((12_500_000, 2_800, 2), DISCRIMINANT),
    ],
)
def test_logistic_regression_unless_it_takes_more_than_two_hours(size: tuple[int, int, int], expected: str) -> None:
    assert choose_head("auto", *size).head == expected
    assert bool(choose_head("auto", *size).reason) == (expected == DISCRIMINANT)
    for asked in (LOGISTIC, DISCRIMINANT):
        assert choose_head(asked, *size) == (asked, "")


def test_the_reason_says_what_it_would_take_and_what_asks_for_it() -> None:
    expected = (
        "last layer: linear discriminant analysis; logistic regression of 1,281,167 photos x 1,280 features and 1,000 "
        "classes takes about 3.1 hours on 2 cores, and --head logistic asks for it"
    )
    with flags_in_messages({"head": "--head"}):
        assert choose_head("auto", 1_281_167, 1_280, 1_000).reason == expected


def test_the_estimate_is_about_what_was_measured() -> None:
    results = json.loads(RESULTS.read_text())["measurements"]
    measured = {one["of"]: one["median"] for one in results if one["by"] == "time"}
    for classes in (2, 100):
        seconds = measured[f"50,000 x 1,280, {classes} classes"]
        assert 0.4 < logistic_seconds(50_000, 1_280, classes) / seconds < 2.5
