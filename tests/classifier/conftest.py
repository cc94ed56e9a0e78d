"""What the tests of a finished classifier share: one that was trained on photos of three colours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.data.layouts import find_samples
from regraft.networks.backbones import load_backbone
from regraft.transfer.fit import FitResult, fit


@pytest.fixture
def trained(tiny_network: str, photos: Callable[..., Path], few_draws: None, few_strengths: None) -> FitResult:
    """Return what was trained on known/train and evaluated on known/validation: blue, green, red."""
    folder = photos("known/train", red=6, green=6, blue=6).parent
    photos("known/validation", first_seed=100, red=2, green=2, blue=2)
    return fit(find_samples(folder), lambda: load_backbone(tiny_network), model=tiny_network)
