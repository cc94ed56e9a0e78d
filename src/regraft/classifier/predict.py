"""A classifier that is ready to answer. It imports nothing that trains, so that one photo is answered at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.full_report import class_of
from regraft.data.audit import Inspection, inspect_shares
from regraft.data.dataset import Dataset, open_datasets
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.engines.workload import SharedChoice
from regraft.evaluation.conformal import Coverage
from regraft.evaluation.decisions import Decision, answers_of, decided_by
from regraft.evaluation.levels import Level
from regraft.features.extraction import Features
from regraft.features.joint import JointExtractor
from regraft.heads.workers import one_thread_each
from regraft.images.headers import Header
from regraft.images.reading import MAX_PIXELS
from regraft.images.sources import Source
from regraft.images.tta import NONE, tta_in_words
from regraft.images.value_range import Ranges, choose_ranges
from regraft.progress import Observer


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of n images.

    Attributes:
        sources: the images.
        probabilities: (n, c); rows of unreadable images are NaN.
        unreadable: reasons by position.
        decision: what answers; None where the most probable class does.
        levels: of the tree that the classes lie in; none without a tree.
        sets: (n, c) booleans, the classes that each image may be; None where the classifier's file cannot say.
        unlike: (n,) booleans: which images are unlike the training photos; None likewise.
        coverage: that was asked of the sets; None where nobody asked, and they only say what is unsure.
        abstains: whether unsure answers are withheld.
    """

    sources: tuple[Source, ...]
    probabilities: np.ndarray
    unreadable: dict[int, str]
    decision: Decision | None = None
    levels: tuple[Level, ...] = ()
    sets: np.ndarray | None = None
    unlike: np.ndarray | None = None
    coverage: Coverage | None = None
    abstains: bool = False

    @cached_property
    def answers(self) -> np.ndarray:
        """Return (n,) classes that are answered; -1 for unreadable images."""
        found = answers_of(self.decision, np.nan_to_num(self.probabilities))
        found[sorted(self.unreadable)] = -1
        return found

    @property
    def decided_by(self) -> str:
        """Return the rule that answered, as the user asked for it."""
        return decided_by(self.decision)

    @cached_property
    def unsure(self) -> np.ndarray | None:
        """Return (n,) booleans: where the set is not the answer alone, or the image is unlike the training photos."""
        if self.sets is None:
            return None
        alone = (self.sets.sum(axis=1) == 1) & self.sets[np.arange(len(self.sets)), self.answers]
        found: np.ndarray = ~alone if self.unlike is None else ~alone | self.unlike
        found[sorted(self.unreadable)] = False
        return found

    def likeliest_first(self) -> list[list[int]]:
        """Return the classes of each image's set, the most probable first; of no sets nothing."""
        if self.sets is None:
            return []
        order = np.argsort(-np.nan_to_num(self.probabilities), axis=1, kind="stable")
        inside = np.take_along_axis(self.sets, order, axis=1)
        return [labels[chosen].tolist() for labels, chosen in zip(order, inside, strict=True)]

    @cached_property
    def withheld(self) -> np.ndarray:
        """Return (n,) booleans: which answers are not given.

        An answer that a goal or threshold is for, an alarm, always is, so that its sensitivity stays what was asked.
        """
        if not self.abstains or self.unsure is None:
            return np.zeros(len(self.sources), dtype=bool)
        alarm = None if self.decision is None else class_of(self.decision.rule)
        return self.unsure if alarm is None else self.unsure & (self.answers != alarm)

    @cached_property
    def level_sums(self) -> tuple[np.ndarray, ...]:
        """Return (n, m) probabilities of the m nodes of each of `levels`."""
        return tuple(level.sums(self.probabilities) for level in self.levels)

    def at(self, level: Level, decision: Decision | None = None) -> "Predictions":
        """Return the same of the nodes of a level, whose probabilities are sums.

        A set holds the nodes of its classes, and so that of the true class at least as often.

        Args:
            level: one of `levels`.
            decision: what answers among its nodes; None: the most probable one.
        """
        above = tuple(one.of(level) for one in self.levels if one.number <= level.number)
        sets = None if self.sets is None else level.sums(self.sets) > 0
        return replace(self, probabilities=level.sums(self.probabilities), decision=decision, levels=above, sets=sets)


