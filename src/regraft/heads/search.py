"""Logistic regression on standardised features, folded into one linear layer, and the choice of its strength.

`heads.logistic` has the objective. In scikit-learn's terms C = 1 / (n strength), with two classes (where it keeps
one vector of weights for our two opposite ones) 2 / (n strength). The strength is chosen by cross-validated log loss
along a path from strong to weak, each fit starting from its stronger neighbours.

Nested cross-validation needs many heads on overlapping photos, and several choices often need the same one: the head
fitted without folds j and k is evaluated on j in the choice made without k, and on k in the choice made without j.
`select_heads` makes all choices together, and fits each head once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.class_weights import ClassWeights
from regraft.heads.centred_rows import CentredRows, Rows
from regraft.heads.coordinates import CoordinateCache
from regraft.heads.lbfgs import LBFGS
from regraft.heads.linear import EVERY, Columns, LinearHead
from regraft.heads.logistic import Layer, Regressions
from regraft.heads.sharded_rows import ShardedFeatures

STRENGTHS = tuple(float(10.0**exponent) for exponent in np.arange(1.0, -5.01, -0.5))
LEARNED, ABSENT = -1, -2  # instead of a fold: trained on but never held out; left out altogether
_WORSE_BEFORE_STOP = 2  # weaker strengths are not tried once the loss has risen this often in a row
_PATH_TOLERANCE = 1e-4  # nats above the minimum; enough to rank strengths
_FINAL_TOLERANCE = 1e-8
_FINAL_OF_MANY = 1e-7  # probabilities are then right to about 0.001, far below their sampling error
_MANY = 10_000  # photos


@dataclass(frozen=True, eq=False)
class Selection:
    """A strength chosen by cross-validation.

    Attributes:
        strength: the one with the lowest mean log loss: of the penalty, or the shrinkage of `heads.discriminant`.
        losses: mean held-out log loss (nats) by strength tried.
        logits: (n, c) held-out logits at `strength`, each by a head that was not fitted on the photo; zeros where
            there is no fold.
        head: fitted at `strength` on all photos that are not absent.
    """

    strength: float
    losses: dict[float, float]
    logits: np.ndarray
    head: LinearHead


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    strength: float,
    class_weights: ClassWeights | None = None,
) -> LinearHead:
    """Fit the head of one strength.

    Args:
        features: (n, d).
        labels: (n,) integers from 0 to classes - 1.
        classes: c.
        strength: of the L2 penalty, > 0.
        class_weights: of the losses; the logits are those of the shares that the classes have.
    """
    rows = CentredRows(np.asarray(features, dtype=np.float32), labels, np.zeros(len(labels), dtype=np.int64))
    everything = np.ones((1, 1), dtype=bool)
    regression = Regressions(rows, classes, members=everything, class_weights=class_weights)
    # two warm starts cost less than a cold start at a weak penalty
    for stronger in (strength * 100, strength * 10):
        regression.solve({0: stronger}, _PATH_TOLERANCE)
    regression.solve({0: strength}, _final_tolerance(len(labels)))
    return LinearHead(*regression.layer(0), strength)


def select_heads(
    features: np.ndarray | ShardedFeatures,
    labels: np.ndarray,
    classes: int,
    *,
    folds: Sequence[np.ndarray],
    photos: np.ndarray | None = None,
    columns: Columns = EVERY,
    strengths: Sequence[float] = STRENGTHS,
    exact: bool = True,
    class_weights: ClassWeights | None = None,
    cache: CoordinateCache | None = None,
) -> list[Selection]:
    """Choose the strength of the L2 penalty by cross-validated log loss, several times over, and fit at each choice.

    Absent photos take no part in a choice: neither in its losses and strength nor in any weights.

    Args:
        features: (N, width); with float32 no second copy is made of many photos, and those in shards stay there.
        labels: (n,) integers from 0 to classes - 1.
        classes: c.
        photos: (n,) positions of the photos in `features`; None where they are all of them, in their order.
        columns: of `features`, that the heads see.
        folds: of each choice, (n,) folds, or `LEARNED` or `ABSENT`; at least one fold, and every class in each of its
            training sets. No two choices have the same photos absent.
        strengths: tried from strong to weak.
        exact: False for heads that are only compared: each is as near to its minimum as those that rank strengths.
        class_weights: of the losses that are minimised; held-out losses, and logits, are without them.
        cache: what is known of the same photos with other labels, which is kept for the next choices.
    """
    tasks, cells = np.unique(np.stack(folds), axis=1, return_inverse=True)
    cells = cells.ravel()  # NumPy 2.0.0 gave it two dimensions
    rows = rows_of(features, labels, cells, photos, columns)
    cells = cells[rows.order]
    parts: dict[bytes, int] = {}
    searches = [Search(task, parts, cells, rows.labels, classes) for task in tasks]
    members = np.array([np.frombuffer(part, dtype=bool) for part in parts])
    regressions = Regressions(rows, classes, members=members, class_weights=class_weights, cache=cache)
    several = {part for search in searches for part in search.held_out.values()}
    for strength in sorted(strengths, reverse=True):
        active = [search for search in searches if search.is_active]
        # the final training set of one choice lies on the path of another: it follows as far as its own choice goes
        needed = sorted({part for search in active for part in search.parts if part in several})
        regressions.solve(dict.fromkeys(needed, strength), _PATH_TOLERANCE)
        layers = {part: regressions.layer(part) for part in needed}
        for search in active:
            search.evaluate(strength, layers, regressions)
    for search in searches:
        search.start(regressions)
    tolerance = _final_tolerance(len(labels)) if exact else _PATH_TOLERANCE
    regressions.solve({search.whole: search.strength for search in searches}, tolerance)
    return [search.result(regressions, np.argsort(rows.order)) for search in searches]


def rows_of(
    features: "np.ndarray | ShardedFeatures",
    labels: np.ndarray,
    cells: np.ndarray,
    photos: np.ndarray | None,
    columns: Columns,
) -> Rows:
    """Return the rows of photos by cell, wherever they lie. See `CentredRows`."""
    if isinstance(features, ShardedFeatures):
        return features.rows(labels, cells, photos=photos, columns=columns)
    return CentredRows(np.asarray(features, dtype=np.float32), labels, cells, photos=photos, columns=columns)


class Search:
    """One choice of a strength.

    Args:
        task: (cells,) fold of the photos of each cell, or `LEARNED` or `ABSENT`.
        parts: index of each training set, by the bytes of (cells,) booleans; missing ones are added.
        cells: (n,) cell of each photo, ascending.
        labels: (n,).
        classes: c.
    """

    def __init__(
        self, task: np.ndarray, parts: dict[bytes, int], cells: np.ndarray, labels: np.ndarray, classes: int
    ) -> None:
        learned = task != ABSENT
        self.held_out = {
            int(fold): parts.setdefault((learned & (task != fold)).tobytes(), len(parts))
            for fold in np.unique(task[task >= 0])
        }
        self.whole = parts.setdefault(learned.tobytes(), len(parts))
        self.losses: dict[float, float] = {}
        self.task, self._cells, self._labels, self._classes = task, cells, labels, classes
        self._held_out = task[cells] >= 0
        self._snapshot: LBFGS | None = None

    @property
    def parts(self) -> set[int]:
        """The training sets that it needs."""
        return {self.whole, *self.held_out.values()}

    @property
    def is_active(self) -> bool:
        """Tell whether a weaker strength is to be tried."""
        losses = list(self.losses.values())
        return len(losses) <= _WORSE_BEFORE_STOP or min(losses[-_WORSE_BEFORE_STOP:]) <= min(losses)

    @property
    def strength(self) -> float:
        """The best one so far."""
        return min(self.losses, key=lambda strength: self.losses[strength])

    def evaluate(self, strength: float, layers: Mapping[int, Layer], regressions: Regressions) -> None:
        """Evaluate each fold by the layer that was fitted without it."""
        logits = np.zeros((len(self._labels), self._classes), dtype=np.float32)
        for cell in np.flatnonzero(self.task >= 0):
            layer = layers[self.held_out[int(self.task[cell])]]
            logits[regressions.cells[cell]] = regressions.logits(layer, int(cell))
        self.losses[strength] = float(np.mean(cross_entropy(logits[self._held_out], self._labels[self._held_out])))
        if self.strength == strength:
            self._logits = logits
            self._snapshot = regressions.snapshot(self.whole) if self.whole in layers else None
            near = [layers[part] for part in self.held_out.values()]
            self._mean = np.mean([weight for weight, _ in near], axis=0), np.mean([bias for _, bias in near], axis=0)

    def start(self, regressions: Regressions) -> None:
        """Start the final fit near its minimum: from its own path, or from the mean of its folds' layers."""
        if self._snapshot is not None:
            regressions.restore(self.whole, self._snapshot)
        else:
            regressions.start(self.whole, self._mean)

    def result(self, regressions: Regressions, back: np.ndarray) -> Selection:
        """Return the choice, its photos back in their order."""
        head = LinearHead(*regressions.layer(self.whole), self.strength)
        return Selection(self.strength, self.losses, self._logits[back], head)


def _final_tolerance(photos: int) -> float:
    return _FINAL_OF_MANY if photos > _MANY else _FINAL_TOLERANCE


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log loss (n,), nats, of logits (n, c)."""
    below = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(below).sum(axis=1), dtype=np.float64) - below[np.arange(len(labels)), labels])
