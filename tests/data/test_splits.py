"""Folds: stratified, whole groups, every class learned from and held out."""

import numpy as np
import pytest

from regraft.data.splits import lonely_classes, stratified_folds
from regraft.errors import DataError

CLASSES = ("cat", "dog", "owl")


def folds_of(labels: np.ndarray, groups: np.ndarray | None = None, *, count: int = 5, seed: int = 0) -> np.ndarray:
    return stratified_folds(labels, CLASSES, count=count, seed=seed, groups=groups)


def check_whole(folds: np.ndarray, groups: np.ndarray) -> None:
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1, f"group {group} is torn apart"


def check_learnable(folds: np.ndarray, labels: np.ndarray) -> None:
    for fold in np.unique(folds):
        assert np.array_equal(np.unique(labels[folds != fold]), np.unique(labels)), f"fold {fold} takes a whole class"


# --- photos ---


@pytest.mark.parametrize("seed", range(5))
def test_classes_of_few_photos_have_their_share_in_every_fold(seed: int) -> None:
    """15 cats, 10 dogs and 5 owls in 5 folds: 3, 2 and 1 in each."""
    labels = np.repeat([0, 1, 2], [15, 10, 5])
    folds = folds_of(labels, seed=seed)
    for fold in range(5):
        assert np.bincount(labels[folds == fold]).tolist() == [3, 2, 1]


def test_what_does_not_go_round_differs_by_one() -> None:
    labels = np.repeat([0, 1, 2], [19, 11, 7])
    folds = folds_of(labels)
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]
    for label, (least, most) in enumerate([(3, 4), (2, 3), (1, 2)]):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert (counts.min(), counts.max()) == (least, most)
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 1  # 37 photos in all: 7 or 8 in each


@pytest.mark.parametrize("seed", range(10))
def test_classes_of_many_photos_fill_folds_as_dice_do(seed: int) -> None:
    """1,000 cats and 500 dogs: 200 and 100 in each fold, give or take four standard deviations of a binomial."""
    labels = np.repeat([0, 1], [1000, 500])
    folds = folds_of(labels, seed=seed)
    for label, n in enumerate([1000, 500]):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert np.abs(counts - n / 5).max() < 4 * np.sqrt(n * 0.2 * 0.8)


@pytest.mark.parametrize("seed", range(5))
def test_groups_without_names_fill_folds_as_dice_do(seed: int) -> None:
    """500 sets of ten near-duplicates: 100 in each fold, give or take four standard deviations."""
    labels, groups = np.zeros(5000, dtype=np.int64), np.repeat(np.arange(500), 10)
    counts = np.bincount(folds_of(labels, groups, seed=seed)[::10], minlength=5)
    assert np.abs(counts - 100).max() < 4 * np.sqrt(500 * 0.2 * 0.8)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_class_of_two_to_five_photos_leaves_one_out_at_a_time(size: int) -> None:
    labels = np.repeat([0, 1, 2], [50, 30, size])
    for seed in range(10):
        folds = folds_of(labels, seed=seed)
        assert len(np.unique(folds[labels == 2])) == size


def test_a_class_of_three_patients_leaves_one_out_at_a_time() -> None:
    """Ten, two and one photos of an owl: each patient in a fold of its own."""
    labels = np.repeat([0, 1, 2], [50, 30, 13])
    groups = np.concatenate([np.arange(80), np.repeat([100, 101, 102], [10, 2, 1])])
    for seed in range(10):
        folds = folds_of(labels, groups, seed=seed)
        check_whole(folds, groups)
        assert len(np.unique(folds[labels == 2])) == 3


# --- fixed by content ---


def named(count: int, *, start: int = 0) -> list[bytes]:
    return [b"photo %d" % number for number in range(start, start + count)]


