"""Linear discriminant analysis with a shrunk covariance, on many overlapping training sets at once, from sums alone.

A training set is called a part. For features x (d,) of its n photos, standardised to z as `heads.logistic` does, the
photos of class k have the mean mu_k, and those of all classes share a covariance:

    S = (1 / n) sum_i (z_i - mu_k(i)) (z_i - mu_k(i))',    C(s) = (1 - s) S + s (trace S / d) I,

with the shrinkage s from 0 to 1 (Friedman 1989; Ledoit and Wolf 2004), without which C has no inverse where photos are
few, and a bad one where they are not many. The logits of normal distributions with these means and covariance are

    mu_k' C^-1 z - mu_k' C^-1 mu_k / 2 + log(n_k / n).

All of it follows from sums over the photos of a cell, which are in the same parts: of the products of all pairs of
features (d, d), and of the features of each class (c, d). Features are read for these, and once more for the held-out
logits at the s that was best on a sample; there are no steps. Where a part has few photos for its features, the same
layer comes from their products (n, n) (the matrix inversion lemma).

Such logits are too large: weights fit the noise of S, too, the more so the smaller s. They are divided by the
temperature that fits the held-out ones best, and that of each s before these are compared, so that each shrinkage is
judged by how it ranks the classes, and its loss is one of probabilities that can be trusted.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from regraft.evaluation.calibration import fit_temperature
from regraft.heads.centred_rows import Rows
from regraft.heads.coordinates import FEW, PartCoordinates, inverse_deviation
from regraft.heads.linear import EVERY, Columns, LinearHead
from regraft.heads.logistic import Layer
from regraft.heads.search import Search, Selection, cross_entropy, rows_of
from regraft.heads.sharded_rows import ShardedFeatures
from regraft.heads.workers import one_thread_each

_RIDGES = 10.0 ** np.arange(2.0, -3.01, -0.5)  # s / (1 - s), of which C is a multiple of S + ridge (trace S / d) I
SHRINKAGES = tuple(float(ridge / (1 + ridge)) for ridge in _RIDGES)
_LEAST_WITHIN = 1e-3  # of the variance of a feature: photos of a class that are all alike are no proof that others are
_COMPARED = 40_000  # photos on which shrinkages are compared; a fold has its share
_FITTED = 5_000  # of these, by which the temperature of each is found: one number needs no more


@dataclass(frozen=True, eq=False)
class _Part:
    """One training set.

    Attributes:
        cells: indices of its cells.
        n: how many photos it has.
        counts: (c,) of each class.
        mean: (d,) float64.
        inverse: (d,) float64, 1 / deviation of each feature, 0 for a constant one.
        products: (n, n) float64 of its standardised photos, where these are few; None where they are not.
    """

    cells: np.ndarray
    n: int
    counts: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    products: np.ndarray | None

    @property
    def scale(self) -> np.ndarray:
        """Return what sums (c, d) over the photos of each class are multiplied by to be means."""
        return np.asarray(1 / np.maximum(self.counts, 1)[:, None])


class Discriminants:
    """Linear discriminant analyses on parts of n photos.

    Args:
        rows: the n photos; those of one cell are in the same parts.
        classes: c.
        members: (parts, cells) booleans: which cells each part learns from.
    """

    def __init__(self, rows: Rows, classes: int, *, members: np.ndarray) -> None:
        self._rows, self._classes = rows, classes
        self._coordinates = PartCoordinates(rows)
        cells, d = range(len(rows.cells)), rows.shape[1]
        sizes = self._coordinates.sizes(np.arange(len(rows.cells)))
        with one_thread_each():
            self._sums = list(rows.workers.map(lambda cell: rows.class_sums(cell, classes), cells))
            few = members @ sizes < FEW * d
            self._scatters = [] if few.all() else list(rows.workers.map(rows.scatter, cells))
            each = zip(members, few, strict=True)
            self._parts = list(rows.workers.map(lambda one: self._part(np.flatnonzero(one[0]), few=one[1]), each))

    def layers(self, parts: Iterable[int], shrinkage: float) -> dict[int, Layer]:
        """Return weights (c, d) and biases (c,), float32, of raw features, of some parts.

        Args:
            parts: their indices.
            shrinkage: s, above 0 and at most 1.
        """
        parts = list(parts)
        with one_thread_each():
            found = self._rows.workers.map(functools.partial(self._layer, shrinkage=shrinkage), parts)
            return dict(zip(parts, found, strict=True))

    def _part(self, cells: np.ndarray, *, few: bool) -> _Part:
        mean, n = self._coordinates.mean(cells), int(self._coordinates.sizes(cells).sum())
        labels = self._labels(cells)
        counts = np.bincount(labels, minlength=self._classes)
        if not few:
            off, sizes = self._coordinates.off(mean)[cells].astype(np.float64), self._coordinates.sizes(cells)
            squares = np.sum([np.diag(self._scatters[cell]) for cell in cells], axis=0, dtype=np.float64)
            inverse = inverse_deviation(np.sqrt((squares + sizes @ np.square(off)) / n), n)
            return _Part(cells, n, counts, mean, inverse, None)
        photos = self._photos(cells, mean)
        inverse = inverse_deviation(np.sqrt(np.mean(np.square(photos), axis=0)), n)
        photos *= inverse
        return _Part(cells, n, counts, mean, inverse, photos @ photos.T)

    def _layer(self, number: int, shrinkage: float) -> Layer:
        part = self._parts[number]
        means = self._class_means(part)
        weights = self._of_many(part, means, shrinkage) if part.products is None else self._of_few(part, shrinkage)
        bias = np.log(np.maximum(part.counts, 0.5) / part.n) - np.sum(weights * means, axis=1) / 2
        weights = (weights - weights.mean(axis=0)) * part.inverse  # what all classes share changes no probability
        bias -= weights @ part.mean
        return weights.astype(np.float32), (bias - bias.mean()).astype(np.float32)

    def _of_many(self, part: _Part, means: np.ndarray, shrinkage: float) -> np.ndarray:
        """Return C^-1 mu (c, d) by the covariance of features; `means` (c, d) are mu."""
        covariance = self._covariance(part, means)
        level = _level(float(np.trace(covariance)), part)
        covariance *= 1 - shrinkage
        covariance[np.diag_indices_from(covariance)] += shrinkage * level
        return np.asarray(np.linalg.solve(covariance, means.T).T)

    def _of_few(self, part: _Part, shrinkage: float) -> np.ndarray:
        """Return C^-1 mu (c, d) by the products of photos.

        With the photos Z (n, d), averaging A (c, n) over each class and H = I - (the mean of its class), mu = A Z and
        S = Z' H Z / n; so C^-1 mu = (A - (1 - s) / n (H G^-1 H Z Z' A')') Z / a for G = a I + (1 - s) / n H Z Z' H.
        """
        assert part.products is not None
        labels = self._labels(part.cells)
        averaging = (np.arange(self._classes)[:, None] == labels) * part.scale

        def within(rows: np.ndarray) -> np.ndarray:
            return np.asarray(rows - (averaging @ rows)[labels])

        along = part.products @ averaging.T
        around = within(within(part.products).T)
        ridge = shrinkage * _level(float(np.trace(around)) / part.n, part)
        share = (1 - shrinkage) / part.n
        around *= share
        around[np.diag_indices_from(around)] += ridge
        by_photo = (averaging - share * within(np.linalg.solve(around, within(along))).T) / ridge
        return np.asarray(by_photo @ (self._photos(part.cells, part.mean) * part.inverse))

    def _covariance(self, part: _Part, means: np.ndarray) -> np.ndarray:
        """Return S (d, d), float64."""
        d = self._rows.shape[1]
        found = np.zeros((d, d))
        for cell in part.cells:
            found += self._scatters[cell]
        off = self._coordinates.off(part.mean)[part.cells].astype(np.float64)
        found += (off * self._coordinates.sizes(part.cells)[:, None]).T @ off
        found *= part.inverse
        found *= part.inverse[:, None]
        found -= (means * part.counts[:, None]).T @ means
        found /= part.n
        return found

    def _class_means(self, part: _Part) -> np.ndarray:
        """Return the means (c, d), float64, of the standardised photos of each class."""
        off = self._coordinates.off(part.mean)
        sums = np.zeros((self._classes, self._rows.shape[1]))
        for cell in part.cells:
            counts = np.bincount(self._rows.labels[self._rows.cells[cell]], minlength=self._classes)
            sums += self._sums[cell] + counts[:, None] * off[cell].astype(np.float64)
        return np.asarray(sums * part.scale * part.inverse)

    def _photos(self, cells: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the photos (n, d), float64, of some cells, less `mean`."""
        off = self._coordinates.off(mean).astype(np.float64)
        return np.concatenate([self._rows.rows(self._rows.cells[cell]) + off[cell] for cell in cells])

    def _labels(self, cells: np.ndarray) -> np.ndarray:
        return np.concatenate([self._rows.labels[self._rows.cells[cell]] for cell in cells])


