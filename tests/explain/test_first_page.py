"""The first page: figures in whole photos, as they follow from counts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.explain.made import explanation_of, report_of

from regraft.evaluation.operating_points import OperatingPoints
from regraft.explain.explanation import Explanation
from regraft.explain.first_page import first_page, main_report
from regraft.explain.mistakes import Mistakes
from regraft.explain.subject import OF_FIT, ON_THESE

NAMES = ("lily", "lotus", "rose")


def cards(found: Explanation) -> dict[str, tuple[str, str]]:
    return {card["name"]: (card["value"], card["more"]) for card in first_page(found)["cards"]}


def headline(found: Explanation) -> dict[str, Any]:
    shown: dict[str, Any] = first_page(found)["headline"]
    return shown


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion as scipy has it."""
    found = binomtest(k, n).proportion_ci(method="wilson")
    return found.low, found.high


def test_the_figures_are_said_of_a_hundred_photos() -> None:
    found = explanation_of([[70, 30, 0], [30, 70, 0], [0, 4, 196]], NAMES)
    shown = headline(found)
    # 336 of 400 are right, 84 %
    low, high = wilson(336, 400)
    assert (shown["right"], shown["counted"]) == ("84 of 100", "336 of 400")
    assert shown["likely"] == (
        f"In the long run, of photos like these, expect between {round(100 * low)} and {round(100 * high)} of 100 "
        "to be right."
    )
    assert (round(100 * low), round(100 * high)) == (80, 87)
    assert shown["beside"] == "Always answering the largest class (rose) would get 50 of 100 right (the red line)."
    assert shown["how"] == "Each photo was answered by a classifier that had not learned from it."
    assert cards(found)["Most mixed up"] == ("lily and lotus", "60 of 64 mistakes")
    one_way = explanation_of([[100, 0, 0], [6, 94, 0], [0, 2, 198]], NAMES)
    said = f"6 of 8 mistakes, all of them {NAMES[1]} taken for {NAMES[0]}"
    assert cards(one_way)["Most mixed up"] == (f"{NAMES[1]} and {NAMES[0]}", said)
    assert cards(found)["Hardest class"] == ("lily", "70 of its 100 photos recognised")
    assert cards(found)["Photos looked at"] == ("400", "lily 100, lotus 100, rose 200")


def test_of_few_photos_their_own_number_is_said() -> None:
    shown = headline(explanation_of([[18, 2], [4, 16]], ("cat", "dog")))
    assert (shown["right"], shown["counted"], shown["unit"]) == ("34 of 40", "", "photos answered right")
    assert "(cat) would get 20 right" in shown["beside"]
    # Wilson of 34 of 40: (34 + 1.9207) / (40 + 3.8415) +- 1.96 / 43.8415 * sqrt(34 * 6 / 40 + 0.9604)
    assert shown["likely"] == "In the long run, of photos like these, expect between 71 and 93 of 100 to be right."
    assert shown["how"].endswith("which learned from all of them, lies outside in about 15 of 100 cases, not in 5.")


@pytest.mark.parametrize(
    "changed",
    [{"independent": False}, {"n": 1001}, {"estimate": "validation"}, {"intervals": {"accuracy": None}}],
)
def test_how_far_the_interval_goes_is_said_where_it_was_simulated(changed: dict[str, Any]) -> None:
    """Not with groups, not of many photos, not where one classifier answered, not without an interval."""
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    other = replace(found.subject.reports[OF_FIT], **changed)
    found = replace(found, subject=replace(found.subject, reports={OF_FIT: other}))
    assert "100 cases" not in headline(found)["how"]


