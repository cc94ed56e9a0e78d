"""Hostile descriptions of networks: what a bundle's metadata, or a folder's config.json, may say."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.hostile.photos import pick

Draw = np.random.Generator
Change = Callable[[dict[str, Any], Draw], object]
ADDRESS = "http://127.0.0.1:9/weights.safetensors"  # nobody listens there
HUGE_TEXT = "x" * 200_000


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def pickled(marker: Path) -> bytes:
    """Return a pickle that makes `marker` when it is loaded."""
    return pickle.dumps({"state_dict": Touch(marker), "weight": Touch(marker)}, protocol=2)


def values(trap: Path) -> list[Any]:
    """Return what may stand in place of any value.

    Args:
        trap: a file that must not be opened.
    """
    return [
        None,
        True,
        False,
        0,
        -1,
        3,
        10**8,
        2**63,
        10**4000,
        0.5,
        -0.0,
        1e-320,
        1e308,
        "",
        "x",
        str(trap),
        ADDRESS,
        "hf-hub:timm/resnet18.a1_in1k",
        "local-dir:/etc",
        "../../etc/passwd",
        "cuda",
        "float64",
        "torch.nn.Linear",
        "\x1b[2J\u202e\n",
        "\ud800",
        "é" * 1000,
        HUGE_TEXT,
        [],
        [[]],
        [1] * 2000,
        [0, 1, 2],
        [3, 32, 32],
        [1e8, 1e8, 1e8],
        {},
        {"url": ADDRESS},
        {"a": {"b": {"c": {"d": 1}}}},
        {HUGE_TEXT: 1},
        nested(50),
    ]


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def arguments(trap: Path, draw: Draw) -> dict[str, Any]:
    """Draw arguments for a network's constructor."""
    foreign: list[dict[str, Any]] = [
        {"checkpoint_path": str(trap)},
        {"pretrained": True, "checkpoint_path": str(trap)},
        {"pretrained_cfg_overlay": {"url": ADDRESS, "hf_hub_id": "timm/resnet18.a1_in1k", "file": str(trap)}},
        {"pretrained_cfg": {"url": ADDRESS}},
        {"pretrained_cfg": "a1_in1k"},
        {"weights": str(trap), "weight_init": str(trap)},
        {"cache_dir": "/etc", "hf_hub_id": "timm/resnet18.a1_in1k"},
        {"device": "cuda"},
        {"device": "meta"},
        {"dtype": "float64"},
        {"scriptable": True, "exportable": True, "no_jit": True},
        {"features_only": True},
        {"num_classes": 10**6},
        {"in_chans": 10**4},
        {"self": 1},
        {"__class__": "x"},
        {"kwargs": {"checkpoint_path": str(trap)}},
        {"model_name": "resnet50"},
        {"": 1},
    ]
    own = [
        *("layers", "depth", "depths", "dims", "embed_dim", "num_heads", "mlp_ratio", "block_args", "stem_size"),
        *("num_features", "channels", "width", "img_size", "patch_size", "global_pool", "drop_rate", "norm_layer"),
        *("act_layer", "pad_type", "output_stride", "fix_stem", "head_bias", "se_layer", "aa_layer", "cardinality"),
    ]
    sizes = [10**8, 16_384, 1000, [16_384] * 1000, [[1000] * 1000] * 3, [200] * 4, [1, 1, 1, 1], -3, 0, 1e8, "x", None]
    if draw.random() < 0.4:
        return pick(draw, foreign)
    chosen = {pick(draw, own): pick(draw, sizes) for _ in range(int(draw.integers(1, 4)))}
    return chosen | ({pick(draw, own): pick(draw, values(trap))} if draw.random() < 0.5 else {})


