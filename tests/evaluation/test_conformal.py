"""Conformal sets, against what follows by hand from exchangeable photos: no simulation is needed for the promise."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from regraft.errors import DataError, OptionError
from regraft.evaluation.conformal import (
    MOST_KEPT,
    ConformalFigures,
    Coverage,
    HeldOutScores,
    _share_of_each,
    nested_sets,
)
from regraft.evaluation.report import Report

PHOTOS = "photos"


def held_out(scores: Any, labels: Any = None, groups: Any = None, *, classes: int = 2) -> HeldOutScores:
    """Return held-out scores of photos, of which all are of class 0 where nothing else is said."""
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.zeros(len(scores), dtype=np.int64) if labels is None else np.asarray(labels)
    probabilities = np.repeat(((1 - scores) / (classes - 1))[:, None], classes, axis=1)
    probabilities[np.arange(len(scores)), labels] = scores
    return HeldOutScores.of(probabilities, labels, None if groups is None else np.asarray(groups))


@pytest.mark.parametrize(("count", "share", "rank"), [(19, 0.95, 1), (39, 0.95, 2), (9, 0.9, 1), (25, 0.9, 2)])
def test_the_threshold_is_the_kth_smallest_probability(count: int, share: float, rank: int) -> None:
    """By k = floor((1 - share)(m + 1))."""
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, count))
    found = held_out(scores).thresholds(Coverage(share, PHOTOS))
    assert found is not None
    assert found.tolist() == [np.float32(np.sort(scores)[rank - 1])] * 2


def test_each_class_has_a_threshold_of_its_own() -> None:
    scores, labels = np.linspace(0.01, 0.99, 60), np.arange(60) % 2
    found = held_out(scores, labels).thresholds(Coverage(0.9))
    assert found is not None  # of 30 photos each the floor(0.1 * 31) = 3rd
    assert found.tolist() == [np.float32(scores[4]), np.float32(scores[5])]


@pytest.mark.parametrize("of", ["classes", PHOTOS])
@pytest.mark.parametrize(("count", "share"), [(20, 0.95), (47, 0.9), (30, 0.8)])
def test_of_exchangeable_photos_exactly_so_many_are_covered(count: int, share: float, of: Any) -> None:
    """Of m + 1 photos any is the new one with equal chance: with distinct scores m + 1 - k of them are in their set.

    So the coverage is (m + 1 - k) / (m + 1), without any other assumption.
    """
    scores, covered = np.random.default_rng(1).random(count), 0
    for new in range(count):
        rest = np.arange(count) != new
        sets = held_out(scores[rest]).sets(np.array([[scores[new], 1 - scores[new]]]), Coverage(share, of))
        assert sets is not None
        covered += int(sets[0, 0])
    rank = math.floor((1 - share) * count + 1e-9)
    assert covered == count - rank


def test_coverage_varies_as_an_order_statistic_does() -> None:
    """With uniform scores the coverage of one fit is 1 - t, a beta variable: mean and spread are known."""
    generator, count, rank, draws = np.random.default_rng(2), 39, 2, 400
    found = [held_out(generator.random(count)).thresholds(Coverage(0.95, PHOTOS)) for _ in range(draws)]
    coverages = 1 - np.array([one[0] for one in found if one is not None])
    known = beta(count + 1 - rank, rank)
    assert len(coverages) == draws
    assert abs(coverages.mean() - known.mean()) < 4 * known.std() / math.sqrt(draws)
    assert coverages.std() == pytest.approx(known.std(), rel=0.15)


@pytest.mark.parametrize("share", [0.8, 0.9])
def test_a_group_counts_as_one_however_many_photos_it_has(share: float) -> None:
    """With any of the groups as the new one, at least `share` of a group's photos are covered, the mean of all groups.

    Groups are alike inside, and large where they are hard: with every photo counted by itself too many would be missed.
    """
    generator, groups = np.random.default_rng(3), 40
    levels = np.sort(generator.random(groups))
    sizes = np.where(levels < 0.3, 12, 1)  # the hard ones
    group = np.repeat(np.arange(groups), sizes)
    scores = np.clip(levels[group] + 0.01 * generator.random(len(group)), 0, 1)
    missed = np.zeros(groups)
    for new in range(groups):
        own = group == new
        known = held_out(scores[~own], groups=group[~own])
        sets = known.sets(np.stack([scores[own], 1 - scores[own]], axis=1), Coverage(share, PHOTOS))
        assert sets is not None
        missed[new] = 1 - sets[:, 0].mean()
    rank = math.floor((1 - share) * groups + 1e-9)
    assert missed.mean() <= 1 - share + 1e-9
    assert missed.mean() > (rank - 1) / groups  # nor is it wider than it must be: less than a group is given away


def test_groups_of_one_are_photos() -> None:
    scores = np.random.default_rng(4).random(30)
    assert held_out(scores, groups=np.arange(30)[::-1]).groups is None
    few = held_out(scores, groups=np.arange(30) // 2)
    assert few.thresholds(Coverage(0.95, PHOTOS)) is None  # 15 groups, of 19 that it takes
    assert few.thresholds(Coverage(0.9, PHOTOS)) is not None


def test_classes_with_too_few_photos_share_a_threshold() -> None:
    """Of 95 % it takes 19: classes of 4 and 5 are too few together, so that of 20, the next smallest, joins them."""
    labels = np.repeat([0, 1, 2, 3], [30, 4, 5, 20])
    scores = np.random.default_rng(5).random(59)
    known = held_out(scores, labels, classes=4)
    assert known.pooled(Coverage(0.95)) == [1, 2, 3]
    found = known.thresholds(Coverage(0.95))
    assert found is not None
    assert found.tolist() == [np.float32(scores[labels == 0].min()), *[np.float32(scores[labels > 0].min())] * 3]
    assert known.pooled(Coverage(0.8)) == []  # which takes 4
    assert known.pooled(Coverage(0.9)) == [1, 2]  # which takes 9: just these two have them together
    assert known.pooled(Coverage(0.95, PHOTOS)) == []


def test_a_class_that_nothing_is_held_out_of_joins_the_smallest() -> None:
    labels, scores = np.repeat([0, 2], [40, 25]), np.random.default_rng(6).random(65)
    known = held_out(scores, labels, classes=3)
    found = known.thresholds(Coverage(0.9))
    assert found is not None
    second = float(np.float32(np.sort(scores[labels == 2])[1]))  # of 25 the floor(0.1 * 26) = 2nd
    assert found.tolist() == [np.float32(np.sort(scores[labels == 0])[3]), second, second]


def test_probabilities_that_round_to_one_are_covered() -> None:
    """Scores are kept as float32, where 1 - 1e-9 is 1: a new photo with the same probability must not fall short."""
    sure = 1 - 1e-9
    sets = held_out([sure] * 30).sets(np.array([[sure, 1 - sure], [0.5, 0.5]]), Coverage(0.9, PHOTOS))
    assert sets is not None
    assert sets.tolist() == [[True, False], [False, False]]


def test_what_can_be_promised_is_said() -> None:
    known = held_out(np.linspace(0, 1, 18))
    assert known.thresholds(Coverage(0.95)) is None
    assert known.sets(np.array([[0.5, 0.5]]), Coverage(0.95)) is None
    with pytest.raises(DataError) as failed:
        known.check(Coverage(0.95))
    assert str(failed.value) == (
        "coverage of 95 % takes at least 19 held-out photos to be promised. The classifier was evaluated on 18, which "
        "allow for 94.7 % at most. Ask for less, or fit it with more."
    )
    known.check(Coverage(0.947))  # 18 / 19
    with pytest.raises(DataError, match="takes at least 19 held-out groups of photos"):
        held_out(np.linspace(0, 1, 18), groups=np.arange(18) // 2).check(Coverage(0.95))


@pytest.mark.parametrize(
    ("given", "share"), [("0.95", 0.95), ("95%", 0.95), (" 99.9 % ", 0.999), (0.9, 0.9), (np.float64(0.5), 0.5)]
)
def test_a_coverage_is_a_share_or_in_percent(given: Any, share: float) -> None:
    assert Coverage.read(given) == Coverage(pytest.approx(share), "classes")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["95", "1", "0", "100%", "most", "0.9 for dog", "-0.5", "nan", True])
def test_what_is_no_coverage_is_refused(given: Any) -> None:
    with pytest.raises(OptionError) as failed:
        Coverage.read(given)
    assert str(failed.value) == f"coverage must be a share above 0 and below 1, like 0.95 or 95%. Got {given!r}."


def test_whose_coverage_is_one_of_two() -> None:
    with pytest.raises(OptionError, match=r"^coverage_of must be one of classes, photos\. Got 'class'\.$"):
        Coverage.read(0.9, "class")


def test_scores_come_back() -> None:
    known = held_out(np.random.default_rng(7).random(30), np.arange(30) % 2, np.arange(30) // 3)
    back = HeldOutScores.from_state(known.state(), classes=2)
    for name, array in known.state().items():
        assert back.state()[name].tolist() == array.tolist()
    assert held_out([0.5]).state().keys() == {"scores", "labels"}


def test_the_order_of_what_is_kept_says_nothing() -> None:
    generator, scores = np.random.default_rng(8), np.linspace(0, 1, 40)
    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    states = []
    for _ in range(2):
        order = generator.permutation(40)
        numbers = generator.permutation(10)
        states.append(held_out(scores[order], labels[order], numbers[groups[order]]).state())
    for name, array in states[0].items():
        assert array.tolist() == states[1][name].tolist()


def test_of_many_photos_each_class_keeps_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 395, 5])
    kept = _share_of_each(labels, 100)
    assert np.bincount(labels[kept]).tolist() == [60, 40, 1]  # a tenth, rounded up
    assert len(np.unique(kept)) == len(kept)
    many = np.zeros(MOST_KEPT + 1, dtype=np.int64)
    assert len(held_out(np.full(len(many), 0.5), many).scores) == MOST_KEPT


F32, I32 = np.float32, np.int32


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scores": np.full(3, 0.5)}, "held_out.scores must be float32 of 1 to 20,000 photos"),
        ({"scores": np.empty(0, F32)}, "held_out.scores must be float32"),
        ({"scores": np.full((3, 1), 0.5, F32)}, r"Got shape \(3, 1\)"),
        ({"scores": np.array([0.5, 1.5, 0.5], F32)}, "held_out.scores must be probabilities from 0 to 1"),
        ({"scores": np.array([0.5, np.nan, 0.5], F32)}, "held_out.scores must be probabilities from 0 to 1"),
        ({"labels": np.zeros(2, I32)}, "held_out.labels must be int32 from 0 to 1, one for each of 3 photos"),
        ({"labels": np.array([0, 2, 0], I32)}, "held_out.labels must be int32 from 0 to 1"),
        ({"labels": np.array([0, -1, 0], I32)}, "held_out.labels must be"),
        ({"labels": np.zeros(3, np.int64)}, "held_out.labels must be int32"),
        ({"groups": np.array([0, 1, 3], I32)}, "held_out.groups must be int32 from 0 to 2"),
        ({"groups": np.zeros(0, I32)}, "held_out.groups must be int32 from 0 to 2"),
    ],
)
def test_what_no_regraft_writes_is_refused(change: dict[str, np.ndarray], told: str) -> None:
    state = {"scores": np.full(3, 0.5, F32), "labels": np.zeros(3, I32)} | change
    with pytest.raises(ValueError, match=told):
        HeldOutScores.from_state(state, classes=2)


@pytest.mark.parametrize("name", ["scores", "labels"])
def test_what_is_missing_is_named(name: str) -> None:
    state = {"scores": np.full(3, 0.5, F32), "labels": np.zeros(3, I32)}
    del state[name]
    with pytest.raises(ValueError, match=f"held_out.{name} must be"):
        HeldOutScores.from_state(state, classes=2)


def test_each_fold_has_the_thresholds_of_the_others() -> None:
    generator = np.random.default_rng(9)
    first = generator.random(60)
    probabilities, labels, folds = np.stack([first, 1 - first], axis=1), np.arange(60) % 2, np.arange(60) // 2 % 3
    sets = nested_sets(probabilities, labels, folds, coverage=Coverage(0.9))
    assert sets is not None
    for fold in range(3):
        for label in range(2):
            others = probabilities[(folds != fold) & (labels == label), label]
            assert len(others) == 20  # of which the 2nd smallest
            expected = probabilities[folds == fold, label] >= np.sort(others)[1] - 1e-7
            assert sets[folds == fold, label].tolist() == expected.tolist()
    assert nested_sets(probabilities[:27], labels[:27], folds[:27], coverage=Coverage(0.95)) is None  # 18 in the others


@pytest.fixture
def figures() -> ConformalFigures:
    """Return figures of 20 photos of "a" and 5 of "b": 18 + 4 are held, 1 set is empty, 3 hold both."""
    labels = np.repeat([0, 1], [20, 5])
    sets = np.zeros((25, 2), dtype=bool)
    sets[:18, 0] = sets[18, 1] = sets[20:24, 1] = True  # the 19th is wrong, the 20th empty
    sets[[0, 1, 20], :] = True
    sets[24, 0] = True
    return ConformalFigures.of_sets(sets, labels, ("a", "b"), Coverage(0.9))


def test_figures_of_sets(figures: ConformalFigures) -> None:
    assert (figures.coverage, figures.of) == (0.9, "classes")
    assert figures.held == 22 / 25
    assert figures.mean_size == (21 * 1 + 3 * 2) / 25
    assert (figures.empty, figures.several) == (1 / 25, 3 / 25)
    for bounds, count, of in (
        (figures.held_interval, 22, 25),
        (figures.empty_interval, 1, 25),
        (figures.several_interval, 3, 25),
        (figures.per_class["a"].held_interval, 18, 20),
        (figures.per_class["b"].held_interval, 4, 5),
    ):
        wilson = binomtest(count, of).proportion_ci(method="wilson")
        assert bounds == pytest.approx((wilson.low, wilson.high))
    sizes = np.repeat([0, 1, 2], [1, 21, 3])
    half = 1.959964 * sizes.std(ddof=1) / 5
    assert figures.mean_size_interval == pytest.approx((1.08 - half, 1.08 + half), rel=1e-6)
    assert figures.line() == (
        "sets of 90 %: hold the true class in 88.0 % [70.0, 95.8], 1.08 classes on average; 4 % empty, 12 % several"
    )


def test_a_class_without_photos_has_no_coverage() -> None:
    found = ConformalFigures.of_sets(np.ones((3, 2), dtype=bool), np.zeros(3, dtype=int), ("a", "b"), Coverage())
    assert (found.per_class["b"].held, found.per_class["b"].held_interval) == (None, None)
    assert found.per_class["a"].held == 1.0


def test_figures_stand_in_the_report(figures: ConformalFigures) -> None:
    plain = Report.from_probabilities(np.eye(2), np.arange(2), ("a", "b"), estimate="test", resamples=5)
    assert plain.to_json()["conformal"] is None
    report = Report(**{**vars(plain), "conformal": figures})
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["conformal"]["per_class"]["a"]["held"] == 0.9
    assert Report.from_json(data).conformal == figures
    assert f"\n  {figures.line()}" in str(report)
    data["conformal"]["per_class"]["c"] = data["conformal"]["per_class"].pop("a")
    with pytest.raises(ValueError, match=r"conformal\.per_class must have the classes"):
        Report.from_json(data)
