"""Operating points: nested by folds, by hand, and the promise of the table by simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, binomtest, norm

from regraft.evaluation.goals import Goal
from regraft.evaluation.operating_points import OperatingPoints, nested_thresholds, operating_points, points_at

TWO = ("benign", "malignant")


def two(scores: list[float]) -> np.ndarray:
    return np.stack([1 - np.array(scores), scores], axis=1)


def test_each_photo_is_answered_by_the_threshold_of_the_others():
    labels = np.array([1, 1, 1, 1, 0, 0])
    probabilities = two([0.9, 0.6, 0.5, 0.3, 0.55, 0.2])
    # sensitivity >= .6: of four hits the k-th smallest, k = floor(.4 * 5) = 2, .5, which is lowered as far as .2
    # allows, to the middle of .2 and .3: the rank is 1 of 4 then, and of 3 without one hit likewise
    found = nested_thresholds(Goal("sensitivity", 0.6, 1), labels, probabilities)
    # without .3 the lowest hit is .5, and the middle of .2 and .5 is taken. The others chose nothing: .25
    assert found.tolist() == pytest.approx([0.25, 0.25, 0.25, 0.35, 0.25, 0.25])


def test_groups_are_left_out_whole():
    labels, groups = np.array([1, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 3])
    probabilities = two([0.9, 0.3, 0.5, 0.4, 0.1])
    found = nested_thresholds(Goal("sensitivity", 0.5, 1), labels, probabilities, groups)
    # without the first patient the other's .5 is the one hit, lowered to the middle of .4 and .5
    assert found[:2].tolist() == pytest.approx([0.45, 0.45])
    # all together take .5, of rank (1/2 + 1) / (2 + 1); the nearest to it without the second patient is .9, of rank
    # (1/2 + 1) / (1 + 1), lowered to the middle of .1 and .3; for his photo of the other class, too
    assert found[2:4].tolist() == pytest.approx([0.2, 0.2])
    assert found[4] == pytest.approx(0.45)  # of all


def test_what_the_others_never_reach_is_never_answered():
    labels = np.array([1, 0, 1, 0])
    probabilities = two([0.9, 0.4, 0.5, 0.1])
    assert (nested_thresholds(Goal("precision", 0.9, 1), labels, probabilities) > 1).all()


def test_the_table_has_what_the_photos_can_promise():
    generator = np.random.default_rng(1)
    labels = (np.arange(120) < 60).astype(int)
    scores = np.clip(0.3 * labels + generator.uniform(0, 0.7, 120), 0, 1)
    table = operating_points(labels, two(list(scores)), TWO, 1)
    assert table.of == "malignant"
    assert [point.least_sensitivity for point in table.points] == [0.8, 0.9, 0.95]  # 99 % takes 99 photos
    for point in table.points:
        missed = int((scores[:60] < point.threshold).sum())
        score = binomtest(round(60 * point.sensitivity), 60).proportion_ci(method="wilson")
        exact = beta(60 - missed, missed + 1).interval(0.95)  # of the threshold at that rank, on new photos
        bounds = min(score.low, exact[0]), max(score.high, exact[1])
        assert point.sensitivity_interval == pytest.approx(bounds)
        others = scores[60:] >= point.threshold
        assert point.specificity == 1 - others.mean()
        score = binomtest(int((~others).sum()), 60).proportion_ci(method="wilson")
        assert point.specificity_interval == pytest.approx((score.low, score.high))
        assert 120 * point.alarms == pytest.approx(60 * point.sensitivity + others.sum())
    lines = table.lines()
    assert "to find malignant" in lines[0]
    assert lines[1].startswith("  80 %")


def test_one_threshold_has_one_figure():
    """Of 30 hits the 80 % and the 90 % both end in the one gap: the rows are equal but for what was asked."""
    scores = two([0.1] * 30 + [0.2, 0.21] + [0.9] * 28)
    table = operating_points(np.repeat([0, 1], 30), scores, TWO, 1)
    first, second = table.points[:2]
    assert first.threshold == second.threshold == pytest.approx(0.15)
    assert replace(first, least_sensitivity=0.9) == second


def test_known_thresholds_are_not_chosen_again():
    scores = two([0.1, 0.1, 0.1, 0.1, 0.26, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    known = operating_points(np.array([0] * 5 + [1] * 9), scores, TWO, 1)
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


def test_the_intervals_of_the_table_hold_what_a_threshold_does_to_new_photos():
    """Of 200 samples the intervals of the figures hold the truth in about 95 %, and the figures do not flatter."""
    generator = np.random.default_rng(2)
    held, off = [], []
    for _ in range(200):
        scores = norm.cdf(np.concatenate([generator.normal(1.8, size=40), generator.normal(size=80)]) - 1)
        labels = np.repeat([1, 0], [40, 80])
        point = operating_points(labels, two(list(scores)), TWO, 1).points[1]
        cut = norm.ppf(point.threshold) + 1
        sensitivity, specificity = 1 - norm.cdf(cut - 1.8), norm.cdf(cut)
        true = np.array([sensitivity, specificity, (sensitivity + 2 * (1 - specificity)) / 3])
        found = np.array([point.sensitivity, point.specificity, point.alarms])
        bounds = [point.sensitivity_interval, point.specificity_interval, point.alarms_interval]
        held.append([low <= value <= high for value, (low, high) in zip(true, bounds, strict=True)])
        off.append(found - true)
    assert (np.sum(held, axis=0) >= 181).all()  # P(fewer | 95 %) < 0.2 %
    assert np.abs(np.mean(off, axis=0)).max() < 0.015
