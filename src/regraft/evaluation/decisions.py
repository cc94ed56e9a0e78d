"""Decision rules: from the probabilities of the classes to an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Protocol, Self, TypeGuard

import numpy as np

from regraft.errors import printable

MOST_PROBABLE = "most probable class"
_LARGEST_COST = 1e9
_LEAST_WRITTEN_OUT = 1e-8  # shares nearer to 0 or 1 would be long rows of zeros or nines


class DecisionRule(Protocol):
    """What answers. `RULES` lists the kinds that there are.

    Attributes:
        kind: its name in a file.
    """

    kind: ClassVar[str]

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n,) classes of (n, c) probabilities."""

    def in_words(self, classes: Sequence[str]) -> str:
        """Return what is answered when, as the rest of a sentence that begins with "answered is"."""

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON types."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any], classes: Sequence[str]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none; the text names the field, what it must be and what it is.
        """


def answers_from(threshold: float | np.ndarray, label: int, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) answers: `label` where its probability reaches a threshold, else the most probable of the others.

    Args:
        threshold: one for all, or (n,).
        label: a class.
        probabilities: (n, c).
    """
    others = probabilities.copy()
    others[:, label] = -1.0
    return np.where(probabilities[:, label] >= threshold, label, others.argmax(axis=1))


@dataclass(frozen=True)
class ThresholdRule:
    """One class is answered where its probability reaches a threshold, else the most probable of the others.

    Attributes:
        label: the class.
        threshold: from 0 to 1.
    """

    kind: ClassVar[str] = "threshold"
    label: int
    threshold: float

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n,) classes of (n, c) probabilities."""
        return answers_from(self.threshold, self.label, probabilities)

    def in_words(self, classes: Sequence[str]) -> str:
        """Return "malignant from a probability of 8.3 % on, else benign"."""
        rest = classes[1 - self.label] if len(classes) == 2 else "the most probable of the others"
        return f"{classes[self.label]} from a probability of {percent(self.threshold)} on, else {rest}"

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"rule": self.kind, "class": classes[self.label], "threshold": self.threshold}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], classes: Sequence[str]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none.
        """
        name, threshold = found.get("class"), found.get("threshold")
        if not isinstance(name, str) or name not in classes:
            raise ValueError(f"decision.class must be one of the classes. Got {name!r}")
        if not _is_number(threshold) or not 0 <= threshold <= 1:
            raise ValueError(f"decision.threshold must be a number from 0 to 1. Got {threshold!r}")
        return cls(list(classes).index(name), float(threshold))


@dataclass(frozen=True, eq=False)
class CostRule:
    """The class with the least expected cost is answered (Elkan 2001, "The foundations of cost-sensitive learning").

    Attributes:
        costs: (c, c) from 0: costs[j, k] is what answering k costs where j is true.
    """

    kind: ClassVar[str] = "costs"
    costs: np.ndarray

    @classmethod
    def weighted(cls, weights: np.ndarray) -> Self:
        """Return the rule that answers the class with the largest weight (c,) times probability."""
        costs = np.repeat(weights.astype(np.float64)[:, None], len(weights), axis=1)
        np.fill_diagonal(costs, 0.0)
        return cls(costs)

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n,) classes of (n, c) probabilities; of equal ones the first."""
        return np.asarray((probabilities @ self.costs).argmin(axis=1))

    def in_words(self, classes: Sequence[str]) -> str:
        """Return what is answered; of two classes from which probability on."""
        missed, false_alarm = float(self.costs[1, 0]), float(self.costs[0, 1])
        if len(classes) == 2 and missed + false_alarm > 0:
            share = percent(false_alarm / (missed + false_alarm))
            return f"{classes[1]} above a probability of {share}, else {classes[0]}"
        return "the class whose mistakes are expected to cost least"

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002 (they stand in their order)
        """Return plain JSON types."""
        return {"rule": self.kind, "costs": self.costs.tolist()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], classes: Sequence[str]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none.
        """
        rows, count = found.get("costs"), len(classes)
        square = isinstance(rows, Sequence) and len(rows) == count
        if not square or not all(isinstance(row, Sequence) and len(row) == count for row in rows or ()):
            raise ValueError(f"decision.costs must have {count} rows and columns, one for each class")
        if not all(_is_number(cost) and 0 <= cost <= _LARGEST_COST for row in rows or () for cost in row):
            raise ValueError(f"decision.costs must be numbers from 0 to {_LARGEST_COST:g}")
        return cls(np.array(rows, dtype=np.float64))


RULES: dict[str, type[ThresholdRule] | type[CostRule]] = {rule.kind: rule for rule in (ThresholdRule, CostRule)}


@dataclass(frozen=True, eq=False)
class Decision:
    """A rule, and what the user asked for.

    Attributes:
        rule: what answers.
        asked: as the user would say it: "sensitivity >= 0.9 for malignant".
    """

    rule: DecisionRule
    asked: str

    def in_words(self, classes: Sequence[str]) -> str:
        """Return what was asked for and what that comes to."""
        return printable(f"{self.asked}: {self.rule.in_words(classes)}")

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"asked": self.asked, **self.rule.to_json(classes)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], classes: Sequence[str]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is none.
        """
        kind, asked = found.get("rule"), found.get("asked")
        if kind not in RULES or not isinstance(asked, str):
            raise ValueError(f"decision.rule must be one of {', '.join(RULES)}, and asked a text. Got {kind!r}")
        return cls(RULES[kind].from_json(found, classes), asked)


def answers_of(decision: Decision | None, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) classes that are answered: by the decision's rule, or the most probable ones without one."""
    return np.asarray(probabilities.argmax(axis=1)) if decision is None else decision.rule.answers(probabilities)


def decided_by(decision: Decision | None) -> str:
    """Return what decides, as the user asked for it."""
    return MOST_PROBABLE if decision is None else decision.asked


def percent(share: float) -> str:
    """Return a share in percent with the digits that tell it from 0 and 1.

    >>> percent(0.2), percent(0.083412), percent(0.000123), percent(0.99987), percent(1 - 1e-12), percent(1e-12)
    ('20 %', '8.3 %', '0.012 %', '99.987 %', '100 % less 1e-10 %', '1e-10 %')
    """
    if 0.1 <= share <= 0.9:
        return f"{100 * share:.3g} %"
    rest = min(share, 1 - share)
    if 0 < rest < _LEAST_WRITTEN_OUT:
        return f"{100 * rest:.2g} %" if share < 0.5 else f"100 % less {100 * rest:.2g} %"
    digits = f"{Decimal(f'{100 * rest:.2g}'):f}"
    return f"{digits} %" if share < 0.5 else f"{100 * share:.{len(digits.partition('.')[2])}f} %"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
