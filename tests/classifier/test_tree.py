"""Labels of photos in a tree of classes: which class, which node of a level, and which are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.tree import (
    aligned_by_tree,
    dataset_at,
    figures_in_tree,
    level_of,
    places_at,
    samples_of_classes,
    say_inner_labels,
)
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.data.taxonomy import Taxonomy
from regraft.errors import DataError, OptionError

CLASSES = ("blue", "halo", "melanoma", "wart")
TREE = Taxonomy(
    {
        "benign": None,
        "malignant": None,
        "nevus": "benign",
        "blue": "nevus",
        "halo": "nevus",
        "spitz": "nevus",
        "wart": "benign",
        "melanoma": "malignant",
        "lentigo": "melanoma",
        "carcinoma": "malignant",
        "cyst": None,
    }
)


def samples(*labels: str) -> Samples:
    return Samples.from_labels("photos", [Path(f"{k}.jpg") for k in range(len(labels))], labels)


def dataset(found: Samples) -> Dataset:
    return Dataset(found, tuple(bytes([k]) for k in range(len(found))), np.arange(len(found)))


def names(found: Samples) -> list[str]:
    return [found.classes[label] for label in found.labels]


def test_labels_below_a_class_are_of_the_class() -> None:
    found = aligned_by_tree(samples("lentigo", "blue", "wart", "lentigo"), CLASSES, TREE)
    assert found.classes == CLASSES
    assert names(found) == ["melanoma", "blue", "wart", "melanoma"]


def test_labels_above_or_beside_classes_come_after_them_where_they_are_asked_for() -> None:
    """Of a spitz nevus the classifier knows no class, and two others of its kind."""
    given = samples("nevus", "spitz", "melanoma", "benign", "carcinoma")
    found = aligned_by_tree(given, CLASSES, TREE, inner=True)
    assert found.classes == (*CLASSES, "benign", "carcinoma", "nevus", "spitz")
    assert names(found) == ["nevus", "spitz", "melanoma", "benign", "carcinoma"]
    with pytest.raises(DataError, match="4 classes that the model does not know: benign, carcinoma, nevus, spitz"):
        aligned_by_tree(given, CLASSES, TREE)


def test_the_root_of_all_says_nothing_at_any_level() -> None:
    tree = Taxonomy({"skin": None, "benign": "skin", "melanoma": "skin", "blue": "benign", "wart": "benign"})
    with pytest.raises(DataError, match="1 class that the model does not know: skin"):
        aligned_by_tree(samples("blue", "skin"), ("blue", "melanoma", "wart"), tree, inner=True)


def test_photos_of_no_class_are_left_out_with_a_note() -> None:
    found = samples_of_classes(samples("lentigo", "nevus", "blue", "benign", "nevus"), CLASSES, TREE)
    assert found.classes == CLASSES
    assert names(found) == ["melanoma", "blue"]
    assert [source.name for source in found.sources] == ["0.jpg", "2.jpg"]
    assert found.notes == (
        "3 photos are labelled with nodes of the tree that are no classes of this classifier: benign (1), nevus (2). "
        "They are left out here.",
    )
    assert samples_of_classes(samples("wart"), CLASSES, TREE).notes == ()
    with pytest.raises(DataError, match=r"^photos: all 2 photos are labelled with nodes .* benign \(2\)\. Label them"):
        samples_of_classes(samples("benign", "benign"), CLASSES, TREE)
    with pytest.raises(DataError, match="1 class that the model does not know: mole"):
        samples_of_classes(samples("blue", "mole"), CLASSES, TREE)


@pytest.mark.parametrize("label", ["cyst", "mole"])
def test_labels_of_no_kind_that_is_known_are_refused(label: str) -> None:
    with pytest.raises(DataError, match=f"1 class that the model does not know: {label}"):
        aligned_by_tree(samples("blue", label), CLASSES, TREE, inner=True)


def test_without_a_tree_labels_are_classes() -> None:
    assert names(aligned_by_tree(samples("wart", "blue"), CLASSES, None)) == ["wart", "blue"]
    with pytest.raises(DataError, match="lentigo"):
        aligned_by_tree(samples("lentigo"), CLASSES, None, inner=True)


def test_places_of_labels_at_each_level() -> None:
    labels = (*CLASSES, "benign", "nevus", "spitz", "carcinoma", "malignant")
    first, second, last = TREE.levels(CLASSES)
    assert (first.nodes, second.nodes, last.nodes) == (("benign", "malignant"), ("nevus", "melanoma", "wart"), CLASSES)
    assert places_at(first, labels, CLASSES, TREE).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 1]
    # at the second level "benign" and "malignant" do not say which, and no class is a carcinoma
    assert places_at(second, labels, CLASSES, TREE).tolist() == [0, 0, 1, 2, -1, 0, 0, -1, -1]
    assert places_at(last, labels, CLASSES, TREE).tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1]


def test_a_node_with_one_class_is_reached_by_its_own_name() -> None:
    """Of two classes the level is of the classes, and "malignant" is the melanoma's place all the same."""
    (level,) = TREE.levels(("blue", "melanoma"))
    assert (level.number, level.nodes) == (1, ("blue", "melanoma"))
    assert places_at(level, ("benign", "malignant"), ("blue", "melanoma"), TREE).tolist() == [0, 1]


