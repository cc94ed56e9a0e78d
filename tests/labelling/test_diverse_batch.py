"""Which photos are chosen together: by hand, on few points."""

import numpy as np
import pytest

from regraft.labelling.diverse_batch import UNSURE_FOR_EACH, choose_batch, margins_of


def two_classes(margins: list[float]) -> np.ndarray:
    first = (1 + np.array(margins)) / 2
    return np.stack([first, 1 - first], axis=1)


def at_angles(degrees: list[float]) -> np.ndarray:
    """Return points on a circle of any radius: only their directions count."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(1, 5, len(degrees))[:, None]


def test_margin_is_between_the_two_most_probable_classes() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.4, 0.2, 0.4]])
    np.testing.assert_allclose(margins_of(probabilities), [0.2, 1.0, 0.0], atol=1e-15)


def test_unsure_photos_of_one_look_are_not_all_chosen() -> None:
    # the three least sure lie together; the two other looks are a little surer
    features = at_angles([0, 1, 2, 90, 91, 180, 181])
    probabilities = two_classes([0.01, 0.02, 0.03, 0.10, 0.11, 0.20, 0.21])
    batch = choose_batch(features, probabilities, 3)
    assert np.argsort(batch.margins)[:3].tolist() == [0, 1, 2]  # what margins alone would choose
    looks = [{0, 1, 2}, {3, 4}, {5, 6}]
    assert [place in look for place, look in zip(batch.positions.tolist(), looks, strict=True)] == [True] * 3


def test_one_photo_is_the_nearest_to_the_weighted_centre() -> None:
    # weights 1, 1 and almost 0: the centre lies between 0 and 10 degrees, and 4 is nearer to it than 0, 10 and 90
    features = at_angles([0, 10, 4, 90])
    chosen = choose_batch(features, two_classes([0.0, 0.0, 0.999999, 0.9999]), 1)
    assert chosen.positions.tolist() == [2]
    alike = choose_batch(features, two_classes([0.5] * 4), 1)  # without weights 90 degrees draws it to 10
    assert alike.positions.tolist() == [1]


def test_photos_that_are_sure_are_not_looked_at() -> None:
    count = 2
    unsure = UNSURE_FOR_EACH * count
    features = at_angles(np.linspace(0, 40, unsure).tolist() + np.linspace(180, 300, 30).tolist())
    probabilities = two_classes([0.1] * unsure + [0.9] * 30)
    assert choose_batch(features, probabilities, count).positions.max() < unsure


def test_few_and_equal_photos() -> None:
    probabilities = two_classes([0.3, 0.1, 0.2])
    assert choose_batch(at_angles([0, 90, 180]), probabilities, 3).positions.tolist() == [1, 2, 0]  # least sure first
    equal = choose_batch(np.ones((30, 4)), two_classes(np.linspace(0.5, 0.9, 30).tolist()), 3)
    assert len(set(equal.positions.tolist())) == 3


def test_only_candidates_are_chosen() -> None:
    features, probabilities = at_angles([0, 1, 90, 91, 180]), two_classes([0.0, 0.1, 0.2, 0.3, 0.4])
    features[0], probabilities[0] = np.nan, np.nan  # it cannot be read
    chosen = choose_batch(features, probabilities, 2, candidates=np.array([3, 1]))
    assert chosen.positions.tolist() == [1, 3]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_photos_give_the_same_batch(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features, probabilities = generator.standard_normal((200, 8)), generator.dirichlet(np.ones(4), 200)
    first = choose_batch(features, probabilities, 7)
    np.testing.assert_array_equal(first.positions, choose_batch(features * 3, probabilities, 7).positions)
    assert (np.diff(first.margins[first.positions]) >= 0).all()
    assert len(set(first.positions.tolist())) == 7
