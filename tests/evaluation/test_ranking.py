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
    [([], math.nan, math.nan), ([False, False], math.nan, math.nan), ([True, True], math.nan, 1.0)],
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
