"""Linear discriminant analysis: scikit-learn's layers, from sums alone, chosen without the photos that judge it."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from tests.heads.problems import BoundedScaler, overlapping
from tests.heads.test_sharded_rows import centred_logits, in_shards

from regraft.heads.centred_rows import CentredRows
from regraft.heads.discriminant import SHRINKAGES, Discriminants, select_discriminants
from regraft.heads.search import ABSENT, LEARNED

MANY, FEW = (400, 20), (60, 200)  # photos and features: by covariances of features, and by products of photos


def of_scikit_learn(
    features: np.ndarray, labels: np.ndarray, shrinkage: float, at: np.ndarray, classes: int
) -> np.ndarray:
    """Return the logits (m, c) of photos `at` (m, d), of mean 0 over the classes, by photos (n, d) that are learned."""
    scaler = BoundedScaler().fit(features)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(scaler.transform(features), labels)
    found = scaler.transform(at) @ model.coef_.T + model.intercept_
    if classes == 2:  # it keeps the difference of the two
        found = np.column_stack([np.zeros(len(at)), found])
    return np.asarray(found - found.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("size", [MANY, FEW])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("shrinkage", [1.0, 0.3, 1e-3])
def test_layers_are_those_of_scikit_learn(size: tuple[int, int], classes: int, shrinkage: float) -> None:
    features, labels = overlapping(*size, classes)
    cells = np.random.default_rng(0).permutation(len(labels)) % 4
    rows = CentredRows(features, labels, cells)
    found = Discriminants(rows, classes, members=np.array([[True] * 4, [True, False, True, True]]))
    for part, learned in enumerate((cells >= 0, cells != 1)):
        weight, bias = found.layers([part], shrinkage)[part]
        expected = of_scikit_learn(features[learned], labels[learned], shrinkage, features, classes)
        np.testing.assert_allclose(features @ weight.T + bias, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("size", [MANY, FEW])
def test_constant_features_change_nothing(size: tuple[int, int]) -> None:
    features, labels = overlapping(*size, 3)
    with_constants = np.hstack([np.full((len(labels), 1), 7.0, np.float32), features, np.zeros_like(features[:, :2])])
    folds = [np.arange(len(labels)) // 3 % 4]
    (expected,) = select_discriminants(features, labels, 3, folds=folds)
    (found,) = select_discriminants(with_constants, labels, 3, folds=folds)
    assert found.losses == pytest.approx(expected.losses, abs=1e-5)
    np.testing.assert_allclose(found.head.weight[:, 1:-2], expected.head.weight, atol=1e-5)
    assert not found.head.weight[:, [0, -2, -1]].any()


@pytest.mark.filterwarnings("ignore:Only one sample")  # of scikit-learn
def test_a_class_may_be_missing_in_a_cell_and_have_one_photo_elsewhere() -> None:
    features, labels = overlapping(200, 10, 3)
    rare = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:2]])
    features, labels = features[rare], labels[rare]
    cells = np.arange(len(labels)) // 2 % 3
    cells[labels == 2] = [0, 1]
    found = Discriminants(CentredRows(features, labels, cells), 3, members=np.array([[True, False, True]]))
    weight, bias = found.layers([0], 0.1)[0]
    learned = cells != 1
    expected = of_scikit_learn(features[learned], labels[learned], 0.1, features, 3)
    np.testing.assert_allclose(features @ weight.T + bias, expected, atol=1e-4 * np.abs(expected).max())


def test_photos_of_a_class_that_are_all_alike_give_finite_layers() -> None:
    features = np.repeat(np.eye(2, 30, dtype=np.float32), 20, axis=0)
    labels = np.repeat([0, 1], 20)
    (found,) = select_discriminants(features, labels, 2, folds=[np.arange(40) % 4])
    assert np.isfinite(found.head.weight).all()
    assert (found.head.logits(features).argmax(axis=1) == labels).all()


# --- the choice ---


def test_the_choice_is_that_of_log_losses_at_the_best_temperatures() -> None:
    features, labels = overlapping(300, 40, 3)
    folds = np.random.default_rng(1).permutation(300) % 4
    (found,) = select_discriminants(features, labels, 3, folds=[folds])
    expected = {}
    for shrinkage in found.losses:
        logits = np.empty((300, 3))
        for fold in range(4):
            learn, held = folds != fold, folds == fold
            logits[held] = of_scikit_learn(features[learn], labels[learn], shrinkage, features[held], 3)

        def loss(exponent: float, logits: np.ndarray = logits) -> float:
            probabilities = log_softmax(logits / np.exp(exponent), axis=1)
            return -float(probabilities[np.arange(300), labels].mean())

        expected[shrinkage] = minimize_scalar(loss, bounds=(-3, 8), method="bounded").fun
    # the temperature is fitted to smoothed targets, which costs a little
    assert found.losses == pytest.approx(expected, abs=2e-3)
    assert found.strength == min(expected, key=lambda one: expected[one])
    losses = -log_softmax(found.logits.astype(np.float64), axis=1)[np.arange(300), labels]
    assert losses.mean() == pytest.approx(found.losses[found.strength], abs=1e-5)  # logits are divided by it, too


def test_few_shrinkages_are_tried_beyond_the_best() -> None:
    features, labels = overlapping(60, 200, 2)
    (found,) = select_discriminants(features, labels, 2, folds=[np.arange(60) // 2 % 3])
    tried = list(found.losses)
    assert tried == list(SHRINKAGES[: len(tried)])
    assert len(tried) == min(tried.index(found.strength) + 3, len(SHRINKAGES))


@pytest.mark.parametrize("size", [(300, 20), (90, 200)])
def test_held_out_photos_change_neither_choice_nor_layers(size: tuple[int, int]) -> None:
    """The choice made without a fold knows nothing of it, and each held-out logit nothing of its own fold."""
    features, labels = overlapping(*size, 3)
    folds = np.random.default_rng(2).permutation(len(labels)) % 3
    tasks = [np.where(folds == fold, ABSENT, folds) for fold in range(3)]
    changed, others = features.copy(), labels.copy()
    changed[folds == 0] += 5 * np.random.default_rng(3).normal(size=changed[folds == 0].shape)
    others[folds == 0] = 2 - others[folds == 0]
    before = select_discriminants(features, labels, 3, folds=tasks)
    after = select_discriminants(changed, others, 3, folds=tasks)
    assert before[0].losses == after[0].losses
    assert before[0].head.weight.tobytes() == after[0].head.weight.tobytes()
    assert before[0].logits.tobytes() == after[0].logits.tobytes()
    assert before[1].head.weight.tobytes() != after[1].head.weight.tobytes()  # it learned from them

    held = Discriminants(CentredRows(features, labels, folds), 3, members=np.array([[False, True, True]]))
    same = Discriminants(CentredRows(changed, others, folds), 3, members=np.array([[False, True, True]]))
    assert held.layers([0], 0.1)[0][0].tobytes() == same.layers([0], 0.1)[0][0].tobytes()


@pytest.mark.parametrize("d", [20, 500])
def test_photos_in_shards_give_the_same(d: int) -> None:
    features, labels = overlapping(300, d, 5)
    folds = np.random.default_rng(0).permutation(300) % 3
    tasks = [folds, *(np.where(folds == fold, ABSENT, folds) for fold in range(3))]
    sharded, _ = in_shards(features, labels)
    expected = select_discriminants(features, labels, 5, folds=tasks)
    found = select_discriminants(sharded, labels, 5, folds=tasks)
    for one, two in zip(found, expected, strict=True):
        assert one.strength == two.strength
        assert one.losses == pytest.approx(two.losses, abs=1e-5)
        np.testing.assert_allclose(centred_logits(one, features), centred_logits(two, features), atol=2e-3)
        np.testing.assert_allclose(one.logits, two.logits, atol=2e-3)


def test_photos_columns_and_those_that_are_only_learned_from_are_those_that_are_named() -> None:
    features, labels = overlapping(400, 30, 3)
    chosen = np.flatnonzero(np.random.default_rng(1).random(400) < 0.6)
    folds = np.where(np.arange(len(chosen)) < 20, LEARNED, np.arange(len(chosen)) % 4)
    (found,) = select_discriminants(features, labels[chosen], 3, folds=[folds], photos=chosen, columns=np.arange(5, 25))
    (expected,) = select_discriminants(features[chosen, 5:25], labels[chosen], 3, folds=[folds])
    assert found.losses == expected.losses
    assert not found.logits[:20].any()
    np.testing.assert_array_equal(found.head.weight, expected.head.weight)


def test_a_sample_of_many_photos_chooses_as_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = overlapping(3000, 20, 2)
    folds = [np.random.default_rng(4).permutation(3000) % 5]
    (expected,) = select_discriminants(features, labels, 2, folds=folds)
    monkeypatch.setattr("regraft.heads.discriminant._COMPARED", 600)
    (found,) = select_discriminants(features, labels, 2, folds=folds)
    assert found.losses != expected.losses
    # 600 photos whose losses differ by about their own size: 4 standard errors
    both = sorted(set(found.losses) & set(expected.losses))
    gaps = [found.losses[one] - expected.losses[one] for one in both]
    assert np.abs(gaps).max() < 4 * 0.5 / np.sqrt(600)
    assert (found.logits != 0).any(axis=1).all()  # those of all photos
