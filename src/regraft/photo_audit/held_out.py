"""What heads say of photos that they did not learn from: in memory for a sample, block by block for all."""

from dataclasses import dataclass

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.errors import DataError
from regraft.features.embedding import Embedder, OpenPhotos
from regraft.features.neighbours import Projection
from regraft.heads.probe import CalibratedHeads
from regraft.photo_audit.photos import AuditPhotos

IN_MEMORY = 10_000  # photos whose features are held; of more, a sample is (of each class some), and heads learn from it
_WORK = 4e8  # n * d * c of the photos that heads learn from: a few seconds for those of all folds
_OF_EACH_CLASS = 20  # photos that the sample has at least, where there are so many
_RANK = 257  # numbers of each photo by which near-duplicates and outliers of all are found


class PhotoFeatures:
    """The features of all readable photos: those of a sample in memory, few numbers of each, all others by blocks.

    Args:
        embedder: makes them.
        photos: as `embedder.open` saw them.
        labels: (n,) classes, of each of which the sample has its share; -1 for photos that nothing is learned from,
            which the sample has as far as there is room.
        seed: of the sample.
    """

    def __init__(self, embedder: Embedder, photos: OpenPhotos, labels: np.ndarray, *, seed: int = 0) -> None:
        self._embedder, self._photos = embedder, photos
        self.unreadable: dict[int, str] = dict(photos.unreadable)
        readable = np.array([place for place, key in enumerate(photos.keys) if key], dtype=np.int64)
        chosen = _share_of_each(labels[readable], embedder.dimension, seed)
        self.sample, self.values = self._of(readable[chosen])
        self.projection = Projection.of(self.values, rank=_RANK) if len(self.values) else None
        self.points = self._project(everything=len(chosen) == len(readable))

    def _of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions that can be decoded, and their features."""
        places = positions.tolist()
        part = OpenPhotos(
            tuple(self._photos.sources[place] for place in places),
            tuple(self._photos.keys[place] for place in places),
            total=self._photos.total,
        )
        found = self._embedder.all_of(part)
        self.unreadable |= {places[row]: reason for row, reason in found.unreadable.items()}
        return positions[found.positions], found.vectors

    def _project(self, *, everything: bool) -> np.ndarray:
        """Return (n, k) points; NaN for photos that cannot be read."""
        rank = 1 if self.projection is None else self.projection.rank
        points = np.full((len(self._photos), rank), np.nan, dtype=np.float32)
        if self.projection is None:
            return points
        if everything:
            points[self.sample] = self.projection.project(self.values)
            return points
        for block in self._embedder.blocks(self._photos):
            self.unreadable |= block.unreadable
            points[block.positions] = self.projection.project(block.vectors)
        return points

    @property
    def for_scenes(self) -> np.ndarray:
        """Return (n, d) numbers by which parts of one scene are found; zeros for photos that cannot be read."""
        found: np.ndarray
        if len(self.sample) == len(self._photos) - len(self.unreadable):
            found = np.zeros((len(self._photos), self.values.shape[1]), dtype=np.float32)
            found[self.sample] = self.values
            return found
        found = np.nan_to_num(self.points)
        return found

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows of `values` that hold the features of photos of the sample at `positions`."""
        return np.searchsorted(self.sample, positions)

    def answer(self, positions: np.ndarray, folds: np.ndarray, heads: "FoldHeads", into: np.ndarray) -> None:
        """Fill (m, c) probabilities of photos, each by the head that did not learn from its fold.

        Args:
            positions: (m,) ascending, of photos.
            folds: (m,) of each; -1 for photos that are learned from only, which get none.
            heads: by fold.
            into: where probabilities go.
        """
        if np.isin(positions, self.sample).all():
            heads.answer(self.values[self.rows_of(positions)], folds, into)
            return
        for block in self._embedder.blocks(self._photos):
            within = np.flatnonzero(np.isin(block.positions, positions))
            rows = np.searchsorted(positions, block.positions[within])
            part = into[rows]
            heads.answer(block.vectors[within], folds[rows], part)
            into[rows] = part


