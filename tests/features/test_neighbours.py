"""Projection, distances to the nearest, outliers: as scikit-learn finds them, and as planted."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from regraft.features.neighbours import Projection, nearest_distances, outliers


def decaying(count: int, width: int = 40, seed: int = 0, rank: int = 6) -> np.ndarray:
    """Return (count, width) features that differ along `rank` directions, and a little along all."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(width, width)))[0]
    scales = np.concatenate([2.0 ** -np.arange(rank), np.full(width - rank, 0.01)])
    return ((3 * axes[-1] + (rng.normal(size=(count, width)) * scales) @ axes.T) * 7).astype(np.float32)


def test_directions_are_the_principal_ones() -> None:
    features = decaying(400)
    projection = Projection.of(features, rank=5)
    expected = PCA(4).fit(normalize(features)).components_
    assert projection.directions.shape == (4, 40)
    assert np.abs(np.sum(projection.directions * expected, axis=1)) == pytest.approx(1.0, abs=2e-3)


def test_the_last_number_is_what_the_directions_leave_out() -> None:
    features = decaying(400)
    projection = Projection.of(features, rank=5)
    points = projection.project(features)
    assert points.shape == (400, projection.rank) == (400, 5)
    centred = normalize(features).astype(np.float64) - projection.mean
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.linalg.norm(centred, axis=1), abs=1e-5)
    inside = centred @ projection.directions.T.astype(np.float64)
    assert points[:, :-1] == pytest.approx(inside, abs=1e-5)


def test_what_the_directions_leave_out_has_nothing_in_common() -> None:
    """Two photos a step of 0.3 and 0.4 off the directions, each its own way, are 0.5 apart, as Pythagoras says."""
    points = np.array([[0.1, 0.0, 0.3], [0.1, 0.0, 0.4]])
    assert nearest_distances(points[:1], points[1:], projected=True) == pytest.approx([0.5])
    assert nearest_distances(points[:1], points[1:]) == pytest.approx([0.1], abs=1e-3)


def test_projected_distances_are_nearly_those_of_the_features() -> None:
    rng = np.random.default_rng(0)
    features = decaying(400, width=600, seed=1) + rng.normal(size=(400, 600)).astype(np.float32) * 0.5
    points = Projection.of(features[:200], rank=12).project(features)
    whole = normalize(features).astype(np.float64)
    found = nearest_distances(points[200:], points[:200], count=1, projected=True)
    expected = np.linalg.norm(whole[200:, None] - whole[:200], axis=2).min(axis=1)
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_length_of_features_does_not_matter(scale: float) -> None:
    features = decaying(50)
    projection = Projection.of(features)
    assert projection.project(features * np.float32(scale)) == pytest.approx(projection.project(features), abs=1e-5)


def test_few_photos_have_few_directions() -> None:
    assert Projection.of(decaying(33)).rank == 33 // 8 + 1
    assert Projection.of(decaying(2)).rank == 2
    assert Projection.of(np.zeros((3, 5), dtype=np.float32)).project(np.zeros((1, 5))).tolist() == [[0.0, 0.0]]


def test_features_that_are_not_finite_are_nan() -> None:
    features = decaying(50)
    features[3, 2], features[7, 0] = np.nan, np.inf
    points = Projection.of(decaying(50)).project(features)
    assert np.flatnonzero(np.isnan(points).all(axis=1)).tolist() == [3, 7]
    assert np.isfinite(points[[0, 1, 2, 4]]).all()


def test_the_same_photos_give_the_same_projection() -> None:
    first, second = (Projection.of(decaying(6000)) for _ in range(2))
    assert first.directions.tobytes() == second.directions.tobytes()
    assert first.mean.tobytes() == second.mean.tobytes()


# --- distances ---


def test_distances_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    known, queries = rng.normal(size=(5000, 8)), rng.normal(size=(700, 8))  # two blocks each
    expected = NearestNeighbors(n_neighbors=5).fit(known).kneighbors(queries)[0].mean(axis=1)
    assert nearest_distances(queries, known) == pytest.approx(expected, abs=1e-3)


