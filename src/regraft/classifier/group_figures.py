"""How a classifier did on each group that was left out: one clinic, one camera, one year."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from regraft.errors import printable
from regraft.evaluation.intervals import Interval, wilson
from regraft.evaluation.report_lines import padded, shown

_SHOWN = 20  # groups in a printed table
_WIDEST = 40  # characters of a name


@dataclass(frozen=True)
class GroupFigures:
    """What a classifier answered on the photos of one group that it did not learn from.

    Attributes:
        name: of the group.
        photos: how many it has.
        accuracy: share of right answers.
        accuracy_interval: 95 %, of photos that are as these.
    """

    name: str
    photos: int
    accuracy: float
    accuracy_interval: Interval

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"accuracy_interval": list(self.accuracy_interval)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        low, high = found["accuracy_interval"]
        return cls(found["name"], found["photos"], found["accuracy"], (low, high))


def figures_by_group(right: np.ndarray, folds: np.ndarray, names: Sequence[str]) -> tuple[GroupFigures, ...]:
    """Return the figures of each group, the lowest accuracy first, of equal ones the larger group.

    Args:
        right: (n,) booleans: which photos were answered rightly.
        folds: (n,) numbers of groups.
        names: of each number.
    """
    found = []
    for number, name in enumerate(names):
        own = right[folds == number]
        found.append(GroupFigures(name, len(own), float(own.mean()), wilson(float(own.sum()), len(own))))
    return tuple(sorted(found, key=lambda one: (one.accuracy, -one.photos)))


def group_table(figures: Sequence[GroupFigures], column: str) -> str:
    """Return a table for a terminal: of many groups those with the lowest accuracy.

    Args:
        figures: of each group, the lowest accuracy first.
        column: what a group is; "" where nobody has named it.
    """
    rows = [[printable(column) or "group", "photos", "accuracy, learned without it"]]
    for one in figures[:_SHOWN]:
        accuracy = shown(one.accuracy, one.accuracy_interval, percent=True)
        rows.append([_cut(printable(one.name)), f"{one.photos:>6,}", accuracy])
    more = [f"  and {len(figures) - _SHOWN:,} more, none of them lower"] if len(figures) > _SHOWN else []
    return "\n".join([*(f"  {line}" for line in padded(rows)), *more])


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else f"...{name[3 - _WIDEST :]}"
