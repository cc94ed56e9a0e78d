"""What was found, in figures: accuracy with it and without it, on the same photos, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from regraft.data.dataset import Dataset
from regraft.errors import DataError
from regraft.evaluation.intervals import Interval, mean_interval
from regraft.evaluation.label_errors import find_label_errors
from regraft.evaluation.proportions import proportion_of
from regraft.heads.probe import fit_calibrated_head
from regraft.heads.search import fit_head
from regraft.photo_audit.held_out import FoldHeads

_FEWEST = 5  # photos of which a figure says something


@dataclass(frozen=True)
class Effect:
    """Accuracy on the same photos in two ways; of a shortcut, on two parts of them.

    Attributes:
        kind: of finding.
        first: what the first figure is of, in words.
        second: likewise.
        photos: how many they are of.
        accuracy: of the first, 0 to 1.
        other_accuracy: of the second.
        difference: second - first.
        interval: of the difference, 95 %, by group; None where there are too few.
    """

    kind: str
    first: str
    second: str
    photos: int
    accuracy: float
    other_accuracy: float
    difference: float
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "kind": self.kind,
            "photos": self.photos,
            "first": self.first,
            "accuracy_first": self.accuracy,
            "second": self.second,
            "accuracy_second": self.other_accuracy,
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
        }

    def __str__(self) -> str:
        """Return one line in words."""
        spread = ""
        if self.interval is not None:
            spread = " [{:+.1f}, {:+.1f}]".format(*(100 * bound for bound in self.interval))
        return (
            f"accuracy {self.accuracy:.1%} {self.first}, {self.other_accuracy:.1%} {self.second}: "
            f"{100 * self.difference:+.1f} points{spread}, {self.photos:,} photos"
        )


def effect_of(
    kind: str,
    words: tuple[str, str],
    correct: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray | None,
) -> Effect:
    """Return the effect that two ways to answer the same photos have.

    Args:
        kind: of finding.
        words: of the two ways.
        correct: (n,) booleans of each.
        groups: (n,) of photos that are not independent.
    """
    before, after = (one.astype(float) for one in correct)
    found = mean_interval(after - before, groups=groups)
    known = np.isfinite([found.low, found.high]).all()
    return Effect(
        kind,
        *words,
        len(before),
        float(before.mean()),
        float(after.mean()),
        found.value,
        (found.low, found.high) if known else None,
    )


def effect_of_groups(
    kind: str,
    words: tuple[str, str],
    features: np.ndarray,
    apart: Dataset,
    joined: Dataset,
    *,
    known: Mapping[Dataset, FoldHeads] = MappingProxyType({}),
    seed: int = 0,
) -> Effect | None:
    """Return what it changes that photos which belong together stay on one side of every split.

    Args:
        kind: of finding.
        words: of `apart` and `joined`.
        features: (m, d).
        apart: m photos, in groups of which some are left out.
        joined: the same photos, in all groups.
        known: heads that were fitted before, by their data sets.
        seed: of the folds.
    """
    correct, asked = [], np.ones(len(apart), dtype=bool)
    for dataset in (apart, joined):
        try:
            heads = known[dataset] if dataset in known else FoldHeads(features, dataset, seed=seed)
        except DataError:  # nothing is left to hold out where all that belongs together is
            return None
        found = np.zeros((len(dataset), len(dataset.classes)))
        heads.answer(features, heads.folds, found)
        correct.append(found.argmax(axis=1) == dataset.labels)
        asked &= heads.folds >= 0
    if not asked.any():
        return None
    groups = None if joined.groups is None else joined.groups[asked]
    return effect_of(kind, words, (correct[0][asked], correct[1][asked]), groups)


def effect_of_shortcut(
    words: tuple[str, str], correct: np.ndarray, fits: np.ndarray, groups: np.ndarray | None = None
) -> Effect | None:
    """Return how much worse photos are answered whose class is not what a shortcut says; None where those are few.

    The two figures are of different photos: their difference has Newcombe's interval (1998, method 10).

    Args:
        words: of photos whose class fits the shortcut, and of the others.
        correct: (n,) booleans: what heads that saw all of it answered right.
        fits: (n,) booleans: photos whose class fits.
        groups: (n,) of photos that are not independent.
    """
    if min(fits.sum(), (~fits).sum()) < _FEWEST:
        return None
    parts = [proportion_of(correct[own], None if groups is None else groups[own]) for own in (fits, ~fits)]
    if parts[0] is None or parts[1] is None:
        return None
    (first, second), difference = [one.interval() for one in parts if one], parts[1].value - parts[0].value
    below = np.hypot(parts[1].value - second[0], first[1] - parts[0].value)
    above = np.hypot(second[1] - parts[1].value, parts[0].value - first[0])
    interval = (difference - float(below), difference + float(above))
    return Effect("shortcut", *words, len(correct), parts[0].value, parts[1].value, difference, interval)


def effect_of_copies_across(
    features: np.ndarray, dataset: Dataset, trained: np.ndarray, evaluated: np.ndarray, *, seed: int = 0
) -> Effect | None:
    """Return what it changes that pictures which evaluate are learned from, too.

    Args:
        features: (m, d).
        dataset: m photos of the train and the validation split.
        trained: (m,) booleans: of the train split.
        evaluated: (m,) booleans: of the validation split.
        seed: of the inner folds.
    """
    groups = dataset.groups
    numbers = groups if dataset.pictures is None else dataset.pictures.numbers  # not what belongs together otherwise
    if numbers is None or not evaluated.any():
        return None
    leaked = trained & np.isin(numbers, numbers[evaluated])
    correct = []
    for learn in (trained, trained & ~leaked):
        if not leaked.any() or len(np.unique(dataset.labels[learn])) < 2:
            return None
        try:
            head = fit_calibrated_head(features[learn], dataset.select(learn), seed=seed)
        except DataError:  # no split of what is left can choose a strength
            return None
        correct.append(head.probabilities(features[evaluated]).argmax(axis=1) == dataset.labels[evaluated])
    words = ("where training has photos of the validation split", "without these in training")
    own = None if groups is None else groups[evaluated]
    return effect_of("near-duplicate", words, (correct[0], correct[1]), own)


def effect_of_labels(
    features: np.ndarray, dataset: Dataset, *, heads: FoldHeads | None = None, seed: int = 0
) -> Effect | None:
    """Return what it changes not to learn from photos whose labels are likely wrong.

    Nothing that is evaluated takes part: for each fold, the photos to leave out are found among the others alone, by
    heads that learned without their folds, and each photo counts by the label that it has.

    Args:
        features: (m, d).
        dataset: m photos.
        heads: of these, where they were fitted before.
        seed: of the folds.
    """
    try:
        fitted = heads or FoldHeads(features, dataset, seed=seed)
    except DataError:  # nothing can be held out
        return None
    folds, labels, classes, numbers = fitted.folds, dataset.labels, len(dataset.classes), fitted.numbers
    if len(numbers) < 3:
        return None
    strengths = {fold: head.head.strength for fold, head in fitted.heads.items()}
    asked = folds >= 0
    before, after = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=bool)
    for fold in numbers:
        learn, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        doubtful = learn[_doubtful(features[learn], labels[learn], folds[learn], classes, strengths[fold])]
        for right, kept in ((before, learn), (after, np.setdiff1d(learn, doubtful))):
            head = fit_head(features[kept], labels[kept], classes, strength=strengths[fold])
            right[held_out] = head.logits(features[held_out]).argmax(axis=1) == labels[held_out]
    words = ("learned from all labels", "without those that are likely wrong")
    groups = None if dataset.groups is None else dataset.groups[asked]
    return effect_of("likely-mislabelled", words, (before[asked], after[asked]), groups)


def _doubtful(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int, strength: float) -> np.ndarray:
    """Return which of some photos have labels that are likely wrong, by heads without each one's fold."""
    from scipy.special import softmax

    probabilities = np.full((len(labels), classes), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        head = fit_head(features[folds != fold], labels[folds != fold], classes, strength=strength)
        probabilities[folds == fold] = softmax(head.logits(features[folds == fold]).astype(np.float64), axis=1)
    return find_label_errors(labels, probabilities).photos


def listed(effects: Sequence[Effect | None]) -> tuple[Effect, ...]:
    """Return those that there are."""
    return tuple(one for one in effects if one is not None)
