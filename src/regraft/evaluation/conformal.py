"""Conformal prediction sets: for each photo the classes that it may be, the true one among them with a stated coverage.

A class is in the set where its probability reaches a threshold, that of held-out photos (LAC; Sadinle, Lei and
Wasserman 2019, "Least ambiguous set-valued classifiers with bounded error levels").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np

from regraft.errors import DataError, OptionError, option
from regraft.evaluation.goals import percent_down, photos_needed, read_share
from regraft.evaluation.intervals import mean_interval
from regraft.evaluation.order_statistics import least_covering
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.evaluation.report_lines import shown
from regraft.validation import Bounds, Fraction, Number, json_fields

CoverageOf = Literal["classes", "photos"]
COVERAGE_OF: tuple[CoverageOf, ...] = get_args(CoverageOf)
MOST_KEPT = 20_000  # photos
_SEED = 0
_NONE = np.empty(0)


@dataclass(frozen=True)
class Coverage:
    """How often sets are to hold the true class.

    Attributes:
        share: of photos, above 0 and below 1.
        of: "classes": of the photos of each class (Mondrian; Vovk 2012, "Conditional validity of inductive conformal
            predictors"); "photos": of all photos together, of which the rare classes may get much less.
    """

    share: float = 0.95
    of: CoverageOf = "classes"

    @classmethod
    def read(cls, share: str | float, of: str = "classes") -> Self:
        """Return what a user asks for: a share as 0.95 or "95%".

        Raises:
            OptionError: it is none.
        """
        found = read_share(str(share))
        if found is None or not 0 < found < 1:
            raise OptionError(
                f"{option('coverage')} must be a share above 0 and below 1, like 0.95 or 95%. Got {share!r}."
            )
        if of not in COVERAGE_OF:
            raise OptionError(f"{option('coverage_of')} must be one of {', '.join(COVERAGE_OF)}. Got {of!r}.")
        return cls(found, of)

    def needed(self) -> int:
        """Return how many independent held-out photos it takes to be promised."""
        return photos_needed(self.share)

    def __str__(self) -> str:
        """Return the share in percent."""
        return f"{100 * self.share:.10g} %"


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """What the photos that evaluated a classifier say of its probabilities: enough for sets of any coverage.

    Attributes:
        scores: (m,) float32, the probability of the true class, by what was not fitted on the photo.
        labels: (m,) int32, the true classes.
        classes: how many there are.
        groups: (m,) int32 numbers of photos that are not independent; None: all are.
    """

    scores: np.ndarray
    labels: np.ndarray
    classes: int
    groups: np.ndarray | None = None

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Return the scores of held-out probabilities (n, c): of 20,000 random photos at most, each class its share.

        They stand by class and score, and groups are numbered as they come, so that the order says nothing.
        """
        scores = probabilities[np.arange(len(labels)), labels].astype(np.float32)
        kept = _share_of_each(labels, MOST_KEPT)
        kept = kept[np.lexsort((scores[kept], labels[kept]))]
        units = None if groups is None else groups[kept]
        if units is not None:
            _, first, units = np.unique(units, return_index=True, return_inverse=True)
            units = np.argsort(np.argsort(first))[units].astype(np.int32)
            units = None if len(first) == len(kept) else units
        return cls(scores[kept], labels[kept].astype(np.int32), probabilities.shape[1], units)

    def thresholds(self, coverage: Coverage) -> np.ndarray | None:
        """Return (c,) float32 probabilities from which on a class is in the set; None of too few held-out photos.

        It is the largest score that the true class of a new photo from the same source falls short of with probability
        1 - share at most: see `least_covering`. Classes that have too few photos share a threshold, and the promise
        holds of all of them together, as do those of Ding et al. (2023).
        """
        category = self._categories(coverage)
        if category is None:
            return None
        of_photo = category[self.labels]
        order = np.argsort(of_photo, kind="stable")
        numbers, starts = np.unique(of_photo[order], return_index=True)
        by_category = np.empty(self.classes, dtype=np.float32)
        for number, own in zip(numbers, np.split(order, starts[1:]), strict=True):
            units = None if self.groups is None else self.groups[own]
            found = least_covering(self.scores[own], units, 1 - coverage.share)
            assert found is not None  # `_categories` pools classes until it is
            by_category[number] = found[0]
        return np.asarray(by_category[category])

    def sets(self, probabilities: np.ndarray, coverage: Coverage) -> np.ndarray | None:
        """Return (n, c) booleans, which classes each photo may be, of probabilities (n, c); None as `thresholds`.

        No class at all is in the set of a photo that is harder than nearly all that were held out.
        """
        thresholds = self.thresholds(coverage)
        return None if thresholds is None else probabilities.astype(np.float32) >= thresholds

    def pooled(self, coverage: Coverage) -> list[int]:
        """Return the classes that share a threshold, as they have too few photos for one of their own."""
        category = self._categories(coverage)
        if category is None or coverage.of == "photos":
            return []
        sizes = np.bincount(category, minlength=self.classes)
        return np.flatnonzero(sizes[category] > 1).tolist()

    def check(self, coverage: Coverage) -> None:
        """Raise `DataError` where too few photos are held out to promise a coverage."""
        there = self._units()
        if there < coverage.needed():
            what = "photos" if self.groups is None else "groups of photos"
            raise DataError(
                f"{option('coverage')} of {coverage} takes at least {coverage.needed():,} held-out {what} to be "
                f"promised. The classifier was evaluated on {there:,}, which allow for "
                f"{percent_down(there / (there + 1))} at most. Ask for less, or fit it with more."
            )

    def _units(self) -> int:
        return len(self.scores) if self.groups is None else len(np.unique(self.groups))

    def _categories(self, coverage: Coverage) -> np.ndarray | None:
        """Return (c,) numbers, equal for classes that share a threshold; None where all photos are too few for one.

        The classes that have too few photos go together; where all of these are too few, with the smallest others.
        """
        needed = coverage.needed()
        if self._units() < needed:
            return None
        if coverage.of == "photos":
            return np.zeros(self.classes, dtype=np.int64)
        units = np.arange(len(self.labels)) if self.groups is None else self.groups
        pairs = np.unique(self.labels.astype(np.int64) * len(units) + units)
        labels, units = np.divmod(pairs, len(units))
        counts = np.bincount(labels, minlength=self.classes)
        order, count = np.argsort(counts, kind="stable"), int((counts < needed).sum())
        while 0 < count < self.classes and len(np.unique(units[np.isin(labels, order[:count])])) < needed:
            count += 1
        found = np.arange(self.classes)
        found[order[:count]] = found[order[0]]
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name."""
        groups = {} if self.groups is None else {"groups": self.groups}
        return {"scores": self.scores, "labels": self.labels, **groups}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, classes: int) -> Self:
        """Return what `state` gave; arrays that are not known are passed over.

        Raises:
            ValueError: an array is missing, or has other shapes or values than c classes have.
        """
        scores, labels, groups = (state.get(name, _NONE) for name in ("scores", "labels", "groups"))
        if scores.dtype != np.float32 or scores.ndim != 1 or not 1 <= len(scores) <= MOST_KEPT + classes:
            raise ValueError(f"held_out.scores must be float32 of 1 to {MOST_KEPT:,} photos. Got shape {scores.shape}")
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("held_out.scores must be probabilities from 0 to 1")
        whole = {"labels": (labels, classes), **({"groups": (groups, len(scores))} if "groups" in state else {})}
        for name, (array, count) in whole.items():
            if array.dtype != np.int32 or array.shape != scores.shape or array.min() < 0 or array.max() >= count:
                raise ValueError(
                    f"held_out.{name} must be int32 from 0 to {count - 1}, one for each of {len(scores):,} photos"
                )
        return cls(scores, labels, classes, groups if "groups" in state else None)


def _share_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """Return `most` random positions of `labels` (n,), of each class its share, rounded up; all where they are few."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(_SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    own = labels[order]
    turns = np.arange(len(own)) - np.searchsorted(own, own)  # the place of each in its class
    chosen: np.ndarray = order[turns < most / len(labels) * np.bincount(labels)[own]]
    return chosen


def nested_sets(
    probabilities: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    coverage: Coverage,
) -> np.ndarray | None:
    """Return (n, c) booleans, the sets by thresholds of the other folds; None where these have too few photos.

    Args:
        probabilities: (n, c), by what was not fitted on the photo.
        labels: (n,).
        folds: (n,) numbers.
        groups: (n,) numbers of photos that are not independent, whole in a fold; None: all are.
        coverage: of the sets.
    """
    found = np.zeros(probabilities.shape, dtype=bool)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        known = HeldOutScores.of(probabilities[others], labels[others], None if groups is None else groups[others])
        sets = known.sets(probabilities[own], coverage)
        if sets is None:
            return None
        found[own] = sets
    return found


@dataclass(frozen=True)
class ClassCoverage:
    """How often sets held one class where it was the true one; None where it has no photos."""

    held: Fraction | None
    held_interval: Bounds = None


@dataclass(frozen=True)
class ConformalFigures:
    """What sets of a stated coverage come to on photos that did not choose their thresholds.

    Attributes:
        coverage: that was stated.
        of: whose coverage, see `Coverage`.
        held: share of photos whose set holds the true class.
        mean_size: classes in a set, on average.
        empty: share of photos whose set holds no class.
        several: share of photos whose set holds several.
        per_class: by class name.
        held_interval: 95 %; None where too little is known.
        mean_size_interval: likewise.
        empty_interval: likewise.
        several_interval: likewise.
    """

    coverage: Fraction
    of: CoverageOf
    held: Fraction
    mean_size: Number
    empty: Fraction
    several: Fraction
    per_class: dict[str, ClassCoverage]
    held_interval: Bounds = None
    mean_size_interval: Bounds = None
    empty_interval: Bounds = None
    several_interval: Bounds = None

    @classmethod
    def of_sets(
        cls,
        sets: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        coverage: Coverage,
        *,
        groups: np.ndarray | None = None,
    ) -> Self:
        """Return the figures of sets (n, c) of photos with `labels` (n,); `groups` (n,) are not independent."""
        sizes, held = sets.sum(axis=1), sets[np.arange(len(labels)), labels]
        mean = mean_interval(sizes.astype(np.float64), groups=groups)
        per_class = {}
        for label, name in enumerate(classes):
            own = labels == label
            known = proportion_of(held[own], None if groups is None else groups[own])
            per_class[name] = ClassCoverage(float(held[own].mean()) if own.any() else None, interval_of(known))
        return cls(
            coverage=coverage.share,
            of=coverage.of,
            held=float(held.mean()),
            mean_size=mean.value,
            empty=float((sizes == 0).mean()),
            several=float((sizes > 1).mean()),
            per_class=per_class,
            held_interval=interval_of(proportion_of(held, groups)),
            mean_size_interval=(max(mean.low, 0.0), mean.high) if np.isfinite(mean.low) else None,
            empty_interval=interval_of(proportion_of(sizes == 0, groups)),
            several_interval=interval_of(proportion_of(sizes > 1, groups)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        per_class = {name: json_fields(one) for name, one in self.per_class.items()}
        return json_fields(self) | {"per_class": per_class}

    def line(self) -> str:
        """Return the figures for a terminal."""
        held = shown(self.held, self.held_interval, percent=True)
        return (
            f"sets of {Coverage(self.coverage)}: hold the true class in {held}, {self.mean_size:.2f} classes on "
            f"average; {100 * self.empty:.0f} % empty, {100 * self.several:.0f} % several"
        )
