"""Levels of a tree of classes: each divides the classes among its nodes, whose probabilities are sums."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Level:
    """One level of a tree of c classes.

    Attributes:
        number: its distance from the top; 1 is the first that tells anything apart.
        nodes: m names; a class that is less deep stands for itself.
        columns: (c,) node of each class.
    """

    number: int
    nodes: tuple[str, ...]
    columns: np.ndarray

    def sums(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n, m) probabilities of the nodes, each the sum of its classes', of (n, c) those of the classes."""
        member = np.zeros((len(self.columns), len(self.nodes)))
        member[np.arange(len(self.columns)), self.columns] = 1.0
        return np.asarray(probabilities @ member)

    def of(self, deeper: "Level") -> "Level":
        """Return this level as one of the nodes of a deeper one, instead of the classes."""
        first = np.unique(deeper.columns, return_index=True)[1]
        return Level(self.number, self.nodes, self.columns[first])
