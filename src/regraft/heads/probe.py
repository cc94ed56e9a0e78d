"""The linear probe: a head on frozen features, the choice of its strength and temperature, and an unbiased estimate.

Choosing (strength, temperature) and fitting are one procedure, and the whole procedure is cross-validated (nested): for
each outer fold it runs on the other folds alone, which are its inner folds too, so that no photo is evaluated with a
strength, temperature or weight that it helped to set. With the same folds inside and outside, one head serves several
choices.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from regraft import matrices
from regraft.cache import features_folder
from regraft.data.class_weights import ClassWeights
from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.coordinates import CoordinateCache
from regraft.heads.discriminant import select_discriminants
from regraft.heads.head_choice import DISCRIMINANT, LOGISTIC
from regraft.heads.linear import EVERY, CalibratedHead, Columns, LinearHead
from regraft.heads.search import ABSENT, LEARNED, Selection, fit_head, select_heads
from regraft.heads.sharded_rows import ShardedFeatures, Share, in_one_place
from regraft.processes import ALONE, ProcessGroup

_LARGE = 2e8  # n * d * c beyond which a choice within a fold holds out two folds, of at least
_PLENTY = 10_000  # photos in all
_COMPARED = 2e8  # n * d * c of the sample on which choices of columns are compared, of more photos than half of these;
_OF_EACH_CLASS = 20  # on average at least so many of a class, and of none fewer that has them

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
        class_weights: of the losses that the heads minimise; logits are those of the shares that the classes have.
        head: `LOGISTIC`, or `DISCRIMINANT`, which minimises no losses: weights of classes change nothing there.
        cache: what is known of the same photos with other labels, which is kept for the next heads.
        processes: that need the same heads: the first one fits them.
        share: where the features lie while heads are fitted; in shards, nothing is taken from the cache, or kept in it.
    """

    def __init__(
        self,
        features: np.ndarray,
        dataset: Dataset,
        *,
        seed: int,
        all_too: bool = False,
        choices: Mapping[str, Columns] | None = None,
        class_weights: ClassWeights | None = None,
        head: str = LOGISTIC,
        cache: CoordinateCache | None = None,
        processes: ProcessGroup = ALONE,
        share: Share = in_one_place,
    ) -> None:
        self._features, self._dataset, self._seed, self._all_too = features, dataset, seed, all_too
        self._choices, self._class_weights, self._cache = dict(choices or {"": EVERY}), class_weights, cache
        self._folds = dataset.possible_folds(OUTER_FOLDS, seed=seed)
        self._head, self._processes, self._share = head, processes, share
        self._known: dict[bytes, CalibratedHead] = {}
        self._each: dict[bytes, dict[str, CalibratedHead]] = {}

    def of(self, learn: np.ndarray) -> CalibratedHead:
        """Return the head fitted on the photos at positions `learn` (m,), ascending, and no others."""
        return self._known[self._fitted(learn)]

    def of_each_choice(self, learn: np.ndarray) -> dict[str, CalibratedHead]:
        """Return, by the name of each choice of columns, the head that the choice between them was made by.

        Of many photos these heads are fitted on a sample, the same for all of them: see `compared`.
        """
        return self._each[self._fitted(learn)]

    def alone(self) -> "CalibratedHeads":
        """Return the heads that are known, without the features, for a process of its own: it can fit no others."""
        found = copy.copy(self)
        found._features = self._features[:0].copy()
        found._cache, found._processes, found._share = None, ALONE, in_one_place
        return found

    @property
    def compared(self) -> int:
        """Return how many of the n photos choices of columns are compared on."""
        return int(self._sample().sum())

    def _fitted(self, learn: np.ndarray) -> bytes:
        """Fit the heads of the photos `learn`, unless they are there; return under which name."""
        learned = np.isin(np.arange(len(self._folds)), learn)
        name = learned.tobytes()
        if name not in self._known:
            if len(self._features) != len(self._folds):
                raise RuntimeError("this last layer is not among those that are known, and features are not here")
            known, each = self._processes.first(lambda: self._fitted_too(learned))
            self._known |= known
            self._each |= each
        return name

    def _fitted_too(
        self, learned: np.ndarray
    ) -> tuple[dict[bytes, CalibratedHead], dict[bytes, dict[str, CalibratedHead]]]:
        """Return all heads that are known once that of the photos `learned` (n,), booleans, is."""
        name = learned.tobytes()
        rests = [self._folds != fold for fold in np.unique(self._folds)]
        together = self._folds.min() >= 0  # else some class is never held out
        if learned.all() and not (together and self._all_too):
            self._fit([learned])
        elif together and (learned.all() or any(np.array_equal(learned, rest) for rest in rests)):
            self._fit([*rests, np.ones_like(learned)] if self._all_too else rests)
        else:
            within, everything = self._dataset.select(learned), np.arange(learned.sum())
            heads = CalibratedHeads(
                matrices.copy_rows(self._features, np.flatnonzero(learned), features_folder()),
                within,
                seed=self._seed,
                choices=self._choices,
                class_weights=self._class_weights,
                share=self._share,
                head=self._head,
            )
            self._known[name], self._each[name] = heads.of(everything), heads.of_each_choice(everything)
        return self._known, self._each

    def _fit(self, parts: Sequence[np.ndarray]) -> None:
        with self._share(self._features, self._dataset.labels) as features:
            self._fit_on(features, parts)

    def _fit_on(self, features: np.ndarray | ShardedFeatures, parts: Sequence[np.ndarray]) -> None:
        tasks = [self._within(part) for part in parts]
        sample = self._sample() if len(self._choices) > 1 else np.ones(len(self._folds), dtype=bool)
        tried = self._try(features, sample, tasks, self._choices)
        best = [min(losses, key=lambda name: losses[name][1]) for losses in tried]
        for part, each, name in zip(parts, tried, best, strict=True):
            self._each[part.tobytes()] = {other: head for other, (head, _) in each.items()}
            self._known[part.tobytes()] = each[name][0]
        if sample.all():
            return
        for name in set(best):
            own = [place for place, other in enumerate(best) if other == name]
            found = self._try(features, np.ones_like(sample), [tasks[p] for p in own], {name: self._choices[name]})
            for place, each in zip(own, found, strict=True):
                self._known[parts[place].tobytes()] = each[name][0]

    def _try(
        self,
        features: np.ndarray | ShardedFeatures,
        photos: np.ndarray,
        tasks: Sequence[np.ndarray],
        choices: Mapping[str, Columns],
    ) -> list[dict[str, tuple[CalibratedHead, float]]]:
        """Return, for each task, the head of every choice and its log loss on the inner folds, from some `photos`."""
        labels, at = self._dataset.labels, None
        if not photos.all():
            labels, at = labels[photos], np.flatnonzero(photos)
            tasks = [_learned_where_alone(task[photos], labels) for task in tasks]
        found: list[dict[str, tuple[CalibratedHead, float]]] = [{} for _ in tasks]
        for name, columns in choices.items():
            fitted = self._choose_and_fit(features, labels, tasks, columns=columns, photos=at)
            for each, (head, temperature, loss) in zip(found, fitted, strict=True):
                each[name] = CalibratedHead(head, temperature, columns, name), loss
        return found

    def _choose_and_fit(
        self,
        features: np.ndarray | ShardedFeatures,
        labels: np.ndarray,
        tasks: Sequence[np.ndarray],
        *,
        columns: Columns,
        photos: np.ndarray | None,
    ) -> list[tuple[LinearHead, float, float]]:
        """Choose and fit for every task, (m,) fold numbers or what `heads.search` says instead of them.

        Args:
            features: of all photos.
            labels: (m,) of the photos.
            tasks: of each choice.
            columns: that the heads see.
            photos: (m,) positions of the photos; None where they are all.

        Returns:
            Of each task the head, the temperature, and the mean log loss (nats) on its folds at the chosen strength.
        """
        classes, weights = len(self._dataset.classes), self._class_weights
        choosing = [task for task in tasks if len(np.unique(labels[task >= 0])) > 1]
        chosen = iter(self._select(features, labels, choosing, columns=columns, photos=photos) if choosing else [])
        fitted = []
        for task in tasks:
            held_out = task >= 0
            if len(np.unique(labels[held_out])) > 1:
                found = next(chosen)
                temperature = fit_temperature(found.logits[held_out], labels[held_out])
                fitted.append((found.head, temperature, found.losses[found.strength]))
            else:  # logistic whatever is asked for: there is nothing to choose a shrinkage by
                part = np.flatnonzero(task != ABSENT)
                few = self._features[part if photos is None else photos[part]][:, columns]
                head = fit_head(few, labels[part], classes, strength=UNCHOSEN_STRENGTH, class_weights=weights)
                fitted.append((head, 1.0, float("inf")))
        return fitted

    def _select(
        self,
        features: np.ndarray | ShardedFeatures,
        labels: np.ndarray,
        tasks: Sequence[np.ndarray],
        *,
        columns: Columns,
        photos: np.ndarray | None,
    ) -> list[Selection]:
        """Choose, for every task, a strength or a shrinkage. Arguments are those of `_choose_and_fit`."""
        classes = len(self._dataset.classes)
        if self._head == DISCRIMINANT:
            return select_discriminants(features, labels, classes, folds=tasks, photos=photos, columns=columns)
        return select_heads(
            features,
            labels,
            classes,
            folds=tasks,
            photos=photos,
            columns=columns,
            exact=photos is None,
            class_weights=self._class_weights,
            cache=None if isinstance(features, ShardedFeatures) else self._cache,
        )

    def _sample(self) -> np.ndarray:
        """Return (n,) booleans: the photos that choices of columns are compared on, all of them unless they are many.

        They are drawn at random, of each class its share, of rare ones `_OF_EACH_CLASS` or all that they have.
        """
        labels, width = self._dataset.labels, self._features.shape[1]
        classes = len(self._dataset.classes)
        most = max(int(_COMPARED / (width * classes)), _OF_EACH_CLASS * classes)
        if len(labels) <= max(most, _PLENTY // 2):
            return np.ones(len(labels), dtype=bool)
        order = np.random.default_rng(self._seed).permutation(len(labels))
        chosen = np.zeros(len(labels), dtype=bool)
        for label in range(classes):
            own = order[labels[order] == label]
            chosen[own[: max(round(most * len(own) / len(labels)), _OF_EACH_CLASS)]] = True
        return chosen

    def _within(self, learned: np.ndarray) -> np.ndarray:
        """Return (n,) inner folds of the choice made from the photos `learned` (n,), booleans, alone.

        They are the remaining outer folds. A class that is in only one of these is trained on, never held out.
        """
        labels = self._dataset.labels
        folds = _learned_where_alone(np.where(learned, self._folds, ABSENT), labels)
        large = len(labels) >= _PLENTY and self._features.size * len(self._dataset.classes) > _LARGE
        if large:
            count = int(self._folds.max()) + 1
            away = 0 if learned.all() else int(self._folds[~learned][0])
            beside = [(away - 1) % count, (away + 1) % count]
            folds[(folds >= 0) & ~np.isin(folds, beside)] = LEARNED
        return folds


def _learned_where_alone(folds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (n,) folds in which a class that is in only one of them is always learned from."""
    found = folds.copy()
    for label in np.unique(labels):
        own = (labels == label) & (folds >= 0)
        if len(np.unique(folds[own])) == 1:
            found[own] = LEARNED
    return found


def fit_calibrated_head(
    features: np.ndarray, dataset: Dataset, *, seed: int, choices: Mapping[str, Columns] | None = None
) -> CalibratedHead:
    """Choose the strength by cross-validation, the temperature on its held-out logits, and fit on all n photos.

    A class of a single photo (or group) is trained on, never held out. Where no two classes can be held out, the choice
    is `UNCHOSEN_STRENGTH` and temperature 1.
    """
    return CalibratedHeads(features, dataset, seed=seed, choices=choices).of(np.arange(len(dataset)))
