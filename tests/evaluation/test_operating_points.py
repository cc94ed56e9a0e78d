"""Operating points: nested by folds, by hand, and the promise of the table by simulation."""

import numpy as np
import pytest

from regraft.evaluation.goals import Goal
from regraft.evaluation.intervals import wilson
from regraft.evaluation.operating_points import OperatingPoints, nested_answers, operating_points, points_at

TWO = ("benign", "malignant")


def two(scores: list[float]) -> np.ndarray:
    return np.stack([1 - np.array(scores), scores], axis=1)


def test_each_fold_is_answered_by_the_threshold_of_the_others():
    labels = np.array([1, 1, 1, 1, 0, 0])
    probabilities = two([0.9, 0.6, 0.5, 0.3, 0.55, 0.2])
    folds = np.array([0, 0, 1, 1, 0, 1])
    # sensitivity >= 2/3: of two hits the smallest, k = floor(1/3 * 3) = 1. Fold 0 by the hits {.5, .3} and .2: from .25
    # on; fold 1 by {.9, .6} and .55: from .575 on
    found = nested_answers(Goal("sensitivity", 2 / 3, 1), labels, probabilities, folds)
    assert found.tolist() == [1, 1, 0, 0, 1, 0]


def test_others_that_cannot_promise_take_their_lowest_hit_or_never_answer():
    labels, folds = np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1])
    probabilities = two([0.9, 0.4, 0.5, 0.1])
    assert nested_answers(Goal("sensitivity", 0.9, 1), labels, probabilities, folds).tolist() == [1, 0, 0, 0]
    assert nested_answers(Goal("specificity", 0.9, 1), labels, probabilities, folds).tolist() == [0, 0, 0, 0]


def test_the_table_has_what_the_photos_can_promise():
    generator = np.random.default_rng(1)
    labels = (np.arange(120) < 60).astype(int)
    scores = np.clip(0.3 * labels + generator.uniform(0, 0.7, 120), 0, 1)
    folds = generator.integers(0, 5, 120)
    table = operating_points(labels, two(list(scores)), TWO, 1, folds=folds)
    assert table.of == "malignant"
    assert [point.least_sensitivity for point in table.points] == [0.8, 0.9, 0.95]  # 99 % takes 99 photos
    for point in table.points:
        low, high = wilson(60 * point.sensitivity, 60)
        assert point.sensitivity_interval == pytest.approx((low, high))
        answered = 60 * point.sensitivity + 60 * (1 - point.specificity)
        assert 120 * point.alarms == pytest.approx(answered)
    lines = table.lines()
    assert "to find malignant" in lines[0]
    assert lines[1].startswith("  80 %")


def test_known_thresholds_are_not_chosen_again():
    scores = two([0.1, 0.1, 0.1, 0.1, 0.26, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    known = operating_points(np.array([0] * 5 + [1] * 9), scores, TWO, 1, folds=np.arange(14) % 5)
    assert [(point.least_sensitivity, point.threshold) for point in known.points] == [
        (0.8, pytest.approx(0.28)),  # between .26 and .3
        (0.9, pytest.approx(0.15)),
    ]
    there = points_at(known, np.array([1, 1, 0, 0]), two([0.25, 0.3, 0.31, 0.05]), TWO)
    assert [(point.sensitivity, point.specificity, point.alarms) for point in there.points] == [
        (0.5, 0.5, 0.5),
        (1.0, 0.5, 0.75),
    ]
    assert points_at(known, np.array([1, 1]), two([0.25, 0.3]), TWO) == OperatingPoints("malignant", ())


def test_nested_sensitivity_is_what_new_photos_have():
    """The figure at the goal must not flatter: its mean over samples is that on new photos."""
    generator = np.random.default_rng(2)
    nested, true = [], []
    for _ in range(300):
        hits, others = generator.beta(4, 2, 40), generator.beta(2, 4, 60)
        labels = np.array([1] * 40 + [0] * 60)
        probabilities = two([*hits, *others])
        found = nested_answers(Goal("sensitivity", 0.9, 1), labels, probabilities, np.arange(100) % 5)
        nested.append(float((found[:40] == 1).mean()))
        threshold = Goal("sensitivity", 0.9, 1).threshold(labels == 1, probabilities[:, 1])
        true.append(float((generator.beta(4, 2, 400) >= threshold).mean()))
    assert np.mean(true) >= 0.9
    assert np.mean(nested) == pytest.approx(np.mean(true), abs=0.012)  # 32 photos choose instead of 40
