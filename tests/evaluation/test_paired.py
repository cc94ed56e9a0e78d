"""Paired differences: by hand where that is possible, narrower than unpaired ones, and on the right side."""

import numpy as np
import pytest
from benchmarks.comparisons import CrossValidated
from scipy.special import softmax, stdtrit
from scipy.stats import ttest_1samp
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from tests.marks import some_slow

from regraft.evaluation.paired import Difference, paired_differences


def made_up(n: int, skill: float, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) probabilities and (n,) labels; what makes a photo hard depends on the photo alone."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, n)
    hardness = generator.normal(size=n)
    scores = skill * (2 * labels - 1) + hardness + noise * np.random.default_rng(seed).normal(size=n)
    return softmax(np.stack([np.zeros(n), scores], axis=1), axis=1), labels


def test_a_classifier_does_not_differ_from_itself() -> None:
    """Its losses are known not to; that 60 answers agree leaves it open whether others would."""
    probabilities, labels = made_up(60, 1.0, 1)
    found = paired_differences(probabilities, probabilities, labels, positive=1, resamples=50)
    assert {difference.value for difference in found.values()} == {0}
    assert {difference.p_value for difference in found.values()} == {1}
    assert {difference.verdict for difference in found.values()} == {"not proven"}
    assert found["log_loss"].interval == found["brier"].interval == (0, 0)
    assert found["accuracy"].interval == pytest.approx((-0.0602, 0.0602), abs=1e-4)  # 1.96^2 / (60 + 1.96^2)


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


def right(*patterns: tuple[bool, int]) -> np.ndarray:
    """Return (n, 2) probabilities that are right or wrong on photos of class 1, in runs of so many."""
    correct = np.concatenate([np.full(count, value) for value, count in patterns])
    return np.stack([np.where(correct, 0.2, 0.8), np.where(correct, 0.8, 0.2)], axis=1)


def test_four_won_and_none_lost_are_chance() -> None:
    """The interval of Tango would leave 0 out, the exact test does not; of six both do."""
    for won, p_value, verdict in ((4, 2 / 16, "not proven"), (6, 2 / 64, "better")):
        a, b = right((True, 100)), right((False, won), (True, 100 - won))
        found = paired_differences(a, b, np.ones(100, dtype=int), resamples=2)["accuracy"]
        assert (found.value, found.only_a, found.only_b) == (won / 100, won, 0)
        assert found.p_value == pytest.approx(p_value)
        assert found.verdict == verdict


def test_photos_of_one_group_are_won_together() -> None:
    """Of 20 groups, twenty photos won in four groups are four; in six groups they are six."""
    groups = np.arange(100) // 5
    for taken, verdict in ((4, "not proven"), (6, "better")):
        a, b = right((True, 100)), right((False, 5 * taken), (True, 100 - 5 * taken))
        found = paired_differences(a, b, np.ones(100, dtype=int), groups=groups, resamples=2)["accuracy"]
        assert found.only_a == 5 * taken
        assert found.p_value >= 2 * 0.5**taken - 1e-12
        assert found.verdict == verdict


def test_balanced_accuracy_by_hand() -> None:
    """Ten photos of class 0, two won and none lost; 30 of class 1, three won and six lost: 0.2 / 2 - 0.1 / 2 = 0.05.

    Variance of the classes' means: (0.4^2 2 + ...) as below, each half's a quarter.
    """
    labels = np.repeat([0, 1], [10, 30])
    a, b = np.repeat([True, False, True], [34, 3, 3]), np.repeat([False, True, False, True], [2, 32, 0, 6])
    b[[34, 35, 36]] = True
    b[10:13], a[37:] = False, False
    probabilities = [np.eye(2)[np.where(answers, labels, 1 - labels)] for answers in (a, b)]
    found = paired_differences(*probabilities, labels, resamples=2)["balanced_accuracy"]
    differences = a.astype(float) - b
    first, second = differences[:10], differences[10:]
    assert found.value == pytest.approx(first.mean() / 2 + second.mean() / 2) == pytest.approx(0.05)
    variance = np.sum((first - first.mean()) ** 2) / (2 * 10) ** 2 + np.sum((second - second.mean()) ** 2) / 60**2
    half = stdtrit(39, 0.975) * np.sqrt(40 / 39 * variance)
    assert found.interval == pytest.approx((0.05 - half, 0.05 + half))


