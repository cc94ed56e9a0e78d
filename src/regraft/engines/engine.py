"""Engines run a network, or its part before a cut, over batches of pixels."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from regraft.data.loading import Batch
from regraft.data.preprocess import Preprocess
from regraft.engines.microbatches import Parts
from regraft.networks.backbones import Backbone

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Engine(ABC):
    """Runs one network, on one kind of processor, in one precision.

    Attributes:
        preprocess: what its images must have been brought to.
        name: engine, processor and precision, e.g. "torch-cpu-float32"; part of the cache's key.
        ahead: batches that are under way at a time, so that the processor never waits for its results to be fetched.
    """

    preprocess: Preprocess
    name: str
    ahead: int = 1

    @abstractmethod
    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels."""

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, d) float32 pooled features of (b, h, w, 3) uint8 pixels."""
        with torch.inference_mode():
            return np.asarray(self.activations(pixels).float().cpu().numpy())

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin on (b, h, w, 3) uint8 pixels; return what waits for their features (b, d) and gives them."""
        vectors = self.features(pixels)
        return lambda: vectors

    def drop(self) -> None:  # noqa: B027 (most engines have nothing to drop)
        """Begin nothing more of what was started and has not been waited for: Ctrl-C need not wait for it."""

    def output_shape(self) -> tuple[int, ...]:
        """Return the shape of one image's output, found by running a blank image."""
        blank = np.zeros((1, self.preprocess.height, self.preprocess.width, 3), dtype=np.uint8)
        return tuple(self.activations(blank).shape[1:])


class Computed(NamedTuple):
    """A batch and its features (b, d)."""

    batch: Batch
    features: np.ndarray


def run_ahead(engine: Engine, batches: Iterable[Batch]) -> Generator[Computed]:
    """Yield every batch with its features, in order, while the engine works on the next ones."""
    under_way: deque[tuple[Batch, Callable[[], np.ndarray]]] = deque()
    try:
        for batch in batches:
            under_way.append((batch, engine.start(batch.pixels) if len(batch.positions) else _nothing))
            if len(under_way) > engine.ahead - 1:
                first, features = under_way.popleft()
                yield Computed(first, features())
        for last, features in under_way:
            yield Computed(last, features())
    finally:
        engine.drop()


def _nothing() -> np.ndarray:
    return np.empty((0, 0), dtype=np.float32)


class TorchEngine(Engine):
    """PyTorch, without gradients and in eval mode, on one device. In float32 it is what all others are measured by."""

    def __init__(
        self, backbone: Backbone, device: torch.device, module: nn.Module | None = None, *, precision: str = "float32"
    ) -> None:
        """Run `backbone`, or `module`, a part of it that begins at the pixels.

        Args:
            backbone: the network.
            device: where it runs; the network is moved there.
            module: the part of it.
            precision: a key of `DTYPES`; below float32 by autocast, which keeps in float32 what needs it.
        """
        module = backbone.module if module is None else module
        # channels-last is three times as fast on CPUs with depthwise convolutions and never slower
        self._module = module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self._dtype = DTYPES[precision]
        self.preprocess = preprocess = backbone.preprocess
        self._mean = 255 * torch.tensor(preprocess.mean, device=device).reshape(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(preprocess.std, device=device).reshape(1, -1, 1, 1))
        self.name = f"torch-{device.type}-{precision}"
        self.ahead = 1 if device.type == "cpu" else 2
        self._parts = Parts(device, "running the network on")

    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels.

        They are on the engine's device, or on the CPU where its memory was too small for the whole batch.

        Raises:
            TrainingError: there is no memory for a single image.
        """

        def run(parts: list[slice]) -> torch.Tensor:
            if len(parts) == 1:
                return self._run(pixels)
            return torch.cat([self._run(pixels[rows]).cpu() for rows in parts])

        return self._parts(len(pixels), run)

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin on (b, h, w, 3) uint8 pixels; return what waits for their features (b, d) and gives them."""
        if self._device.type == "cpu":
            return super().start(pixels)
        vectors = self.activations(pixels)  # an accelerator works on while the next batch is handed to it
        return lambda: np.asarray(vectors.cpu().numpy())

    def normalised(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, 3, h, w) float32 on the engine's device, as the network wants it, of (b, h, w, 3) uint8 pixels."""
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # channels-last as it is
        return (batch.float() - self._mean) * self._scale

    def _run(self, pixels: np.ndarray) -> torch.Tensor:
        reduced = self._dtype is not torch.float32
        # not inference mode, whose tensors cannot be trained on
        with torch.no_grad(), torch.autocast(self._device.type, self._dtype, enabled=reduced):
            output: torch.Tensor = self._module(self.normalised(pixels))
            return output.float()