ARCHITECTURES = (
    *("hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18", "local-dir:/etc", "timm/resnet18", "resnet18.a1_in1k"),
    *("no_such_network", "", "../resnet18", "resnet18\n", "RESNET18", "test_vit", "test_resnet", "test_convnext"),
    *("test_efficientnet_gn", "test_byobnet", "test_mambaout", "resnet10t", "os", "timm.models", "r\u0435snet18"),
)
SETTINGS = (
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "architecture", "tag"),
    *("input_size", "test_input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode"),
    *("test_crop_pct", "mean", "std", "num_classes", "label_offset", "label_names", "label_descriptions", "pool_size"),
    *("test_pool_size", "first_conv", "classifier", "license", "description", "origin_url", "paper_ids", "notes"),
    *("unknown", "__class__", "to_dict", ""),
)


def settings(trap: Path, draw: Draw) -> dict[str, Any]:
    """Draw values of timm's `pretrained_cfg`."""
    sources: list[dict[str, Any]] = [
        {"url": ADDRESS},
        {"file": str(trap), "source": "file"},
        {"file": str(trap)},
        {"custom_load": True, "file": str(trap)},
        {"custom_load": "hf", "hf_hub_id": "timm/resnet18.a1_in1k", "source": "hf-hub"},
        {"state_dict": {"fc.weight": [1, 2]}},
        {"source": "local-dir", "file": "/etc"},
        {"hf_hub_id": "../../etc", "hf_hub_filename": "../../etc/passwd"},
        {"input_size": [3, 2048, 2048]},
        {"input_size": [3, 10**6, 10**6]},
        {"input_size": [3, 1, 1]},
        {"mean": [1e308] * 3, "std": [1e-308] * 3},
        {"crop_pct": 1e-9},
        {"classifier": ["conv_stem", "a.b.c"]},
        {"classifier": "blocks"},
        {"first_conv": "classifier"},
    ]
    if draw.random() < 0.4:
        return pick(draw, sources)
    return {pick(draw, SETTINGS): pick(draw, values(trap)) for _ in range(int(draw.integers(1, 4)))}


def set_at_random(about: dict[str, Any], trap: Path, draw: Draw) -> None:
    """Put some value in place of some other one, at any depth."""
    name = pick(draw, sorted(about))
    if isinstance(about[name], dict) and about[name] and draw.random() < 0.7:
        set_at_random(about[name], trap, draw)
    elif draw.random() < 0.15:
        del about[name]
    else:
        about[name] = pick(draw, values(trap))


def change_tensors(tensors: dict[str, torch.Tensor], draw: Draw) -> None:
    """Change type, shape, values, names or number of the tensors of a bundle."""
    name = pick(draw, [*sorted(tensors), "head.weight", "head.bias"])
    tensor = tensors[name]
    with_values = tensor.detach().clone().float()
    with_values.reshape(-1)[: 1 + int(draw.integers(9))] = pick(draw, [float("nan"), float("inf"), -float("inf"), 3e38])
    # not bfloat16 nor float8: see `costly`
    types = (torch.float64, torch.int8, torch.uint8, torch.bool, torch.int64, torch.float16, torch.complex64)
    choices: list[Callable[[], object]] = [
        lambda: tensors.update({name: with_values}),
        lambda: tensors.update({name: tensor.to(pick(draw, types))}),
        lambda: tensors.update({name: tensor.reshape(-1)[:-1].clone()}),
        lambda: tensors.update({name: tensor.unsqueeze(0)}),
        lambda: tensors.update({name: tensor.reshape(-1)[:1].reshape(()).clone()}),
        lambda: tensors.update({name: torch.zeros(0)}),
        lambda: tensors.pop(name),
        lambda: tensors.update({name + ".more": tensor.clone()}),
        lambda: tensors.update({"backbone." + "x" * 9999: torch.zeros(1)}),
        lambda: tensors.update({f"backbone.{number}": torch.zeros(1) for number in range(5000)}),
        lambda: tensors.update({"seen.training": torch.zeros(3), "seen.": torch.zeros(2, 2, dtype=torch.int64)}),
        lambda: tensors.update({"\x1b[2J\n": torch.zeros(1), "": torch.zeros(1)}),
    ]
    pick(draw, choices)()


def to_text(about: Any) -> str:
    """Return JSON, also of numbers that Python does not write by itself."""
    return json.dumps(about).replace('"HUGE"', "9" * 5000)