def test_losses_are_compared_by_student() -> None:
    (a, labels), (b, _) = made_up(40, 1.5, 1), made_up(40, 1.0, 2)
    found = paired_differences(a, b, labels, resamples=2)["log_loss"]
    gaps = np.log(b[np.arange(40), labels]) - np.log(a[np.arange(40), labels])
    expected = ttest_1samp(gaps, 0.0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-4)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_one_class_in_some_folds_leaves_auc_to_the_others() -> None:
    (a, labels), (b, _) = made_up(60, 1.5, 1), made_up(60, 1.0, 2)
    folds = np.where(labels == 1, 0, np.arange(60) % 2)
    found = paired_differences(a, b, labels, positive=1, folds=folds, resamples=2)["auc"]
    own = folds == 0
    expected = [roc_auc_score(labels[own], probabilities[own, 1]) for probabilities in (a, b)]
    assert found.value == pytest.approx(expected[0] - expected[1])


@pytest.mark.parametrize("grouped", some_slow([False, True], {False}))
def test_chance_is_called_proven_in_one_of_twenty_cases_at_most(grouped: bool) -> None:
    """300 samples of 60 photos, each answered by two classifiers that are alike in all.

    At 5 % each, 25 or more of 300 are one case in a hundred (binomial). `benchmarks/comparisons.py` has more.
    """
    generator = np.random.default_rng(0)
    proven = dict.fromkeys(("accuracy", "balanced_accuracy", "log_loss", "brier", "auc"), 0)
    groups = np.arange(60) // 4 if grouped else None
    shared = np.arange(60) // 4 if grouped else np.arange(60)
    for _ in range(300):
        labels = generator.integers(0, 2, 60)
        hard = 1.5 * (2 * labels - 1) + generator.normal(size=60)
        a, b = (
            softmax(np.stack([np.zeros(60), hard + generator.normal(size=60)[shared]], axis=1), axis=1) for _ in "ab"
        )
        found = paired_differences(a, b, labels, positive=1, groups=groups, resamples=2)
        for name in proven:
            proven[name] += found[name].verdict != "not proven"
    assert max(proven.values()) < 25, proven
    assert proven["log_loss"] > 3  # and no test is deaf


def test_differences_out_of_fold_are_known_less_well() -> None:
    """One and a half times the error in five folds; six photos won and none lost prove nothing then."""
    (a, labels), (b, _) = made_up(100, 1.5, 1), made_up(100, 1.0, 2)
    folds = np.arange(100) % 5
    plain, within = (paired_differences(a, b, labels, folds=f, resamples=2) for f in (None, folds))
    for name in ("log_loss", "brier"):
        assert np.diff(within[name].interval) == pytest.approx(1.5 * np.diff(plain[name].interval))
        assert within[name].p_value > plain[name].p_value
    a, b = right((True, 100)), right((False, 6), (True, 94))
    found = paired_differences(a, b, np.ones(100, dtype=int), folds=folds, resamples=2)["accuracy"]
    assert found.p_value > 0.05
    assert found.verdict == "not proven"


@pytest.mark.slow
def test_out_of_fold_chance_is_called_proven_in_one_of_twenty_cases_at_most() -> None:
    """Two networks whose features of the same photos differ by noise alone, 100 times: 11 or more are one in a hundred.

    Without the widening of folds it would be about 15.
    """
    generator, proven = np.random.default_rng(0), 0
    case = CrossValidated(60)
    for _ in range(100):
        sample = case.draw(generator)
        found = paired_differences(*sample.probabilities, sample.labels, folds=sample.folds, resamples=2)["log_loss"]
        proven += found.verdict != "not proven"
    assert proven < 11