def test_a_rule_that_is_to_find_a_class_is_told_by_what_it_finds_and_costs() -> None:
    """225 of 250 malignant ones are found, and 450 of 1,250 benign ones raise an alarm."""
    found = explanation_of([[800, 450], [25, 225]], ("benign", "malignant"))
    report = found.subject.reports[OF_FIT]
    table = OperatingPoints("malignant", ())
    ruled = replace(report, decided_by="sensitivity >= 0.9 for malignant: ...", operating_points=table)
    found = replace(found, subject=replace(found.subject, reports={OF_FIT: ruled}))
    shown, (low, high) = headline(found), wilson(225, 250)
    assert (shown["right"], shown["unit"], shown["counted"]) == ("90 of 100", "photos of malignant found", "225 of 250")
    assert shown["likely"] == (
        f"In the long run, of photos of malignant like these, expect between {round(100 * low)} and "
        f"{round(100 * high)} of 100 to be found."
    )
    assert shown["beside"] == (
        "The price: 36 of 100 others are taken for malignant. In all, 68 of 100 answers are right."
    )
    assert (shown["value"], shown["mark"]) == (90.0, None)


def test_nearly_all_is_not_said_as_all() -> None:
    shown = headline(explanation_of([[497, 3], [0, 500]], ("cat", "dog")))
    assert shown["right"] == "997 of 1,000"
    assert "of 1,000 to be right" in shown["likely"]


def test_two_classes_have_their_mistakes_in_both_directions() -> None:
    assert cards(explanation_of([[18, 2], [4, 16]], ("cat", "dog")))["Mistakes"] == (
        "6",
        "4 of dog taken for cat, 2 of cat for dog",
    )
    assert cards(explanation_of([[20, 0], [0, 20]], ("cat", "dog")))["Most mixed up"][0] == "nothing"


def test_mistakes_that_are_spread_and_a_class_that_is_never_answered() -> None:
    spread = explanation_of([[9, 1, 0], [0, 9, 1], [0, 0, 10]], NAMES)
    assert cards(spread)["Most mixed up"] == ("no two classes", "2 mistakes, no pair twice.")
    assert headline(spread)["never"] == ""
    never = explanation_of([[9, 0, 1], [0, 0, 2], [0, 0, 10]], NAMES)
    assert headline(never)["never"] == "It never answers lotus."


def test_photos_never_seen_come_before_those_of_the_fit() -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    reports = {
        OF_FIT: report_of([[20, 0], [1, 19]], ("cat", "dog")),
        ON_THESE: report_of([[5, 5], [5, 5]], "ab", "test"),
    }
    found.subject.__dict__["reports"] = reports
    assert main_report(found) == (ON_THESE, reports[ON_THESE])
    assert headline(found)["right"] == "10 of 20"
    assert headline(found)["also"] == ["When it was fitted, 98 of 100 were right (out-of-fold)."]


@pytest.mark.parametrize(
    ("mistakes", "more", "value", "said"),
    [
        (Mistakes(doubted=6, expected=4.4), {}, "6 labels", "About 4 of them are expected to be wrong."),
        (Mistakes(doubted=1, expected=0.3), {}, "1 label", "The chance that it is wrong is about 30 %."),
        (Mistakes(doubted=3, expected=0.4), {}, "3 labels", "Fewer than one of them is expected to be wrong."),
        (
            Mistakes(doubted=2, expected=1.2, sure=False),
            {},
            "2 labels",
            "About 1 of them is expected to be wrong, roughly: the classifier is often wrong itself.",
        ),
        (Mistakes(doubted=2, expected=1.8), {}, "2 labels", "Both labels are most likely wrong."),
        (Mistakes(), {}, "none", "No label is clearly contradicted by what the photo looks like."),
        (Mistakes(), {"seen": True}, "not known", "That takes photos that were not learned from."),
    ],
)
def test_labels_to_check(mistakes: Mistakes, more: dict[str, Any], value: str, said: str) -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"), **more)
    found.mistakes = mistakes
    assert cards(found)["Labels to check"] == (value, said)


def test_without_a_classifier_there_are_photos_alone() -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"), reports={})
    shown = first_page(found)
    assert shown["headline"] is None
    assert [card["name"] for card in shown["cards"]] == ["Photos looked at"]
    assert shown["steps"] == []


def test_one_group_tells_nothing_of_other_photos() -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    report = found.subject.reports[OF_FIT]
    report.intervals["accuracy"] = None
    assert headline(found)["likely"].startswith("How far that may be off cannot be told")
    assert headline(found)["low"] is None
    assert np.isclose(headline(found)["value"], 85.0)
