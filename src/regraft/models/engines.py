"""Engines run a network over batches of pixels."""

import numpy as np
import torch

from regraft.models.backbones import Backbone


class TorchEngine:
    """PyTorch in float32, without gradients and in eval mode, on one device.

    Attributes:
        preprocess: what its images must have been brought to.
        name: engine and precision, e.g. "torch-cpu-float32"; part of the cache's key.
    """

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        # channels-last is three times as fast on CPUs with depthwise convolutions and never slower
        self._module = backbone.module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self.preprocess = preprocess = backbone.preprocess
        self._mean = 255 * torch.tensor(preprocess.mean, device=device).reshape(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(preprocess.std, device=device).reshape(1, -1, 1, 1))
        self.name = f"torch-{device.type}-float32"

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, d) float32 pooled features of (b, h, w, 3) uint8 pixels."""
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # channels-last as it is
        with torch.inference_mode():
            normalised = (batch.float() - self._mean) * self._scale
            return np.asarray(self._module(normalised).float().cpu().numpy())
