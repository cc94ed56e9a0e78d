"""Samples of files that do not exist, for the tests of this folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regraft.data.samples import Samples

CLASSES = ("cat", "dog", "owl")


def samples_of(labels: Sequence[int], groups: Sequence[int] | None = None, *, where: str = "pets") -> Samples:
    """Return samples 0.jpg, 1.jpg ... of classes cat (0), dog (1) and owl (2)."""
    return Samples(
        sources=tuple(Path(f"{number}.jpg") for number in range(len(labels))),
        labels=np.array(labels, dtype=np.int64),
        classes=CLASSES,
        groups=None if groups is None else np.array(groups),
        where=where,
    )
