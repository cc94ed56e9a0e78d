"""What the tests of the Python door share: an estimator with a tiny network, and photos of two colours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.api.estimator import TransferClassifier


@pytest.fixture
def make(tiny_network: str) -> Callable[..., TransferClassifier]:
    return lambda **options: TransferClassifier(tiny_network, **options)


@pytest.fixture
def sixteen(photos: Callable[..., Path]) -> list[str]:
    """Return the paths of 8 blue photos, then 8 red ones."""
    folder = photos(red=8, blue=8)
    return [str(folder / colour / f"{number}.jpg") for colour in ("blue", "red") for number in range(8)]
