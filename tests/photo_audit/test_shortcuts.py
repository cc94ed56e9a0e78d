"""What gives classes away is found, and what does not is not: by hand, and by simulation."""

import numpy as np
import pytest
from tests.marks import some_slow

from regraft.evaluation.intervals import wilson
from regraft.images.headers import Header
from regraft.images.measures import MEASURES
from regraft.photo_audit.cues import Cue, Names, Numbers, file_cues, pixel_cues
from regraft.photo_audit.shortcuts import CueScore, score_cues
from regraft.photo_audit.words import giveaway_in_words


def folds_of(labels: np.ndarray, count: int = 5) -> np.ndarray:
    """Return folds that deal the photos of each class out in turn."""
    folds = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        folds[labels == label] = np.arange((labels == label).sum()) % count
    return folds


def names(values: list[str], *, of_file: bool = True) -> Cue:
    return Cue("cue", of_file, (Names(np.array(values, dtype=object), "are {}".format),))


def numbers(values: np.ndarray, *, of_file: bool = False) -> Cue:
    return Cue("cue", of_file, (Numbers(values, lambda bound, value: f"have {bound} {value:.0f}"),))


def score(cue: Cue, labels: np.ndarray, folds: np.ndarray | None = None, **more: np.ndarray) -> CueScore:
    (found,) = score_cues([cue], labels, folds_of(labels) if folds is None else folds, **more)
    return found


def test_a_cue_that_is_the_label() -> None:
    labels = np.repeat([0, 1], 40)
    headers = [Header(1024, 1024) if label == 0 else Header(640, 480 + place) for place, label in enumerate(labels)]
    (cue,) = file_cues(headers)
    found = score(cue, labels)
    assert (found.accuracy, found.chance) == (1.0, 0.5)
    # one cue alone has the whole 5 %, and all of 80 independent photos are right
    assert found.interval == pytest.approx(wilson(80, 80))
    assert found.far_above_chance
    giveaway = found.giveaway
    assert giveaway is not None
    assert (giveaway.label, giveaway.share, giveaway.share_of_others) == (0, 1.0, 0.0)
    assert giveaway.has.tolist() == (labels == 0).tolist()
    said = giveaway_in_words(giveaway, ["covid", "normal"])
    assert said == "class covid: all are 1,024 x 1,024 pixels, of the others none"


def test_a_number_is_told_apart_at_a_threshold() -> None:
    labels = np.repeat([0, 1, 2], 40)
    values = np.where(labels == 2, 200.0, 100.0) + np.arange(120) % 10
    found = score(numbers(values, of_file=True), labels)
    assert found.giveaway is not None
    assert giveaway_in_words(found.giveaway, "abc") == "class c: all have at least 200, of the others none"
    assert found.accuracy == pytest.approx(2 / 3, abs=0.1)  # a and b are guessed: 40 of 80, with a spread of 4.5
    assert found.far_above_chance


@pytest.mark.parametrize("each", [4, 8, 20, 25, 100])
def test_a_number_that_is_the_label_scores_1_of_few_photos_too(each: int) -> None:
    labels = np.repeat([0, 1], each)
    values = 100.0 * labels + np.random.default_rng(each).permutation(2 * each) / each
    found = score(numbers(values), labels)
    assert found.accuracy == 1
    assert found.giveaway is not None
    assert (found.giveaway.share, found.giveaway.share_of_others) == (1, 0)


def test_shares_and_accuracy_by_hand() -> None:
    # 30 of 40 a and 10 of 40 b are PNG: whoever answers a for these is right in 3/4 of each class
    labels = np.repeat([0, 1], 40)
    values = ["PNG"] * 30 + ["JPEG"] * 10 + ["PNG"] * 10 + ["JPEG"] * 30
    found = score(names(values), labels)
    assert found.accuracy == pytest.approx(0.75)
    assert found.giveaway is not None
    assert (found.giveaway.share, found.giveaway.share_of_others) == (0.75, 0.25)
    assert not found.giveaway.clear
    assert found.far_above_chance == ((wilson(60, 80)[0] - 0.5) / 0.5 >= 0.2)


def test_what_pixels_give_away_must_be_farther_from_chance_than_what_files_do() -> None:
    labels = np.repeat([0, 1], 200)
    values = (["x"] * 140 + ["y"] * 60) + (["x"] * 60 + ["y"] * 140)
    low = wilson(280, 400)[0]  # 0.65: 0.31 of the way from chance to certainty
    assert 0.2 < (low - 0.5) / 0.5 < 0.35
    assert score(names(values), labels).far_above_chance
    assert not score(names(values, of_file=False), labels).far_above_chance


def test_the_level_is_divided_by_the_number_of_cues() -> None:
    labels = np.repeat([0, 1], 40)
    cue = names(["x" if label else "y" for label in labels])
    for count in (1, 10):
        (found, *_) = score_cues([cue] * count, labels, folds_of(labels))
        assert found.interval == pytest.approx(wilson(80, 80, 1 - 0.05 / count))


