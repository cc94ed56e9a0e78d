"""A classifier in one safetensors file: tensors, and JSON in the metadata. Nothing in it can be executed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regraft.classifier.classifier import TIMINGS, Classifier
from regraft.classifier.schema import Description, convert
from regraft.data.preprocess import Preprocess
from regraft.engines.selection import ENGINES, EngineChoice
from regraft.errors import BundleError, ModelError, WeightsError, printable, shortlist
from regraft.files import atomic_write, is_file, parse_json
from regraft.heads.search import Head
from regraft.networks.backbones import rebuild_backbone, tensor_bytes
from regraft.networks.registry import SOURCE_SETTINGS, Recipe, check_settings
from regraft.networks.weights import without_folders

FORMAT = 1
_KEY = "regraft"
_BACKBONE = "backbone."
_WEIGHT, _BIAS = "head.weight", "head.bias"
_SEEN = "seen."
_KINDS = frozenset({torch.float32, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool})


def save_bundle(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, whole or not at all.

    Raises:
        OutputError: disk full, no such folder, no permission.
    """
    tensors = {_BACKBONE + name: _smallest(t) for name, t in classifier.backbone.module.state_dict().items()}
    tensors[_WEIGHT] = torch.from_numpy(classifier.head.weight)
    tensors[_BIAS] = torch.from_numpy(classifier.head.bias)
    for role, keys in classifier.seen.items():
        tensors[_SEEN + role] = torch.from_numpy(keys.view(np.int64))
    backbone = classifier.backbone
    about = {
        "format": FORMAT,
        "classes": list(classifier.classes),
        "label_type": classifier.label_type,
        "model": without_folders(classifier.model),
        "strategy": classifier.strategy,
        "temperature": classifier.temperature,
        "head_strength": classifier.head.strength,
        "architecture": backbone.recipe.architecture,
        "arguments": backbone.recipe.arguments,
        "settings": {name: value for name, value in backbone.recipe.settings.items() if name not in SOURCE_SETTINGS},
        "preprocess": backbone.preprocess.to_json(),
        "weights_source": without_folders(backbone.source),
        "numbers": _lasting(classifier),
        "engine": None if classifier.engine_choice is None else asdict(classifier.engine_choice),
        "versions": {name: version(name) for name in ("regraft", "torch", "timm")}
        | {"python": platform.python_version()},
    }
    about["sha256"] = _digest(about, tensors)
    text = json.dumps(about, ensure_ascii=False, allow_nan=False)
    text = text.encode(errors="backslashreplace").decode()  # a file name that is no UTF-8: as JSON escapes it
    _check(about, tensors)  # what is written can be read again
    data = save(tensors, {_KEY: text})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_bundle(path: Path) -> Classifier:
    """Read a classifier back. Nothing is executed and nothing is fetched.

    Raises:
        BundleError: no such file, damaged, no regraft model, or written by a newer version.
    """
    about, tensors = _read(path)
    _check_kinds(path, tensors)
    if about.pop("sha256", None) != _digest(about, tensors):
        raise BundleError(f"{path} is damaged: its contents are not what was saved. Copy it again.")
    try:
        description = _check(about, tensors)
    except ValueError as error:
        raise BundleError(f"{path} cannot be used: {printable(str(error))}. Fit it again.") from None
    settings = {name: value for name, value in description.settings.items() if name not in SOURCE_SETTINGS}
    state = {n.removeprefix(_BACKBONE): _full(t) for n, t in tensors.items() if n.startswith(_BACKBONE)}
    seen = {n.removeprefix(_SEEN): t.numpy().view(np.uint64) for n, t in tensors.items() if n.startswith(_SEEN)}
    head = Head(tensors[_WEIGHT].numpy(), tensors[_BIAS].numpy(), description.head_strength)
    try:
        check_settings(settings, "{} in its settings")
        recipe = Recipe(description.architecture, description.arguments, settings)
        backbone = rebuild_backbone(recipe, Preprocess.from_json(about["preprocess"]), state)
    except (WeightsError, ModelError) as error:  # an architecture that this timm builds otherwise, or not at all
        raise BundleError(f"{path} cannot be rebuilt: {printable(str(error), lines=True)}") from None
    if head.weight.shape[1] != backbone.features:
        raise BundleError(
            f"{path} cannot be used: its head is for {head.weight.shape[1]:,} features, and its network has "
            f"{backbone.features:,}. Fit it again."
        )
    backbone.source = description.weights_source
    chosen = description.engine
    return Classifier(
        backbone=backbone,
        head=head,
        classes=tuple(description.classes),
        temperature=description.temperature,
        model=description.model,
        strategy=description.strategy,
        numbers=description.numbers,
        seen=seen,
        label_type=description.label_type,
        engine_choice=None if chosen is None else EngineChoice(chosen.engine, chosen.machine),
    )


