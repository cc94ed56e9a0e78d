"""Features in shards that workers of a Ray cluster keep, each in an actor of its own, as long as heads are fitted.

This process has all features, mapped from its disk. It sends each actor its share, once, some blocks at a time, so that
they are neither in its memory nor in Ray's object store all at once. What is asked of the shards afterwards is small.

An actor that dies, or whose machine vanishes, is started again with its share, and what it was asked is asked again.
"""

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from regraft import matrices
from regraft.errors import ClusterError, counted
from regraft.files import size_in_words
from regraft.heads.sharded_rows import FeatureShard, ShardedFeatures
from regraft.heads.workers import limit_threads
from regraft.progress import Observer, progress
from regraft.ray_workers import ATTEMPTS, KEPT, STARTING_SECONDS, RayWorkers, cluster_failure
from regraft.runtime import limit_cpus
from regraft.watchdog import watched

SHARED_FROM = 2**30  # bytes of features: of fewer, two cores fit all heads in less than a minute, too little to share
_BLOCK = 2**25  # bytes that are sent together
_PATIENCE = 5.0  # seconds after which it is looked whether machines have vanished: Ray may take a minute to miss one
_IN_FLIGHT = 4  # blocks, of all shards: what lies in the object store of this machine, and what fills its network


@contextmanager
def share_features(
    workers: RayWorkers | None, observer: Observer, features: np.ndarray, labels: np.ndarray
) -> Iterator[np.ndarray | ShardedFeatures]:
    """Yield the features where heads are to be fitted: among the workers of a cluster if they are large, else here.

    Args:
        workers: of the cluster; None where there is none.
        observer: hears which, and the progress of sending.
        features: (n, d) float32; it may be memory-mapped.
        labels: (n,) integers from 0.

    Raises:
        ClusterError: no cluster answers there.
    """
    size = features.size * 4
    count = 0 if workers is None or size < SHARED_FROM else workers.machines().workers("cpu")[0]
    count = min(count, len(features))
    if workers is None or count < 2:
        yield features
        return
    observer.say(
        f"fitting the last layer: {size_in_words(size)} of features, shared among {counted(count, 'worker')} of the "
        "Ray cluster"
    )
    with RayShards(workers, features, labels, count=count, observer=observer) as shards:
        yield ShardedFeatures(shards, shards.sizes, features.shape[1])


