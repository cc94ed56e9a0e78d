"""The linear probe: what it chooses is what scikit-learn would choose, and its estimate cannot be flattered."""

import functools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from tests.fixtures.learning import dataset_of
from tests.heads.problems import BoundedScaler, of_scikit_learn

from regraft.data.class_weights import ClassWeights
from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS, stratified_folds
from regraft.errors import DataError
from regraft.evaluation.calibration import fit_temperature
from regraft.heads import probe as probe_module
from regraft.heads.coordinates import CoordinateCache
from regraft.heads.discriminant import select_discriminants
from regraft.heads.linear import CalibratedHead
from regraft.heads.probe import CalibratedHeads, fit_calibrated_head
from regraft.heads.search import ABSENT, LEARNED, STRENGTHS, select_heads
from regraft.heads.sharded_rows import FeatureShard, LocalShards, ShardedFeatures
from regraft.transfer.budget import Clock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.trainers import LinearProbe

NAMES = ("ant", "bee", "cat", "dog")


class Data(NamedTuple):
    """Features (n, d) with labels, groups and classes of their photos."""

    features: np.ndarray
    dataset: Dataset

    @property
    def labels(self) -> np.ndarray:
        return self.dataset.labels

    def select(self, mask: np.ndarray) -> "Data":
        return Data(self.features[mask], self.dataset.select(mask))

    def fit(self, *, seed: int) -> CalibratedHead:
        return fit_calibrated_head(self.features, self.dataset, seed=seed)


def labelled(features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Data:
    return Data(features.astype(np.float32), dataset_of(labels, groups, NAMES[: labels.max() + 1]))


def clusters(per_class: int, *, classes: int = 3, distance: float = 1.0, features: int = 6, seed: int = 0) -> Data:
    """Return photos of which class k lies `distance` along axis k, in noise of deviation 1."""
    labels = np.repeat(np.arange(classes), per_class)
    noise = np.random.default_rng(seed).normal(size=(len(labels), features))
    return labelled(noise + distance * np.eye(classes, features)[labels], labels)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def out_of_fold(data: Data, *, seed: int) -> np.ndarray:
    """Return what the linear probe predicts for each photo, having learned from the other folds."""
    folds = data.dataset.folds(OUTER_FOLDS, seed=seed)
    heads = CalibratedHeads(data.features, data.dataset, seed=seed, all_too=True)
    probe = LinearProbe(data.features, data.dataset, heads=heads)
    return cross_validate(probe, data.dataset, folds, clock=Clock(float("inf")), seed=seed).probabilities


# --- honesty ---


def test_noise_is_at_chance_out_of_fold_however_well_it_is_learned_by_heart() -> None:
    right, learned = 0, []
    for seed in range(3):
        labels = np.tile([0, 1], 30)
        data = labelled(np.random.default_rng(seed).normal(size=(60, 300)), labels)
        learned.append(accuracy(data.fit(seed=seed).probabilities(data.features), labels))
        right += int((out_of_fold(data, seed=seed).argmax(axis=1) == labels).sum())
    assert min(learned) > 0.95
    # 180 throws of a coin: 90 right, standard deviation sqrt(180) / 2 = 6.7
    assert abs(right - 90) < 4 * np.sqrt(180) / 2


def test_noise_is_not_claimed_to_be_certain() -> None:
    labels = np.tile([0, 1], 30)
    data = labelled(np.random.default_rng(5).normal(size=(60, 300)), labels)
    # saying 1/2 to everything costs log 2; an honest estimate with calibration may cost little more
    assert log_loss(labels, out_of_fold(data, seed=0)) < np.log(2) + 0.15


def test_features_that_give_the_group_away_do_not_help_across_groups() -> None:
    known, unknown = [], []
    for seed in range(3):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 4)
        labels = np.tile([0, 1], 15)[groups]  # of the group, which its look does not tell
        features = generator.normal(size=(30, 40))[groups] + 0.1 * generator.normal(size=(120, 40))
        unknown.append(accuracy(out_of_fold(labelled(features, labels, groups), seed=seed), labels))
        known.append(accuracy(out_of_fold(labelled(features, labels), seed=seed), labels))
    assert min(known) > 0.9
    # 90 groups that are right or wrong as a whole: standard deviation sqrt(1/4 / 90) = 0.053
    assert abs(np.mean(unknown) - 0.5) < 4 * np.sqrt(0.25 / 90)


