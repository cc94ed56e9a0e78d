"""Hostile photos, bundles, folders of networks and caches, the same for the same seed.

Each function writes into a folder and says what it wrote. Nothing that was copied from a real attack is among it: all
files are made here.
"""

import itertools
import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from tests.hostile.damage import DAMAGES, damaged
from tests.hostile.networks import (
    ARCHITECTURES,
    arguments,
    change_tensors,
    nested,
    pickled,
    set_at_random,
    settings,
    to_text,
    values,
)
from tests.hostile.photos import KINDS, pick, sound
from tests.hostile.places import PLACES, pipe, write_names

# The digest is no secret: whoever writes a bundle can make it fit. Private, for nobody else has to.
from regraft.classifier.bundle import _digest
from regraft.engines.workload import machine

Draw = np.random.Generator
MARKER = "marker"  # what comes to be where a pickle is loaded
TRAP = "trap.pth"  # a file that nothing has to open


def images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` hostile photos: of all kinds in turn, in places that are no files, under names that steer."""
    draw = np.random.default_rng(seed)
    written = []
    places = [name for name in draw.permutation(sorted(PLACES)).tolist()][: max(count // 6, 3)]
    for name in places:
        PLACES[name](folder / name)
        written.append(folder / name)
    if count >= 100:
        written += write_names(folder, sound(draw))
    endings = (".jpg", ".png", ".tif", ".webp", ".gif", ".jp2", ".heic", ".avif", ".tga", ".bmp", ".ppm", ".exe", "")
    for number, kind in enumerate(itertools.islice(itertools.cycle(_in_turn(draw)), count - len(written))):
        path = folder / f"{number:03}-{kind.__name__}{pick(draw, endings)}"
        path.write_bytes(kind(draw))
        written.append(path)
    return written


def _in_turn(draw: Draw) -> list[Callable[[Draw], bytes]]:
    return [KINDS[place] for place in draw.permutation(len(KINDS))]


def traps(folder: Path) -> Path:
    """Write what nothing has to open into `folder`; return it."""
    (folder / TRAP).write_bytes(pickled(folder / MARKER))
    return folder / TRAP


def split(bundle: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what a bundle says of itself, without its digest, and its tensors."""
    (length,) = struct.unpack("<Q", bundle[:8])
    about = json.loads(json.loads(bundle[8 : 8 + length])["__metadata__"]["regraft"])
    del about["sha256"]
    return about, load(bundle)


def signed(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """Return a bundle whose digest fits, as far as there can be one."""
    text = to_text(about)
    try:
        about["sha256"] = _digest(json.loads(text), tensors)
    except (ValueError, TypeError):  # a number of too many digits; a type without bytes
        about["sha256"] = "0" * 64
    return save(tensors, {"regraft": to_text(about)})


def bundles(folder: Path, base_bundle: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Write `count` hostile bundles; return by name what may come of each.

    A damaged one must be "refused". The other half has a digest that fits what was changed: they may be refused, and
    what loads answers "equal" to `base_bundle` where nothing that counts was changed, else "anything".
    """
    draw, whole, trap = np.random.default_rng(seed), base_bundle.read_bytes(), traps(folder)
    found = {}
    for number in range(count // 2):
        name = f"damaged-{number:03}.safetensors"
        (folder / name).write_bytes(swapped(whole, draw) if number % 8 == 7 else damaged(whole, draw))
        found[name] = "refused"
    for number in range(count - count // 2):
        change = _CHANGES[number % len(_CHANGES)]
        about, tensors = split(whole)
        name = f"signed-{number:03}{change.__name__}.safetensors"
        (folder / name).write_bytes(change(about, tensors, trap, draw))
        found[name] = "equal" if change in (_settings, _unused) else "anything"
    return found


def swapped(bundle: bytes, draw: Draw) -> bytes:
    """Let two tensors of a bundle change places: each byte of them is still there."""
    about, tensors = split(bundle)
    digest = _digest(about, tensors)
    pairs = [
        (one, other)
        for one, other in itertools.combinations(sorted(tensors), 2)
        if tensors[one].shape == tensors[other].shape and not torch.equal(tensors[one], tensors[other])
    ]
    one, other = pick(draw, pairs)
    tensors[one], tensors[other] = tensors[other], tensors[one]
    return save(tensors, {"regraft": json.dumps({**about, "sha256": digest})})


def _arguments(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    return signed(about | {"arguments": arguments(trap, draw)}, tensors)


def _settings(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    return signed(about | {"settings": about["settings"] | settings(trap, draw)}, tensors)


def _architecture(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    return signed(about | {"architecture": pick(draw, ARCHITECTURES)}, tensors)


def _description(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    for _ in range(int(draw.integers(1, 3))):
        set_at_random(about, trap, draw)
    return signed(about, tensors)


def _tensors(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    change_tensors(tensors, draw)
    return signed(about, tensors)


def _engine(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    """Name an engine that was "chosen" on a machine like this one; one that there is, see `costly`."""
    engines = ("openvino-float32", "torch-bfloat16", "torch-float32")
    here = {"engine": pick(draw, engines), "machine": machine(torch.device("cpu"))}
    return signed(about | {"engine": here}, tensors)


def _unused(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    """Change what no answer depends on."""
    names = ("model", "strategy", "weights_source", "numbers", "versions")
    return signed(about | {pick(draw, names): pick(draw, values(trap))}, tensors)


def _depth(about: dict[str, Any], tensors: dict[str, Any], trap: Path, draw: Draw) -> bytes:
    """Nest lists as deeply as can be read; what is nested deeper has no digest that fits."""
    depth = pick(draw, [100, 500, 900, 3000, 100_000])
    if depth < 1000:
        return signed(about | {"numbers": {"deep": nested(depth)}}, tensors)
    deep = pick(draw, ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, '1, "sha256": 2', "[1e400]"])
    file = signed(about | {"numbers": {"deep": "DEEP"}}, tensors)
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"]["regraft"] = header["__metadata__"]["regraft"].replace('"DEEP"', deep)
    changed = json.dumps(header).encode()
    return struct.pack("<Q", len(changed)) + changed + file[8 + length :]


_CHANGES = (_arguments, _settings, _architecture, _description, _description, _tensors, _depth, _engine, _unused)


def configs(folder: Path, base_network_folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` folders of networks in timm's format, hostile in config.json or in the weights."""
    draw, trap = np.random.default_rng(seed), traps(folder)
    changes = (_model_args, _pretrained_cfg, _any_value, _text, _weights)
    written = []
    for number in range(count):
        change = changes[number % len(changes)]
        path = folder / f"{number:03}{change.__name__}"
        shutil.copytree(base_network_folder, path)
        change(path, trap, draw)
        written.append(path)
    return written


