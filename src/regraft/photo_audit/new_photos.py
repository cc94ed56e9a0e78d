"""New photos beside those that a classifier learned from."""

from collections.abc import Sequence

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
) -> Drift:
    """Return how new photos differ from the training photos: distance, answers, sizes and colours.

    Args:
        classifier: with what it keeps of its training photos.
        sources: m photos.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.

    Raises:
        DataError: the classifier keeps nothing of its training photos, or no photo can be read.
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
    seen = int(classifier.was_seen(answers.keys, "training").sum())
    if seen:
        observer.say(f"{seen:,} of these {len(sources):,} photos are training photos, which differ from none")
    record = classifier.record
    return compare_with_training(
        reference,
        answers.features[:, classifier.columns],
        answers.predictions.probabilities,
        classes=classifier.classes,
        headers=answers.headers,
        colours=mean_colours_of(sources, answers.keys, answers.ranges, compute, observer),
        report=None if record is None else record.report,
    )
