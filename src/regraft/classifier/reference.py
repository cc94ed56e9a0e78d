"""What a classifier's file keeps of its training photos, so that new photos can be compared with them: no pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from regraft.evaluation.proportions import proportion_of
from regraft.features.neighbours import LARGEST_RANK, Projection, nearest_distances, sample
from regraft.heads.linear import Columns
from regraft.images.colours import COLOURS
from regraft.images.headers import Header

DISTANCE_LEVELS = (0.5, 0.9, 0.95, 0.99)
MEASURE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MEASURES = ("megapixels", "aspect_ratio", *COLOURS)
_KEPT = 1_000  # photos whose points are kept
_LEAST_KEPT = 2  # of each class, as far as it has them
_ASKED = 5_000  # photos that the projection and the limits are learned from
_FEWEST = 10  # photos that say something about others
_FOLDS = 5
_PHOTOS_PER_DIRECTION = 8
_SEED = 0
_LARGEST = 1e6  # of a coordinate or a measure
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Quantiles of one figure of the training photos.

    They are values of single photos: of n others from the same source a share of k / (n + 1) is expected beyond the
    k-th from an end, whatever the distribution.

    Attributes:
        values: (q,) in rising order.
        count: n.
        trials: of how many independent photos they tell as much: fewer than `count` where photos come in groups.
    """

    values: np.ndarray
    count: int
    trials: float

    @classmethod
    def of(cls, figures: np.ndarray, levels: Sequence[float], groups: np.ndarray | None) -> "Quantiles":
        """Return the quantiles at `levels` of figures (n,), which are finite; `groups` (n,) are not independent."""
        ordered, count = np.sort(figures.astype(np.float64)), len(figures)
        places = [_rank(level, count) if level < 0.5 else count + 1 - _rank(1 - level, count) for level in levels]
        values = ordered[np.array(places) - 1]
        beyond = figures > values[-2] if levels == DISTANCE_LEVELS else (figures < values[0]) | (figures > values[-1])
        known = proportion_of(beyond, groups)
        return cls(values, count, 1.0 if known is None else known.trials)

    def expected(self, level: float) -> float:
        """Return the share of others from the same source that is expected beyond the quantile at `level`."""
        return _rank(min(level, 1 - level), self.count) / (self.count + 1)

    def state(self) -> np.ndarray:
        """Return (q + 2,) float64: the values, the count, the trials."""
        return np.array([*self.values, self.count, self.trials])

    @classmethod
    def from_state(cls, name: str, state: np.ndarray, levels: Sequence[float]) -> "Quantiles":
        """Return what `state` gave.

        Raises:
            ValueError: it is none; the text calls it `name`.
        """
        if state.shape != (len(levels) + 2,) or not np.isfinite(state).all():
            raise ValueError(f"{name} must be {len(levels) + 2} finite numbers. Got shape {state.shape}")
        *values, count, trials = state.tolist()
        if values != sorted(values) or not _FEWEST <= count <= 1e12 or not 0 < trials <= count + 1:
            raise ValueError(f"{name} must be values in rising order, and at least {_FEWEST} photos. Got {state}")
        return cls(np.array(values), int(count), trials)


def _rank(share: float, count: int) -> int:
    """Return which value from an end has `share` of as many others beyond it; the outermost where none has so few."""
    return max(math.floor(share * (count + 1) + 1e-9), 1)


