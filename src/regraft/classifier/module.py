"""A classifier as PyTorch modules: its network with the last layer, from images or from pixels."""

import torch
from torch import nn

from regraft.heads.linear import Head, linear_of
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone


class NetworkWithHead(nn.Module):
    """A network with its last layer, as one module: (b, 3, h, w) -> (b, c) logits.

    Args:
        backbone: the network.
        head: its last layer.
        first: the column of the network's features that is the head's first.
    """

    def __init__(self, backbone: Backbone, head: Head, *, first: int = 0) -> None:
        super().__init__()
        self.network = backbone.feature_module
        self.first = first
        self.inside = "network.network" if backbone.depths else "network"  # the name of the network in this module
        linear = linear_of(head, "a network with its head as one module")
        self.register_buffer("weight", torch.from_numpy(linear.weight), persistent=False)
        self.register_buffer("bias", torch.from_numpy(linear.bias), persistent=False)

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (b, c) logits of images (b, 3, h, w)."""
        features: torch.Tensor = self.network(images)
        return features[:, self.first :] @ self.weight.T + self.bias


class ClassifierModule(nn.Module):
    """(b, h, w, 3) uint8 pixels at the network's size -> (b, c) probabilities.

    Args:
        network: with its last layer.
        preprocess: the normalisation of its images.
        temperature: logits are divided by it.
        mirrored: logits are the means of those of a photo and of its mirror image.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: NetworkWithHead, preprocess: Preprocess, *, temperature: float, mirrored: bool) -> None:
        super().__init__()
        self.network, self.temperature, self.mirrored = network, temperature, mirrored
        self.training = network.training = False  # as the network, which stays as it is
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (preprocess.mean, preprocess.std))
        self.register_buffer("mean", 255 * mean, persistent=False)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (b, c) calibrated probabilities of pixels (b, h, w, 3)."""
        images = (pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale
        logits = self.network(images)
        if self.mirrored:
            logits = (logits + self.network(images.flip(3))) / 2
        return torch.softmax(logits / self.temperature, dim=1)