@dataclass(frozen=True, eq=False)
class ExplainedPredictions:
    """What a classifier says of n images, and what it says that by.

    Attributes:
        predictions: the answers.
        classes: c names.
        features: (n, width) of all networks and depths; rows of unreadable images are NaN.
        keys: their content keys; b"" for unreadable ones.
        headers: what the files say besides their pixels; None for unreadable ones.
        ranges: the values of black and white that they were read by.
    """

    predictions: Predictions
    classes: tuple[str, ...]
    features: np.ndarray
    keys: tuple[bytes, ...]
    headers: tuple[Header | None, ...]
    ranges: Ranges


class Predictor:
    """A classifier that is ready to answer: it keeps its engine, and hashes its weights once.

    Args:
        classifier: what answers.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.
        coverage: of the sets of classes that an image may be; None takes the default one, where it can be promised.
        abstain: whether answers that are unsure by these sets are withheld.
        max_pixels: of an image; a larger one counts as unreadable.

    Raises:
        OptionError: a value of `compute` that is not allowed, or sets that the classifier's file cannot say.
        DataError: a coverage that too few photos were held out for.
    """

    def __init__(
        self,
        classifier: Classifier,
        compute: Compute | None = None,
        observer: Observer | None = None,
        *,
        coverage: Coverage | None = None,
        abstain: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.classifier, self.compute, self._observer = classifier, compute or Compute(), observer or Observer()
        self.compute.check()
        if classifier.tta != NONE:
            self._observer.say(f"answers are {tta_in_words(classifier.tta)}")
        self._asked, self._abstain = coverage or (Coverage() if abstain else None), abstain
        self._max_pixels = max_pixels
        if self._asked is not None:
            classifier.check_coverage(self._asked, abstain=abstain)
        self._extractor = self._other = self._new_extractor(classifier.backbone.preprocess.ranges)

    def predict(self, sources: Sequence[Source]) -> Predictions:
        """Classify images; one that cannot be read has a reason instead of probabilities, the others are answered."""
        return self.predict_with_features(sources).predictions

    def predict_with_features(self, sources: Sequence[Source], *, photos: int | None = None) -> ExplainedPredictions:
        """Classify images as `predict` does, and return what the answers rest on, too. See `explain_each`."""
        return self.explain_each([sources], photos=photos)[0]

    def explain_each(
        self, lists: Sequence[Sequence[Source]], *, photos: int | None = None
    ) -> list[ExplainedPredictions]:
        """Classify several lists of images at once, each as `predict_with_features` classifies it alone.

        What all images of a list decide together, the values of black and white, they decide for their list only; the
        network runs the images of all lists together.

        Args:
            lists: of images.
            photos: how many there are in all, where these are a share of them: that decides what resizes them.
        """
        sources = tuple(source for one in lists for source in one)
        ends = np.cumsum([len(one) for one in lists], dtype=np.int64).tolist()
        parts = [range(end - len(one), end) for one, end in zip(lists, ends, strict=True)]
        inspection = self._inspect(sources)
        ranges = [self._ranges_of(sources, inspection, places) for places in parts]
        unreadable, values = dict(inspection.unreadable), None
        for own in dict.fromkeys(ranges):
            rows = [row for places, one in zip(parts, ranges, strict=True) if one == own for row in places]
            found = self._extractor_of(own).extract(
                [sources[row] for row in rows], [inspection.keys[row] for row in rows], photos=photos
            )
            if values is None:
                values = np.empty((len(sources), found.values.shape[1]), dtype=found.values.dtype)
            values[rows] = found.values
            unreadable |= {rows[place]: reason for place, reason in found.unreadable.items()}
        assert values is not None  # there is a list, of no images at the least
        # on one thread: those of a product that is over go on waiting, on the cores that the next photos need
        with one_thread_each():
            answered = self._answered(sources, values, unreadable)
        keys = tuple(b"" if row in unreadable else key for row, key in enumerate(inspection.keys))
        return [
            ExplainedPredictions(
                _part(answered, places),
                self.classifier.classes,
                values[places.start : places.stop],
                keys[places.start : places.stop],
                inspection.headers[places.start : places.stop],
                own,
            )
            for places, own in zip(parts, ranges, strict=True)
        ]

    def _answered(self, sources: tuple[Source, ...], values: np.ndarray, unreadable: dict[int, str]) -> Predictions:
        """Return what features (n, width) say of all images at once; those of unreadable ones become NaN."""
        lost = sorted(unreadable)
        probabilities = self.classifier.probabilities(values)
        probabilities[lost] = np.nan
        values[lost] = np.nan
        return Predictions(
            sources,
            probabilities,
            unreadable,
            self.classifier.decision,
            self.classifier.levels,
            sets=self.classifier.sets(probabilities, self._asked or Coverage()),
            unlike=self.classifier.unlike_training(values),
            coverage=self._asked,
            abstains=self._abstain,
        )

    def _ranges_of(self, sources: Sequence[Source], inspection: Inspection, places: range) -> Ranges:
        """Return the values of black and white that the images at these places, a list of its own, are read by."""
        deep = [(sources[place], inspection.extents[place]) for place in places if place in inspection.extents]
        known = self.classifier.backbone.preprocess.ranges
        return choose_ranges(deep, given=self.compute.value_range, known=known, say=self._observer.say)

    def choose(self, sources: Sequence[Source], *, photos: int | None = None) -> tuple[SharedChoice, ...]:
        """Return what runs each network on photos like these, for all processes that work for this one.

        `photos` is as of `explain_each`.
        """
        seen = self._inspect(tuple(sources))
        extractor = self._extractor_of(self._ranges_of(sources, seen, range(len(sources))))
        extractor.choose(sources, seen.keys, photos=photos)
        return extractor.choices

    def _inspect(self, sources: tuple[Source, ...]) -> Inspection:
        return inspect_shares(
            sources,
            workers=self.compute.workers,
            max_file_size=self.compute.max_file_size,
            max_pixels=self._max_pixels,
            say=self._observer.say,
        )

    def open(self, samples: Samples) -> Dataset:
        """Look at every one of these photos, whose classes are the classifier's, once. See `open_datasets`."""
        (dataset,) = open_datasets(
            [samples],
            self._observer,
            max_file_size=self.compute.max_file_size,
            value_range=self.compute.value_range,
            known=self.classifier.backbone.preprocess.ranges,
            workers=self.compute.workers,
        )
        return dataset

    def features(self, dataset: Dataset, *, labelled: bool = True) -> tuple[Dataset, Features]:
        """Return the photos of `dataset` that can be decoded, and their features. See `JointExtractor.of_dataset`."""
        return self._extractor_of(dataset.ranges).of_dataset(dataset, labelled=labelled)

    def _extractor_of(self, ranges: Ranges) -> JointExtractor:
        """Return what runs photos whose values of black and white are these; the last one for others is kept, too."""
        for extractor in (self._extractor, self._other):
            if extractor.backbones[0].preprocess.ranges == ranges:
                return extractor
        self._other = other = self._new_extractor(ranges)
        return other

    def _new_extractor(self, ranges: Ranges) -> JointExtractor:
        classifier = self.classifier
        networks = [backbone.with_ranges(ranges) for backbone in classifier.backbones]
        earlier = (classifier.engine_choice, *(classifier.joined_choices or (None,) * len(classifier.joined)))
        return JointExtractor(networks, self.compute, self._observer, earlier=earlier, tta=classifier.tta)


def _part(predictions: Predictions, places: range) -> Predictions:
    """Return what is said of some images, one after the other."""
    part = slice(places.start, places.stop)
    return replace(
        predictions,
        sources=predictions.sources[part],
        probabilities=predictions.probabilities[part],
        unreadable={row - part.start: why for row, why in predictions.unreadable.items() if row in places},
        sets=None if predictions.sets is None else predictions.sets[part],
        unlike=None if predictions.unlike is None else predictions.unlike[part],
    )
