"""Workers of a Ray cluster that do the same work together: Ray Train starts them, and starts all again when one ends.

Each is a process as `torchrun` starts them (`processes`), and does what such a process does.
"""

import contextlib
import hashlib
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from regraft.cluster.relay import Desk, Outcome, RelayObserver, Replay, packed
from regraft.engines.compute import Compute
from regraft.errors import (
    ClusterError,
    OptionError,
    ProcessError,
    RegraftError,
    counted,
    current_flags,
    flags_in_messages,
    option,
    printable,
)
from regraft.processes import PATIENCE
from regraft.progress import Observer
from regraft.ray_workers import STARTING_SECONDS, Nodes, resources_in_words
from regraft.runtime import limit_cpus
from regraft.watchdog import watched

RESTARTS = 3  # of all workers, after one has ended
_SECONDS_BETWEEN_LOOKS = 0.3
_T = TypeVar("_T")
# What each worker does: where it runs, who hears of its progress, where checkpoints go (None: nowhere). The first
# worker's result is what the work comes to.
Work = Callable[[Compute, Observer, Path | None], _T]


def train_together(work: Work[_T], *, workers: int, compute: Compute, observer: Observer, folder: Path | None) -> _T:
    """Return what the first of several workers of a cluster returns for `work`, which all do together.

    A worker that dies ends the others, and all are started again, at most `RESTARTS` times: what they do is to go on
    from checkpoints.

    Args:
        work: picklable, as its result.
        workers: how many.
        compute: where the cluster is, and how networks run in each worker.
        observer: hears of the first worker's progress.
        folder: where checkpoints go, on a file system that all machines share; where not, none are kept, which is said.

    Raises:
        ClusterError: workers die again and again, or the cluster is gone.
        OptionError: it has no room for so many workers.
        RegraftError: as `work` raises it in any worker.
    """
    pool = compute.workers
    assert pool is not None  # checked by `TrainingWorkers`
    nodes = pool.connect()
    cpus, gpus = resources_of_each(nodes, workers, gpus=_wants_gpus(compute, nodes))
    each = resources_in_words(cpus, gpus)
    observer.say(f"on Ray, {nodes}: {counted(workers, 'worker')} with {each} each train together")
    of_ray_train = tempfile.TemporaryDirectory(prefix="regraft-", ignore_cleanup_errors=True)
    with _seen_by_all(folder) as mark, of_ray_train as own:
        job = _Job(work, replace(compute, on=""), folder, mark, Path.cwd(), cpus, current_flags())
        result = _Training(job).run(workers, {"CPU": cpus, "GPU": gpus}, own, observer)
    return pickle.loads(result)  # type: ignore[no-any-return]


