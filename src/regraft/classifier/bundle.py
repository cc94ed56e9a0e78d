"""A classifier in one safetensors file: tensors, and JSON in the metadata. Nothing in it can be executed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regraft.classifier.classifier import Classifier
from regraft.classifier.record import FitRecord
from regraft.classifier.reference import TrainingReference
from regraft.classifier.schema import Description, NetworkFields
from regraft.data.taxonomy import Taxonomy
from regraft.engines.kinds import ENGINE_KINDS
from regraft.engines.workload import EngineChoice
from regraft.errors import BundleError, ModelError, WeightsError, option, printable, shortlist
from regraft.evaluation.conformal import HeldOutScores
from regraft.evaluation.decisions import Decision
from regraft.files import atomic_write, is_file, parse_json
from regraft.heads.kinds import HEADS
from regraft.heads.linear import Head, LinearHead
from regraft.images.preprocess import Preprocess
from regraft.images.tta import NONE
from regraft.networks.backbones import Backbone, rebuild_backbone, tensor_bytes
from regraft.networks.depths import Depth
from regraft.networks.names import joined_name, parts_of_name
from regraft.networks.registry import SOURCE_SETTINGS, Recipe, check_settings
from regraft.networks.tracing import HookPoint, as_hook_point
from regraft.networks.weights import without_folders
from regraft.validation import convert

NEWEST = 4  # format: 2 has features of several depths or networks, 3 a rule that decides, 4 test-time views
_KEY = "regraft"
_BACKBONE, _JOINED = "backbone.", "joined."
_HEAD = "head."
_SEEN = "seen."
_REFERENCE = "reference."  # older programs pass over it
_HELD_OUT = "held_out."  # likewise
_KINDS = frozenset({torch.float32, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool})


def save_bundle(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, whole or not at all.

    Raises:
        OutputError: disk full, no such folder, no permission.
    """
    tensors = {
        _prefix(number) + name: _smallest(tensor)
        for number, backbone in enumerate(classifier.backbones)
        for name, tensor in backbone.module.state_dict().items()
    }
    parts = {_HEAD: classifier.head, _REFERENCE: classifier.reference, _HELD_OUT: classifier.held_out}
    for prefix, part in parts.items():
        kept = {} if part is None else part.state()
        tensors |= {prefix + name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in kept.items()}
    for role, keys in classifier.seen.items():
        tensors[_SEEN + role] = torch.from_numpy(keys.view(np.int64))
    first, *joined = _networks(classifier)
    about = {
        "format": _format(classifier, first, joined),
        "classes": list(classifier.classes),
        "label_type": classifier.label_type,
        **({"label_dtype": classifier.label_dtype} if classifier.label_dtype else {}),
        "model": model_name(classifier),
        "strategy": classifier.strategy,
        "temperature": classifier.temperature,
        "head_strength": classifier.head.strength,
        **({} if classifier.head.kind == LinearHead.kind else {"head": classifier.head.kind}),
        **first,
        **({"joined": joined} if joined else {}),
        **({} if classifier.tta == NONE else {"tta": classifier.tta}),
        **({} if classifier.decision is None else {"decision": classifier.decision.to_json(classifier.classes)}),
        **({} if classifier.taxonomy is None else {"taxonomy": classifier.taxonomy.to_json()}),
        "numbers": _lasting(classifier),
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
        BundleError: no such file, damaged, not a regraft classifier, or written by a newer version.
    """
    about, tensors = _read(path)
    _check_kinds(path, tensors)
    if about.pop("sha256", None) != _digest(about, tensors):
        raise BundleError(f"{path} is damaged: its contents are not what was saved. Copy it again.")
    try:
        description, head, reference, held_out = _check(about, tensors)
    except ValueError as error:
        raise BundleError(f"{path} cannot be used: {printable(str(error))}. Fit it again.") from None
    seen = {role: keys.view(np.uint64) for role, keys in _arrays(tensors, _SEEN).items()}
    networks = (description, *description.joined)
    try:
        backbones = [_rebuild(one, _state(tensors, number)) for number, one in enumerate(networks)]
    except (WeightsError, ModelError) as error:  # an architecture that this timm builds otherwise, or not at all
        raise BundleError(f"{path} cannot be rebuilt: {printable(str(error), lines=True)}") from None
    engines = [None if one.engine is None else EngineChoice(one.engine.engine, one.engine.machine) for one in networks]
    classifier = Classifier(
        backbone=backbones[0],
        head=head,
        classes=tuple(description.classes),
        temperature=description.temperature,
        model=description.model,
        strategy=description.strategy,
        record=FitRecord.from_json(description.numbers) if description.numbers else None,
        seen=seen,
        label_type=description.label_type,
        label_dtype=description.label_dtype,
        engine_choice=engines[0],
        joined=tuple(backbones[1:]),
        joined_choices=tuple(engines[1:]),
        first_depths=tuple(one.first_depth for one in networks),
        reference=reference,
        decision=None
        if description.decision is None
        else Decision.from_json(description.decision, description.classes),
        tta=description.tta,
        held_out=held_out,
        taxonomy=None if description.taxonomy is None else Taxonomy.from_json(description.taxonomy),
    )
    width = sum(depth.units for depth in classifier.depths) + sum(backbone.features for backbone in backbones)
    if head.features != width:
        raise BundleError(
            f"{path} cannot be used: its head is for {head.features:,} features, and its network has {width:,}. Fit it "
            "again."
        )
    return classifier


def _format(classifier: Classifier, first: Mapping[str, Any], joined: Sequence[Mapping[str, Any]]) -> int:
    """Return the oldest format that says all: what older programs can use, they may read."""
    if classifier.tta != NONE:
        return 4
    if classifier.decision is not None:
        return 3
    return 2 if joined or "depths" in first else 1


def _prefix(number: int) -> str:
    """Return how the names of a network's tensors begin: the first, or one that is joined to it."""
    return f"{_JOINED}{number}." if number else _BACKBONE


def _state(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    prefix = _prefix(number)
    return {name.removeprefix(prefix): _full(t) for name, t in tensors.items() if name.startswith(prefix)}


def _networks(classifier: Classifier) -> list[dict[str, Any]]:
    """Return the fields of `NetworkFields` of each network."""
    choices = (classifier.engine_choice, *(classifier.joined_choices or (None,) * len(classifier.joined)))
    firsts = classifier.first_depths or (0,) * len(choices)
    found = []
    for backbone, choice, first in zip(classifier.backbones, choices, firsts, strict=True):
        recipe = backbone.recipe
        depths = [{"stage": depth.stage, "units": depth.units, **asdict(depth.hook_point)} for depth in backbone.depths]
        found.append(
            {
                "architecture": recipe.architecture,
                "arguments": recipe.arguments,
                "settings": {name: value for name, value in recipe.settings.items() if name not in SOURCE_SETTINGS},
                "preprocess": backbone.preprocess.to_json(),
                "weights_source": without_folders(backbone.source),
                "engine": None if choice is None else asdict(choice),
                **({"depths": depths, "first_depth": first} if depths else {}),
            }
        )
    return found


def _rebuild(network: NetworkFields, state: dict[str, torch.Tensor]) -> Backbone:
    """Return the network of a bundle.

    Raises:
        WeightsError, ModelError: it cannot be built, or has other tensors or layers.
    """
    settings = {name: value for name, value in network.settings.items() if name not in SOURCE_SETTINGS}
    check_settings(settings, "{} in its settings")
    recipe = Recipe(network.architecture, network.arguments, settings)
    preprocess = Preprocess.from_json(msgspec.to_builtins(network.preprocess))
    backbone = rebuild_backbone(recipe, preprocess, state)
    backbone.source = network.weights_source
    depths = [
        Depth(
            one.stage,
            as_hook_point(backbone.module, HookPoint(one.module, one.side, one.layout, one.skipped)),
            one.units,
        )
        for one in network.depths
    ]
    return backbone.with_depths(depths)


def read_description(path: Path) -> dict[str, Any]:
    """Return what a bundle says of itself, without its tensors.

    Raises:
        BundleError: as `load_bundle`.
    """
    if not is_file(path):
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise BundleError(f"{path} {what}. Name a file that `regraft fit` wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is damaged or not a safetensors file ({error}). Copy it or fit it again.") from None
    if _KEY not in metadata:
        raise BundleError(
            f"{path} is a safetensors file, but not a regraft classifier. To start from its weights: "
            f"{option('weights', str(path))}"
        )
    try:
        about = dict(parse_json(metadata[_KEY]))
        newer = about["format"] > NEWEST
    except (ValueError, KeyError, TypeError):
        raise BundleError(
            f"{path} is damaged: its description is not a JSON object. Copy it or fit it again."
        ) from None
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
    """Raise `BundleError` for tensors of a type that regraft does not write, and NumPy may lack."""
    foreign = [f"{name}: {_kind(tensor)}" for name, tensor in tensors.items() if tensor.dtype not in _KINDS]
    if foreign:
        raise BundleError(
            f"{path} holds tensors of a type that regraft never writes:\n{shortlist(foreign)}\n"
            "Copy it again, or fit it again."
        )


def _check(
    about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> tuple[Description, Head, TrainingReference | None, HeldOutScores | None]:
    """Return description, head, reference and held-out scores of a bundle whose parts fit together.

    Raises:
        ValueError: they do not.
    """
    description: Description = convert(about, Description)
    if description.head not in HEADS:
        raise ValueError(f"head must be one of {', '.join(HEADS)}. Got {description.head!r}")
    classes = len(description.classes)
    state, kept, scores = (_arrays(tensors, prefix) for prefix in (_HEAD, _REFERENCE, _HELD_OUT))
    head = HEADS[description.head].from_state(state, classes=classes, strength=description.head_strength)
    _check_tensors(tensors)
    for network in (description, *description.joined):
        if network.engine is not None and network.engine.engine not in ENGINE_KINDS:
            raise ValueError(f"engine must be one of {', '.join(ENGINE_KINDS)}. Got {network.engine.engine!r}")
    reference = TrainingReference.from_state(kept, classes=classes, width=head.features) if kept else None
    return description, head, reference, HeldOutScores.from_state(scores, classes=classes) if scores else None


def _arrays(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): t.numpy() for name, t in tensors.items() if name.startswith(prefix)}


def _check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `ValueError` unless head and network are finite, and the keys of photos seen are such."""
    for name, tensor in tensors.items():
        if name.startswith(_SEEN) and (tensor.dtype != torch.int64 or tensor.ndim != 1):
            raise ValueError(f"{name} must be int64 of shape (n,). Got {_kind(tensor)}")
        if name.startswith(_SEEN) and name.endswith(".hashes") and len(tensor) % 4:
            raise ValueError(f"{name} must be four numbers for each photo. Got {len(tensor)}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinite)")


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _lasting(classifier: Classifier) -> dict[str, Any]:
    """Return the record without how long it took and where photos and network lay.

    Runs of the same command give the same file, and who gets it learns nothing of its author's folders.
    """
    record, local, name = classifier.record, classifier.model, model_name(classifier)
    if record is None:
        return {}
    tried = record.tried and tuple(replace(attempt, seconds=None) for attempt in record.tried)
    unreadable = tuple(_photo_name(Path(path), classifier.classes) for path in record.unreadable)
    networks = tuple(replace(n, seconds=None, model=without_folders(n.model)) for n in record.networks_tried)
    over_budget = tuple(replace(one, seconds=None, budget="") for one in record.over_budget)
    lasting = replace(record, timing=None, tried=tried, over_budget=over_budget, unreadable=unreadable)
    by_group = tuple(replace(one, name=str(place)) for place, one in enumerate(record.by_group, 1))  # patients, clinics
    findings = tuple(replace(one, said="") for one in record.findings)  # cameras and dates may say where and when
    lasting = replace(lasting, networks_tried=networks, by_group=by_group, findings=findings)
    if local:
        reason = record.reason and record.reason.replace(local, name)
        lasting = replace(lasting, model=record.model.replace(local, name), reason=reason)
    return lasting.to_json()


def model_name(classifier: Classifier) -> str:
    """Return the names of a classifier's networks without their folders."""
    return joined_name([without_folders(one) for one in parts_of_name(classifier.model, len(classifier.backbones))])


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
