"""How new photos differ from the training photos: before anyone trusts a classifier's answers for them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.classifier.reference import MEASURE_LEVELS, TrainingReference, measures_of
from regraft.errors import OptionError, option, printable
from regraft.evaluation.decisions import Decision, answers_of
from regraft.evaluation.intervals import Interval, mean_interval, quantile, wilson
from regraft.evaluation.proportions import Proportion, chance_of_as_many, proportion_of
from regraft.evaluation.report import Report
from regraft.evaluation.report_lines import shown
from regraft.images.headers import Header
from regraft.validation import json_fields

FAR = (0.99, 0.95)  # of the training photos lie nearer
_PARTS = 4  # distance, answers, sizes and colours, probabilities: each has its share of the false alarms
_FALSE_ALARMS = 0.05 / _PARTS
_BIN_VARIANCE = 1 / 1200  # of probabilities that are spread evenly over a tenth
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Share:
    """A share of the new photos beside the one that photos like the training photos would have.

    Attributes:
        name: what it is the share of: "0.99" and "0.95" (farther than these shares of the training photos), a class,
            or a measure.
        share: from 0 to 1.
        interval: 95 %; None where too little is known.
        expected: of photos like the training photos.
        expected_interval: 95 %; None where `expected` follows from how the share is made.
        chance: how probable so large a difference is by chance alone; 1 where it is not to be expected.
        differs: beyond its interval and beyond chance, however many comparisons were made.
        median: of the measure, of the new photos; None for other shares.
        training: the training photos' quantiles of the measure at `MEASURE_LEVELS`.
    """

    name: str
    share: float
    interval: Interval | None
    expected: float
    expected_interval: Interval | None
    chance: float
    differs: bool = False
    median: float | None = None
    training: tuple[float, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found = json_fields(self)
        return {name: value for name, value in found.items() if value is not None or name == "interval"}

    def __str__(self) -> str:
        """Return the share in percent, with its interval."""
        return _percent(self.share, self.interval)


@dataclass(frozen=True)
class Confidence:
    """The mean probability of the answers to new photos beside that of photos that were not learned from.

    Attributes:
        mean: from 0 to 1.
        interval: 95 %; None where too little is known.
        expected: of the photos that evaluated the classifier.
        expected_interval: 95 %.
        chance: how probable so much lower a mean is by chance alone.
        lower: clearly lower than expected.
    """

    mean: float
    interval: Interval | None
    expected: float
    expected_interval: Interval
    chance: float
    lower: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return json_fields(self)


@dataclass(frozen=True, eq=False)
class Drift:
    """How m new photos differ from the training photos.

    Attributes:
        count: photos that were compared.
        left_out: photos that could not be read.
        far: shares of photos that are farther from the training photos than 99 % and 95 % of these are from each other.
        classes: shares of the answers, in class order.
        measures: shares of photos whose size or colour is outside the middle 90 % of the training photos'.
        confidence: the mean probability of the answers; None where nothing is known to compare it with.
        distances: (m,) from the training photos; NaN for photos that were left out.
        ranking: positions of photos beyond 95 % of the training photos, the farthest first.
    """

    count: int
    left_out: int
    far: tuple[Share, ...]
    classes: tuple[Share, ...]
    measures: tuple[Share, ...]
    confidence: Confidence | None
    distances: np.ndarray
    ranking: np.ndarray

    @property
    def differs(self) -> bool:
        """Return whether anything clearly differs from the training photos."""
        return any(True for _ in self._findings())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; of the distances those of `ranking`, null for photos that were left out."""
        return {
            "n": self.count,
            "left_out": self.left_out,
            "differs": self.differs,
            "far": [one.to_json() for one in self.far],
            "classes": [one.to_json() for one in self.classes],
            "measures": [one.to_json() for one in self.measures],
            "confidence": None if self.confidence is None else self.confidence.to_json(),
            "distances": [float(value) if math.isfinite(value) else None for value in self.distances],
            "ranking": self.ranking.tolist(),
        }

    def __str__(self) -> str:
        """Return what differs, the least probable by chance first, and what does not."""
        photos = "photo" if self.count == 1 else "photos"
        left_out = f"; {self.left_out:,} could not be read" if self.left_out else ""
        if not self.count:
            return f"no photo could be compared with the training photos{left_out}"
        found = [line for _, line in sorted(self._findings(), key=lambda finding: finding[0])]
        if not found:
            looked_at = [
                "distance",
                *(["answers"] if self.classes else []),
                *(_in_words(one.name) for one in self.measures),
            ]
            return (
                f"{self.count:,} {photos}{left_out}: no clear difference from the training photos "
                f"({', '.join(looked_at)}). {self.far[0]} lie farther from them than 99 % of them from each other; "
                f"{_percent(self.far[0].expected)} is expected"
            )
        return "\n".join([f"{self.count:,} {photos}{left_out} differ from the training photos:", *found])

    def _findings(self) -> Iterator[tuple[float, str]]:
        """Yield what clearly differs: how probable that is by chance, and a line in words."""
        far = min((one for one in self.far if one.differs), key=lambda one: one.chance, default=None)
        if far is not None:
            yield (
                far.chance,
                f"  unlike them: {far} lie farther from them than {100 * float(far.name):.0f} % of them lie from each "
                f"other; {_percent(far.expected)} is expected",
            )
        for one in self.classes:
            if one.differs:
                yield (
                    one.chance,
                    f"  answers: {one} are {printable(one.name)}; {_percent(one.expected, one.expected_interval)} "
                    "is expected",
                )
        for one in self.measures:
            if one.differs and one.training is not None:
                low, middle, high = one.training[0], one.training[2], one.training[-1]
                yield (
                    one.chance,
                    f"  {_in_words(one.name)}: {one} are outside {low:.3g} to {high:.3g}, where 90 % of them are; "
                    f"{_percent(one.expected)} is expected; median {one.median:.3g}, theirs {middle:.3g}",
                )
        if self.confidence is not None and self.confidence.lower:
            yield (
                self.confidence.chance,
                f"  probabilities: answers are {_percent(self.confidence.mean, self.confidence.interval)} sure on "
                f"average; {_percent(self.confidence.expected, self.confidence.expected_interval)} is expected",
            )


