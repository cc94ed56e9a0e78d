"""A cluster of two nodes gives what one process gives, also where its workers are killed."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.cluster.test_shards import table_of, tar_of
from tests.fixtures.rays import TwoNodes, started

Photos = Callable[..., Path]
pytestmark = pytest.mark.slow


@pytest.fixture
def data(photos: Photos, tmp_path: Path) -> Path:
    """Return a folder with training photos in Parquet, and test photos in a .tar."""
    (tmp_path / "data").mkdir()
    table_of(photos(red=40, blue=40), tmp_path / "data/train.parquet", rows_of_a_group=20)
    tar_of(photos("test", 500, red=20, blue=20), tmp_path / "test.tar")
    return tmp_path / "data"


@pytest.fixture
def both(two_nodes: TwoNodes, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Return what runs a command without and with the cluster, with caches of their own: both standard outputs."""

    def run(*arguments: object, code: int = 0, out: str = "") -> tuple[str, str]:
        found = []
        for name, more in (("here", ()), ("there", ("--on", f"ray:{two_nodes.address}"))):
            written = ("--out", f"{name}-{out}") if out else ()
            done = two_nodes.run(*arguments, *written, *more, cache=tmp_path / name, folder=tmp_path)
            assert done.returncode == code, done.stderr
            assert ("on Ray, 2 machines with 2 CPUs: 2 workers with 1 CPU each" in done.stderr) is bool(more)
            found.append(done.stdout.replace(f"{name}-{out}", out) if out else done.stdout)
        return found[0], found[1]

    return run


