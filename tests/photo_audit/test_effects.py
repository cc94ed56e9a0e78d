"""What findings change in figures: differences by hand, and heads that learned copies by heart."""

import numpy as np
import pytest
from tests.fixtures.learning import dataset_of
from tests.photo_audit.made import made
from tests.photo_audit.test_held_out import clusters

from regraft.photo_audit.effects import (
    Effect,
    effect_of,
    effect_of_copies_across,
    effect_of_groups,
    effect_of_labels,
    effect_of_shortcut,
    listed,
)

WORDS = ("with", "without")


def booleans(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def test_a_paired_difference_by_hand() -> None:
    found = effect_of("likely-mislabelled", WORDS, (booleans("1100"), booleans("1011")), None)
    assert (found.photos, found.accuracy, found.other_accuracy, found.difference) == (4, 0.5, 0.75, 0.25)
    # differences 0, -1, 1, 1: squares about the mean 2.75; standard error sqrt(4 / 3 * 2.75) / 4 = 0.47871
    assert found.interval == pytest.approx((0.25 - 1.959964 * 0.478714, 0.25 + 1.959964 * 0.478714), abs=1e-5)
    assert str(found) == "accuracy 50.0% with, 75.0% without: +25.0 points [-68.8, +118.8], 4 photos"
    assert found.to_json() == {
        "kind": "likely-mislabelled",
        "photos": 4,
        "first": "with",
        "accuracy_first": 0.5,
        "second": "without",
        "accuracy_second": 0.75,
        "difference": 0.25,
        "interval": list(found.interval or ()),
    }


def test_with_groups_by_hand() -> None:
    found = effect_of("near-duplicate", WORDS, (booleans("1100"), booleans("1011")), np.array([5, 5, 2, 2]))
    # sums about the mean -1.5 and 1.5: sqrt(2 / 1 * 4.5) / 4 = 0.75; Student's quantile of one degree is 12.7062
    assert found.interval == pytest.approx((0.25 - 12.7062 * 0.75, 0.25 + 12.7062 * 0.75), abs=1e-3)


def test_too_few_for_an_interval() -> None:
    found = effect_of("near-duplicate", WORDS, (booleans("1"), booleans("0")), None)
    assert found.interval is None
    assert str(found) == "accuracy 100.0% with, 0.0% without: -100.0 points, 1 photos"
    assert found.to_json()["interval"] is None


def test_those_that_there_are() -> None:
    one = Effect("k", "a", "b", 1, 0.0, 1.0, 1.0, None)
    assert listed([None, one, None]) == (one,)


def test_copies_on_both_sides_are_known_by_heart() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    vectors = np.repeat(rng.normal(size=(60, 300)), 2, axis=0).astype("f4")
    photos, everything = made(labels.tolist(), numbers=np.repeat(np.arange(60), 2).tolist()), np.arange(120)
    apart, joined = photos.dataset(everything, pictures=False), photos.dataset(everything)
    found = effect_of_groups("near-duplicate", WORDS, vectors, apart, joined)
    assert found is not None
    assert (found.kind, found.photos) == ("near-duplicate", 120)
    assert found.accuracy > 0.85
    assert abs(found.other_accuracy - 0.5) < 0.2  # three standard errors of 60 pictures
    assert found.difference == pytest.approx(found.other_accuracy - found.accuracy)
    assert found.interval is not None
    assert found.interval[1] < 0


def test_groups_that_are_no_groups_change_nothing() -> None:
    labels = np.arange(60) % 2
    dataset = dataset_of(labels)
    found = effect_of_groups("near-duplicate", WORDS, clusters(labels).astype("f4"), dataset, dataset)
    assert found is not None
    assert (found.difference, found.interval) == (0, (0, 0))


def test_photos_that_cannot_be_held_out_are_not_counted() -> None:
    labels = np.array([0, 1] * 20 + [2, 2])
    groups = np.array([*range(40), 40, 40])
    vectors = clusters(labels).astype("f4")
    found = effect_of_groups("near-duplicate", WORDS, vectors, dataset_of(labels), dataset_of(labels, groups))
    assert found is not None
    assert found.photos == 40
    alone = dataset_of([0, 0, 1, 1], np.array([0, 0, 1, 1]))
    assert effect_of_groups("near-duplicate", WORDS, vectors[:4], alone, alone) is None


def split(n: int, validation: int) -> tuple[np.ndarray, np.ndarray]:
    trained = np.arange(n) < n - validation
    return trained, ~trained


def test_copies_across_the_splits() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(80) % 2)
    vectors = rng.normal(size=(80, 300))
    copied = np.arange(40)  # each of the 40 validation photos is in training, too
    labels, vectors = np.concatenate([labels, labels[copied]]), np.concatenate([vectors, vectors[copied]])
    dataset = dataset_of(labels, np.concatenate([np.arange(80), copied]))
    found = effect_of_copies_across(vectors.astype("f4"), dataset, *split(120, 40))
    assert found is not None
    assert found.photos == 40
    assert found.accuracy > 0.9
    assert abs(found.other_accuracy - 0.5) < 0.24  # three standard errors of 40 photos
    assert found.first == "where training has photos of the validation split"


