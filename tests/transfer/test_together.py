"""`fit` by processes that work together, as threads: what one process gives; and what they cannot do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.processes import in_processes

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.networks.backbones import load_backbone
from regraft.processes import ALONE, ProcessGroup
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer import compare as comparing
from regraft.transfer import fit as fitting
from regraft.transfer.fit import FitResult, fit, fit_best
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
SETTINGS = FitSettings(
    strategy="top", force=True, schedule=Schedule(epochs=2, views=2, batch_size=6, optimizer="sgd", mixup=0.4)
)
COMPUTE = Compute(device="cpu", engine="torch-float32")


def trained(data: Path, network: str, folder: Path, group: ProcessGroup = ALONE, **changed: Any) -> FitResult:
    settings, compute = replace(SETTINGS, **changed), replace(COMPUTE, processes=group)
    experiment = prepare_experiment(find_samples(data), lambda: load_backbone(network), settings, compute, Observer())
    return fitting._fit(experiment, "net", folder, 0.0)


def weights(result: FitResult) -> dict[str, np.ndarray]:
    tensors = result.classifier.backbone.module.state_dict()
    return {name: tensor.numpy() for name, tensor in tensors.items()} | {"head": result.classifier.head.weight}


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"strategy": "frozen", "schedule": Schedule(), "tta": "auto"}])
def test_processes_give_what_one_gives(
    photos: Photos, tiny_network: str, tmp_path: Path, changed: dict[str, Any]
) -> None:
    """17 photos, which neither batches nor processes divide; each fold is answered by all together.

    A sum of float32 in another order differs by roundings of 6e-8. A hundred of them, over six trainings of six steps,
    are far below the tolerance; a photo that was left out or came twice would change the loss by a seventeenth.
    """
    data = photos(red=9, blue=8)
    alone = trained(data, tiny_network, tmp_path / "alone", **changed)
    found = in_processes(2, lambda group: trained(data, tiny_network, tmp_path / "both", group, **changed))
    for result in found:
        assert np.allclose(result.probabilities, alone.probabilities, rtol=0, atol=1e-5)
        assert result.classifier.temperature == pytest.approx(alone.classifier.temperature, rel=1e-3)
        for name, tensor in weights(alone).items():
            assert np.allclose(weights(result)[name], tensor, rtol=1e-4, atol=1e-5), name
    for name, tensor in weights(found[0]).items():
        assert np.array_equal(weights(found[1])[name], tensor), name
    assert len({id(result.run) for result in found}) == 2
    assert (tmp_path / "both").exists() == (not changed)  # one folder of checkpoints


def test_batch_norm_needs_two_photos_in_each_process(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    schedule = Schedule(batch_size=3, batch_norm="trained", epochs=2)
    with pytest.raises(OptionError, match=r"batch_size must be 4 or more: two photos for each process. Got 3."):
        in_processes(
            2,
            lambda group: trained(
                photos("p", red=6, blue=6), tiny_network, tmp_path, group, strategy="whole", schedule=schedule
            ),
        )


@pytest.fixture
def _one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.usefixtures("_one_of_two")
def test_what_runs_in_one_process_says_so(photos: Photos, tiny_network: str) -> None:
    samples, load = find_samples(photos(red=6, blue=6)), {"tiny": lambda: load_backbone(tiny_network)}
    with pytest.raises(OptionError, match=r"strategy='auto' runs in one process: .* Got 2 processes. Name a strategy"):
        fit(samples, load["tiny"], model="tiny", settings=FitSettings(strategy="auto"))
    one_device = r"this runs in one process, on one device. Got 2 processes. Start it without torchrun"
    with pytest.raises(OptionError, match=one_device):
        fit_best(samples, load, settings=replace(SETTINGS, schedule=Schedule()))
    with pytest.raises(OptionError, match=one_device):
        comparing.compare(
            samples["train"], load, strategies=["frozen"], sizes=[None], settings=FitSettings(), compute=COMPUTE
        )