@pytest.fixture
def classifier(two_nodes: TwoNodes, data: Path, tiny_network: str, tmp_path: Path) -> Path:
    """Return a classifier that one process has fitted."""
    arguments = ("fit", data, "--model", tiny_network, "--strategy", "frozen", "--out", "classifier.safetensors")
    done = two_nodes.run(*arguments, cache=tmp_path / "cache", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "classifier.safetensors"


def test_a_fit_is_the_same_file(
    both: Callable[..., tuple[str, str]], data: Path, tiny_network: str, tmp_path: Path
) -> None:
    options = ("--model", tiny_network, "--strategy", "frozen")
    here, there = both("fit", data, *options, out="classifier.safetensors")
    assert there == here
    files = [(tmp_path / f"{name}-classifier.safetensors").read_bytes() for name in ("here", "there")]
    assert files[0] == files[1]


def test_answers_and_figures_are_the_same(
    both: Callable[..., tuple[str, str]], classifier: Path, tmp_path: Path, tiny_network: str
) -> None:
    test = tmp_path / "test.tar"
    for command in (
        ("predict", classifier, test, "--format", "csv"),
        ("evaluate", classifier, test),
        ("audit", test, "--model", tiny_network),
    ):
        here, there = both(*command)
        assert there == here
        assert len(here.splitlines()) > 5


def test_parts_hold_what_one_file_holds(
    two_nodes: TwoNodes, classifier: Path, data: Path, tmp_path: Path, tiny_network: str
) -> None:
    on = ("--on", f"ray:{two_nodes.address}")

    def run(*arguments: object) -> None:
        done = two_nodes.run(*arguments, cache=tmp_path / "cache", folder=tmp_path)
        assert done.returncode == 0, done.stderr

    run("predict", classifier, data, "--out", "one.parquet")
    run("predict", classifier, data, "--out", "parts/", *on)
    assert pq.read_table(tmp_path / "parts").to_pandas().equals(pq.read_table(tmp_path / "one.parquet").to_pandas())
    run("embed", data, "--model", tiny_network, "--out", "one-of-vectors.parquet")
    run("embed", data, "--model", tiny_network, "--out", "vectors/", *on)
    one, parts = (pq.read_table(tmp_path / name).to_pandas() for name in ("one-of-vectors.parquet", "vectors"))
    assert parts["path"].tolist() == one["path"].tolist()
    np.testing.assert_allclose(np.stack(parts["features"]), np.stack(one["features"]), atol=1e-4)
    assert parts["key"].nunique() == len(parts) == 80


@pytest.fixture
def killing(two_nodes: TwoNodes) -> Iterator[list[int]]:
    """Kill a worker now and then while a test runs; yield the ids of those that were killed."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        until = time.monotonic() + 120
        while not over.is_set() and len(killed) < 2 and time.monotonic() < until:
            for worker in two_nodes.workers():
                if worker.pid not in killed and time.time() - worker.create_time() > 4:  # it is in the middle of a part
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(worker.pid)
                    break
            over.wait(0.5)

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    over.set()
    thread.join()


def test_killed_workers_lose_no_photo_and_answer_none_twice(
    two_nodes: TwoNodes, photos: Photos, classifier: Path, tmp_path: Path, killing: list[int]
) -> None:
    """One or two of them die; there are as many photos as it takes to work for a while."""
    folder = tmp_path / "shards"
    folder.mkdir()
    tar = tar_of(photos("many", 9000, red=30, blue=30), folder / "train-000.tar")
    for number in range(1, 40):
        os.link(tar, folder / f"train-{number:03d}.tar")
    on = ("--on", f"ray:{two_nodes.address}")
    done = two_nodes.run("predict", classifier, folder, "--out", "parts/", *on, cache=tmp_path / "a", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert killing
    found = pq.read_table(tmp_path / "parts").to_pandas()
    assert len(found) == found["file"].nunique() == 40 * 60
    assert found["error"].isna().all() or (found["error"] == "").all()
    again = two_nodes.run("predict", classifier, tar, "--format", "csv", cache=tmp_path / "b", folder=tmp_path)
    answers = dict(line.split(",")[:2] for line in again.stdout.splitlines()[1:])
    of_first = found[found["file"].str.startswith(f"{tar}:")]
    assert dict(zip(of_first["file"], of_first["prediction"], strict=True)) == answers


def script_on(nodes: TwoNodes, script: Path, *, cache: Path) -> str:
    """Return what a script that gets the cluster's address prints."""
    line = [nodes.command(cache=cache)[0], str(script), nodes.address]
    done = subprocess.run(line, env=nodes.environment, capture_output=True, text=True, timeout=200, check=True)
    return done.stdout


def test_what_kills_every_worker_ends_the_command_with_its_name(two_nodes: TwoNodes, tmp_path: Path) -> None:
    """A pass whose work ends its process at one part, again and again."""
    script = tmp_path / "deadly.py"
    script.write_text(
        "import os, sys\n"
        "from regraft.errors import ClusterError\n"
        "from regraft.ray_workers import RayWorkers\n"
        "def work(part):\n"
        "    if 'd.jpg' in part:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return len(part)\n"
        "try:\n"
        "    print(sorted(RayWorkers(sys.argv[1]).map(work, [['a.jpg', 'b.jpg'], ['c.jpg', 'd.jpg']])))\n"
        "except ClusterError as error:\n"
        "    print(error)\n"
    )
    said = script_on(two_nodes, script, cache=tmp_path / "cache")
    assert "4 workers of the Ray cluster ended one after the other at the same 2 photos (c.jpg to d.jpg)" in said


def test_a_machine_that_does_not_see_the_photos_is_named(two_nodes: TwoNodes, tmp_path: Path) -> None:
    """Here both nodes are one machine: a file that this process alone sees is one that is not there for others."""
    script = tmp_path / "blind.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from regraft.errors import DataError\n"
        "from regraft.ray_workers import RayWorkers\n"
        "workers = RayWorkers(sys.argv[1])\n"
        "workers.check_see(Path(sys.argv[0]), 'photos')\n"
        "try:\n"
        "    workers.check_see(Path('/nowhere/a.jpg'), 'photos')\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    said = script_on(two_nodes, script, cache=tmp_path / "cache")
    assert "/nowhere/a.jpg (photos) is not seen by 2 machines of the Ray cluster" in said


def test_a_token_is_brought_where_a_cluster_asks_for_it(tmp_path: Path, photos: Photos, tiny_network: str) -> None:
    """The user has the token in a file, and has not said that the cluster asks for one."""
    (tmp_path / "token").write_text("0123456789abcdef" * 4)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    with started(tmp_path, token, count=1) as node:
        del node.environment["RAY_AUTH_MODE"]
        command = ("embed", photos(red=2), "--model", tiny_network, "--out", "vectors/", "--on", f"ray:{node.address}")
        done = node.run(*command, cache=tmp_path / "cache", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(pq.read_table(tmp_path / "vectors")) == 2
        node.environment["RAY_AUTH_MODE"] = "disabled"
        done = node.run(*command, cache=tmp_path / "cache", folder=tmp_path)
        assert done.returncode == 1
        assert "Where the cluster asks for a token: RAY_AUTH_MODE=token." in done.stderr
