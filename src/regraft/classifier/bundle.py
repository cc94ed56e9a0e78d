"""A classifier in one safetensors file: tensors, and JSON in the metadata. Nothing in it can be executed."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from regraft.classifier.bundle_networks import network_fields, network_tensors, read_network
from regraft.classifier.classifier import Classifier
from regraft.classifier.record import FitRecord
from regraft.classifier.reference import TrainingReference
from regraft.classifier.schema import Description
from regraft.data.taxonomy import Taxonomy
from regraft.engines.kinds import ENGINE_KINDS
from regraft.engines.workload import EngineChoice
from regraft.errors import BundleError, option, printable, shortlist
from regraft.evaluation.conformal import HeldOutScores
from regraft.evaluation.decisions import Decision
from regraft.files import atomic_write, is_file, parse_json
from regraft.heads.kinds import HEADS
from regraft.heads.linear import Head, LinearHead
from regraft.images.tta import NONE
from regraft.networks.backbone import tensor_bytes, tensor_type
from regraft.networks.names import joined_name, parts_of_name, without_folders
from regraft.runtime import is_installed
from regraft.validation import convert

NEWEST = 4  # format: 2 has features of several depths or networks, 3 a rule that decides, 4 test-time views
_KEY = "regraft"
_HEAD = "head."
_SEEN = "seen."
_REFERENCE = "reference."  # older programs pass over it
_HELD_OUT = "held_out."  # likewise
_KINDS = frozenset({"F32", "F16", "F64", "I64", "I32", "U8", "BOOL"})  # by safetensors' names


def save_bundle(classifier: Classifier, path: Path) -> None:
    """Write `classifier` to `path`, whole or not at all.

    Raises:
        OutputError: disk full, no such folder, no permission.
    """
    tensors = network_tensors(classifier)
    parts = {_HEAD: classifier.head, _REFERENCE: classifier.reference, _HELD_OUT: classifier.held_out}
    for prefix, part in parts.items():
        kept = {} if part is None else part.state()
        tensors |= {prefix + name: np.ascontiguousarray(array) for name, array in kept.items()}
    for role, keys in classifier.seen.items():
        tensors[_SEEN + role] = keys.view(np.int64)
    first, *joined = network_fields(classifier)
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
        "versions": {name: version(name) for name in ("regraft", "torch", "timm") if is_installed(name)}
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
    if about.pop("sha256", None) != _digest(about, tensors):
        raise BundleError(f"{path} is damaged: its contents are not what was saved. Copy it again.")
    try:
        description, head, reference, held_out = _check(about, tensors)
    except ValueError as error:
        raise BundleError(f"{path} cannot be used: {printable(str(error))}. Fit it again.") from None
    seen = {role: keys.view(np.uint64) for role, keys in _arrays(tensors, _SEEN).items()}
    networks = (description, *description.joined)
    backbones = [read_network(one, tensors, number, path) for number, one in enumerate(networks)]
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


def read_description(path: Path) -> dict[str, Any]:
    """Return what a bundle says of itself, without its tensors.

    Raises:
        BundleError: as `load_bundle`.
    """
    if not is_file(path):
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise BundleError(f"{path} {what}. Name a file that `regraft fit` wrote.")
    try:
        with safe_open(path, framework="numpy") as file:
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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = read_description(path)
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            kinds = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in names}
            _check_kinds(path, kinds)
            return about, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, RuntimeError, AttributeError, TypeError) as error:
        reason = printable(str(error))
        raise BundleError(
            f"{path} is damaged: its tensors cannot be read ({reason}). Copy it or fit it again."
        ) from None


def _check_kinds(path: Path, kinds: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """Raise `BundleError` for tensors of a type that regraft does not write, and NumPy may lack."""
    foreign = [f"{name}: {kind} of shape {tuple(shape)}" for name, (kind, shape) in kinds.items() if kind not in _KINDS]
    if foreign:
        raise BundleError(
            f"{path} holds tensors of a type that regraft never writes:\n{shortlist(foreign)}\n"
            "Copy it again, or fit it again."
        )


def _check(
    about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
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


def _arrays(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _check_tensors(tensors: Mapping[str, np.ndarray]) -> None:
    """Raise `ValueError` unless head and network are finite, and the keys of photos seen are such."""
    for name, tensor in tensors.items():
        if name.startswith(_SEEN) and (tensor.dtype != np.int64 or tensor.ndim != 1):
            raise ValueError(f"{name} must be int64 of shape (n,). Got {_kind(tensor)}")
        if name.startswith(_SEEN) and name.endswith(".hashes") and len(tensor) % 4:
            raise ValueError(f"{name} must be four numbers for each photo. Got {len(tensor)}")
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinite)")


def _kind(tensor: np.ndarray) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


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


def _digest(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor_type(tensor)} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