def resources_of_each(nodes: Nodes, workers: int, *, gpus: bool) -> tuple[int, int]:
    """Return the CPUs and GPUs of each of so many workers: a GPU each, if any, and equal shares of the CPUs.

    >>> resources_of_each(Nodes(cpus=(16, 16), gpus=(4, 4)), 8, gpus=True)
    (4, 1)
    >>> resources_of_each(Nodes(cpus=(16, 8), gpus=(0, 0)), 3, gpus=False)
    (8, 0)

    Raises:
        OptionError: there is no room for so many.
    """
    if gpus:
        room, kind = sum(nodes.gpus), "GPUs"
        cpus = min(cpus // gpus for cpus, gpus in zip(nodes.cpus, nodes.gpus, strict=True) if gpus)
    else:
        room, kind = sum(nodes.cpus), "CPUs"
        shares = (share for share in range(max(nodes.cpus), 0, -1) if sum(n // share for n in nodes.cpus) >= workers)
        cpus = next(shares, 1)
    if workers > room:
        raise OptionError(
            f"{option('workers')}: each worker takes one of the {kind} of the Ray cluster, which has {room} ({nodes}). "
            f"Got {workers}. Ask for at most {room}, or start more machines with `ray start`."
        )
    return max(cpus, 1), int(gpus)


def _wants_gpus(compute: Compute, nodes: Nodes) -> bool:
    return compute.device.partition(":")[0] in ("auto", "cuda") and any(nodes.gpus)


@contextlib.contextmanager
def _seen_by_all(folder: Path | None) -> Iterator[Path | None]:
    """Yield a file beside `folder`, by which workers know that they see the same file system; None without a folder."""
    if folder is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=f".{folder.name}.") as mark:
        yield Path(mark.name).resolve()


@dataclass(frozen=True, eq=False)
class _Job:
    """What each worker does; picklable.

    Attributes:
        work: with what it is called with:
        compute: where it runs.
        folder: where checkpoints go, None for nowhere.
        mark: a file that whoever sees `folder` sees.
        place: the folder that relative names of photos begin at.
        cpus: of each worker.
        flags: as of `errors.flags_in_messages`.
    """

    work: Work[Any]
    compute: Compute
    folder: Path | None
    mark: Path | None
    place: Path
    cpus: int
    flags: Mapping[str, str] | None


class _Training:
    """One run of Ray Train, seen from the process that starts it."""

    def __init__(self, job: _Job) -> None:
        import ray
        from ray import cloudpickle

        # beside this process: no other machine's end is theirs
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        work = bytes(cloudpickle.dumps(job))  # type: ignore[no-untyped-call]
        # calls that a broken connection loses are made again
        desk = ray.remote(num_cpus=0, label_selector=here, max_task_retries=3)(Desk)
        self._desk: Any = desk.remote(work)
        self._starter: Any = ray.remote(num_cpus=0, label_selector=here)(_Starter).remote()

    def run(self, workers: int, resources: Mapping[str, int], own: str, observer: Observer) -> bytes:
        """Return the first worker's result, as it was pickled there."""
        import ray

        replay = Replay(observer)
        running = self._starter.run.remote(self._desk, workers, dict(resources), own, RESTARTS)
        try:
            with watched("waiting for workers of the Ray cluster", observer.say, patience=STARTING_SECONDS):
                while _runs(running) and not ray.get(self._desk.attempt.remote()):
                    pass
            while _runs(running) and not ray.get(self._desk.has_failed.remote()):
                replay.repeat(*ray.get(self._desk.take.remote()))
            replay.repeat(*ray.get(self._desk.take.remote()))
            outcome: Outcome = ray.get(self._desk.outcome.remote())
            failure = ray.get(running) if outcome == Outcome() else ""
        except ray.exceptions.RayError as error:
            raise _failure(_reason_of(error)) from error
        finally:
            replay.close()
            self._end()
        if outcome.failure is not None:
            raise pickle.loads(outcome.failure)
        if outcome.result is None:
            raise _failure(failure or "no worker has returned a result")
        return outcome.result

    def _end(self) -> None:
        """End all workers that have not ended: some may wait for one that has failed."""
        import ray
        from ray.util import remove_placement_group

        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._starter)  # first: it would start them again
            for group in ray.get(self._desk.groups.remote()):
                remove_placement_group(group)


def _runs(running: Any) -> bool:
    """Return, after a moment, whether a task still runs."""
    import ray

    return not ray.wait([running], timeout=_SECONDS_BETWEEN_LOOKS)[0]


class _Starter:
    """Starts workers by Ray Train, in a process of its own: when that is killed, nothing is started any more."""

    def run(self, desk: Any, workers: int, resources: dict[str, int], own: str, restarts: int) -> str:
        """Return why the workers failed, "" if they did not."""
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # names of photos may be relative
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = bool(resources["GPU"])
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        trainer = TorchTrainer(
            _run,
            train_loop_config={"desk": desk},
            torch_config=TorchConfig(backend=backend, timeout_s=int(PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker=resources),
            run_config=RunConfig(
                name="training", storage_path=own, failure_config=FailureConfig(max_failures=restarts)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            found = getattr(error, "worker_failures", None) or {0: error}
            return str(next(iter(found.values()))) or type(error).__name__
        return ""


def _run(config: Mapping[str, Any]) -> None:
    """Do a worker's part."""
    import ray

    desk = config["desk"]
    ray.get(desk.join.remote(ray.util.get_current_placement_group()))
    job: _Job = pickle.loads(ray.get(desk.work.remote()))
    first = os.environ["RANK"] == "0"
    observer: Observer | RelayObserver = Observer()
    if first:
        attempt = ray.get(desk.begin.remote())
        observer = RelayObserver(lambda events: desk.tell.remote(attempt, events))
    try:
        result = _work(job, observer)
    except ProcessError:
        raise  # another worker has died: Ray Train starts all again
    except Exception as error:  # it is raised where the work was started, which then ends all
        if not isinstance(error, (RegraftError, OSError)):
            error.add_note(traceback.format_exc())
        ray.get(desk.fail.remote(packed(error)))
        return
    if isinstance(observer, RelayObserver):
        observer.flush()
        _deliver(desk, result)


def _work(job: _Job, observer: Observer) -> Any:
    with contextlib.suppress(OSError):  # another machine may have no such folder; then names of photos are absolute
        os.chdir(job.place)
    limit_cpus(job.cpus)
    flags = contextlib.nullcontext() if job.flags is None else flags_in_messages(job.flags)
    with flags:
        folder = job.folder
        group = job.compute.together().processes
        if job.mark is not None and not all(group.gather(job.mark.exists())):
            observer.say(
                f"no checkpoints: not all workers see {printable(job.mark.parent)}, so that a worker that ends has all "
                "begin anew. Put the result on a file system that all machines share."
            )
            folder = None
        return job.work(job.compute, observer, folder)


def _deliver(desk: Any, result: Any) -> None:
    """Hand over the first worker's result."""
    import ray
    from ray import cloudpickle

    data = bytes(cloudpickle.dumps(result))  # type: ignore[no-untyped-call]
    if not ray.get(desk.finish.remote(data, hashlib.sha256(data).hexdigest())):
        raise ProcessError("the result was damaged on its way")  # by the network or memory: again, from checkpoints


def _reason_of(error: Exception) -> str:
    """Return why Ray raised an error; what a task raised has where it ran, and a traceback, before that."""
    cause = getattr(error, "cause", None)
    return str(error) if cause is None else f"{type(cause).__name__}: {cause}"


def _failure(reason: str) -> ClusterError:
    """Return what to say of a failure that is none of the work's own."""
    last = printable(next((line.strip() for line in reason.splitlines() if line.strip()), ""))
    return ClusterError(
        f"training by workers of the Ray cluster has failed: {last.rstrip('.')}. They are started again at most "
        f"{RESTARTS} times; Ray's logs say more. The same command goes on from the last checkpoint."
    )
