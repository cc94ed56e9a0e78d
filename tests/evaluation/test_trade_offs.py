"""Curves against scikit-learn and the definition of the net benefit, and their bands by simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve, roc_curve

from regraft.evaluation import trade_offs as trade_offs_module
from regraft.evaluation.trade_offs import CURVES, TradeOffs, trade_offs


def drawn(count: int, seed: int, share: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    is_class = generator.uniform(size=count) < share
    return is_class, np.round(norm.cdf(generator.normal(size=count) + 1.2 * is_class - 0.6), 2)


def found_of(is_class: np.ndarray, scores: np.ndarray) -> TradeOffs:
    found = trade_offs(is_class, scores, "malignant")
    assert found is not None
    return found


def test_roc_is_that_of_scikit_learn():
    is_class, scores = drawn(300, 0)
    rates, hits, _ = roc_curve(is_class, scores, drop_intermediate=False)
    top = {rate: hits[rates == rate].max() for rate in rates}  # the highest sensitivity at each rate
    for x, y, low, high in found_of(is_class, scores).roc:
        assert y == pytest.approx(np.interp(x, list(top), list(top.values())), abs=1e-4)
        assert low <= y <= high


def test_precision_is_that_at_the_highest_threshold_that_reaches_the_recall():
    is_class, scores = drawn(300, 1)
    precision, recall, _ = precision_recall_curve(is_class, scores)
    for x, y, low, high in found_of(is_class, scores).precision_recall[1:]:
        place = max(i for i, r in enumerate(recall) if r >= x - 1e-12)  # recall falls as thresholds rise
        assert y == pytest.approx(precision[place], abs=1e-4)
        assert low <= y <= high


def test_net_benefit_by_its_definition():
    is_class, scores = drawn(200, 2)
    found = found_of(is_class, scores)
    for threshold, benefit, low, high in found.net_benefit:
        answered = scores >= threshold
        hits, alarms = (answered & is_class).mean(), (answered & ~is_class).mean()
        assert benefit == pytest.approx(hits - alarms * threshold / (1 - threshold), abs=1e-4)
        assert low <= benefit <= high
    assert found.benefit_of_all(0.2) == pytest.approx(is_class.mean() - (1 - is_class.mean()) / 4)


def test_a_perfect_ranking_has_a_band_too():
    is_class = np.array([True] * 10 + [False] * 10)
    found = found_of(is_class, np.linspace(1, 0, 20))
    x, y, low, _ = found.roc[0]
    assert (x, y) == (0.0, 1.0)
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-4)  # Wilson's lower bound of 10 of 10


def test_folds_of_other_intercepts_are_ranked_as_one() -> None:
    """Two folds rank their photos equally well, one by probabilities a tenth as large: the curve is that of one."""
    is_class, scores = drawn(400, 4)
    odds = np.clip(scores, 0.01, 0.99) / (1 - np.clip(scores, 0.01, 0.99))
    both, folds = np.tile(is_class, 2), np.repeat([0, 1], 400)
    two = np.concatenate([odds / (1 + odds), odds / 10 / (1 + odds / 10)])
    alone = found_of(is_class, odds / (1 + odds))
    within = trade_offs(both, two, "malignant", folds=folds)
    pooled = trade_offs(both, two, "malignant")
    assert within is not None
    assert pooled is not None
    assert [point[1] for point in within.roc] == pytest.approx([point[1] for point in alone.roc], abs=0.02)
    assert sum(point[1] for point in pooled.roc) < sum(point[1] for point in alone.roc) - 1  # worse than either
    assert [point[1] for point in within.net_benefit] == [point[1] for point in pooled.net_benefit]


def test_one_class_alone_has_no_curves():
    assert trade_offs(np.ones(5, dtype=bool), np.ones(5), "a") is None


def test_curves_are_of_bounded_size():
    found = found_of(*drawn(5000, 3))
    assert set(CURVES) == {"roc", "precision_recall", "net_benefit"}
    assert all(len(getattr(found, name)) < 60 for name in CURVES)


@pytest.mark.slow
def test_bands_hold_the_truth_at_most_points(monkeypatch: pytest.MonkeyPatch):
    """Of 80 samples the band at a false alarm rate of 20 % holds the true sensitivity in about 95 %."""
    monkeypatch.setattr(trade_offs_module, "RESAMPLES", 100)  # enough for percentiles of a simulation
    true = 1 - norm.cdf(norm.ppf(0.8) - 1.2)
    held = 0
    for seed in range(80):
        generator = np.random.default_rng(seed)
        is_class = np.arange(120) < 60
        found = found_of(is_class, norm.cdf(generator.normal(size=120) + 1.2 * is_class))
        _, _, low, high = next(point for point in found.roc if point[0] == 0.2)
        held += low <= true <= high
    assert held >= 71  # P(fewer | 95 %) < 0.7 %
