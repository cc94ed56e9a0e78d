"""Folders for timm: what timm itself reads from them answers as features and head did."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from regraft.heads.linear import LinearHead
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone, reinitialised
from regraft.pretraining.timm_export import halved, save_local_dir

CLASSES = ("ant", "bee", "wasp")


def network(architecture: str) -> tuple[Backbone, LinearHead]:
    backbone = reinitialised(build_untrained(architecture, size=32), 3)
    weight = np.random.default_rng(0).normal(size=(3, backbone.features)).astype(np.float32)
    return backbone, LinearHead(weight, np.array([0.5, -1.0, 2.0], dtype=np.float32), 0.0)


def images() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("half", [False, True])
def test_timm_reads_the_network_with_its_classes(architecture: str, half: bool, tmp_path: Path) -> None:
    backbone, head = network(architecture)
    assert save_local_dir(backbone, head, CLASSES, tmp_path / "out", half=half) == 3
    module = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert module.num_classes == 3
    assert module.pretrained_cfg["label_names"] == list(CLASSES)
    assert tuple(module.pretrained_cfg["input_size"]) == (3, 32, 32)
    with torch.no_grad():
        expected = backbone.module(images()).numpy() @ head.weight.T + head.bias
        found = module(images()).numpy()
    # float16 has 11 bits; what a few layers make of that is far below a percent
    assert np.allclose(found, expected, atol=(2e-2 if half else 1e-4) * np.abs(expected).max())
    assert load_backbone(f"local-dir:{tmp_path / 'out'}").preprocess == backbone.preprocess


@pytest.mark.slow
def test_a_last_layer_that_is_not_linear_is_left_out(tmp_path: Path) -> None:
    """VGG's classifier is part of what the features are; DeiT's distilled networks average two layers."""
    backbone = reinitialised(build_untrained("deit_tiny_distilled_patch16_224", size=32), 0)
    head = LinearHead(np.zeros((3, backbone.features), dtype=np.float32), np.ones(3, dtype=np.float32), 0.0)
    assert save_local_dir(backbone, head, CLASSES, tmp_path, half=False) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_classes"], config["label_names"]) == (0, [])
    again = load_backbone(f"local-dir:{tmp_path}")
    assert torch.equal(again.module(images()), backbone.module(images()))


def test_half_is_half_the_size_and_loses_no_whole_number(tmp_path: Path) -> None:
    backbone, head = network("test_resnet")
    for half in (False, True):
        save_local_dir(backbone, head, CLASSES, tmp_path / str(half), half=half)
    sizes = [(tmp_path / str(half) / "model.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]
    state = load_file(tmp_path / "True" / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16, torch.int64}


def test_beyond_float16_is_its_largest_number() -> None:
    assert halved(torch.tensor([1e6, -1e6, 0.5])).tolist() == [65504.0, -65504.0, 0.5]


def test_random_weights_have_no_licence(tmp_path: Path) -> None:
    backbone, head = network("resnet10t")  # timm's own weights are Apache-2.0
    save_local_dir(backbone, head, CLASSES, tmp_path, half=False)
    assert "license" not in json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    save_local_dir(backbone, head, CLASSES, tmp_path, half=False, licence="cc0-1.0")
    assert json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]["license"] == "cc0-1.0"


def test_arguments_narrow_a_network(tmp_path: Path) -> None:
    backbone = build_untrained("resnet10t", size=64, arguments={"channels": [16, 32, 64, 96]})
    assert backbone.features == 96
    head = LinearHead(np.zeros((3, 96), dtype=np.float32), np.zeros(3, dtype=np.float32), 0.0)
    save_local_dir(backbone, head, CLASSES, tmp_path, half=False)
    assert load_backbone(f"local-dir:{tmp_path}").features == 96
