import json

import numpy as np
import pytest

from regraft.data.taxonomy import Taxonomy
from regraft.errors import DataError

# skin
#   benign: nevus (blue nevus, halo nevus), keratosis
#   malignant: melanoma (amelanotic, lentigo), carcinoma
SKIN = {
    "skin": None,
    "benign": "skin",
    "malignant": "skin",
    "nevus": "benign",
    "keratosis": "benign",
    "blue nevus": "nevus",
    "halo nevus": "nevus",
    "melanoma": "malignant",
    "carcinoma": "malignant",
    "amelanotic": "melanoma",
    "lentigo": "melanoma",
}
LEAVES = ("blue nevus", "halo nevus", "keratosis", "amelanotic", "lentigo", "carcinoma")


@pytest.fixture
def skin() -> Taxonomy:
    return Taxonomy(SKIN)


def chain(length: int) -> Taxonomy:
    """Return a tree of one node below another, and a leaf beside the deepest."""
    parents: dict[str, str | None] = {f"n{k}": f"n{k - 1}" if k else None for k in reversed(range(length))}
    return Taxonomy(parents | {"other": f"n{length - 2}"})


def test_depths_paths_and_ancestors(skin: Taxonomy) -> None:
    assert [skin.depth(name) for name in ("skin", "benign", "nevus", "lentigo")] == [0, 1, 2, 3]
    assert skin.path("lentigo") == ("malignant", "melanoma", "lentigo")
    assert skin.path("skin") == ("skin",)
    assert skin.ancestors("lentigo") == ["melanoma", "malignant", "skin"]


def test_several_roots_have_a_root_without_a_name_above_them() -> None:
    without = Taxonomy({k: None if v == "skin" else v for k, v in SKIN.items() if k != "skin"})
    assert [without.depth(name) for name in ("benign", "nevus", "lentigo")] == [1, 2, 3]
    assert without.path("lentigo") == ("malignant", "melanoma", "lentigo")
    assert without.distances(("nevus", "melanoma")).tolist() == [[0, 4], [4, 0]]


@pytest.mark.parametrize(
    ("one", "other", "edges"),
    [
        ("amelanotic", "lentigo", 2),
        ("amelanotic", "carcinoma", 3),
        ("amelanotic", "melanoma", 1),
        ("amelanotic", "keratosis", 5),
        ("blue nevus", "lentigo", 6),
        ("nevus", "nevus", 0),
        ("skin", "lentigo", 3),
    ],
)
def test_distances_are_edges_counted_by_hand(skin: Taxonomy, one: str, other: str, edges: int) -> None:
    table = skin.distances(("skin", one, other))
    assert table[1, 2] == table[2, 1] == edges
    assert np.diag(table).tolist() == [0, 0, 0]


def test_levels_divide_the_classes_and_shallow_ones_stand_for_themselves(skin: Taxonomy) -> None:
    first, second, third = skin.levels(LEAVES)
    assert (first.number, first.nodes, first.columns.tolist()) == (1, ("benign", "malignant"), [0, 0, 0, 1, 1, 1])
    assert second.nodes == ("nevus", "keratosis", "melanoma", "carcinoma")
    assert second.columns.tolist() == [0, 0, 1, 2, 2, 3]
    assert third.nodes == LEAVES  # keratosis and carcinoma are less deep


def test_a_level_that_divides_no_further_is_none(skin: Taxonomy) -> None:
    assert [level.number for level in skin.levels(("lentigo", "amelanotic"))] == [3]  # both are malignant melanomas
    assert [level.number for level in chain(1000).levels(("n999", "other"))] == [999]


def test_an_inner_node_that_is_a_class_is_beside_those_below_it(skin: Taxonomy) -> None:
    """Photos labelled "melanoma", without its kind, beside those of a kind."""
    first, last = skin.levels(("melanoma", "lentigo", "nevus"))
    assert first.columns.tolist() == [0, 0, 1]
    assert first.nodes == ("malignant", "benign")
    assert last.nodes == ("melanoma", "lentigo", "nevus")


def test_the_class_of_a_label_is_the_nearest_above_it(skin: Taxonomy) -> None:
    classes = {"melanoma", "malignant", "nevus"}
    found = [skin.nearest_class(label, classes) for label in ("lentigo", "carcinoma", "nevus", "benign", "wart")]
    assert found == ["melanoma", "malignant", "nevus", None, None]


