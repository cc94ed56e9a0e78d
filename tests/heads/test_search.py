"""The head against scikit-learn and derivations by hand; the choice of its penalty without leaks."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss
from tests.heads.problems import of_scikit_learn, overlapping

from regraft.data.class_weights import ClassWeights
from regraft.heads.linear import LinearHead
from regraft.heads.logistic import Regressions
from regraft.heads.search import ABSENT, LEARNED, STRENGTHS, Selection, fit_head, select_heads


def five_folds(n: int) -> np.ndarray:
    return np.random.default_rng(9).permutation(n) % 5


def probabilities(head: LinearHead, features: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(head.logits(features).astype(np.float64), axis=1))


def select_strength(
    features: np.ndarray, labels: np.ndarray, classes: int, *, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> Selection:
    """Make one choice alone."""
    return select_heads(features, labels, classes, folds=[folds], strengths=strengths)[0]


# --- one strength ---


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("strength", [10.0, 0.3, 1e-2, 1e-3, 1e-5])
def test_probabilities_are_scikit_learns(classes: int, strength: float) -> None:
    features, labels = overlapping(300, 12, classes)
    found = probabilities(fit_head(features, labels, classes, strength=strength), features)
    expected = of_scikit_learn(features, labels, strength)
    assert found.shape == (300, classes)
    assert np.ptp(expected) > 0.01  # not all the same
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_fewer_photos_than_features(strength: float) -> None:
    features, labels = overlapping(24, 60, 3)
    found = probabilities(fit_head(features, labels, 3, strength=strength), features)
    np.testing.assert_allclose(found, of_scikit_learn(features, labels, strength), rtol=0, atol=1e-3)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_two_classes_minimise_the_documented_objective(strength: float) -> None:
    features, labels = overlapping(120, 4, 2)
    z = (features - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)

    def objective(flat: np.ndarray) -> float:
        weight, bias = flat[:8].reshape(2, 4), flat[8:]
        loss = -log_softmax(z @ weight.T + bias, axis=1)[np.arange(120), labels].mean()
        return float(loss + strength / 2 * np.sum(weight**2))

    best = minimize(objective, np.zeros(10), method="BFGS", options={"gtol": 1e-6})
    weight = best.x[:8].reshape(2, 4)
    head = fit_head(features, labels, 2, strength=strength)
    np.testing.assert_allclose(head.weight * features.std(axis=0), weight, rtol=0, atol=1e-3)
    expected = softmax(z @ weight.T + best.x[8:], axis=1)
    np.testing.assert_allclose(probabilities(head, features), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("class_weights", [None, ClassWeights(), ClassWeights((5.0, 1.0, 2.0))])
def test_an_infinite_penalty_leaves_the_class_frequencies(class_weights: ClassWeights | None) -> None:
    """Whatever the weights w: the weighted shares q_k = w_k n_k / sum(w n), without weights q / w, are the shares."""
    features, _ = overlapping(100, 6, 3)
    labels = np.repeat([0, 1, 2], [70, 20, 10])  # the bias is free, so that the mean probability is the frequency
    found = probabilities(fit_head(features, labels, 3, strength=1e4, class_weights=class_weights), features)
    np.testing.assert_allclose(found, np.tile([0.7, 0.2, 0.1], (100, 1)), rtol=0, atol=1e-3)


def test_constant_features_get_no_weight() -> None:
    features, labels = overlapping(90, 5, 3)
    constant = np.tile(np.array([0.0, 0.1, -1e4], np.float32), (90, 1))
    head = fit_head(np.hstack([constant, features]), labels, 3, strength=0.01)
    alone = fit_head(features, labels, 3, strength=0.01)
    assert np.array_equal(head.weight[:, :3], np.zeros((3, 3)))
    np.testing.assert_allclose(head.weight[:, 3:], alone.weight, rtol=0, atol=1e-3)
    np.testing.assert_allclose(head.bias, alone.bias, rtol=0, atol=1e-3)


@pytest.mark.parametrize("n", [20, 80])  # by the photos' Gram matrix, and by the features' correlations
def test_a_feature_that_few_photos_hardly_show_does_not_decide_for_one_that_shows_it(n: int) -> None:
    """Its deviation is 1e-4 of the others'; a photo that shows it as they are shown has z = 10,000 without a bound."""
    features, labels = overlapping(n, 40, 2, spread=1.0)
    features[:, 0] = 1e-4 * np.random.default_rng(1).normal(size=n)
    head = fit_head(features, labels, 2, strength=0.01)
    photo = features[:1].copy()
    before = head.logits(photo)
    photo[0, 0] = 1.0
    assert np.abs(head.logits(photo) - before).max() < 0.1
    deviations = features.astype(np.float64).std(axis=0)
    assert deviations[0] < 0.01 * deviations[1:].min()
    # a feature that is seen as the others are keeps its say: its logits go with its own deviation
    assert np.abs(head.weight[:, 1:] * deviations[1:]).max() > 0.1


