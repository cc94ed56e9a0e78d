"""Data sets: what can be read, what belongs together, folds made once; and how photos become one."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.pets import CLASSES, samples_of
from tests.fixtures.learning import dataset_of

from regraft.data.audit import Inspection
from regraft.data.dataset import Dataset, UnreadablePhoto, joined_groups, open_datasets
from regraft.data.samples import Samples
from regraft.data.splits import stratified_folds
from regraft.errors import DataError
from regraft.files import sha256
from regraft.progress import Observer

Write = Callable[..., Path]


def pets(
    labels: Sequence[int], contents: Sequence[object], groups: Sequence[int] | None = None, *, where: str = "pets"
) -> Dataset:
    """Return photos 0.jpg, 1.jpg ... of which those of equal `contents` are copies."""
    keys = tuple(sha256(str(content).encode()) for content in contents)
    return Dataset(samples_of(labels, groups, where=where), keys, np.arange(len(labels)))


def patients(names: Sequence[str | None], contents: str) -> Dataset:
    """Return photos of cats in groups of these names."""
    sources = [Path(f"{content}.jpg") for content in contents]
    samples = Samples.from_labels("pets", sources, ["cat"] * len(names), groups=names)
    return Dataset.of(samples, Inspection(tuple(sha256(content.encode()) for content in contents)))


def together(groups: np.ndarray | None) -> set[frozenset[int]]:
    """Return the sets of positions that share a group."""
    assert groups is not None
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


def names_of(dataset: Dataset) -> list[str]:
    return [Path(str(source)).name for source in dataset.samples.sources]


# --- joined groups ---


def test_without_copies_there_is_nothing_to_keep_together() -> None:
    assert joined_groups(samples_of([0, 1, 2]), (b"a", b"b", b"c")) is None


def test_without_copies_the_groups_stay() -> None:
    groups = joined_groups(samples_of([0, 1, 2], [5, 5, 9]), (b"a", b"b", b"c"))
    assert groups is not None
    assert groups.tolist() == [5, 5, 9]


def test_unreadable_files_are_no_copies() -> None:
    assert joined_groups(samples_of([0, 1, 2]), (b"", b"", b"c")) is None


def test_copies_share_a_group() -> None:
    groups = joined_groups(samples_of([0, 0, 1, 1, 0]), (b"a", b"b", b"c", b"c", b"a"))
    assert groups is not None
    assert together(groups) == {frozenset({0, 4}), frozenset({1}), frozenset({2, 3})}
    assert groups.dtype == np.int64


def test_groups_join_through_copies_and_copies_through_groups() -> None:
    """0 and 1 are one patient, 1 and 2 one file, 2 and 3 one patient, 3 and 6 one file; 4 and 5 stay by themselves."""
    samples = samples_of([0] * 7, [10, 10, 20, 20, 30, 30, 40])
    groups = joined_groups(samples, (b"a", b"b", b"b", b"c", b"d", b"e", b"c"))
    assert together(groups) == {frozenset({0, 1, 2, 3, 6}), frozenset({4, 5})}


def test_the_groups_of_a_data_set_are_the_joined_ones() -> None:
    assert pets([0, 1, 2], "abc").groups is None
    dataset = pets([0] * 7, "abbcdec", [10, 10, 20, 20, 30, 30, 40])
    assert together(dataset.groups) == {frozenset({0, 1, 2, 3, 6}), frozenset({4, 5})}
    assert dataset.groups is dataset.groups  # joined once


# --- what cannot be read ---


def test_what_can_be_opened_is_the_data_set() -> None:
    inspection = Inspection((b"a", b"", b"c", b""), {3: "damaged", 1: "empty"})
    dataset = Dataset.of(samples_of([0, 1, 2, 1]), inspection)
    assert (names_of(dataset), dataset.labels.tolist(), dataset.keys) == (["0.jpg", "2.jpg"], [0, 2], (b"a", b"c"))
    assert dataset.positions.tolist() == [0, 2]
    assert dataset.unreadable == (UnreadablePhoto(1, "1.jpg", "empty"), UnreadablePhoto(3, "3.jpg", "damaged"))
    assert [str(photo) for photo in dataset.unreadable] == ["1.jpg: empty", "3.jpg: damaged"]


@pytest.mark.parametrize(("bad", "whole"), [(0, 10), (1, 10), (2, 20), (3, 30), (10, 100), (0, 3)])
def test_as_many_are_left_as_can_be_read(bad: int, whole: int) -> None:
    unreadable = {position: "damaged" for position in range(bad)}
    dataset = Dataset.of(samples_of([0] * whole), Inspection((b"a",) * whole, unreadable))
    assert (len(dataset), len(dataset.unreadable)) == (whole - bad, bad)


def test_without_keeps_everything_in_step() -> None:
    left = pets([0, 1, 2, 1], "abcd", [7, 8, 9, 8]).without({2: "damaged", 0: "empty"})
    assert left.samples.sources == (Path("1.jpg"), Path("3.jpg"))
    assert left.labels.tolist() == [1, 1]
    assert left.keys == (sha256(b"b"), sha256(b"d"))
    assert left.classes == CLASSES
    assert left.groups is not None
    assert left.groups.tolist() == [8, 8]
    assert left.positions.tolist() == [1, 3]


def test_without_nothing_is_the_same_data_set() -> None:
    dataset = pets([0, 1, 2], "abc")
    assert dataset.without({}) is dataset


def test_the_unreadable_stand_in_the_order_they_were_found() -> None:
    """Headers come first, pixels later: positions are those in the data set of then, not among all that were found."""
    dataset = Dataset.of(samples_of([0] * 7), Inspection((b"k",) * 7, {4: "no header", 1: "empty"}))
    assert dataset.positions.tolist() == [0, 2, 3, 5, 6]
    left = dataset.without({4: "cut off", 1: "damaged"})  # 6.jpg and 2.jpg
    assert names_of(left) == ["0.jpg", "3.jpg", "5.jpg"]
    assert left.positions.tolist() == [0, 3, 5]
    assert [(photo.position, str(photo)) for photo in left.unreadable] == [
        (1, "1.jpg: empty"),
        (2, "2.jpg: damaged"),
        (4, "4.jpg: no header"),
        (6, "6.jpg: cut off"),
    ]


def test_a_copy_that_is_gone_joins_nothing() -> None:
    """1 was a copy of 0 and of the group of 2; without it, nothing holds 0 and 2 together."""
    dataset = pets([0, 0, 0], "aab", [1, 2, 2])
    assert together(dataset.groups) == {frozenset({0, 1, 2})}
    assert together(dataset.without({1: "damaged"}).groups) == {frozenset({0}), frozenset({1})}


# --- left out of the evaluation ---


def test_photos_that_are_left_out_are_named(listener: Any) -> None:
    dataset = Dataset.of(samples_of([0, 1, 2, 1]), Inspection((b"a", b"", b"c", b"d"), {1: "empty"}))
    left = dataset.leave_out({"were trained on": np.array([True, False, True])}, listener)
    assert listener.said == [
        "2 of 3 photos in pets were trained on and are left out of the evaluation:\n  0.jpg\n  3.jpg"
    ]
    assert (names_of(left), left.labels.tolist(), left.keys, left.positions.tolist()) == (["2.jpg"], [2], (b"c",), [2])
    assert left.unreadable == dataset.unreadable


def test_twenty_left_out_are_named_and_the_rest_counted(listener: Any) -> None:
    dataset_of([0] * 1200).leave_out({"were trained on": np.arange(1200) < 1100}, listener)
    (said,) = listener.said
    assert said.startswith("1,100 of 1,200 photos in the given images were trained on")
    assert said.endswith("\n  19.jpg\n  and 1,080 more")


def test_where_none_is_left_out_nothing_is_said(listener: Any) -> None:
    dataset = pets([0, 1], "ab")
    assert dataset.leave_out({"were trained on": np.zeros(2, dtype=bool)}, listener) is dataset
    assert listener.said == []


# --- selections ---


@pytest.mark.parametrize(
    "positions", [np.array([1, 3]), np.array([False, True, False, True, False])], ids=["integers", "booleans"]
)
def test_a_selection_has_everything_in_step(positions: np.ndarray) -> None:
    whole = Dataset.of(samples_of([0, 1, 2, 1, 0, 2]), Inspection((b"a", b"b", b"", b"c", b"d", b"e"), {2: "empty"}))
    part = whole.select(positions)
    assert (names_of(part), part.labels.tolist(), part.keys) == (["1.jpg", "4.jpg"], [1, 0], (b"b", b"d"))
    assert (part.positions.tolist(), part.classes, len(part)) == ([1, 4], CLASSES, 2)
    assert part.unreadable == whole.unreadable


def test_a_selection_keeps_its_order() -> None:
    part = pets([0, 1, 2], "abc").select(np.array([2, 0]))
    assert (names_of(part), part.labels.tolist(), part.positions.tolist()) == (["2.jpg", "0.jpg"], [2, 0], [2, 0])


def test_a_selection_is_in_the_groups_of_the_whole() -> None:
    """0 and 2 belong together through 1, which is not selected: to part them would still let 1 be learned from both."""
    whole = pets([0, 0, 0, 1], "aabc", [1, 2, 2, 3])
    assert whole.groups is not None
    part = whole.select(np.array([0, 2, 3]))
    assert together(part.groups) == {frozenset({0, 1}), frozenset({2})}
    assert together(part.select(np.array([1, 0])).groups) == {frozenset({0, 1})}
    assert pets([0, 1], "ab").select(np.array([1])).groups is None


def test_a_selection_has_folds_of_its_own() -> None:
    whole = dataset_of(np.arange(40) % 2)
    whole.folds(5, seed=0)
    part = whole.select(np.arange(20))
    alone = dataset_of(np.arange(20) % 2)  # the same photos
    assert np.array_equal(part.folds(5, seed=0), alone.folds(5, seed=0))


# --- other labels ---


def test_other_labels_are_of_the_same_photos() -> None:
    dataset = pets([0, 0, 1, 1], "abab", [1, 2, 3, 4])
    other = dataset.relabelled(np.array([1, 1, 2, 2]))
    assert (other.labels.tolist(), other.classes, other.keys) == ([1, 1, 2, 2], CLASSES, dataset.keys)
    assert (names_of(other), other.positions.tolist()) == (names_of(dataset), [0, 1, 2, 3])
    assert np.array_equal(other.groups, dataset.groups)  # type: ignore[arg-type]
    assert dataset.labels.tolist() == [0, 0, 1, 1]


def test_other_labels_have_other_folds() -> None:
    labels, turned = np.arange(30) % 2, np.arange(30) // 15
    dataset = dataset_of(labels)
    before = dataset.folds(5, seed=0)
    other = dataset.relabelled(turned)
    assert np.array_equal(other.folds(5, seed=0), dataset_of(turned).folds(5, seed=0))
    assert not np.array_equal(other.folds(5, seed=0), before)
    assert dataset.folds(5, seed=0) is before


def test_other_labels_of_a_selection_keep_the_groups_of_the_whole() -> None:
    part = pets([0, 0, 0, 1], "aabc", [1, 2, 2, 3]).select(np.array([0, 2, 3]))
    assert together(part.relabelled(np.array([1, 0, 0])).groups) == {frozenset({0, 1}), frozenset({2})}


# --- joined ---


def test_one_data_set_joined_is_itself() -> None:
    dataset = pets([0, 1], "ab")
    assert Dataset.joined([dataset]) is dataset


def test_joined_data_sets_stand_one_after_the_other() -> None:
    first, second = pets([0, 1], "ab"), pets([2, 0, 1], "cda", where="more").without({1: "damaged"})
    both = Dataset.joined([first, second])
    assert (both.labels.tolist(), both.classes, both.keys) == ([0, 1, 2, 1], CLASSES, first.keys + second.keys)
    assert (names_of(both), both.samples.where) == (["0.jpg", "1.jpg", "0.jpg", "2.jpg"], "pets and more")
    assert both.positions.tolist() == [0, 1, 2, 3]
    assert together(both.groups) == {frozenset({0, 3}), frozenset({1}), frozenset({2})}  # 3 is a copy of 0


def test_joined_groups_of_one_name_are_one_group() -> None:
    first, second = patients(["ann", "bob", None], "abc"), patients(["bob", "cid", None], "def")
    assert together(Dataset.joined([first, second]).groups) == {
        frozenset({0}), frozenset({1, 3}), frozenset({2}), frozenset({4}), frozenset({5}),
    }  # fmt: skip


# --- folds ---


def test_folds_are_stratified_with_whole_groups() -> None:
    labels, groups = np.arange(60) % 3, np.arange(60) // 2
    dataset = dataset_of(labels, groups, CLASSES)
    known = [b"photo " + key for key in dataset.keys]
    expected = stratified_folds(labels, CLASSES, count=5, seed=3, groups=groups, identities=known)
    assert np.array_equal(dataset.folds(5, seed=3), expected)
    copies = pets(labels.tolist(), (np.arange(60) // 6 * 3 + labels).tolist())  # two copies of each photo
    known = [b"photo " + key for key in copies.keys]
    expected = stratified_folds(labels, CLASSES, count=5, seed=3, groups=copies.groups, identities=known)
    assert np.array_equal(copies.folds(5, seed=3), expected)
    assert (expected[:3] == expected[3:6]).all()


def test_a_group_is_known_by_its_name_and_a_photo_by_its_content() -> None:
    dataset = patients(["ann", None, "ann"], "abc")
    assert dataset.identities() == [b"group ann", b"photo " + sha256(b"b"), b"group ann"]
    assert pets([0, 1], "ab").identities() == [b"photo " + sha256(b"a"), b"photo " + sha256(b"b")]


def test_joined_data_sets_know_their_groups_by_name() -> None:
    both = Dataset.joined([patients(["ann", None], "ab"), patients(["bob", "ann"], "cd")])
    assert both.identities() == [b"group ann", b"photo " + sha256(b"b"), b"group bob", b"group ann"]


def test_folds_are_made_once() -> None:
    dataset = dataset_of(np.arange(60) % 3)
    first, other, fewer = dataset.folds(5, seed=0), dataset.folds(5, seed=1), dataset.folds(4, seed=0)
    assert not np.array_equal(first, other)
    assert fewer.max() == 3
    assert dataset.folds(5, seed=0) is first
    assert dataset.folds(5, seed=1) is other
    assert dataset.folds(4, seed=0) is fewer
    assert dataset.possible_folds(5, seed=0) is first  # each class can be held out


def test_a_class_of_one_photo_has_no_folds() -> None:
    with pytest.raises(DataError, match=r"^1 classes come from one photo or one group only, .*\n  owl\n"):
        pets([0, 0, 1, 1, 2], "abcde").folds(5, seed=0)
    with pytest.raises(DataError, match=r"\n  owl\n"):
        pets([0, 0, 1, 1, 2, 2], "abcdee").folds(5, seed=0)  # copies of one photo


def test_what_cannot_be_held_out_is_in_no_fold() -> None:
    labels = np.concatenate([np.arange(40) % 2, [2]])
    dataset = dataset_of(labels, classes=CLASSES)
    folds = dataset.possible_folds(5, seed=2)
    assert np.array_equal(folds[:40], dataset_of(labels[:40]).folds(5, seed=2))
    assert folds[40] == -1
    assert dataset.possible_folds(5, seed=2) is folds
    assert not np.array_equal(dataset.possible_folds(5, seed=3), folds)


def test_a_class_of_one_group_is_in_no_fold_and_the_others_stay_whole() -> None:
    """The owls are of one patient, as one of the cats is; the other cats and the dogs are of two each."""
    labels = np.array([2, 2, 0, 0, 0, 0, 1, 1, 1, 1])
    dataset = pets(labels.tolist(), "abcdefghij", [0, 0, 0, 2, 2, 3, 4, 4, 5, 5])
    folds = dataset.possible_folds(2, seed=0)
    assert folds[:2].tolist() == [-1, -1]
    assert sorted(set(folds[2:].tolist())) == [0, 1]
    assert folds[3] == folds[4]
    assert (folds[6], folds[8]) == (folds[7], folds[9])


def test_nothing_that_can_be_held_out() -> None:
    assert pets([0, 1, 2], "abc").possible_folds(5, seed=0).tolist() == [-1, -1, -1]
    assert pets([], "").possible_folds(5, seed=0).tolist() == []


# --- overlap ---


def test_no_overlap() -> None:
    copies, related = pets([0, 1], "ab").overlap(pets([0, 1], "cd"))
    assert (copies.tolist(), related.tolist()) == ([False, False], [False, False])
    assert (copies.dtype, related.dtype) == (bool, bool)


def test_copies_of_training_photos_are_found() -> None:
    copies, related = pets([0, 1, 2, 0], "xbyb").overlap(pets([1, 0], "ba"))
    assert copies.tolist() == [False, True, False, True]
    assert not related.any()  # all that belongs to a training photo is a copy of one


def test_photos_of_the_groups_of_training_photos_are_found() -> None:
    """Groups are known by their names; a copy brings the others of its own group along."""
    trained = patients(["ann", "bob", None], "abc")
    copies, related = patients(["bob", "cid", "cid", "dan", None, None], "dcefgb").overlap(trained)
    #                            of bob; a copy of c; of its patient; of none; of none; a copy of b
    assert copies.tolist() == [False, True, False, False, False, True]
    assert related.tolist() == [True, False, True, False, False, False]


# --- digest ---


def test_the_digest_is_of_photos_labels_and_groups() -> None:
    dataset = pets([0, 1, 2], "abc", [4, 4, 7])
    content = np.array([0, 1, 2], dtype=np.int64).tobytes() + b"".join(dataset.keys)
    content += np.array([4, 4, 7], dtype=np.int64).tobytes()
    assert dataset.digest() == f"3 photos, 3 classes, {hashlib.sha256(content).hexdigest()[:12]}"
    others = [
        pets([0, 1, 1], "abc", [4, 4, 7]), pets([0, 1, 2], "abd", [4, 4, 7]), pets([0, 1, 2], "abc", [4, 5, 7]),
        pets([0, 1, 2], "abc"),
    ]  # fmt: skip
    assert len({dataset.digest(), *(other.digest() for other in others)}) == 5
    assert pets([0, 1, 2], "abc", [4, 4, 7], where="elsewhere").digest() == dataset.digest()
    assert dataset_of(np.arange(1200) % 2).digest().startswith("1,200 photos, 2 classes, ")


# --- opening ---


def noise(seed: int, size: tuple[int, int] = (6, 5)) -> bytes:
    """Return a small PNG of noise."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class Folder:
    """Writes photos, and gives them as the samples of one split, cats and dogs in turn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(
        self,
        name: str,
        count: int,
        *,
        first: int = 0,
        others: dict[int, bytes] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Samples:
        (self.path / name).mkdir()
        contents = {number: noise(first + number) for number in range(count)} | (others or {})
        for number, content in contents.items():
            (self.path / name / f"{number}.png").write_bytes(content)
        sources = tuple(self.path / name / f"{number}.png" for number in range(count))
        return Samples(sources, np.arange(count) % 2, ("cat", "dog"), where=name, notes=notes)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


CUT_OFF = noise(900, (40, 40))[:2000]  # its header is sound


def test_photos_are_opened_in_order(folder: Folder, listener: Any) -> None:
    train, more = folder("train", 4, notes=("a note",)), folder("validation", 2, first=10, notes=("another",))
    opened = open_datasets([train, more], listener)
    assert [dataset.samples for dataset in opened] == [train, more]
    assert opened[0].keys == tuple(sha256(noise(seed)) for seed in range(4))
    assert opened[1].keys == tuple(sha256(noise(seed)) for seed in (10, 11))
    assert [dataset.positions.tolist() for dataset in opened] == [[0, 1, 2, 3], [0, 1]]
    assert [dataset.unreadable for dataset in opened] == [(), ()]
    assert listener.said == ["a note", "another"]


def test_what_headers_say_cannot_be_read_is_left_out(folder: Folder, listener: Any) -> None:
    (dataset,) = open_datasets([folder("train", 20, others={13: b"", 5: b"no image"})], listener)
    assert dataset.positions.tolist() == [place for place in range(20) if place not in (5, 13)]
    assert [(photo.position, photo.reason) for photo in dataset.unreadable] == [
        (5, "not an image, or damaged at its start"),
        (13, "the file is empty"),
    ]
    assert listener.said == []  # they are named with those that cannot be decoded


@pytest.mark.parametrize("large", [False, True])
def test_too_many_that_cannot_be_read(folder: Folder, large: bool) -> None:
    parts = [folder("train", 20), folder("validation", 9, first=50, others={3: b""})]
    with pytest.raises(DataError, match=r"^validation: 1 of 9 images cannot be read, more than 10%:\n.*/3\.png: the "):
        open_datasets(parts, Observer(), large=large)


def test_a_file_beyond_the_limit_cannot_be_read(folder: Folder) -> None:
    samples = folder("train", 10, others={4: noise(4, (50, 50))})
    (dataset,) = open_datasets([samples], Observer(), max_file_size=1000)
    assert [photo.position for photo in dataset.unreadable] == [4]
    (dataset,) = open_datasets([samples], Observer())
    assert len(dataset) == 10


def test_damaged_pixels_are_not_looked_for(folder: Folder) -> None:
    (dataset,) = open_datasets([folder("train", 20, others={4: CUT_OFF})], Observer())
    assert (len(dataset), dataset.unreadable) == (20, ())


def test_a_contradiction_within_a_split_names_it_alone(folder: Folder) -> None:
    parts = [folder("train", 6), folder("validation", 6, first=50, others={3: noise(50)})]
    with pytest.raises(DataError, match=r"^validation: 1 images stand under more than one class:\n") as caught:
        open_datasets(parts, Observer())
    assert f"  {folder.path}/validation/0.png (cat) = {folder.path}/validation/3.png (dog)\n" in str(caught.value)


def test_a_contradiction_between_splits_names_both(folder: Folder) -> None:
    parts = [folder("train", 6), folder("validation", 6, first=50, others={3: noise(2), 4: noise(4)})]
    with pytest.raises(DataError, match=r"^train and validation: 1 images stand under more than one class:") as caught:
        open_datasets(parts, Observer())
    assert f"  {folder.path}/train/2.png (cat) = {folder.path}/validation/3.png (dog)\n" in str(caught.value)


# --- a large source ---


def test_damaged_photos_of_a_large_source_are_found_by_decoding(folder: Folder, listener: Any) -> None:
    """They are named with those that headers reveal, in the order they were found."""
    samples = folder("train", 40, others={3: CUT_OFF, 10: b"", 31: CUT_OFF}, notes=("a note",))
    (dataset,) = open_datasets([samples], listener, large=True)
    assert [(photo.position, photo.reason) for photo in dataset.unreadable] == [
        (3, "the file is cut off (truncated)"),
        (10, "the file is empty"),
        (31, "the file is cut off (truncated)"),
    ]
    assert dataset.positions.tolist() == [place for place in range(40) if place not in (3, 10, 31)]
    assert listener.said == ["a note", *map(str, dataset.unreadable)]
    assert ("begin", ("looking for damaged photos", 39)) in listener.heard
    assert sum(count for kind, count in listener.heard if kind == "advance") == 39


def test_many_damaged_photos_of_a_large_source_are_too_many(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"^train: 3 of 20 images cannot be read, more than 10%:"):
        open_datasets([folder("train", 20, others=dict.fromkeys((3, 5), CUT_OFF) | {9: b""})], Observer(), large=True)


def test_photos_under_two_classes_are_left_out_of_a_large_source(folder: Folder, listener: Any) -> None:
    """2 of 200 photos are a hundredth."""
    (dataset,) = open_datasets([folder("train", 200, others={7: noise(4)})], listener, large=True)
    assert dataset.positions.tolist() == [place for place in range(200) if place not in (4, 7)]
    assert dataset.unreadable == ()
    assert listener.said == [
        "1 images stand under more than one class and are left out:\n"
        f"  {folder.path}/train/4.png (cat) = {folder.path}/train/7.png (dog)"
    ]


def test_more_than_a_hundredth_under_two_classes_are_too_many(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"^train: 1 images stand under more than one class:"):
        open_datasets([folder("train", 199, others={7: noise(4)})], Observer(), large=True)


def test_photos_under_two_classes_in_two_splits_are_left_out_of_both(folder: Folder, listener: Any) -> None:
    parts = [folder("train", 150), folder("validation", 50, first=500, others={3: noise(20), 6: noise(8), 9: b""})]
    train, validation = open_datasets(parts, listener, large=True)  # 3 is 20 of another class, 6 is 8 of the same
    assert train.positions.tolist() == [place for place in range(150) if place != 20]
    assert validation.positions.tolist() == [place for place in range(50) if place not in (3, 9)]
    assert [photo.position for photo in validation.unreadable] == [9]
    assert listener.said[0].endswith(f"  {folder.path}/train/20.png (cat) = {folder.path}/validation/3.png (dog)")


def test_a_damaged_photo_under_two_classes_is_left_out_once(folder: Folder) -> None:
    (dataset,) = open_datasets([folder("train", 200, others=dict.fromkeys((4, 7), CUT_OFF))], Observer(), large=True)
    assert dataset.positions.tolist() == [place for place in range(200) if place not in (4, 7)]
    assert [photo.position for photo in dataset.unreadable] == [4, 7]


def test_a_large_source_keeps_groups_and_classes(folder: Folder) -> None:
    samples = replace(folder("train", 200, others={7: noise(4)}), groups=np.arange(200) // 4)
    (dataset,) = open_datasets([samples], Observer(), large=True)
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [place // 4 for place in range(200) if place not in (4, 7)]
    assert dataset.classes == ("cat", "dog")