def test_one_class_of_twenty_that_is_all_png() -> None:
    labels = np.arange(400) % 20
    found = score(names(["PNG" if label == 7 else "JPEG" for label in labels]), labels)
    # two classes are told apart, the other 18 answered with one of 19: accuracy 2/20, little above chance
    assert found.accuracy == pytest.approx(2 / 20, abs=0.02)
    assert found.interval is not None
    assert (found.interval[0] - 0.05) / 0.95 < 0.2
    assert found.giveaway is not None
    assert found.giveaway.clear
    assert found.far_above_chance
    assert (
        giveaway_in_words(found.giveaway, [f"c{k}" for k in range(20)]) == "class c7: all are PNG, of the others none"
    )
    pixels = score(names(["PNG" if label == 7 else "JPEG" for label in labels], of_file=False), labels)
    assert not pixels.far_above_chance  # that one class is brighter than others may be the subject


def test_three_photos_are_not_enough_to_be_clear() -> None:
    labels = np.array([0] * 57 + [1] * 3)
    found = score(names(["PNG" if label else "JPEG" for label in labels]), labels)
    assert found.giveaway is not None
    assert found.giveaway.share == 1
    # 97.5 % of three photos: from 0.37 on
    assert wilson(3, 3, 0.975)[0] - wilson(0, 57, 0.975)[1] < 0.5
    assert not found.giveaway.clear


def test_photos_in_no_fold_are_learned_from_and_not_asked() -> None:
    labels = np.repeat([0, 1], 30)
    values = ["x"] * 30 + ["y"] * 30
    folds = folds_of(labels)
    folds[[0, 1, 58, 59]] = -1
    found = score(names(values), labels, folds)
    assert found.accuracy == 1
    assert found.interval == pytest.approx(wilson(56, 56))
    assert score_cues([names(values)], labels, np.full(60, -1)) == []  # nobody can be asked


def test_groups_widen_the_interval() -> None:
    labels = np.repeat([0, 1], 40)
    cue = names(["x"] * 40 + ["y"] * 40)
    groups = np.arange(80) // 10
    alone, grouped = score(cue, labels), score(cue, labels, groups=groups)
    assert alone.interval is not None
    assert grouped.interval is not None
    # eight groups that do not differ count as eight, and Student's quantile of 7 degrees is 2.3646
    assert grouped.interval == pytest.approx(wilson(8, 8, reach=2.364624), abs=1e-5)
    assert grouped.interval[0] < alone.interval[0]
    rng = np.random.default_rng(0)
    values = ["x" if value else "y" for value in (labels == 0) ^ (rng.random(8) < 0.4)[groups]]
    alone, grouped = (score(names(values), labels, groups=own) for own in (None, groups))  # type: ignore[arg-type]
    assert alone.interval is not None
    assert grouped.interval is not None
    assert np.ptp(grouped.interval) > 1.5 * np.ptp(alone.interval)


def test_values_that_are_missing() -> None:
    labels = np.repeat([0, 1], 30)
    found = score(names(["Canon"] * 30 + [""] * 30), labels)
    assert found.accuracy == 1
    assert found.giveaway is not None
    assert (found.giveaway.label, found.giveaway.words) == (0, "are Canon")
    dated = score(numbers(np.where(labels == 0, 5.0, np.nan), of_file=True), labels)
    assert dated.accuracy == 1
    assert dated.giveaway is not None
    assert (dated.giveaway.label, dated.giveaway.share_of_others) == (0, 0.0)


def test_names_that_are_all_different_say_nothing() -> None:
    labels = np.arange(200) % 2
    found = score(names([f"camera {place}" for place in range(200)]), labels)
    assert found.giveaway is None
    assert not found.far_above_chance
    assert abs(found.accuracy - 0.5) < 0.15


def test_nothing_to_tell_apart() -> None:
    assert score_cues([names(["x", "y"])], np.zeros(2, dtype=int), np.arange(2)) == []
    assert score_cues([], np.arange(10) % 2, np.arange(10) % 5) == []


def test_labels_need_not_be_without_gaps() -> None:
    labels = np.repeat([1, 4], 30)
    found = score(names(["x"] * 30 + ["y"] * 30), labels)
    assert (found.accuracy, found.chance) == (1.0, 0.5)
    assert found.giveaway is not None
    assert found.giveaway.label == 1


@pytest.mark.parametrize("n", [60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("classes", some_slow([2, 5, 20], {5, 20}))
def test_nothing_is_named_of_photos_whose_class_is_drawn(classes: int, n: int) -> None:
    """Ten cues of 29 properties at random: in 50 sets, 5 % are 2.5, and 7 or more have a probability of 1.2 %."""
    named = 0
    for seed in range(50):
        rng = np.random.default_rng([classes, n, seed])
        labels = rng.permutation(np.arange(n) % classes)
        sides, sizes = rng.choice([480, 640, 1024], (n, 2)).tolist(), rng.lognormal(11, 0.5, n).tolist()
        times, kinds = rng.integers(10**9, 16 * 10**8, n).tolist(), rng.integers(0, 2, (n, 3)).tolist()
        headers = [
            Header(*side, int(size), ("JPEG", "PNG")[a], "RGB", ("quality 75", "")[b], ("Canon", "")[c], taken)
            for side, size, taken, (a, b, c) in zip(sides, sizes, times, kinds, strict=True)
        ]
        cues = [*file_cues(headers), *pixel_cues(rng.normal(100, 30, (n, len(MEASURES))))]
        assert len(cues) == 10
        named += any(one.far_above_chance for one in score_cues(cues, labels, folds_of(labels)))
    assert named < 7
