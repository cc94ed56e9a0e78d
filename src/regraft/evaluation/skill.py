"""Does a classifier know more than the class proportions?"""

from dataclasses import dataclass

import numpy as np

from regraft.evaluation.intervals import mean_interval
from regraft.evaluation.metrics import photo_log_loss

_SKILL_FLOOR = 1e-3  # one confident mistake must not outweigh hundreds of correct answers in the sanity check


@dataclass(frozen=True)
class Skill:
    """How much log loss (nats per photo) a classifier gains over the class proportions.

    Attributes:
        gain: mean over the photos.
        low: of its 95 % interval.
        high: of its 95 % interval.
    """

    gain: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Tell whether the interval lies above 0."""
        return self.low > 0


def beats_majority(probabilities: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None) -> Skill:
    """Compare (n, c) probabilities with always predicting the class proportions of `labels` (n,), photo by photo.

    The class proportions are the best that can be said without looking, and their top answer is the largest class. Log
    loss and not accuracy is compared: where 95 % of the photos are of one class, a useful ranking of the others may
    gain no accuracy at all. Probabilities below 1e-3 count as 1e-3.
    """
    proportions = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    constant = photo_log_loss(labels, np.broadcast_to(proportions, probabilities.shape), _SKILL_FLOOR)
    gain = mean_interval(constant - photo_log_loss(labels, probabilities, _SKILL_FLOOR), groups=groups)
    return Skill(gain.value, gain.low, gain.high)
