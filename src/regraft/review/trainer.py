"""What is fitted again while people review: kept between retrainings, and made anew where photos get a first label."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, SmallClassesError
from regraft.extras import missing_packages_named
from regraft.features.nearest import NearestSearch
from regraft.progress import Observer
from regraft.review.base import experiment_of, label_to_learn, labelled_splits
from regraft.review.decision import Decision
from regraft.review.photos import ReviewPhotos
from regraft.review.retrain import RetrainOutcome, retrain, take_label_type
from regraft.transfer.experiment import Experiment
from regraft.transfer.fit import FitResult, fit_experiment

T = TypeVar("T")
_USER = "retraining"


def load_libraries() -> None:
    """Import what builds networks, PyTorch and timm, before anybody decides.

    Imports hold Python's lock, some for a second and more, all together for several: no request is answered meanwhile.
    """
    with suppress(Exception):  # whatever it is, `ReviewTrainer.prepare` meets it and says so
        from regraft.networks import building  # noqa: F401


@dataclass(frozen=True, eq=False)
class _Base:
    """What classifiers are fitted from.

    Attributes:
        result: photos, their features, and the first classifier.
        asked: keys of the photos that were to be among these.
    """

    result: FitResult
    asked: frozenset[bytes]


class ReviewTrainer:
    """Fits a classifier again with the labels that people gave. One thread at a time may call it.

    Args:
        classifier: whose networks and settings are used.
        data: a folder or table.
        columns: by which a table is read.
        compute: device, engine, batch size and cache.
        observer: hears the progress.
    """

    def __init__(
        self, classifier: Classifier, data: str | Path, columns: Columns | None, compute: Compute, observer: Observer
    ) -> None:
        self._classifier, self._data, self._columns = classifier, data, columns
        self._compute, self._observer = compute, observer
        self._first: FitResult | None = None
        self._base: _Base | None = None

    @property
    def first(self) -> FitResult | None:
        """Return what others are compared with: by the labels as they were found, where they are enough for that."""
        return self._first

    def reset(self) -> None:
        """Forget all photos: others are there by now."""
        self._first = self._base = None

    def prepare(self, photos: ReviewPhotos, state: Mapping[bytes, Decision]) -> None:
        """Fit what others are compared with: by the labels as they were found, else as they are now.

        Args:
            photos: those that were looked at.
            state: the decision that counts for each photo.

        Raises:
            MissingPackageError: what trains is not installed.
            DataError, OptionError, GoalError: as a fit.
        """
        with missing_packages_named(_USER), _settings_explained():
            try:
                base, _ = _without_small_classes(lambda small: self._fitted(photos, {}, small))
            except DataError:
                base, _ = _without_small_classes(lambda small: self._fitted(photos, state, small))
        self._first, self._base = base.result, base

    def retrain(self, photos: ReviewPhotos, state: Mapping[bytes, Decision]) -> tuple[RetrainOutcome, dict[str, int]]:
        """Fit again with the labels as they are now.

        Returns:
            The result; and classes that wait for more photos, and how many each has.

        Raises:
            MissingPackageError, DataError, OptionError, GoalError: as `prepare`.
        """
        if self._first is None:
            self.prepare(photos, state)
        with missing_packages_named(_USER), _settings_explained():
            found, small = _without_small_classes(lambda small: self._retrained(photos, state, small))
        take_label_type(found.result.classifier, self._classifier)
        labels = [label_to_learn(photo, state.get(photo.key)) for photo in photos.photos]
        return found, {name: labels.count(name) for name in sorted(small)}

    def similar(self, features: np.ndarray, count: int) -> list[tuple[bytes, float]]:
        """Return the keys of the photos with labels that are most similar, and their cosines.

        Args:
            features: (d,) of a photo, as the last layer sees them.
            count: at most so many.
        """
        if (first := self._first) is None:
            return []
        dataset, values = first.experiment.dataset, first.experiment.features.values[:, first.classifier.columns]
        if len(features) != values.shape[1]:  # of other depths
            return []
        search = NearestSearch(features[None], [b""], count)
        search.add(values, dataset.keys, np.arange(len(dataset)))
        found = zip(search.positions[0].tolist(), search.distances[0].tolist(), strict=True)
        return [(dataset.keys[row], 1 - distance) for row, distance in found]

    def _experiment(
        self, photos: ReviewPhotos, state: Mapping[bytes, Decision], small: frozenset[str]
    ) -> tuple[Experiment, frozenset[bytes]]:
        splits = labelled_splits(self._data, self._columns, photos, state, without=small)
        asked = frozenset(key for key, label in _labels(photos, state, small).items() if label is not None)
        return experiment_of(self._classifier, splits, self._compute, self._observer), asked

    def _fitted(self, photos: ReviewPhotos, state: Mapping[bytes, Decision], small: frozenset[str]) -> _Base:
        experiment, asked = self._experiment(photos, state, small)
        return _Base(fit_experiment(experiment, model=self._classifier.model), asked)

    def _retrained(
        self, photos: ReviewPhotos, state: Mapping[bytes, Decision], small: frozenset[str]
    ) -> RetrainOutcome:
        assert self._first is not None
        assert self._base is not None
        labels = _labels(photos, state, small)
        if {key for key, label in labels.items() if label is not None} - self._base.asked:
            experiment, asked = self._experiment(photos, state, small)
            self._base = _Base(replace(self._first, experiment=experiment), asked)
        found = {photo.key: label for photo in photos.photos if (label := label_to_learn(photo, None)) is not None}
        return retrain(self._base.result, state, before=self._first, labels=labels, found=found)


def _labels(photos: ReviewPhotos, state: Mapping[bytes, Decision], small: frozenset[str]) -> dict[bytes, str | None]:
    """Return by content key what photos are learned as; None for those that take no part."""
    return {photo.key: label_to_learn(photo, state.get(photo.key), small) for photo in photos.photos}


@contextmanager
def _settings_explained() -> Iterator[None]:
    """Say of settings that are not allowed whose they are: nobody here gave them."""
    try:
        yield
    except OptionError as error:
        raise OptionError(
            f"{error} So the classifier's file has it: keep photos of the classes that it names; or take the table of "
            "labels, and fit anew."
        ) from None


def _without_small_classes(work: Callable[[frozenset[str]], T]) -> tuple[T, frozenset[str]]:
    """Return what work gives without the classes that are too small for it, and these.

    A class that somebody has just begun does not keep the others from being learned.
    """
    small: frozenset[str] = frozenset()
    while True:
        try:
            return work(small), small
        except SmallClassesError as error:
            more = small | set(error.classes)
            if more == small:
                raise
            small = more
