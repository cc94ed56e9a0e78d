"""What is taken for what: every count in its place, whatever the number of classes."""

import numpy as np
import pytest
from tests.explain.made import report_of

from regraft.explain.confusion import MixedPair, confusion_context, mistakes_of, mixed_pairs

NAMES = ("lily", "lotus", "rose")
COUNTS = [[7, 3, 0], [5, 4, 1], [0, 0, 10]]


def test_pairs_count_both_directions() -> None:
    report = report_of(COUNTS, NAMES)
    assert mistakes_of(report) == 9
    assert mixed_pairs(report) == [MixedPair("lotus", "lily", 5, 3), MixedPair("lotus", "rose", 1, 0)]
    assert [pair.mistakes for pair in mixed_pairs(report)] == [8, 1]


def test_the_grid_has_every_count_coloured_by_its_share_of_the_row() -> None:
    found = confusion_context(report_of(COUNTS, NAMES))
    assert [row["name"] for row in found["grid"]] == list(NAMES)
    assert [row["total"] for row in found["grid"]] == ["10"] * 3
    assert [[cell["count"] for cell in row["cells"]] for row in found["grid"]] == [
        ["7", "3", ""],
        ["5", "4", "1"],
        ["", "", "10"],
    ]
    assert [cell["right"] for cell in found["grid"][1]["cells"]] == [False, True, False]
    assert found["grid"][1]["cells"][0]["said"] == "lotus taken for lily: 5 of 10"
    assert found["grid"][1]["cells"][1]["said"] == "lotus recognised: 4 of 10"
    # from 0.1 for none to 0.8 for all, by the root of the share: 0.1 + 0.7 * sqrt(0.4)
    assert found["grid"][1]["cells"][1]["strength"] == "0.54"
    assert found["grid"][2]["cells"][2]["strength"] == "0.80"
    assert found["confusions"] == []
    assert not found["upright"]
    assert confusion_context(report_of(COUNTS, "abc"))["upright"]  # there is room for names of a letter


@pytest.mark.parametrize(("classes", "cell"), [(2, 52), (5, 52), (20, 38), (40, 19)])
def test_the_grid_is_whole_up_to_forty_classes_in_the_width_of_a_page(classes: int, cell: int) -> None:
    counts = np.diag(np.full(classes, 3))
    found = confusion_context(report_of(counts.tolist(), [f"class {n}" for n in range(classes)]))
    assert [len(row["cells"]) for row in found["grid"]] == [classes] * classes
    assert found["cell"] == cell


def test_of_more_classes_the_confusions_are_listed_the_most_frequent_first() -> None:
    counts = np.diag(np.full(41, 10))
    counts[3, 7], counts[20, 1] = 4, 6
    found = confusion_context(report_of(counts.tolist(), [f"class {n}" for n in range(41)]))
    assert found["grid"] == []
    assert found["confusions"] == ["class 20 taken for class 1: 6 of 16", "class 3 taken for class 7: 4 of 14"]
