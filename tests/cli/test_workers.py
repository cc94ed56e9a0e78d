"""`fit --workers`: what it does not go with is said before a cluster is asked for anything."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from regraft.cluster import pretraining, training
from regraft.cluster.pretraining import ClusterPretraining
from regraft.cluster.training import ClusterFit
from regraft.engines.compute import Compute
from regraft.pretraining.model_card import WRITTEN
from regraft.progress import Observer

Photos = Callable[..., Path]
Run = Callable[..., Result]
WORKERS = ("--on", "ray:127.0.0.1:9", "--workers", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--workers", 2, "--strategy", "top"], "error: --workers 2 goes with --on: workers are of a Ray cluster. Add"),
        ([*WORKERS, "--model", "pocket"], "error: --strategy auto tries what it can within a time, of which each"),
        ([*WORKERS, "--model", "auto", "--strategy", "frozen"], "error: --workers trains one network together"),
    ],
)
def test_what_workers_do_not_go_with(
    photos: Photos, fails: Callable[..., str], given: list[object], message: str
) -> None:
    said = fails("fit", photos("pets", red=6, blue=6), *given)
    assert message in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_classifier_of_workers_is_written_here(
    photos: Photos, run: Run, tiny_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker does is done by this process, and comes back as it would from another."""
    asked: list[Any] = []

    def here(work: Any, *, workers: int, compute: Compute, observer: Observer, folder: Path) -> ClusterFit:
        asked.append((workers, compute.on, folder))
        found = pickle.loads(pickle.dumps(work))(Compute(device="cpu", engine="torch-float32"), observer, folder)
        return pickle.loads(pickle.dumps(found))  # type: ignore[no-any-return]

    monkeypatch.setattr(training, "train_together", here)
    data, engine = photos("pets", red=12, blue=12), ("--device", "cpu", "--engine", "torch-float32")
    common = ("fit", data, "--model", tiny_network, "--strategy", "frozen", *engine)
    alone = run(*common, "--out", "alone.safetensors", "--predictions", "alone.csv")
    more = ("--report", "pages", "--restart")
    found = run(*common, "--out", "there.safetensors", "--predictions", "there.csv", *WORKERS, *more)
    assert (alone.exit_code, found.exit_code) == (0, 0), found.stderr
    assert asked == [(2, "ray:127.0.0.1:9", Path("there.safetensors.unfinished"))]
    assert (tmp_path / "there.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "alone.csv").read_text()
    assert found.stdout == alone.stdout
    assert (tmp_path / "pages" / "report.html").stat().st_size > 10_000
    assert not (tmp_path / "there.safetensors.unfinished").exists()


def test_pretraining_on_a_cluster_needs_workers(photos: Photos, fails: Callable[..., str]) -> None:
    data = photos("source", red=6, blue=6)
    said = fails("pretrain", data, "--arch", "test_efficientnet", "--on", "ray")
    assert "error: --on goes with --workers, which train together. Add --workers N" in said


@pytest.mark.slow
def test_the_network_of_workers_is_written_here(
    photos: Photos, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(work: Any, *, workers: int, compute: Compute, observer: Observer, folder: Path) -> ClusterPretraining:
        assert (workers, compute.on) == (2, "ray:127.0.0.1:9")
        found = cloudpickle.loads(cloudpickle.dumps(work))(Compute(device="cpu"), observer, folder)
        return pickle.loads(pickle.dumps(found))  # type: ignore[no-any-return]

    cloudpickle = pytest.importorskip("ray.cloudpickle")
    monkeypatch.setattr(pretraining, "train_together", here)
    data = photos("source", red=20, blue=20)
    common = ("pretrain", data, "--arch", "test_efficientnet", "--input-size", 32, "--epochs", 1, "--device", "cpu")
    (tmp_path / "there").mkdir()
    assert run(*common, "--out", "net").exit_code == 0
    found = run(*common, "--out", "there/net", *WORKERS, "--json")
    assert found.exit_code == 0, found.stderr
    for name in WRITTEN:
        one, two = (tmp_path / folder / name for folder in ("net", "there/net"))
        if name not in ("training.json", "README.md"):  # they have seconds
            assert one.read_bytes() == two.read_bytes(), name
        assert two.exists()
    assert not (tmp_path / "there" / "net.unfinished").exists()
