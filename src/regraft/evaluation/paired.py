"""Two classifiers evaluated on the same photos: the differences of their figures, with intervals."""

from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import RESAMPLES, Interval, bootstrap
from regraft.evaluation.metrics import METRICS, Predictions, prepare


@dataclass(frozen=True)
class Difference:
    """How much `a` exceeds `b` in one figure.

    Attributes:
        metric: one of `METRICS`.
        value: a's figure minus b's.
        interval: 95 %, from draws of photos (or groups) that are the same for both; None where too few define it.
    """

    metric: str
    value: float
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """Return "better" or "worse" (a than b) where the interval lies on one side of 0, else "not proven"."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not proven"
        return "better" if (self.interval[0] > 0) != METRICS[self.metric].lower_is_better else "worse"


def paired_differences(
    a: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    *,
    positive: int | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """Return the differences of the figures of (n, c) probabilities `a` and `b` for the same photos.

    Every draw of the bootstrap is the same for both, so that what makes a photo hard for both cancels out. Distances,
    such as the calibration error, are left out: noise adds to each of them, by how much depends on the classifier.

    Args:
        a: (n, c) probabilities.
        b: (n, c) probabilities.
        labels: (n,) true classes.
        positive: the class that AUC and average precision are of; None where there are more than two classes.
        groups: (n,) numbers of what is drawn as a whole, or None.
        seed: of the draws.
        resamples: number of draws.
    """
    ours, theirs = prepare(Predictions(labels, a, positive)), prepare(Predictions(labels, b, positive))
    compared = [name for name in ours if METRICS[name].bootstrap != "distance"]

    def differences(weights: np.ndarray | None) -> dict[str, float]:
        return {name: ours[name](weights) - theirs[name](weights) for name in compared}

    values = differences(None)
    intervals = bootstrap(differences, len(labels), resamples=resamples, seed=seed, groups=groups)
    return {name: Difference(name, value, intervals[name]) for name, value in values.items()}