def test_figures_of_photos_with_labels_of_all_kinds() -> None:
    """blue and nevus are answered halo, benign is answered melanoma: 2 of 3 right at the top, 1 of 2 below."""
    aligned = aligned_by_tree(samples("blue", "nevus", "benign"), CLASSES, TREE, inner=True)
    probabilities = np.array([[0.3, 0.5, 0.1, 0.1], [0.2, 0.3, 0.4, 0.1], [0.1, 0.1, 0.7, 0.1]])
    found = figures_in_tree(dataset(aligned), probabilities, probabilities.argmax(axis=1), CLASSES, TREE)
    assert found is not None
    assert [(one.level, one.n) for one in found.levels] == [(1, 3), (2, 2), (3, 1)]
    # sums of benign: .9, .6, .3; of nevus .8, .5 beside melanoma .1, .4
    assert [one.figures["accuracy"] for one in found.levels] == [pytest.approx(2 / 3), 1.0, 0.0]
    assert found.distances is not None
    assert (found.distances.answers.n, found.distances.answers.value) == (1, 2.0)
    assert figures_in_tree(dataset(aligned), probabilities, probabilities.argmax(axis=1), CLASSES, None) is None


def test_at_the_level_of_the_classes_figures_are_of_what_a_rule_answers() -> None:
    """A rule answers melanoma from 0.2 on: 1 of 4 right among the classes, and the nodes above as they were, 4 of 4."""
    aligned = aligned_by_tree(samples("blue", "halo", "wart", "melanoma"), CLASSES, TREE, inner=True)
    probabilities = np.array([[0.7, 0.1, 0.2, 0.0], [0.1, 0.6, 0.3, 0.0], [0.1, 0.1, 0.3, 0.5], [0.2, 0.1, 0.7, 0.0]])
    answers = np.full(4, 2)
    found = figures_in_tree(dataset(aligned), probabilities, answers, CLASSES, TREE)
    assert found is not None
    assert [one.figures["accuracy"] for one in found.levels] == [1.0, 1.0, 0.25]
    assert [one.figures["balanced_accuracy"] for one in found.levels] == [1.0, 1.0, 0.25]
    # the nodes above: .8 .7 .7 .3 benign; nevus .8 .7 .2 .3, wart 0 0 .5 0
    assert found.distances is not None
    assert found.distances.answers.value == pytest.approx((5 + 5 + 4 + 0) / 4)  # from blue, halo, wart and itself


def test_photos_at_a_level_and_among_the_classes(listener: Any) -> None:
    aligned = dataset(aligned_by_tree(samples("blue", "nevus", "benign", "wart"), CLASSES, TREE, inner=True))
    classes, chosen = dataset_at(aligned, CLASSES, TREE, None)
    assert (classes.classes, names(classes.samples), chosen.tolist()) == (
        CLASSES,
        ["blue", "wart"],
        [True, False, False, True],
    )
    level = level_of(TREE, CLASSES, 2)
    second, chosen = dataset_at(aligned, CLASSES, TREE, level)
    assert second.classes == ("nevus", "melanoma", "wart")
    assert names(second.samples) == ["nevus", "nevus", "wart"]
    assert chosen.tolist() == [True, True, False, True]
    say_inner_labels(aligned, CLASSES, listener)
    assert "2 photos are labelled with nodes" in listener.said[0]
    assert "benign (1), nevus (1)" in listener.said[0]


def test_levels_that_there_are_not() -> None:
    with pytest.raises(OptionError, match=r"level must be one of 1 \(2 nodes\), 2 \(3 nodes\), 3 \(4 nodes\). Got 4."):
        level_of(TREE, CLASSES, 4)
    with pytest.raises(OptionError, match="level is for classes that lie in a tree, and this classifier knows of none"):
        level_of(None, CLASSES, 1)
