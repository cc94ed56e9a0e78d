"""DeLong's variance of AUCs: the published example, by hand, and pair by pair."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from regraft.evaluation.delong import auc_difference, estimate_auc
from regraft.evaluation.ranking import Ranking

# Ovarian cancer and bowel obstruction (DeLong, DeLong and Clarke-Pearson 1988), the 43 patients with all three tests,
# as SAS prints them with its results (PROC LOGISTIC, example "Comparing Receiver Operating Characteristic Curves"):
# albumin, total protein, K-G score, and whether surgery helped
_TABLE = """
    3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1
    3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0
    2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1
    3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0
    3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
    3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
PATIENTS = np.array(_TABLE.split(), dtype=float).reshape(-1, 4)
HELPED = PATIENTS[:, 3] == 1
SCORES = np.stack([10 - PATIENTS[:, 2], PATIENTS[:, 0], PATIENTS[:, 1]])  # K-G score, albumin, total protein


def test_the_published_areas_and_standard_errors() -> None:
    found = estimate_auc(SCORES, HELPED)
    covariance = found.covariance()
    assert found.values == pytest.approx([0.7258, 0.7366, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.1028, 0.0927, 0.1000], abs=5e-5)
    for other, value, error in ((1, 0.0108, 0.0953), (2, -0.0780, 0.1046)):  # against the K-G score
        contrast = np.eye(3)[other] - np.eye(3)[0]
        assert contrast @ found.values == pytest.approx(value, abs=5e-5)
        assert np.sqrt(contrast @ covariance @ contrast) == pytest.approx(error, abs=5e-5)


def test_five_photos_by_hand() -> None:
    """Positives 3 and 1, negatives 2, 0 and 1: of six pairs four are in order, and 1 against 1 counts half.

    Placements of the positives: 3 of 3 and 1.5 of 3, variance 1/8; of the negatives: 1, 2 and 1.5 of 2, variance 1/16.
    The area is 4.5 / 6, its variance 1/8 / 2 + 1/16 / 3 = 1/12.
    """
    scores, positive = np.array([3.0, 1.0, 2.0, 0.0, 1.0]), np.array([True, True, False, False, False])
    found = estimate_auc(scores, positive)
    assert found.values[0] == pytest.approx(3 / 4)
    assert found.covariance()[0, 0] == pytest.approx(1 / 12)
    # Welch: (1/12)^2 / ((1/16)^2 / 1 + (1/48)^2 / 2) = 16/9.5
    assert found.degrees_of_freedom(np.ones(1)) == pytest.approx(16 / 9.5)


def test_one_positive_or_one_class_says_nothing() -> None:
    one = auc_difference(np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0]), np.array([True, False, False]))
    assert (one.value, one.interval, one.p_value) == (1.0, None, None)
    none = auc_difference(np.arange(3.0), np.arange(3.0), np.zeros(3, dtype=bool))
    assert np.isnan(none.value)
    assert none.interval is None


def test_two_perfect_rankings_are_no_proof_that_both_are_alike() -> None:
    positive = np.arange(8) > 3
    found = auc_difference(np.arange(8.0), np.arange(8.0) ** 2, positive)
    assert (found.value, found.interval, found.p_value) == (0.0, None, 1.0)


def test_the_difference_holds_the_interval_of_its_test() -> None:
    """The normal test of SAS gives p = 0.9102 and 0.4561; Student's are a little larger."""
    for other, normal in ((1, 0.9102), (2, 0.4561)):
        found = auc_difference(SCORES[other], SCORES[0], HELPED)
        assert normal < found.p_value < normal + 0.01
        assert found.interval[0] < 0 < found.interval[1]
        edge = auc_difference(SCORES[other], SCORES[0], HELPED, level=1 - found.p_value)
        assert min(map(abs, edge.interval)) == pytest.approx(0, abs=1e-9)


