"""`fit` in two processes, on gloo: the figures of one, the same file again, one voice, and a killed worker."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow  # each process imports torch

Photos = Callable[..., Path]
WORKER = str(Path(__file__).with_name("worker.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
# Plain gradient descent: Adam's steps depend on the sign of gradients that may be next to nothing
OPTIONS = ["--device", "cpu", "--engine", "torch-float32"]
SHORT = ["--precision", "fp32", "--optimizer", "sgd", "--epochs", "2", "--train-batch-size", "10", "--force"]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "REGRAFT_CACHE": str(tmp_path / "cache of processes"),
        **more,
    }


def fit(
    data: Path, out: Path, *given: str, launch: tuple[str, ...] | list[str] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `regraft fit` by a launcher, or in this process's child alone."""
    start = [*launch, WORKER] if launch else [sys.executable, "-m", "regraft"]
    command = [*start, "fit", str(data), "--out", str(out), *OPTIONS, *given]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment(out.parent, **more), check=False
    )


def fit_until_done(data: Path, out: Path, *given: str, **more: Any) -> list[subprocess.CompletedProcess[str]]:
    """Run `fit`, and at most twice again what `torchrun` has given up: the same command goes on. Return all runs.

    Where others take the cores, gloo now and then refuses connections between processes that have just started.
    """
    runs: list[subprocess.CompletedProcess[str]] = []
    for _ in range(3):
        with suppress(subprocess.TimeoutExpired):
            runs.append(fit(data, out, *given, **more))
            if runs[-1].returncode == 0:
                break
    return runs


