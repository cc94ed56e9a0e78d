"""Figures by group: the lowest first, with intervals, as a table and as JSON."""

import json

import numpy as np
import pytest

from regraft.classifier.group_figures import GroupFigures, figures_by_group, group_table

RIGHT = np.array([1, 1, 0, 1, 1, 1, 1, 0, 0, 1], dtype=bool)
FOLDS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_groups_come_with_the_lowest_accuracy_first() -> None:
    """3 of 4, 3 of 3 and 1 of 3 are right. Wilson for 1 of 3: (1/3 + z2/6 -+ z sqrt(2/27 + z2/36)) / (1 + z2/3)."""
    found = figures_by_group(RIGHT, FOLDS, ("a", "b", "c"))
    assert [(one.name, one.photos, one.accuracy) for one in found] == [("c", 3, 1 / 3), ("a", 4, 0.75), ("b", 3, 1.0)]
    z = 1.959964
    half = z * np.sqrt(2 / 27 + z * z / 36)
    expected = [(1 / 3 + z * z / 6 + sign * half) / (1 + z * z / 3) for sign in (-1, 1)]
    assert found[0].accuracy_interval == pytest.approx(expected, abs=1e-6)


def test_of_equal_groups_the_larger_comes_first() -> None:
    found = figures_by_group(np.ones(5, dtype=bool), np.array([0, 0, 1, 1, 1]), ("small", "large"))
    assert [one.name for one in found] == ["large", "small"]


def test_figures_come_back_from_json() -> None:
    for one in figures_by_group(RIGHT, FOLDS, ("a", "b", "c")):
        assert GroupFigures.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_the_table_names_the_column() -> None:
    figures = (GroupFigures("north", 1200, 0.5, (0.25, 0.75)), GroupFigures("far south", 3, 1.0, (0.4385, 1.0)))
    assert group_table(figures, "clinic").splitlines() == [
        "  clinic     photos  accuracy, learned without it",
        "  north       1,200  50.0 % [25.0, 75.0]",
        "  far south       3  100.0 % [43.9, 100.0]",
    ]
    assert group_table(figures[:1], "").startswith("  group  photos  ")


def test_twenty_groups_are_shown_and_the_rest_counted() -> None:
    figures = [GroupFigures(f"g{number}", 1, 0.5, (0.1, 0.9)) for number in range(23)]
    lines = group_table(figures, "camera").splitlines()
    assert len(lines) == 22
    assert lines[-2].startswith("  g19 ")
    assert lines[-1] == "  and 3 more, none of them lower"


def test_names_cannot_steer_a_terminal_or_fill_it() -> None:
    line = group_table([GroupFigures("\x1b[2J" + 60 * "x", 1, 1.0, (0.2, 1.0))], "").splitlines()[1]
    assert line.split()[0] == "..." + 37 * "x"
    line = group_table([GroupFigures("\x1b[2J", 1, 1.0, (0.2, 1.0))], "a\nb").splitlines()
    assert line[0].split()[0] == r"a\nb"
    assert line[1].split()[0] == r"\x1b[2J"