def compare_with_training(
    reference: TrainingReference,
    features: np.ndarray,
    probabilities: np.ndarray,
    *,
    classes: Sequence[str],
    headers: Sequence[Header | None] = (),
    colours: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    report: Report | None = None,
    decision: Decision | None = None,
) -> Drift:
    """Return how m new photos differ from the training photos.

    A difference is named where it lies beyond its 95 % interval and beyond chance: if new photos are like the training
    photos, something is named in at most about 5 of 100 cases, however many classes and measures there are (Fisher's
    exact test; Holm 1979 within each of the four parts).

    Args:
        reference: of the classifier.
        features: (m, width) of the columns that its head sees; rows that are not finite are left out.
        probabilities: (m, c) of its answers; rows that are not finite are left out.
        classes: c names.
        headers: (m,) of the photos; () where nobody has asked.
        colours: (m, 5) mean colours; None where nobody has asked.
        groups: (m,) numbers of photos that are not independent, as those of one scene; None: all are.
        report: of the photos that evaluated the classifier: by what it is confused, and how sure it was, follows which
            answers are expected; None: answers are compared with the training photos' classes.
        decision: what answers, as in the report; None for the most probable class.

    Raises:
        OptionError: features or probabilities are not those of this classifier.
    """
    _check(reference, features, probabilities, classes)
    usable = np.isfinite(features).all(axis=1) & np.isfinite(probabilities).all(axis=1)
    rows, count = np.flatnonzero(usable), int(usable.sum())
    distances = np.full(len(features), np.nan)
    distances[rows] = reference.distances_of(features[rows])
    own = None if groups is None else groups[rows]
    if not count:
        return Drift(0, len(features), (), (), (), None, distances, rows)
    measures = measures_of(len(features), headers, colours)
    beyond = np.flatnonzero(np.nan_to_num(distances) > reference.limit(FAR[-1]))
    return Drift(
        count=count,
        left_out=len(features) - count,
        far=_named([_far(reference, distances[rows], own, level) for level in FAR]),
        classes=_named(list(_answers(reference, answers_of(decision, probabilities[rows]), classes, own, report))),
        measures=_named(
            [
                _outside(reference, name, figures[known], None if groups is None else groups[known])
                for name, figures in measures.items()
                for known in (np.flatnonzero(np.isfinite(figures) & usable),)
                if name in reference.measures and len(known)
            ]
        ),
        confidence=_confidence(probabilities[rows].max(axis=1), own, report),
        distances=distances,
        ranking=beyond[np.argsort(-distances[beyond], kind="stable")],
    )


