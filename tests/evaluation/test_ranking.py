"""ROC AUC and average precision against scikit-learn's, or worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from regraft.evaluation.ranking import Ranking

N = 200


@pytest.fixture(params=["once each", "as drawn", "fractions"])
def weights(request: pytest.FixtureRequest) -> np.ndarray | None:
    """Return n weights or None; the bootstrap draws some photos twice and some not at all."""
    generator = np.random.default_rng(7)
    drawn = np.bincount(generator.integers(0, N, N), minlength=N).astype(float)
    return {"once each": None, "as drawn": drawn, "fractions": generator.random(N) + 0.1}[request.param]


@pytest.fixture(params=["distinct", "ties", "all equal"])
def scores(request: pytest.FixtureRequest) -> np.ndarray:
    """Return n scores; rounded to tenths there are long runs of equal ones."""
    found = np.random.default_rng(3).random(N)
    return {"distinct": found, "ties": found.round(1), "all equal": np.full(N, 0.5)}[request.param]


def test_auc_and_average_precision(weights: np.ndarray | None, scores: np.ndarray) -> None:
    positive = np.random.default_rng(2).random(N) < 0.3
    ranking = Ranking(positive, scores)
    auc = roc_auc_score(positive, scores, sample_weight=weights)
    average_precision = average_precision_score(positive, scores, sample_weight=weights)
    assert ranking.auc(weights) == pytest.approx(auc, rel=1e-12)
    assert ranking.average_precision(weights) == pytest.approx(average_precision, rel=1e-12)


def test_auc_counts_ties_half() -> None:
    """Pairs of a positive and a negative: 0.8 > 0.3 and 0.8 > 0.5, 0.5 > 0.3, and 0.5 = 0.5 counted half: 3.5 of 4."""
    ranking = Ranking(np.array([True, True, False, False]), np.array([0.8, 0.5, 0.3, 0.5]))
    assert ranking.auc() == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(("scores", "auc"), [([0.9, 0.8, 0.2, 0.1], 1.0), ([0.1, 0.2, 0.8, 0.9], 0.0)])
def test_auc_of_perfect_and_of_perverse_scores(scores: list[float], auc: float) -> None:
    assert Ranking(np.array([True, True, False, False]), np.array(scores)).auc() == auc


def test_average_precision_by_hand() -> None:
    """In order +, -, +: precision 1 at recall 1/2 and 2/3 at recall 1: 1/2 + 1/3."""
    ranking = Ranking(np.array([True, True, False]), np.array([0.9, 0.2, 0.5]))
    assert ranking.average_precision() == pytest.approx(1 / 2 + 1 / 3)


@pytest.mark.parametrize(
    ("positive", "auc", "average_precision"),
    [([], math.nan, math.nan), ([False, False], math.nan, math.nan), ([True, True], math.nan, math.nan)],
)
def test_ranking_of_one_kind_only(positive: list[bool], auc: float, average_precision: float) -> None:
    ranking = Ranking(np.array(positive, bool), np.linspace(0, 1, len(positive)))
    assert ranking.auc() == pytest.approx(auc, nan_ok=True)
    assert ranking.average_precision() == pytest.approx(average_precision, nan_ok=True)


def test_ranking_without_a_drawn_positive() -> None:
    """The bootstrap may draw none of the positives, or no one with the highest score."""
    ranking = Ranking(np.array([True, False, False]), np.array([0.9, 0.5, 0.1]))
    assert math.isnan(ranking.auc(np.array([0.0, 2.0, 1.0])))
    assert math.isnan(ranking.average_precision(np.array([0.0, 2.0, 1.0])))
    last = Ranking(np.array([False, True, False]), np.array([0.9, 0.5, 0.1]))
    assert last.auc(np.array([0.0, 2.0, 1.0])) == 1.0
    assert last.average_precision(np.array([0.0, 2.0, 1.0])) == 1.0


# --- within folds ---


def test_auc_is_of_pairs_within_folds(weights: np.ndarray | None, scores: np.ndarray) -> None:
    """scikit-learn's of each fold, weighted by its pairs (LeDell et al. 2015)."""
    generator = np.random.default_rng(2)
    positive, folds = generator.random(N) < 0.3, generator.integers(0, 4, N) * 3
    counts = np.ones(N) if weights is None else weights
    areas, pairs = [], []
    for fold in np.unique(folds):
        own = folds == fold
        areas.append(roc_auc_score(positive[own], scores[own], sample_weight=counts[own]))
        pairs.append(counts[own & positive].sum() * counts[own & ~positive].sum())
    assert Ranking(positive, scores, folds).auc(weights) == pytest.approx(np.average(areas, weights=pairs), rel=1e-12)


