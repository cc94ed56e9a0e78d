"""The linear probe: a head on frozen features, its strength and temperature chosen, and an honest estimate of it.

Choosing (strength, temperature) and fitting are one procedure, `fit_probe`. The estimate cross-validates the whole
procedure: in each outer fold it runs anew on the other folds, so that no photo is judged by a strength, a temperature
or a weight that it helped to set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from regraft.data.splits import stratified_folds
from regraft.judge.calibration import fit_temperature
from regraft.models.heads import Head, fit_head, select_strength

OUTER_FOLDS = 5
_INNER_FOLDS = 5
_INNER_FOLDS_OF_LARGE = 3
_LARGE = 2e8  # n * d * c beyond which three inner folds keep the time within a minute on two cores

_UNCHOSEN_STRENGTH = 1.0


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features with what is known of each photo.

    Attributes:
        features: (n, d) float32.
        labels: (n,) positions in `classes`.
        groups: (n,) numbers of what must stay on one side of a split, or None.
        classes: c names.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None
    classes: Sequence[str]

    def select(self, mask: np.ndarray) -> "Labelled":
        """Return the photos where `mask` (n,) is True."""
        groups = None if self.groups is None else self.groups[mask]
        return Labelled(self.features[mask], self.labels[mask], groups, self.classes)


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted head and the temperature of its logits."""

    head: Head
    temperature: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) calibrated probabilities of (n, d) features."""
        return np.asarray(softmax(self.head.logits(features).astype(np.float64) / self.temperature, axis=1))


def fit_probe(data: Labelled, *, seed: int) -> Probe:
    """Choose the strength by inner cross-validation, the temperature on its held-out logits, and fit on all of `data`.

    A class of a single photo (or group) is learned from, never held out. Where no two classes can be held out,
    there is nothing to choose by: `_UNCHOSEN_STRENGTH` and temperature 1 are taken.
    """
    classes = len(data.classes)
    count = _INNER_FOLDS_OF_LARGE if data.features.size * classes > _LARGE else _INNER_FOLDS
    folds = inner_folds(data, count=count, seed=seed)
    strength, temperature = _UNCHOSEN_STRENGTH, 1.0
    if len(np.unique(data.labels[folds >= 0])) > 1:
        chosen = select_strength(data.features, data.labels, classes, folds=folds)
        strength = chosen.strength
        temperature = fit_temperature(chosen.logits[folds >= 0], data.labels[folds >= 0])
    return Probe(fit_head(data.features, data.labels, classes, strength=strength), temperature)


def inner_folds(data: Labelled, *, count: int, seed: int) -> np.ndarray:
    """Return (n,) numbers of `count` folds; -1 for the photos of classes that are never held out.

    These are the classes of a single photo (or group): they are learned from only.
    """
    units = np.arange(len(data.labels)) if data.groups is None else data.groups
    spread = np.bincount(np.unique(np.stack([data.labels, units]), axis=1)[0])
    splittable = spread[data.labels] > 1
    folds = np.full(len(data.labels), -1)
    if splittable.any():
        part = data.select(splittable)
        folds[splittable] = stratified_folds(part.labels, data.classes, count=count, seed=seed, groups=part.groups)
    return folds
