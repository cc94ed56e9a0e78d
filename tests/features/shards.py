"""Rows for a feature store, and the files in which it keeps them."""

from pathlib import Path

import numpy as np

from regraft.features.store import FeatureStore

ABOUT = {"architecture": "resnet50", "cut": "pooled"}
DIMENSION = 4


def vectors(first: int, count: int) -> np.ndarray:
    """Return rows of which no two are equal: first, first + 0.25, ... then first + 1 ..."""
    return (first + np.arange(count)[:, None] + np.arange(DIMENSION) / 4).astype(np.float32)


def shards(kept: FeatureStore) -> list[Path]:
    return sorted(kept.folder.glob("*.safetensors"))
