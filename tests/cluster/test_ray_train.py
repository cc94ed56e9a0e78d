"""What workers get of a cluster, and where their checkpoints go."""

from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.learning import Listener

from regraft.cluster import ray_train
from regraft.cluster.ray_train import resources_of_each
from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.ray_workers import Nodes


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "each"),
    [
        ((2,), (0,), 2, (1, 0)),
        ((2,), (0,), 1, (2, 0)),
        ((8, 3), (0, 0), 2, (4, 0)),  # 4 + 4 of the first, none of the second: more than 3 of both
        ((8, 3), (0, 0), 11, (1, 0)),
        ((64, 8), (4, 0), 3, (16, 1)),  # the second has no GPU
        ((2, 64), (4, 4), 8, (1, 1)),  # half a CPU is none
    ],
)
def test_workers_share_alike(cpus: tuple[int, ...], gpus: tuple[int, ...], workers: int, each: tuple[int, int]) -> None:
    assert resources_of_each(Nodes(cpus, gpus), workers, gpus=any(gpus)) == each


def test_there_is_room_for_so_many() -> None:
    with pytest.raises(
        OptionError, match=r"^workers: each worker takes one of the CPUs .* 11 \(2 machines with 11 CPU"
    ):
        resources_of_each(Nodes((8, 3), (0, 0)), 12, gpus=False)
    with pytest.raises(
        OptionError, match=r"one of the GPUs of the Ray cluster, which has 4 .* Got 5\. Ask for at most"
    ):
        resources_of_each(Nodes((8, 3), (4, 0)), 5, gpus=True)


@pytest.mark.parametrize("seen", [True, False])
def test_checkpoints_go_where_all_workers_see_them(seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_train, "limit_cpus", lambda _: None)
    given: list[Any] = []

    def work(_: Compute, observer: Any, folder: Path | None) -> str:
        given.append((observer, folder))
        return option("seed")

    folder = tmp_path / "m.safetensors.unfinished"
    with ray_train._seen_by_all(folder) as mark:
        assert mark is not None
        assert mark.parent == tmp_path
        shown = mark if seen else Path("/nowhere/here")
        job = ray_train._Job(work, Compute(), folder, shown, Path("/nowhere"), 1, {})
        listener = Listener()
        assert ray_train._work(job, listener) == "--seed"  # in the words of the command line
    assert not mark.exists()
    assert given == [(listener, folder if seen else None)]
    assert [line.partition(" see /nowhere")[0] for line in listener.said] == (
        [] if seen else ["no checkpoints: not all workers"]
    )


def test_why_workers_could_not_be_started_is_told_without_where_it_was_raised() -> None:
    ray = pytest.importorskip("ray")
    error = ray.exceptions.RayTaskError("run", "Traceback (most recent call last) ...", ImportError("no module 'x'"))
    told = str(ray_train._failure(ray_train._reason_of(error)))
    assert told.startswith("training by workers of the Ray cluster has failed: ImportError: no module 'x'. They")
    error = ray.exceptions.ObjectLostError("0" * 56, b"", "")
    assert "lost" in ray_train._reason_of(error)