def test_eigenvalues_that_are_nan_are_computed_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A routine in float32 may give NaN for some finite matrices of low rank."""
    features, labels = overlapping(60, 20, 2)
    features[:, 5:] = features[:, :1]  # of rank 5
    expected, eigh = of_scikit_learn(features, labels, 0.1), np.linalg.eigh

    def fail(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(matrix)
        nan = np.full_like(matrix, np.nan)
        return (nan[0], nan) if matrix.dtype == np.float32 else (values, vectors)

    monkeypatch.setattr(np.linalg, "eigh", fail)
    found = probabilities(fit_head(features, labels, 2, strength=0.1), features)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_the_same_photos_give_the_same_head_to_the_last_digit() -> None:
    """Fewer photos than features, and several threads: eigenvectors must not depend on how the work was shared out."""
    features, labels = overlapping(200, 512, 2)
    heads = {fit_head(features.copy(), labels, 2, strength=0.1).weight.tobytes() for _ in range(5)}
    assert len(heads) == 1


def test_units_of_the_features_do_not_matter() -> None:
    features, labels = overlapping(150, 6, 3)
    units, offsets = np.array([1e-3, 1e3, 1, 7, 0.1, 30]), np.array([5e-3, -2e3, 10, 0, 1, 100])
    moved = (features * units + offsets).astype(np.float32)
    expected = probabilities(fit_head(features, labels, 3, strength=0.01), features)
    found = probabilities(fit_head(moved, labels, 3, strength=0.01), moved)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_every_photo_twice_changes_nothing() -> None:
    features, labels = overlapping(120, 5, 3)  # the loss is a mean: n does not shift the balance with the penalty
    once = fit_head(features, labels, 3, strength=0.1)
    twice = fit_head(np.vstack([features, features]), np.hstack([labels, labels]), 3, strength=0.1)
    np.testing.assert_allclose(probabilities(twice, features), probabilities(once, features), rtol=0, atol=1e-3)


def test_the_input_is_left_as_it_was() -> None:
    features, labels = overlapping(40, 4, 2)
    before = features.copy()
    fit_head(features, labels, 2, strength=0.1)
    select_strength(features, labels, 2, folds=five_folds(40), strengths=[1.0])
    assert np.array_equal(features, before)


# --- the choice of a strength ---


def stops_as_documented(selection: Selection, strengths: tuple[float, ...] = STRENGTHS) -> None:
    """Check that the path goes from strong to weak until the last two losses are both above the lowest, no further."""
    tried = list(selection.losses)
    assert tried == sorted(strengths, reverse=True)[: len(tried)]
    losses = list(selection.losses.values())
    rising = [n for n in range(3, len(losses) + 1) if min(losses[n - 2 : n]) > min(losses[:n])]
    assert rising == [len(losses)] or (rising == [] and len(tried) == len(strengths))


def test_strengths_are_half_decades_from_10_to_1e_5() -> None:
    assert list(STRENGTHS) == pytest.approx([10 ** (1 - k / 2) for k in range(13)])


def test_noise_gets_a_strong_penalty_and_an_early_stop() -> None:
    features = np.random.default_rng(0).normal(0, 1, (100, 80)).astype(np.float32)
    selection = select_strength(features, np.arange(100) % 4, 4, folds=five_folds(100))
    assert selection.strength >= 1.0
    assert selection.losses[selection.strength] == pytest.approx(np.log(4), abs=0.1)
    assert len(selection.losses) < 8
    stops_as_documented(selection)


@pytest.mark.parametrize("classes", [2, 5])
def test_clean_classes_get_a_weak_penalty(classes: int) -> None:
    labels = np.arange(100) % classes
    features = 10 * np.eye(classes)[labels] + np.random.default_rng(0).normal(0, 0.5, (100, classes))
    selection = select_strength(features.astype(np.float32), labels, classes, folds=five_folds(100))
    assert selection.strength <= 1e-3
    assert selection.losses[selection.strength] < 0.01
    assert np.array_equal(selection.logits.argmax(axis=1), labels)
    assert len(selection.losses) > 8
    stops_as_documented(selection)


def test_between_noise_and_clean_the_path_stops_past_its_lowest() -> None:
    features, labels = overlapping(120, 30, 3)
    selection = select_strength(features, labels, 3, folds=five_folds(120))
    assert selection.strength == min(selection.losses, key=lambda strength: selection.losses[strength])
    assert 10.0 > selection.strength > 1e-5
    assert len(selection.losses) < len(STRENGTHS)
    stops_as_documented(selection)


def test_losses_are_those_of_the_logits() -> None:
    features, labels = overlapping(120, 30, 3)
    selection = select_strength(features, labels, 3, folds=five_folds(120))
    assert list(selection.losses)[-1] < selection.strength  # the logits are not just the last ones
    expected = log_loss(labels, softmax(selection.logits.astype(np.float64), axis=1))
    assert selection.losses[selection.strength] == pytest.approx(expected, rel=1e-6)


def test_held_out_logits_come_from_the_other_folds() -> None:
    features, labels = overlapping(100, 10, 3)
    folds = five_folds(100)
    selection = select_strength(features, labels, 3, folds=folds)
    for fold in range(5):
        held = folds == fold
        head = fit_head(features[~held], labels[~held], 3, strength=selection.strength)
        found = softmax(selection.logits[held], axis=1)
        # heads along the path are fitted less exactly (largest gradient 3e-4) than final ones
        np.testing.assert_allclose(found, probabilities(head, features[held]), rtol=0, atol=0.02)


@pytest.mark.parametrize("d", [10, 150])
def test_no_photos_own_label_or_neighbours_reach_its_logits(d: int) -> None:
    features, labels = overlapping(100, d, 3)
    folds = five_folds(100)
    held = folds == 2
    changed, shifted = labels.copy(), features.copy()
    changed[held] = (labels[held] + 1) % 3
    photo = np.flatnonzero(held)[0]
    shifted[photo] += 100
    before = select_strength(features, labels, 3, folds=folds, strengths=[0.1])
    after = select_strength(shifted, changed, 3, folds=folds, strengths=[0.1])
    same = held & (np.arange(100) != photo)
    # its mates are in the mean that is taken off before a product and added after: the last digits move
    np.testing.assert_allclose(after.logits[same], before.logits[same], rtol=0, atol=1e-3)
    assert np.abs(after.logits[photo] - before.logits[photo]).max() > 0.1
    assert np.abs(after.logits[~held] - before.logits[~held]).max() > 0.1


def test_photos_of_fold_minus_1_are_trained_on_but_never_judged() -> None:
    features, labels = overlapping(100, 10, 3)
    folds = five_folds(100)
    folds[folds == 4] = -1
    kept = folds >= 0
    selection = select_strength(features, labels, 3, folds=folds, strengths=[0.1])
    assert np.array_equal(selection.logits[~kept], np.zeros((20, 3)))
    expected = log_loss(labels[kept], softmax(selection.logits[kept].astype(np.float64), axis=1))
    assert selection.losses == {0.1: pytest.approx(expected, rel=1e-6)}
    first = folds == 0
    head = fit_head(features[~first], labels[~first], 3, strength=0.1)
    without = fit_head(features[kept & ~first], labels[kept & ~first], 3, strength=0.1)
    found = softmax(selection.logits[first], axis=1)
    error = np.abs(found - probabilities(head, features[first])).max()
    assert error < 0.01 < np.abs(found - probabilities(without, features[first])).max()


def test_the_order_of_strengths_does_not_matter() -> None:
    features, labels = overlapping(60, 5, 2)
    forth = select_strength(features, labels, 2, folds=five_folds(60), strengths=[1.0, 0.1, 0.01])
    back = select_strength(features, labels, 2, folds=five_folds(60), strengths=[0.01, 1.0, 0.1])
    assert list(back.losses.items()) == list(forth.losses.items())
    assert np.array_equal(back.logits, forth.logits)


def test_a_class_of_two_photos_in_two_folds() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    features = 6 * np.eye(3)[labels] + np.random.default_rng(0).normal(0, 0.3, (42, 3))
    folds = np.arange(42) % 2  # every class is in both training parts
    selection = select_strength(features.astype(np.float32), labels, 3, folds=folds)
    assert np.isfinite(selection.logits).all()
    assert np.array_equal(selection.logits.argmax(axis=1), labels)


# --- several choices at once ---


def nested(folds: np.ndarray) -> list[np.ndarray]:
    """Return the choices made without each fold, and the one made with all."""
    return [*(np.where(folds == fold, ABSENT, folds) for fold in np.unique(folds)), folds]


@pytest.mark.parametrize(("n", "d", "classes"), [(150, 10, 3), (60, 90, 3), (150, 10, 2)])
def test_choices_made_together_are_those_made_alone_without_the_absent(n: int, d: int, classes: int) -> None:
    features, labels = overlapping(n, d, classes)
    folds = five_folds(n)
    tasks = nested(folds)
    together = select_heads(features, labels, classes, folds=tasks)
    for task, found in zip(tasks, together, strict=True):
        kept = task != ABSENT
        alone = select_strength(features[kept], labels[kept], classes, folds=task[kept])
        assert found.strength == alone.strength
        assert found.losses == pytest.approx(alone.losses, rel=1e-3)
        np.testing.assert_allclose(
            probabilities(found.head, features[kept]), probabilities(alone.head, features[kept]), rtol=0, atol=1e-3
        )
        np.testing.assert_allclose(
            softmax(found.logits[kept], axis=1), softmax(alone.logits, axis=1), rtol=0, atol=5e-3
        )
        assert not found.logits[~kept].any()


@pytest.mark.parametrize("d", [10, 90])
def test_heads_are_those_of_all_that_is_not_absent(d: int) -> None:
    features, labels = overlapping(60, d, 3)
    folds = five_folds(60)
    for task, found in zip(nested(folds), select_heads(features, labels, 3, folds=nested(folds)), strict=True):
        kept = task != ABSENT
        expected = of_scikit_learn(features[kept], labels[kept], found.strength)
        np.testing.assert_allclose(probabilities(found.head, features[kept]), expected, rtol=0, atol=1e-3)
        assert found.head.strength == found.strength


def test_what_is_absent_from_a_choice_does_not_touch_a_bit_of_it() -> None:
    features, labels = overlapping(60, 90, 3)
    folds = five_folds(60)
    away = folds == 2
    changed, shifted = labels.copy(), features.copy()
    changed[away] = (labels[away] + 1) % 3
    shifted[away] += 100
    before = select_heads(features, labels, 3, folds=nested(folds))
    after = select_heads(shifted, changed, 3, folds=nested(folds))
    assert before[2].losses == after[2].losses
    assert np.array_equal(before[2].logits, after[2].logits)
    assert np.array_equal(before[2].head.weight, after[2].head.weight)
    assert np.array_equal(before[2].head.bias, after[2].head.bias)
    assert all(before[k].losses != after[k].losses for k in (0, 1, 3, 4, 5))


def test_heads_that_several_choices_need_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    whole = Regressions.__init__

    def counts(self: Regressions, *given: object, **named: np.ndarray) -> None:
        parts.append(len(named["members"]))
        whole(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Regressions, "__init__", counts)
    features, labels = overlapping(60, 5, 3)
    folds = five_folds(60)
    select_heads(features, labels, 3, folds=nested(folds))
    assert parts == [10 + 5 + 1]  # without two folds, without one, with all
    rare = np.where(np.arange(60) == np.flatnonzero(folds == 1)[0], LEARNED, nested(folds)[0])
    select_heads(features, labels, 3, folds=[rare, *nested(folds)[1:]])
    assert parts[1] == 16 + 1  # a photo that one choice does not hold out sets one of its parts apart


@pytest.mark.parametrize("classes", [2, 3])
def test_features_that_are_all_equal_leave_the_class_frequencies(classes: int) -> None:
    labels = np.arange(30) % classes
    labels[:6] = 0
    head = fit_head(np.ones((30, 4), np.float32), labels, classes, strength=1.0)
    shares = np.bincount(labels) / 30
    assert probabilities(head, np.ones((1, 4), np.float32))[0] == pytest.approx(shares, abs=1e-4)
