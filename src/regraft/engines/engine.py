"""What runs a network, or its part before a cut, over batches of pixels."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regraft.errors import EngineError
from regraft.images.loading import Batch
from regraft.images.preprocess import Preprocess

if TYPE_CHECKING:
    import torch


class UnsupportedNetworkError(EngineError):
    """An engine can never run this network: it lacks an operation, and no retry will help."""


class Engine(ABC):
    """Runs one network on one kind of processor in one precision.

    Attributes:
        preprocess: how its images must have been prepared.
        name: library, processor and precision, e.g. "torch-cpu-float32"; part of the cache's key.
        ahead: how many batches are in flight at a time, so that the processor never waits for results to be fetched.
    """

    preprocess: Preprocess
    name: str
    ahead: int = 1

    @abstractmethod
    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, ...) float32 outputs, of a whole network pooled features (b, d), of (b, h, w, 3) uint8 pixels."""

    def activations(self, pixels: np.ndarray) -> "torch.Tensor":
        """Return the outputs of `features` as a tensor, to train on."""
        import torch

        return torch.from_numpy(self.features(pixels))

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on (b, h, w, 3) uint8 pixels; return a function that waits for their features (b, d)."""
        vectors = self.features(pixels)
        return lambda: vectors

    def drop(self) -> None:  # noqa: B027 (most engines have nothing to drop)
        """Cancel what was started and has not begun to run, so that Ctrl-C need not wait for it."""

    def output_shape(self) -> tuple[int, ...]:
        """Return the shape of one image's output, found by running a blank image."""
        blank = np.zeros((1, self.preprocess.height, self.preprocess.width, 3), dtype=np.uint8)
        return self.features(blank).shape[1:]


class FeatureBatch(NamedTuple):
    """A batch and its features (b, d)."""

    batch: Batch
    features: np.ndarray


def run_ahead(engine: Engine, batches: Iterable[Batch]) -> Generator[FeatureBatch]:
    """Yield every batch with its features, in order, while the engine works on the next ones."""
    in_flight: deque[tuple[Batch, Callable[[], np.ndarray]]] = deque()
    try:
        for batch in batches:
            in_flight.append((batch, engine.start(batch.pixels) if len(batch.positions) else _no_features))
            if len(in_flight) > engine.ahead - 1:
                first, features = in_flight.popleft()
                yield FeatureBatch(first, features())
        for last, features in in_flight:
            yield FeatureBatch(last, features())
    finally:
        engine.drop()


def _no_features() -> np.ndarray:
    return np.empty((0, 0), dtype=np.float32)