def placed(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return (positives, negatives) of 1 where a pair is in order, a half where it is tied."""
    gaps = scores[positive][:, None] - scores[~positive]
    return (np.sign(gaps) + 1) / 2


def test_groups_are_obuchowskis() -> None:
    """Her formula in sums over clusters, pair by pair, of groups with as many photos of one class, and of both."""
    generator = np.random.default_rng(1)
    positive, groups = np.repeat([True, False], [21, 32]), np.concatenate([np.arange(21) // 3, np.arange(32) // 4 + 4])
    scores = generator.integers(0, 9, (2, 53)) + 2.0 * positive + groups % 3
    found = estimate_auc(scores, positive, groups=groups)
    pairs = [placed(row, positive) for row in scores]
    areas = np.array([p.mean() for p in pairs])
    clusters = np.unique(groups)
    ours = [np.isin(groups[positive], g) for g in clusters]
    theirs = [np.isin(groups[~positive], g) for g in clusters]
    x = np.array([[(p.mean(axis=1) - a)[own].sum() for own in ours] for p, a in zip(pairs, areas, strict=True)])
    y = np.array([[(p.mean(axis=0) - a)[own].sum() for own in theirs] for p, a in zip(pairs, areas, strict=True)])
    of_x, of_y, of_both = (sum(own.any() for own in ours), sum(own.any() for own in theirs), len(clusters))
    assert of_x < of_both > of_y
    expected = of_x / (of_x - 1) * x @ x.T / 21**2 + of_y / (of_y - 1) * y @ y.T / 32**2
    expected += of_both / (of_both - 1) * (x @ y.T + y @ x.T) / (21 * 32)
    assert found.covariance() == pytest.approx(expected)
    assert found.values == pytest.approx([roc_auc_score(positive, row) for row in scores])


def test_a_large_group_has_less_left_to_differ_by() -> None:
    """By hand: of the positives one group holds 4 of 6, of the negatives each of four a quarter."""
    positive, groups = np.repeat([True, False], [6, 4]), np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    scores = np.array([[5.0, 6, 7, 1.5, 2.5, 9, 1, 2, 3, 8]])
    found = estimate_auc(scores, positive, groups=groups)
    # of the four negatives 3, 3, 3, 1, 2 and 4 are below each: 16 of 24 pairs; groups: 10 - 8/3 * 4, 2 - 8/3, 4 - 8/3
    assert found.values[0] == pytest.approx(2 / 3)
    first = [((10 - 32 / 3) / 24) ** 2 / (1 / 3), ((2 - 8 / 3) / 24) ** 2 / (5 / 6), ((4 - 8 / 3) / 24) ** 2 / (5 / 6)]
    # of the six positives 6, 5, 4 and 1 are above each: less 4, these are 2, 1, 0 and -3
    second = [(value / 24) ** 2 / (3 / 4) for value in (2, 1, 0, -3)]
    assert found.covariance()[0, 0] == pytest.approx(sum(first) + sum(second))
    one, two = sum(first), sum(second)  # 36 / 18 = 2 groups tell as much as those of 4, 1 and 1
    welch = (one + two) ** 2 / (one**2 / (2 - 1) + two**2 / (4 - 1))
    assert found.degrees_of_freedom(np.ones(1)) == pytest.approx(welch)


@pytest.mark.parametrize(("sizes", "tested"), [((10, 10, 10), False), ((8, 8, 8, 8), True)])
def test_few_groups_of_a_class_prove_nothing(sizes: tuple[int, ...], tested: bool) -> None:
    """Of equally good scores about 7 of 100 samples with four groups are called different; with three none is."""
    generator, count = np.random.default_rng(0), sum(sizes)
    groups = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), 10 + np.arange(240) // 8])
    positive = np.arange(count + 240) < count
    found = []
    for _ in range(200 if tested else 1):
        skill = 0.7 * generator.normal(size=count + 240) + 1.2 * positive
        noise = generator.normal(size=(2, 60))[:, groups] + generator.normal(size=(2, count + 240))
        found.append(auc_difference(*(skill + 0.7 * noise), positive, groups=groups))
    assert all((one.p_value is not None) == (one.interval is not None) == tested for one in found)
    assert sum(one.p_value is not None and one.p_value <= 0.05 for one in found) <= 0.11 * len(found)


def test_groups_of_one_photo_are_none() -> None:
    alone = estimate_auc(SCORES, HELPED, groups=np.arange(len(HELPED)))
    assert alone.covariance() == pytest.approx(estimate_auc(SCORES, HELPED).covariance())


def test_folds_compare_only_their_own_photos() -> None:
    """A shift of one fold's scores changes nothing; the area is the share of all pairs within folds in order."""
    generator = np.random.default_rng(2)
    folds = np.arange(60) % 3
    positive = generator.random(60) < 0.4
    scores = generator.normal(size=60) + positive
    within = [placed(scores[folds == k], positive[folds == k]) for k in range(3)]
    found = estimate_auc(scores, positive, folds=folds)
    assert found.values[0] == pytest.approx(sum(p.sum() for p in within) / sum(p.size for p in within))
    assert found.values[0] == pytest.approx(Ranking(positive, scores, folds).auc())
    shifted = estimate_auc(scores + 10 * folds, positive, folds=folds)
    assert shifted.values == pytest.approx(found.values)
    assert shifted.covariance() == pytest.approx(found.covariance())
    assert estimate_auc(scores + 10 * folds, positive).values[0] < found.values[0]
    one = estimate_auc(scores, positive, folds=np.zeros(60))
    assert one.covariance() == pytest.approx(estimate_auc(scores, positive).covariance())


def test_the_variance_is_that_of_many_samples() -> None:
    """With folds and with groups: the mean of 300 variances is within a fifth of the variance of 300 areas."""
    generator = np.random.default_rng(3)
    for grouped in (False, True):
        areas, variances = [], []
        for _ in range(300):
            groups = np.arange(60) // 4 if grouped else None
            positive = generator.random(60) < 0.5
            scores = generator.normal(size=60) + positive + (generator.normal(size=15)[np.arange(60) // 4] * grouped)
            found = estimate_auc(scores, positive, groups=groups, folds=None if grouped else np.arange(60) % 3)
            areas.append(found.values[0])
            variances.append(found.covariance()[0, 0])
        assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.2)
