"""The path back to the pixels: what is neither linear nor a rectifier is refused by name."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from regraft.attribution.backward_rules import BackwardRules
from regraft.attribution.deconvnet import deconvnet
from regraft.attribution.linearity import BackwardPath, backward_path
from regraft.errors import ModelError
from regraft.networks.hook_points import HookPoint


class Swish(nn.Module):
    """SiLU written by hand."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * images.sigmoid()


def test_a_swish_by_hand_is_not_taken_for_a_gate() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Swish(), nn.Conv2d(4, 2, 1), nn.ReLU())
    with pytest.raises(ModelError, match="no rule for what stands before it: Mul of several activations, Sigmoid "):
        deconvnet(network, "3", torch.randn(1, 3, 5, 5), 0)


def test_attention_is_refused() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2)
    with pytest.raises(
        ModelError, match=r"no deconvnet picture can be drawn of blocks\.1 \(input\).*Attention.*Grad-CAM"
    ):
        deconvnet(network, HookPoint("blocks.1", "input", "b n c", 1), torch.randn(1, 3, 32, 32), 0)


class Product(nn.Module):
    """Two rectified maps, multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.end = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.end(functional.relu(self.one(images)) * self.other(images))
        return found


@pytest.mark.parametrize(
    ("network", "stage", "named"),
    [
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Tanh(), nn.ReLU()), "2", "Tanh"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.ELU(), nn.ReLU()), "2", "Elu"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Hardtanh(-1, 1), nn.ReLU()), "2", "Hardtanh"),
        (Product(), "end", "Mul of several activations"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(network: nn.Module, stage: str, named: str) -> None:
    with pytest.raises(ModelError, match=rf"there is no rule for what stands before it: {named} "):
        deconvnet(network, stage, torch.randn(1, 3, 4, 4), 0)


def test_a_plain_gradient_is_not_given_for_a_deconvnet() -> None:
    with pytest.raises(ModelError, match=r"0 \(output\): no rectifier stands before it.*choose a later stage"):
        deconvnet(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), "0", torch.randn(1, 3, 4, 4), 0)


def test_rectifiers_and_switches_on_the_path_are_counted() -> None:
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.MaxPool2d(2), nn.BatchNorm2d(2).eval(), nn.MaxPool2d(2))
    with BackwardRules():
        rectified = functional.relu(functional.relu(images) + images)
        activation = network(rectified + functional.relu(torch.randn(1, 3, 8, 8)))  # the last does not see the pixels
    assert backward_path(images, activation, where="here") == BackwardPath(rectifiers=2, switches=2)