class RayShards:
    """Shards in actors, which end with the `with` block. They are started, and sent their rows, at the first call.

    Attributes:
        sizes: photos of each.

    Args:
        workers: of the cluster.
        features: (n, d) float32.
        labels: (n,) integers from 0.
        count: how many shards, each of consecutive photos.
        observer: hears the progress of sending, and of actors that are started again.
    """

    def __init__(
        self,
        workers: RayWorkers,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        count: int,
        observer: Observer | None = None,
    ) -> None:
        self._workers, self._features, self._labels = workers, features, labels
        self._bounds = np.linspace(0, len(features), count + 1).astype(np.int64)
        self.sizes = np.diff(self._bounds).tolist()
        self._observer = observer or Observer()
        self._lock = threading.RLock()  # of all that follows
        self._actors: list[Any] = [None] * count
        self._centre: Sequence[tuple[Any, ...]] | None = None  # what a new actor has to be told, too
        self._sent = False

    def __enter__(self) -> Self:
        """Connect to the cluster."""
        self._workers.connect()
        return self

    def __exit__(self, *_: object) -> None:
        """End all actors, so that others find their processors free."""
        with self._lock:
            for number in range(len(self._actors)):
                self._end(number)

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of `FeatureShard` returns of each shard. Several threads may call.

        Raises:
            ClusterError: actors of the same shard end again and again, or the cluster is gone.
        """
        import ray

        if method == "centre":
            with self._lock:
                self._centre = arguments
        found: dict[int, Any] = {}
        try:
            same = all(own is arguments[0] for own in arguments)
            given = [ray.put(arguments[0])] * len(arguments) if same else arguments
            for _ in range(ATTEMPTS):
                missing = [number for number in range(len(arguments)) if number not in found]
                asked = {
                    number: (actor, actor.call.remote(method, given[number]))
                    for number, actor in self._present(missing).items()
                }
                for number, (actor, answer) in asked.items():
                    with self._may_be_lost(number, actor):
                        found[number] = ray.get(answer)
                if len(found) == len(arguments):
                    return [found[number] for number in range(len(arguments))]
        except ray.exceptions.RayError as error:
            raise cluster_failure(error) from error
        raise _deadly(max(self.sizes[number] for number in range(len(arguments)) if number not in found))

    def _present(self, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the actors of some shards; those that are missing are started, and what ends meanwhile is left out."""
        with self._lock:
            missing = [number for number in numbers if self._actors[number] is None]
            if missing:
                if self._sent:
                    photos = sum(self.sizes[number] for number in missing)
                    self._observer.say(
                        f"{counted(len(missing), 'worker')} of the Ray cluster ended; the features of {photos:,} "
                        "photos are sent again"
                    )
                with watched("waiting for workers of the Ray cluster", self._observer.say, patience=STARTING_SECONDS):
                    self._start(missing)
                self._send(missing)
                self._sent = True
            return {number: actor for number in numbers if (actor := self._actors[number]) is not None}

    def _start(self, numbers: Sequence[int]) -> None:
        """Start the actors of some shards, and wait until they have."""
        import ray

        left = list(numbers)
        while left:
            room = reserved, cpus = self._room()
            how = {"num_cpus": reserved, "max_concurrency": cpus, "scheduling_strategy": "SPREAD"}
            keeper = ray.remote(_ShardKeeper).options(**how)
            for number in left:
                self._end(number)  # one that waits for room on a machine that Ray has missed only now
                own = slice(int(self._bounds[number]), int(self._bounds[number + 1]))
                self._actors[number] = keeper.remote(self._features.shape[1], np.asarray(self._labels[own]), cpus)
            starting = {self._actors[number].ready.remote(): number for number in left}
            self._wait(starting, most=0, room=room)
            left = list(starting.values())

    def _room(self) -> tuple[int, int]:
        """Return the processors that an actor reserves, and those that it may use, by the machines that are there.

        Where machines have vanished nothing is reserved: new actors would wait for room that the others take.
        """
        count, cpus, _ = self._workers.machines().workers("cpu")
        return (cpus if count >= len(self._actors) else 0), cpus

    def _send(self, numbers: Sequence[int]) -> None:
        """Send actors what they have to know."""
        sent: dict[Any, int] = {}
        with progress(self._observer, "sharing features", sum(self.sizes[number] for number in numbers)) as advance:
            for number, block in self._blocks(numbers):
                rows = np.asarray(self._features[block], dtype=np.float32)
                if (actor := self._actors[number]) is not None:
                    sent[actor.put.remote(block.start - int(self._bounds[number]), rows)] = number
                self._wait(sent, most=_IN_FLIGHT - 1)
                matrices.release(self._features)
                advance(len(rows))
            self._wait(sent, most=0)
        if self._centre is not None:
            told = {number: actor for number in numbers if (actor := self._actors[number]) is not None}
            self._wait({actor.call.remote("centre", self._centre[n]): n for n, actor in told.items()}, most=0)

    def _blocks(self, numbers: Sequence[int]) -> Iterator[tuple[int, slice]]:
        """Yield shards and photos of them, those of all shards in turn."""
        rows = max(1, _BLOCK // (self._features.shape[1] * 4))
        largest = max(self.sizes[number] for number in numbers)
        for place in range(0, largest, rows):
            for number in numbers:
                first, last = int(self._bounds[number]) + place, int(self._bounds[number + 1])
                if first < last:
                    yield number, slice(first, min(first + rows, last))

    def _wait(self, sent: dict[Any, int], *, most: int, room: tuple[int, int] | None = None) -> None:
        """Wait until at most so many calls are not answered; take those that are out of `sent`, the calls by shard.

        With `room`, what `_room` said before, it ends early where that says something else.
        """
        import ray

        while len(sent) > most:
            answers, _ = ray.wait(list(sent), timeout=_PATIENCE)
            if answers:
                number = sent.pop(answers[0])
                with self._may_be_lost(number, self._actors[number]):
                    ray.get(answers[0])
            elif room is not None and self._room() != room:
                return

    @contextmanager
    def _may_be_lost(self, number: int, actor: Any) -> Iterator[None]:
        """Take the actor of a shard for lost where Ray says so in this block."""
        import ray

        try:
            yield
        except (
            ray.exceptions.RayActorError,
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
        ):
            with self._lock:
                if self._actors[number] is actor:  # else another thread has seen it
                    self._end(number)

    def _end(self, number: int) -> None:
        import ray

        actor, self._actors[number] = self._actors[number], None
        if actor is not None:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):  # it has ended by itself
                ray.kill(actor)


class _ShardKeeper:
    """What runs in a worker: keeps a shard.

    Args:
        width: d.
        labels: (m,) of the photos.
        cpus: that it may use.
    """

    def __init__(self, width: int, labels: np.ndarray, cpus: int) -> None:
        limit_cpus(cpus)
        self._cpus = cpus
        self._features = matrices.zeros(len(labels), width, Path(tempfile.gettempdir()))
        self._shard = FeatureShard(self._features, labels)

    def ready(self) -> None:
        """Do nothing: what was asked before is done."""

    def put(self, first: int, rows: np.ndarray) -> None:
        """Keep rows (k, d) of the features from a place on."""
        self._features[first : first + len(rows)] = rows
        matrices.release(self._features)

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Return what a method of the shard returns."""
        # as many products at a time as there are processors, but for those that are asked for one by one
        limit_threads(self._cpus if method == "scatter" else 1)
        return getattr(self._shard, method)(*arguments)


def _deadly(photos: int) -> ClusterError:
    return ClusterError(
        f"{ATTEMPTS} workers of the Ray cluster ended one after the other at the features of the same {photos:,} "
        "photos, while the last layer was fitted: they lacked memory, or their machines were lost. Ray's logs of that "
        f"machine say more. {KEPT}"
    )
