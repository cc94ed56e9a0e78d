"""What is kept of the training photos: small, the same each time, and checked when it is read back."""

from collections.abc import Callable

import numpy as np
import pytest

from regraft.classifier.reference import DISTANCE_LEVELS, Quantiles, TrainingReference, measures_of
from regraft.images.headers import Header

WIDTH = 30


def photos(count: int, seed: int = 0, *, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features (count, 30) and labels of three classes, halves, thirds and sixths of the photos."""
    rng = np.random.default_rng(seed)
    labels = np.array([0, 0, 0, 1, 1, 2])[np.arange(count) % 6]
    centres = np.random.default_rng(7).normal(size=(3, WIDTH))
    features = 4 + centres[labels] + rng.normal(size=(count, WIDTH)) * 0.5
    features[:, 0] += moved
    return features.astype(np.float32), labels


def reference(count: int = 240, **options: object) -> TrainingReference:
    features, labels = photos(count)
    found = TrainingReference.of(features, labels, classes=3, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(("count", "places"), [(99, [50, 90, 95, 99]), (19, [10, 18, 19, 19]), (10, [6, 10, 10, 10])])
def test_quantiles_are_values_of_single_photos(count: int, places: list[int]) -> None:
    """Of n + 1 places that a new value may take among n, k are beyond the k-th from the end."""
    figures = np.random.default_rng(0).permutation(count) + 1.0
    found = Quantiles.of(figures, DISTANCE_LEVELS, None)
    assert found.values.tolist() == places
    assert found.expected(0.99) == pytest.approx((count + 1 - places[-1]) / (count + 1))


def test_photos_in_groups_tell_less() -> None:
    figures, groups = np.arange(100.0), np.arange(100) // 10
    assert Quantiles.of(figures, DISTANCE_LEVELS, None).trials == pytest.approx(100)
    assert Quantiles.of(figures, DISTANCE_LEVELS, groups).trials < 30


def test_a_share_of_new_photos_is_beyond_each_quantile() -> None:
    found = reference(1500)
    distances = found.distances_of(photos(4000, seed=5)[0])
    for level in (0.5, 0.9, 0.95):
        assert np.mean(distances > found.limit(level)) == pytest.approx(1 - level, abs=0.03)


def test_photos_that_differ_are_far() -> None:
    found = reference(600)
    assert np.mean(found.distances_of(photos(300, seed=5, moved=12.0)[0]) > found.limit(0.99)) > 0.95


def test_copies_in_one_group_do_not_make_training_photos_near() -> None:
    """Every photo is there five times: its copies alone would be its nearest, at no distance."""
    features, labels = photos(60)
    features, labels, groups = np.repeat(features, 6, axis=0), np.repeat(labels, 6), np.repeat(np.arange(60), 6)
    alone = TrainingReference.of(features, labels, classes=3)
    grouped = TrainingReference.of(features, labels, classes=3, groups=groups)
    assert alone is not None
    assert grouped is not None
    assert grouped.limit(0.5) > 1.2 * alone.limit(0.5)


def test_classes_keep_their_share_and_two_at_least() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [2997, 2000, 3])
    found = TrainingReference.of(rng.normal(size=(5000, 8)).astype(np.float32) + 3, labels, classes=3)
    assert found is not None
    kept = np.bincount(found.labels, minlength=3)
    assert kept.sum() == 1000
    assert kept[2] >= 2
    assert kept[0] / kept[1] == pytest.approx(2997 / 2000, rel=0.01)
    assert found.counts.tolist() == [2997, 2000, 3]


def test_few_photos_are_no_reference() -> None:
    features, labels = photos(9)
    assert TrainingReference.of(features, labels, classes=3) is None
    features, labels = photos(10)
    assert TrainingReference.of(features, labels, classes=3) is not None


def test_columns_are_those_that_the_head_sees() -> None:
    features, labels = photos(60)
    whole = TrainingReference.of(features[:, 10:], labels, classes=3)
    part = TrainingReference.of(features, labels, classes=3, columns=slice(10, None))
    chosen = TrainingReference.of(features, labels, classes=3, columns=np.arange(10, WIDTH))
    assert whole is not None
    assert part is not None
    assert chosen is not None
    assert whole.points.tolist() == part.points.tolist() == chosen.points.tolist()
    assert part.width == 20


def test_what_is_written_is_read_back_and_is_small() -> None:
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(1200, 2424))).astype(np.float32)
    headers = [Header(40 + row, 30) for row in range(1200)]
    found = TrainingReference.of(
        features, np.arange(1200) % 2, classes=2, headers=headers, colours=rng.random((1200, 5))
    )
    assert found is not None
    state = found.state()
    assert sum(array.nbytes for array in state.values()) < 600_000
    again = TrainingReference.from_state(state, classes=2, width=2424)
    assert {name: array.tobytes() for name, array in again.state().items()} == {
        name: array.tobytes() for name, array in state.items()
    }
    assert again.distances_of(features[:50]).tolist() == found.distances_of(features[:50]).tolist()
    assert set(again.measures) == {
        "megapixels", "aspect_ratio", "brightness", "saturation", "red", "green", "blue"
    }  # fmt: skip


def test_the_same_photos_give_the_same_reference() -> None:
    first, second = reference(1100).state(), reference(1100).state()
    assert {name: array.tobytes() for name, array in first.items()} == {n: a.tobytes() for n, a in second.items()}


def test_sizes_and_colours_that_are_known() -> None:
    headers = (Header(2000, 1000), None, Header(0, 0))
    found = measures_of(3, headers, None)
    assert set(found) == {"megapixels", "aspect_ratio"}
    assert found["megapixels"][0] == 2.0
    assert found["aspect_ratio"][0] == 2.0
    assert np.isnan(found["megapixels"][1:]).all()
    assert measures_of(3, (), None) == {}


State = dict[str, np.ndarray]
DAMAGES: dict[str, tuple[Callable[[State], object], str]] = {
    "no directions": (lambda s: s.pop("directions"), "1 to 63 directions"),
    "too many points": (lambda s: s.update(labels=np.zeros(1001, dtype=np.int32)), "1 to 1,000 points"),
    "other features": (lambda s: s.update(mean=np.zeros(7)), r"reference.mean must be .* of shape \(30,\)"),
    "infinite": (lambda s: s["points"].fill(np.inf), "reference.points must be finite"),
    "other classes": (lambda s: s.update(counts=np.zeros(2, dtype=np.int64)), r"reference.counts must be .* \(3,\)"),
    "a label that there is not": (lambda s: s["labels"].fill(3), "reference.labels must be integers from 0 on to 2"),
    "negative counts": (lambda s: s["counts"].fill(-1), "reference.counts must be integers from 0 on"),
    "no photos": (lambda s: s["counts"].fill(0), "reference.counts must be of at least one photo"),
    "no distances": (lambda s: s.pop("distances"), "reference.distances must be 6 finite numbers"),
    "no order": (lambda s: s.update(distances=s["distances"][[3, 1, 2, 0, 4, 5]]), "rising order"),
    "a measure of other length": (lambda s: s.update(red=np.zeros(3)), "reference.red must be 7 finite numbers"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_references_are_refused(name: str) -> None:
    damage, message = DAMAGES[name]
    state = {key: array.copy() for key, array in reference().state().items()}
    damage(state)
    with pytest.raises(ValueError, match=message):
        TrainingReference.from_state(state, classes=3, width=WIDTH)
