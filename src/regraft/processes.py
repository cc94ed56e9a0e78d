"""The processes that train one network together: how they divide work, and how they come to the same numbers.

`torchrun`, `accelerate launch` and Ray Train start them. All say so by the environment that `torch.distributed` reads,
and some have started its process group already. Everything else is SPMD: each process runs the same program and meets
the others in the same calls, so that whatever decides what comes next is either whole numbers that all have gathered,
or is decided by the first process alone (`first`).
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from regraft.errors import ProcessError, printable
from regraft.runtime import is_first_process, process_count

if TYPE_CHECKING:
    import torch
    from torch import nn

# How long processes wait for each other. One that ends is known at once, by its closed connection; this is for a
# machine that vanished. Shares of a large source, and what the first process does alone, may take hours.
PATIENCE = timedelta(hours=6)
_START = timedelta(minutes=30)  # how long they wait for all to be started
_store: Any = None  # of the process group that this module has started: a few words that all processes can read
_T = TypeVar("_T")


@dataclass(frozen=True)
class ProcessGroup:
    """What the processes of one training do in common; with one process, nothing.

    Every process keeps the whole network and takes the same steps: gradients are summed over the processes before each.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        device: where tensors are summed; None where there is one process.
    """

    rank: int = 0
    count: int = 1
    device: "torch.device | None" = None

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def own(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this process's part of `items`: every one belongs to one process, and no part is two longer."""
        return items[self.rank :: self.count]

    def own_mirrored(self, items: Sequence[_T]) -> list[_T]:
        """Return a part in which an item and its counterpart, as far from the other end, are together."""
        last = len(items) - 1
        return [item for place, item in enumerate(items) if min(place, last - place) % self.count == self.rank]

    def gather(self, own: _T) -> list[_T]:
        """Return what all processes give, by rank."""
        if self.count == 1:
            return [own]
        from torch import distributed

        found: list[Any] = [None] * self.count
        with self._answered():
            distributed.all_gather_object(found, own)
        return found

    def gather_own(self, own: Sequence[_T]) -> list[_T]:
        """Return what all processes made of their parts, in the order of the items that `own` divided."""
        parts = self.gather(list(own))
        found: list[Any] = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            found[rank :: self.count] = part
        return found

    def first(self, work: Callable[[], _T]) -> _T:
        """Return what `work` gives in the first process, which alone does it."""
        if self.count == 1:
            return work()
        from torch import distributed

        found: list[Any] = [work() if self.writes else None]
        with self._answered():
            distributed.broadcast_object_list(found, src=0)
        return found[0]  # type: ignore[no-any-return]

    def sum(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of all processes' tensors of this shape, the same bits in each."""
        if self.count == 1:
            return tensor
        from torch import distributed

        summed = tensor.to(self.device, copy=True)
        with self._answered():
            distributed.all_reduce(summed)
        return summed

    def sum_of(self, number: float) -> float:
        """Return the sum of all processes' numbers."""
        import torch

        return number if self.count == 1 else float(self.sum(torch.tensor(number)))

    def sum_gradients(self, model: "nn.Module", *, share: float) -> None:
        """Give every trained parameter the weighted sum of all processes' gradients.

        DistributedDataParallel would overlap this sum with the backward pass, and does not fit these steps: it takes
        the plain mean, so that an uneven last batch or a process without a photo needs `join` and scaled losses; it
        begins to sum within the backward pass, which is run again in smaller parts where memory was short, in one
        process and not in the others; and a pass that does not reach all trained parameters needs a search of the
        graph in each step (`find_unused_parameters`; `static_graph` forbids that parts change). One sum of all
        gradients moves the same bytes.

        Args:
            model: with this process's gradients; none of them counts as 0.
            share: of the batch, that these gradients are the mean of.
        """
        if self.count == 1:
            return
        import torch

        trained = [p for p in model.parameters() if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in trained]
        summed = self.sum(torch.cat([part.reshape(-1) for part in parts]))
        for parameter, part in zip(trained, torch.split(summed, [p.numel() for p in trained]), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(part.reshape(parameter.shape))  # and lies as it does

    def average(self, buffers: "Sequence[torch.Tensor]") -> None:
        """Give every floating-point buffer the mean of its values: batch-norm statistics of the whole batch."""
        if self.count == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.count)

    def copy_first(self, tensors: "Sequence[torch.Tensor]") -> None:
        """Give all tensors the values of the first process's, bit for bit: machines may differ in the last digits."""
        if self.count == 1:
            return
        from torch import distributed

        for tensor in tensors:
            own = tensor.detach()
            dense = own.contiguous()
            with self._answered():
                distributed.broadcast(dense, src=0)
            own.copy_(dense)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count == 1:
            return
        from torch import distributed

        on_gpu = self.device is not None and self.device.type == "cuda"
        with self._answered():
            distributed.barrier(device_ids=[self.device.index] if on_gpu else None)  # type: ignore[union-attr]

    @contextmanager
    def first_process_first(self) -> Iterator[None]:
        """Let the process that writes go through the block before all others."""
        if not self.writes:
            self.wait()
        try:
            yield
        finally:  # the others wait for it
            if self.writes:
                self.wait()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Raise `ProcessError` where the others do not answer."""
        try:
            yield
        except RuntimeError as error:  # of gloo and NCCL; torch's own, for lack of memory, is one, too
            if type(error).__name__ == "OutOfMemoryError":
                raise
            hours = PATIENCE.total_seconds() / 3600
            raise ProcessError(
                f"process {self.rank} of {self.count} (from 0) trains together with others, and at least one of them "
                f"has ended, or has not answered for {hours:.0f} hours. What ended it says so itself. Run the same "
                "command again to resume; torchrun does where it may restart (its max-restarts)."
            ) from error


ALONE = ProcessGroup()


def join_processes(device: "torch.device") -> ProcessGroup:
    """Return the processes that were started together, this one among them; on GPUs each has its own.

    Args:
        device: the kind of processor; of several GPUs LOCAL_RANK says which.
    """
    if process_count() == 1:
        return ALONE
    import torch
    from torch import distributed

    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")  # gloo sums there
    if not distributed.is_initialized():
        _start("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)


def _start(backend: str) -> None:
    global _store  # noqa: PLW0603 (one process group for the whole process, as torch has it)
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, count = next(rendezvous("env://", timeout=_START))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:  # of the environment, and of the network
        raise ProcessError(
            f"WORLD_SIZE and RANK say that {process_count()} processes work together, and they do not find each other: "
            f"{printable(str(error).splitlines()[0])}. Start them by torchrun, or unset both to work alone."
        ) from error
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    _store = distributed.distributed_c10d.PrefixStore(f"regraft {attempt}", store)


def leave_processes() -> None:
    """End the process group that `join_processes` has started, if it did."""
    global _store  # noqa: PLW0603
    if _store is not None:
        from torch import distributed

        _store = None
        if distributed.is_initialized():
            distributed.destroy_process_group()


def speaks_of_failure() -> bool:
    """Tell whether this process is the one to say why all of them end: the first that asks.

    A mistake that all of them find is told once, and one that a single process finds is told by that one; those that
    then lose it have nothing to add.
    """
    if process_count() == 1:
        return True
    if _store is None or "torch" not in sys.modules:
        return is_first_process()
    own = os.environ.get("RANK", "0")
    try:
        return bool(_store.compare_set("failed", "", own).decode() == own)
    except RuntimeError:  # the process that keeps the words has ended, and has said why
        return False