def read_description(path: Path) -> dict[str, Any]:
    """Return what a bundle says of itself, without its tensors.

    Raises:
        BundleError: as `load_bundle`.
    """
    if not is_file(path):
        what = "is no ordinary file" if path.exists() else "does not exist"
        raise BundleError(f"{path} {what}. Name a file that `regraft fit --out` wrote.")
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
        about = dict(parse_json(metadata[_KEY]))
        newer = about["format"] > FORMAT
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path} is damaged: its description is no JSON object. Copy it or fit it again.") from None
    if newer:
        versions = about.get("versions")
        writer = versions.get("regraft", "unknown") if isinstance(versions, dict) else "unknown"
        raise BundleError(
            f"{path} was written by a newer regraft ({printable(str(writer)[:40])}; this is {version('regraft')}). "
            "Update it: pip install -U regraft"
        )
    return about


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    about = read_description(path)
    try:
        with safe_open(path, framework="pt") as file:
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError, AttributeError) as error:  # a type that this PyTorch has not
        reason = printable(str(error))
        raise BundleError(
            f"{path} is damaged: its tensors cannot be read ({reason}). Copy it or fit it again."
        ) from None


def _check_kinds(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `BundleError` for tensors of numbers that regraft does not write, and NumPy may not have."""
    foreign = [f"{name}: {_kind(tensor)}" for name, tensor in tensors.items() if tensor.dtype not in _KINDS]
    if foreign:
        raise BundleError(
            f"{path} holds numbers that no regraft writes:\n{shortlist(foreign)}\nCopy it again, or fit it again."
        )


def _check(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Description:
    """Return the description of a bundle whose parts fit together.

    Raises:
        ValueError: they do not.
    """
    description: Description = convert(about, Description)
    _check_tensors(tensors, len(description.classes))
    if description.engine is not None and description.engine.engine not in ENGINES[1:]:
        raise ValueError(f"engine must be one of {', '.join(ENGINES[1:])}. Got {description.engine.engine!r}")
    return description


def _check_tensors(tensors: Mapping[str, torch.Tensor], classes: int) -> None:
    """Raise `ValueError` unless head and network are finite, and the head has an output for each class."""
    weight, bias = tensors.get(_WEIGHT), tensors.get(_BIAS)
    if weight is None or bias is None:
        raise ValueError(f"{_WEIGHT if weight is None else _BIAS} is missing")
    if weight.dtype != torch.float32 or bias.dtype != torch.float32 or weight.ndim != 2 or bias.ndim != 1:
        raise ValueError(f"the head must be float32 of shapes (c, d) and (c,). Got {_kind(weight)} and {_kind(bias)}")
    if not len(weight) == len(bias) == classes:
        raise ValueError(f"there are {classes} classes, and the head has {len(weight)} outputs and {len(bias)} offsets")
    for name, tensor in tensors.items():
        if name.startswith(_SEEN) and (tensor.dtype != torch.int64 or tensor.ndim != 1):
            raise ValueError(f"{name} must be int64 of shape (n,). Got {_kind(tensor)}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinite)")


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _lasting(classifier: Classifier) -> dict[str, Any]:
    """Return the figures without how long it took and where photos and network lay.

    Runs of the same command give the same file, and who gets it learns nothing of its author's folders.
    """
    local, name = classifier.model, without_folders(classifier.model)
    kept = {key: value for key, value in classifier.numbers.items() if key not in TIMINGS}
    for key in ("model", "reason"):
        if isinstance(kept.get(key), str) and local:
            kept[key] = kept[key].replace(local, name)
    if "unreadable" in kept:
        kept["unreadable"] = [_photo_name(Path(path), classifier.classes) for path in kept["unreadable"]]
    if "tried" in kept:
        kept["tried"] = [{key: value for key, value in row.items() if key not in TIMINGS} for row in kept["tried"]]
    return kept


def _photo_name(path: Path, classes: Sequence[str]) -> str:
    """Return the name of a photo, with its folder where that is a class."""
    return f"{path.parent.name}/{path.name}" if path.parent.name in classes else path.name


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
