"""An export in int8: what it costs in answers, measured on photos that it was not calibrated on, and how fast it is."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.data.samples import composed
from regraft.errors import DataError, ExportError, option
from regraft.evaluation.intervals import Interval
from regraft.evaluation.paired_tests import right_answers_test
from regraft.evaluation.proportions import proportion_of
from regraft.exports.formats import ExportedGraph
from regraft.exports.parity import Reference, answers_of_graph, decode_by_pillow, evenly
from regraft.images.reading import UnreadableImageError
from regraft.images.sources import Source
from regraft.progress import Observer

LEAST_PHOTOS = 40
_CALIBRATION = 300  # photos, at most: more change the ranges of activations little
_CALIBRATION_SHARE = 3  # of all photos, one in so many at most
_JUDGED = 2000  # photos, at most
_TIMED, _WARM_UP = 20, 3  # photos


@dataclass(frozen=True)
class QuantisationLoss:
    """What an int8 file loses against the classifier in float32, and how fast it is.

    Attributes:
        photos: that it was judged on, and not calibrated on.
        calibrated_on: photos.
        labelled: whether the loss is of accuracy; else of agreement with the classifier's answers.
        value: percentage points.
        interval: 95 % of that.
        milliseconds: of a decoded photo.
        float_milliseconds: likewise of the same format in float32.
        learned_from: of the photos, how many the classifier learned from.
    """

    photos: int
    calibrated_on: int
    labelled: bool
    value: float
    interval: Interval
    milliseconds: float
    float_milliseconds: float
    learned_from: int = 0

    @property
    def in_words(self) -> str:
        """Return the loss with its interval."""
        low, high = self.interval
        what = "accuracy" if self.labelled else "agreement with the classifier's answers"
        return f"{self.value:.1f} points of {what} [{low:.1f}, {high:.1f}] on {self.photos:,} photos"

    def __str__(self) -> str:
        """Return what was found, in words."""
        times = self.float_milliseconds / self.milliseconds
        seen = f", {self.learned_from:,} of which the classifier learned from: others may lose more"
        photos = f"{self.in_words}{seen if self.learned_from else ''}"
        return (
            f"int8 loses {photos} (calibrated on {self.calibrated_on:,} others); {self.milliseconds:.1f} ms a photo, "
            f"float32 {self.float_milliseconds:.1f} ms: {times:.1f} times as fast"
        )

    def check(self, name: str, most: float) -> None:
        """Raise `ExportError` for a loss of more than `most` points; `name` is the format's."""
        if self.value > most:
            raise ExportError(
                f"the {name} file in int8 was removed: it loses {self.in_words}, and {option('max_loss')} allows "
                f"{most:g}. Leave {option('int8', True)} out, or allow more."
            )

    def doubt(self, most: float) -> str:
        """Return a sentence where photos are too few to exclude a loss of more than `most` points; else ""."""
        high = self.interval[1]
        if high <= most:
            return ""
        return (
            f"{self.photos:,} photos do not exclude a loss of up to {high:.1f} points, more than the {most:g} that "
            f"{option('max_loss')} allows: judge it on more"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "photos": self.photos,
            "learned_from": self.learned_from,
            "calibrated_on": self.calibrated_on,
            "loss_of": "accuracy" if self.labelled else "agreement",
            "loss_points": self.value,
            "interval": list(self.interval),
            "milliseconds": self.milliseconds,
            "float_milliseconds": self.float_milliseconds,
        }