def test_where_nothing_is_across_there_is_no_effect() -> None:
    labels = np.arange(40) % 2
    vectors, (trained, evaluated) = clusters(labels).astype("f4"), split(40, 10)
    assert effect_of_copies_across(vectors, dataset_of(labels), trained, evaluated) is None  # no groups
    within = dataset_of(labels, np.array([0, 0, *range(2, 40)]))
    assert effect_of_copies_across(vectors, within, trained, evaluated) is None  # both copies are trained on
    assert effect_of_copies_across(vectors, within, np.ones(40, dtype=bool), np.zeros(40, dtype=bool)) is None
    # without the photos of the validation split only one class is left to learn from
    groups = np.array([39 if label else place for place, label in enumerate(labels)])
    assert effect_of_copies_across(vectors, dataset_of(labels, groups), trained, evaluated) is None


def test_without_wrong_labels_nothing_is_left_out() -> None:
    labels = np.arange(90) % 3
    found = effect_of_labels(clusters(labels, apart=6.0).astype("f4"), dataset_of(labels))
    assert found is not None
    assert (found.photos, found.accuracy, found.other_accuracy, found.interval) == (90, 1, 1, (0, 0))


def test_wrong_labels_cost_accuracy_and_those_that_are_evaluated_keep_theirs() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(300) % 2
    wrong = rng.permutation(300) < 60
    labels = np.where(wrong, 1 - true, true)
    found = effect_of_labels(clusters(true, width=60, apart=0.5).astype("f4"), dataset_of(labels))
    assert found is not None
    assert found.photos == 300
    # what is evaluated is not cleaned: nobody is right in more than 80 %, but for chance among the 60
    assert found.other_accuracy <= 0.82
    assert found.difference > 0


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 2]])
def test_few_photos(labels: list[int]) -> None:
    found = effect_of_labels(np.eye(len(labels), dtype="f4"), dataset_of(labels))
    assert found is None or found.photos <= len(labels)
    assert (found is None) == (min(labels.count(0), labels.count(1)) < 3)


def test_labels_of_groups_count_as_groups() -> None:
    labels = np.arange(60) % 2
    vectors = clusters(labels, apart=0.5).astype("f4")
    alone = effect_of_labels(vectors, dataset_of(labels))
    grouped = effect_of_labels(vectors, dataset_of(labels, np.arange(60) // 6))
    assert alone is not None
    assert grouped is not None
    assert grouped.photos == 60


def test_photos_that_contradict_a_shortcut() -> None:
    """45 of 50 that fit it are right, 10 of 20 others. Wilson: [0.78640, 0.95652] and [0.29930, 0.70070]."""
    correct = np.repeat([True, False, True, False], [45, 5, 10, 10])
    found = effect_of_shortcut(WORDS, correct, np.repeat([True, False], [50, 20]))
    assert found is not None
    assert (found.kind, found.photos, found.accuracy, found.other_accuracy) == ("shortcut", 70, 0.9, 0.5)
    # Newcombe: -0.4 - sqrt(0.20070^2 + 0.05652^2), -0.4 + sqrt(0.20070^2 + 0.11360^2)
    assert (found.difference, *(found.interval or ())) == pytest.approx((-0.4, -0.60851, -0.16938), abs=1e-4)


@pytest.mark.parametrize("fitting", [66, 4, 70])
def test_few_photos_say_nothing_of_a_shortcut(fitting: int) -> None:
    assert effect_of_shortcut(WORDS, np.ones(70, dtype=bool), np.arange(70) < fitting) is None


def test_groups_widen_what_a_shortcut_changes() -> None:
    correct, fits = np.tile([True, True, False, False], 20), np.repeat([True, False], 40)
    alone, together = (effect_of_shortcut(WORDS, correct, fits, one) for one in (None, np.arange(80) // 2))
    assert alone is not None
    assert together is not None
    assert (together.interval or (0,))[0] < (alone.interval or (0,))[0]
