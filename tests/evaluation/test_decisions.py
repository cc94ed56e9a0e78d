"""Decision rules against answers that are worked out by hand."""

import json

import numpy as np
import pytest

from regraft.evaluation.decisions import (
    MOST_PROBABLE,
    CostRule,
    Decision,
    ThresholdRule,
    answers_of,
    percent,
)

TWO = ("benign", "malignant")
THREE = ("ant", "bee", "wasp")


def test_without_a_decision_the_most_probable_class_is_answered():
    assert answers_of(None, np.array([[0.6, 0.4], [0.3, 0.7]])).tolist() == [0, 1]
    assert MOST_PROBABLE == "most probable class"


def test_a_threshold_includes_its_own_value():
    rule = ThresholdRule(1, 0.2)
    probabilities = np.array([[0.8, 0.2], [0.81, 0.19], [0.1, 0.9]])
    assert rule.answers(probabilities).tolist() == [1, 0, 1]
    assert probabilities[0, 1] == 0.2  # they stay as they are


def test_below_the_threshold_of_one_of_several_classes_the_most_probable_of_the_others_is_answered():
    rule = ThresholdRule(0, 0.7)
    # the first is most probable in all rows, and reaches its threshold in the last alone
    assert rule.answers(np.array([[0.5, 0.2, 0.3], [0.4, 0.35, 0.25], [0.7, 0.2, 0.1]])).tolist() == [2, 1, 0]


def test_costs_of_two_classes_are_a_threshold():
    # missing a malignant one costs 20, a false alarm 1: answer it above 1 / 21 = 0.0476 (Elkan 2001, equation 2)
    rule = CostRule(np.array([[0.0, 1.0], [20.0, 0.0]]))
    probabilities = np.array([[0.96, 0.04], [0.95, 0.05], [0.5, 0.5]])
    assert rule.answers(probabilities).tolist() == [0, 1, 1]
    assert rule.in_words(TWO) == "malignant above a probability of 4.8 %, else benign"


def test_costs_of_three_classes_take_the_least_expected_cost():
    costs = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [10.0, 1.0, 0.0]])
    # row 1: answering 0 costs .1 + 10 * .15 = 1.6; 1 costs .75 + .15 = .9; 2 costs .75 + .1 = .85
    # row 2: 0 costs .5 + 10 * .01 = .6; 1 costs .49 + .01 = .5; 2 costs .99
    assert CostRule(costs).answers(np.array([[0.75, 0.1, 0.15], [0.49, 0.5, 0.01]])).tolist() == [2, 1]


def test_weights_answer_the_largest_weight_times_probability():
    weights = np.array([1.0, 2.0, 4.0])
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.7, 0.2, 0.1]])
    # (.6, .6, .4) is a tie, which the first wins; (.5, .6, .8); (.7, .4, .4)
    assert CostRule.weighted(weights).answers(probabilities).tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    "decision",
    [
        Decision(ThresholdRule(1, 0.083), "sensitivity >= 0.9 for malignant"),
        Decision(CostRule(np.array([[0.0, 1.0], [20.0, 0.0]])), "cost malignant:benign=20"),
    ],
)
def test_a_decision_survives_json(decision: Decision):
    back = Decision.from_json(json.loads(json.dumps(decision.to_json(TWO))), TWO)
    probabilities = np.random.default_rng(0).dirichlet([1, 1], 200)
    assert back.asked == decision.asked
    assert back.in_words(TWO) == decision.in_words(TWO)
    assert (back.rule.answers(probabilities) == decision.rule.answers(probabilities)).all()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, "rule must be one of threshold, costs"),
        ({"rule": "vote", "asked": ""}, "rule must be one of threshold, costs"),
        ({"rule": "threshold", "asked": 3}, "asked a text"),
        ({"rule": "threshold", "asked": "", "class": "wart", "threshold": 0.1}, "class must be one of the classes"),
        ({"rule": "threshold", "asked": "", "class": "benign", "threshold": 1.2}, "from 0 to 1. Got 1.2"),
        ({"rule": "threshold", "asked": "", "class": "benign", "threshold": True}, "from 0 to 1. Got True"),
        ({"rule": "threshold", "asked": "", "class": "benign", "threshold": float("nan")}, "from 0 to 1. Got nan"),
        ({"rule": "costs", "asked": "", "costs": [[0, 1]]}, "2 rows and columns"),
        ({"rule": "costs", "asked": "", "costs": [[0, 1], [1]]}, "2 rows and columns"),
        ({"rule": "costs", "asked": "", "costs": [[0, -1], [1, 0]]}, "numbers from 0"),
        ({"rule": "costs", "asked": "", "costs": [[0, "x"], [1, 0]]}, "numbers from 0"),
    ],
)
def test_a_damaged_decision_is_named(found: dict[str, object], reason: str):
    with pytest.raises(ValueError, match=reason):
        Decision.from_json(found, TWO)


def test_a_decision_says_what_it_comes_to():
    two = Decision(ThresholdRule(1, 0.0834), "sensitivity >= 0.9 for malignant").in_words(TWO)
    assert two == "sensitivity >= 0.9 for malignant: malignant from a probability of 8.3 % on, else benign"
    three = Decision(ThresholdRule(2, 0.3), "threshold 0.3 for wasp").in_words(THREE)
    assert three.endswith("wasp from a probability of 30 % on, else the most probable of the others")
    assert "\x1b" not in Decision(ThresholdRule(1, 0.5), "x").in_words(("a", "b\x1b[2J"))


def test_percent_keeps_what_tells_from_the_ends():
    shares = {0.5: "50 %", 0.9123: "91.2 %", 0.99: "99 %", 0.00012: "0.012 %", 0.99987: "99.987 %"}
    shares |= {0.0: "0 %", 1.0: "100 %", 1 - 3e-7: "99.99997 %", 3e-7: "0.00003 %"}
    assert {share: percent(share) for share in shares} == shares
    assert (percent(1 - 1e-12), percent(1e-12)) == ("100 % less 1e-10 %", "1e-10 %")  # never 100 % or 0 %
