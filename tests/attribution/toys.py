"""Small networks with weights by hand."""

from collections.abc import Callable

import torch
from torch import nn


def filled(convolution: nn.Conv2d, *weights: object) -> nn.Conv2d:
    """Give a convolution its weights and no bias."""
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor(weights, dtype=torch.float32).reshape(convolution.weight.shape))
    return convolution


def toy(rectifier: Callable[[], nn.Module]) -> nn.Sequential:
    """Return a network on 4 x 4 pixels: a colour filter, a rectifier, max-pooling, two units, a rectifier."""
    return nn.Sequential(
        filled(nn.Conv2d(3, 1, 1, bias=False), [1, 0.5, 0]),
        rectifier(),
        nn.MaxPool2d(2),
        filled(nn.Conv2d(1, 2, 2, bias=False), [[1, -2], [0.5, 1]], [[2, 1], [-1, 3]]),
        rectifier(),
    )


def toy_image() -> torch.Tensor:
    """Return the image (1, 3, 4, 4) that `toy` is worked out for: red alone."""
    red = torch.tensor([[1.0, 2, 0, -1], [3, -4, 1, 5], [0, 0, 2, 1], [-1, 7, 1, -3]])
    return torch.stack([red, torch.zeros(4, 4), torch.zeros(4, 4)])[None]


def at(**values: float) -> torch.Tensor:
    """Return 4 x 4 zeros but for r1c0=2 and the like."""
    found = torch.zeros(4, 4)
    for place, value in values.items():
        found[int(place[1]), int(place[3])] = value
    return found
