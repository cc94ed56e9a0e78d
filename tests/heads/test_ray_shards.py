"""Heads over features that workers of a cluster keep: those of one place, whatever dies, and by size alone."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.cluster.test_shards import table_of
from tests.fixtures.learning import Listener
from tests.fixtures.rays import TwoNodes, started
from tests.heads.problems import overlapping
from threadpoolctl import threadpool_limits

from regraft import matrices
from regraft.errors import ClusterError
from regraft.heads import ray_shards, workers
from regraft.heads.centred_rows import CentredRows
from regraft.heads.ray_shards import RayShards, share_features
from regraft.heads.search import Selection, select_heads
from regraft.heads.sharded_rows import FeatureShard, ShardedFeatures
from regraft.ray_workers import Nodes, RayWorkers

REPOSITORY = Path(__file__).parents[2]
FOLDS = np.arange(300) // 3 % 4


class Machines(RayWorkers):
    """Stand for a cluster of so many machines with 2 CPUs, which may vanish."""

    def __init__(self, *counts: int) -> None:
        super().__init__()
        self.counts = list(counts)

    def connect(self) -> Nodes:
        return Nodes((2,), (0,))

    def machines(self) -> Nodes:
        assert self.counts, "nobody had to ask"
        count = self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]
        return Nodes((2,) * count, (0,) * count)


class RayHere:
    """Stands for the package: actors are objects of this process, and die at the calls that a test names.

    Attributes:
        started: with which options actors were started.
        deaths: by method, how many of the next calls end the actor that is asked.
        ended: how many actors are gone.
        room: for how many more actors that reserve processors; others wait.
    """

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.deaths: Counter[str] = Counter()
        self.ended = 0
        self.room = 100
        self.lock = threading.Lock()  # of deaths
        error = type("RayError", (Exception,), {})
        died = type("RayActorError", (error,), {})
        names = ("RayActorError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError")
        self.exceptions = SimpleNamespace(RayError=error, **dict.fromkeys(names, died))

    def remote(self, kind: type) -> Any:
        def start(how: dict[str, Any], *given: Any) -> "Actor":
            self.started.append(how)
            self.room -= how["num_cpus"] > 0
            return Actor(self, kind(*given), waits=how["num_cpus"] > 0 > self.room)

        return SimpleNamespace(
            options=lambda **how: SimpleNamespace(remote=lambda *given: start(how, *given)),
        )

    def put(self, value: Any) -> Any:
        return SimpleNamespace(value=value)

    def wait(self, answers: Sequence[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout <= 10
        there = [answer for answer in answers if not answer.waits]
        return there[:1], there[1:]

    def get(self, answer: "Answer") -> Any:
        if isinstance(answer.value, Exception):
            raise answer.value
        if isinstance(answer.value, np.ndarray):
            answer.value.flags.writeable = False  # as what lies in the object store
        return answer.value

    def kill(self, actor: "Actor") -> None:
        assert not actor.killed
        actor.killed = actor.ended = True
        self.ended += 1


class Answer:
    def __init__(self, value: Any, *, waits: bool = False) -> None:
        self.value, self.waits = value, waits


class Actor:
    killed = ended = False

    def __init__(self, ray: RayHere, kept: Any, *, waits: bool) -> None:
        self._ray, self._kept, self._waits = ray, kept, waits

    def __getattr__(self, method: str) -> Any:
        def remote(*given: Any) -> Answer:
            given = tuple(one.value if isinstance(one, SimpleNamespace) else one for one in given)
            name = given[0] if method == "call" else method
            with self._ray.lock:
                if self._ray.deaths[name] > 0 and not self.ended:
                    self._ray.deaths[name] -= 1
                    self.ended = True
            if self._waits:
                return Answer(None, waits=True)
            if self.ended:
                return Answer(self._ray.exceptions.RayActorError("it died"))
            try:
                return Answer(getattr(self._kept, method)(*given))
            except ArithmeticError as error:
                return Answer(self._ray.exceptions.RayError(f"traceback\n{type(error).__name__}: {error}"))

        return SimpleNamespace(remote=remote)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RayHere:
    found = RayHere()
    monkeypatch.setitem(sys.modules, "ray", found)
    for name in ("limit_cpus", "limit_threads"):  # of another process
        monkeypatch.setattr(ray_shards, name, lambda _: None)
    monkeypatch.setattr(ray_shards, "_BLOCK", 20 * 4 * 7)  # 7 photos
    monkeypatch.setattr(matrices, "IN_MEMORY", 0)  # shards are mapped from files
    return found


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return overlapping(300, 20, 3)


def chosen(features: np.ndarray | ShardedFeatures, labels: np.ndarray) -> Selection:
    (found,) = select_heads(features, labels, 3, folds=[FOLDS], strengths=(1.0, 0.1, 0.01))
    return found


def assert_same(one: Selection, two: Selection, features: np.ndarray) -> None:
    assert one.strength == two.strength
    assert one.losses == pytest.approx(two.losses, abs=1e-5)
    logits = [found.head.logits(features) for found in (one, two)]
    centred = [own - own.mean(axis=1, keepdims=True) for own in logits]
    np.testing.assert_allclose(centred[0], centred[1], atol=2e-3)


# --- where features are fitted ---


@pytest.mark.parametrize(
    ("workers", "limit"),
    [(None, 0), (Machines(), 300 * 20 * 4 + 1), (Machines(1), 300 * 20 * 4)],
    ids=["no cluster", "few features", "one worker"],
)
def test_features_stay_where_sharing_does_not_help(
    workers: RayWorkers | None, limit: int, data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_shards, "SHARED_FROM", limit)
    listener = Listener()
    with share_features(workers, listener, *data) as found:
        assert found is data[0]
    assert listener.heard == []


def test_large_features_are_shared_and_it_is_said(
    ray: RayHere, data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = data
    monkeypatch.setattr(ray_shards, "SHARED_FROM", features.nbytes)
    listener = Listener()
    with share_features(Machines(3), listener, features, labels) as found:
        assert isinstance(found, ShardedFeatures)
        assert found.shape == (300, 20)
        assert listener.said == ["fitting the last layer: 24 kB of features, shared among 3 workers of the Ray cluster"]
        assert_same(chosen(found, labels), chosen(features, labels), features)
        assert ray.ended == 0
    assert ray.ended == 3
    used = {"num_cpus": 2, "max_concurrency": 2, "scheduling_strategy": "SPREAD"}
    assert ray.started == [used] * 3
    assert listener.heard[1] == ("begin", ("sharing features", 300))
    assert sum(count for kind, count in listener.heard if kind == "advance" and isinstance(count, int)) == 300


def test_no_more_shards_than_photos(ray: RayHere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_shards, "SHARED_FROM", 1)
    with share_features(Machines(5), Listener(), np.eye(2, dtype=np.float32), np.arange(2)) as found:
        assert isinstance(found, ShardedFeatures)
        assert found.bounds.tolist() == [0, 1, 2]
    assert not ray.started  # nothing was asked


def test_it_is_said_that_workers_are_waited_for(
    ray: RayHere, data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(answers: Sequence[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        time.sleep(0.15)
        return list(answers[:1]), list(answers[1:])

    monkeypatch.setattr(ray_shards, "STARTING_SECONDS", 0.2)
    monkeypatch.setattr(ray, "wait", wait)
    listener = Listener()
    with RayShards(Machines(2), *(part[:8] for part in data), count=2, observer=listener) as shards:
        shards.call("sum_cells", [(np.zeros(4, int), 1, None, slice(None))] * 2)
    assert listener.said[0].startswith("waiting for workers of the Ray cluster: nothing has been done for 0 seconds")


@pytest.mark.usefixtures("ray")
def test_products_that_are_asked_for_one_by_one_have_all_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of features (1, 0) and (0, 2) with their mean (0.5, 1) off: products 0.5, -1, and 2."""
    threads: list[int] = []
    monkeypatch.setattr(ray_shards, "limit_threads", threads.append)
    keeper = ray_shards._ShardKeeper(2, np.arange(2), 3)
    keeper.put(0, np.array([[1, 0]], np.float32))
    keeper.put(1, np.array([[0, 2]], np.float32))
    cells = np.zeros(2, int)
    sums = keeper.call("sum_cells", (cells, 1, None, slice(None)))
    assert sums.tolist() == [[1, 2]]
    keeper.call("centre", (cells, (sums / 2).astype(np.float32), None, slice(None)))
    assert keeper.call("scatter", (0,)).tolist() == [[0.5, -1], [-1, 2]]
    assert threads == [1, 1, 3]


