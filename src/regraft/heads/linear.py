"""What a head is, the linear one, and a head with its temperature."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

import numpy as np

from regraft import matrices
from regraft.errors import OptionError

Columns = slice | np.ndarray  # of a feature matrix (n, width)
EVERY = slice(None)
_PHOTOS = 8192  # whose features are read together


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return (n, c) probabilities, float64, of (n, c) logits.

    As SciPy's, number by number; SciPy's special functions take longer to import than one photo takes to answer.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True).astype(np.float64))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


class Head(Protocol):
    """A last layer: features (n, d) to logits (n, c). `heads.kinds.HEADS` lists what there is.

    Attributes:
        kind: its name in a file.
        strength: of the L2 penalty that it was fitted with; 0 for none.
    """

    kind: ClassVar[str]

    @property
    def strength(self) -> float: ...  # noqa: D102 (an attribute, above)

    @property
    def classes(self) -> int:
        """Return c."""

    @property
    def features(self) -> int:
        """Return d."""

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) logits of (n, d) features."""

    def state(self) -> dict[str, np.ndarray]:
        """Return what a file keeps: arrays by name."""

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, classes: int, strength: float) -> Self:
        """Return the head of so many `classes` that `state` gave.

        Raises:
            ValueError: it is no such head; the text names the array, what it must be and what it is.
        """


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear layer from features to logits.

    Attributes:
        weight: (c, d) float32.
        bias: (c,) float32.
        strength: of the L2 penalty that it was fitted with.
    """

    kind: ClassVar[str] = "linear"
    weight: np.ndarray
    bias: np.ndarray
    strength: float

    @classmethod
    def zeros(cls, classes: int, features: int) -> Self:
        """Return a head that finds all classes equally probable."""
        return cls(np.zeros((classes, features), dtype=np.float32), np.zeros(classes, dtype=np.float32), 0.0)

    @property
    def classes(self) -> int:
        """Return c."""
        return len(self.bias)

    @property
    def features(self) -> int:
        """Return d."""
        return int(self.weight.shape[1])

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) logits of (n, d) features."""
        return np.asarray(features @ self.weight.T + self.bias)

    def state(self) -> dict[str, np.ndarray]:
        """Return weight and bias."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, classes: int, strength: float) -> Self:
        """Return the head of so many `classes` that `state` gave.

        Raises:
            ValueError: an array is missing, of another type or shape.
        """
        for name in ("weight", "bias"):
            if name not in state:
                raise ValueError(f"head.{name} is missing")
        weight, bias = state["weight"], state["bias"]
        if weight.dtype != np.float32 or bias.dtype != np.float32 or weight.ndim != 2 or bias.ndim != 1:
            got = " and ".join(f"{array.dtype} of shape {array.shape}" for array in (weight, bias))
            raise ValueError(f"the head must be float32 of shapes (c, d) and (c,). Got {got}")
        if not len(weight) == len(bias) == classes:
            raise ValueError(
                f"there are {classes} classes, and the head has {len(weight)} outputs and {len(bias)} biases"
            )
        return cls(weight, bias, strength)


def linear_of(head: Head, purpose: str) -> LinearHead:
    """Return a head whose weight and bias are needed.

    Args:
        head: of any kind.
        purpose: what needs it to be linear, for the message: "fine-tuning".

    Raises:
        OptionError: it is not linear.
    """
    if not isinstance(head, LinearHead):
        raise OptionError(f"{purpose} needs a linear head. Got a classifier with a head of kind {head.kind!r}.")
    return head


@dataclass(frozen=True, eq=False)
class CalibratedHead:
    """A fitted head, the temperature of its logits, and which columns of the features it sees.

    Attributes:
        head: on d features.
        temperature: of its logits.
        columns: d of the columns of wider features (n, width).
        choice: the name of these columns; "" where there was nothing to choose.
    """

    head: Head
    temperature: float
    columns: Columns = field(default_factory=lambda: EVERY)
    choice: str = ""

    def logits(self, features: np.ndarray, photos: np.ndarray | None = None) -> np.ndarray:
        """Return (k, c) logits, not yet divided by the temperature.

        Args:
            features: (n, width); of many that are memory-mapped, few are in memory at a time.
            photos: (k,) positions in them; None for all, k = n.
        """
        count = len(features) if photos is None else len(photos)
        residency = matrices.Residency(features)
        found = []
        for start in range(0, count, _PHOTOS):
            part = slice(start, start + _PHOTOS)
            rows = features[part if photos is None else photos[part]]
            found.append(self.head.logits(rows[:, self.columns]))
            residency.add(rows.nbytes)
        return found[0] if len(found) == 1 else np.concatenate([np.empty((0, self.head.classes), np.float32), *found])

    def probabilities(self, features: np.ndarray, photos: np.ndarray | None = None) -> np.ndarray:
        """Return (k, c) calibrated probabilities. See `logits`."""
        return softmax(self.logits(features, photos).astype(np.float64) / self.temperature)
