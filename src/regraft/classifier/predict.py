"""A classifier that is ready to answer. It imports nothing that trains, so that one photo is answered at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.data.audit import inspect
from regraft.data.dataset import Dataset
from regraft.engines.compute import Compute
from regraft.features.extraction import FeatureExtractor, Features
from regraft.images.sources import Source
from regraft.progress import Observer


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of n images.

    Attributes:
        sources: the images.
        probabilities: (n, c); rows of unreadable images are NaN.
        unreadable: reasons by position.
    """

    sources: tuple[Source, ...]
    probabilities: np.ndarray
    unreadable: dict[int, str]


class Predictor:
    """A classifier that is ready to answer: it keeps its engine, and hashes its weights once.

    Args:
        classifier: what answers.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.

    Raises:
        OptionError: a value of `compute` that is not allowed.
    """

    def __init__(
        self, classifier: Classifier, compute: Compute | None = None, observer: Observer | None = None
    ) -> None:
        self.classifier, self.compute, self._observer = classifier, compute or Compute(), observer or Observer()
        self.compute.check()
        self._extractor = FeatureExtractor(
            classifier.backbone, self.compute, self._observer, earlier=classifier.engine_choice
        )

    def predict(self, sources: Sequence[Source]) -> Predictions:
        """Classify images; one that cannot be read has a reason instead of probabilities, the others are answered."""
        sources = tuple(sources)
        inspection = inspect(sources, max_file_size=self.compute.max_file_size, say=self._observer.say)
        features = self._extractor.extract(sources, inspection.keys)
        unreadable = {**inspection.unreadable, **features.unreadable}
        probabilities = self.classifier.probabilities(features.values)
        probabilities[sorted(unreadable)] = np.nan
        return Predictions(sources, probabilities, unreadable)

    def features(self, dataset: Dataset, *, labelled: bool = True) -> tuple[Dataset, Features]:
        """Return the photos of `dataset` that can be decoded, and their features. See `FeatureExtractor.of_dataset`."""
        return self._extractor.of_dataset(dataset, labelled=labelled)