def _rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(to_text(config))


def _model_args(path: Path, trap: Path, draw: Draw) -> None:
    _rewrite(path, lambda config: config.update(model_args=arguments(trap, draw)))


def _pretrained_cfg(path: Path, trap: Path, draw: Draw) -> None:
    _rewrite(path, lambda config: config["pretrained_cfg"].update(settings(trap, draw)))


def _any_value(path: Path, trap: Path, draw: Draw) -> None:
    names = ("architecture", "num_classes", "pretrained_cfg", "model_args", "num_features", "label_names")
    chosen = {pick(draw, names): pick(draw, [*values(trap), *ARCHITECTURES]) for _ in range(2)}
    _rewrite(path, lambda config: config.update(chosen))


def _text(path: Path, trap: Path, draw: Draw) -> None:
    """Replace config.json by something that is no such text, or no file."""
    file = path / "config.json"
    whole = file.read_bytes()
    file.unlink()
    deep = b'{"architecture":' + b"[" * 100_000
    huge = whole[:-1] + b', "x": "' + b"y" * 12_000_000 + b'"}'
    number = whole[:-1] + b', "model_args": {"depth": ' + b"9" * 5000 + b"}}"
    texts = [b"", b"[]", b"null", b"\xff\xfe", whole * 2, deep, huge, number, b"\xef\xbb\xbf" + whole, whole + b"\0"]
    put: list[Callable[[], object]] = [lambda text=text: file.write_bytes(text) for text in texts]  # type: ignore[misc]
    put += [lambda: file.symlink_to("/dev/zero"), lambda: pipe(file), lambda: file.symlink_to(file.name), file.mkdir]
    put += [lambda: file.write_bytes(damaged(whole, draw))] * 6
    pick(draw, put)()


