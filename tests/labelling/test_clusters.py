"""Clusters and their number, against scikit-learn, SciPy and points whose clusters are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from regraft.labelling.clusters import choose_count, criterion, directions, k_means, project


def blobs(centres: int, *, each: int = 60, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(0, 0.1, (each, 4)) + 3 * np.eye(4)[place] for place in range(centres)])


def test_directions_have_length_one() -> None:
    np.testing.assert_allclose(directions(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def test_distances_are_from_the_mean_of_the_cluster() -> None:
    clusters = k_means(np.array([[0.0], [2.0], [10.0], [16.0]]), 2)
    assert clusters.distances.tolist() == [1.0, 1.0, 3.0, 3.0]
    assert sorted(own.tolist() for own in clusters.members()) == [[0, 1], [2, 3]]


def test_fewer_different_points_than_clusters_are_no_error() -> None:
    clusters = k_means(np.ones((5, 2)), 3)
    assert clusters.distances.tolist() == [0.0] * 5
    assert sorted(len(own) for own in clusters.members()) == [0, 0, 5]


def test_criterion_of_one_cluster_is_scikit_learns() -> None:
    points = np.random.default_rng(0).normal(0, 2, (50, 3))
    mixture = GaussianMixture(1, covariance_type="spherical", reg_covar=1e-12).fit(points)
    assert criterion(points, np.zeros(50, dtype=np.int64)) == pytest.approx(mixture.bic(points), rel=1e-9)


def test_criterion_of_several_clusters() -> None:
    points, numbers = blobs(2, each=10), np.repeat([0, 1], [8, 12])
    means = np.array([points[numbers == number].mean(axis=0) for number in (0, 1)])
    variance = ((points - means[numbers]) ** 2).mean()
    densities = [multivariate_normal(mean, variance * np.eye(4)).logpdf for mean in means]
    likelihood = sum(
        float(densities[number](point)) + np.log([0.4, 0.6][number])
        for point, number in zip(points, numbers, strict=True)
    )
    free = 2 * 4 + 1 + 1  # centres, one share, one variance
    assert criterion(points, numbers) == pytest.approx(-2 * likelihood + free * np.log(20), rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_number_of_clusters_is_found(count: int) -> None:
    found, criteria = choose_count(blobs(count))
    assert found == count
    assert min(criteria, key=lambda number: criteria[number]) == count


def test_few_photos_are_one_cluster() -> None:
    assert choose_count(np.eye(3))[0] == 1
    assert choose_count(np.ones((100, 2))) == (1, {1: pytest.approx(choose_count(np.ones((100, 2)))[1][1])})


def test_photos_are_projected_by_their_directions() -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((400, 50))
    points = project(features)
    assert points.shape == (400, 32)
    np.testing.assert_allclose(project(features * 2), points, atol=1e-4)
