"""Labelled samples: selecting, aligning with a model's classes, and whether they can be learned from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from regraft.data.samples import Samples, natural_order, together
from regraft.errors import DataError


def make(labels: list[str], groups: Sequence[str | None] | None = None) -> Samples:
    sources = [Path(f"{number}.png") for number in range(len(labels))]
    return Samples.from_labels("here", sources, labels, groups=groups, notes=["a note"])


def test_natural_order_keeps_names_that_differ_only_in_zeros() -> None:
    assert natural_order(["1", "01", "10", "2", "1"]) == ["01", "1", "2", "10"]


def test_labels_and_groups_are_numbered() -> None:
    samples = make(["b10", "b9", "a", "b9"], ["y", "x", "y", "z"])
    assert samples.classes == ("a", "b9", "b10")
    assert samples.labels.tolist() == [2, 1, 0, 1]
    assert samples.groups is not None
    assert samples.groups.tolist() == [1, 0, 1, 2]
    assert samples.counts() == {"a": 1, "b9": 2, "b10": 1}
    assert (samples.where, samples.notes, len(samples)) == ("here", ("a note",), 4)


def test_an_image_without_a_group_is_a_group_of_its_own() -> None:
    samples = make(["a", "b", "a", "b"], ["y", None, "x", None])
    assert samples.groups is not None
    assert samples.groups.tolist() == [1, 2, 0, 3]
    assert samples.group_names == ("x", "y", None, None)


def test_no_images() -> None:
    with pytest.raises(DataError, match="here holds no images"):
        make([])


@pytest.mark.parametrize("positions", [np.array([3, 0]), np.array([True, False, False, True])])
def test_select_by_numbers_and_by_mask(positions: np.ndarray) -> None:
    chosen = make(["a", "b", "b", "c"], ["x", "y", "y", "z"]).select(positions)
    order = [0, 3] if positions.dtype == bool else [3, 0]
    assert chosen.sources == tuple(Path(f"{number}.png") for number in order)
    assert chosen.labels.tolist() == [{0: 0, 3: 2}[number] for number in order]
    assert chosen.groups is not None
    assert chosen.groups.tolist() == [{0: 0, 3: 2}[number] for number in order]
    assert chosen.classes == ("a", "b", "c")
    assert chosen.counts()["b"] == 0
    assert chosen.notes == ("a note",)


def test_select_without_groups() -> None:
    assert make(["a", "b"]).select(np.array([1])).groups is None


def test_aligned_with_another_order_of_classes() -> None:
    samples = make(["a", "b", "c", "a"])
    aligned = samples.aligned(["c", "a", "b"])
    assert aligned.classes == ("c", "a", "b")
    assert aligned.labels.tolist() == [1, 2, 0, 1]
    assert aligned.counts() == {"c": 1, "a": 2, "b": 1}


def test_aligned_where_a_class_is_missing_here() -> None:
    aligned = make(["c", "a"]).aligned(["a", "b", "c"])
    assert aligned.labels.tolist() == [2, 0]
    assert aligned.counts() == {"a": 1, "b": 0, "c": 1}


def test_aligned_ignores_a_class_name_without_samples() -> None:
    samples = make(["a", "x", "b"]).select(np.array([0, 2]))
    assert samples.aligned(["b", "a"]).labels.tolist() == [1, 0]


def test_aligned_with_a_class_that_the_model_does_not_know() -> None:
    with pytest.raises(DataError) as caught:
        make(["dgo", "cat", "bird"]).aligned(["cat", "dog"])
    assert str(caught.value) == (
        "here has 2 classes that the model does not know: bird, dgo. It knows: cat, dog. "
        "Rename or remove these folders or labels."
    )
    with pytest.raises(DataError, match=r"does not know: dgo\. It knows: cat, dog\. Did you mean 'dog'\? Rename"):
        make(["dgo", "cat"]).aligned(["cat", "dog"])


COMPOSED, DECOMPOSED = "H\u00fcndchen", "Hu\u0308ndchen"  # they look the same


def test_a_name_in_two_unicode_forms_is_one_class() -> None:
    samples = make([COMPOSED, "cat", DECOMPOSED, "Katze "], [DECOMPOSED, "1", COMPOSED, "2"])
    assert samples.classes == (COMPOSED, "Katze", "cat")
    assert samples.labels.tolist() == [0, 2, 0, 1]
    assert samples.groups is not None
    assert samples.groups[0] == samples.groups[2]
    assert samples.notes == (
        "a note",
        f"{COMPOSED} is written in 2 ways ('H\\xfcndchen', 'Hu\\u0308ndchen'): taken as one class",
    )


@pytest.mark.parametrize("name", ["cat", " cat", "cat\t", "\u00a0cat\u3000", "\ufeffcat", "cat\u200b"])
def test_blanks_around_a_name_are_no_part_of_it(name: str) -> None:
    assert make([name, "dog"]).classes == ("cat", "dog")
    assert make([name, "dog"]).notes == ("a note",)


def test_a_name_of_blanks_alone_stays() -> None:
    assert make([" ", "dog"]).classes == (" ", "dog")


def test_names_that_differ_in_case_alone_are_named() -> None:
    samples = make(["Cat", "cat", "dog"])
    assert samples.classes == ("Cat", "cat", "dog")
    assert samples.notes[1:] == (
        "Cat and cat differ in upper and lower case alone, and are taken as 2 classes: rename them if they are one",
    )


@pytest.mark.parametrize(("one", "other"), [("fish", "\ufb01sh"), ("cat", "\uff43\uff41\uff54"), ("m2", "m\u00b2")])
def test_names_that_differ_in_variants_of_characters_are_named(one: str, other: str) -> None:
    samples = make([one, other, "dog"])
    assert set(samples.classes) == {one, other, "dog"}
    assert samples.notes[1:] == (
        f"{one} and {other} differ in variants of characters alone, and are taken as 2 classes: "
        "rename them if they are one",
    )


def test_aligned_with_a_classifier_of_either_unicode_form() -> None:
    samples = make([COMPOSED, "cat"])
    assert samples.aligned(["cat", DECOMPOSED]).labels.tolist() == [1, 0]
    assert samples.aligned(["cat", DECOMPOSED]).classes == ("cat", DECOMPOSED)
    assert samples.aligned([DECOMPOSED, COMPOSED, "cat"]).labels.tolist() == [1, 2]  # both are classes of an old file


def test_aligned_says_that_names_differ_in_case_alone() -> None:
    with pytest.raises(DataError, match=r"know: Cat\. It knows: cat, dog\. 'Cat' and 'cat' differ in upper and lower"):
        make(["Cat", "dog"]).aligned(["cat", "dog"])
    with pytest.raises(DataError, match="'\ufb01sh' and 'fish' differ in variants of characters alone: use one"):
        make(["\ufb01sh", "dog"]).aligned(["fish", "dog"])


def test_advice_stands_in_what_refuses_the_samples() -> None:
    samples = Samples.from_labels("here", [Path("1.png")], ["a"], advice="Name b.")
    with pytest.raises(DataError, match=r"one folder \(or label\) for each\. Name b\.$"):
        samples.check_trainable()
    with pytest.raises(DataError, match=r"Rename or remove these folders or labels\. Name b\.$"):
        samples.aligned(["c"])


def test_aligned_shortens_a_long_list_of_classes() -> None:
    with pytest.raises(DataError, match=r"It knows: (class\d+, ){19}class19 \.\.\.\."):
        make(["zzz"]).aligned([f"class{number}" for number in range(30)])


def test_two_images_of_two_classes_can_be_trained_on() -> None:
    samples = make(["a", "b", "b", "a"])
    samples.check_trainable()
    assert samples.counts() == {"a": 2, "b": 2}


def test_one_class_cannot_be_trained_on() -> None:
    with pytest.raises(DataError, match=r"here has one class only: 'a' \(3 images\)\. A classifier needs at least two"):
        make(["a", "a", "a"]).check_trainable()


def test_a_class_of_one_image_cannot_be_trained_on() -> None:
    with pytest.raises(DataError) as caught:
        make(["a", "a", "b", "c", "c", "d"]).check_trainable()
    assert str(caught.value) == (
        "here: 2 of 4 classes have fewer than two images, too few to learn from one and evaluate on another:\n"
        "  b\n  d\nAdd images or remove the class."
    )


def test_the_name_has_no_folders(tmp_path: Path) -> None:
    folder = tmp_path / "salt and pepper" / "train"
    folder.mkdir(parents=True)
    none = np.zeros(0, dtype=np.int64)
    alone = Samples((), none, ("a",), where=str(folder))
    assert alone.name == "train"
    both = together([Samples((), none, ("a",), where=f"/home/ann/{part}") for part in ("train", "val")])
    assert both.name == "train and val"
    assert Samples((), none, ("a",)).name == "the given images"
