import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

from regraft.evaluation.levels import Level
from regraft.evaluation.tree_figures import TreeFigures, figures_at, tree_distances

# a, b below x; c below y
UPPER = Level(1, ("x", "y"), np.array([0, 0, 1]))
LOWER = Level(2, ("a", "b", "c"), np.array([0, 1, 2]))
EDGES = np.array([[0, 2, 4], [2, 0, 4], [4, 4, 0]])
PROBABILITIES = np.array(
    [[0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.45, 0.1, 0.45], [0.0, 0.0, 1.0]]
)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def test_probabilities_are_summed_up_the_tree() -> None:
    assert UPPER.sums(PROBABILITIES[:2]) == pytest.approx(np.array([[0.9, 0.1], [0.6, 0.4]]))
    assert LOWER.sums(PROBABILITIES) == pytest.approx(PROBABILITIES)
    assert np.isnan(UPPER.sums(np.full((1, 3), np.nan))).all()


def test_a_level_as_one_of_the_nodes_of_a_deeper_one() -> None:
    classes = np.array([0, 1, 1, 2, 2])
    deeper = Level(2, ("p", "q", "r"), classes)
    upper = Level(1, ("x", "y"), np.array([0, 0, 0, 1, 1])).of(deeper)
    assert upper.columns.tolist() == [0, 0, 1]
    values = np.random.default_rng(0).dirichlet(np.ones(5), 4)
    assert upper.sums(deeper.sums(values)) == pytest.approx(np.stack([values[:, :3].sum(1), values[:, 3:].sum(1)], 1))


def test_figures_of_a_level_by_hand_and_by_scikit_learn() -> None:
    """The second photo is answered c, and lies in x with 0.6 all the same: the sum decides at the upper level."""
    truth = np.array([0, 0, 0, 0, 1, 1])
    found = figures_at(UPPER, PROBABILITIES, truth)
    assert found is not None
    answers = [0, 0, 1, 0, 0, 1]  # by hand: 0.9, 0.6, 0.3, 0.7, 0.55, 0.0 in x
    assert found.figures == {
        "accuracy": pytest.approx(accuracy_score(truth, answers)),
        "balanced_accuracy": pytest.approx(balanced_accuracy_score(truth, answers)),
    }
    wilson = binomtest(4, 6).proportion_ci(method="wilson")
    assert found.intervals["accuracy"] == pytest.approx((wilson.low, wilson.high))
    assert (found.n, found.majority_share) == (6, pytest.approx(4 / 6))
    assert found.majority_interval == pytest.approx((wilson.low, wilson.high))


def test_photos_whose_label_does_not_reach_a_level_are_left_out() -> None:
    found = figures_at(LOWER, PROBABILITIES, np.array([0, -1, -1, 1, -1, -1]))
    assert found is not None
    assert (found.n, found.figures["accuracy"]) == (2, 1.0)
    assert figures_at(LOWER, PROBABILITIES, np.full(6, -1)) is None


def test_top_5_of_many_nodes() -> None:
    generator = np.random.default_rng(3)
    probabilities, truth = generator.dirichlet(np.ones(12), 50), generator.integers(0, 12, 50)
    level = Level(1, tuple("abcdefghijkl"), np.arange(12))
    found = figures_at(level, probabilities, truth)
    assert found is not None
    expected = top_k_accuracy_score(truth, probabilities, k=5, labels=np.arange(12))
    assert found.figures["top5_accuracy"] == pytest.approx(expected)


def test_distances_by_hand() -> None:
    """Answers a, c, c, b, a, c: the second and the fifth are 4 edges wrong, the third as well."""
    found = tree_distances(EDGES, LABELS, PROBABILITIES.argmax(axis=1))
    assert found is not None
    assert (found.least, found.largest) == (2, 4)
    assert (found.answers.n, found.answers.value) == (6, pytest.approx((4 + 4 + 4) / 6))
    assert (found.mistakes.n, found.mistakes.value) == (3, pytest.approx(4.0))
    assert found.majority.value == pytest.approx((0 + 0 + 2 + 2 + 4 + 4) / 6)  # always a, the first of the largest
    wilson = binomtest(3, 6).proportion_ci(method="wilson")
    assert found.answers.interval == pytest.approx((4 * wilson.low, 4 * wilson.high))
    # of three mistakes, all as far as can be: 2 edges more than the least, so often as 3 of 3
    low, high = found.mistakes.interval or (0, 0)
    assert (low, high) == pytest.approx((2 + 2 * binomtest(3, 3).proportion_ci(method="wilson").low, 4))


def test_one_distance_between_all_classes_is_certain() -> None:
    found = tree_distances(2 * (1 - np.eye(3, dtype=int)), LABELS, np.zeros(6, dtype=int))
    assert found is not None
    assert (found.mistakes.n, found.mistakes.value, found.mistakes.interval) == (4, 2.0, (2.0, 2.0))
    assert found.answers.value == pytest.approx(8 / 6)


def test_no_mistakes_and_no_photos() -> None:
    found = tree_distances(EDGES, LABELS, LABELS)
    assert found is not None
    assert (found.answers.value, found.mistakes.n, found.mistakes.value) == (0.0, 0, None)
    assert tree_distances(EDGES, LABELS[:0], LABELS[:0]) is None


def test_groups_make_intervals_wider() -> None:
    labels, answers = np.tile(LABELS, 10), np.tile(PROBABILITIES.argmax(axis=1), 10)
    groups = np.repeat(np.arange(10), 6)
    alone, grouped = (tree_distances(EDGES, labels, answers, groups=g) for g in (None, groups))
    assert alone is not None
    assert grouped is not None
    assert alone.answers.interval is not None
    assert grouped.answers.interval is not None
    assert np.ptp(grouped.answers.interval) > np.ptp(alone.answers.interval)


def test_json_and_the_table_for_a_terminal() -> None:
    levels = [figures_at(level, PROBABILITIES, level.columns[LABELS]) for level in (UPPER, LOWER)]
    figures = TreeFigures(
        tuple(one for one in levels if one is not None),
        tree_distances(EDGES, LABELS, PROBABILITIES.argmax(axis=1)),
    )
    assert TreeFigures.from_json(json.loads(json.dumps(figures.to_json()))) == figures
    lines = str(figures).splitlines()
    assert lines[1].split() == [
        *("level", "nodes", "photos", "accuracy", "always", "the", "largest"),
        "balanced",
        "accuracy",
    ]
    assert lines[2].startswith("  1      2      6       66.7 % [30.0, 90.3]  66.7 % [30.0, 90.3]  62.5 % [")
    assert lines[3].startswith("  2      3      6       50.0 % [18.8, 81.2]  33.3 % [")
    assert lines[4].startswith(
        "  distance from answer to truth in the tree: 2.00 [0.75, 3.25] edges; always the largest"
    )
    assert lines[4].endswith("; of 3 mistakes 4.00 [2.88, 4.00] (2 to 4 between two classes)")


@pytest.mark.parametrize("found", [{}, {"levels": 3, "distances": None}, {"levels": [{"level": 1}], "distances": None}])
def test_other_json_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"levels|level"):
        TreeFigures.from_json(found)
