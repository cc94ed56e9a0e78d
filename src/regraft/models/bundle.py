"""A classifier in one safetensors file: tensors, and JSON in the metadata. Nothing in it can be executed."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regraft.data.preprocess import Preprocess
from regraft.errors import BundleError, WeightsError
from regraft.files import atomic_write
from regraft.models.backbones import Recipe, rebuild_backbone, tensor_bytes
from regraft.models.classifier import Classifier
from regraft.models.heads import Head

FORMAT = 1
_KEY = "regraft"
_BACKBONE = "backbone."
_SEEN = "seen."


def save_bundle(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, whole or not at all.

    Raises:
        OutputError: disk full, no such folder, no permission.
    """
    tensors = {_BACKBONE + name: _smallest(t) for name, t in classifier.backbone.module.state_dict().items()}
    tensors["head.weight"] = torch.from_numpy(classifier.head.weight)
    tensors["head.bias"] = torch.from_numpy(classifier.head.bias)
    for role, keys in classifier.seen.items():
        tensors[_SEEN + role] = torch.from_numpy(keys.view(np.int64))
    backbone = classifier.backbone
    about = {
        "format": FORMAT,
        "classes": list(classifier.classes),
        "label_type": classifier.label_type,
        "model": classifier.model,
        "strategy": classifier.strategy,
        "temperature": classifier.temperature,
        "head_strength": classifier.head.strength,
        "architecture": backbone.recipe.architecture,
        "arguments": backbone.recipe.arguments,
        "settings": backbone.recipe.settings,
        "preprocess": backbone.preprocess.to_json(),
        "weights_source": backbone.source,
        "numbers": classifier.numbers,
        "versions": {name: version(name) for name in ("regraft", "torch", "timm")}
        | {"python": platform.python_version()},
    }
    about["sha256"] = _digest(about, tensors)
    text = json.dumps(about, ensure_ascii=False, allow_nan=False)
    text = text.encode(errors="backslashreplace").decode()  # a file name that is no UTF-8: as JSON escapes it
    data = save(tensors, {_KEY: text})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_bundle(path: Path) -> Classifier:
    """Read a classifier back. Nothing is executed and nothing is fetched.

    Raises:
        BundleError: no such file, damaged, no regraft model, or written by a newer version.
    """
    about, tensors = _read(path)
    if about.pop("sha256", None) != _digest(about, tensors):
        raise BundleError(f"{path} is damaged: its contents are not what was saved. Copy it again.")
    state = {n.removeprefix(_BACKBONE): _full(t) for n, t in tensors.items() if n.startswith(_BACKBONE)}
    seen = {n.removeprefix(_SEEN): t.numpy().view(np.uint64) for n, t in tensors.items() if n.startswith(_SEEN)}
    try:
        recipe = Recipe(about["architecture"], about["arguments"], about["settings"])
        backbone = rebuild_backbone(recipe, Preprocess.from_json(about["preprocess"]), state)
        backbone.source = about["weights_source"]
        head = Head(tensors["head.weight"].numpy(), tensors["head.bias"].numpy(), about["head_strength"])
        return Classifier(
            backbone=backbone,
            head=head,
            classes=tuple(about["classes"]),
            temperature=about["temperature"],
            model=about["model"],
            strategy=about["strategy"],
            numbers=about["numbers"],
            seen=seen,
            label_type=about["label_type"],
        )
    except WeightsError as error:  # an architecture that this timm builds otherwise, or not at all
        raise BundleError(f"{path} cannot be rebuilt: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is damaged: its description lacks or garbles {error}. Fit it again.") from None


def read_description(path: Path) -> dict[str, Any]:
    """Return what a bundle says of itself, without its tensors.

    Raises:
        BundleError: as `load_bundle`.
    """
    if not path.is_file():
        raise BundleError(f"{path} does not exist. Name a file that `regraft fit --out` wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is damaged or no safetensors file ({error}). Copy it or fit it again.") from None
    if _KEY not in metadata:
        raise BundleError(
            f"{path} is a safetensors file, but no regraft model. To start from its weights: --weights {path}"
        )
    try:
        about = dict(json.loads(metadata[_KEY]))
        newer = about["format"] > FORMAT
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path} is damaged: its description is no JSON object. Copy it or fit it again.") from None
    if newer:
        versions = about.get("versions")
        writer = versions.get("regraft", "unknown") if isinstance(versions, dict) else "unknown"
        raise BundleError(
            f"{path} was written by a newer regraft ({writer}; this is {version('regraft')}). "
            "Update it: pip install -U regraft"
        )
    return about


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    about = read_description(path)
    with safe_open(path, framework="pt") as file:
        return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _smallest(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` in float16 where that loses nothing (weights published in half precision), else as it is."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _digest(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
