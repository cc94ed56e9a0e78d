"""Shortcuts: how well a class can be guessed from what is not the subject, and the value that gives it away."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import LEVEL, Interval, wilson
from regraft.evaluation.proportions import proportion_of
from regraft.photo_audit.cues import Cue, Names, Numbers, Property

_BINS, _PER_BIN = 10, 8  # of a number at most, and of how many photos each, or two for each class
_MOST_NAMES = 30  # of a property; rarer ones are one
_THRESHOLDS = 40  # of a number that are tried to tell a class apart
_SMOOTHING = 0.5  # photos that are added to each bin of each class (Jeffreys)
_FAR_ABOVE = {True: 0.2, False: 0.35}  # share of the way from chance to certainty, by `Cue.of_file`
_GIVEAWAY = 0.3  # by how much a value's share in a class exceeds its share in the others
_CLEAR = 0.5  # likewise, where it gives away one class of many


@dataclass(frozen=True, eq=False)
class Giveaway:
    """A value that tells a class from the others.

    Attributes:
        label: the class.
        words: the value, after "<share> of the class".
        has: (n,) booleans: the photos that have it.
        share: of the class's photos that have it.
        share_of_others: of the others' photos.
        clear: whether the two differ by much even at the ends of their intervals.
    """

    label: int
    words: str
    has: np.ndarray
    share: float
    share_of_others: float
    clear: bool


@dataclass(frozen=True, eq=False)
class CueScore:
    """How well a cue alone tells the classes apart.

    Attributes:
        cue: what it is.
        accuracy: balanced, 0 to 1, on photos that were not learned from.
        interval: of it, with the level that is divided by the number of cues (Bonferroni).
        chance: 1 / c.
        giveaway: the value that tells one class apart best.
    """

    cue: Cue
    accuracy: float
    interval: Interval | None
    chance: float
    giveaway: Giveaway | None

    @property
    def far_above_chance(self) -> bool:
        """Whether even the lower bound is far from chance, or one class of many is given away."""
        if self.interval is None or self.giveaway is None:
            return False
        if self.cue.of_file and self.giveaway.clear:
            return True
        return (self.interval[0] - self.chance) / (1 - self.chance) >= _FAR_ABOVE[self.cue.of_file]


def score_cues(
    cues: Sequence[Cue], labels: np.ndarray, folds: np.ndarray, *, groups: np.ndarray | None = None
) -> list[CueScore]:
    """Return how well each cue alone tells classes apart, by a naive Bayes classifier on its binned values.

    Each photo is answered by what was counted without its fold; classes are taken to be equally likely.

    Args:
        cues: of n photos.
        labels: (n,) classes, 0 to c - 1.
        folds: (n,) numbers of folds; photos of fold -1 are learned from only.
        groups: (n,) what is not independent, for the intervals.
    """
    present, own = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return []
    level = 1 - (1 - LEVEL) / max(len(cues), 1)
    scores = []
    for cue in cues:
        codes = np.stack([_codes(one, len(present)) for one in cue.properties], axis=1)
        correct, asked = _answers(codes, own, folds) == own, folds >= 0
        within = None if groups is None else groups[asked]
        proportion = proportion_of(correct[asked], within, labels=own[asked], level=level)
        if proportion is None:
            continue
        giveaway = _giveaway(cue, own, present, level)
        scores.append(CueScore(cue, proportion.value, proportion.interval(), 1 / len(present), giveaway))
    return scores


def _codes(one: Property, classes: int) -> np.ndarray:
    """Return (n,) numbers of bins, by which so many classes are told apart; 0 is for photos without a value."""
    if isinstance(one, Names):
        names, counts = np.unique(one.values.astype(str), return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][:_MOST_NAMES]
        places = {name: place + 2 for place, name in enumerate(frequent.tolist()) if name}
        return np.array([places.get(value, 1) if value else 0 for value in one.values.tolist()], dtype=np.int64)
    known = ~np.isnan(one.values)
    found = np.zeros(len(one.values), dtype=np.int64)
    if known.any():
        bins = min(2 * max(int(known.sum()) // (2 * _PER_BIN), classes), _BINS)  # even: two equal classes share none
        edges = np.unique(np.quantile(one.values[known], np.linspace(0, 1, bins + 1)[1:-1]))
        found[known] = np.searchsorted(edges, one.values[known], side="right") + 1
    return found


def _answers(codes: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n,) answers of naive Bayes by codes (n, m); -1 for photos that are in no fold."""
    classes, answers = int(labels.max()) + 1, np.full(len(labels), -1)
    for fold in np.unique(folds[folds >= 0]):
        held_out = folds == fold
        score = np.zeros((int(held_out.sum()), classes))
        for own in codes.T:
            counts = np.full((classes, int(own.max()) + 1), _SMOOTHING)
            np.add.at(counts, (labels[~held_out], own[~held_out]), 1.0)
            score += np.log(counts / counts.sum(axis=1, keepdims=True))[:, own[held_out]].T
        answers[held_out] = score.argmax(axis=1)
    return answers


def _giveaway(cue: Cue, own: np.ndarray, present: np.ndarray, level: float) -> Giveaway | None:
    """Return the value of a cue whose share in one class exceeds that in the others most, if by much.

    Args:
        cue: of n photos.
        own: (n,) positions in `present`.
        present: (c,) classes.
        level: of the intervals, for one class alone.
    """
    level = 1 - (1 - level) / len(present)
    sizes = np.bincount(own)
    best, least = None, _GIVEAWAY
    for one in cue.properties:
        for words, has in _values(one):
            counts = np.bincount(own[has], minlength=len(sizes))
            rest = len(own) - sizes, counts.sum() - counts
            shares, others = counts / sizes, rest[1] / rest[0]
            place = int((shares - others).argmax())
            if shares[place] - others[place] > least:
                low = wilson(float(counts[place]), int(sizes[place]), level)[0]
                high = wilson(float(rest[1][place]), int(rest[0][place]), level)[1]
                share, other = float(shares[place]), float(others[place])
                best = Giveaway(int(present[place]), words, has, share, other, low - high >= _CLEAR)
                least = share - other + 1e-9
    return best


def _values(one: Property) -> list[tuple[str, np.ndarray]]:
    """Return what may give a class away: words, and (n,) booleans of the photos that have it."""
    if isinstance(one, Names):
        names, counts = np.unique(one.values.astype(str), return_counts=True)
        frequent = [name for name in names[np.argsort(-counts, kind="stable")][:_MOST_NAMES].tolist() if name]
        return [(one.said(name), np.asarray(one.values == name)) for name in frequent]
    return _thresholds(one)


def _thresholds(one: Numbers) -> list[tuple[str, np.ndarray]]:
    known = one.values[~np.isnan(one.values)]
    if not len(known):
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _THRESHOLDS + 1)[1:-1], method="nearest"))
    low = [(one.said("at most", edge), one.values <= edge) for edge in edges.tolist()]
    return low + [(one.said("at least", edge), one.values >= edge) for edge in edges.tolist()]
