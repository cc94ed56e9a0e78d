"""One figure decides for all pairs, and its tests are corrected for their number."""

from typing import Any

import pytest

from regraft.evaluation.paired import Difference
from regraft.evaluation.pairwise import PairedDifference, PairOfClassifiers, decision_in_words, judge_pairs


def compared(a: str, b: str, **p_values: float | None) -> PairOfClassifiers:
    """Return a pair whose figures are all lower by 0.1, with these p-values."""
    found = {
        name: Difference(name, -0.1, None if p is None else (-0.19, -0.01), p, 2, 7) for name, p in p_values.items()
    }
    return PairOfClassifiers(a, b, found, 40)


def told(pairs: list[PairedDifference], *fields: str) -> list[Any]:
    return [tuple(getattr(pair, field) for field in fields) for pair in pairs]


def test_log_loss_decides_where_all_have_it() -> None:
    pairs = judge_pairs([compared("b", "a", accuracy=0.01, log_loss=0.02)])
    assert told(pairs, "metric", "decides", "verdict") == [
        ("accuracy", False, "worse"),
        ("log_loss", True, "better"),
    ]
    pairs = judge_pairs([compared("b", "a", accuracy=0.01, log_loss=0.02), compared("c", "a", accuracy=0.01)])
    assert [pair.metric for pair in pairs if pair.decides] == ["accuracy", "accuracy"]
    assert decision_in_words(pairs).startswith("Accuracy decides (not all probabilities are calibrated), at 5 % over")


def test_p_values_of_each_figure_are_corrected_for_the_pairs() -> None:
    """0.02 alone is proof; as the smaller of two it is 0.04, and the other one, 0.045, stays; of three none is."""
    names = [("b", "a"), ("c", "a"), ("c", "b")]
    one = judge_pairs([compared("b", "a", log_loss=0.02)])
    assert told(one, "p_value", "p_corrected", "verdict") == [(0.02, 0.02, "better")]
    two = judge_pairs([compared(*pair, log_loss=p) for pair, p in zip(names, (0.02, 0.045), strict=False)])
    assert told(two, "p_corrected", "verdict") == [(0.04, "better"), (0.045, "better")]
    three = judge_pairs([compared(*pair, log_loss=p) for pair, p in zip(names, (0.02, 0.045, 0.9), strict=True)])
    assert told(three, "p_corrected", "verdict") == [
        (pytest.approx(0.06), "not proven"),
        (pytest.approx(0.09), "not proven"),
        (0.9, "not proven"),
    ]
    assert decision_in_words(three) == (
        "Log loss decides, at 5 % over all 3 comparisons together (Holm: each p is corrected for them); other figures "
        "describe."
    )


def test_what_is_not_known_is_not_proven_and_counts_as_no_test() -> None:
    pairs = judge_pairs([compared("b", "a", log_loss=None), compared("c", "a", log_loss=0.04)])
    assert told(pairs, "p_corrected", "verdict") == [(None, "not proven"), (0.04, "better")]
    assert str(pairs[0]) == "log loss -0.100 no interval, not proven"
    assert decision_in_words(pairs) == "Log loss decides, at 5 %; other figures describe."
    assert decision_in_words([]) == ""


def test_a_difference_in_words() -> None:
    pairs = judge_pairs([compared("b", "a", auc=0.01, log_loss=0.0123), compared("c", "a", log_loss=0.0001)])
    assert [str(pair) for pair in pairs] == [
        "AUC -0.100 [-0.190, -0.010]",
        "log loss -0.100 [-0.190, -0.010], proven better (p = 0.012)",
        "log loss -0.100 [-0.190, -0.010], proven better (p < 0.001)",
    ]


def test_figures_that_are_not_defined_are_left_out() -> None:
    found = PairOfClassifiers("b", "a", {"auc": Difference("auc", float("nan"), None)}, 3)
    assert judge_pairs([found]) == []
