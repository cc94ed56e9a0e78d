"""The nearest other photo by features: all compared, or cells of a division."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from regraft.data import nearest_features
from regraft.data.nearest_features import StackedFeatures, nearest_pairs


def expected_pairs(features: np.ndarray) -> set[tuple[int, int]]:
    """Return each photo and its nearest one, smaller position first, by scikit-learn."""
    found = NearestNeighbors(n_neighbors=2, metric="cosine").fit(features).kneighbors(features, return_distance=False)
    return {(min(a, b), max(a, b)) for a, b in found.tolist()}


def as_set(pairs: tuple[np.ndarray, np.ndarray]) -> set[tuple[int, int]]:
    return set(zip(*(part.tolist() for part in pairs), strict=True))


def test_each_photo_is_paired_with_the_nearest_of_all_parts() -> None:
    features = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    found = nearest_pairs(StackedFeatures([features[:11], features[11:12], features[12:]]), np.arange(60))
    assert as_set(found) == expected_pairs(features)
    a, b = (features[part] / np.linalg.norm(features[part], axis=1, keepdims=True) for part in found)
    cosines = np.sum(a * b, axis=1)
    assert (np.diff(cosines) < 1e-6).all()
    assert len(found[0]) == len(as_set(found))


def test_only_the_photos_that_are_named_are_compared() -> None:
    features = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    photos = np.flatnonzero(np.arange(40) % 3)
    found = nearest_pairs(StackedFeatures([features[:20], features[20:]]), photos)
    assert as_set(found) == {(photos[a], photos[b]) for a, b in expected_pairs(features[photos])}
    assert [len(part) for part in nearest_pairs(StackedFeatures([features]), photos[:1])] == [0, 0]


def test_principal_components_find_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_features, "_MANY", 10)
    monkeypatch.setattr(nearest_features, "_DIMENSIONS", 8)
    monkeypatch.setattr(nearest_features, "_ROWS", 13)  # several blocks
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(50, 8)), np.zeros((50, 4))], axis=1).astype(np.float32)
    found = nearest_pairs(StackedFeatures([features[:7], features[7:]]), np.arange(50))
    assert as_set(found) == expected_pairs(features)


def test_cells_find_the_near_ones_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 photos in 60 heaps, 200 of which have a near one: each of these, and 99 of 100 of the nearer half."""
    monkeypatch.setattr(nearest_features, "EXACT_UP_TO", 1000)
    monkeypatch.setattr(nearest_features, "_CELL", 100)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 32))[rng.integers(0, 60, 4000)] + 0.5 * rng.normal(size=(4000, 32))
    twins = rng.choice(2000, 200, replace=False)
    features[2000 + twins] = 3 * (features[twins] + 0.05 * rng.normal(size=(200, 32)))
    features = features.astype(np.float32)
    found, expected = as_set(nearest_pairs(StackedFeatures([features]), np.arange(4000))), expected_pairs(features)
    planted = {(twin, 2000 + twin) for twin in twins.tolist()}
    assert planted <= expected
    assert len(planted & found) >= 199
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    half = sorted(expected, key=lambda pair: -float(unit[pair[0]] @ unit[pair[1]]))[: len(expected) // 2]
    assert np.mean([pair in found for pair in half]) > 0.98  # 0.99 of a sample of 1,000


def test_cells_are_a_division(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_features, "_CELL", 10)
    points = np.random.default_rng(0).normal(size=(173, 4)).astype(np.float32)
    cells = list(nearest_features._cells(points, np.random.default_rng(1)))
    assert sorted(np.concatenate(cells).tolist()) == list(range(173))
    assert all(5 <= len(cell) <= 10 for cell in cells)


def test_features_that_are_zeros_are_no_direction() -> None:
    features = np.array([[0, 0], [3, 4], [0, 0]], dtype=np.float32)
    stacked = StackedFeatures([features[:1], features[1:]])
    assert stacked.shown().tolist() == [False, True, False]
    assert stacked.rows(np.array([1, 2])) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert stacked.shape == (3, 2)