def select_discriminants(
    features: np.ndarray | ShardedFeatures,
    labels: np.ndarray,
    classes: int,
    *,
    folds: Sequence[np.ndarray],
    photos: np.ndarray | None = None,
    columns: Columns = EVERY,
    shrinkages: Sequence[float] = SHRINKAGES,
) -> list[Selection]:
    """Choose the shrinkage by cross-validated log loss, several times over, and fit at each choice.

    Weights of classes have no part in it: means are those of each class, and logits those of the shares that the
    classes have.

    Args:
        features: (N, width); as of `heads.search.select_heads`.
        labels: (n,) integers from 0 to classes - 1.
        classes: c.
        photos: (n,) positions of the photos in `features`; None where they are all of them, in their order.
        columns: of `features`, that the layers see.
        folds: of each choice, (n,) folds, or `LEARNED` or `ABSENT`; at least one fold, and every class in each of its
            training sets. No two choices have the same photos absent.
        shrinkages: tried from strong to weak.

    Returns:
        Of each choice the `Selection`, its `strength` the shrinkage. Its head and logits are divided by the
        temperature that fits the held-out logits best.
    """
    tasks, cells = np.unique(np.stack(folds), axis=1, return_inverse=True)
    cells = cells.ravel()  # NumPy 2.0.0 gave it two dimensions
    rows = rows_of(features, labels, cells, photos, columns)
    parts: dict[bytes, int] = {}
    searches = [_Shrinkage(task, parts, cells[rows.order], rows.labels, classes) for task in tasks]
    members = np.array([np.frombuffer(part, dtype=bool) for part in parts])
    discriminants = Discriminants(rows, classes, members=members)
    compared = _sample(rows)
    for shrinkage in sorted(shrinkages, reverse=True):
        active = [search for search in searches if search.is_active]
        layers = discriminants.layers(sorted({part for one in active for part in one.held_out.values()}), shrinkage)
        for search in active:
            search.compare(shrinkage, layers, compared)
    back = np.argsort(rows.order)
    return [search.select(discriminants, rows, back) for search in searches]


