"""What several processes divide and decide, and which of them speaks."""

import math
import os
from types import SimpleNamespace

import pytest
import torch
from tests.fixtures.processes import in_processes
from torch import distributed

from regraft import processes
from regraft.errors import ProcessError
from regraft.processes import ALONE, ProcessGroup, speaks_of_failure

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 7, 10])
def test_every_item_belongs_to_one_process(count: int, items: int) -> None:
    everything = list(range(items))
    groups = [ProcessGroup(rank, count, CPU) for rank in range(count)]
    plain = [list(group.own(everything)) for group in groups]
    mirrored = [group.own_mirrored(everything) for group in groups]
    for parts in (plain, mirrored):
        assert sorted(item for part in parts for item in part) == everything
        assert max(map(len, parts)) - min(map(len, parts)) <= (1 if parts is plain else 2)
    for part in mirrored:  # and so does what it is mixed with, in the same place from the end of the part
        assert [items - 1 - item for item in part] == part[::-1]


def test_what_was_divided_comes_back_in_order() -> None:
    items = list(range(7))
    for found in in_processes(3, lambda group: group.gather_own([item * item for item in group.own(items)])):
        assert found == [0, 1, 4, 9, 16, 25, 36]


def test_the_first_process_works_for_all() -> None:
    worked = []

    def work(group: ProcessGroup) -> int:
        return group.first(lambda: worked.append(group.rank) or 42)  # type: ignore[func-returns-value]

    assert in_processes(3, work) == [42, 42, 42]
    assert worked == [0]


def test_one_process_asks_nobody() -> None:
    assert ALONE.gather("a") == ["a"]
    assert ALONE.first(lambda: 3) == 3
    assert ALONE.gather_own([1, 2]) == [1, 2]
    ALONE.copy_first([torch.zeros(2)])
    assert not distributed.is_initialized()


def test_others_that_have_ended_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1234")

    for name in ("all_reduce", "all_gather_object", "broadcast_object_list", "barrier", "broadcast"):
        monkeypatch.setattr(distributed, name, closed)
    group = ProcessGroup(1, 4, CPU)
    for call in (
        lambda: group.sum(torch.zeros(1)),
        lambda: group.gather(1),
        lambda: group.first(lambda: 1),
        group.wait,
        lambda: group.copy_first([torch.zeros(1)]),
    ):
        with pytest.raises(ProcessError, match=r"process 1 of 4 \(from 0\).* has ended, .* Run the same command again"):
            call()


def test_lack_of_memory_is_no_end_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch calls its own."""

    def full(*_: object) -> None:
        raise OutOfMemoryError

    monkeypatch.setattr(distributed, "all_reduce", full)
    with pytest.raises(OutOfMemoryError):
        ProcessGroup(0, 2, CPU).sum(torch.zeros(1))


def test_one_of_all_that_fail_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words that all can read, as `torch.distributed.Store` keeps them."""
    kept: dict[str, str] = {}

    def compare_set(key: str, expected: str, wanted: str) -> bytes:
        if kept.get(key, "") == expected:
            kept[key] = wanted
        return kept[key].encode()

    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(processes, "_store", SimpleNamespace(compare_set=compare_set))
    spoke = []
    for rank in ("1", "0", "2"):
        monkeypatch.setenv("RANK", rank)
        spoke.append(speaks_of_failure())
    assert spoke == [True, False, False]


@pytest.mark.parametrize(("rank", "speaks"), [("0", True), ("1", False)])
def test_before_they_have_met_the_first_process_speaks(
    rank: str, speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    assert speaks_of_failure() == speaks


def test_a_process_alone_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # left over: no launcher said how many there are
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert speaks_of_failure()


def test_waiting_has_an_end() -> None:
    assert math.isfinite(processes.PATIENCE.total_seconds())
    assert processes.PATIENCE.total_seconds() <= 24 * 3600
    assert "RANK" not in os.environ