def folds_by_name(names: list[bytes], labels: np.ndarray, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    return stratified_folds(labels, CLASSES, count=5, seed=seed, groups=groups, identities=names)


@pytest.mark.parametrize("seed", range(5))
def test_adding_photos_moves_none_of_the_old_ones(seed: int) -> None:
    """30 photos more, of all classes, in between 200."""
    generator = np.random.default_rng(seed)
    labels, more = np.repeat([0, 1, 2], [120, 60, 20]), generator.integers(0, 3, 30)
    before = folds_by_name(named(200), labels, seed)
    order = generator.permutation(230)
    names = [[*named(200), *named(30, start=200)][place] for place in order]
    after = folds_by_name(names, np.concatenate([labels, more])[order], seed)
    assert np.array_equal(after[np.argsort(order)][:200], before)


@pytest.mark.parametrize("seed", range(5))
def test_photos_that_go_move_none_of_the_rest(seed: int) -> None:
    labels = np.arange(200) % 2
    kept = np.random.default_rng(seed).random(200) < 0.7
    before = folds_by_name(named(200), labels, seed)
    names = [name for name, stays in zip(named(200), kept, strict=True) if stays]
    assert np.array_equal(folds_by_name(names, labels[kept], seed), before[kept])


@pytest.mark.parametrize("sizes", [(100, 60, 40), (100, 12, 3), (9, 4, 2)])
def test_the_order_of_the_photos_plays_no_part(sizes: tuple[int, ...]) -> None:
    labels = np.repeat([0, 1, 2], sizes)
    n = len(labels)
    for groups in (None, np.arange(n) - (np.arange(n) % 7 == 1)):  # some pairs
        order = np.random.default_rng(1).permutation(n)
        shuffled = [named(n)[place] for place in order]
        found = folds_by_name(shuffled, labels[order], 3, None if groups is None else groups[order])
        assert np.array_equal(found, folds_by_name(named(n), labels, 3, groups)[order])


def test_a_photo_more_in_a_named_group_follows_it() -> None:
    """Photos of a named group are known by its name: the fold of a patient stays, however many photos there are."""
    groups = np.repeat(np.arange(60), 2)
    labels = groups % 2
    names = [b"group %d" % group for group in groups]
    before = folds_by_name(names, labels, 0, groups)
    after = folds_by_name([*names, b"group 17"], np.append(labels, 1), 0, np.append(groups, 17))
    assert np.array_equal(after[:120], before)
    assert after[120] == before[34]


@pytest.mark.slow
def test_a_fold_without_photos_is_none() -> None:
    """21 dogs and 20 cats, of which chance puts none into one of five folds with some seeds of a thousand."""
    labels = np.repeat([0, 1], [21, 20])
    counts = set()
    for seed in range(3000):
        folds = folds_of(labels, seed=seed)
        counts.add(len(np.unique(folds)))
        assert folds.max() + 1 == len(np.unique(folds))
    assert counts == {4, 5}


def test_one_seed_one_split() -> None:
    labels = np.repeat([0, 1, 2], 20)
    groups = np.arange(60) // 2
    mixed = np.arange(60) % 20
    for grouping in (None, groups, mixed):
        assert np.array_equal(folds_of(labels, grouping, seed=3), folds_of(labels, grouping, seed=3))


def test_another_seed_another_split() -> None:
    labels = np.repeat([0, 1, 2], 20)
    for grouping in (None, np.arange(60) // 2, np.arange(60) % 20):
        splits = {tuple(folds_of(labels, grouping, seed=seed)) for seed in range(5)}
        assert len(splits) == 5


def test_the_split_is_shuffled() -> None:
    """Files of one class often stand in the order they were taken: neighbours must not fill a fold."""
    folds = folds_of(np.zeros(100, int), seed=1)
    assert max(np.ptp(np.flatnonzero(folds == fold)) for fold in range(5)) > 50
    assert not np.array_equal(folds, np.sort(folds))


def test_a_class_smaller_than_the_folds_is_in_fewer_of_them() -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 2])
    folds = folds_of(labels)
    assert len(np.unique(folds)) == 5
    assert len(np.unique(folds[labels == 2])) == 2
    check_learnable(folds, labels)


@pytest.mark.parametrize(("sizes", "made"), [((3, 2, 2), 3), ((2, 2, 2), 2), ((4, 3, 2), 4), ((5, 2, 2), 5)])
def test_fewer_folds_if_no_class_has_that_many(sizes: tuple[int, ...], made: int) -> None:
    labels = np.repeat([0, 1, 2], sizes)
    folds = folds_of(labels)
    assert sorted(np.unique(folds)) == list(range(made))
    check_learnable(folds, labels)


