"""The nearest by cosine distance: as scikit-learn finds them, whatever the blocks."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from regraft.features.nearest import NearestSearch


def search(
    queries: np.ndarray, vectors: np.ndarray, count: int, *, block: int = 1000, same: dict[int, int] | None = None
) -> NearestSearch:
    """Search in blocks; `same` has positions of vectors by the query that is of the same file."""
    keys = [f"q{row}".encode() for row in range(len(queries))]
    names = [f"v{row}".encode() for row in range(len(vectors))]
    for query, place in (same or {}).items():
        names[place] = keys[query]
    found = NearestSearch(queries, keys, count)
    for start in range(0, len(vectors), block):
        part = slice(start, start + block)
        found.add(vectors[part], names[part], np.arange(len(vectors))[part])
    return found


@pytest.mark.parametrize("block", [1, 7, 1500, 4000])
def test_they_are_those_of_scikit_learn(block: int) -> None:
    rng = np.random.default_rng(0)
    vectors = np.maximum(rng.normal(size=(3000 if block > 1 else 60, 24)), 0).astype(np.float32)
    queries = np.maximum(rng.normal(size=(11, 24)), 0).astype(np.float32)
    found = search(queries, vectors, 5, block=block)
    known = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(vectors.astype(np.float64))
    distances, positions = known.kneighbors(queries.astype(np.float64))
    assert np.array_equal(found.positions, positions)
    np.testing.assert_allclose(found.distances, distances, rtol=0, atol=1e-12)


def test_distances_are_exact_where_float32_would_round() -> None:
    """By hand: vectors at small angles t have 1 - cos t = 2 sin^2(t / 2), down to 5e-13, which float32 takes for 0."""
    angles = np.array([3e-3, 1e-6, 1e-4])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = search(np.array([[2.0, 0.0]]), vectors, 3)
    assert found.positions.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(found.distances[0], 2 * np.sin(np.sort(angles) / 2) ** 2, rtol=0, atol=2e-16)


def test_opposite_orthogonal_and_no_direction() -> None:
    vectors = np.array([[-3, 0], [0, 5], [0, 0], [1, 1]], dtype=np.float32)
    found = search(np.array([[1, 0], [0, 0]], dtype=np.float32), vectors, 4)
    assert found.positions.tolist() == [[3, 1, 2, 0], [0, 1, 2, 3]]
    np.testing.assert_allclose(found.distances, [[1 - np.sqrt(0.5), 1, 1, 2], [1, 1, 1, 1]], rtol=0, atol=1e-15)


def test_no_distance_is_below_0_and_the_same_file_is_at_0() -> None:
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(200, 333)).astype(np.float32)
    assert (search(queries, queries, 1).distances >= 0).all()
    nearly = queries[:3] * np.float32(1 + 1e-3) + rng.normal(scale=1e-4, size=(3, 333)).astype(np.float32)
    assert (search(queries[:3], nearly, 1).distances > 0).all()
    found = search(queries[:3], nearly, 1, same={0: 0, 2: 2})
    assert (found.distances[:, 0] == 0).tolist() == [True, False, True]
    nothing = np.zeros((1, 4), dtype=np.float32)
    assert search(nothing, nothing, 1, same={0: 0}).distances.tolist() == [[0.0]]


def test_of_equal_distances_the_first_is_the_nearest() -> None:
    vectors = np.tile(np.array([[1.0, 0.0], [0.0, 1.0]]), (50, 1))
    for block in (3, 100):
        assert search(np.array([[1.0, 0.0]]), vectors, 4, block=block).positions.tolist() == [[0, 2, 4, 6]]


def test_fewer_than_are_asked_for() -> None:
    found = search(np.eye(2), np.eye(2)[:1], 9)
    assert found.positions.tolist() == [[0], [0]]
    assert found.distances.tolist() == [[0.0], [1.0]]


def test_more_queries_than_a_product_takes() -> None:
    rng = np.random.default_rng(2)
    queries, vectors = rng.normal(size=(1100, 4)), rng.normal(size=(1300, 4))
    found = search(queries, vectors, 1, same={1099: 1200})
    expected = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(vectors).kneighbors(queries)[1]
    expected[1099] = 1200
    assert np.array_equal(found.positions, expected)
