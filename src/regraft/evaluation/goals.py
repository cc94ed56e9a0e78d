"""What users ask of the answers: a goal, costs, a threshold or balance; and the decision that meets it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from regraft.errors import DataError, OptionError, did_you_mean, option
from regraft.evaluation.decisions import CostRule, Decision, ThresholdRule
from regraft.evaluation.order_statistics import EXACT, least_covering, probability_below

SENSITIVITY, SPECIFICITY, PRECISION = "sensitivity", "specificity", "precision"
_FIGURES = {
    **dict.fromkeys(("sensitivity", "recall", "tpr"), SENSITIVITY),
    **dict.fromkeys(("specificity", "tnr"), SPECIFICITY),
    **dict.fromkeys(("precision", "ppv"), PRECISION),
}
_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_GOAL = re.compile(rf"\s*(\w+)\s*(?:>=|=>|≥)\s*({_NUMBER})\s*(%?)\s*(?:for\s+(.+?))?\s*", re.DOTALL)
_THRESHOLD = re.compile(rf"\s*({_NUMBER})\s*(%?)\s*(?:for\s+(.+?))?\s*", re.DOTALL)
_COST = re.compile(rf"(.+?)\s*=\s*({_NUMBER})\s*(?:,|$)", re.DOTALL)
GOAL_EXAMPLE = "sensitivity>=0.95 for malignant"
COST_EXAMPLE = "malignant:benign=20"
_LEAST_COST = 1e-6
TREE_COST = "taxonomy"  # a mistake costs the distance of the answer from the truth
THRESHOLD_EXAMPLE = "0.2 for malignant"


@dataclass(frozen=True)
class Goal:
    """A least sensitivity, specificity or precision of one class against all others.

    Attributes:
        figure: one of `SENSITIVITY`, `SPECIFICITY` and `PRECISION`.
        least: above 0 and below 1.
        label: the class.
    """

    figure: str
    least: float
    label: int

    def threshold(self, is_class: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None) -> float | None:
        """Return the threshold on the class's probability that meets the goal; None where none does.

        Sensitivity and specificity are met in expectation on new photos from the same source, whatever the
        distribution: see `least_covering`. Of all thresholds that meet them it is one with the fewest alarms (for a
        specificity, with the most hits), and of these the middle of the gap that has most hits (fewest alarms): well
        separated classes are cut between them. A precision counts one false alarm more than there is, and the lowest
        threshold from which on it holds is taken.

        Args:
            is_class: (n,) booleans.
            scores: (n,) probabilities of the class, by what was not fitted on the photo.
            groups: (n,) numbers of photos that are not independent; None: all are.
        """
        found = self.at_level(1 - self.least, is_class, scores, groups)
        return None if found is None else found[0]

    def at_level(
        self,
        missing: float,
        is_class: np.ndarray,
        scores: np.ndarray,
        groups: np.ndarray | None = None,
        *,
        slack: float = EXACT,
    ) -> tuple[float, float] | None:
        """Return the threshold with at most the share `missing` of misses (false alarms), and the share that it has.

        Args:
            missing: instead of 1 - `least`.
            is_class: as of `threshold`.
            scores: likewise.
            groups: likewise.
            slack: see `least_covering`.
        """
        if self.figure == PRECISION:
            found = _precise_threshold(is_class, scores, self.least)
            return None if found is None else (found, missing)
        chosen, sign = (is_class, 1.0) if self.figure == SENSITIVITY else (~is_class, -1.0)
        own = None if groups is None else groups[chosen]
        edge = least_covering(sign * scores[chosen], own, missing, slack=slack)
        if edge is None:
            return None
        threshold = _in_the_gap(sign * edge[0], is_class, scores, lower=self.figure == SENSITIVITY)
        return threshold, probability_below(sign * threshold, sign * scores[chosen], own)

    def needed(self) -> int:
        """Return how many photos (of the class, or for a specificity of the others) it takes to promise the goal."""
        return photos_needed(self.least)

    def said(self, classes: Sequence[str]) -> str:
        """Return the goal as a user would say it."""
        return f"{self.figure} >= {self.least:.10g} for {classes[self.label]}"


def _in_the_gap(edge: float, is_class: np.ndarray, scores: np.ndarray, *, lower: bool) -> float:
    """Return the middle of the gap beside `edge` in which a threshold gains hits (or fewer alarms) at no price.

    Args:
        edge: a probability of the class (of another one where `lower` is False).
        is_class: (n,) booleans.
        scores: (n,).
        lower: whether the threshold may be lowered, else raised.
    """
    hits, others = scores[is_class], scores[~is_class]
    if lower:  # down to the next of the others, which would be one more alarm
        low = float(others[others < edge].max(initial=-1.0))
        high = float(hits[hits > low].min())
    else:  # up to the next of the class, which would be one hit less
        high = float(hits[hits >= edge].min(initial=2.0))
        if high > 1 or high == edge:
            return edge
        low = float(others[(others >= edge) & (others < high)].max())
    return (low + high) / 2 if low >= 0 else high


def _precise_threshold(is_class: np.ndarray, scores: np.ndarray, least: float) -> float | None:
    order = np.argsort(-scores, kind="stable")
    hits, count = np.cumsum(is_class[order]), np.arange(1, len(scores) + 1)
    ends = np.append(np.diff(scores[order]) != 0, True)  # a threshold takes all of equal scores or none
    good = np.flatnonzero(ends & (hits >= least * (count + 1) - 1e-9))
    return float(scores[order][good[-1]]) if len(good) else None


def best_precision(is_class: np.ndarray, scores: np.ndarray) -> float:
    """Return the highest precision that any threshold can promise, as `Goal.threshold` counts it."""
    order = np.argsort(-scores, kind="stable")
    hits, count = np.cumsum(is_class[order]), np.arange(1, len(scores) + 1)
    ends = np.append(np.diff(scores[order]) != 0, True)
    return float((hits / (count + 1))[ends].max())


@dataclass(frozen=True)
class DecisionRequest:
    """How answers are to be decided; at most one of these is asked for.

    Attributes:
        goal: as text, see `GOAL_EXAMPLE`.
        cost: likewise, see `COST_EXAMPLE`.
        threshold: likewise, see `THRESHOLD_EXAMPLE`; a number too.
        balance: whether every class counts alike, however many photos it has.
    """

    goal: str | None = None
    cost: str | None = None
    threshold: str | float | None = None
    balance: bool = False

    @classmethod
    def of_words(cls, asked: str) -> Self:
        """Return what `Decision.asked` says, whose words are those of the options; class weights ask for nothing here.

        >>> DecisionRequest.of_words("threshold 0.2 for malignant").threshold
        '0.2 for malignant'
        """
        kind, _, rest = asked.partition(" ")
        if kind == "cost":
            return cls(cost=rest)
        if kind == "threshold":
            return cls(threshold=rest)
        if kind == "balance":
            return cls(balance=True)
        return cls(goal=asked) if _GOAL.fullmatch(asked) else cls()

    def check(self) -> None:
        """Raise `OptionError` where several are asked for."""
        if len(self.given()) > 1:
            names = " and ".join(map(option, self.given()))
            raise OptionError(f"{names} exclude each other: each decides what is answered. Name one.")

    def given(self) -> tuple[str, ...]:
        """Return the names of what is asked for."""
        texts = [name for name in ("goal", "cost", "threshold") if getattr(self, name) is not None]
        return (*texts, *(["balance"] if self.balance else []))

    def is_given(self) -> bool:
        """Tell whether anything is asked for."""
        return bool(self.given())

    def goal_of(self, classes: Sequence[str], positive: str | None = None) -> Goal | None:
        """Return the goal, None where there is none.

        Args:
            classes: c names.
            positive: of two classes the one that is meant where none is named; default the second.

        Raises:
            OptionError: it is none.
        """
        if self.goal is None:
            return None
        found = _GOAL.fullmatch(str(self.goal))
        figure = _FIGURES.get(found[1].lower()) if found else None
        if not found or figure is None:
            raise OptionError(
                f"{option('goal')} must be a least sensitivity, specificity or precision, and of which class, like "
                f"{GOAL_EXAMPLE!r}. Got {self.goal!r}."
            )
        least = _share(found[2], found[3])
        if not 0 < least < 1:
            raise OptionError(f"{option('goal')} must ask for more than 0 and less than 1 (100 %). Got {self.goal!r}.")
        return Goal(figure, least, _label("goal", found[4], classes, positive))

    def fixed(
        self,
        classes: Sequence[str],
        shares: np.ndarray | None = None,
        positive: str | None = None,
        *,
        distances: np.ndarray | None = None,
    ) -> Decision | None:
        """Return the decision that needs no photos to be chosen; None for a goal, and where nothing is asked for.

        Args:
            classes: c names.
            shares: (c,) of the classes among the training photos; only balance needs them.
            positive: as of `goal_of`.
            distances: (c, c) in the tree that the classes lie in, which may be the costs; None without a tree.

        Raises:
            OptionError: costs or a threshold that are none.
        """
        if self.cost == TREE_COST:
            if distances is None:
                raise OptionError(
                    f"{option('cost', TREE_COST)} is the distance in the tree of the classes, and none is known. Fit "
                    f"with {option('taxonomy')}, or say what each mistake costs, like {COST_EXAMPLE}."
                )
            return Decision(CostRule(distances.astype(np.float64)), f"cost {TREE_COST}")
        if self.cost is not None:
            return Decision(CostRule(read_costs(str(self.cost), classes)), f"cost {self.cost}")
        if self.threshold is not None:
            found = _THRESHOLD.fullmatch(str(self.threshold))
            share = _share(found[1], found[2]) if found else -1.0
            if not found or not 0 < share < 1:
                raise OptionError(
                    f"{option('threshold')} must be a probability above 0 and below 1 (100 %), and of which class, "
                    f"like {THRESHOLD_EXAMPLE!r}. Got {self.threshold!r}."
                )
            label = _label("threshold", found[3], classes, positive)
            return Decision(ThresholdRule(label, share), f"threshold {share:.10g} for {classes[label]}")
        if self.balance and shares is not None:
            return Decision(balance_rule(shares), "balance")
        return None


def balance_rule(shares: np.ndarray) -> CostRule:
    """Return the rule that answers the class whose probability exceeds its share (c,) most.

    It is the most probable class where all classes are equally frequent (Saerens et al. 2002), and so what gives the
    highest balanced accuracy that these probabilities allow.
    """
    return CostRule.weighted(1 / np.maximum(shares, 1e-12) / len(shares))


def read_costs(text: str, classes: Sequence[str]) -> np.ndarray:
    """Return (c, c) costs, 1 for every mistake that is not named.

    Args:
        text: "TRUE:ANSWER=COST", several with commas between.
        classes: c names.

    Raises:
        OptionError: it is something else, or names another class.
    """
    costs = np.ones((len(classes), len(classes)))
    np.fill_diagonal(costs, 0.0)
    rest, named = text.strip(), set()
    while rest:
        found = _COST.match(rest)
        pair = _pair(found[1].strip(), classes) if found else None
        if not found or pair is None:
            raise OptionError(
                f"{option('cost')} must say what a mistake costs, TRUE:ANSWER=COST, like {COST_EXAMPLE}, with classes "
                f"of {', '.join(classes[:10])}; others cost 1. Got {text!r}.{_missing_of_cost(rest, classes)}"
            )
        cost = float(found[2])
        if not _LEAST_COST <= cost <= 1 / _LEAST_COST:
            raise OptionError(f"{option('cost')} must be numbers from 0.000001 to 1,000,000. Got {text!r}.")
        if pair in named:
            raise OptionError(f"{option('cost')} must say once what a mistake costs. Got {found[1]} twice in {text!r}.")
        named.add(pair)
        costs[pair] = cost
        rest = rest[found.end() :].strip()
    if not text.strip():
        raise OptionError(f"{option('cost')} must say what a mistake costs, like {COST_EXAMPLE}. Got nothing.")
    return costs


def _missing_of_cost(rest: str, classes: Sequence[str]) -> str:
    """Return what is amiss with the first mistake of `rest`, as a sentence; "" where that is not clear."""
    pair = rest.partition("=")[0].strip()
    if _pair(pair.partition(",")[0].strip(), classes) is not None:
        number = "a number above 0" if "=" in rest else "the number"
        return f" After {pair.partition(',')[0].strip()} there must be =COST, {number}."
    names = [name.strip() for name in pair.split(":")]
    if len(names) == 2 and names[0] == names[1] and names[0] in classes:
        return f" {names[0]}:{names[0]} is no mistake."
    return next((did_you_mean(name, classes) for name in names if name not in classes), "")


def _pair(text: str, classes: Sequence[str]) -> tuple[int, int] | None:
    """Return the two different classes of "TRUE:ANSWER", whose names may hold colons; None if there are none such.

    Raises:
        OptionError: the text can be read in two ways.
    """
    places = [place for place, letter in enumerate(text) if letter == ":"]
    split = [(text[:place].strip(), text[place + 1 :].strip()) for place in places]
    found = [(true, answer) for true, answer in split if true in classes and answer in classes and true != answer]
    if len(found) > 1:
        ways = " or ".join(f"{true!r} taken for {answer!r}" for true, answer in found)
        raise OptionError(
            f"{option('cost')} can be read in several ways: {text!r} may mean {ways}. Rename one of these classes."
        )
    return (list(classes).index(found[0][0]), list(classes).index(found[0][1])) if found else None


def _label(name: str, named: str | None, classes: Sequence[str], positive: str | None) -> int:
    if named is None and len(classes) == 2:
        return 1 if positive is None else list(classes).index(positive)
    if named is None:
        raise OptionError(f"{option(name)} must name its class where there are {len(classes)}: ... for CLASS.")
    if named not in classes:
        shown = ", ".join(classes[:20])
        raise OptionError(f"{option(name)} must be for one of {shown}. Got {named!r}.{did_you_mean(named, classes)}")
    return list(classes).index(named)


def _share(number: str, sign: str) -> float:
    return float(number) / (100 if sign else 1)


def read_share(text: str) -> float | None:
    """Return a share that is written as a number or in percent; None where it is neither, or names a class.

    >>> read_share("0.95"), read_share(" 95 %"), read_share("0.95 for malignant"), read_share("most")
    (0.95, 0.95, None, None)
    """
    found = _THRESHOLD.fullmatch(text)
    return _share(found[1], found[2]) if found and found[3] is None else None


def photos_needed(share: float) -> int:
    """Return how many held-out photos it takes to promise, of new ones, a share below 1, whatever the distribution.

    >>> photos_needed(0.9), photos_needed(0.95), photos_needed(0.99)
    (9, 19, 99)
    """
    return math.ceil(1 / (1 - share) - 1e-9) - 1


def check_goal_photos(goal: Goal, labels: np.ndarray, classes: Sequence[str], groups: np.ndarray | None) -> None:
    """Raise `DataError` where too few photos evaluate the classifier to promise a goal.

    Args:
        goal: what is asked for.
        labels: (n,) classes of the photos that evaluate it.
        classes: c names.
        groups: (n,) numbers of photos that are not independent: each group counts as one. None: all are.
    """
    chosen = (labels != goal.label) if goal.figure == SPECIFICITY else (labels == goal.label)
    there = int(chosen.sum()) if groups is None else len(np.unique(groups[chosen]))
    if there >= goal.needed():
        return
    name = classes[goal.label]
    whose = f"other classes than {name}" if goal.figure == SPECIFICITY else name
    which = f"{'photos' if groups is None else 'independent groups of photos'} of {whose}"
    raise DataError(
        f"{option('goal', goal.said(classes))} takes at least {goal.needed():,} {which} to be promised. Got {there:,}, "
        f"which allow for {percent_down(there / (there + 1))} at most. Ask for less, or add photos."
    )


def percent_down(share: float) -> str:
    """Return a share in percent, rounded down to a tenth.

    >>> percent_down(0.98039)
    '98.0 %'
    """
    return f"{math.floor(1000 * share) / 10:.1f} %"
