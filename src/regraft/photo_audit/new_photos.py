"""New photos beside those that a classifier learned from."""

from collections.abc import Sequence

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.drift import Drift, compare_with_training
from regraft.classifier.predict import Predictor
from regraft.engines.compute import Compute
from regraft.errors import DataError, printable
from regraft.features.pictures import mean_colours_of
from regraft.images.sources import Source
from regraft.progress import Observer


def compare_new_photos(
    classifier: Classifier, sources: Sequence[Source], compute: Compute, observer: Observer
) -> tuple[Drift, tuple[Source, ...]]:
    """Return how new photos differ from the training photos (distance, answers, sizes, colours), and of which that is.

    Photos that are training photos themselves are named by their number, and left out.

    Args:
        classifier: with what it keeps of its training photos.
        sources: m photos.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.

    Raises:
        DataError: the classifier keeps nothing of its training photos, no photo can be read, or none is new.
    """
    reference = classifier.reference
    if reference is None:
        raise DataError(
            f"the classifier ({printable(classifier.model)}, strategy {classifier.strategy}) keeps nothing of its "
            "training photos that new ones could be compared with: it was made by an older version, from fewer than "
            "ten photos, or its network was trained further. Fit it again with the strategy frozen."
        )
    answers = Predictor(classifier, compute, observer).predict_with_features(sources)
    if len(answers.predictions.unreadable) == len(sources):
        raise DataError(f"none of the {len(sources):,} new photos can be read. Name others.")
    seen = classifier.was_seen(answers.keys, "training")
    if seen.all():
        raise DataError(
            f"all {len(sources):,} photos are training photos of this classifier, which differ from none. Name new "
            "ones."
        )
    if seen.any():
        observer.say(f"{seen.sum():,} of these {len(sources):,} photos are training photos, and are left out")
    new = np.flatnonzero(~seen).tolist()
    fresh = tuple(sources[place] for place in new)
    keys = [answers.keys[place] for place in new]
    record = classifier.record
    found = compare_with_training(
        reference,
        answers.features[new][:, classifier.columns],
        answers.predictions.probabilities[new],
        classes=classifier.classes,
        headers=[answers.headers[place] for place in new],
        colours=mean_colours_of(fresh, keys, answers.ranges, compute, observer),
        report=None if record is None else record.report,
        decision=classifier.decision,
    )
    return found, fresh
