"""What the tests of explanations share: a tiny subject with labelled photos, and its explanation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.evaluation.decisions import Decision
from regraft.explain.explain import explain
from regraft.explain.explanation import Explanation
from regraft.explain.subject import subject_of_fit
from regraft.networks.backbones import load_backbone
from regraft.training.schedule import Schedule
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings


@pytest.fixture
def explained(
    tiny_network: str, photos: Callable[..., Path], few_draws: None, few_strengths: None
) -> Callable[..., Explanation]:
    """Return a function that trains on few photos and explains the result: explained(strategy="top", units=2)."""

    def make(
        *,
        strategy: str = "frozen",
        folder: Path | None = None,
        decision: Decision | None = None,
        **options: object,
    ) -> Explanation:
        splits = find_samples(folder or photos("pets", red=8, blue=8))
        settings = FitSettings(strategy=strategy, force=True, schedule=Schedule(epochs=1, views=1))
        result = fit(
            splits, lambda: load_backbone(tiny_network), model=tiny_network, settings=settings, compute=Compute()
        )
        result.classifier.decision = decision
        return explain(subject_of_fit(result), device=torch.device("cpu"), **options)  # type: ignore[arg-type]

    return make
