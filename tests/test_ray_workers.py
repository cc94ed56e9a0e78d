"""What is said of a cluster before Ray is started, and how work is divided among its machines."""

import pickle
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regraft import errors, ray_connection, ray_workers
from regraft.engines.compute import Compute
from regraft.errors import ClusterError, DataError, MissingPackageError, OptionError, option
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


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ClusterError, match=r"^on: no Ray cluster answers at 127\.0\.0\.1:1 \(") as caught:
        RayWorkers("redis://:hush@127.0.0.1:1").connect()
    assert "hush" not in str(caught.value)
    said = str(ray_connection._no_cluster("a:hush@h:1x", ValueError("port number of a:hush@h:1x")))
    assert said.startswith("on: no Ray cluster answers at h:1x (port number of h:1x). ")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"^on='ray' needs the package ray, .* 'regraft\[cluster\]'$"):
        RayWorkers().connect()


@pytest.mark.parametrize("address", ["", "auto", "127.0.0.1:6379", "localhost:6379", "10.1.2.3:6379"])
def test_the_cluster_that_this_process_is_connected_to_is_taken(address: str) -> None:
    ray_connection._check_is(address, "10.1.2.3:6379")


@pytest.mark.parametrize("address", ["10.1.2.3:6380", "10.1.2.4:6379", "127.0.0.1:1"])
def test_another_cluster_than_the_one_that_is_connected_is_an_error(address: str) -> None:
    with pytest.raises(ClusterError, match=r"one Ray cluster, and this one is connected to that at 10\.1\.2\.3:6379"):
        ray_connection._check_is(address, "10.1.2.3:6379")


def _answers(monkeypatch: pytest.MonkeyPatch, rows: Sequence[int]) -> RayWorkers:
    """Return workers whose cluster answers these parts, by a stand-in for Ray Data that does the work here."""
    pytest.importorskip("ray")
    import ray
    import ray.data

    class Rows:
        def __init__(self, given: list[dict[str, Any]]) -> None:
            self.given = given

        def map(self, kind: Any, *, fn_constructor_args: tuple[Any, ...], **_: Any) -> "Rows":
            work = pickle.loads(fn_constructor_args[0])
            self.work = lambda row: {"part": row["part"], "result": pickle.dumps(work(pickle.loads(row["content"])))}
            return self

        def iter_rows(self) -> Iterator[dict[str, Any]]:
            return (self.work(self.given[number]) for number in rows)

    monkeypatch.setattr(RayWorkers, "connect", lambda _: Nodes((1, 1), (0, 0)))
    monkeypatch.setattr(ray, "put", lambda data: data)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda kind: SimpleNamespace(remote=kind))
    monkeypatch.setattr(ray.data, "from_items", lambda given, **_: Rows(given))
    return RayWorkers()


def test_each_part_comes_once_or_the_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [[1, 2], [3], [4, 5]]
    assert list(_answers(monkeypatch, [2, 0, 2, 1]).map(sum, parts)) == [(2, 9), (0, 3), (1, 3)]
    with pytest.raises(ClusterError, match=r"^the Ray cluster has lost 1 of 3 parts of the work\. What was computed"):
        list(_answers(monkeypatch, [2, 0]).map(sum, parts))


@pytest.mark.parametrize(("named", "expected"), [("", "local"), ("10.1.2.3:6379", "10.1.2.3:6379")])
def test_no_cluster_is_joined_that_nobody_named(named: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would join whatever was started on this machine last, by whomever."""
    ray = pytest.importorskip("ray")
    asked: list[str] = []
    monkeypatch.setattr("ray.data.DataContext.get_current", SimpleNamespace)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    monkeypatch.setattr(ray_connection, "_check_listens", lambda _: None)
    monkeypatch.setattr(ray_connection, "_keep_stdout", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray_connection.join(named)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:1")
    ray_connection.join(named)
    assert asked == [expected, named or "10.0.0.9:1"]


def test_the_cluster_of_this_machine_may_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started: list[str | None] = [None]
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda: started[0])
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at auto \(none was started by `ray start`\)"):
        RayWorkers("auto").connect()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        started[0] = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"no Ray cluster answers at {started[0]} \(.*refused"):
            RayWorkers("auto").connect()


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
        is_initialized=lambda: False,
        remote=lambda **_: lambda _: SimpleNamespace(options=look),
        get=lambda answers, **_: answers,
        exceptions=SimpleNamespace(RayError=ValueError),
    )
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=_Anything)
    for name, module in (("ray", ray), ("ray.util", ray), ("ray.util.scheduling_strategies", strategies)):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.setattr("regraft.ray_workers.join", lambda _: None)
    monkeypatch.setattr("regraft.ray_workers.check_installed", lambda *_: None)
    workers = RayWorkers()
    assert workers.machines() == Nodes((8,), (1,))
    (tmp_path / "here.jpg").touch()
    workers.check_see(tmp_path / "here.jpg", "photos")
    assert asked == ["worker"]
    with pytest.raises(DataError, match=r"is not seen by 1 machine of the Ray cluster \(10\.0\.0\.2\)"):
        workers.check_see(tmp_path / "gone.jpg", "photos")


def test_what_ends_this_process_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says what SIGTERM does, by a handler that prints a trace."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: None))
    before = signal.getsignal(signal.SIGTERM)
    ray_connection._init("local")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_names_options_as_the_command_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(errors, "_flags", None)
    monkeypatch.setattr("regraft.ray_workers.limit_cpus", lambda _: None)
    monkeypatch.setattr(ray, "get", lambda number: number)
    monkeypatch.chdir(tmp_path)
    attempts: Any = SimpleNamespace(begin=SimpleNamespace(remote=lambda _: 1))
    row = {"part": 0, "content": pickle.dumps([])}
    said = []
    for flags in (None, {}):
        done = ray_workers._Worker(pickle.dumps(_refuse), attempts, 1, str(tmp_path), flags)(row)
        said.append(str(pickle.loads(done["result"])))
    assert said == ["engine='auto' is refused", "--engine auto is refused"]


def _refuse(_: Sequence[object]) -> None:
    raise OptionError(f"{option('engine', 'auto')} is refused")
