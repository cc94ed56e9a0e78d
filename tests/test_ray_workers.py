"""What is said of a cluster before Ray is started, and how work is divided among its machines."""

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regraft.engines.compute import Compute
from regraft.errors import ClusterError, DataError, MissingPackageError, OptionError
from regraft.ray_workers import Nodes, RayWorkers, is_cluster, workers_on


@pytest.mark.parametrize(
    ("nodes", "device", "expected"),
    [
        (Nodes((2,), (0,)), "cpu", (1, 2, 0)),  # a worker has all that a small machine has
        (Nodes((64, 64), (0, 0)), "cpu", (16, 8, 0)),  # and of a large one as much as helps
        (Nodes((16, 3), (0, 0)), "cpu", (6, 3, 0)),  # all have the same: 5 and 1
        (Nodes((48, 48), (4, 4)), "cuda", (8, 8, 1)),  # a GPU each, and at most 8 of 12 CPUs
        (Nodes((4, 16), (1, 2)), "cuda", (3, 4, 1)),
        (Nodes((48,), (4,)), "cpu", (6, 8, 0)),  # where the process that was started has no GPU
        (Nodes((2, 2), (4, 0)), "cuda", (4, 1, 1)),  # never none
    ],
)
def test_workers_of_machines(nodes: Nodes, device: str, expected: tuple[int, int, int]) -> None:
    assert nodes.workers(device) == expected


def test_machines_in_words() -> None:
    assert str(Nodes((1,), (0,))) == "1 machine with 1 CPU"
    assert str(Nodes((2, 1000), (1, 0))) == "2 machines with 1,002 CPUs and 1 GPU"


@pytest.mark.parametrize("name", ["", "ray", "ray:10.0.0.1:6379", "ray:auto"])
def test_names_of_clusters(name: str) -> None:
    assert is_cluster(name)
    Compute(on=name).check()
    assert (workers_on(name) is None) == (name == "")
    assert workers_on(name) is workers_on(name)  # one connection


@pytest.mark.parametrize("name", ["dask", "ray:", "rays", 7, None])
def test_what_names_no_cluster(name: object) -> None:
    with pytest.raises(OptionError, match=r"^on must be ray, or ray:ADDRESS, as in ray:10\.0\.0\.1:6379"):
        Compute(on=name).check()  # type: ignore[arg-type]


def test_where_nothing_listens_the_command_ends_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"^on: no Ray cluster answers at {address} \(.*refused.*\)\. Give the"):
            RayWorkers(address).connect()


def test_an_address_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(ClusterError, match=r"answers at ray://10\.0\.0\.1:10001 \(addresses of Ray Client are not"):
        RayWorkers().connect()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"^on='ray' needs the package ray, .* 'regraft\[cluster\]'$"):
        RayWorkers().connect()


class _Anything:
    """Stands for what names a machine that a function is to run on."""

    def __init__(self, node: str, *, soft: bool) -> None:
        self.node = node


def test_machines_that_do_not_work_need_not_see_the_photos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A head without CPUs, a worker, and one that has gone: the worker alone is asked."""
    asked: list[str] = []

    def look(scheduling_strategy: Any) -> Any:
        asked.append(scheduling_strategy.node)
        return SimpleNamespace(remote=lambda path: Path(path).exists())

    nodes = [
        {"NodeID": "head", "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"memory": 1.0}},
        {"NodeID": "worker", "NodeManagerAddress": "10.0.0.2", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}},
        {"NodeID": "gone", "NodeManagerAddress": "10.0.0.3", "Alive": False, "Resources": {"CPU": 8.0}},
    ]
    ray = SimpleNamespace(
        nodes=lambda: nodes,
        remote=lambda **_: lambda _: SimpleNamespace(options=look),
        get=lambda answers, **_: answers,
        exceptions=SimpleNamespace(RayError=ValueError),
    )
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=_Anything)
    for name, module in (("ray", ray), ("ray.util", ray), ("ray.util.scheduling_strategies", strategies)):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.setattr("regraft.ray_workers._join", lambda _: None)
    monkeypatch.setattr("regraft.ray_workers.check_installed", lambda *_: None)
    workers = RayWorkers()
    assert workers.machines() == Nodes((8,), (1,))
    (tmp_path / "here.jpg").touch()
    workers.check_see(tmp_path / "here.jpg", "photos")
    assert asked == ["worker"]
    with pytest.raises(DataError, match=r"is not seen by 1 machine of the Ray cluster \(10\.0\.0\.2\)"):
        workers.check_see(tmp_path / "gone.jpg", "photos")
