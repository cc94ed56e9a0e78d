"""A classifier: network, head, class names and temperature in one piece, so that no two users can disagree."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from regraft.classifier.record import FitRecord
from regraft.engines.workload import EngineChoice
from regraft.heads.linear import Head
from regraft.networks.backbones import Backbone


@dataclass(eq=False)
class Classifier:
    """What `fit` makes and a bundle holds.

    Attributes:
        backbone: pixels to features, with its preprocessing.
        head: features to logits.
        classes: c names; logit k belongs to classes[k].
        temperature: logits are divided by it before the softmax (Guo et al. 2017).
        model: the network as the user named it.
        strategy: how it was trained.
        record: how it was made, and its figures; None where nothing is known of that.
        seen: content keys of the photos it was trained on ("training") and judged by ("validation"): (n,) uint64.
        label_type: "str", "int", "float" or "bool": what Python users' labels were.
        engine_choice: what ran the network when its photos were learned from; None where it was trained further since,
            or the photos were too few to compare engines.
    """

    backbone: Backbone
    head: Head
    classes: tuple[str, ...]
    temperature: float
    model: str
    strategy: str
    record: FitRecord | None = None
    seen: dict[str, np.ndarray] = field(default_factory=dict)
    label_type: str = "str"
    engine_choice: EngineChoice | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) logits, already divided by the temperature, of (n, d) features."""
        return self.head.logits(features) / self.temperature

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) calibrated probabilities of (n, d) features."""
        return np.asarray(softmax(self.logits(features).astype(np.float64), axis=1))

    def was_seen(self, keys: Sequence[bytes], role: str) -> np.ndarray:
        """Return (n,) booleans: which images, by content key, took part in `role` when this was made."""
        return np.isin(short_keys(keys), self.seen.get(role, np.empty(0, dtype=np.uint64)))


def short_keys(keys: Sequence[bytes]) -> np.ndarray:
    """Return (n,) uint64: the first 8 bytes of each content key. Enough to recognise a photo, not to restore it."""
    joined = b"".join(key[:8] for key in keys)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)
