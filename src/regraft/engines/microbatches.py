"""Batches in as many parts as the memory of a device asks for, and words where one photo is too much."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from regraft.errors import TrainingError

_T = TypeVar("_T")
_PHOTOS = {1: "a single photo", 2: "two photos"}


class Parts:
    """Does work on whole batches; in halves, quarters ... once the device had too little memory for that.

    Args:
        device: where the work is done.
        task: for the message, e.g. "training on".
        least: photos that a part must hold: 1, or 2 where one alone has no statistics.
    """

    def __init__(self, device: torch.device, task: str, *, least: int = 1) -> None:
        self._device, self._task, self._least = device, task, least
        self._count = 1

    def __call__(self, photos: int, work: Callable[[list[slice]], _T]) -> _T:
        """Return what `work` gives, which hears the rows of every part of `photos`, and may have to begin again.

        Raises:
            TrainingError: not even the smallest part fits.
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
    fewer = "Train fewer stages (--train-from), or use" if "training" in task else "Use"
    return TrainingError(f"{device} has no memory for {task}. {fewer} --device cpu.")


@contextmanager
def memory_for(device: torch.device, task: str) -> Iterator[None]:
    """Raise `TrainingError` where `device` runs out of memory for `task`, of which there are no smaller parts."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise no_memory(device, task) from None
