"""Networks in timm's own folder format: config.json and model.safetensors, which `local-dir:` and the hub read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from regraft.files import atomic_write
from regraft.heads.linear import LinearHead
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import with_classifier
from regraft.networks.tracing import evaluating

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_KEPT = ("fixed_input_size", "first_conv", "classifier")  # timm's settings that still hold
_TOLERANCE = 1e-3  # relative; between timm's network and features times head


def save_local_dir(
    backbone: Backbone,
    head: LinearHead,
    classes: Sequence[str],
    folder: Path,
    *,
    half: bool,
    licence: str | None = None,
) -> int:
    """Write a network with its last layer for timm, and return how many classes that layer has.

    It has none where timm's own last layer is not a plain linear one: the network is then written without it.

    Args:
        backbone: the network.
        head: its last layer.
        classes: c names.
        folder: made if it is missing.
        half: weights in float16.
        licence: of the weights; None where it is not known.

    Raises:
        OutputError: it cannot be written.
    """
    weight, bias = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
    module = with_classifier(backbone, weight, bias)
    if module is None or not _agrees(module, backbone, weight, bias):
        module, classes = backbone.module, ()
    config = _config(backbone, classes)
    if licence is not None:
        config["pretrained_cfg"]["license"] = licence
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(save({name: halved(t) if half else t for name, t in state.items()}, {"format": "pt"}))
    with atomic_write(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    return len(classes)


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """Return a floating-point tensor in float16, clamped to its range; others as they are."""
    if not tensor.is_floating_point():
        return tensor
    largest = torch.finfo(torch.float16).max
    return tensor.clamp(-largest, largest).half()


def _agrees(module: nn.Module, backbone: Backbone, weight: torch.Tensor, bias: torch.Tensor) -> bool:
    """Tell whether timm's network gives the logits of features and head: it may do more between the two."""
    preprocess = backbone.preprocess
    images = torch.randn(2, 3, preprocess.height, preprocess.width, generator=torch.Generator().manual_seed(0))
    with evaluating(module), torch.no_grad():
        expected = backbone.module.cpu()(images) @ weight.T + bias
        found = module(images)
    return torch.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max() + 1))


def _config(backbone: Backbone, classes: Sequence[str]) -> dict[str, Any]:
    recipe, preprocess = backbone.recipe, backbone.preprocess
    settings = {name: recipe.settings[name] for name in _KEPT if recipe.settings.get(name) is not None}
    settings |= {
        "tag": "regraft",
        "custom_load": False,
        "input_size": [3, preprocess.height, preprocess.width],
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "crop_mode": preprocess.crop_mode,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "num_classes": len(classes),
    }
    return {
        "architecture": recipe.architecture,
        "num_classes": len(classes),
        "num_features": backbone.features,
        "label_names": list(classes),
        "model_args": recipe.arguments,
        "pretrained_cfg": settings,
    }