def _weights(path: Path, trap: Path, draw: Draw) -> None:
    """Replace the weights by others, by a pickle that runs code, or by no file."""
    file = path / "model.safetensors"
    whole = file.read_bytes()
    file.unlink()
    put: list[Callable[[], object]] = [
        lambda: shutil.copy(trap, path / "pytorch_model.bin"),
        lambda: shutil.copy(trap, path / "weights.pth"),
        lambda: shutil.copy(trap, file),
        lambda: file.symlink_to("/dev/zero"),
        lambda: pipe(file),
        lambda: file.symlink_to(file.name),
        file.mkdir,
        lambda: pipe(path / "pytorch_model.bin"),
        lambda: pipe(path / "a.pt"),
    ]
    put += [lambda: file.write_bytes(damaged(whole, draw))] * 6
    pick(draw, put)()


@dataclass(frozen=True)
class Damage:
    """What becomes of one file of a cache.

    Attributes:
        kind: of the file.
        path: below the folder that holds the cache.
        how: in one word.
        seed: of what is drawn.
        other: a file of the same kind, with which it changes places.
    """

    kind: str
    path: str
    how: str
    seed: int
    other: str

    def __str__(self) -> str:
        """Return what is shown of it."""
        return f"{self.kind} {self.how} {self.seed}: {self.path}"

    def apply(self, folder: Path) -> None:
        """Damage the file below `folder`."""
        file, draw = folder / self.path, np.random.default_rng(self.seed)
        whole = file.read_bytes()
        if self.how == "swapped":
            content = (folder / self.other).read_bytes()
            (folder / self.other).write_bytes(whole)
            file.write_bytes(content)
        elif self.how in _BY_NAME:
            file.write_bytes(_BY_NAME[self.how](whole, draw))
        else:
            file.unlink()
            _REPLACED[self.how](file)


_BY_NAME = {damage.__name__: damage for damage in DAMAGES} | {"empty": lambda *_: b""}
_REPLACED: dict[str, Callable[[Path], object]] = {
    "pipe": pipe,
    "folder": lambda path: (path.mkdir(), (path / "file").write_text("in it")),
    "nowhere": lambda path: path.symlink_to("nothing"),
    "itself": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "gone": lambda _: None,
}
FILES = {  # of a cache and a run's folder, by kind
    "features": "cache/features/*/*.safetensors",
    "about": "cache/features/*/about.json",
    "views": "cache/features/*.views",
    "graph": "cache/engines/*/model.xml",
    "weights": "cache/engines/*/model.bin",
    "digest": "cache/engines/*/model.sha256",
    "verdict": "cache/engines/*/*.json",
    "checkpoint": "*.unfinished/*.safetensors",
    "arguments": "*.unfinished/arguments.json",
}


def caches(cache_folder: Path, count: int, seed: int = 0, kinds: Sequence[str] = tuple(FILES)) -> list[Damage]:
    """Return `count` ways to damage files of each of `kinds` below `cache_folder`, where all of them lie.

    They are applied one at a time: whoever runs them puts what was there back in between.
    """
    draw, found = np.random.default_rng(seed), []
    for kind in kinds:
        files = sorted(str(path.relative_to(cache_folder)) for path in cache_folder.glob(FILES[kind]))
        assert files, f"no {kind} in {cache_folder}"
        ways = [*_BY_NAME, *_REPLACED, *(["swapped"] * 3 if len(files) > 1 else [])]
        ways = [ways[place] for place in draw.permutation(len(ways))]
        for how in itertools.islice(itertools.cycle(ways), count):
            path = pick(draw, files)
            other = pick(draw, [file for file in files if file != path] or files)
            found.append(Damage(kind, path, how, int(draw.integers(2**32)), other))
    return found