def test_threads_of_products_are_limited() -> None:
    with threadpool_limits(user_api="blas"):  # as it was, afterwards
        for count in (2, 1):
            workers.limit_threads(count)
            assert {one["num_threads"] for one in workers._blas.info()} == {
                count
            }  # private: others load libraries, too


# --- what dies ---


@pytest.mark.parametrize("method", ["ready", "put", "sum_cells", "centre", "scatter", "sums", "logits"])
def test_a_shard_that_ends_is_made_anew(method: str, ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = data
    ray.deaths[method] = 1
    listener = Listener()
    with RayShards(Machines(2), features, labels, count=2, observer=listener) as shards:
        found = chosen(ShardedFeatures(shards, shards.sizes, 20), labels)
    assert_same(found, chosen(features, labels), features)
    assert len(ray.started) == ray.ended == 3
    told = "1 worker of the Ray cluster ended; the features of 150 photos are sent again"
    assert listener.said == [told]


def test_a_shard_that_ends_each_time_ends_the_fit(ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = data
    ray.deaths["sums"] = 1000
    said = (
        r"^4 workers of the Ray cluster ended one after the other at the features of the same 150 photos, while the "
        r"last layer was fitted: they lacked memory, .* What was computed before is kept; the same command goes on with"
    )
    with RayShards(Machines(2), features, labels, count=2) as shards, pytest.raises(ClusterError, match=said):
        chosen(ShardedFeatures(shards, shards.sizes, 20), labels)
    assert len(ray.started) == ray.ended == 2 * 4


def test_threads_that_meet_a_dead_shard_make_it_anew_once(ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = data
    with RayShards(Machines(2), features, labels, count=2) as shards, ThreadPoolExecutor(4) as threads:
        rows = ShardedFeatures(shards, shards.sizes, 20).rows(labels, FOLDS)
        alone = CentredRows(features, labels, FOLDS)
        for _ in range(10):
            ray.deaths["scatter"] = 1
            for cell, found in enumerate(threads.map(rows.scatter, range(4))):
                np.testing.assert_allclose(found, alone.scatter(cell), rtol=1e-4, atol=1e-2)
    assert len(ray.started) == ray.ended == 2 + 10


def test_where_machines_vanish_others_take_their_shards(ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    """The first fill finds three machines; then there are two, which have no processor to spare."""
    features, labels = data
    ray.deaths["logits"] = 1
    with RayShards(Machines(3, 2), features, labels, count=3) as shards:
        found = chosen(ShardedFeatures(shards, shards.sizes, 20), labels)
    assert_same(found, chosen(features, labels), features)
    assert [how["num_cpus"] for how in ray.started] == [2, 2, 2, 0]


def test_a_machine_that_ray_misses_later_is_not_waited_for(ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    """A new actor finds no room; two looks later there is a machine less, and it is started without reserving any."""
    features, labels = data
    ray.deaths["logits"], ray.room = 1, 3
    with RayShards(Machines(3, 3, 3, 2), features, labels, count=3) as shards:
        found = chosen(ShardedFeatures(shards, shards.sizes, 20), labels)
    assert_same(found, chosen(features, labels), features)
    assert [how["num_cpus"] for how in ray.started] == [2, 2, 2, 2, 0]
    assert ray.ended == 5


def test_what_a_shard_raises_is_told_in_a_sentence(ray: RayHere, data: tuple[np.ndarray, np.ndarray]) -> None:
    said = r"^the Ray cluster has failed: RayError: FloatingPointError: lost digits\. What was computed before is kept;"

    def fail(_: FeatureShard, cell: int) -> None:
        raise FloatingPointError(f"lost {'digits' * cell}")

    with RayShards(Machines(2), *data, count=2) as shards, pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureShard, "scatter", fail)
        with pytest.raises(ClusterError, match=said):
            shards.call("scatter", [(1,)] * 2)
    assert ray.ended == 2


# --- on a cluster ---


@pytest.fixture
def job(two_nodes: TwoNodes) -> Callable[..., dict[str, Any]]:
    """Return what runs a job of `ray_jobs.py`, and returns what it prints."""
    return lambda name: job_on(two_nodes, name)


def job_on(nodes: TwoNodes, name: str) -> dict[str, Any]:
    pids = [str(node.pid) for node in nodes.nodes]
    line = [sys.executable, "-m", "tests.heads.ray_jobs", nodes.address, name, *pids]
    done = subprocess.run(
        line, env=nodes.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_heads_of_a_cluster_are_those_of_one_place(job: Callable[..., dict[str, Any]]) -> None:
    found = job("equal")
    assert found["shards"] == 2
    assert found["strengths"][0] == found["strengths"][1]
    assert found["losses"] < 1e-5
    assert found["logits"] < 2e-3
    assert found["left"] == []  # other work finds the processors free


@pytest.mark.slow
def test_a_killed_shard_changes_nothing(job: Callable[..., dict[str, Any]]) -> None:
    found = job("killed")
    assert found["killed"] == 1
    assert found["losses"] < 1e-5
    assert found["logits"] < 2e-3
    assert any("1 worker of the Ray cluster ended; the features of 3,000 photos" in line for line in found["said"])


@pytest.mark.slow
def test_what_kills_every_shard_ends_in_a_sentence(job: Callable[..., dict[str, Any]]) -> None:
    assert job("deadly")["said"][-1].startswith(
        "4 workers of the Ray cluster ended one after the other at the features of the same 3,000 photos"
    )


@pytest.fixture
def losing(tmp_path: Path) -> Iterator[TwoNodes]:
    """Return two nodes of a test of its own: it ends one of them."""
    with started(tmp_path, {"RAY_AUTH_MODE": "disabled"}, count=2) as nodes:
        yield nodes


@pytest.mark.slow
def test_a_lost_machine_changes_nothing(losing: TwoNodes) -> None:
    found = job_on(losing, "lost")
    assert found["losses"] < 1e-5
    assert found["logits"] < 2e-3
    assert any("1 worker of the Ray cluster ended" in line for line in found["said"])


@pytest.mark.slow
def test_a_fit_by_the_command_line_is_that_of_one_process(
    two_nodes: TwoNodes, photos: Callable[..., Path], tiny_network: str, tmp_path: Path
) -> None:
    data = tmp_path / "train.parquet"
    table_of(photos(red=40, blue=40), data, rows_of_a_group=20)
    options = ["fit", data, "--model", tiny_network, "--strategy", "frozen"]
    found = {}
    for name, on in (("here", ()), ("there", ("--on", f"ray:{two_nodes.address}"))):
        written = ["--out", f"{name}.safetensors", "--predictions", f"{name}.csv"]
        arguments = [str(one) for one in (*options, *written, *on)]
        two_nodes.environment["REGRAFT_CACHE"] = str(tmp_path / name)
        script = "import sys; from regraft.heads import ray_shards; ray_shards.SHARED_FROM = 1; "
        line = [sys.executable, "-c", f"{script}from regraft.cli.main import run; run()", *arguments]
        done = subprocess.run(
            line, env=two_nodes.environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert ("shared among 2 workers of the Ray cluster" in done.stderr) is bool(on)
        found[name] = np.genfromtxt(tmp_path / f"{name}.csv", delimiter=",", dtype=None, names=True, encoding="utf-8")
    here, there = found["here"], found["there"]
    assert len(here) == 80
    for column in here.dtype.names:
        if here[column].dtype.kind == "f":
            np.testing.assert_allclose(here[column], there[column], atol=1e-3)
        else:
            assert here[column].tolist() == there[column].tolist()
