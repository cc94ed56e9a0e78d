"""What processes of test_ray_shards.py do on a cluster: ADDRESS JOB PIDS-OF-NODES; prints JSON."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
from tests.fixtures.learning import Listener
from tests.heads.problems import overlapping

from regraft.errors import ClusterError
from regraft.heads.ray_shards import RayShards
from regraft.heads.search import Selection, select_heads
from regraft.heads.sharded_rows import ShardedFeatures
from regraft.ray_workers import RayWorkers

N, WIDTH, CLASSES = 6000, 300, 4


class KilledShards(RayShards):
    """Calls `kill` from a thread, once, while sums are asked for."""

    kill: Callable[[], None]

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what shards return."""
        if method == "sums" and not hasattr(self, "_thread"):
            found = super().call(method, arguments)  # the first sums come
            self._thread = threading.Thread(target=self.kill)
            self._thread.start()
            return found
        return super().call(method, arguments)


class Death:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what is done there."""
        return _end, ()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def keepers(nodes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes of shards that belong to these nodes."""
    found = [child for node in nodes if node.is_running() for child in node.children(recursive=True)]
    return [process for process in found if _title(process).startswith("ray::_ShardKeeper")]


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:  # it has ended
        return ""


def chosen(features: np.ndarray | ShardedFeatures, labels: np.ndarray) -> Selection:
    """Return a choice with its fit."""
    (found,) = select_heads(features, labels, CLASSES, folds=[np.arange(N) % 5])
    return found


def compare(shards: RayShards, features: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return how far the heads of shards are from those of one place."""
    with shards:
        there = chosen(ShardedFeatures(shards, shards.sizes, WIDTH), labels)
    here = chosen(features, labels)
    logits = [found.head.logits(features) for found in (here, there)]
    centred = [one - one.mean(axis=1, keepdims=True) for one in logits]
    return {
        "shards": len(shards.sizes),
        "strengths": [here.strength, there.strength],
        "losses": max(abs(there.losses[strength] - loss) for strength, loss in here.losses.items()),
        "logits": float(np.abs(centred[0] - centred[1]).max()),
    }


def main() -> None:
    """Do a job."""
    address, job, *pids = sys.argv[1:]
    nodes = [psutil.Process(int(pid)) for pid in pids]
    features, labels = overlapping(N, WIDTH, CLASSES)
    listener, workers, killed = Listener(), RayWorkers(address), []

    def kill_one() -> None:
        time.sleep(0.2)
        if job == "lost":
            for process in [*nodes[-1].children(recursive=True), nodes[-1]]:
                process.kill()
        else:
            (own := keepers(nodes)[0]).kill()
            killed.append(own.pid)

    kind = KilledShards if job in ("killed", "lost") else RayShards
    KilledShards.kill = staticmethod(kill_one)
    shards = kind(workers, features, labels, count=2, observer=listener)
    found: dict[str, Any] = {}
    if job == "deadly":
        try:
            with shards:
                shards.call("scatter", [(Death(),)] * 2)
        except ClusterError as error:
            listener.say(str(error))
    else:
        found = compare(shards, features, labels)
        time.sleep(1)
        found["left"] = [process.pid for process in keepers(nodes)]
    sys.stdout.write(json.dumps({**found, "said": listener.said, "killed": len(killed)}))


if __name__ == "__main__":
    main()