def by_hand(data: Path, out: Path, *given: str, **more: str) -> list[tuple[int, str, str]]:
    """Start two processes with nothing but the environment; return exit codes, stdout and stderr, by rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **more}
    running = [
        subprocess.Popen(
            [sys.executable, WORKER, "fit", str(data), "--out", str(out), *OPTIONS, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(out.parent, **common, RANK=str(rank), LOCAL_RANK=str(rank)),
        )
        for rank in range(2)
    ]
    found = [process.communicate(timeout=240) for process in running]
    return [(process.returncode, *said) for process, said in zip(running, found, strict=True)]


@pytest.fixture
def data(photos: Photos) -> Path:
    """Return 47 photos, which neither batches nor processes divide evenly."""
    return photos("pets", red=24, blue=23)


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("more", [["--strategy", "top"], ["--strategy", "whole", "--mixup", "0.4", "--patience", "1"]])
def test_two_processes_give_the_figures_of_one(data: Path, tmp_path: Path, tiny_network: str, more: list[str]) -> None:
    """Cross-validated; of 47 photos none is left out and none is seen twice, or the figures would differ.

    Sums of n float32 in another order differ by at most n roundings, 6e-8: see docs/fine-tuning.md.
    """
    common = [*SHORT, *more, "--model", tiny_network, "--json"]
    one = figures(fit(data, tmp_path / "one.safetensors", *common))
    done = fit(data, tmp_path / "two.safetensors", *common, launch=TORCHRUN)
    two = figures(done)
    assert done.stderr.count("wrote ") == 1  # by one process, whose lines are the only ones
    assert done.stderr.count("train: 47 photos") == 1
    assert (one["n"], one["accuracy"], one["confusion"]) == (two["n"], two["accuracy"], two["confusion"])
    for name in ("log_loss", "brier", "auc"):
        assert one[name] == pytest.approx(two[name], abs=1e-4), name
    weights = [load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        if not tensor.size:
            continue
        assert np.abs(tensor.astype(np.float64) - weights[1][name]).max() <= 1e-4 * max(np.abs(tensor).max(), 1.0), name


def test_the_same_seed_gives_the_same_file(data: Path, tmp_path: Path, tiny_network: str) -> None:
    files = []
    for name in ("first", "second"):
        out = tmp_path / name / "classifier.safetensors"
        out.parent.mkdir()
        done = fit(data, out, *SHORT, "--strategy", "top", "--model", tiny_network, launch=TORCHRUN)
        assert done.returncode == 0, done.stderr[-3000:]
        files.append(out.read_bytes())
    assert files[0] == files[1]


def test_a_killed_worker_is_started_again(data: Path, tmp_path: Path, tiny_network: str) -> None:
    """In the third fold: two answers and a checkpoint are there. The file is that of a run without trouble."""
    files = []
    for name, more in (("whole", {"WORKER_KILLED": "100000"}), ("killed", {"WORKER_KILLED": "19"})):
        out = tmp_path / name / "classifier.safetensors"
        out.parent.mkdir()
        launch = [*TORCHRUN, "--max-restarts", "3"]
        runs = fit_until_done(data, out, *SHORT, "--strategy", "whole", "--model", tiny_network, launch=launch, **more)
        assert runs[-1].returncode == 0, runs[-1].stderr[-3000:]
        said = [run.stderr.count("going on from the checkpoints") for run in runs]
        assert sum(said) >= 1 if name == "killed" else len(runs) > 1 or said == [0]
        files.append(out.read_bytes())
        assert not out.with_name("classifier.safetensors.unfinished").exists()
    assert files[0] == files[1]


def test_a_dead_process_ends_the_other_one(data: Path, tmp_path: Path, tiny_network: str) -> None:
    out = tmp_path / "m.safetensors"
    given = [*SHORT, "--strategy", "top", "--model", tiny_network]
    started = time.monotonic()
    first, second = by_hand(data, out, *given, WORKER_KILLED="3")
    assert time.monotonic() - started < 120
    assert second[0] == -9
    assert first[0] == 1
    assert first[2].count("error: process 0 of 2") == 1
    assert "Traceback" not in first[2]
    assert not out.exists()
    again = by_hand(data, out, *given)
    assert [code for code, _, _ in again] == [0, 0]
    assert "going on from the checkpoints" in again[0][2]


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (["--strategy", "auto"], {}, "error: --strategy auto runs in one process"),
        (["--strategy", "top", "--train-from", "nowhere"], {}, "nowhere"),
        (["--strategy", "top", "--out", "no/such/folder/m.safetensors"], {}, "error: --out no/such/folder"),
        (["--strategy", "top"], {"WORKER_BREAKS": "1"}, "error: the disk of this process alone is gone"),
        (["--strategy", "top", "--nonsense"], {}, "No such option: --nonsense"),
    ],
)
def test_a_mistake_is_told_once_and_ends_all(
    data: Path, tmp_path: Path, tiny_network: str, *, given: list[str], more: dict[str, str], message: str
) -> None:
    started = time.monotonic()
    ended = by_hand(data, tmp_path / "m.safetensors", "--model", tiny_network, *given, **more)
    assert time.monotonic() - started < 90
    assert all(code in (1, 2) for code, _, _ in ended), ended
    assert sum(said.count(message) for _, _, said in ended) == 1, ended
    assert sum(said.count("rror: ") for _, _, said in ended) == 1, ended
    assert not any("Traceback" in said for _, _, said in ended)
    assert not any(out for _, out, _ in ended)


def test_each_process_opens_its_share(photos: Photos, tmp_path: Path, tiny_network: str) -> None:
    """Each photo is opened three times: looked at, compared with others, and run through the network."""
    data = photos("many", red=64, blue=64)
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
        given = ["--strategy", "frozen", "--model", tiny_network, "--no-cache", "--near-duplicates", "ignore"]
        done = fit(data, folder / "m.safetensors", *given, launch=launch, WORKER_OPENED=str(folder))
        assert done.returncode == 0, done.stderr[-3000:]
        opened = [len(json.loads((folder / f"{rank}.json").read_text())) for rank in range(count)]
        assert opened == [3 * 128 // count] * count