class TestTrainingClasses:
    """The partition of Esteva et al. (2017): from the top, a node with few enough images is one class."""

    counts = {  # noqa: RUF012 (not changed)
        "blue nevus": 300,
        "halo nevus": 200,
        "keratosis": 700,
        "amelanotic": 90,
        "lentigo": 1500,
        "carcinoma": 800,
    }

    def test_by_hand(self, skin: Taxonomy) -> None:
        """With 1,000: benign has 1,200 and is divided: nevus has 500, one class. Melanoma has 1,590: divided."""
        assert skin.training_classes(self.counts, 1000) == {
            "blue nevus": "nevus",
            "halo nevus": "nevus",
            "keratosis": "keratosis",
            "amelanotic": "amelanotic",
            "lentigo": "lentigo",
            "carcinoma": "carcinoma",
        }

    def test_a_node_with_exactly_the_maximum_is_one_class(self, skin: Taxonomy) -> None:
        at = set(skin.training_classes(self.counts, 1200).values())
        assert at == {"benign", "amelanotic", "lentigo", "carcinoma"}
        assert "benign" not in skin.training_classes(self.counts, 1199).values()

    def test_the_root_of_all_is_never_one_class(self, skin: Taxonomy) -> None:
        assert set(skin.training_classes(self.counts, 10**9).values()) == {"benign", "malignant"}

    def test_a_small_maximum_leaves_the_labels(self, skin: Taxonomy) -> None:
        assert skin.training_classes(self.counts, 1) == {name: name for name in self.counts}

    def test_photos_of_a_divided_node_itself_are_a_class(self, skin: Taxonomy) -> None:
        counts = {"melanoma": 50, "amelanotic": 60, "lentigo": 70, "carcinoma": 5}
        found = skin.training_classes(counts, 100)
        assert found == {
            "melanoma": "melanoma",
            "amelanotic": "amelanotic",
            "lentigo": "lentigo",
            "carcinoma": "carcinoma",
        }
        assert set(skin.training_classes(counts, 180).values()) == {"melanoma", "carcinoma"}

    def test_a_node_whose_photos_have_one_label_is_called_as_it(self, skin: Taxonomy) -> None:
        assert skin.training_classes({"blue nevus": 10, "lentigo": 10, "carcinoma": 10}, 20) == {
            "blue nevus": "blue nevus",
            "lentigo": "malignant",
            "carcinoma": "malignant",
        }

    def test_labels_outside_the_tree_are_named(self, skin: Taxonomy) -> None:
        with pytest.raises(DataError, match=r"(?s)1 label is not in the tree.*melanom\n.*Did you mean 'melanoma'"):
            skin.training_classes({"melanom": 3, "nevus": 4}, 10)


def test_a_tree_of_a_thousand_levels() -> None:
    deep = chain(1000)
    assert deep.depth("n999") == 999
    assert deep.distances(("n999", "n0", "other")).tolist() == [[0, 999, 2], [999, 0, 999], [2, 999, 0]]
    assert deep.training_classes({"n999": 3, "other": 4}, 7) == {"n999": "n1", "other": "n1"}


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ({}, "the tree has no classes"),
        ({"a": "b"}, "'b' is named as a parent, and is no node"),
        ({"a": "a"}, "circle: a < a"),
        ({"r": None, "x": "b", "a": "b", "b": "c", "c": "a"}, "circle: b < c < a < b"),
        ({f"n{k}": f"n{(k + 1) % 9}" for k in range(9)}, "circle: n0 < n1 < n2 < n3 < n4 < ... < n0"),
    ],
)
def test_what_is_no_tree_is_refused(parents: dict[str, str | None], said: str) -> None:
    with pytest.raises(DataError) as raised:
        Taxonomy(parents)
    assert said in str(raised.value)


def test_json_gives_the_same_tree_back(skin: Taxonomy) -> None:
    again = Taxonomy.from_json(json.loads(json.dumps(skin.to_json())))
    assert list(again.parents.items()) == list(skin.parents.items())
    assert len(again) == 11


@pytest.mark.parametrize("found", [{}, {"parents": ["a"]}, {"parents": {"a": 3}}, {"parents": {"a": "b"}}])
def test_other_json_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"parent"):
        Taxonomy.from_json(found)
