"""The linear probe: a head on frozen features, the choice of its strength and temperature, and an unbiased estimate.

Choosing (strength, temperature) and fitting are one procedure, and the whole procedure is cross-validated (nested): for
each outer fold it runs on the other folds alone, which are its inner folds too, so that no photo is evaluated with a
strength, temperature or weight that it helped to set. With the same folds inside and outside, one head serves several
choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.linear import EVERY, CalibratedHead, Columns, LinearHead
from regraft.heads.search import ABSENT, LEARNED, fit_head, select_heads

_LARGE = 2e8  # n * d * c beyond which a choice within a fold holds out two folds, of at least
_PLENTY = 10_000  # photos in all

UNCHOSEN_STRENGTH = 1.0


class CalibratedHeads:
    """The calibrated heads of one data set: of all photos, and of all but each outer fold.

    Those of the folds are fitted together, as they share most of their inner heads. A head does not depend on which was
    asked for before: a resumed run ends as it would have.

    Args:
        features: (n, width) float32.
        dataset: labels, groups and class names of these n photos.
        seed: of the folds.
        all_too: True fits the head of all photos together with those of the folds, which costs next to nothing; False
            fits it by itself, where those of the folds may not be needed.
        choices: columns of the features that a head may see, by name. Which it sees is a part of the choice that is
            made from its own photos alone: the one with the lowest log loss on their inner folds.
    """

    def __init__(
        self,
        features: np.ndarray,
        dataset: Dataset,
        *,
        seed: int,
        all_too: bool = False,
        choices: Mapping[str, Columns] | None = None,
    ) -> None:
        self._features, self._dataset, self._seed, self._all_too = features, dataset, seed, all_too
        self._choices = dict(choices or {"": EVERY})
        self._folds = dataset.possible_folds(OUTER_FOLDS, seed=seed)
        self._known: dict[bytes, dict[str, _Fitted]] = {}

    def of(self, learn: np.ndarray) -> CalibratedHead:
        """Return the head fitted on the photos at positions `learn` (m,), ascending, and no others."""
        fitted = self._of(learn)
        return fitted[min(fitted, key=lambda name: fitted[name].loss)].head

    def of_each_choice(self, learn: np.ndarray) -> dict[str, CalibratedHead]:
        """Return, by the name of each choice of columns, the head that `of` would return if it were the only one."""
        return {name: fitted.head for name, fitted in self._of(learn).items()}

    def _of(self, learn: np.ndarray) -> "dict[str, _Fitted]":
        learned = np.isin(np.arange(len(self._folds)), learn)
        if learned.tobytes() not in self._known:
            rests = [self._folds != fold for fold in np.unique(self._folds)]
            together = self._folds.min() >= 0  # else some class is never held out
            if learned.all() and not (together and self._all_too):
                self._fit([learned])
            elif together and (learned.all() or any(np.array_equal(learned, rest) for rest in rests)):
                self._fit([*rests, np.ones_like(learned)] if self._all_too else rests)
            else:
                within = self._dataset.select(learned)
                heads = CalibratedHeads(self._features[learned], within, seed=self._seed, choices=self._choices)
                self._known[learned.tobytes()] = heads._of(np.arange(len(within)))
        return self._known[learned.tobytes()]

    def _fit(self, parts: Sequence[np.ndarray]) -> None:
        tasks = [self._within(part) for part in parts]
        for part in parts:
            self._known[part.tobytes()] = {}
        for name, columns in self._choices.items():
            found = _choose_and_fit(self._features[:, columns], self._dataset, tasks)
            for part, (head, temperature, loss) in zip(parts, found, strict=True):
                fitted = _Fitted(CalibratedHead(head, temperature, columns, name), loss)
                self._known[part.tobytes()][name] = fitted

    def _within(self, learned: np.ndarray) -> np.ndarray:
        """Return (n,) inner folds of the choice made from the photos `learned` (n,), booleans, alone.

        They are the remaining outer folds. A class that is in only one of these is trained on, never held out.
        """
        labels, folds = self._dataset.labels, np.where(learned, self._folds, ABSENT)
        for label in np.unique(labels):
            own = (labels == label) & (folds >= 0)
            if len(np.unique(folds[own])) == 1:
                folds[own] = LEARNED
        large = len(labels) >= _PLENTY and self._features.size * len(self._dataset.classes) > _LARGE
        if large and not learned.all():
            away, count = int(self._folds[~learned][0]), int(self._folds.max()) + 1
            beside = [(away - 1) % count, (away + 1) % count]
            folds[(folds >= 0) & ~np.isin(folds, beside)] = LEARNED
        return folds


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A head and its log loss on the inner folds of its choice; infinite where nothing could be held out."""

    head: CalibratedHead
    loss: float


def fit_calibrated_head(
    features: np.ndarray, dataset: Dataset, *, seed: int, choices: Mapping[str, Columns] | None = None
) -> CalibratedHead:
    """Choose the strength by cross-validation, the temperature on its held-out logits, and fit on all n photos.

    A class of a single photo (or group) is trained on, never held out. Where no two classes can be held out, the choice
    is `UNCHOSEN_STRENGTH` and temperature 1.
    """
    return CalibratedHeads(features, dataset, seed=seed, choices=choices).of(np.arange(len(dataset)))


def _choose_and_fit(
    features: np.ndarray, dataset: Dataset, tasks: Sequence[np.ndarray]
) -> list[tuple[LinearHead, float, float]]:
    """Choose and fit for every task, (n,) fold numbers or what `heads.search` says instead of them.

    Returns:
        Of each task the head, the temperature, and the mean log loss (nats) on its folds at the chosen strength.
    """
    classes, labels = len(dataset.classes), dataset.labels
    choosing = [task for task in tasks if len(np.unique(labels[task >= 0])) > 1]
    chosen = iter(select_heads(features, labels, classes, folds=choosing) if choosing else [])
    fitted = []
    for task in tasks:
        held_out = task >= 0
        if len(np.unique(labels[held_out])) > 1:
            found = next(chosen)
            temperature = fit_temperature(found.logits[held_out], labels[held_out])
            fitted.append((found.head, temperature, found.losses[found.strength]))
        else:
            part = task != ABSENT
            head = fit_head(features[part], labels[part], classes, strength=UNCHOSEN_STRENGTH)
            fitted.append((head, 1.0, float("inf")))
    return fitted
