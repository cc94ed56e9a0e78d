"""Pretrained networks in the cache, as data: what was loaded from the same files before needs no PyTorch.

A file holds the tensors as timm names them, and what is known of the network without building it. Its name is a digest
of the files that it was loaded from, and of the versions that loaded it.
"""

import contextlib
import functools
import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from regraft.cache import keep_limit, networks_folder
from regraft.errors import OutputError, RegraftError
from regraft.features.depths import find_depths
from regraft.files import atomic_write, is_file, open_regular, parse_json, remove
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone, LazyModule
from regraft.networks.hook_points import Depth, HookPoint
from regraft.networks.names import LOCAL_PREFIX, OFFLINE, POCKET, local_weights, own_name
from regraft.networks.outline import Outline, Stage, TensorOutline
from regraft.networks.packaged import packaged_file, pocket_folder
from regraft.networks.recipe import Recipe
from regraft.validation import convert

if TYPE_CHECKING:
    from torch import nn

_FORMAT = 2  # raised when what is known of a network changes
_KEY = "regraft"
_LOADERS = ("regraft", "timm", "torch")  # whose versions decide what is loaded


class _StageFields(Struct):
    name: str
    tensors: tuple[str, ...]
    parameters: int
    output: tuple[int, ...]


class _TensorFields(Struct):
    kind: str
    size: int
    sha256: str = ""


class _DepthFields(Struct):
    stage: str
    hook_point: dict[str, Any]
    units: int


class _Fields(Struct):
    """What a file says of its network besides its tensors."""

    architecture: str
    arguments: dict[str, Any]
    settings: dict[str, Any]
    preprocess: dict[str, Any]
    features: int
    source: str
    stages: list[_StageFields]
    tensors: dict[str, _TensorFields]
    depths: list[_DepthFields]
    fingerprint: str


def load_cached(model: str, weights: str | Path | None = None, *, fetch: bool = True, limit: int = 0) -> Backbone:
    """Return a network as `load_backbone` does, from the cache where it was loaded from the same files before.

    Those of the hub are loaded each time: only it knows whether there is a newer one.

    Args:
        model: as of `load_backbone`.
        weights: likewise.
        fetch: likewise.
        limit: bytes that the cache may hold; 0 reads and writes none.

    Raises:
        ModelError, WeightsError: as `load_backbone`.
    """

    def load() -> Backbone:
        from regraft.networks.backbones import load_backbone  # here: it imports PyTorch

        return load_backbone(model, weights, fetch=fetch)

    file = _file(model, weights) if limit else None
    if file is None:
        return load()
    found = _read(file)
    if found is None:
        found = load()
        if sum(array.nbytes for array in found.arrays().values()) < limit:
            with contextlib.suppress(OutputError):  # it is loaded again the next time
                _write(file, found)
            keep_limit(limit)
    return found


def is_cached(model: str) -> bool:
    """Tell whether a network was loaded from the same files before, so that its name needs no check."""
    file = _file(model, None)
    return file is not None and is_file(file)


def _file(model: str, weights: str | Path | None) -> Path | None:
    """Return the file of a network in the cache, None where it is not known what it is loaded from."""
    try:
        sources = _sources(model, weights)
        versions = [version(name) for name in _LOADERS]
        if not sources:
            return None
        digest = hashlib.sha256(json.dumps([_FORMAT, own_name(model), str(weights or ""), versions]).encode())
        for source in sources:
            status = source.stat()
            digest.update(_digest_of(source.resolve(), status.st_size, status.st_mtime_ns))
    except (OSError, RegraftError, PackageNotFoundError, ValueError, TypeError):
        return None  # loading it says what is wrong
    return networks_folder() / f"{digest.hexdigest()[:32]}.safetensors"


@functools.lru_cache(maxsize=16)
def _digest_of(file: Path, size: int, changed: int) -> bytes:  # noqa: ARG001 (what tells whether it is the same)
    """Return the SHA-256 of a file that was changed then: weights are read once by a process."""
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type]


def _sources(model: str, weights: str | Path | None) -> list[Path]:
    """Return the files that a network is loaded from; none where that is not known."""
    folder, own = None, own_name(model)
    if own == POCKET:
        folder = pocket_folder()
    elif model.startswith(LOCAL_PREFIX):
        folder = Path(model.removeprefix(LOCAL_PREFIX))
    config = [] if folder is None else [folder / "config.json"]
    if weights is not None:
        return [*config, Path(weights)]
    if own == OFFLINE:
        return [packaged_file()]
    return [] if folder is None else [*config, local_weights(model, folder)]


def _write(file: Path, backbone: Backbone) -> None:
    recipe, arrays = backbone.recipe, backbone.arrays()
    about = {
        "architecture": recipe.architecture,
        "arguments": recipe.arguments,
        "settings": recipe.settings,
        "preprocess": backbone.preprocess.to_json(),
        "features": backbone.features,
        "source": backbone.source,
        "stages": [vars(stage) for stage in backbone.stages()],
        "tensors": {name: vars(one) for name, one in backbone.tensor_outlines().items()},
        "depths": [
            {"stage": one.stage, "hook_point": vars(one.hook_point), "units": one.units}
            for one in find_depths(backbone)
        ],
        "fingerprint": backbone.fingerprint(),
    }
    try:
        text = json.dumps(about | {"digest": _digest(file, about)})
    except TypeError:  # settings that are no JSON
        return
    with contextlib.suppress(OSError):  # the write below says why
        file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_bytes(save(arrays, {_KEY: text}))


def _digest(file: Path, about: dict[str, Any]) -> str:
    """Return a digest of what a file says, and of its name, which shows files that were copied from another network."""
    return hashlib.sha256(f"{file.stem} {json.dumps(about, sort_keys=True)}".encode()).hexdigest()


def _read(file: Path) -> Backbone | None:
    """Return the network that `_write` wrote, None if there is none or it has changed since: then it is removed."""
    if not is_file(file):
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # in use: the last to be dropped
    try:
        with safe_open(file, framework="numpy") as stored:
            said = parse_json((stored.metadata() or {})[_KEY])
            intact = said.pop("digest") == _digest(file, said)
            about: _Fields = convert(said, _Fields)
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
        recipe, preprocess = (
            Recipe(about.architecture, about.arguments, about.settings),
            Preprocess.from_json(about.preprocess),
        )

        def build() -> "nn.Module":
            import torch

            from regraft.networks.backbones import rebuild_backbone

            return rebuild_backbone(recipe, preprocess, {n: torch.from_numpy(a) for n, a in arrays.items()}).module

        depths = tuple(Depth(one.stage, HookPoint(**one.hook_point), one.units) for one in about.depths)
        found = Backbone(
            LazyModule(arrays, build),  # type: ignore[arg-type] # a field that is read as what it builds
            recipe,
            preprocess,
            about.features,
            about.source,
            outline=Outline(
                stages=tuple(Stage(one.name, one.tensors, one.parameters, one.output) for one in about.stages),
                tensors={name: TensorOutline(one.kind, one.size, one.sha256) for name, one in about.tensors.items()},
                depths=depths,
            ),
        )
        if intact and found.fingerprint() == about.fingerprint:
            return found
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError):
        pass  # damaged, which is no fault of the user: it is loaded again
    remove(file)
    return None
