"""`fit` by the workers of a cluster of two machines, which are processes here: the file of torchrun's two processes."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import jobs
from tests.conftest import REPOSITORY
from tests.fixtures.learning import Listener

from regraft.cluster import ray_train
from regraft.cluster.training import ClusterFit, fit_on_workers
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import ClusterError, DataError, OptionError
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

pytestmark = [
    pytest.mark.slow,  # each worker imports torch
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own files and sockets
]

Photos = Callable[..., Path]
SETTINGS = FitSettings(
    strategy="top", force=True, precision="fp32", schedule=Schedule(epochs=2, batch_size=10, optimizer="sgd")
)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "regraft"]
OPTIONS = ["--device", "cpu", "--engine", "torch-float32", "--precision", "fp32", "--optimizer", "sgd", "--epochs", "2"]
MORE = ["--train-batch-size", "10", "--force", "--strategy", "top"]


@pytest.fixture
def data(photos: Photos) -> Path:
    """Return 47 photos, which neither batches nor processes divide evenly."""
    return photos("pets", red=24, blue=23)


def by_torchrun(data: Path, out: Path, network: str) -> bytes:
    more = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(REPOSITORY / "src")}
    command = [*TORCHRUN, "fit", str(data), "--model", network, "--out", str(out), *OPTIONS, *MORE]
    subprocess.run(command, env={**os.environ, **more}, capture_output=True, timeout=300, check=True)
    return out.read_bytes()


def by_ray(data: Path, network: str, load: Any, cluster: str, listener: Listener, **how: Any) -> ClusterFit:
    given = {"workers": 2, "settings": SETTINGS, "splits": find_samples(data), **how}
    compute = Compute(device="cpu", engine="torch-float32", on=cluster)
    return fit_on_workers(load=load, model=network, compute=compute, observer=listener, **given)


def test_workers_give_the_file_of_torchrun(
    data: Path, tmp_path: Path, folder: Path, tiny_network: str, cluster: str
) -> None:
    """Bit for bit; also where a worker died in the third fold, and all went on from the last checkpoint."""
    expected = by_torchrun(data, tmp_path / "torchrun.safetensors", tiny_network)
    listener = Listener()
    found = by_ray(data, tiny_network, functools.partial(jobs.load, tiny_network), cluster, listener, folder=folder)
    assert found.file == expected
    assert folder.exists()
    found.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == expected
    assert not folder.exists()
    assert "2 workers with 1 CPU each train together" in listener.said[0]
    assert found.record.report is not None
    assert (found.record.report.n, len(found.evaluated), found.pages) == (47, 47, None)

    listener, deaths = Listener(), tmp_path / "deaths"
    dying = functools.partial(jobs.load_and_die, tiny_network, 19, str(deaths), 1)
    again = by_ray(data, tiny_network, dying, cluster, listener, folder=folder)
    assert deaths.stat().st_size == 1
    assert "a worker of the Ray cluster has ended; all begin again, attempt 2" in listener.said
    assert any(line.startswith("going on from the checkpoints in ") for line in listener.said)
    assert again.file == expected


def test_workers_that_die_again_and_again_are_given_up(
    data: Path, tmp_path: Path, tiny_network: str, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_train, "RESTARTS", 1)
    deaths = tmp_path / "deaths"
    dying = functools.partial(jobs.load_and_die, tiny_network, 0, str(deaths), 100)
    with pytest.raises(
        ClusterError,
        match=r"^training by workers of the Ray cluster has failed: .*\. They are started again at most 1 times",
    ):
        by_ray(data, tiny_network, dying, cluster, Listener())
    assert deaths.stat().st_size == 2


def test_a_mistake_in_one_worker_ends_all_at_once(data: Path, tiny_network: str, cluster: str) -> None:
    load = functools.partial(jobs.load_and_fail, tiny_network)
    listener = Listener()
    with pytest.raises(DataError, match=r"^the disk of this worker alone is gone$"):
        by_ray(data, tiny_network, load, cluster, listener)
    assert not any("attempt" in line for line in listener.said)
    with pytest.raises(OptionError, match=r"^train_from must name a stage .* Got 'nowhere'"):
        by_ray(
            data,
            tiny_network,
            functools.partial(jobs.load, tiny_network),
            cluster,
            listener,
            settings=replace(SETTINGS, train_from="nowhere"),
        )
    with pytest.raises(LookupError, match="a mistake of the programmer's") as raised:
        by_ray(data, tiny_network, functools.partial(jobs.load_wrongly, "net"), cluster, listener)
    assert "in load_wrongly" in raised.value.__notes__[0]  # where it was raised
