"""What a classifier of two classes trades at every threshold: ROC, precision by recall, and net benefit, with bands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from regraft.evaluation.intervals import bootstrap_weights, wilson
from regraft.evaluation.ranking import Ranking

RESAMPLES = 400  # of a band
_ENDS = np.array([0.0, 0.005, 0.01, 0.02, 0.03])
_RATES = np.round(np.concatenate([_ENDS, np.linspace(0.04, 1.0, 49)]), 3)  # 0.04, 0.06 ... 1
_THRESHOLDS = np.round(np.concatenate([_ENDS[1:], np.linspace(0.04, 0.98, 48), [0.99]]), 3)
_DIGITS = 4
Value = Annotated[float, Meta(ge=-1e6, le=1.0 + 1e-6)]
CurvePoint = tuple[Value, Value, Value, Value]  # x, y, and the 95 % interval of y
_Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of (m,) hits and false alarms, cumulative: (grid,)


@dataclass(frozen=True)
class TradeOffs:
    """Three curves of one class against the other. Bands hold 95 % at each point by itself, not of the whole curve.

    Attributes:
        of: the class's name.
        share: its share of the photos.
        roc: sensitivity by false alarm rate (1 - specificity).
        precision_recall: precision by recall (sensitivity).
        net_benefit: by threshold t, hits less false alarms times t / (1 - t), per photo (Vickers and Elkin 2006,
            "Decision curve analysis"): what acting on the classifier is worth to who finds a hit worth (1 - t) / t
            false alarms. Acting on nobody has 0; on everybody `share - (1 - share) t / (1 - t)`.
    """

    of: str
    share: Annotated[float, Meta(gt=0.0, lt=1.0)]
    roc: tuple[CurvePoint, ...]
    precision_recall: tuple[CurvePoint, ...]
    net_benefit: tuple[CurvePoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        curves = {name: [list(point) for point in getattr(self, name)] for name in CURVES}
        return {"of": self.of, "share": self.share, **curves}

    def benefit_of_all(self, threshold: float) -> float:
        """Return the net benefit of acting on everybody."""
        return self.share - (1 - self.share) * threshold / (1 - threshold)


CURVES = ("roc", "precision_recall", "net_benefit")


def trade_offs(
    is_class: np.ndarray,
    scores: np.ndarray,
    of: str,
    *,
    groups: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    seed: int = 0,
) -> TradeOffs | None:
    """Return the curves of one class, None where it or the other has no photos.

    Bands are percentiles of bootstrap draws (of whole groups), or Wilson's interval of the photos (groups) that a point
    is a share of where that reaches further: a perfect ranking has no scatter to draw from.

    Args:
        is_class: (n,) booleans.
        scores: (n,) probabilities of the class.
        of: the class's name.
        groups: (n,) numbers of photos that are not independent; None: all are.
        folds: (n,) numbers where a classifier for each fold answered: the first two curves rank photos by scores that
            are comparable between folds, as the average precision does. None for one classifier.
        seed: of the draws.
    """
    if not is_class.any() or is_class.all():
        return None
    plain = _Cumulative(is_class, scores)
    ranked = plain if folds is None else _Cumulative(is_class, Ranking(is_class, scores, folds).comparable)
    reached = plain.reached(_THRESHOLDS)

    def curves(weights: np.ndarray) -> tuple[np.ndarray, ...] | None:
        hits, alarms = ranked.counts(weights)
        if not hits[-1] or not alarms[-1]:
            return None
        return _roc(hits, alarms), _precision(hits, alarms), _benefit(*plain.counts(weights), reached)

    figures = curves(np.ones(len(scores)))
    assert figures is not None
    drawn = [curves(w) for w in bootstrap_weights(len(scores), resamples=RESAMPLES, seed=seed, groups=groups)]
    kept = [draw for draw in drawn if draw is not None]
    units = _units(is_class, groups)
    found = []
    for place, (name, grid) in enumerate(zip(CURVES, (_RATES, _RATES, _THRESHOLDS), strict=True)):
        figure = figures[place]
        low, high = np.nanquantile([draw[place] for draw in kept], [0.025, 0.975], axis=0) if kept else (figure, figure)
        if name != "net_benefit":
            trials = np.full(len(grid), float(units))
            if name == "precision_recall":  # of what is answered: hits / precision
                trials = np.maximum(units * grid / np.maximum(figure, 1e-9), 1.0)
            low, high = _reaching_to_wilson(figure, trials, low, high)
        found.append(_points(grid, figure, low, high))
    return TradeOffs(of, float(is_class.mean()), *found)


def _reaching_to_wilson(
    figure: np.ndarray, trials: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds (grid,) of shares that reach as far as Wilson's intervals of so many trials do."""
    formula = np.array([wilson(y * count, count) for y, count in zip(figure, trials, strict=True)]).T
    return np.minimum(low, formula[0]), np.maximum(high, formula[1])


class _Cumulative:
    """Photos in descending order of their scores."""

    def __init__(self, is_class: np.ndarray, scores: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        descending, self._positive = scores[self._order], is_class[self._order]
        self._ends = np.flatnonzero(np.append(np.diff(descending) != 0, True))  # a threshold takes all of equal scores
        self._descending = descending[self._ends]

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (m,) hits and false alarms down to each score, by how often each photo counts, (n,)."""
        own = weights[self._order]
        return np.cumsum(own * self._positive)[self._ends], np.cumsum(own * ~self._positive)[self._ends]

    def reached(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the place of the last score at or above each threshold, -1 where there is none."""
        return np.asarray(np.searchsorted(-self._descending, -thresholds, side="right") - 1)


def _units(chosen: np.ndarray, groups: np.ndarray | None) -> int:
    return int(chosen.sum()) if groups is None else len(np.unique(groups[chosen]))


def _points(grid: np.ndarray, *columns: np.ndarray) -> tuple[CurvePoint, ...]:
    rows = np.round(np.stack([grid, *columns], axis=1), _DIGITS)
    return tuple((x, y, low, high) for x, y, low, high in rows.tolist())


def _roc(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Return (grid,) sensitivities: at each false alarm rate the highest that is reached, straight lines between."""
    rates, found = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
    last = np.append(np.diff(rates) > 0, True)  # of equal rates the highest sensitivity, also at rate 0
    return np.asarray(np.interp(_RATES, rates[last], found[last]))


def _precision(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Return (grid,) precisions: at the highest threshold that reaches each recall, without interpolation."""
    recall = hits / hits[-1]
    place = np.minimum(np.searchsorted(recall, _RATES - 1e-12), len(recall) - 1)
    place[0] = int(np.argmax(hits + alarms > 0)) if not hits[0] + alarms[0] else place[0]
    answered = hits[place] + alarms[place]
    return np.asarray(np.divide(hits[place], answered, out=np.ones(len(place)), where=answered > 0))


def _benefit(hits: np.ndarray, alarms: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Return (grid,) net benefits; `reached` (grid,) is the place of each threshold, -1 where nothing reaches it."""
    total = hits[-1] + alarms[-1]
    odds = _THRESHOLDS / (1 - _THRESHOLDS)
    found = (hits[reached] - odds * alarms[reached]) / total
    return np.where(reached >= 0, found, 0.0)
