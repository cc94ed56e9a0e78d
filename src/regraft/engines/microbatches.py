"""Batches split as far as the memory of a device demands, and an error in words where one photo is too much."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from regraft.errors import TrainingError, option

_T = TypeVar("_T")
_PHOTOS = {1: "a single photo", 2: "two photos"}


class MicroBatches:
    """Processes whole batches, or halves, quarters ... of them once the device has run out of memory.

    Args:
        device: where the work is done.
        task: for the message, e.g. "training on".
        least: photos that a micro-batch must hold: 1, or 2 where one alone has no batch statistics.
    """

    def __init__(self, device: torch.device, task: str, *, least: int = 1) -> None:
        self._device, self._task, self._least = device, task, least
        self._count = 1

    def __call__(self, photos: int, work: Callable[[list[slice]], _T]) -> _T:
        """Return the result of `work`, which is given the rows of each micro-batch and may be called again.

        Args:
            photos: size of the batch.
            work: does all of the batch.

        Raises:
            TrainingError: not even the smallest micro-batch fits.
        """
        most = max(photos // self._least, 1)
        while True:
            count = min(self._count, most)
            bounds = [photos * part // count for part in range(count + 1)]
            try:
                return work([slice(*both) for both in itertools.pairwise(bounds)])
            except torch.OutOfMemoryError:
                if count == most:
                    raise no_memory(self._device, f"{self._task} {_PHOTOS[self._least]}") from None
            self._count = 2 * count
            if torch.cuda.is_available():  # out here, where no traceback holds the tensors of the attempt any more
                torch.cuda.empty_cache()


def no_memory(device: torch.device, task: str) -> TrainingError:
    """Return the error that says that `device` has no memory for `task`."""
    fewer = f"Train fewer stages ({option('train_from')}), or use" if "training" in task else "Use"
    return TrainingError(f"{device} has no memory for {task}. {fewer} {option('device', 'cpu')}.")


@contextmanager
def memory_for(device: torch.device, task: str) -> Iterator[None]:
    """Raise `TrainingError` where `device` runs out of memory for `task`, which cannot be split."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise no_memory(device, task) from None
