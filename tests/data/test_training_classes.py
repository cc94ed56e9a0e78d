from pathlib import Path

import numpy as np
import pytest

from regraft.data.samples import Samples
from regraft.data.training_classes import TaxonomyOptions
from regraft.errors import DataError, OptionError

TREE = "benign: {nevus: [blue, halo], wart: }\nmalignant: [melanoma, carcinoma]\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TREE)
    return tmp_path / "tree.yaml"


def samples(where: str = "photos", **counts: int) -> Samples:
    labels = [name for name, count in counts.items() for _ in range(count)]
    return Samples.from_labels(where, [Path(f"{k}.jpg") for k in range(len(labels))], labels)


def test_without_a_tree_nothing_changes() -> None:
    splits = {"train": samples(blue=2, halo=3)}
    assert TaxonomyOptions().apply(splits) == splits


def test_without_a_maximum_the_labels_stay_the_classes(tree: Path) -> None:
    train = samples(blue=2, melanoma=3)
    found = TaxonomyOptions(tree).apply({"train": train})["train"]
    assert found.classes == train.classes
    assert found.labels.tolist() == train.labels.tolist()
    assert found.taxonomy is not None
    assert found.taxonomy.distances(("blue", "melanoma"))[0, 1] == 5


def test_labels_become_training_classes_and_the_photos_of_each_are_said(tree: Path) -> None:
    train = samples(blue=4, halo=6, wart=7, melanoma=9, carcinoma=2)
    found = TaxonomyOptions(tree, 10).apply({"train": train})["train"]
    assert found.counts() == {"carcinoma": 2, "melanoma": 9, "nevus": 10, "wart": 7}
    names = np.array(train.classes)[train.labels]
    expected = ["nevus" if name in ("blue", "halo") else name for name in names]
    assert [found.classes[k] for k in found.labels] == expected
    assert found.notes[-1] == (
        "taxonomy: 5 labels are learned as 4 training classes of at most 10 photos, where the tree allows it; joined: "
        "nevus (10 photos of blue, halo)"
    )
    (said,) = TaxonomyOptions(tree, 1).apply({"train": train})["train"].notes
    assert (
        said == "taxonomy: no labels can be joined into training classes of at most 1 photos, where the tree allows it"
    )


def test_other_splits_follow_the_training_photos(tree: Path) -> None:
    """Of halo there are no training photos: it belongs to nevus, which has some. Warts are of no class."""
    validation = samples("validation", halo=2, melanoma=1, wart=1)
    found = TaxonomyOptions(tree).apply({"train": samples(nevus=4, melanoma=5), "validation": validation})
    assert found["train"].classes == ("melanoma", "nevus")
    assert found["validation"].counts() == {"melanoma": 1, "nevus": 2, "wart": 1}
    with pytest.raises(DataError, match=r"1 class that the model does not know: wart"):
        found["validation"].aligned(found["train"].classes)


def test_names_are_compared_as_they_look(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("animal: [ba\u0308r, fox]\n")
    found = TaxonomyOptions(tmp_path / "tree.yaml").apply({"train": samples(**{"b\u00e4r": 2, "fox": 2})})["train"]
    assert found.classes == ("b\u00e4r", "fox")


def test_the_order_of_labels_that_stay_is_kept(tree: Path, tmp_path: Path) -> None:
    """Labels of Python users are in NumPy's order, and names of nodes in the order that is asked for."""
    (tmp_path / "tree.yaml").write_text("a: [2, 10]\nb: [3, 4]\n")
    train = samples(**{"2": 5, "10": 5, "3": 1, "4": 1})
    assert train.classes == ("2", "3", "4", "10")
    kept = TaxonomyOptions(tmp_path / "tree.yaml", 1).apply({"train": train}, sorted)["train"]
    assert kept.classes == ("2", "3", "4", "10")
    joined = TaxonomyOptions(tmp_path / "tree.yaml", 2).apply({"train": train}, sorted)["train"]
    assert joined.classes == ("10", "2", "b")
    assert joined.counts() == {"10": 5, "2": 5, "b": 2}


def test_mistakes_are_named(tree: Path) -> None:
    train = {"train": samples(blue=2, melanoma=3)}
    with pytest.raises(OptionError, match="max_class_size goes with taxonomy"):
        TaxonomyOptions(None, 10).apply(train)
    with pytest.raises(OptionError, match=r"max_class_size must be a whole number from 1\. Got 0"):
        TaxonomyOptions(tree, 0).apply(train)
    with pytest.raises(DataError, match=r"(?s)photos: 1 label is not in the tree.*melanom\n.*Did you mean 'melanoma'"):
        TaxonomyOptions(tree).apply({"train": samples(blue=2, melanom=3)})
    with pytest.raises(DataError, match=r"max_class_size 9 leaves one class, 'benign'\. Name a smaller one"):
        TaxonomyOptions(tree, 9).apply({"train": samples(blue=2, wart=3)})
