"""Networks with random weights that are neither dead nor exploding, in timm's local format, and no way out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from regraft.models.backbones import load_backbone
from regraft.models.classifier import Classifier
from regraft.models.heads import Head


def _randomise(module: nn.Module, seed: int) -> nn.Module:
    """Draw every parameter and every floating-point buffer anew, so that signals keep their size through the layers."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            with torch.no_grad():
                if isinstance(layer, (nn.Conv2d, nn.Linear)) and name == "weight":
                    nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
                elif name == "weight":  # of a normalisation
                    parameter.uniform_(0.5, 0.9, generator=generator)
                else:
                    parameter.normal_(0.0, 0.1, generator=generator)
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0.0, 0.1, generator=generator)
            layer.running_var.uniform_(0.8, 1.3, generator=generator)
    return module.eval()


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module, int], nn.Module]:
    """Return randomise(module, seed), which redraws all weights and returns the module in eval mode."""
    return _randomise


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a network in timm's format: local("test_resnet", seed=1) -> "local-dir:..."."""

    def write(architecture: str = "test_resnet", *, seed: int = 0, half: bool = False, name: str | None = None) -> str:
        folder = tmp_path / (name or f"{architecture}-{seed}")
        folder.mkdir()
        network = _randomise(timm.create_model(architecture, num_classes=5), seed)
        if half:  # numbers that float16 can hold
            network = network.half().float()
        save_file(network.state_dict(), folder / "model.safetensors")
        settings = {key: list(v) if isinstance(v, tuple) else v for key, v in network.pretrained_cfg.items()}
        config = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": {**settings, "num_classes": 5}}
        (folder / "config.json").write_text(json.dumps(config))
        return f"local-dir:{folder}"

    return write


@pytest.fixture
def classifier(local: Callable[..., str]) -> Callable[..., Classifier]:
    """Return a function that makes a classifier of three classes around an untrained network."""

    def make(architecture: str = "test_resnet", **options: object) -> Classifier:
        model = local(architecture, **options)
        backbone = load_backbone(model)
        generator = np.random.default_rng(0)
        weight = generator.normal(0, 0.1, (3, backbone.features)).astype(np.float32)
        return Classifier(
            backbone=backbone,
            head=Head(weight, np.array([0.1, 0.0, -0.1], dtype=np.float32), 0.01),
            classes=("Kätzchen", "dog", "7"),
            temperature=1.7,
            model=model,
            strategy="linear",
            numbers={"accuracy": 0.9, "interval": [0.8, 0.95]},
            seen={"training": np.array([1, 2**64 - 1], dtype=np.uint64), "validation": np.array([5], dtype=np.uint64)},
        )

    return make


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    """Return a function that makes (b, h, w, 3) uint8 images, each of another colour and with noise of its own."""

    def draw(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        base = generator.integers(40, 216, (count, 1, 1, 3))
        return (base + generator.normal(0, 30, (count, height, width, 3))).clip(0, 255).astype(np.uint8)

    return draw
