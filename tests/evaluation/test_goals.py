"""Goals, costs and thresholds as users write them, and the thresholds that meet goals, by hand and by simulation."""

import numpy as np
import pytest

from regraft.errors import DataError, OptionError
from regraft.evaluation.decisions import CostRule, ThresholdRule
from regraft.evaluation.goals import DecisionRequest, Goal, best_precision, check_goal_photos, read_costs

TWO = ("benign", "malignant")
THREE = ("ant", "bee", "wasp")


def goal(text: str, classes: tuple[str, ...] = TWO, positive: str | None = None) -> Goal:
    found = DecisionRequest(goal=text).goal_of(classes, positive)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sensitivity>=0.95 for malignant", Goal("sensitivity", 0.95, 1)),
        ("Recall >= 95% for benign", Goal("sensitivity", 0.95, 0)),
        ("  specificity ≥ .9  for malignant ", Goal("specificity", 0.9, 1)),
        ("precision=>0.8", Goal("precision", 0.8, 1)),
    ],
)
def test_goals_are_read(text: str, wanted: Goal):
    assert goal(text) == wanted


def test_the_class_of_a_goal_may_be_left_out_where_there_are_two():
    assert goal("sensitivity>=0.9", positive="benign").label == 0
    with pytest.raises(OptionError, match="goal must name its class where there are 3"):
        goal("sensitivity>=0.9", THREE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sensitivity 0.9 for malignant", "must be a least sensitivity, specificity or precision"),
        ("accuracy>=0.9 for malignant", "must be a least sensitivity, specificity or precision"),
        ("sensitivity<=0.9 for malignant", "must be a least sensitivity"),
        ("sensitivity>=1 for malignant", "more than 0 and less than 1"),
        ("sensitivity>=0 for malignant", "more than 0 and less than 1"),
        ("sensitivity>=95 for malignant", "more than 0 and less than 1"),
        ("sensitivity>=0.9 for malignan", r"one of benign, malignant. Got 'malignan'. Did you mean 'malignant'\?"),
    ],
)
def test_wrong_goals_say_what_is_allowed(text: str, reason: str):
    with pytest.raises(OptionError, match=reason):
        goal(text)


def test_the_threshold_of_a_sensitivity_by_hand():
    hits, others = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [0.02, 0.14, 0.95]
    is_class, scores = np.array([True] * 9 + [False] * 3), np.array(hits + others)
    # 9 photos: a new one falls below the k-th smallest with probability k / 10
    assert Goal("sensitivity", 0.9, 1).threshold(is_class, scores) == pytest.approx(0.06)  # k = 1: between .02 and .1
    assert Goal("sensitivity", 0.8, 1).threshold(is_class, scores) == pytest.approx(0.17)  # k = 2: between .14 and .2
    assert Goal("sensitivity", 0.75, 1).threshold(is_class, scores) == pytest.approx(0.17)  # k = floor(2.5)
    # k = 5 allows for .5, but no other lies between it and .14: the same alarms, and more hits
    assert Goal("sensitivity", 0.5, 1).threshold(is_class, scores) == pytest.approx(0.17)
    assert Goal("sensitivity", 0.91, 1).threshold(is_class, scores) is None  # it would take 11 photos
    assert Goal("sensitivity", 0.91, 1).needed() == 11


def test_the_threshold_of_a_specificity_by_hand():
    is_class = np.array([False] * 4 + [True] * 2)
    scores = np.array([0.1, 0.4, 0.2, 0.3, 0.9, 0.36])
    # a new one of the others reaches the k-th largest of 4 with probability k / 5
    assert Goal("specificity", 0.8, 1).threshold(is_class, scores) == pytest.approx(0.65)  # from .4 on: up to .9
    assert Goal("specificity", 0.6, 1).threshold(is_class, scores) == pytest.approx(0.33)  # from .3 on: up to .36
    assert Goal("specificity", 0.9, 1).threshold(is_class, scores) is None
    tied = np.array([0.1, 0.4, 0.2, 0.3, 0.9, 0.4])  # a hit at the edge: raising the threshold would lose it
    assert Goal("specificity", 0.8, 1).threshold(is_class, tied) == 0.4


def test_the_threshold_of_a_precision_by_hand():
    is_class = np.array([True, True, True, False, True, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.1])
    # hits / (answered + 1): 1/2, 2/3, 3/4, 3/5, and 5/7 for both that have 0.5
    assert Goal("precision", 0.75, 1).threshold(is_class, scores) == 0.7
    assert Goal("precision", 0.7, 1).threshold(is_class, scores) == 0.5
    assert Goal("precision", 0.8, 1).threshold(is_class, scores) is None
    assert best_precision(is_class, scores) == 0.75


