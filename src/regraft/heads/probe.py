"""The linear probe: a head on frozen features, the choice of its strength and temperature, and an unbiased estimate.

Choosing (strength, temperature) and fitting are one procedure, and the whole procedure is cross-validated (nested): for
each outer fold it runs on the other folds alone, which are its inner folds too, so that no photo is evaluated with a
strength, temperature or weight that it helped to set. With the same folds inside and outside, one head serves several
choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.splits import stratified_folds
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.linear import CalibratedHead
from regraft.heads.search import ABSENT, LEARNED, fit_head, select_heads

OUTER_FOLDS = 5
_LARGE = 2e8  # n * d * c, from which on a choice within an outer fold holds out two inner folds only,
_PLENTY = 10_000  # if there are at least so many photos

UNCHOSEN_STRENGTH = 1.0


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


class CalibratedHeads:
    """The calibrated heads of one data set: of all photos, and of all but each outer fold.

    Those of the folds are fitted together, as they share most of their inner heads. A head does not depend on which was
    asked for before: a resumed run ends as it would have.

    Args:
        data: n photos.
        seed: of the folds.
        all_too: True fits the head of all photos together with those of the folds, which costs next to nothing; False
            fits it by itself, where those of the folds may not be needed.
    """

    def __init__(self, data: Labelled, *, seed: int, all_too: bool = False) -> None:
        self._data, self._seed, self._all_too = data, seed, all_too
        self._folds = inner_folds(data, count=OUTER_FOLDS, seed=seed)
        self._known: dict[bytes, CalibratedHead] = {}

    def of(self, learn: np.ndarray) -> CalibratedHead:
        """Return the head fitted on the photos at positions `learn` (m,), ascending, and no others."""
        learned = np.isin(np.arange(len(self._folds)), learn)
        if learned.tobytes() not in self._known:
            rests = [self._folds != fold for fold in np.unique(self._folds)]
            together = self._folds.min() >= 0  # else some class is never held out
            if learned.all() and not (together and self._all_too):
                self._fit([learned])
            elif together and (learned.all() or any(np.array_equal(learned, rest) for rest in rests)):
                self._fit([*rests, np.ones_like(learned)] if self._all_too else rests)
            else:
                return fit_calibrated_head(self._data.select(learned), seed=self._seed)
        return self._known[learned.tobytes()]

    def _fit(self, parts: Sequence[np.ndarray]) -> None:
        tasks = [self._within(part) for part in parts]
        found = _choose_and_fit(self._data, tasks)
        self._known |= {part.tobytes(): probe for part, probe in zip(parts, found, strict=True)}

    def _within(self, learned: np.ndarray) -> np.ndarray:
        """Return (n,) inner folds of the choice made from the photos `learned` (n,), booleans, alone.

        They are the remaining outer folds. A class that is in only one of these is trained on, never held out.
        """
        labels, folds = self._data.labels, np.where(learned, self._folds, ABSENT)
        for label in np.unique(labels):
            own = (labels == label) & (folds >= 0)
            if len(np.unique(folds[own])) == 1:
                folds[own] = LEARNED
        large = len(labels) >= _PLENTY and self._data.features.size * len(self._data.classes) > _LARGE
        if large and not learned.all():
            away, count = int(self._folds[~learned][0]), int(self._folds.max()) + 1
            beside = [(away - 1) % count, (away + 1) % count]
            folds[(folds >= 0) & ~np.isin(folds, beside)] = LEARNED
        return folds


def fit_calibrated_head(data: Labelled, *, seed: int) -> CalibratedHead:
    """Choose the strength by cross-validation, the temperature on its held-out logits, and fit on all of `data`.

    A class of a single photo (or group) is trained on, never held out. Where no two classes can be held out, the choice
    is `UNCHOSEN_STRENGTH` and temperature 1.
    """
    return CalibratedHeads(data, seed=seed).of(np.arange(len(data.labels)))


def _choose_and_fit(data: Labelled, tasks: Sequence[np.ndarray]) -> list[CalibratedHead]:
    """Choose and fit for every task: (n,) folds, `LEARNED` or `ABSENT` (`heads.search`)."""
    classes = len(data.classes)
    choosing = [task for task in tasks if len(np.unique(data.labels[task >= 0])) > 1]
    chosen = iter(select_heads(data.features, data.labels, classes, folds=choosing) if choosing else [])
    probes = []
    for task in tasks:
        held_out = task >= 0
        if len(np.unique(data.labels[held_out])) > 1:
            found = next(chosen)
            probes.append(CalibratedHead(found.head, fit_temperature(found.logits[held_out], data.labels[held_out])))
        else:
            part = data.select(task != ABSENT)
            probes.append(
                CalibratedHead(fit_head(part.features, part.labels, classes, strength=UNCHOSEN_STRENGTH), 1.0)
            )
    return probes


def inner_folds(data: Labelled, *, count: int, seed: int) -> np.ndarray:
    """Return (n,) folds from 0 to `count` - 1; -1 for the photos of classes that are never held out.

    These are the classes of a single photo (or group): they are trained on only.
    """
    units = np.arange(len(data.labels)) if data.groups is None else data.groups
    spread = np.bincount(np.unique(np.stack([data.labels, units]), axis=1)[0])
    splittable = spread[data.labels] > 1
    folds = np.full(len(data.labels), -1)
    if splittable.any():
        part = data.select(splittable)
        folds[splittable] = stratified_folds(part.labels, data.classes, count=count, seed=seed, groups=part.groups)
    return folds