def _check(
    reference: TrainingReference, features: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> None:
    """Raise `OptionError` unless features (m, width) and probabilities (m, c) are those of this classifier."""
    if features.ndim != 2 or features.shape[1] != reference.width:
        raise OptionError(
            f"{option('features')} must be of shape (m, {reference.width}), the columns that the classifier's last "
            f"layer sees. Got {features.shape}. Take `features[:, classifier.columns]` of its own networks."
        )
    wanted = (len(features), len(reference.counts))
    if probabilities.shape != wanted or len(classes) != wanted[1]:
        raise OptionError(
            f"{option('probabilities')} must be of shape {wanted}, a column for each class that was trained, and "
            f"{option('classes')} as many names. Got {probabilities.shape} and {len(classes)} names. Take both of the "
            "classifier that the reference is of."
        )


def _far(reference: TrainingReference, distances: np.ndarray, groups: np.ndarray | None, level: float) -> Share:
    expected, trials = reference.distances.expected(level), reference.distances.trials
    return _more(str(level), distances > reference.limit(level), groups, expected, trials)


def _outside(reference: TrainingReference, name: str, figures: np.ndarray, groups: np.ndarray | None) -> Share:
    known = reference.measures[name]
    expected = known.expected(MEASURE_LEVELS[0]) + known.expected(MEASURE_LEVELS[-1])
    outside = (figures < known.values[0]) | (figures > known.values[-1])
    found = _more(name, outside, groups, min(expected, 1.0), known.trials)
    return Share(**{**vars(found), "median": float(np.median(figures)), "training": tuple(known.values.tolist())})


def _more(name: str, true: np.ndarray, groups: np.ndarray | None, expected: float, trials: float) -> Share:
    """Return the share of photos (m,) for which something is true, and the chance that it is so much too large."""
    found = proportion_of(true, groups)
    if found is None:
        return Share(name, float(true.mean()), None, expected, None, 1.0)
    count, of = _whole(found)
    chance = chance_of_as_many(count, of, before=expected * (trials + 1) - 1, of=trials)
    interval = found.interval()
    return Share(name, found.value, interval, expected, None, chance if interval[0] > expected else 1.0)


def _answers(
    reference: TrainingReference,
    answers: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None,
    report: Report | None,
) -> Iterator[Share]:
    """Yield the share of each class's answers beside the expected one; differing where the intervals do not meet."""
    counts = reference.counts.astype(np.float64)
    trials = float(counts.sum() if report is None else min(report.n, counts.sum()))
    expected = _expected_answers(counts / counts.sum(), report)
    for number, name in enumerate(classes):
        chosen, share = proportion_of(answers == number, groups), float(expected[number])
        around = wilson(share * trials, trials)
        if chosen is None:
            yield Share(name, float(np.mean(answers == number)), None, share, around, 1.0)
            continue
        count, of = _whole(chosen)
        more = chance_of_as_many(count, of, before=share * trials, of=trials)
        fewer = chance_of_as_many(of - count, of, before=(1 - share) * trials, of=trials)
        interval = chosen.interval()
        apart = interval[0] > around[1] or interval[1] < around[0]
        yield Share(name, chosen.value, interval, share, around, min(2 * more, 2 * fewer, 1.0) if apart else 1.0)


def _expected_answers(shares: np.ndarray, report: Report | None) -> np.ndarray:
    """Return (c,) shares of answers that photos of classes in these shares (c,) get, mistakes included."""
    if report is None:
        return shares
    confusion = np.array(report.confusion, dtype=np.float64)
    known = confusion.sum(axis=1, keepdims=True)
    rates = np.divide(confusion, known, out=np.eye(len(shares)), where=known > 0)
    return np.asarray(shares @ rates)


def _confidence(top: np.ndarray, groups: np.ndarray | None, report: Report | None) -> Confidence | None:
    """Return the mean of probabilities (m,) of answers beside that of the report; None where it has none."""
    bins = () if report is None else report.reliability
    sizes = np.array([one.n for one in bins], dtype=np.float64)
    if sizes.sum() < 2:
        return None
    means = np.array([one.confidence for one in bins])
    expected = float(means @ sizes / sizes.sum())
    error = float(np.sqrt(((means - expected) ** 2 @ sizes / sizes.sum() + _BIN_VARIANCE) / sizes.sum()))
    around = max(expected - quantile() * error, 0.0), min(expected + quantile() * error, 1.0)
    found = mean_interval(top, groups=groups)
    if not math.isfinite(found.low):
        return Confidence(found.value, None, expected, around, 1.0, lower=False)
    own = (found.high - found.value) / quantile()
    distance = (expected - found.value) / math.hypot(own, error)
    chance = math.erfc(distance / math.sqrt(2)) / 2
    lower = chance < _FALSE_ALARMS and found.high < expected
    return Confidence(found.value, (max(found.low, 0.0), min(found.high, 1.0)), expected, around, chance, lower=lower)


def _whole(proportion: Proportion) -> tuple[int, int]:
    """Return how many of how many independent photos a proportion is, both rounded down."""
    trials = max(int(proportion.trials + _ROUNDING), 1)
    return int(proportion.value * trials + _ROUNDING), trials


def _named(shares: Sequence[Share]) -> tuple[Share, ...]:
    """Return the shares of one part, those that differ beyond chance marked (Holm 1979)."""
    order = sorted(range(len(shares)), key=lambda place: shares[place].chance)
    differing: set[int] = set()
    for rank, place in enumerate(order):
        if shares[place].chance > _FALSE_ALARMS / (len(shares) - rank):
            break
        differing.add(place)
    return tuple(Share(**{**vars(one), "differs": place in differing}) for place, one in enumerate(shares))


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _percent(value: float, interval: Interval | None = None) -> str:
    return shown(value, interval, percent=True)