def test_separate_classes_are_cut_between_them():
    is_class, scores = np.array([True] * 20 + [False] * 20), np.array([0.97] * 20 + [0.05] * 20)
    assert Goal("sensitivity", 0.9, 1).threshold(is_class, scores) == pytest.approx(0.51)
    assert Goal("specificity", 0.9, 1).threshold(is_class, scores) == pytest.approx(0.51)


def test_a_sensitivity_is_kept_on_new_photos():
    generator = np.random.default_rng(0)
    for least, count in ((0.9, 30), (0.8, 12)):
        reached = []
        for _ in range(1000):
            hits = generator.uniform(size=count)
            others = np.arange(1, 10_000) / 10_000  # everywhere: the middle of a gap is its edge
            is_class = np.arange(count + len(others)) < count
            threshold = Goal("sensitivity", least, 1).threshold(is_class, np.concatenate([hits, others]))
            assert threshold is not None
            reached.append(1 - threshold)  # the sensitivity on new photos, exactly
        # of uniform probabilities the k-th smallest of m has the mean k / (m + 1)
        expected = 1 - np.floor((1 - least) * (count + 1) + 1e-9) / (count + 1)
        assert expected >= least
        assert np.mean(reached) == pytest.approx(expected, abs=1e-4 + 4 * np.std(reached) / np.sqrt(1000))


def test_costs_are_read():
    assert read_costs("malignant:benign=20", TWO).tolist() == [[0, 1], [20, 0]]
    assert read_costs("wasp:ant = 5, bee:ant=0.5", THREE).tolist() == [[0, 1, 1], [0.5, 0, 1], [5, 1, 0]]
    odd = ("a:b", "c, d=1")
    assert read_costs("c, d=1:a:b=3", odd).tolist() == [[0, 1], [3, 0]]


def test_a_cost_that_can_be_read_in_two_ways_is_refused() -> None:
    classes = ("a", "a:b", "b:c", "c")
    said = r"^cost can be read in several ways: 'a:b:c' may mean 'a' taken for 'b:c' or 'a:b' taken for 'c'\. Rename"
    with pytest.raises(OptionError, match=said):
        read_costs("a:b:c=5", classes)
    assert read_costs("a:b:c=5", ("a", "b:c", "c"))[0].tolist() == [0, 5, 1]


def test_what_is_amiss_with_a_cost_is_said():
    said = {
        "malignant:benign": r"After malignant:benign there must be =COST, the number\.$",
        "malignant:benign=": r"After malignant:benign there must be =COST, a number above 0\.$",
        "malignant:benign=twenty": r"After malignant:benign there must be =COST, a number above 0\.$",
        "malignant:benign=2,benign:malignant": r"After benign:malignant there must be =COST, the number\.$",
        "malignant:malignant=20": r"malignant:malignant is no mistake\.$",
        "malignant:benin=20": r"Did you mean 'benign'\?$",
        "malignant": r"Got 'malignant'\.$",
        "malignant:benign=2, malignant:benign=3": r"must say once what a mistake costs\. Got malignant:benign twice in",
    }
    for text, reason in said.items():
        with pytest.raises(OptionError, match=reason):
            read_costs(text, TWO)
    assert read_costs("malignant:benign=2, benign:malignant=3", TWO).tolist() == [[0, 3], [2, 0]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("malignant=20", "must say what a mistake costs, TRUE:ANSWER=COST"),
        ("malignant:wart=20", "with classes of benign, malignant"),
        ("malignan:benign=20", r"Did you mean 'malignant'\?"),
        ("malignant:malignant=20", "must say what a mistake costs"),
        ("malignant:benign=0", "numbers from 0.000001 to 1,000,000"),
        ("malignant:benign=1e-320", "numbers from 0.000001 to 1,000,000"),
        ("malignant:benign=-1", "must say what a mistake costs"),
        ("malignant:benign=1e9", "to 1,000,000"),
        (" ", "Got nothing"),
    ],
)
def test_wrong_costs_say_what_is_allowed(text: str, reason: str):
    with pytest.raises(OptionError, match=reason):
        read_costs(text, TWO)


def test_a_threshold_is_read_as_text_and_number():
    for given in (0.2, "0.2", "20 %", "0.2 for malignant"):
        decision = DecisionRequest(threshold=given).fixed(TWO)
        assert decision is not None
        assert decision.rule == ThresholdRule(1, 0.2)
        assert decision.asked == "threshold 0.2 for malignant"
    for wrong in (0.0, 1, "1.5", "x", "-0.2", "0.2 for wart"):
        with pytest.raises(OptionError, match="threshold must be"):
            DecisionRequest(threshold=wrong).fixed(TWO)
    with pytest.raises(OptionError, match="threshold must name its class"):
        DecisionRequest(threshold=0.2).fixed(THREE)