@pytest.mark.parametrize("seed", range(10))
def test_every_class_in_every_training_part(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], generator.integers(2, 12, 3))
    labels = generator.permutation(labels)
    check_learnable(folds_of(labels, seed=seed), labels)


# --- groups of one label ---


@pytest.mark.parametrize("seed", range(5))
def test_pure_groups_stay_whole_and_are_stratified(seed: int) -> None:
    """10 cats, 5 dogs, 5 owls, three views of each: 2, 1 and 1 of them in each of 5 folds."""
    of_object = np.repeat([0, 1, 2], [10, 5, 5])
    objects = np.random.default_rng(seed).permutation(np.repeat(np.arange(20), 3))
    labels = of_object[objects]
    folds = folds_of(labels, objects * 7 + 100, seed=seed)
    check_whole(folds, objects)
    for fold in range(5):
        assert np.bincount(labels[folds == fold]).tolist() == [6, 3, 3]


def test_groups_of_one_photo_each_are_photos() -> None:
    labels = np.repeat([0, 1, 2], [10, 10, 10])
    assert np.array_equal(folds_of(labels, np.arange(30)), folds_of(labels))


def test_fewer_folds_if_no_class_has_that_many_groups() -> None:
    labels = np.repeat([0, 1], [30, 20])
    groups = np.concatenate([np.arange(30) // 10, 100 + np.arange(20) // 10])  # three groups and two
    folds = folds_of(labels, groups)
    assert sorted(np.unique(folds)) == [0, 1, 2]
    check_whole(folds, groups)
    check_learnable(folds, labels)


# --- few photos in groups ---


@pytest.mark.parametrize("seed", range(5))
def test_a_few_copies_change_no_other_fold(seed: int) -> None:
    labels, groups = np.repeat([0, 1, 2], 40), np.arange(120)
    groups[[17, 95, 96]] = [3, 50, 50]  # a copy of one class, and two of a photo of another
    alone, folds = folds_of(labels, seed=seed), folds_of(labels, groups, seed=seed)
    others = ~np.isin(np.arange(120), [3, 17, 50, 95, 96])
    assert np.array_equal(folds[others], alone[others])
    assert folds[3] == folds[17]
    assert folds[3] in alone[[3, 17]]  # where one of them was
    assert folds[50] == folds[95] == folds[96]
    assert folds[50] in alone[[50, 95, 96]]


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_of_few_copies_is_learned_from_whatever_is_held_out(seed: int) -> None:
    """Owls are two pictures, two photos of each, among 100 others: their pictures may not share a fold."""
    labels, groups = np.concatenate([np.repeat([0, 1], 50), [2] * 4]), np.arange(104)
    groups[[101, 103]] = [100, 102]
    folds = folds_of(labels, groups, seed=seed)
    check_whole(folds, groups)
    assert folds[100] != folds[102]


# --- groups of several labels ---


@pytest.mark.parametrize("seed", range(10))
def test_mixed_groups_stay_whole(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, groups = generator.integers(0, 3, 120), generator.integers(0, 25, 120)
    folds = folds_of(labels, groups, seed=seed)
    assert len(np.unique(folds)) in (4, 5)  # 25 groups: chance leaves one of five empty once in fifty times
    check_whole(folds, groups)
    check_learnable(folds, labels)


@pytest.mark.parametrize("seed", range(5))
def test_mixed_groups_keep_the_shares_roughly(seed: int) -> None:
    """15 patients with 4 cats, 2 dogs and 1 owl each: 3 patients, and so 12, 6 and 3 photos, in each fold."""
    labels = np.tile([0, 0, 0, 0, 1, 1, 2], 15)
    groups = np.repeat(np.arange(15), 7)
    folds = folds_of(labels, groups, seed=seed)
    for fold in range(5):
        assert np.bincount(labels[folds == fold]).tolist() == [12, 6, 3]


@pytest.mark.parametrize("seed", range(10))
def test_a_rare_class_in_two_mixed_groups_is_never_taken_from_a_training_part(seed: int) -> None:
    """Owls are in groups 0 and 1 only: whichever is judged, the other must be learned from."""
    groups = np.repeat(np.arange(12), 6)
    labels = np.tile([0, 0, 0, 1, 1, 1], 12)
    labels[[0, 6]] = 2
    folds = folds_of(labels, groups, seed=seed)
    check_whole(folds, groups)
    check_learnable(folds, labels)


@pytest.mark.parametrize("seed", range(10))
def test_a_class_in_two_of_four_mixed_groups_is_in_two_folds(seed: int) -> None:
    """Owls are in groups 2 and 3 of four, which three folds may well put together."""
    labels = np.array([0, 1, 0, 2, 1, 2, 0, 1])
    groups = np.array([1, 1, 2, 2, 3, 3, 4, 4])
    folds = folds_of(labels, groups, count=3, seed=seed)
    assert len(np.unique(folds)) == 3
    check_whole(folds, groups)
    check_learnable(folds, labels)


# --- classes that cannot be held out ---


@pytest.mark.parametrize(
    ("labels", "groups", "lonely"),
    [
        ([0, 0, 1, 2, 0], None, [1, 2]),
        ([2, 2, 0, 0], None, []),  # no photo of class 1: there is nothing of it to hold out
        ([0, 0, 1, 1], [5, 6, 7, 7], [1]),  # two photos, one group
        ([0, 1, 0, 1, 2], [5, 5, 6, 6, 6], [2]),  # groups of several classes
        ([3, 3, 1, 0, 0], [9, 9, 2, 2, 4], [1, 3]),
        ([], None, []),
    ],
)
def test_lonely_classes_come_from_one_photo_or_group(
    labels: list[int], groups: list[int] | None, lonely: list[int]
) -> None:
    found = lonely_classes(np.array(labels, dtype=np.int64), None if groups is None else np.array(groups))
    assert found.tolist() == lonely


# --- messages ---


def test_classes_of_one_photo_are_named() -> None:
    with pytest.raises(DataError) as caught:
        folds_of(np.array([0, 0, 1, 2, 0]))
    assert str(caught.value) == (
        "2 classes come from one photo or one group only, copies of a photo counted as one, and cannot be both learned "
        "from and held out:\n  dog\n  owl\nAdd photos from another group (patient, object, scene) or remove the class. "
        "Where different photos were taken for near-duplicates: near_duplicates='ignore'."
    )


def test_classes_of_one_group_are_named() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 2, 3, 3, 3])
    with pytest.raises(DataError, match=r"^1 classes come from one photo or one group only, .*:\n  dog\nAdd photos"):
        folds_of(labels, groups)


def test_twenty_lonely_classes_are_named_and_the_rest_counted() -> None:
    names = [f"class {number}" for number in range(24)]
    labels = np.concatenate([[0, 0], np.arange(1, 24)])
    with pytest.raises(DataError, match=r"^23 classes come .*:\n  class 1\n(  class \d+\n){19}  and 3 more\nAdd"):
        stratified_folds(labels, names, count=5, seed=0)


def test_groups_that_cannot_be_split() -> None:
    """Group 1 holds cats and dogs, group 2 cats and owls, group 3 dogs and owls.

    Of two folds, one has two of the groups, and these hold all photos of the class they share.
    """
    labels = np.array([0, 1, 0, 2, 1, 2])
    groups = np.array([1, 1, 2, 2, 3, 3])
    with pytest.raises(DataError, match=r"^no split keeps the groups whole .*leave group_column out\.$"):
        folds_of(labels, groups, count=2)


def test_a_fold_more_is_made_where_that_keeps_every_class() -> None:
    """As above: no class is in more than two groups, but each group in a fold of its own leaves every class one."""
    labels = np.array([0, 1, 0, 2, 1, 2])
    groups = np.array([1, 1, 2, 2, 3, 3])
    assert sorted(folds_of(labels, groups)) == [0, 0, 1, 1, 2, 2]
