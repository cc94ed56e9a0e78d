"""How much the photos of each class count in training: weights by name, or balanced by the number of photos."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from regraft.errors import OptionError, did_you_mean, option

BALANCED = "balanced"
_LEAST, _MOST = 1e-6, 1e6  # beyond which float32 has trouble, and nobody means it
ALLOWED = f"{BALANCED}, or weights by class, each a number from {_LEAST:g} to {_MOST:.0e}, as malignant=5,benign=1"
_PAIR = re.compile(r"\s*(?P<name>.+?)\s*=(?P<weight>[^=,]*)(?:,|$)")  # a name may hold both signs


@dataclass(frozen=True)
class ClassWeights:
    """Weights of the losses of c classes.

    A classifier whose logits z + log(w) minimise the weighted loss has learned as from photos of which class k came w_k
    times as often; the logits z are those of the shares that the classes have (Elkan 2001; Menon et al. 2021,
    "Long-tail learning via logit adjustment"). So what is kept are z: probabilities stay honest, whatever the weights.

    Attributes:
        given: (c,) weights; None for those that make the classes weigh the same.
    """

    given: tuple[float, ...] | None = None

    @classmethod
    def parse(cls, text: str, classes: Sequence[str]) -> Self:
        """Return the weights of `classes` that `text` says; a class that it does not name has 1.

        Raises:
            OptionError: it names no class, or one twice.
        """
        if text.strip() == BALANCED:
            return cls()
        named = pairs(text) or []
        names = [name for name, _ in named]
        for name in names:
            if name not in classes:
                raise OptionError(
                    f"{option('class_weight')} must name classes: {', '.join(classes)}. Got {name!r}."
                    f"{did_you_mean(name, classes)}"
                )
            if names.count(name) > 1:
                raise OptionError(f"{option('class_weight')} must name a class once. Got {name!r} twice in {text!r}.")
        weights = dict(named)
        return cls(tuple(weights.get(name, 1.0) for name in classes))

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Return (c,) weights for training sets with `counts` (c,) photos of each class."""
        if self.given is not None:
            return np.array(self.given)
        return np.asarray(counts.sum() / (len(counts) * np.maximum(counts, 1)))

    def normalised(self, counts: np.ndarray) -> np.ndarray:
        """Return the same, so that their mean over the photos is 1: steps and penalties keep their meaning."""
        weights = self.of(counts)
        return np.asarray(weights * (counts.sum() / (weights @ counts)))


def pairs(text: str) -> list[tuple[str, float]] | None:
    """Return names and weights; None where `text` is something else.

    >>> pairs("malignant=5, benign=1"), pairs("a,b=0.5,c=d=2"), pairs("malignant"), pairs("malignant=0")
    ([('malignant', 5.0), ('benign', 1.0)], [('a,b', 0.5), ('c=d', 2.0)], None, None)
    """
    found, place = [], 0
    while place < len(text):
        pair = _PAIR.match(text, place)
        weight = _number(pair["weight"]) if pair else math.nan
        if pair is None or not _LEAST <= weight <= _MOST:
            return None
        found.append((pair["name"], weight))
        place = pair.end()
    return found or None


def text_of(weights: Mapping[str, object]) -> str | None:
    """Return weights by name, as scikit-learn has them, as the text that says them; None for none.

    Raises:
        OptionError: names with = and commas, which the text would say of other classes.

    >>> text_of({"malignant": 5, "benign": 0.5}), text_of({})
    ('malignant=5,benign=0.5', None)
    """
    text = ",".join(f"{name}={weight}" for name, weight in weights.items())
    said = pairs(text)
    if said is not None and [name for name, _ in said] != list(weights):
        raise OptionError(f"{option('class_weight')} cannot name classes like {next(iter(weights))!r}. Rename them.")
    return text or None


def is_class_weight(value: object) -> bool:
    """Tell whether `value` says weights, whatever the classes are."""
    return isinstance(value, str) and (value.strip() == BALANCED or pairs(value) is not None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
