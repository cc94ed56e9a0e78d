"""What is taken for what: the confusion matrix as a grid of any size, and the pairs that are mixed up most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from regraft.evaluation.report import Report

MOST_CLASSES = 40  # of a grid
_CONFUSIONS = 20  # that are listed of more classes
_UPRIGHT = 3  # letters of a name that a cell has room for
_WIDTH, _SMALLEST, _LARGEST = 760, 19, 52  # pixels: of all cells of a row, of one cell
_LEAST, _MOST = 0.1, 0.8  # opacity of the smallest share above none, and of all


@dataclass(frozen=True)
class MixedPair:
    """Two classes that are taken for each other.

    Attributes:
        first: name of the one that is missed more often.
        second: name of the other.
        first_missed: photos of the first that are taken for the second.
        second_missed: photos of the second that are taken for the first.
    """

    first: str
    second: str
    first_missed: int
    second_missed: int

    @property
    def mistakes(self) -> int:
        """Return how many photos are taken for the other, of both."""
        return self.first_missed + self.second_missed


def mixed_pairs(report: Report) -> list[MixedPair]:
    """Return the pairs of classes that are taken for each other, the most mistakes first."""
    counts, found = report.confusion, []
    for a, b in combinations(range(len(counts)), 2):
        if counts[a][b] + counts[b][a]:
            first, second = (a, b) if counts[a][b] >= counts[b][a] else (b, a)
            names = report.classes[first], report.classes[second]
            found.append(MixedPair(*names, counts[first][second], counts[second][first]))
    return sorted(found, key=lambda pair: -pair.mistakes)


def mistakes_of(report: Report) -> int:
    """Return how many photos were answered wrong."""
    return int(np.sum(report.confusion) - np.trace(report.confusion))


def confusion_context(report: Report) -> dict[str, Any]:
    """Return the template's part on what is taken for what: a grid, or a list where the classes are too many."""
    names, counts = report.classes, np.array(report.confusion)
    many = len(names) > MOST_CLASSES
    return {
        "names": names,
        "grid": [] if many else _grid(names, counts),
        "upright": max(map(len, names)) <= _UPRIGHT,
        "cell": min(max(_WIDTH // len(names), _SMALLEST), _LARGEST),
        "confusions": _list(names, counts) if many else [],
    }


def _grid(names: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """Return a row for each class: counts, and how strongly each cell is coloured by its share of the row."""
    rows = []
    for place, name in enumerate(names):
        total = int(counts[place].sum())
        cells = []
        for column, count in enumerate(counts[place].tolist()):
            said = "recognised" if place == column else f"taken for {names[column]}"
            strength = _LEAST + (_MOST - _LEAST) * math.sqrt(count / max(total, 1))  # few mistakes are to be seen
            cells.append(
                {
                    "count": f"{count:,}" if count else "",
                    "strength": f"{strength:.2f}",
                    "right": place == column,
                    "said": f"{name} {said}: {count:,} of {total:,}" if count else "",
                }
            )
        rows.append({"name": name, "cells": cells, "total": f"{total:,}"})
    return rows


def _list(names: Sequence[str], counts: np.ndarray) -> list[str]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = [divmod(int(place), len(names)) for place in np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]]
    return [f"{names[t]} taken for {names[a]}: {wrong[t, a]:,} of {counts[t].sum():,}" for t, a in order if wrong[t, a]]