def test_of_its_own_a_photo_is_no_neighbour() -> None:
    points = np.array([[0.0], [1.0], [3.0], [3.0]])
    # 0: 1 and 3; 1: 1 and 2; each 3: its copy at 0, and 2
    assert nearest_distances(points, points, count=2, own=True) == pytest.approx([2.0, 1.5, 1.0, 1.0])


def test_points_of_one_number_are_no_neighbours() -> None:
    points, numbers = np.array([[0.0], [1.0], [3.0], [3.0]]), np.array([0, 1, 2, 2])
    found = nearest_distances(points, points, count=2, apart=(numbers, numbers))
    assert found == pytest.approx([2.0, 1.5, 2.5, 2.5])


def test_fewer_neighbours_than_asked_for_and_none() -> None:
    points = np.array([[0.0], [4.0], [np.nan]])
    assert nearest_distances(points[:2], points[:2], own=True).tolist() == [4.0, 4.0]
    assert np.isnan(nearest_distances(points, np.empty((0, 1)))).all()
    assert np.isnan(nearest_distances(points, points[:1], apart=(np.zeros(3), np.zeros(1)))).all()
    assert np.isnan(nearest_distances(points, points[:2])).tolist() == [False, False, True]


# --- outliers ---


def clouds(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    points = rng.normal(size=(len(labels), 6)) + 20 * labels[:, None]
    return np.c_[points, np.zeros(len(labels))], labels  # nothing is left out


def test_planted_outliers_are_flagged_the_farthest_first() -> None:
    points, labels = clouds([200, 100])
    points[5] += 40
    points[250] += 90  # of the second class
    found = outliers(points, labels)
    assert found.order[:2].tolist() == [250, 5]
    assert found.flagged[[5, 250]].all()
    assert found.flagged.sum() <= 4


def test_a_photo_of_another_class_is_unlike_its_own() -> None:
    points, labels = clouds([100, 100])
    labels[3] = 1
    assert outliers(points, labels).order[0] == 3


def test_copies_do_not_hide_each_other() -> None:
    points, labels = clouds([100])
    points[40:46, :6] = points[40, :6] + 30  # one picture, six times: its five nearest are copies
    assert not outliers(points, labels).flagged[40:46].any()
    numbers = np.arange(100)
    numbers[40:46] = 40
    assert outliers(points, labels, numbers=numbers).flagged[40:46].all()


def test_small_classes_are_judged_by_the_spread_of_all() -> None:
    points, labels = clouds([200, 6, 1])
    points[203] += 60  # of the class of six
    found = outliers(points, labels)
    assert found.order[0] == 203
    assert np.isnan(found.scores[-1])
    assert not found.flagged[-1]


@pytest.mark.parametrize("size", [10, 30, 300])
def test_lognormal_distances_flag_less_than_one_in_a_thousand(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(size)
    classes = 60_000 // size
    labels = np.repeat(np.arange(classes), size)
    drawn = np.exp(rng.normal(size=len(labels)))
    calls = iter(np.split(drawn, classes))
    monkeypatch.setattr("regraft.features.neighbours.nearest_distances", lambda *_, **__: next(calls))
    assert outliers(np.zeros((len(labels), 1)), labels).flagged.mean() < 0.001


def test_photos_that_are_not_finite_are_passed_over() -> None:
    points, labels = clouds([50])
    points[7] = np.nan
    found = outliers(points, labels)
    assert np.flatnonzero(np.isnan(found.distances)).tolist() == [7]


def test_a_large_class_is_compared_with_some_of_it() -> None:
    points, labels = clouds([6000])
    points[17] += 50
    first, second = outliers(points, labels), outliers(points, labels)
    assert first.order[0] == 17
    assert first.scores.tolist() == second.scores.tolist()


def test_photos_that_are_all_alike_have_no_outliers() -> None:
    found = outliers(np.zeros((20, 3)), np.zeros(20, dtype=int))
    assert not found.flagged.any()
    assert found.scores.tolist() == [0.0] * 20