class _Compared(NamedTuple):
    """Some photos of a cell, on which shrinkages are compared: rows (m, d), labels (m,), and their centre (d,)."""

    rows: np.ndarray
    labels: np.ndarray
    centre: np.ndarray


def _sample(rows: Rows) -> list[_Compared]:
    """Return photos of each cell, each its share."""
    places = np.linspace(0, rows.shape[0] - 1, min(rows.shape[0], _COMPARED)).astype(np.int64)
    found = []
    for cell, centre in zip(rows.cells, rows.centres, strict=True):
        own = places[(places >= cell.start) & (places < cell.stop)]
        found.append(_Compared(rows.rows_at(own), rows.labels[own], centre))
    return found


class _Shrinkage(Search):
    """The choice of a shrinkage: on some photos, whose held-out logits are then those of all at the best one."""

    temperature = 1.0

    def compare(self, shrinkage: float, layers: Mapping[int, Layer], compared: Sequence[_Compared]) -> None:
        """Evaluate each fold by the layer that was fitted without it, at the temperature that fits best."""
        found = []
        cells = np.flatnonzero(self.task >= 0).tolist()
        for cell in cells:
            weight, bias = layers[self.held_out[int(self.task[cell])]]
            found.append(compared[cell].rows @ weight.T + (bias + weight @ compared[cell].centre))
        logits, labels = np.concatenate(found), np.concatenate([compared[cell].labels for cell in cells])
        temperature = _temperature_of(logits, labels)
        self.losses[shrinkage] = float(np.mean(cross_entropy(logits / temperature, labels)))
        if self.strength == shrinkage:
            self.temperature = temperature

    def select(self, discriminants: Discriminants, rows: Rows, back: np.ndarray) -> Selection:
        """Return the choice, its photos back in their order."""
        layers = discriminants.layers({self.whole, *self.held_out.values()}, self.strength)
        scale = np.float32(1 / self.temperature)
        layers = {part: (weight * scale, bias * scale) for part, (weight, bias) in layers.items()}
        logits = np.zeros((len(back), len(layers[self.whole][1])), dtype=np.float32)
        for cell in np.flatnonzero(self.task >= 0):
            logits[rows.cells[cell]] = rows.logits(*layers[self.held_out[int(self.task[cell])]], int(cell))
        return Selection(self.strength, self.losses, logits[back], LinearHead(*layers[self.whole], self.strength))


def _temperature_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of logits (n, c) that may be a thousand times too large."""
    some = np.linspace(0, len(labels) - 1, min(len(labels), _FITTED)).astype(np.int64)
    given = logits[some].astype(np.float64)
    given -= given.mean(axis=1, keepdims=True)
    scale = float(np.sqrt(np.mean(np.square(given)))) or 1.0
    return scale * fit_temperature(given / scale, labels[some])


def _level(trace: float, part: _Part) -> float:
    """Return the mean variance within classes, of features that vary, from the trace of S."""
    return max(trace / max(int(np.count_nonzero(part.inverse)), 1), _LEAST_WITHIN)
