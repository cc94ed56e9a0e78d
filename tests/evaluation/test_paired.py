"""Paired differences: by hand where that is possible, narrower than unpaired ones, and on the right side."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, log_loss

from regraft.evaluation.paired import Difference, paired_differences


def made_up(n: int, skill: float, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) probabilities and (n,) labels; what makes a photo hard depends on the photo alone."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, n)
    hardness = generator.normal(size=n)
    scores = skill * (2 * labels - 1) + hardness + noise * np.random.default_rng(seed).normal(size=n)
    return softmax(np.stack([np.zeros(n), scores], axis=1), axis=1), labels


def test_a_classifier_does_not_differ_from_itself() -> None:
    probabilities, labels = made_up(60, 1.0, 1)
    for difference in paired_differences(probabilities, probabilities, labels, positive=1, resamples=50).values():
        assert difference.value == 0
        assert difference.interval == (0, 0)
        assert difference.verdict == "not proven"


def test_values_are_differences_of_the_figures() -> None:
    (a, labels), (b, _) = made_up(200, 2.0, 1), made_up(200, 1.0, 2)
    found = paired_differences(a, b, labels, positive=1, resamples=50)
    assert found["accuracy"].value == pytest.approx(np.mean(a.argmax(1) == labels) - np.mean(b.argmax(1) == labels))
    assert found["log_loss"].value == pytest.approx(log_loss(labels, a) - log_loss(labels, b))
    ours, theirs = (average_precision_score(labels, p[:, 1]) for p in (a, b))
    assert found["average_precision"].value == pytest.approx(ours - theirs)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    """The interval of a mean difference is 1.96 standard errors of the photos' own differences wide, either way."""
    (a, labels), (b, _) = made_up(400, 1.5, 1, noise=0.1), made_up(400, 1.0, 2, noise=0.1)
    found = paired_differences(a, b, labels, resamples=2000)["log_loss"]
    rows = np.arange(400)
    gaps = np.log(b[rows, labels]) - np.log(a[rows, labels])
    half = 1.96 * gaps.std(ddof=1) / 20
    assert found.interval is not None
    assert (found.interval[1] - found.interval[0]) / 2 == pytest.approx(half, rel=0.1)
    alone = 1.96 * np.hypot(*(np.log(p[rows, labels]).std(ddof=1) for p in (a, b))) / 20
    assert half < alone / 3


def test_verdicts_know_which_way_is_better() -> None:
    (a, labels), (b, _) = made_up(500, 3.0, 1), made_up(500, 0.5, 2)
    better = paired_differences(a, b, labels, positive=1, resamples=200)
    worse = paired_differences(b, a, labels, positive=1, resamples=200)
    for metric in ("accuracy", "auc", "log_loss", "brier"):
        assert (better[metric].verdict, worse[metric].verdict) == ("better", "worse")
    assert Difference("accuracy", 0.1, (-0.1, 0.3)).verdict == "not proven"
    assert Difference("auc", 0.1, None).verdict == "not proven"


def test_groups_are_drawn_whole() -> None:
    (a, labels), (b, _) = made_up(100, 1.5, 1), made_up(100, 1.0, 2)
    groups = np.arange(100)
    copies = [np.concatenate([x] * 4) for x in (a, b, labels, groups)]
    one = paired_differences(a, b, labels, groups=groups, resamples=400)["log_loss"]
    four = paired_differences(*copies[:3], groups=copies[3], resamples=400)["log_loss"]
    assert one.interval == pytest.approx(four.interval)