def folds_stay(monkeypatch: pytest.MonkeyPatch, folds: np.ndarray) -> None:
    """Keep the outer folds as they are, whatever the labels; the inner ones are made as ever."""
    # Labels that change would change the folds, and with them all that this test compares

    def of(labels: np.ndarray, *rest: object, **options: object) -> np.ndarray:
        return folds if len(labels) == len(folds) else stratified_folds(labels, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("regraft.data.dataset.stratified_folds", of)


@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.parametrize("features", [6, 90])
def test_what_is_judged_takes_no_part_in_the_judging(monkeypatch: pytest.MonkeyPatch, fold: int, features: int) -> None:
    data = clusters(15, features=features)
    folds = data.dataset.folds(5, seed=3)
    inside = np.flatnonzero(folds == fold)
    one, mates = inside[0], inside[1:]
    folds_stay(monkeypatch, folds)
    before = out_of_fold(data, seed=3)

    # More photos than features share their products with those of other folds, whose number moves the last digits
    same = functools.partial(np.allclose, rtol=0, atol=1e-3) if features == 6 else np.array_equal
    labels, shown = data.labels.copy(), data.features.copy()
    labels[inside] = (labels[inside] + 1) % 3  # its own label and those of its fold
    shown[mates] += 100  # what its fold's other photos show
    after = out_of_fold(labelled(shown, labels), seed=3)
    assert same(after[one], before[one])
    assert not same(after[folds != fold], before[folds != fold])  # the others learned from it

    labels = data.labels.copy()
    other = int(np.flatnonzero(folds != fold)[0])
    labels[other] = (labels[other] + 1) % 3
    assert not same(out_of_fold(labelled(data.features, labels), seed=3)[one], before[one])


def by_hand(learned: Data, folds: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return the probabilities of (m, d) features by what is chosen and fitted on nothing but `learned`."""
    found = select_heads(learned.features, learned.labels, len(learned.dataset.classes), folds=[folds])[0]
    held_out = folds >= 0
    temperature = fit_temperature(found.logits[held_out], learned.labels[held_out])
    return CalibratedHead(found.head, temperature).probabilities(judged)


@pytest.mark.parametrize("features", [6, 60])
def test_out_of_fold_is_five_probes_by_hand(features: int) -> None:
    data = clusters(12, features=features)
    folds = data.dataset.folds(5, seed=7)
    found = out_of_fold(data, seed=7)
    for fold in range(5):
        learned, judged = folds != fold, folds == fold
        expected = by_hand(data.select(learned), folds[learned], data.features[judged])
        np.testing.assert_allclose(found[judged], expected, atol=2e-3)


def test_out_of_fold_of_mixed_groups_is_probes_by_hand_too() -> None:
    plain = clusters(20, classes=2)
    groups = np.tile(np.arange(10), 4)  # every group has photos of both classes
    data = labelled(plain.features, plain.labels, groups)
    folds = data.dataset.folds(5, seed=1)
    found = out_of_fold(data, seed=1)
    for fold in range(5):
        learned, judged = folds != fold, folds == fold
        expected = by_hand(data.select(learned), folds[learned], data.features[judged])
        np.testing.assert_allclose(found[judged], expected, atol=2e-3)


def test_out_of_fold_is_scikit_learns_nested_cross_validation() -> None:
    data = clusters(20, distance=1.5, seed=2)
    folds = data.dataset.folds(5, seed=2)
    found = out_of_fold(data, seed=2)
    for fold in range(5):
        learned = folds != fold
        x, y = data.features[learned], data.labels[learned]
        held_out = {strength: held_out_logits(strength, x, y, folds[learned]) for strength in STRENGTHS}
        best = min(STRENGTHS, key=lambda s: float(log_loss(y, softmax(held_out[s], axis=1))))
        temperature = fit_temperature(held_out[best], y)
        model = scikit_learn(best, len(x)).fit(x, y)  # type: ignore[attr-defined]
        expected = softmax(model.decision_function(data.features[~learned]) / temperature, axis=1)
        np.testing.assert_allclose(found[~learned], expected, rtol=0, atol=0.01)


def test_many_photos_choose_by_the_two_folds_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clusters(12)
    folds = data.dataset.folds(5, seed=7)
    expected = np.full((36, 3), np.nan)
    for fold in range(5):
        learned = folds != fold
        beside = np.isin(folds, [(fold + 1) % 5, (fold + 4) % 5])
        inner = np.where(beside, folds, LEARNED)[learned]
        expected[~learned] = by_hand(data.select(learned), inner, data.features[~learned])
    assert not np.allclose(out_of_fold(data, seed=7), expected, rtol=0, atol=2e-3)
    monkeypatch.setattr(probe_module, "_LARGE", 1)
    monkeypatch.setattr(probe_module, "_PLENTY", 37)
    assert not np.allclose(out_of_fold(data, seed=7), expected, rtol=0, atol=2e-3)  # 36 photos: too few for that
    monkeypatch.setattr(probe_module, "_PLENTY", 36)
    np.testing.assert_allclose(out_of_fold(data, seed=7), expected, rtol=0, atol=2e-3)
    of_all = by_hand(data, np.where(np.isin(folds, [1, 4]), folds, LEARNED), data.features)
    np.testing.assert_allclose(data.fit(seed=7).probabilities(data.features), of_all, rtol=0, atol=2e-3)


def test_class_in_two_folds_is_learned_from_without_either(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clusters(10, classes=2, distance=3.0)
    whole = labelled(np.vstack([data.features, np.eye(2, 6, k=4) * 30]), np.append(data.labels, [2, 2]))
    tasks: list[np.ndarray] = []

    def hears(*given: np.ndarray, folds: list[np.ndarray], exact: bool, columns: slice, **others: object) -> object:
        assert exact
        assert columns == slice(None)
        assert set(others.values()) == {None}
        tasks.extend(folds)
        return select_heads(*given, folds=folds)  # type: ignore[arg-type]

    monkeypatch.setattr(probe_module, "select_heads", hears)
    out_of_fold(whole, seed=0)
    folds = whole.dataset.folds(5, seed=0)
    assert len(tasks) == 6
    for fold, task in enumerate(tasks[:5]):
        assert np.array_equal(task == ABSENT, folds == fold)
        assert np.array_equal(task[:20][folds[:20] != fold], folds[:20][folds[:20] != fold])
        rare = task[20:]
        alone = fold in folds[20:]  # one photo of the rare class is left: it is never held out
        assert sorted(rare) == ([ABSENT, LEARNED] if alone else sorted(folds[20:]))
    assert np.array_equal(tasks[5], folds)


def test_what_is_no_fold_is_a_data_set_of_its_own() -> None:
    data = clusters(12)
    some = np.arange(0, 36, 2)
    found = CalibratedHeads(data.features, data.dataset, seed=3).of(some)
    alone = data.select(np.isin(np.arange(36), some)).fit(seed=3)
    assert np.array_equal(found.head.weight, alone.head.weight)
    assert found.temperature == alone.temperature


def test_all_photos_are_the_same_whether_folds_were_judged_or_not() -> None:
    data = clusters(12)
    probes = CalibratedHeads(data.features, data.dataset, seed=3)
    probes.of(np.flatnonzero(data.dataset.folds(5, seed=3) != 2))
    together, alone = probes.of(np.arange(36)), data.fit(seed=3)
    assert together.head.strength == alone.head.strength
    np.testing.assert_allclose(
        together.probabilities(data.features), alone.probabilities(data.features), rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("all_too", [True, False])
def test_a_probe_does_not_depend_on_what_was_asked_for_before(all_too: bool) -> None:
    """A run that is taken up asks for other probes first: the last digits must be the same."""
    generator = np.random.default_rng(0)
    data = labelled(generator.normal(size=(140, 30)).astype(np.float32), np.arange(140) % 2)
    everything = np.arange(140)
    rest = np.flatnonzero(data.dataset.folds(5, seed=3) != 2)
    first, second = (CalibratedHeads(data.features, data.dataset, seed=3, all_too=all_too) for _ in range(2))
    orders = [first.of(everything), first.of(rest)], [second.of(rest), second.of(everything)][::-1]
    for one, other in zip(*orders, strict=True):
        assert np.array_equal(one.head.weight, other.head.weight)
        assert (one.temperature, one.head.strength) == (other.temperature, other.head.strength)


def test_out_of_fold_needs_two_of_each_class() -> None:
    data = labelled(np.eye(5), np.array([0, 0, 1, 1, 2]))
    with pytest.raises(DataError, match="1 classes come from one photo or one group only") as caught:
        out_of_fold(data, seed=0)
    assert "\n  cat\n" in str(caught.value)


# --- what is chosen ---


def scikit_learn(strength: float, n: int) -> object:
    return make_pipeline(BoundedScaler(), LogisticRegression(C=1 / (n * strength), solver="newton-cholesky"))


def held_out_logits(strength: float, features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n, c) logits of photos by what scikit-learn learned from the other folds."""
    found = np.empty((len(labels), labels.max() + 1))
    for fold in np.unique(folds):
        learned = folds != fold
        model = scikit_learn(strength, learned.sum()).fit(features[learned], labels[learned])  # type: ignore[attr-defined]
        found[~learned] = model.decision_function(features[~learned])
    return found


@pytest.mark.parametrize(("distance", "seed"), [(0.5, 0), (1.5, 1)])
def test_strength_and_temperature_are_those_of_scikit_learn(distance: float, seed: int) -> None:
    data = clusters(20, distance=distance, seed=seed)
    found = data.fit(seed=seed)
    folds = data.dataset.folds(5, seed=seed)
    held_out = {strength: held_out_logits(strength, data.features, data.labels, folds) for strength in STRENGTHS}
    losses = {s: -log_softmax(z, axis=1)[np.arange(60), data.labels].mean() for s, z in held_out.items()}
    best = min(losses, key=lambda strength: losses[strength])
    assert found.head.strength == best

    targets = np.full((60, 3), 1 / 62 / 2)  # Platt: 1 / (n + 2) of doubt, shared by the other classes
    targets[np.arange(60), data.labels] = 1 - 1 / 62
    least = minimize_scalar(
        lambda t: -(targets * log_softmax(held_out[best] / t, axis=1)).sum(), bounds=(0.05, 20), method="bounded"
    )
    assert found.temperature == pytest.approx(least.x, rel=0.02)

    model = scikit_learn(best, 60).fit(data.features, data.labels)  # type: ignore[attr-defined]
    expected = np.exp(log_softmax(model.decision_function(data.features) / found.temperature, axis=1))
    np.testing.assert_allclose(found.probabilities(data.features), expected, atol=2e-3)


def test_temperature_mends_a_head_that_is_too_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = functools.partial(select_heads, strengths=(1e-5,))
    monkeypatch.setattr(probe_module, "select_heads", weak)
    data, fresh = clusters(20, features=40), clusters(200, features=40, seed=1)
    found = data.fit(seed=0)
    assert found.head.strength == 1e-5
    assert accuracy(found.probabilities(data.features), data.labels) == 1.0  # learned by heart
    assert found.temperature > 1.5
    sure = CalibratedHead(found.head, 1.0)
    gain = log_loss(fresh.labels, sure.probabilities(fresh.features)) - log_loss(
        fresh.labels, found.probabilities(fresh.features)
    )
    assert gain > 0.1


@pytest.mark.parametrize("features", [6, 60])
def test_discriminants_are_chosen_and_calibrated_without_the_fold_that_they_answer(features: int) -> None:
    """By hand, fold by fold; weights of classes change nothing."""
    data = clusters(20, features=features)
    heads, weighted = (
        CalibratedHeads(data.features, data.dataset, seed=5, all_too=True, head="discriminant", class_weights=weights)
        for weights in (None, ClassWeights((1.0, 5.0, 1.0)))
    )
    folds = data.dataset.possible_folds(5, seed=5)
    for fold in range(5):
        learned = np.flatnonzero(folds != fold)
        x, y, inner = data.features[learned], data.labels[learned], folds[learned]
        (found,) = select_discriminants(x, y, 3, folds=[inner])
        expected = CalibratedHead(found.head, fit_temperature(found.logits, y)).probabilities(data.features)
        answered = heads.of(learned)
        assert answered.head.strength == found.strength
        np.testing.assert_allclose(answered.probabilities(data.features), expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(
            weighted.of(learned).probabilities(data.features), answered.probabilities(data.features)
        )


@pytest.mark.parametrize("features", [6, 60])
def test_weights_of_classes_are_each_training_sets_own_and_chosen_without(features: int) -> None:
    """By hand, fold by fold: weights of the photos that are learned from, strength and temperature by plain losses."""
    plain = clusters(20, features=features)
    rare = plain.select((plain.labels < 2) | (np.cumsum(plain.labels == 2) <= 7))
    heads = CalibratedHeads(rare.features, rare.dataset, seed=5, all_too=True, class_weights=ClassWeights())
    folds = rare.dataset.possible_folds(5, seed=5)
    for fold in range(5):
        learned = np.flatnonzero(folds != fold)
        x, y, inner = rare.features[learned], rare.labels[learned], folds[learned]
        (found,) = select_heads(x, y, 3, folds=[inner], class_weights=ClassWeights())
        losses = log_loss(y, softmax(found.logits.astype(np.float64), axis=1))
        assert found.losses[found.strength] == pytest.approx(losses, rel=1e-6)
        expected = CalibratedHead(found.head, fit_temperature(found.logits, y)).probabilities(rare.features)
        weighted = heads.of(learned)
        np.testing.assert_allclose(weighted.probabilities(rare.features), expected, rtol=0, atol=5e-3)
        weights = len(y) / (3 * np.bincount(y))
        of_scikit = of_scikit_learn(x, y, found.strength, weights)
        plain_logits = weighted.head.logits(x).astype(np.float64)
        np.testing.assert_allclose(softmax(plain_logits, axis=1), of_scikit, rtol=0, atol=5e-3)


# --- few photos ---


def test_class_of_one_photo_is_learned_from() -> None:
    data = clusters(10, classes=2, distance=8.0)
    rare = np.zeros((1, 6), np.float32)
    rare[0, 5] = 30.0
    whole = labelled(np.concatenate([data.features, rare]), np.append(data.labels, 2))
    found = whole.fit(seed=0)
    assert accuracy(found.probabilities(whole.features), whole.labels) == 1.0


def test_class_of_one_group_is_learned_from() -> None:
    data = clusters(8, distance=8.0)
    groups = np.where(data.labels == 2, 99, np.arange(24))
    found = labelled(data.features, data.labels, groups).fit(seed=0)
    assert accuracy(found.probabilities(data.features), data.labels) == 1.0


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [0, 1, 2]])
def test_where_nothing_can_be_held_out_nothing_is_chosen(labels: list[int]) -> None:
    data = labelled(np.random.default_rng(0).normal(size=(len(labels), 3)), np.array(labels))
    found = data.fit(seed=0)
    assert (found.head.strength, found.temperature) == (1.0, 1.0)


@pytest.mark.parametrize("rare", [2, 3])
def test_rare_class_has_out_of_fold_probabilities(rare: int) -> None:
    data = clusters(10, classes=2, distance=8.0)
    far = np.zeros((rare, 6), np.float32)
    far[:, 5] = 30.0 + np.arange(rare)
    whole = labelled(np.concatenate([data.features, far]), np.append(data.labels, [2] * rare))
    found = out_of_fold(whole, seed=0)  # with 2, an inner part has a single photo of the class
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert accuracy(found, whole.labels) == 1.0


def test_smallest_there_is() -> None:
    data = labelled(np.array([[0.0, 1], [0.1, 1], [5, 1], [5.1, 1]]), np.array([0, 0, 1, 1]))
    found = out_of_fold(data, seed=0)
    assert accuracy(found, data.labels) == 1.0


# --- seeds ---


@pytest.mark.parametrize("work", [lambda data, seed: data.fit(seed=seed).head.weight, out_of_fold])
def test_same_seed_same_bits(work: Callable[..., np.ndarray]) -> None:
    first, second = (work(clusters(12), seed=4) for _ in range(2))  # a data set keeps its folds
    assert np.array_equal(second, first)


def test_other_seed_other_folds() -> None:
    data = clusters(12)
    assert not np.array_equal(out_of_fold(data, seed=0), out_of_fold(data, seed=1))


def depths(noise: float, *, per_class: int = 20, seed: int = 0) -> tuple[Data, dict[str, slice]]:
    """Return clusters whose first three features are noise of this deviation, and choices of columns."""
    data = clusters(per_class, classes=3, distance=1.5, features=6, seed=seed)
    early = np.random.default_rng(seed + 1).normal(size=(len(data.labels), 3)) * noise
    features = np.concatenate([early.astype(np.float32), data.features], axis=1)
    return Data(features, data.dataset), {"last": slice(3, None), "all": slice(0, None), "early": slice(0, 3)}


def test_of_several_choices_the_one_with_the_lowest_loss_on_inner_folds_is_taken() -> None:
    """By hand: the heads of each choice on its own columns, compared by their cross-validated log loss."""
    data, choices = depths(1.0)
    heads = CalibratedHeads(data.features, data.dataset, seed=0, all_too=True, choices=choices)
    folds = data.dataset.possible_folds(5, seed=0)
    for away in range(5):
        learn = np.flatnonzero(folds != away)
        losses, found = {}, {}
        for name, columns in choices.items():
            (chosen,) = select_heads(data.features[learn][:, columns], data.labels[learn], 3, folds=[folds[learn]])
            losses[name] = min(chosen.losses.values())
            found[name] = fit_calibrated_head(data.features[learn][:, columns], data.dataset.select(learn), seed=0)
        best = min(losses, key=lambda name: losses[name])
        head = heads.of(learn)
        assert head.choice == best
        assert best != "early"  # which is noise
        each = heads.of_each_choice(learn)
        assert list(each) == list(choices)
        for name, columns in choices.items():
            expected = each[name].head.logits(data.features[:, columns])
            assert np.array_equal(each[name].logits(data.features), expected)


def test_what_is_judged_takes_no_part_in_the_choice_of_columns() -> None:
    """Early features that give the classes of one fold away, and of no other, are not chosen for it."""
    data, choices = depths(1.0)
    folds = data.dataset.possible_folds(5, seed=0)
    features = data.features.copy()
    features[folds == 2, :3] = 9 * np.eye(3)[data.labels[folds == 2]]
    before = CalibratedHeads(data.features, data.dataset, seed=0, choices=choices).of(np.flatnonzero(folds != 2))
    after = CalibratedHeads(features, data.dataset, seed=0, choices=choices).of(np.flatnonzero(folds != 2))
    assert (after.choice, after.temperature) == (before.choice, before.temperature)
    assert np.array_equal(after.head.state()["weight"], before.head.state()["weight"])


def test_early_columns_that_tell_the_classes_are_chosen() -> None:
    data, choices = depths(1.0)
    features = data.features.copy()
    features[:, :3] += 4 * np.eye(3, dtype=np.float32)[data.labels]
    assert fit_calibrated_head(features, data.dataset, seed=0, choices=choices).choice in ("all", "early")


def test_where_nothing_can_be_held_out_the_first_choice_is_taken() -> None:
    data, choices = depths(1.0, per_class=1)
    assert fit_calibrated_head(data.features, data.dataset, seed=0, choices=choices).choice == "last"


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have choices compared on about 40 photos, 5 of a rare class, where there are more than 20."""
    monkeypatch.setattr(probe_module, "_PLENTY", 40)
    monkeypatch.setattr(probe_module, "_OF_EACH_CLASS", 5)
    monkeypatch.setattr(probe_module, "_COMPARED", 40 * 9 * 3)


def rare(*, per_class: int = 60, rare: int = 8) -> tuple[Data, dict[str, slice]]:
    """Return `depths` of which the last class has few photos."""
    data, choices = depths(1.0, per_class=per_class)
    kept = (data.labels < 2) | (np.cumsum(data.labels == 2) <= rare)
    return data.select(kept), choices


@pytest.mark.usefixtures("sampled")
def test_many_photos_compare_choices_on_a_sample_with_the_shares_of_the_classes() -> None:
    """Of 60, 60 and 8 photos 40 are 19, 19 and 2: the sample has 5 of these. By hand, fold by fold."""
    data, choices = rare()
    heads = CalibratedHeads(data.features, data.dataset, seed=0, all_too=True, choices=choices)
    folds = data.dataset.possible_folds(5, seed=0)
    learn = np.flatnonzero(folds != 3)
    each, head = heads.of_each_choice(learn), heads.of(learn)
    sample = heads._sample()  # private: which photos they are is drawn
    assert np.bincount(data.labels[sample]).tolist() == [19, 19, 5]
    assert heads.compared == 43
    own, losses = sample & (folds != 3), {}
    for name, columns in choices.items():
        (by_hand,) = select_heads(data.features[own][:, columns], data.labels[own], 3, folds=[folds[own]], exact=False)
        np.testing.assert_allclose(each[name].head.state()["weight"], by_hand.head.state()["weight"], atol=0.02)
        losses[name] = min(by_hand.losses.values())
    assert head.choice == min(losses, key=lambda name: losses[name])
    (of_all,) = select_heads(data.features[learn][:, choices[head.choice]], data.labels[learn], 3, folds=[folds[learn]])
    np.testing.assert_allclose(head.head.state()["weight"], of_all.head.state()["weight"], atol=0.005)


@pytest.mark.slow
@pytest.mark.usefixtures("sampled")
def test_a_class_that_the_sample_has_in_one_fold_alone_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """`select_heads` wants every class in each of its training sets."""
    monkeypatch.setattr(probe_module, "_OF_EACH_CLASS", 1)
    data, choices = rare(rare=40)
    missing: list[int] = []

    def hears(
        features: np.ndarray, labels: np.ndarray, *given: object, folds: list[np.ndarray], **more: object
    ) -> object:
        for task in folds:
            learned = [(task != ABSENT) & (task != fold) for fold in np.unique(task[task >= 0])]
            missing.extend(3 - len(np.unique(labels[one])) for one in learned)
        return select_heads(features, labels, *given, folds=folds, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(probe_module, "select_heads", hears)
    rng = np.random.default_rng(0)
    for seed in range(5):  # the rare class now in its folds, now not
        order = rng.permutation(len(data.labels))
        CalibratedHeads(data.features[order], data.select(order).dataset, seed=seed, all_too=True, choices=choices).of(
            np.arange(len(order))
        )
    assert missing
    assert not any(missing)


# --- features in shards ---


class Sharing:
    """Shares features between two shards of this process; counts how often, and remembers what is still open."""

    def __init__(self) -> None:
        self.begun, self.open = 0, 0

    @contextmanager
    def __call__(self, features: np.ndarray, labels: np.ndarray) -> Iterator[ShardedFeatures]:
        half = len(labels) // 2
        self.begun, self.open = self.begun + 1, self.open + 1
        shards = [FeatureShard(features[part], labels[part]) for part in (slice(half), slice(half, None))]
        yield ShardedFeatures(LocalShards(shards), [half, len(labels) - half], features.shape[1])
        self.open -= 1


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize("class_weights", [None, ClassWeights()])
def test_heads_in_shards_are_those_of_one_place(class_weights: ClassWeights | None) -> None:
    """Choices of columns are compared on a sample; heads of all folds and of all photos are fitted together."""
    data, choices = rare()
    share, cache = Sharing(), CoordinateCache()
    options = {"seed": 0, "all_too": True, "choices": choices, "class_weights": class_weights}
    here = CalibratedHeads(data.features, data.dataset, **options)
    there = CalibratedHeads(data.features, data.dataset, share=share, cache=cache, **options)
    folds = data.dataset.possible_folds(OUTER_FOLDS, seed=0)
    for learn in (np.arange(len(folds)), np.flatnonzero(folds != 3)):
        both = [(heads.of(learn), heads.of_each_choice(learn)) for heads in (here, there)]
        for name in ("", *choices):
            one, two = (each[name] if name else head for head, each in both)
            assert one.choice == two.choice
            assert one.head.state().keys() == two.head.state().keys()
            logits = [head.logits(data.features) for head in (one, two)]
            centred = [found - found.mean(axis=1, keepdims=True) for found in logits]
            np.testing.assert_allclose(centred[0], centred[1], atol=2e-3)
            assert two.temperature == pytest.approx(one.temperature, rel=1e-3)
    assert (share.begun, share.open) == (1, 0)
    assert not cache._known  # private: nothing of photos elsewhere is kept


def test_a_part_of_the_photos_is_shared_too_and_is_the_same_head() -> None:
    data, share = clusters(20), Sharing()
    some = np.arange(0, 60, 2)
    found = CalibratedHeads(data.features, data.dataset, seed=0, share=share).of(some)
    assert (share.begun, share.open) == (1, 0)
    expected = CalibratedHeads(data.features[some], data.dataset.select(some), seed=0).of(np.arange(30))
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    np.testing.assert_allclose(found.probabilities(data.features), expected.probabilities(data.features), atol=1e-3)


def test_another_process_gets_the_heads_that_are_known_without_features() -> None:
    data, share = clusters(20), Sharing()
    heads = CalibratedHeads(data.features, data.dataset, seed=0, share=share)
    some = np.arange(0, 60, 2)
    known = heads.of(some)
    carried = pickle.dumps(heads.alone())
    assert data.features[:10].tobytes() not in carried
    alone = pickle.loads(carried)
    assert np.array_equal(alone.of(some).logits(data.features), known.logits(data.features))
    with pytest.raises(RuntimeError, match="not among those that are known"):
        alone.of(np.arange(60))
    assert share.begun == 1
