"""torchvision's networks, saved as torchvision saves them, give torchvision's own penultimate features."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as torchvision

from regraft.networks.backbones import load_backbone


def _vgg16() -> nn.Module:
    return torchvision.vgg16(weights=None, init_weights=False)


def _resnet50() -> nn.Module:
    return torchvision.resnet50(weights=None)


def _inception_v3() -> nn.Module:
    # transform_input is False here: both get the same normalised tensor
    return torchvision.inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)


def _before_last_layer(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the last Linear of `network` receives in eval mode."""
    last = network.classifier[-1] if isinstance(network, torchvision.VGG) else network.fc
    received: list[torch.Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    with torch.inference_mode():
        network(images)
    handle.remove()
    return received[0]


def _settle(network: nn.Module, images: torch.Tensor) -> None:
    """Set batch norm's statistics to those of `images`: else the signal fades over ninety layers."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "side"),
    [
        ("vgg16", _vgg16, 224),
        ("resnet50", _resnet50, 224),
        ("inception_v3", _inception_v3, 299),
    ],
)
def test_features_are_torchvisions(
    name: str,
    make: Callable[[], nn.Module],
    side: int,
    tmp_path: Path,
    randomise: Callable[[nn.Module, int], nn.Module],
) -> None:
    network = randomise(make(), 0)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    images *= torch.tensor([0.3, 1.0, 2.0]).reshape(3, 1, 1, 1)
    _settle(network, images)
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    expected = _before_last_layer(network, images)

    backbone = load_backbone(name, weights=file)
    with torch.inference_mode():
        found = backbone.module(images)

    features = {"vgg16": 4096, "resnet50": 2048, "inception_v3": 2048}[name]
    assert backbone.features == features
    assert found.shape == expected.shape == (3, features)
    scale = expected.abs().max().item()
    assert 1e-2 < scale < 1e4  # neither dead nor exploded, or equality would say nothing
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (expected[first] - expected[second]).abs().max() > 0.05 * scale
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)
    assert backbone.source == str(file)
    assert not backbone.module.training


@pytest.mark.slow
def test_one_changed_number_changes_the_features(
    tmp_path: Path, randomise: Callable[[nn.Module, int], nn.Module]
) -> None:
    network = randomise(torchvision.resnet50(weights=None), 0)
    state = network.state_dict()
    torch.save(state, tmp_path / "before.pth")
    state["layer4.2.bn3.bias"][7] += 1000.0  # the last thing before ReLU and pooling: feature 7 grows by 1000
    torch.save(state, tmp_path / "after.pth")
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    before, after = (load_backbone("resnet50", tmp_path / f"{n}.pth").module for n in ("before", "after"))
    with torch.inference_mode():
        difference = after(images) - before(images)
    assert difference[0, 7].item() > 500
    assert torch.equal(difference[0, :7], torch.zeros(7))
    assert torch.equal(difference[0, 8:], torch.zeros(2040))


def test_torchvisions_auxiliary_head_is_left_out(
    tmp_path: Path, randomise: Callable[[nn.Module, int], nn.Module]
) -> None:
    network = randomise(_inception_v3(), 0)
    assert any(name.startswith("AuxLogits.") for name in network.state_dict())
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    state = load_backbone("inception_v3", tmp_path / "inception.pth").module.state_dict()
    assert {name.partition(".")[0] for name in state} == {name.partition(".")[0] for name in network.state_dict()} - {
        "AuxLogits",
        "fc",
    }