def split_photos(keys: Sequence[bytes], learned_from: np.ndarray) -> tuple[list[int], list[int]]:
    """Return positions of photos: those to calibrate on, and those to judge on, drawn at random.

    Of copies the first counts alone. What the classifier learned from calibrates, and judges only where there are too
    few others: answers to photos that were learned from are surer, and change less.

    Args:
        keys: n content keys.
        learned_from: (n,) booleans.

    Raises:
        DataError: they are too few.
    """
    distinct = np.array(sorted({key: place for place, key in reversed(list(enumerate(keys)))}.values()), dtype=np.int64)
    if len(distinct) < LEAST_PHOTOS:
        raise DataError(
            f"{option('int8', True)} needs {LEAST_PHOTOS} different photos or more, as it is judged on others than it "
            f"is calibrated on. {option('check')} names {len(distinct):,}."
        )
    order = np.random.default_rng(0).permutation(distinct)
    order = order[np.argsort(~learned_from[order], kind="stable")]
    count = min(_CALIBRATION, len(order) // _CALIBRATION_SHARE)
    calibrating, judging = order[:count], order[count:]
    others = judging[~learned_from[judging]]
    judging = others if len(others) >= LEAST_PHOTOS - LEAST_PHOTOS // _CALIBRATION_SHARE else judging
    judging = np.random.default_rng(1).permutation(judging)[:_JUDGED]
    return calibrating.tolist(), np.sort(judging).tolist()


def decodable(sources: Sequence[Source], least: tuple[int, int]) -> list[Source]:
    """Return the photos that `decode_by_pillow` can decode.

    Raises:
        DataError: there is none.
    """
    found = []
    for source in sources:
        with suppress(UnreadableImageError):
            if decode_by_pillow(source, least) is not None:
                found.append(source)
    if not found:
        raise DataError(f"none of the {len(sources):,} photos to calibrate int8 on can be read. Name others.")
    return found


class DecodedPhotos(Sequence[np.ndarray]):
    """Photos (1, h, w, 3), decoded when they are asked for.

    Args:
        sources: that can be decoded.
        least: as of `decode_by_pillow`.
    """

    def __init__(self, sources: Sequence[Source], least: tuple[int, int]) -> None:
        self._sources, self._least = sources, least

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sources)

    def __getitem__(self, place: Any) -> Any:
        """Return the photo at a position."""
        pixels = decode_by_pillow(self._sources[place], self._least)
        assert pixels is not None  # `reference_of` has left out what has more bits
        return pixels

    def __iter__(self) -> Iterator[np.ndarray]:
        """Go through them."""
        return (self[place] for place in range(len(self)))


def loss_of(
    classifier: Classifier,
    reference: Reference,
    graphs: tuple[ExportedGraph, ExportedGraph],
    *,
    least: tuple[int, int],
    calibrated_on: int,
    learned_from: int,
    observer: Observer,
) -> QuantisationLoss:
    """Return what an int8 file loses.

    Where all photos have labels that are classes, it is the accuracy of the answers that both give; else photos that
    they answer differently.

    Args:
        classifier: whose decision answers.
        reference: what it answers in float32, to n photos that the file was not calibrated on.
        graphs: the file in float32 and in int8.
        least: as of `decode_by_pillow`.
        calibrated_on: photos.
        learned_from: of the n, how many the classifier learned from.
        observer: hears the progress.
    """
    exact, quantised = graphs
    found = answers_of_graph(quantised, reference.sources, least, observer, "answers of the int8 file")
    ours, theirs = classifier.answers(reference.probabilities), classifier.answers(found)
    places = {composed(name): place for place, name in enumerate(classifier.classes)}
    truth = [None if label is None else places.get(composed(label)) for label in reference.photos.labels]
    labelled = all(place is not None for place in truth)
    if labelled:
        true = np.array(truth, dtype=np.int64)
        mean, _ = right_answers_test(ours == true, theirs == true)
        value, interval = mean.value, (mean.low, mean.high)
    else:
        other = proportion_of(ours != theirs)
        assert other is not None  # there are photos
        value, interval = other.value, other.interval()
    timed = DecodedPhotos([reference.sources[place] for place in evenly(len(reference.sources), _TIMED)], least)
    float_time, int8_time = _milliseconds((exact, quantised), list(timed))
    return QuantisationLoss(
        photos=len(found),
        calibrated_on=calibrated_on,
        labelled=labelled,
        value=100 * value,
        interval=(100 * interval[0], 100 * interval[1]),
        milliseconds=int8_time,
        float_milliseconds=float_time,
        learned_from=learned_from,
    )


def _milliseconds(
    graphs: Sequence[Callable[[np.ndarray], np.ndarray]], photos: Sequence[np.ndarray]
) -> tuple[float, ...]:
    """Return the median time of a photo by each of some graphs, which take turns."""
    for pixels in photos[:_WARM_UP]:
        for graph in graphs:
            graph(pixels)
    times: list[list[float]] = [[] for _ in graphs]
    for pixels in photos:
        for graph, own in zip(graphs, times, strict=True):
            started = time.perf_counter()
            graph(pixels)
            own.append(1000 * (time.perf_counter() - started))
    return tuple(statistics.median(own) for own in times)