def test_intercepts_of_folds_do_not_count() -> None:
    """Perfect within each fold; all log odds of the second are 5 higher, so that together pairs are wrong."""
    log_odds = np.array([1.0, 2.0, -1.0, -2.0, 6.0, 4.0, 3.0])
    positive, folds = np.array([1, 1, 0, 0, 1, 0, 0], bool), np.array([0, 0, 0, 0, 1, 1, 1])
    scores = 1 / (1 + np.exp(-log_odds))
    assert roc_auc_score(positive, scores) == 8 / 12  # its two negatives come before the first fold's positives
    ranking = Ranking(positive, scores, folds)
    assert (ranking.auc(), ranking.average_precision()) == (1.0, 1.0)


def test_folds_of_one_kind_are_left_out() -> None:
    """The third fold holds negatives alone: no pairs, and the share of positives stays 2 of 7, as if it were there.

    Both positives are behind a negative in their folds: 0.5 of (2 pairs and 2 pairs). Each fold's negatives count 5 / 4
    and its positives 1; in the order -, -, (the positives), -, - ... by log odds that are centred within folds.
    """
    scores = np.array([0.5, 0.6, 0.4, 0.5, 0.6, 0.4, 0.9])
    positive, folds = np.array([1, 0, 0, 1, 0, 0, 0], bool), np.array([1, 1, 1, 2, 2, 2, 3])
    ranking = Ranking(positive, scores, folds)
    assert ranking.auc() == 0.5
    assert ranking.average_precision() == pytest.approx((2 / 7) / (2 / 7 + 5 / 7 * 2 / 4))
    assert ranking.shares.tolist() == [[0.5, 2 / 5], [0.5, 2 / 5], [0.0, 1 / 5]]


def test_folds_of_one_photo_have_no_ranking() -> None:
    """Leave-one-out: no pair is within a fold, and the intercepts alone would rank noise from worst to best."""
    ranking = Ranking(np.array([True, False, True, False]), np.array([0.4, 0.6, 0.4, 0.6]), np.arange(4))
    assert math.isnan(ranking.auc())
    assert math.isnan(ranking.average_precision())


def test_folds_are_no_fault_of_noise() -> None:
    """Scores that are noise but for an intercept that falls with the positives of the fold, as heads have it.

    Within folds the mean AUC of 300 samples is 0.5 to 4 standard errors, and the average precision near the share of
    positives; together they are lower.
    """
    generator = np.random.default_rng(0)
    folds, found = np.arange(60) % 5, []
    for _ in range(300):
        positive = generator.random(60) < 0.3
        own = np.bincount(folds, positive) / np.bincount(folds)
        scores = 1 / (1 + np.exp(generator.normal(size=60) * 0.3 + 3 * own[folds]))
        within, together = Ranking(positive, scores, folds), Ranking(positive, scores)
        found.append((within.auc(), within.average_precision(), together.auc(), together.average_precision()))
    auc, average_precision, *pooled = np.mean(found, axis=0)
    assert auc == pytest.approx(0.5, abs=4 * np.std([one[0] for one in found]) / math.sqrt(300))
    assert pooled[0] < 0.42
    assert 0.3 < average_precision < 0.37  # that of one ranking of 60 is 0.35
    assert pooled[1] < 0.3
