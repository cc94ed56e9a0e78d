"""The coordinates of regressions: orthogonal, of their own photos alone, shared and kept without a change."""

import itertools

import numpy as np
import pytest
from scipy.special import softmax
from tests.heads.problems import of_scikit_learn, overlapping

from regraft.heads import coordinates as coordinates_module
from regraft.heads.centred_rows import CentredRows
from regraft.heads.coordinates import CoordinateCache, Coordinates, PartCoordinates
from regraft.heads.logistic import Regressions
from regraft.heads.search import ABSENT, Selection, select_heads

FOLDS = 5
PAIRS = list(itertools.combinations(range(FOLDS), 2))
NESTED = np.array(  # the training sets of a nested cross-validation: without two folds, without one, and all
    [[cell not in away for cell in range(FOLDS)] for away in [*PAIRS, *((fold,) for fold in range(FOLDS)), ()]]
)


@pytest.fixture
def decomposed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the matrices that are decomposed from now on."""
    sizes: list[int] = []
    eigh = np.linalg.eigh

    def counts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(matrix))
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", counts)
    return sizes


def found(features: np.ndarray, cache: CoordinateCache | None = None, *, rows: int = 1) -> list[Coordinates]:
    """Return the coordinates of the parts `NESTED`, of five cells of equal size."""
    cells = np.repeat(np.arange(FOLDS), len(features) // FOLDS)
    return PartCoordinates(
        CentredRows(features, np.zeros(len(features), dtype=int), cells), marked=cache is not None
    ).of(NESTED, rows=rows, cache=cache)


def chosen(
    features: np.ndarray, labels: np.ndarray, cache: CoordinateCache | None = None, *, classes: int = 2
) -> list[Selection]:
    """Return the nested choices of strengths."""
    folds = np.random.default_rng(7).permutation(len(labels)) % FOLDS
    tasks = [*(np.where(folds == fold, ABSENT, folds) for fold in range(FOLDS)), folds]
    return select_heads(features, labels, classes, folds=tasks, cache=cache)


@pytest.mark.parametrize(("n", "d"), [(200, 120), (60, 120)])  # by the features' correlations, by the photos' products
def test_weights_along_the_directions_have_the_length_that_they_have_as_weights(n: int, d: int) -> None:
    features, _ = overlapping(n, d, 2)
    for one in found(features):
        real = one.directions[one.variances > 1e-6 * one.variances.max()].astype(np.float64)  # n - 1 if photos are few
        assert len(real) == min(d, (d if one.rows is None else len(one.rows) - 1))
        products = real @ real.T
        np.testing.assert_allclose(products, np.eye(len(products)), rtol=0, atol=1e-4)


def test_variances_along_shared_directions_are_those_of_the_photos() -> None:
    features, _ = overlapping(200, 120, 2)  # fewer than a sample: all of them
    for own, one in zip(NESTED, found(features), strict=True):
        part = features[np.repeat(own, 40)].astype(np.float64)
        standardised = (part - part.mean(axis=0)) * one.inverse
        assert one.rows is None
        np.testing.assert_allclose(one.mean, part.mean(axis=0), rtol=0, atol=1e-4)
        np.testing.assert_allclose(one.variances, (standardised @ one.directions.T).var(axis=0), rtol=1e-3, atol=1e-3)


def test_a_nested_cross_validation_of_not_many_photos_decomposes_four_matrices(decomposed: list[int]) -> None:
    """Any three of five folds hold two of the first three, or the last two: four pairs of folds are enough."""
    features, _ = overlapping(200, 120, 2)
    shared = found(features)
    assert decomposed == [120] * 4
    assert len({id(one.directions) for one in shared}) == 4
    decomposed.clear()
    found(features, rows=2)  # 400 > 120^2 / 60: steps cost more than matrices
    assert decomposed == [120] * 16


def test_directions_are_made_of_photos_of_the_part_alone() -> None:
    """Whatever is in the two folds that a part lacks, its coordinates are the same to the last bit."""
    features, _ = overlapping(200, 120, 2)
    changed = features.copy()
    changed[:80] += 100  # folds 0 and 1
    before, after = found(features), found(changed)
    untouched = ~NESTED[:, [0, 1]].any(axis=1)
    assert untouched.sum() == 1
    for same, old, new in zip(untouched, before, after, strict=True):
        equal = [np.array_equal(*pair) for pair in zip(old.arrays, new.arrays, strict=True)]
        assert all(equal) == same


def test_regressions_along_shared_directions_are_scikit_learns(decomposed: list[int]) -> None:
    features, labels = overlapping(200, 120, 2)
    cells = np.arange(200) // 40
    regressions = Regressions(CentredRows(features, labels, cells), 2, members=NESTED)
    assert len(decomposed) == 4
    for strength in (1.0, 0.1, 0.01):  # along a path, as they are
        regressions.solve(dict.fromkeys(range(16), strength), 1e-8)
    for number in (0, 9, 12, 15):
        own = NESTED[number][cells]
        weight, bias = regressions.layer(number)
        expected = of_scikit_learn(features[own], labels[own], 0.01)
        probabilities = softmax(features[own].astype(np.float64) @ weight.T + bias, axis=1)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("n", "d", "classes"), [(200, 120, 2), (200, 30, 3), (60, 120, 2)])
def test_heads_of_other_labels_are_the_same_to_the_last_bit_with_what_is_kept(
    decomposed: list[int], n: int, d: int, classes: int
) -> None:
    features, labels = overlapping(n, d, classes)
    other = labels.copy()
    other[:4] = (other[:4] + 1) % classes
    cache = CoordinateCache()
    chosen(features, labels, cache, classes=classes)
    assert decomposed
    decomposed.clear()
    kept = chosen(features, other, cache, classes=classes)
    assert not decomposed
    fresh = chosen(features, other, classes=classes)
    assert decomposed
    for one, two in zip(kept, fresh, strict=True):
        assert one.losses == two.losses
        assert np.array_equal(one.logits, two.logits)
        assert np.array_equal(one.head.weight, two.head.weight)
        assert np.array_equal(one.head.bias, two.head.bias)


def test_a_photo_that_is_left_out_changes_its_parts_alone(decomposed: list[int]) -> None:
    """Fold 0 is in 6 of the 10 parts without two folds, in 4 of the 5 without one, and in the whole."""
    features, _ = overlapping(60, 120, 2)
    cache = CoordinateCache()
    found(features, cache)
    decomposed.clear()
    rows = CentredRows(features[1:], np.zeros(59, dtype=int), np.repeat(np.arange(FOLDS), 12)[1:])
    fewer = PartCoordinates(rows, marked=True).of(NESTED, rows=1, cache=cache)
    assert len(decomposed) == 6 + 4 + 1
    fresh = PartCoordinates(rows).of(NESTED, rows=1)
    for one, two in zip(fewer, fresh, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one.arrays, two.arrays, strict=True))


def test_only_the_last_coordinates_are_kept_and_no_more_than_may_be(decomposed: list[int]) -> None:
    first, second = overlapping(60, 120, 2)[0], overlapping(60, 120, 2, seed=1)[0]
    cache = CoordinateCache()
    found(first, cache)
    found(second, cache)
    decomposed.clear()
    found(second, cache)
    assert not decomposed
    found(first, cache)
    assert len(decomposed) == 16
    size = sum(array.nbytes for array in found(first)[0].arrays)
    small = CoordinateCache(int(3.5 * size))  # those of 36 photos, which the first ten parts have
    found(first, small)
    decomposed.clear()
    found(first, small)
    assert len(decomposed) == 13


def test_directions_that_parts_share_count_once() -> None:
    features, _ = overlapping(200, 120, 2)
    parts = found(features)
    distinct = {id(array): array.nbytes for one in parts for array in one.arrays}
    keys = [bytes([number]) for number in range(16)]
    for limit, kept in ((sum(distinct.values()), 16), (sum(distinct.values()) - 1, 15)):
        cache = CoordinateCache(limit)
        cache.keep(dict(zip(keys, parts, strict=True)))
        assert sum(cache.get(key) is not None for key in keys) == kept


def test_the_same_numbers_in_another_shape_are_others() -> None:
    features, _ = overlapping(100, 40, 2)
    cache = CoordinateCache()
    found(features, cache)
    other = found(features.reshape(200, 20), cache)
    assert {one.directions.shape[1] for one in other} == {20}


def test_parts_of_many_folds_share_few_directions(monkeypatch: pytest.MonkeyPatch, decomposed: list[int]) -> None:
    """20 groups that are left out two by two, one by one, and none: 211 parts."""
    monkeypatch.setattr(coordinates_module, "_SHARED", 1.0)
    features, _ = overlapping(200, 40, 2)
    pairs = [*itertools.combinations(range(20), 2), *((cell,) for cell in range(20)), ()]
    members = np.array([[cell not in away for cell in range(20)] for away in pairs])
    rows = CentredRows(features, np.zeros(200, dtype=int), np.repeat(np.arange(20), 10))
    parts = PartCoordinates(rows).of(members, rows=1)
    assert len(parts) == 211
    assert len(decomposed) < 15  # one for each pair of halves that has neither cell
