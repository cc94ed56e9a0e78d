"""What the tests of training share: a small network with batch norm, and images."""

import pytest
import torch
from torch import nn

from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained


@pytest.fixture
def network() -> Backbone:
    torch.manual_seed(0)
    backbone = build_untrained("test_resnet")  # 32 to 160 pixels, batch norm
    for module in backbone.module.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of the photos
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.6, 1.5)
    return backbone


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