def test_balance_cuts_two_classes_at_their_share():
    decision = DecisionRequest(balance=True).fixed(TWO, np.array([0.8, 0.2]))
    assert decision is not None
    assert decision.rule.answers(np.array([[0.81, 0.19], [0.79, 0.21]])).tolist() == [0, 1]
    assert decision.in_words(TWO) == "balance: malignant above a probability of 20 %, else benign"


def test_balance_of_three_classes_is_the_ratio_to_the_share():
    decision = DecisionRequest(balance=True).fixed(THREE, np.array([0.7, 0.2, 0.1]))
    assert decision is not None
    assert isinstance(decision.rule, CostRule)
    # ratios: .86, 1, 2; then 1.07, .75, 1
    assert decision.rule.answers(np.array([[0.6, 0.2, 0.2], [0.75, 0.15, 0.1]])).tolist() == [2, 0]


def test_only_one_rule_decides():
    DecisionRequest(goal="x").check()
    DecisionRequest(threshold=0.5, balance=False).check()
    with pytest.raises(OptionError, match="goal and balance exclude each other"):
        DecisionRequest(goal="sensitivity>=0.9", balance=True).check()


def test_too_few_photos_to_promise_a_goal():
    check_goal_photos(Goal("sensitivity", 0.95, 1), np.repeat([0, 1], [5, 19]), TWO, None)
    with pytest.raises(DataError, match=r"at least 19 photos of malignant .* Got 18, which allow for 94.7 % at most"):
        check_goal_photos(Goal("sensitivity", 0.95, 1), np.repeat([0, 1], [500, 18]), TWO, None)
    with pytest.raises(DataError, match="at least 9 photos of other classes than malignant"):
        check_goal_photos(Goal("specificity", 0.9, 1), np.repeat([0, 1], [8, 500]), TWO, None)
    with pytest.raises(DataError, match="at least 19 independent groups of photos of malignant to be promised"):
        check_goal_photos(Goal("sensitivity", 0.95, 1), np.ones(100, dtype=int), TWO, np.arange(100) // 10)


def test_a_group_counts_as_one_photo() -> None:
    """Three patients, one of whom has four photos: each has the weight of one, a photo of the four a quarter."""
    hits, groups = np.array([0.9, 0.5, 0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 2, 2, 2, 2])
    everything = np.ones(6, dtype=bool)
    # a new patient stands below all: (0 + 1) / (3 + 1) fall short of .1, (3/4 + 1) / 4 of .4, (1 + 1) / 4 of .5
    assert Goal("sensitivity", 0.75, 1).threshold(everything, hits, groups) == 0.1
    assert Goal("sensitivity", 0.5, 1).at_level(0.4375, everything, hits, groups) == (
        0.1,
        0.25,
    )  # as low as it costs nothing
    assert Goal("sensitivity", 0.8, 1).threshold(everything, hits, groups) is None
    others = np.array([0.05, 0.35, 0.45, 0.8])
    is_class = np.arange(10) < 6
    both = np.concatenate([groups, [3, 4, 5, 6]])
    # at .4 the threshold may be lowered to the middle of .35 and .4, at .5 to that of .45 and .5
    scores = np.concatenate([hits, others])
    assert Goal("sensitivity", 0.5625, 1).threshold(is_class, scores, both) == pytest.approx(0.375)
    assert Goal("sensitivity", 0.5, 1).threshold(is_class, scores, both) == pytest.approx(0.475)


def test_the_distance_in_a_tree_as_cost_by_hand() -> None:
    """a is 3 edges from b and c, which are 2 apart: a costs .61 * 3 = 1.83, b .39 * 3 + .30 * 2 = 1.77."""
    distances = np.array([[0, 3, 3], [3, 0, 2], [3, 2, 0]])
    decision = DecisionRequest(cost="taxonomy").fixed("abc", distances=distances)
    assert decision is not None
    assert decision.asked == "cost taxonomy"
    assert decision.rule.answers(np.array([[0.39, 0.31, 0.30], [0.41, 0.30, 0.29]])).tolist() == [1, 0]
    with pytest.raises(OptionError, match=r"taxonomy.* is the distance in the tree of the classes, and none is known"):
        DecisionRequest(cost="taxonomy").fixed("abc")
