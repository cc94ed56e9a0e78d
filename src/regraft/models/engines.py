"""Engines run a network, or its part before a cut, over batches of pixels."""

import numpy as np
import torch
from torch import nn

from regraft.models.backbones import Backbone
from regraft.models.memory import Parts


class TorchEngine:
    """PyTorch in float32, without gradients and in eval mode, on one device.

    Attributes:
        preprocess: what its images must have been brought to.
        name: engine and precision, e.g. "torch-cpu-float32"; part of the cache's key.
    """

    def __init__(self, backbone: Backbone, device: torch.device, module: nn.Module | None = None) -> None:
        """Run `backbone`, or `module`, a part of it that begins at the pixels."""
        module = backbone.module if module is None else module
        # channels-last is three times as fast on CPUs with depthwise convolutions and never slower
        self._module = module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self.preprocess = preprocess = backbone.preprocess
        self._mean = 255 * torch.tensor(preprocess.mean, device=device).reshape(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(preprocess.std, device=device).reshape(1, -1, 1, 1))
        self.name = f"torch-{device.type}-float32"
        self._parts = Parts(device, "running the network on")

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, d) float32 pooled features of (b, h, w, 3) uint8 pixels."""
        with torch.inference_mode():
            return np.asarray(self.activations(pixels).float().cpu().numpy())

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

    def normalised(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, 3, h, w) float32 on the engine's device, as the network wants it, of (b, h, w, 3) uint8 pixels."""
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # channels-last as it is
        return (batch.float() - self._mean) * self._scale

    def output_shape(self) -> tuple[int, ...]:
        """Return the shape of one image's output, found by running a blank image."""
        blank = np.zeros((1, self.preprocess.height, self.preprocess.width, 3), dtype=np.uint8)
        return tuple(self.activations(blank).shape[1:])

    def _run(self, pixels: np.ndarray) -> torch.Tensor:
        with torch.no_grad():  # tensors of inference mode cannot be trained on
            output: torch.Tensor = self._module(self.normalised(pixels))
            return output
