"""Workers of a Ray cluster: processes, on this machine or on others, that each do a part of a pass over photos."""

import contextlib
import functools
import os
import pickle
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from regraft.errors import (
    ClusterError,
    DataError,
    RegraftError,
    counted,
    current_flags,
    first_few,
    option,
    printable,
    take_flags,
)
from regraft.extras import check_installed
from regraft.ray_connection import PREFIX, is_connected, join
from regraft.runtime import limit_cpus

MOST_CPUS = 8  # of one worker: further ones help each other less than a second worker does
PHOTOS_OF_A_PART = 512  # what a worker that ends loses; enough that the end of one part costs little
STARTING_SECONDS = 600.0  # until a pass that waits for workers says so: they are started, and convert the network
ATTEMPTS = 4  # at a part whose worker died: more would not end where a photo kills each of them
KEPT = "What was computed before is kept; the same command goes on with it."
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Nodes:
    """The machines of a cluster that can work.

    Attributes:
        cpus: processors of each.
        gpus: likewise.
    """

    cpus: tuple[int, ...]
    gpus: tuple[int, ...]

    def workers(self, device: str) -> tuple[int, int, int]:
        """Return how many workers there are, and the CPUs and GPUs of each: a worker per GPU, else per 8 CPUs.

        All have the same number of CPUs, at most those of the smallest machine.

        >>> Nodes(cpus=(32, 4), gpus=(0, 0)).workers("cpu")
        (9, 4, 0)
        >>> Nodes(cpus=(16, 16), gpus=(4, 0)).workers("cuda")
        (4, 4, 1)
        """
        if device == "cuda" and any(self.gpus):
            each = min(cpus // gpus for cpus, gpus in zip(self.cpus, self.gpus, strict=True) if gpus)
            return sum(self.gpus), max(1, min(each, MOST_CPUS)), 1
        each = min(MOST_CPUS, *self.cpus)
        return sum(cpus // each for cpus in self.cpus), each, 0

    def __str__(self) -> str:
        """Return the number of machines and processors in words."""
        gpus = f" and {counted(sum(self.gpus), 'GPU')}" if any(self.gpus) else ""
        return f"{counted(len(self.cpus), 'machine')} with {counted(sum(self.cpus), 'CPU')}{gpus}"


def resources_in_words(cpus: int, gpus: int) -> str:
    """Return what a worker has: "8 CPUs", "8 CPUs and a GPU"."""
    return counted(cpus, "CPU") + (" and a GPU" if gpus else "")


def is_cluster(value: object) -> bool:
    """Tell whether `value` names where work may be done: "" for this process, "ray", or "ray:ADDRESS"."""
    return isinstance(value, str) and (value in ("", PREFIX) or (value.startswith(f"{PREFIX}:") and len(value) > 4))


@functools.cache
def workers_on(name: str) -> "RayWorkers | None":
    """Return the workers that `name`, as of `is_cluster`, names; None for "". Nothing is connected to yet."""
    return RayWorkers(name.partition(":")[2]) if name else None


class RayWorkers:
    """The workers of a cluster. It is connected to when the first work is given.

    Each is an actor of a Ray Data pool: one that dies is started again, and does its part once more.

    Args:
        address: of the cluster, as `ray.init` takes it; "" for the one that RAY_ADDRESS names, else one of this machine
            alone, which ends with the process.
    """

    def __init__(self, address: str = "") -> None:
        self._address = address
        self._nodes: Nodes | None = None
        self._said = ""

    def connect(self) -> Nodes:
        """Return the machines of the cluster; the first call connects to it.

        Raises:
            MissingPackageError: Ray is not installed.
            ClusterError: no cluster answers there.
        """
        if self._nodes is None or not is_connected():
            check_installed("ray", option("on", PREFIX))
            join(self._address)
            self._nodes = _nodes()
        return self._nodes

    def machines(self) -> Nodes:
        """Return the machines that the cluster has now. See `connect`."""
        self.connect()
        return _nodes()

    def check_see(self, path: Path, what: str) -> None:
        """Raise `DataError` unless every machine of the cluster that can work sees this file.

        Args:
            path: of a file that this process sees.
            what: it is, for the message.
        """
        self.connect()
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        look = ray.remote(num_cpus=0)(_sees)
        nodes = _working_nodes()
        answers = [
            look.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(str(path.absolute()))
            for node in nodes
        ]
        try:
            seen = ray.get(answers, timeout=STARTING_SECONDS)
        except ray.exceptions.RayError as error:
            raise cluster_failure(error) from error
        blind = [node["NodeManagerAddress"] for node, sees in zip(nodes, seen, strict=True) if not sees]
        if blind:
            raise DataError(
                f"{printable(path)} ({what}) is not seen by {counted(len(blind), 'machine')} of the Ray cluster "
                f"({first_few(blind, 3)}). Put it on a file system that all share, or into a store (s3://...)."
            )

    def map(
        self,
        work: Callable[[Sequence[_T]], _R],
        parts: Sequence[Sequence[_T]],
        *,
        device: str = "cpu",
        say: Callable[[str], None] = lambda _: None,
    ) -> Generator[tuple[int, _R]]:
        """Yield the number of each part, and what `work` returned for it, in any order, each exactly once.

        Args:
            work: picklable; each worker gets one copy of it, and calls it for part after part.
            parts: what it is called with.
            device: "cuda" for workers that have a GPU each.
            say: hears what is done where.

        Raises:
            ClusterError: a part ended its worker again and again, or the cluster is gone.
            RegraftError: as `work` raises it.
        """
        nodes = self.connect()
        most, cpus, gpus = nodes.workers(device)
        workers = f"{counted(most, 'worker')} with {resources_in_words(cpus, gpus)}{' each' if most > 1 else ''}"
        if self._said != (where := f"on Ray, {nodes}: {workers}"):
            self._said = where
            say(where)
        import ray
        from ray.data import ActorPoolStrategy

        rows = [{"part": number, "content": pickle.dumps(part)} for number, part in enumerate(parts)]
        if not rows:
            return
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
        content = ray.put(_pickled(work))  # a copy for each machine; this process keeps it while it waits for results
        pool = ActorPoolStrategy(min_size=1, max_size=min(most, len(rows)), max_tasks_in_flight_per_actor=2)
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            cast("Any", _Worker),  # a class, of which Ray makes one object for each worker
            fn_constructor_args=(content, attempts, cpus, str(Path.cwd()), current_flags()),
            compute=pool,
            num_cpus=cpus,
            num_gpus=gpus,
        )
        missing = set(range(len(parts)))
        try:
            for row in done.iter_rows():
                if row["part"] not in missing:
                    continue
                missing.remove(row["part"])
                result = pickle.loads(row["result"])
                if isinstance(result, RegraftError):
                    raise result
                if isinstance(result, _Abandoned):
                    raise _deadly(parts[row["part"]])
                yield row["part"], result
        except ray.exceptions.RayError as error:
            raise cluster_failure(error) from error
        if missing:
            raise ClusterError(
                f"the Ray cluster has lost {len(missing):,} of {counted(len(parts), 'part')} of the work. {KEPT}"
            )


def _sees(path: str) -> bool:
    return Path(path).exists()


class _Abandoned:
    """Stands for the result of a part that ended each worker that began it."""


class _Attempts:
    """Counts how often each part was begun, outside of the workers, which may end at any time."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, part: int) -> int:
        """Return how often a part was begun, this time included."""
        self._begun[part] = self._begun.get(part, 0) + 1
        return self._begun[part]


class _Worker:
    """What runs in a worker: keeps `work`, and what that keeps."""

    def __init__(self, content: Any, attempts: Any, cpus: int, folder: str, flags: Mapping[str, str] | None) -> None:
        import ray

        limit_cpus(cpus)
        take_flags(flags)
        with contextlib.suppress(OSError):  # another machine may have no such folder; then names of photos are absolute
            os.chdir(folder)
        self._attempts = attempts
        self._work = pickle.loads(ray.get(content) if isinstance(content, ray.ObjectRef) else content)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        if ray.get(self._attempts.begin.remote(row["part"])) > ATTEMPTS:
            return {"part": row["part"], "result": pickle.dumps(_Abandoned())}
        try:
            result = self._work(pickle.loads(row["content"]))
        except RegraftError as error:  # the same sentence as without a cluster
            result = error
        return {"part": row["part"], "result": pickle.dumps(result)}


def _pickled(work: object) -> bytes:
    from ray import cloudpickle

    return bytes(cloudpickle.dumps(work))  # type: ignore[no-untyped-call]


def _working_nodes() -> list[dict[str, Any]]:
    """Return what Ray says of each machine on which a worker can run: of a head that only directs it none can."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def _nodes() -> Nodes:
    found = [node["Resources"] for node in _working_nodes()]
    if not found:
        raise ClusterError(
            f"{option('on')}: the Ray cluster has no machine with a CPU to work on. Start one with `ray start`."
        )
    return Nodes(*zip(*((int(one["CPU"]), int(one.get("GPU", 0))) for one in found), strict=True))


def _deadly(part: Sequence[object]) -> ClusterError:
    """Return what to say of a part that ended each worker that began it."""
    where = printable(part[0]) if len(part) == 1 else f"{printable(part[0])} to {printable(part[-1])}"
    return ClusterError(
        f"{ATTEMPTS} workers of the Ray cluster ended one after the other at the same {len(part):,} photos ({where}): "
        "they lacked memory, or one of these photos ends whatever reads it. Ray's logs of that machine say more. "
        f"{KEPT}"
    )


def cluster_failure(error: Exception) -> ClusterError:
    """Return what to say of what Ray raised."""
    last = printable((str(error).strip() or type(error).__name__).splitlines()[-1]).rstrip(".")
    return ClusterError(f"the Ray cluster has failed: {type(error).__name__}: {last}. {KEPT}")
