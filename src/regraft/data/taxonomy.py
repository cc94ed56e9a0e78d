"""A tree of classes: which kind each is a kind of. What is known of the tree alone, without photos."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from regraft.errors import DataError, did_you_mean, first_few, printable, shortlist
from regraft.evaluation.levels import Level

MAX_NODES = 200_000
_SHOWN = 5


class Taxonomy:
    """A tree of names, or several, which a root without a name then holds together.

    The single root (or the one without a name) has depth 0, the nodes below it depth 1, and so on.

    Args:
        parents: of each node the one above it, None for a root. Parents may come after their children.

    Attributes:
        parents: the same, each parent before its children.

    Raises:
        DataError: no node, a parent that is no node, or a circle.
    """

    def __init__(self, parents: Mapping[str, str | None]) -> None:
        if not parents:
            raise DataError("the tree has no classes.")
        if len(parents) > MAX_NODES:
            raise DataError(f"the tree has {len(parents):,} nodes, and at most {MAX_NODES:,} are read.")
        unknown = [parent for parent in parents.values() if parent is not None and parent not in parents]
        if unknown:
            raise DataError(f"{unknown[0]!r} is named as a parent, and is no node of the tree.")
        children: dict[str | None, list[str]] = {}
        for node, parent in parents.items():
            children.setdefault(parent, []).append(node)
        order = list(children.get(None, ()))
        for node in order:  # it grows meanwhile
            order += children.get(node, ())
        if len(order) < len(parents):
            raise DataError(f"the tree goes round in a circle: {' < '.join(_circle(parents, set(order)))}.")
        self.parents: dict[str, str | None] = {node: parents[node] for node in order}

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.parents)

    def __contains__(self, name: object) -> bool:
        """Tell whether a node has this name."""
        return name in self.parents

    @cached_property
    def _depths(self) -> dict[str, int]:
        top = 0 if sum(parent is None for parent in self.parents.values()) == 1 else 1
        found: dict[str, int] = {}
        for node, parent in self.parents.items():
            found[node] = top if parent is None else found[parent] + 1
        return found

    def depth(self, node: str) -> int:
        """Return how many edges a node is below the root."""
        return self._depths[node]

    def ancestors(self, node: str) -> list[str]:
        """Return the nodes above a node, the nearest first."""
        found, above = [], self.parents[node]
        while above is not None:
            found.append(above)
            above = self.parents[above]
        return found

    def path(self, node: str) -> tuple[str, ...]:
        """Return the nodes from depth 1 down to a node; of the single root itself alone."""
        way = [node, *self.ancestors(node)]
        return tuple(reversed(way[: max(self.depth(node), 1)]))

    def distances(self, nodes: Sequence[str]) -> np.ndarray:
        """Return (c, c) distances between c nodes."""
        depths = np.array([self.depth(node) for node in nodes])
        number = {node: position for position, node in enumerate(self.parents)}
        ways = np.full((len(nodes), max(int(depths.max()), 1)), -1)
        for row, node in enumerate(nodes):
            way = self.path(node) if self.depth(node) else ()
            ways[row, : len(way)] = [number[one] for one in way]
        shared = np.zeros((len(nodes), len(nodes)), dtype=np.int64)
        for column in ways.T:
            shared += (column[:, None] == column) & (column >= 0)
        return np.asarray(depths[:, None] + depths - 2 * shared)

    def levels(self, classes: Sequence[str]) -> tuple[Level, ...]:
        """Return the levels that divide c classes, each further than the one before; the last is of the classes.

        A class that is less deep than a level stands for itself there.
        """
        ways = [self.path(name) for name in classes]
        found: list[Level] = []
        for number in range(1, max(map(len, ways)) + 1):
            names = [way[min(number, len(way)) - 1] for way in ways]
            nodes = tuple(dict.fromkeys(names))
            if len(nodes) > (len(found[-1].nodes) if found else 1):
                position = {node: place for place, node in enumerate(nodes)}
                columns = np.array([position[name] for name in names])
                found.append(Level(number, tuple(classes) if len(nodes) == len(classes) else nodes, columns))
        return tuple(found)

    def node_at(self, number: int, node: str) -> str:
        """Return the node at or above this one at a level; a node that is less deep stands for itself."""
        way = self.path(node)
        return way[min(number, len(way)) - 1]

    def nearest_class(self, label: str, classes: Collection[str]) -> str | None:
        """Return the class that a label belongs to: itself, or the nearest above it; None where neither is a class."""
        if label in classes:
            return label
        return next((node for node in self.ancestors(label) if node in classes), None) if label in self else None

    def training_classes(self, counts: Mapping[str, int], most: int) -> dict[str, str]:
        """Return the training class of each label that has photos, by the partition of Esteva et al. (2017).

        From the top: a node with at most `most` photos at and below it becomes one class; of a larger one the children
        are divided, and the photos of the node itself are a class. So a leaf with more photos stays one. The single
        root is never a class of all. A node whose photos all have one label is called as that label.

        Esteva et al. (2017), "Dermatologist-level classification of skin cancer with deep neural networks".

        Args:
            counts: photos by label.
            most: photos of a class.

        Raises:
            DataError: a label that is not in the tree.
        """
        self.check_labels(counts)
        total = {node: counts.get(node, 0) for node in self.parents}
        for node, parent in reversed(self.parents.items()):
            if parent is not None:
                total[parent] += total[node]
        whole: dict[str, str] = {}
        for node, parent in self.parents.items():
            if parent in whole:
                whole[node] = whole[parent]
            elif total[node] <= most and self.depth(node):
                whole[node] = node
        found = {label: whole.get(label, label) for label, count in counts.items() if count}
        members: dict[str, list[str]] = {}
        for label, name in found.items():
            members.setdefault(name, []).append(label)
        return {label: name if len(members[name]) > 1 else label for label, name in found.items()}

    def check_labels(self, labels: Iterable[str], where: str = "the photos") -> None:
        """Raise `DataError` for labels that are not in the tree; all are named."""
        unknown = [label for label in labels if label not in self]
        if unknown:
            labels_are = "label is" if len(unknown) == 1 else "labels are"
            raise DataError(
                f"{where}: {len(unknown):,} {labels_are} not in the tree of classes:\n{shortlist(unknown)}\n"
                f"It has {printable(first_few(list(self.parents), _SHOWN))}."
                f"{did_you_mean(unknown[0], self.parents)} Add them to it, or correct the labels."
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"parents": self.parents}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none.
        """
        parents = found.get("parents")
        if not isinstance(parents, Mapping) or not all(isinstance(one, str | None) for one in parents.values()):
            raise ValueError("taxonomy.parents must be an object with a name or null for each node")
        return cls(parents)  # a DataError is a ValueError


def distances_between(classes: Sequence[str], taxonomy: Taxonomy | None) -> np.ndarray | None:
    """Return (c, c) distances between classes; None without a tree."""
    return None if taxonomy is None else taxonomy.distances(classes)


def _circle(parents: Mapping[str, str | None], outside: Collection[str]) -> list[str]:
    """Return the first names of a circle, which begins and ends with the same; `outside` lie on none."""
    node = next(name for name in parents if name not in outside)
    seen: dict[str, None] = {}
    while node not in seen:
        seen[node] = None
        above = parents[node]
        assert above is not None  # or it would be outside
        node = above
    circle = list(seen)[list(seen).index(node) :]
    return [*circle[:_SHOWN], *(["..."] if len(circle) > _SHOWN else []), node]