@dataclass(frozen=True, eq=False)
class TrainingReference:
    """What new photos are compared with.

    Attributes:
        projection: of the features that the head sees.
        points: (m, k) float32, as float16 holds them: 1,000 projected training photos at most, of each class its share.
        labels: (m,) int32, their classes.
        counts: (c,) int64: training photos of each class.
        distances: mean distances of training photos to the 5 nearest of the others, at `DISTANCE_LEVELS`. Each was
            compared with points and a projection that were learned without it and its group, as a new photo is.
        measures: sizes and colours of the training photos at `MEASURE_LEVELS`, by name, those that are known.
    """

    projection: Projection
    points: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    distances: Quantiles
    measures: dict[str, Quantiles] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int,
        columns: Columns = _ALL,
        groups: np.ndarray | None = None,
        headers: Sequence[Header | None] = (),
        colours: np.ndarray | None = None,
    ) -> "TrainingReference | None":
        """Return the reference of n training photos; None where fewer than 10 can be compared with others.

        The same photos give the same reference.

        Args:
            features: (n, width), finite.
            labels: (n,) positions in c classes.
            classes: c.
            columns: of the features that the head sees.
            groups: (n,) numbers of what belongs together, near-duplicates too; None: all photos are independent.
            headers: (n,) of the photos; () where nobody has asked.
            colours: (n, 5) mean colours; None where nobody has asked.
        """
        if len(features) < _FEWEST:
            return None
        generator = np.random.default_rng(_SEED)
        asked = sample(len(features), _ASKED, generator)
        folds = _folds(len(features), groups, generator)
        fewest = len(asked) - int(np.bincount(folds[asked]).max())  # without a fold
        rank = min(LARGEST_RANK, max(fewest // _PHOTOS_PER_DIRECTION, 1) + 1)
        kept = _share_of_each(labels, np.arange(len(labels)), generator)
        projection = Projection.of(features[asked][:, columns], rank=rank, seed=_SEED)
        found = np.full(len(features), np.nan)
        for fold in np.unique(folds):
            others, own = asked[folds[asked] != fold], asked[folds[asked] == fold]
            if not (len(others) and len(own)):  # one group holds nearly all photos
                continue
            near = _share_of_each(labels, np.flatnonzero(folds != fold), generator)
            learned = Projection.of(features[others][:, columns], rank=rank, seed=_SEED)
            points = [learned.project(features[rows][:, columns]) for rows in (own, near)]
            found[own] = nearest_distances(*points, projected=True)
        known = np.flatnonzero(np.isfinite(found))
        if len(known) < _FEWEST:
            return None
        return cls(
            projection=projection,
            points=projection.project(features[kept][:, columns]).astype(np.float16).astype(np.float32),
            labels=labels[kept].astype(np.int32),
            counts=np.bincount(labels, minlength=classes).astype(np.int64),
            distances=Quantiles.of(found[known], DISTANCE_LEVELS, None if groups is None else groups[known]),
            measures=_quantiles_of(measures_of(len(features), headers, colours), groups),
        )

    @property
    def width(self) -> int:
        """Return the number of features that the head sees."""
        return len(self.projection.mean)

    def distances_of(self, features: np.ndarray) -> np.ndarray:
        """Return (m,) distances of photos from the training photos; NaN for features (m, width) that are not finite."""
        return nearest_distances(self.projection.project(features), self.points, projected=True)

    def limit(self, level: float) -> float:
        """Return the distance below which `level`, one of `DISTANCE_LEVELS`, of the training photos lie."""
        return float(self.distances.values[DISTANCE_LEVELS.index(level)])

    def state(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name, the large ones in float16."""
        return {
            "mean": self.projection.mean,
            "directions": self.projection.directions.astype(np.float16),
            "points": self.points.astype(np.float16),
            "labels": self.labels,
            "counts": self.counts,
            "distances": self.distances.state(),
            **{name: quantiles.state() for name, quantiles in self.measures.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, classes: int, width: int) -> "TrainingReference":
        """Return what `state` gave.

        Args:
            state: arrays by name; those that are not known are passed over.
            classes: c.
            width: of the features that the head sees.

        Raises:
            ValueError: an array is missing, or has other shapes or values than these classes and features have.
        """
        rank = state["directions"].shape[0] + 1 if state.get("directions", _NONE).ndim == 2 else 0
        count = len(state["labels"]) if state.get("labels", _NONE).ndim == 1 else 0
        if not (2 <= rank <= LARGEST_RANK and 1 <= count <= _KEPT):
            raise ValueError(f"reference must have 1 to {LARGEST_RANK - 1} directions and 1 to {_KEPT:,} points")
        wanted = {"mean": (width,), "directions": (rank - 1, width), "points": (count, rank), "counts": (classes,)}
        for name, shape in wanted.items():
            found = state.get(name, _NONE)
            if found.shape != shape or not (np.abs(found.astype(np.float64)) <= _largest(name)).all():
                raise ValueError(f"reference.{name} must be finite numbers of shape {shape}. Got shape {found.shape}")
        labels, counts = state["labels"], state["counts"]
        for name, array, most in (("labels", labels, classes - 1), ("counts", counts, None)):
            if array.dtype.kind != "i" or array.min() < 0 or (most is not None and array.max() > most):
                raise ValueError(f"reference.{name} must be integers from 0 on{'' if most is None else f' to {most}'}")
        if not counts.any():
            raise ValueError("reference.counts must be of at least one photo. Got zeros alone")
        mean, directions, points = (state[name].astype(np.float32) for name in ("mean", "directions", "points"))
        levels = {"distances": DISTANCE_LEVELS} | {name: MEASURE_LEVELS for name in MEASURES if name in state}
        quantiles = {
            name: Quantiles.from_state(f"reference.{name}", state.get(name, _NONE), of) for name, of in levels.items()
        }
        distances = quantiles.pop("distances")
        return cls(Projection(mean, directions), points, labels, counts, distances, quantiles)


_NONE = np.empty(0)


def _largest(name: str) -> float:
    return 1e12 if name == "counts" else _LARGEST


def measures_of(count: int, headers: Sequence[Header | None], colours: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return (n,) figures of photos by name, NaN where one is not known; what is known of none is left out.

    Args:
        count: n.
        headers: (n,) of the photos, or ().
        colours: (n, 5) mean colours, or None.
    """
    sizes = np.full((count, 2), np.nan)
    for row, header in enumerate(headers):
        if header is not None and header.width > 0 and header.height > 0:
            sizes[row] = header.width * header.height / 1e6, header.width / header.height
    means = np.full((count, len(COLOURS)), np.nan) if colours is None else colours
    columns = np.concatenate([sizes, means], axis=1).T
    return {
        name: column
        for name, column in zip(MEASURES, columns.astype(np.float64), strict=True)
        if np.isfinite(column).any()
    }


def _quantiles_of(measures: Mapping[str, np.ndarray], groups: np.ndarray | None) -> dict[str, Quantiles]:
    """Return the quantiles of figures (n,) of which at least 10 photos are known."""
    known = {name: np.flatnonzero(np.isfinite(figures)) for name, figures in measures.items()}
    return {
        name: Quantiles.of(figures[known[name]], MEASURE_LEVELS, None if groups is None else groups[known[name]])
        for name, figures in measures.items()
        if len(known[name]) >= _FEWEST
    }


def _folds(count: int, groups: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """Return (n,) numbers of up to 5 folds with whole groups; where all photos are one group, each stands alone."""
    unit = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    if unit.max() < 1:
        unit = np.arange(count)
    return (generator.permutation(int(unit.max()) + 1) % _FOLDS)[unit]


def _share_of_each(labels: np.ndarray, positions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return up to 1,000 of `positions` at random, in order: of each class its share, 2 at least where it can be."""
    if len(positions) <= _KEPT:
        return positions
    order = generator.permutation(positions)
    order = order[np.argsort(labels[order], kind="stable")]
    own = labels[order]
    starts = np.searchsorted(own, own)  # where the class of each begins
    turns, sizes = np.arange(len(own)) - starts, np.bincount(labels[positions])[own]
    # the first two of each class come first, the others by the share of their class that stands before them
    turn = np.where(turns < _LEAST_KEPT, turns - _LEAST_KEPT, (turns + 0.5) / sizes)
    return np.sort(order[np.argsort(turn, kind="stable")[:_KEPT]])
