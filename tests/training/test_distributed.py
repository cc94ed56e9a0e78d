"""Processes that train together, with the other ones' tensors given; device, precision and their environment."""

import sys
from typing import Any

import pytest
import torch
from torch import distributed, nn

from regraft import processes
from regraft.errors import ProcessError
from regraft.processes import ProcessGroup, join_processes
from regraft.training.distributed import accelerator

CPU = torch.device("cpu")


@pytest.fixture
def first_of_two(monkeypatch: pytest.MonkeyPatch) -> ProcessGroup:
    """Return the first of two processes; the other one has the same tensors times three."""
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.mul_(4))
    return ProcessGroup(0, 2, CPU)


def test_processes_sum_gradients(first_of_two: ProcessGroup) -> None:
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[1.0, 2.0]]), None  # a parameter that no photo of it reached
    first_of_two.sum_gradients(layer, share=0.25)
    assert layer.weight.grad.tolist() == [[1.0, 2.0]]  # a quarter, and three quarters of the other process
    assert layer.bias.grad.tolist() == [0.0]


def test_summed_gradients_lie_in_memory_as_their_parameters_do(first_of_two: ProcessGroup) -> None:
    layer = nn.Conv2d(2, 2, 2, bias=False).to(memory_format=torch.channels_last)
    gradient = torch.arange(16.0).reshape(2, 2, 2, 2)
    layer.weight.grad = gradient.contiguous(memory_format=torch.channels_last)
    first_of_two.sum_gradients(layer, share=0.25)
    assert torch.equal(layer.weight.grad, gradient)
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_processes_average_statistics(first_of_two: ProcessGroup) -> None:
    statistics = [torch.tensor([2.0]), torch.tensor(7)]
    first_of_two.average(statistics)
    assert [one.tolist() for one in statistics] == [[4.0], 7]  # (2 + 6) / 2; a count of batches is the same in all


def test_a_sum_leaves_its_terms_as_they_are(first_of_two: ProcessGroup) -> None:
    own = torch.tensor([1.0, 2.0])
    assert first_of_two.sum(own).tolist() == [4.0, 8.0]
    assert own.tolist() == [1.0, 2.0]
    assert first_of_two.sum_of(0.5) == 2.0


def test_one_process_has_nothing_to_sum() -> None:
    alone = join_processes(CPU)
    own = torch.tensor([1.0, 2.0])
    assert alone == accelerator(CPU).processes == ProcessGroup(0, 1)
    assert alone.sum(own) is own
    assert alone.sum_of(0.5) == 0.5
    alone.wait()
    with alone.first_process_first():
        pass
    assert not distributed.is_initialized()


@pytest.mark.parametrize("left_over", ["", "2"])
def test_a_world_size_that_no_launcher_set_starts_no_processes(left_over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", left_over)
    assert join_processes(CPU) == ProcessGroup(0, 1)
    assert not distributed.is_initialized()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_goes_first(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    monkeypatch.setattr(distributed, "barrier", lambda **_: order.append("wait"))
    with ProcessGroup(rank, 2, CPU).first_process_first():
        order.append("work")
    assert order == (["work", "wait"] if rank == 0 else ["wait", "work"])
    with pytest.raises(ValueError, match="bad"), ProcessGroup(rank, 2, CPU).first_process_first():
        raise ValueError("bad")
    assert order[2:] == ["wait"]  # the others are not left waiting


@pytest.mark.parametrize(
    ("precision", "dtype", "scale"),
    [
        ("auto", torch.float32, None),
        ("fp32", torch.float32, None),
        ("bf16", torch.bfloat16, None),
        ("fp16", torch.float16, 2.0**16),
    ],
)
def test_precision_is_what_the_network_computes_in(precision: str, dtype: torch.dtype, scale: float | None) -> None:
    made = accelerator(CPU, precision)
    with made.autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert made.loss_scale == scale


def test_filters_lie_channels_last() -> None:
    """And so do the maps of whatever layout they get; other weights of four dimensions stay as they are."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4))
    network.register_parameter("position", nn.Parameter(torch.zeros(1, 2, 3, 4)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    accelerator(CPU).prepare(network)
    assert all(network[place].weight.is_contiguous(memory_format=torch.channels_last) for place in (0, 2))
    assert network(torch.zeros(2, 3, 9, 9)).is_contiguous(memory_format=torch.channels_last)
    assert network.position.is_contiguous()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_environment_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torchrun`, `accelerate launch` and Ray Train set it; the group itself is started by PyTorch."""
    started: list[dict[str, Any]] = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(processes, "_store", None)
    module = sys.modules["torch.distributed.rendezvous"]  # whose name in the package is a function's
    monkeypatch.setattr(module, "rendezvous", lambda *_, **__: iter([(distributed.HashStore(), 2, 3)]))
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, **how: started.append({"": backend, **how}))
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    assert join_processes(CPU) == ProcessGroup(2, 3, CPU)
    (how,) = started
    assert (how[""], how["rank"], how["world_size"]) == ("gloo", 2, 3)
    assert 0 < how["timeout"].total_seconds() <= 24 * 3600


def test_a_group_that_is_started_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train starts it before it calls the training."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "init_process_group", lambda *_, **__: pytest.fail("it was started again"))
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    assert join_processes(CPU) == ProcessGroup(2, 3, CPU)


@pytest.mark.parametrize(
    ("given", "reason"),
    [({}, "environment variable MASTER_ADDR expected"), ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"}, "invalid")],
)
def test_processes_that_do_not_find_each_other(
    given: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RANK and WORLD_SIZE may be left over from something else."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"WORLD_SIZE": "2", "RANK": "0"} | given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessError, match=rf"say that 2 processes work together, .*{reason}.* or unset both"):
        join_processes(CPU)
