"""Likely wrong labels: counted by hand, compared with cleanlab, and simulated."""

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from regraft.evaluation.label_errors import LabelErrors, confident_joint, find_label_errors, probability_wrong

LABELS = np.array([0, 0, 0, 0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7]])


def problem(
    classes: int, n: int, *, flipped: float, seed: int, strength: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities, and which labels are wrong.

    Scores are normal with variance 1 and mean `strength` for the right class, 0 for the others: by Bayes, the
    probabilities are the softmax of `strength` times the scores, exactly.
    """
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes))
    scores[np.arange(n), true] += strength
    odds = np.exp(strength * (scores - scores.max(axis=1, keepdims=True)))
    wrong = rng.random(n) < flipped
    labels = np.where(wrong, (true + rng.integers(1, classes, n)) % classes, true)
    return labels, odds / odds.sum(axis=1, keepdims=True), wrong


def test_the_confident_joint_by_hand() -> None:
    # Thresholds: (0.9 + 0.8 + 0.5 + 0.1) / 4 = 0.575 and (0.9 + 0.7) / 2 = 0.8. Sure are the photos 0 and 1 (class 0),
    # 3 and 4 (class 1): rows (2, 1) and (0, 1), in shares of 4 and 2 photos.
    np.testing.assert_allclose(confident_joint(LABELS, PROBABILITIES), [[8 / 3, 4 / 3], [0, 2]])


def test_of_each_pair_as_many_are_found_as_the_joint_says() -> None:
    found = find_label_errors(LABELS, PROBABILITIES)  # 4/3 of (0, 1): one photo, that with the largest margin
    assert (found.photos.tolist(), found.suggested.tolist(), found.given.tolist()) == ([3], [1], [0.1])
    assert len(found) == 1
    assert found.expected(20) == found.wrong[0]
    assert 0 < found.wrong[0] < 1


def test_the_least_probable_given_label_comes_first() -> None:
    labels = np.repeat([0, 1], 20)
    probabilities = np.where(np.arange(2) == labels[:, None], 0.9, 0.1)
    for place, own in ((4, 0.08), (30, 0.02), (17, 0.05)):
        probabilities[place, labels[place]], probabilities[place, 1 - labels[place]] = own, 1 - own
    found = find_label_errors(labels, probabilities)
    assert found.photos.tolist() == [30, 17, 4]
    assert found.given.tolist() == [0.02, 0.05, 0.08]
    assert found.suggested.tolist() == [0, 1, 1]
    assert (np.diff(found.wrong) < 0).all()  # and surest to be wrong


def test_what_the_classifier_agrees_with_is_never_found() -> None:
    labels, probabilities, _ = problem(3, 300, flipped=0.3, seed=0, strength=0.5)
    found = find_label_errors(labels, probabilities)
    assert len(found) > 0
    assert (probabilities[found.photos].argmax(axis=1) != labels[found.photos]).all()
    rest = np.where(np.arange(3) == labels[found.photos][:, None], -1.0, probabilities[found.photos])
    assert found.suggested.tolist() == rest.argmax(axis=1).tolist()


def test_photos_without_an_answer_are_left_out() -> None:
    labels, probabilities, _ = problem(3, 200, flipped=0.1, seed=1)
    whole = find_label_errors(labels, probabilities)
    spread, more = np.full((400, 3), np.nan), np.zeros(400, dtype=int)
    spread[1::2], more[1::2] = probabilities, labels
    spread[0] = [np.inf, 0.0, 0.0]
    found = find_label_errors(more, spread)
    assert len(whole) > 5
    assert found.photos.tolist() == (2 * whole.photos + 1).tolist()
    np.testing.assert_array_equal(found.wrong, whole.wrong)


def test_classes_without_photos() -> None:
    wide = np.zeros((6, 4))
    wide[:, 1::2] = PROBABILITIES
    found = find_label_errors(2 * LABELS + 1, wide)
    assert (found.photos.tolist(), found.suggested.tolist()) == ([3], [3])
    expected = np.zeros((4, 4))
    expected[1::2, 1::2] = [[8 / 3, 4 / 3], [0, 2]]
    np.testing.assert_allclose(confident_joint(2 * LABELS + 1, wide), expected)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_photos_of_one_class(n: int, classes: int) -> None:
    labels, probabilities = np.zeros(n, dtype=int), np.full((n, classes), 1 / classes)
    found = find_label_errors(labels, probabilities)
    assert (len(found), found.expected(20)) == (0, 0.0)
    wrong = probability_wrong(labels, probabilities)
    assert wrong.shape == (n,)
    assert ((wrong >= 0) & (wrong < 1)).all()


def test_a_single_class_has_no_other_that_could_be_right() -> None:
    assert probability_wrong(np.zeros(3, dtype=int), np.ones((3, 1))).tolist() == [0, 0, 0]


def test_probabilities_of_exactly_0_and_1() -> None:
    labels = np.repeat([0, 1, 2], 20)
    probabilities = np.eye(3)[labels]
    assert len(find_label_errors(labels, probabilities)) == 0
    probabilities[[0, 45]] = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
    found = find_label_errors(labels, probabilities)
    assert (sorted(found.photos.tolist()), found.suggested.tolist(), found.given.tolist()) == ([0, 45], [2, 0], [0, 0])
    assert (found.wrong > 0.99).all()  # 58 certain answers are right: so are the two others


@pytest.mark.parametrize(("classes", "n", "differing"), [(2, 600, 0.02), (5, 800, 0.04), (20, 1500, 0.08)])
@pytest.mark.parametrize("seed", [0, 1])
def test_cleanlab_finds_the_same(classes: int, n: int, differing: float, seed: int) -> None:
    # Both round the joint to whole photos, cleanlab so that rows keep their totals: of a pair one photo more or less.
    labels, probabilities, _ = problem(classes, n, flipped=0.1, seed=seed, strength=2.0)
    ours = find_label_errors(labels, probabilities).photos.tolist()
    theirs = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1).tolist()
    assert len(theirs) > 30
    assert len(set(ours[:30]) & set(theirs[:30])) >= 28
    assert len(set(ours) ^ set(theirs)) <= differing * len(theirs)


def of_sets(classes: int, flipped: float, strength: float, sets: int = 10) -> tuple[float, int, float]:
    """Return, over several sets, how many of the first 20 are expected to be wrong, are wrong, and the spread."""
    expected, true, variance = 0.0, 0, 0.0
    for seed in range(sets):
        labels, probabilities, wrong = problem(classes, 1000, flipped=flipped, seed=seed, strength=strength)
        found = find_label_errors(labels, probabilities)
        expected += found.expected(20)
        true += int(wrong[found.photos[:20]].sum())
        variance += float((found.wrong[:20] * (1 - found.wrong[:20])).sum())
    return expected, true, variance**0.5


@pytest.mark.parametrize(("classes", "strength"), [(2, 3.0), (5, 3.0), (5, 2.0), (20, 3.0)])
def test_as_many_are_wrong_as_are_expected(classes: int, strength: float) -> None:
    expected, true, spread = of_sets(classes, 0.05, strength)
    assert true > 160  # of 200: this classifier is strong
    assert abs(expected - true) <= 3 * spread + 1


@pytest.mark.parametrize(("classes", "strength"), [(2, 3.0), (5, 3.0), (5, 1.5), (20, 3.0)])
def test_few_are_expected_where_no_label_is_wrong(classes: int, strength: float) -> None:
    expected, true, _ = of_sets(classes, 0.0, strength)
    assert true == 0
    assert expected < 0.1 * 200


def test_labels_as_uncertain_as_a_calibrated_classifier_says() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.5] * 4, size=1000)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    found = find_label_errors(labels, probabilities)
    assert len(found) >= 20
    assert found.expected(20) < 0.15 * 20


def test_the_classifier_may_be_too_sure_of_itself() -> None:
    labels, probabilities, _ = problem(3, 1000, flipped=0.05, seed=0)
    sharp = probabilities**2
    sharp /= sharp.sum(axis=1, keepdims=True)
    # a temperature of 2 undoes it, and all from 0.2 to 4 are averaged over: but where the probability is cut off
    np.testing.assert_allclose(probability_wrong(labels, sharp), probability_wrong(labels, probabilities), atol=0.05)


def test_hundreds_of_classes() -> None:
    labels, probabilities, wrong = problem(200, 1000, flipped=0.05, seed=0, strength=4.0)
    found = find_label_errors(labels, probabilities)
    assert wrong[found.photos[:20]].all()
    assert abs(found.expected(20) - 20) < 1


def test_the_expected_number_is_of_the_first_ones() -> None:
    found = LabelErrors(np.arange(3), np.zeros(3, dtype=int), np.zeros(3), np.array([0.9, 0.5, 0.1]))
    assert [found.expected(first) for first in (0, 1, 2, 9)] == pytest.approx([0.0, 0.9, 1.4, 1.5])