def _share_of_each(labels: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Return positions, ascending, of a sample of photos (n,) that has of each class its share; all where they are few.

    Args:
        labels: (n,) classes.
        width: of the features.
        seed: of the choice.
    """
    kinds, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    classes = max(int((kinds >= 0).sum()), 1)
    most = max(min(IN_MEMORY, int(_WORK / (width * classes))), _OF_EACH_CLASS * classes)
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    shares = np.where(kinds >= 0, counts, 0) / max(int(counts[kinds >= 0].sum()), 1)
    wanted = np.maximum(np.rint(most * shares), np.where(kinds >= 0, _OF_EACH_CLASS, 0)).astype(np.int64)
    chosen = np.concatenate([order[own[order] == place][:number] for place, number in enumerate(wanted.tolist())])
    others = order[labels[order] < 0][: max(most - len(chosen), 0)]
    return np.sort(np.concatenate([chosen, others]))


class FoldHeads:
    """The heads of a data set, each fitted without one fold.

    Args:
        features: (m, d).
        dataset: these photos.
        seed: of the folds.

    Raises:
        DataError: nothing can be held out.
    """

    def __init__(self, features: np.ndarray, dataset: Dataset, *, seed: int = 0) -> None:
        self.folds = dataset.possible_folds(OUTER_FOLDS, seed=seed)
        self.numbers = [int(fold) for fold in np.unique(self.folds) if fold >= 0]
        if not self.numbers:
            raise DataError(
                "no class has photos of two groups, copies taken as one: none can be learned from and held out"
            )
        heads = CalibratedHeads(features, dataset, seed=seed)
        self.heads = {fold: heads.of(np.flatnonzero(self.folds != fold)) for fold in self.numbers}

    def answer(self, features: np.ndarray, folds: np.ndarray, into: np.ndarray) -> None:
        """Fill (m, c) probabilities of features (m, d) by the head without each photo's fold (m,)."""
        for fold, head in self.heads.items():
            own = folds == fold
            if own.any():
                into[own] = head.probabilities(features[own])


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """What heads say of m photos that they did not learn from.

    Attributes:
        positions: (m,) of the photos.
        dataset: these, with their labels.
        folds: (m,), -1 for photos that are learned from only.
        probabilities: (m, c); NaN for these.
        learned: (m,) booleans: whether heads learned from them, those without their folds.
        heads: by fold, fitted on these photos in their order; None where other things gave the answers.
    """

    positions: np.ndarray
    dataset: Dataset
    folds: np.ndarray
    probabilities: np.ndarray
    learned: np.ndarray
    heads: FoldHeads | None = None

    @property
    def correct(self) -> np.ndarray:
        """Return (m,) booleans."""
        return np.asarray(np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1) == self.dataset.labels)


def held_out_answers(
    photos: AuditPhotos, features: PhotoFeatures, positions: np.ndarray, *, seed: int = 0
) -> HeldOutAnswers:
    """Return what heads on frozen features say of the photos at `positions` (m,), each without its fold.

    Raises:
        DataError: some class cannot be both learned from and held out.
    """
    learned = np.isin(positions, features.sample)
    dataset = photos.dataset(positions)
    part = dataset if learned.all() else dataset.select(learned)
    heads = FoldHeads(features.values[features.rows_of(positions[learned])], part, seed=seed)
    folds = _folds_of_all(dataset, learned, heads)
    probabilities = np.full((len(positions), len(dataset.classes)), np.nan)
    features.answer(positions, folds, heads, probabilities)
    return HeldOutAnswers(positions, dataset, folds, probabilities, learned, heads)


def _folds_of_all(dataset: Dataset, learned: np.ndarray, heads: FoldHeads) -> np.ndarray:
    """Return (m,) folds: of photos that heads did not learn from, that of their group, or any."""
    if learned.all():
        return heads.folds
    units = np.arange(len(dataset)) if dataset.groups is None else dataset.groups
    of_unit = dict(zip(units[learned].tolist(), heads.folds.tolist(), strict=True))
    anywhere = np.array(heads.numbers)[np.arange(len(dataset)) % len(heads.numbers)]
    folds = np.array([of_unit.get(unit, other) for unit, other in zip(units.tolist(), anywhere.tolist(), strict=True)])
    folds[learned] = heads.folds
    return folds
