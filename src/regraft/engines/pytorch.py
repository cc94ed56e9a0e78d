"""The PyTorch engine: on any device, in float32 or below it by autocast."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from regraft.engines.engine import Engine
from regraft.engines.microbatches import MicroBatches
from regraft.networks.backbone import Backbone

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEngine(Engine):
    """PyTorch without gradients, in eval mode, on one device. In float32 it is the reference for all other engines."""

    def __init__(
        self, backbone: Backbone, device: torch.device, module: nn.Module | None = None, *, precision: str = "float32"
    ) -> None:
        """Run `backbone`, or `module`, a part of it that takes the pixels.

        Args:
            backbone: the network.
            device: where it runs; the network is moved there.
            module: the part of it, None for all of it: (b, width) features.
            precision: a key of `DTYPES`; below float32 by autocast, which keeps in float32 what needs it.
        """
        module = backbone.feature_module if module is None else module
        # channels-last is three times as fast on CPUs with depthwise convolutions and never slower
        self._module = module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self._dtype = DTYPES[precision]
        self.preprocess = preprocess = backbone.preprocess
        self._mean = 255 * torch.tensor(preprocess.mean, device=device).reshape(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(preprocess.std, device=device).reshape(1, -1, 1, 1))
        self.name = f"torch-{device.type}-{precision}"
        self.ahead = 1 if device.type == "cpu" else 2
        self._micro_batches = MicroBatches(device, "running the network on")

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels."""
        with torch.inference_mode():
            return np.asarray(self.activations(pixels).cpu().numpy())

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

        return self._micro_batches(len(pixels), run)

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on (b, h, w, 3) uint8 pixels; return a function that waits for their features (b, d)."""
        if self._device.type == "cpu":
            return super().start(pixels)
        vectors = self.activations(pixels)  # an accelerator runs on while the next batch is handed to it
        return lambda: np.asarray(vectors.cpu().numpy())

    def normalised(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the network's input, (b, 3, h, w) float32 on the engine's device, of (b, h, w, 3) uint8 pixels."""
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # channels-last as it is
        return (batch.float() - self._mean) * self._scale

    def _run(self, pixels: np.ndarray) -> torch.Tensor:
        reduced = self._dtype is not torch.float32
        # not inference mode, whose tensors cannot be trained on
        with torch.no_grad(), torch.autocast(self._device.type, self._dtype, enabled=reduced):
            output: torch.Tensor = self._module(self.normalised(pixels))
            return output.float()
