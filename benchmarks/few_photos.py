"""What a last layer of few photos claims, and what it is worth on all the others of the same sets.

So many photos of each class are drawn, with seeds; the classifier of these answers all the rest, and its figures stand
beside its own out-of-fold figures. Each draw is fitted twice: as it is done, and without the bound on the deviations by
which features are standardised (`heads.coordinates`).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import NETWORKS, SETS, experiment_of
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.evaluation.calibration import confidence_bins, expected_calibration_error, reliability
from regraft.evaluation.metrics import photo_log_loss
from regraft.features.depth_choices import columns_from
from regraft.heads import coordinates
from regraft.heads.linear import Columns
from regraft.heads.probe import CalibratedHeads
from regraft.transfer.experiment import Experiment

CASES = {  # photos of each class that are learned from, by set of photos
    "satellite": (3, 5, 10),
    "dogs-vs-cats": (5, 10),
    "hymenoptera": (5, 10),
    "rice-leaves": (5, 10),
}
DRAWS = 20
BOUNDED, UNBOUNDED = "as it is", "without the bound"
FIGURES = ("accuracy", "log loss", "calibration error")


class PhotoSet:
    """Features of a set of photos, one of each group, so that photos that are left are new ones.

    Attributes:
        features: (n, width) float32.
        labels: (n,).
        choices: columns that a last layer may see.
    """

    def __init__(self, experiment: Experiment) -> None:
        parts = [(experiment.dataset, experiment.features)]
        if experiment.validation is not None and experiment.validation_features is not None:
            parts.append((experiment.validation, experiment.validation_features))
        kept = [_first_of_each_group(dataset) for dataset, _ in parts]
        both = list(zip(parts, kept, strict=True))
        self.features = np.concatenate([features.values[own] for (_, features), own in both])
        self.labels = np.concatenate([dataset.labels[own] for (dataset, _), own in both])
        self._keys = [dataset.keys[place] for (dataset, _), own in both for place in own]
        self._classes = experiment.dataset.classes
        self.choices: dict[str, Columns] = {
            name: columns_from(experiment.backbones, first) for name, first in experiment.choices.items()
        }

    def draw(self, of_each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions of photos that are learned from, and of all others."""
        generator = np.random.default_rng(seed)
        drawn = [
            generator.permutation(np.flatnonzero(self.labels == label))[:of_each] for label in range(len(self._classes))
        ]
        learn = np.sort(np.concatenate(drawn))
        return learn, np.setdiff1d(np.arange(len(self.labels)), learn)

    def draw_shares(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions of about `count` photos, of each class its share, and of all others."""
        generator = np.random.default_rng(seed)
        drawn = []
        for label in range(len(self._classes)):
            own = generator.permutation(np.flatnonzero(self.labels == label))
            drawn.append(own[: round(count * len(own) / len(self.labels))])
        learn = np.sort(np.concatenate(drawn))
        return learn, np.setdiff1d(np.arange(len(self.labels)), learn)

    def relabelled(self, photos: np.ndarray, labels: np.ndarray) -> Self:
        """Return the photos at these positions (m,) with labels (m,) of their own."""
        found = copy.copy(self)
        found.features, found.labels = self.features[photos], labels.astype(np.int64)
        found._keys = [self._keys[place] for place in photos]
        found._classes = tuple(map(str, range(int(labels.max()) + 1)))
        return found

    def dataset(self, photos: np.ndarray) -> Dataset:
        """Return what is known of photos at these positions."""
        paths = tuple(Path(f"{place}.jpg") for place in photos)
        samples = Samples(paths, self.labels[photos], self._classes)
        return Dataset(samples, tuple(self._keys[place] for place in photos), np.arange(len(photos)))


def figures(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return `FIGURES` of (n, c) probabilities."""
    right = probabilities.argmax(axis=1) == labels
    diagram = reliability(confidence_bins(probabilities), probabilities.max(axis=1), right)
    loss = float(photo_log_loss(labels, probabilities).mean())
    return [float(right.mean()), loss, expected_calibration_error(diagram)]


def fit(photos: PhotoSet, learn: np.ndarray, rest: np.ndarray) -> tuple[list[float], list[float]]:
    """Return figures of the classifier of the photos `learn`: on `rest`, and out-of-fold."""
    dataset, features = photos.dataset(learn), photos.features[learn]
    heads = CalibratedHeads(features, dataset, seed=0, all_too=True, choices=photos.choices)
    folds = dataset.possible_folds(5, seed=0)
    out_of_fold = np.empty((len(learn), len(dataset.classes)))
    for fold in np.unique(folds):
        head = heads.of(np.flatnonzero(folds != fold))
        out_of_fold[folds == fold] = head.probabilities(features[folds == fold])
    written = heads.of(np.arange(len(learn))).probabilities(photos.features[rest])
    return figures(written, photos.labels[rest]), figures(out_of_fold, dataset.labels)


@contextmanager
def without_bound() -> Iterator[None]:
    """Let the least deviation be 0."""
    before = coordinates._TRUSTED
    coordinates._TRUSTED = 0
    try:
        yield
    finally:
        coordinates._TRUSTED = before


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (draws are what is repeated)
    """Fit every draw of every set, with and without the bound."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    draws = 2 if quick else DRAWS
    record = Record("few_photos", "Few photos: out-of-fold figures, and those on all others", {"draws": draws})
    for network in NETWORKS:
        for name, sizes in CASES.items():
            photos = PhotoSet(experiment_of(SETS[name], [network], root))
            for size in sizes[:1] if quick else sizes:
                _measure(record, photos, f"{name}, {network}, {size} of each", (size, draws))
    record.notes.append("medians over draws; each classifier answers all photos that it was not given")
    return record


def _measure(record: Record, photos: PhotoSet, case: str, size_and_draws: tuple[int, int]) -> None:
    size, draws = size_and_draws
    pairs = [photos.draw(size, seed) for seed in range(draws)]
    found = {BOUNDED: [fit(photos, *pair) for pair in pairs]}
    with without_bound():
        found[UNBOUNDED] = [fit(photos, *pair) for pair in pairs]
    for how, each in found.items():
        for place, what in enumerate(FIGURES):
            record.add(case, f"{how}: {what}, others", "", [written[place] for written, _ in each])
            record.add(case, f"{how}: {what}, out-of-fold", "", [held_out[place] for _, held_out in each])
        means = np.array(each).mean(axis=0)
        said = [f"{what} {a:.3f} (out-of-fold {b:.3f})" for what, a, b in zip(FIGURES, *means, strict=True)]
        progress(f"few_photos: {case}, {how}: means {', '.join(said)}")


def _first_of_each_group(dataset: Dataset) -> np.ndarray:
    if dataset.groups is None:
        return np.arange(len(dataset))
    return np.sort(np.unique(dataset.groups, return_index=True)[1])


def picture(record: Record, path: Path) -> None:
    """Draw log losses on the others."""
    columns = []
    for how in (UNBOUNDED, BOUNDED):
        chosen = [one for one in record.measurements if one.by == f"{how}: log loss, others"]
        bars = [Bar(one.of, one.median, f"{one.median:.2f}", "ours" if how == BOUNDED else "other") for one in chosen]
        columns.append([Group(how, bars)])
    draw(path, "Log loss of classifiers of few photos on all others", columns, footnote=record.footnote())
