"""Multinomial logistic regression with an L2 penalty, on many overlapping training sets at once.

A training set is called a part. For features x (d,) of its n photos with classes y, standardised to
z = (x - mean) / deviation, it minimises

    (1 / n) sum_i -log softmax(W z_i + b)[y_i]  +  (strength / 2) ||W||^2

over W (c, d) and b (c,). With weights w of classes the loss of photo i counts
w[y_i] times, n is the sum of these, and it is that of the logits W z_i + b + log w (`data.class_weights` says why).
Two things make this fast (`heads.lbfgs` and `heads.coordinates` have the rest):

- W is written in the principal directions of z, or in some near to these, u (c, r) with r <= d, where the Hessian is
  about diagonal: for class k and a direction of variance v near v mean(p_k (1 - p_k)) (Boehning 1992 has the bound
  v / 2).
- All parts take their steps together: a photo's features are read once, in one product for all parts it is in.

A feature that hardly varies in a part would make a new photo that shows it hundreds of deviations large, and one such
feature would decide. So a deviation counts as at least a low quantile of all d of them, times sqrt(100 / n): the fewer
the photos, the less one feature's deviation is known, and with many the bound goes to zero (in the spirit of moderated
variances, Smyth 2004).

Neither mean nor directions of a part depend on photos outside it. Two classes have opposite rows, because of the
penalty, and share one: q = 1 row instead of c = 2, q = c otherwise.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.class_weights import ClassWeights
from regraft.heads.centred_rows import Rows
from regraft.heads.coordinates import CoordinateCache, Coordinates, PartCoordinates
from regraft.heads.lbfgs import LBFGS, Value
from regraft.heads.softmax_sums import Query, Sums, softmax_sums, weight_basis
from regraft.heads.workers import one_thread_each

Layer = tuple[np.ndarray, np.ndarray]  # (c, d) weights and (c,) biases of raw features; float32


@dataclass(eq=False)
class _Part:
    """One regression.

    Attributes:
        cells: indices of its cells.
        n: how many photos it has.
        at: its coordinates.
        off: (all cells, d) float32: mean of each cell minus that of the part.
        weights: (c,) of its classes, of mean 1 over its photos; None where they are equal.
        shift: (c,) their logarithms, of mean 0: what is added to the logits that are kept.
        minimiser: at [u, b] (q, r + 1).
    """

    cells: np.ndarray
    n: int
    at: Coordinates
    off: np.ndarray
    weights: np.ndarray | None
    shift: np.ndarray
    minimiser: LBFGS

    def raw_weights(self, point: np.ndarray) -> np.ndarray:
        """Return the weights (q, d) of raw features at a point [u, b] (q, r + 1)."""
        return np.asarray(point[:, :-1] @ self.at.directions * self.at.inverse)


class Regressions:
    """Logistic regressions on parts of n photos.

    Attributes:
        cells: the photos of each cell.

    Args:
        rows: the n photos; those of one cell are in the same parts.
        classes: c.
        members: (parts, cells) booleans: which cells each part learns from. Every class must be in every part.
        class_weights: of the losses; those that depend on counts are each part's own.
        cache: coordinates of other fits, which are kept for the next one.
    """

    def __init__(
        self,
        rows: Rows,
        classes: int,
        *,
        members: np.ndarray,
        class_weights: ClassWeights | None = None,
        cache: CoordinateCache | None = None,
    ) -> None:
        self._labels, self._classes = rows.labels, classes
        self._class_weights = class_weights
        self._rows, self._workers, self.cells = rows, rows.workers, rows.cells
        self._basis = weight_basis(classes)  # W = basis.T @ rows
        with one_thread_each():
            self._coordinates = PartCoordinates(rows, marked=cache is not None)
            found = self._coordinates.of(members, rows=len(self._basis), cache=cache)
        self._parts = [self._part(np.flatnonzero(own), at) for own, at in zip(members, found, strict=True)]

    def solve(self, strengths: Mapping[int, float], tolerance: float) -> None:
        """Minimise some parts, each from its present point.

        Args:
            strengths: of the penalty, > 0, by part.
            tolerance: how far above its minimum each may end, in nats, by Newton's estimate.
        """
        minimisers = {
            number: self._parts[number].minimiser.minimise(self._penalty(number, strength), tolerance)
            for number, strength in strengths.items()
        }
        with one_thread_each():
            asked = {number: next(minimiser) for number, minimiser in minimisers.items()}
            while asked:
                values = self.evaluate(asked)
                # the parts advance in parallel; one at its minimum needs no more points
                steps = self._workers.map(lambda item: _send(minimisers[item[0]], item[1]), values.items())
                asked = {number: step for number, step in zip(values, steps, strict=True) if step is not None}

    def layer(self, number: int) -> Layer:
        """Return the weights and biases of a part at its present point."""
        part = self._parts[number]
        rows, offsets = part.raw_weights(self.point(number)), self.point(number)[:, -1]
        weight = self._basis.T @ rows
        bias = self._basis.T @ offsets - weight @ part.at.mean - part.shift
        return weight, (bias - bias.mean()).astype(np.float32)

    def point(self, number: int) -> np.ndarray:
        """Return the present point [u, b] (q, r + 1) of a part."""
        return self._parts[number].minimiser.point

    def start(self, number: int, layer: Layer) -> None:
        """Start a part from given weights and biases."""
        part, (weight, bias) = self._parts[number], layer
        offsets = self._basis @ (bias + part.shift + weight @ part.at.mean).astype(np.float32)
        deviation = np.divide(1, part.at.inverse, out=np.zeros_like(part.at.inverse), where=part.at.inverse > 0)
        along = (self._basis @ weight * deviation) @ part.at.directions.T
        part.minimiser.restart(np.column_stack([along, offsets]))

    def snapshot(self, number: int) -> LBFGS:
        """Return the state of a part, for `restore`."""
        return self._parts[number].minimiser.snapshot()

    def restore(self, number: int, minimiser: LBFGS) -> None:
        """Go back to an earlier state of a part."""
        self._parts[number].minimiser = minimiser

    def logits(self, layer: Layer, cell: int) -> np.ndarray:
        """Return (m, c) logits of a cell's photos."""
        return self._rows.logits(*layer, cell)

    def evaluate(self, points: Mapping[int, np.ndarray]) -> dict[int, Value]:
        """Return the loss without its penalty, by part, each at a point [u, b] (q, r + 1)."""
        rows = len(self._basis)
        loss = dict.fromkeys(points, 0.0)
        gradient: dict[int, np.ndarray] = {}
        offsets = {number: np.zeros((rows, len(self.cells))) for number in points}
        curvature = {number: np.zeros(rows) for number in points}
        for parts, cell, sums in self._sums(points):
            for place, number in enumerate(parts):
                if number in gradient:
                    gradient[number] += sums.gradient[place]
                else:
                    gradient[number] = sums.gradient[place].copy()  # a view would keep the array of all parts alive
                loss[number] += float(sums.loss[place])
                offsets[number][:, cell] += sums.offsets[place]
                curvature[number] += sums.curvature[place]

        def value(number: int) -> Value:
            part, slope = self._parts[number], gradient[number]
            if part.at.rows is None:  # the photos were read without their cells' means
                slope = (slope + offsets[number].astype(np.float32) @ part.off) * part.at.inverse @ part.at.directions.T
            along = np.outer(curvature[number], np.append(part.at.variances, 1.0)) / part.n
            whole = np.column_stack([slope, offsets[number].sum(axis=1)]) / part.n
            return Value(loss[number] / part.n, whole.astype(np.float32), along.astype(np.float32))

        return dict(zip(points, self._workers.map(value, points), strict=True))

    def _sums(self, points: Mapping[int, np.ndarray]) -> Iterator[tuple[Sequence[int], int, Sums]]:
        """Yield parts, a cell, and the sums of its photos; of parts that have rows of their own, as of one cell."""
        shared = [number for number in points if self._parts[number].at.rows is None]
        unfolded = self._workers.map(lambda number: self._parts[number].raw_weights(points[number]), shared)
        weights = dict(zip(shared, unfolded, strict=True))
        asked: list[tuple[list[int], Query]] = []
        for cell in range(len(self.cells)):
            inside = [number for number in shared if cell in self._parts[number].cells]
            if inside:
                stacked = np.concatenate([weights[number] for number in inside])
                offsets = [points[number][:, -1] + weights[number] @ self._parts[number].off[cell] for number in inside]
                offset = np.concatenate(offsets)[:, None]
                asked.append((inside, Query(cell, stacked, offset, self._weights_of(inside), len(inside))))
        found = self._rows.sums([query for _, query in asked], self._classes)
        yield from (
            (parts, query.cell, sums) for (parts, query), sums in zip(asked, found, strict=True) if sums is not None
        )
        alone = [number for number in points if number not in weights]
        yield from (
            ([number], 0, sums)
            for number, sums in zip(
                alone, self._workers.map(lambda number: self._own_sums(number, points[number]), alone), strict=True
            )
        )

    def _own_sums(self, number: int, point: np.ndarray) -> Sums:
        """Return the sums of all photos of a part that has rows of its own."""
        part = self._parts[number]
        assert part.at.rows is not None
        labels = np.concatenate([self._labels[self.cells[cell]] for cell in part.cells])
        query = Query(0, point[:, :-1], point[:, -1:], self._weights_of([number]), 1)
        return softmax_sums(part.at.rows, labels, self._classes, query)

    def _weights_of(self, parts: Sequence[int]) -> np.ndarray | None:
        """Return the class weights (p, c) of some parts."""
        weights = [self._parts[number].weights for number in parts]
        return None if self._class_weights is None else np.stack([one for one in weights if one is not None])

    def _part(self, cells: np.ndarray, at: Coordinates) -> _Part:
        labels = np.concatenate([self._labels[self.cells[cell]] for cell in cells])
        counts = np.bincount(labels, minlength=self._classes)
        weights, shift = None, np.zeros(self._classes)
        if self._class_weights is not None:
            weights = self._class_weights.normalised(counts)
            shift = np.log(weights) - np.log(weights).mean()
        frequencies = np.log(np.maximum(counts, 0.5)) + shift
        start = np.zeros((len(self._basis), len(at.variances) + 1), dtype=np.float32)
        start[:, -1] = self._basis @ (frequencies - frequencies.mean())
        return _Part(
            cells=cells,
            n=len(labels),
            at=at,
            off=self._coordinates.off(at.mean),
            weights=None if weights is None else weights.astype(np.float32),
            shift=shift,
            minimiser=LBFGS(start),
        )

    def _penalty(self, number: int, strength: float) -> np.ndarray:
        return np.append(np.full(len(self._parts[number].at.variances), strength), 0.0).astype(np.float32)


def _send(minimiser: Generator[np.ndarray, Value, None], value: Value) -> np.ndarray | None:
    """Return the next point that a minimiser needs, None at its end."""
    try:
        return minimiser.send(value)
    except StopIteration:
        return None
