"""What a classifier says of photos. Nothing that trains is imported: one photo is answered in the time imports take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.data.audit import inspect
from regraft.data.sources import Source
from regraft.features.extraction import features_of
from regraft.progress import Observer
from regraft.transfer.settings import Settings


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


def predict(
    classifier: Classifier,
    sources: Sequence[Source],
    *,
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> Predictions:
    """Classify images; one that cannot be read has a reason instead of probabilities, the others are not held up."""
    settings, observer = settings or Settings(), observer or Observer()
    settings.check(classifier.classes)
    audit = inspect(tuple(sources), max_file_size=settings.max_file_size, say=observer.say)
    earlier = classifier.engine_choice
    extraction = features_of(sources, audit.keys, classifier.backbone, settings, observer, earlier=earlier)
    unreadable = {**audit.unreadable, **extraction.unreadable}
    probabilities = classifier.probabilities(extraction.features)
    probabilities[sorted(unreadable)] = np.nan
    return Predictions(tuple(sources), probabilities, unreadable)
