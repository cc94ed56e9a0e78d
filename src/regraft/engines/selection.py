"""Which engine runs a network: the fastest that gives the reference's features on the user's own photos.

The choice depends on the network, the photos, the machine and the versions alone, never on what ran before.
"""

import contextlib
import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.cache import engines_folder
from regraft.engines import openvino as converted
from regraft.engines.engine import Engine, TorchEngine
from regraft.errors import EngineError, OptionError, OutputError, did_you_mean
from regraft.files import atomic_write, read_regular, remove, sha256
from regraft.networks.backbones import Backbone

AUTO, REFERENCE = "auto", "torch-float32"
ENGINES = (AUTO, REFERENCE, "torch-bfloat16", "torch-float16", "openvino-float32", "openvino-bfloat16")
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.99}
CHECKED_PHOTOS = 16
WORTH_CONVERTING = 128  # photos whose pass takes PyTorch longer than converting the network does
_LONGEST_VERDICT = 10_000  # bytes
POOLED = "pooled"  # the cut after the network's pooled features


@dataclass(frozen=True)
class Agreement:
    """How an engine's outputs agree with those of torch-float32 on the same photos.

    Attributes:
        mean: cosine similarity of a photo's two outputs, averaged.
        lowest: that of the photo that agrees least.
        photos: how many were compared.
    """

    mean: float
    lowest: float
    photos: int

    @classmethod
    def of(cls, found: np.ndarray, expected: np.ndarray) -> "Agreement":
        """Compare (n, ...) outputs. Two zeros agree; what is not finite agrees with nothing."""
        a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (found, expected))
        both_zero = ~a.any(axis=1) & ~b.any(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines = np.where(both_zero, 1.0, np.sum(a * b, axis=1) / lengths)
        cosines = np.nan_to_num(cosines, nan=-1.0)
        return cls(float(cosines.mean()), float(cosines.min()), len(cosines))

    def suffices(self, engine: str) -> bool:
        """Tell whether `engine` may be used: in float32 by every photo, below by the mean of all."""
        precision = engine.partition("-")[2]
        return LEAST_COSINE[precision] <= (self.lowest if precision == "float32" else self.mean) <= 1.0 + 1e-9

    def __str__(self) -> str:
        """Return one clause for people."""
        return f"cosine to {REFERENCE} on {self.photos} photos: mean {self.mean:.4f}, lowest {self.lowest:.4f}"


UNABLE = Agreement(-1.0, -1.0, 0)  # the verdict on an engine that cannot run the network at all
_WHY_UNABLE = "it cannot run this network, as was found before"


@dataclass(frozen=True, eq=False)
class CheckPhotos:
    """The photos that engines are compared on.

    Attributes:
        digest: a name of these photos by their content; verdicts are kept by it.
        read: returns (up to `CHECKED_PHOTOS`, h, w, 3) uint8 of them.
    """

    digest: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class EngineChoice:
    """The engine that was chosen for a network, and where.

    Attributes:
        engine: one of `ENGINES`.
        machine: what `machine` said there.
    """

    engine: str
    machine: str


@dataclass(frozen=True, eq=False)
class Workload:
    """What is to be run.

    Attributes:
        backbone: the network.
        device: where PyTorch runs it.
        photos: how many there are.
        check: those of them that engines are compared on.
        module: the part of the network that is run, None for all of it.
        cut: where that part ends.
        keep: False keeps nothing on disk and reads nothing from there.
        say: hears what was found.
        earlier: what was chosen for this network when its classifier was made.
    """

    backbone: Backbone
    device: torch.device
    photos: int
    check: CheckPhotos
    module: nn.Module | None = None
    cut: str = POOLED
    keep: bool = True
    say: Callable[[str], None] = lambda _: None
    earlier: EngineChoice | None = None

    @functools.cached_property
    def folder(self) -> Path | None:
        """Return where the converted network and the verdicts on it lie."""
        if not self.keep:
            return None
        about = {
            "network": self.backbone.fingerprint(),
            "cut": self.cut,
            "preprocess": self.backbone.preprocess.to_json(),
            "machine": machine(self.device),
        }
        return engines_folder() / sha256(json.dumps(about, sort_keys=True).encode()).hex()[:32]

    @property
    def model(self) -> Any:
        """Return the network as OpenVINO reads it, from the cache or converted and put there.

        Raises:
            ConversionError: it cannot be converted.
        """
        if isinstance(self._conversion, EngineError):
            raise self._conversion
        return self._conversion

    @functools.cached_property
    def _conversion(self) -> Any:
        """Return the converted network, or why there is none: it is tried once."""
        found = None if self.folder is None else converted.load(self.folder, self.say)
        if found is not None:
            return found
        module = self.backbone.module if self.module is None else self.module
        try:
            model = converted.convert(module, self.backbone.preprocess)
        except converted.ConversionError as error:
            return error
        if self.folder is not None:
            try:
                converted.save(model, self.folder)
            except OutputError as error:
                self.say(f"the converted network is not kept: {error}")
        return model

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """Return the photos that engines are checked on."""
        return self.check.read()

    @functools.cached_property
    def expected(self) -> np.ndarray:
        """Return what the reference gives for them."""
        return self.build(REFERENCE).features(self.pixels)

    def build(self, engine: str) -> Engine:
        """Return one of `ENGINES`, ready to run."""
        library, _, precision = engine.partition("-")
        if library == "torch":
            return TorchEngine(self.backbone, self.device, self.module, precision=precision)
        return converted.OpenVinoEngine(self.model, self.backbone.preprocess, precision)


class Deferred(Engine):
    """An engine that is known to be right, and is built when it is first needed: not if all is in the cache."""

    def __init__(self, name: str, task: Workload, engine: str) -> None:
        self.name, self.preprocess = name, task.backbone.preprocess
        self._build = functools.cache(lambda: task.build(engine))
        self.ahead = 3

    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels."""
        return self._build().activations(pixels)

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin on (b, h, w, 3) uint8 pixels; return what waits for their features (b, d) and gives them."""
        return self._build().start(pixels)

    def drop(self) -> None:
        """Begin nothing more of what was started and has not been waited for."""
        if self._build.cache_info().currsize:
            self._build().drop()


def check_engine(wanted: str, device: torch.device) -> None:
    """Raise `OptionError` unless `wanted` is one of `ENGINES` and can run here."""
    if wanted not in ENGINES:
        raise OptionError(
            f"--engine must be one of: {', '.join(ENGINES)}. Got {wanted!r}.{did_you_mean(str(wanted), ENGINES)}"
        )
    library, _, precision = wanted.partition("-")
    if library == "openvino":
        if device.type != "cpu":
            raise OptionError(f"--engine {wanted} runs on the CPU, and --device is {device}. Add --device cpu.")
        if precision not in converted.usable_precisions():
            able = ", ".join(f"openvino-{name}" for name in converted.usable_precisions()) or "not at all"
            raise OptionError(
                f"--engine {wanted}: this processor cannot compute in {precision}. OpenVINO runs here as: {able}."
            )
    if wanted == "torch-float16" and device.type == "cpu":
        raise OptionError("--engine torch-float16 needs a GPU. On the CPU use torch-bfloat16, or leave it out.")


def choose_engine(task: Workload, wanted: str = AUTO, *, exact: bool = False) -> Engine:
    """Return the engine that runs `task`.

    Every engine but torch-float32 is compared with it on some of the photos before its first use on these, and the
    verdict kept: in float32 each photo's cosine must be at least 0.9999, below that precision their mean at least 0.99.

    Args:
        task: network and photos.
        wanted: one of `ENGINES`; "auto" is the one that was chosen earlier on a machine like this, else the fastest
            that passes. Networks are not converted for a few photos.
        exact: True runs in float32, of an engine that is named too.

    Raises:
        OptionError: `wanted` does not exist or cannot run here.
        EngineError: `wanted` does not give the features of torch-float32.
    """
    check_engine(wanted, task.device)
    if exact and wanted != AUTO:
        wanted = f"{wanted.partition('-')[0]}-float32"
    if wanted == AUTO and not exact and (earlier := _earlier(task)) is not None:
        return Deferred(_full_name(earlier, task.device), task, earlier)
    for engine in (wanted,) if wanted != AUTO else _candidates(task.device, exact=exact):
        if engine == REFERENCE:
            break
        if wanted == AUTO and engine.startswith("openvino") and task.photos < WORTH_CONVERTING:
            continue
        name = _full_name(engine, task.device)
        known = _read_verdict(task, name)
        if known is not None and known.suffices(engine):
            return Deferred(name, task, engine)
        if known is None or (known == UNABLE and wanted != AUTO):  # a person who names it hears the reason again
            chosen = _checked(task, engine, wanted)
            if chosen is not None:
                return chosen
        elif wanted != AUTO:
            raise _refused(engine, str(known))
        else:
            task.say(f"{engine} is not used: {_WHY_UNABLE if known == UNABLE else known}")
    return task.build(REFERENCE)


def _candidates(device: torch.device, *, exact: bool) -> list[str]:
    """Return the engines worth trying on `device`, the fastest first."""
    if device.type == "cpu":
        found = [f"openvino-{precision}" for precision in converted.usable_precisions()]
    elif device.type == "cuda":
        found = ["torch-bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "torch-float16"]
    else:
        found = []
    return [engine for engine in found if not exact or engine.endswith("float32")]


def _checked(task: Workload, engine: str, wanted: str) -> Engine | None:
    """Build `engine`, compare it with the reference, keep the verdict; return it if it passes.

    Raises:
        EngineError: it does not pass, and is the one that was wanted.
    """
    if not len(task.pixels):
        return None  # nothing can be read: nothing will be run either
    name = _full_name(engine, task.device)
    try:
        built = task.build(engine)
        found = Agreement.of(built.features(task.pixels), task.expected)
    except EngineError as error:
        if wanted != AUTO:
            raise
        if isinstance(error, converted.ConversionError):  # others may have passing reasons: no memory
            _write_verdict(task, name, UNABLE)
        task.say(f"{engine} is not used: {error}")
        return None
    _write_verdict(task, name, found)
    if found.suffices(engine):
        task.say(f"engine: {built.name} ({found})")
        return built
    if wanted != AUTO:
        raise _refused(engine, str(found))
    task.say(f"{engine} is not used ({found}; at least {LEAST_COSINE[engine.partition('-')[2]]} is needed)")
    return None


def _refused(engine: str, found: str) -> EngineError:
    least = LEAST_COSINE[engine.partition("-")[2]]
    return EngineError(
        f"--engine {engine} does not give this network's features: {found}, and at least {least} "
        f"{'of each' if engine.endswith('float32') else 'on average'} is needed. "
        "Leave --engine out."
    )


def _full_name(engine: str, device: torch.device) -> str:
    library, _, precision = engine.partition("-")
    return f"{library}-{device.type}-{precision}"


def _earlier(task: Workload) -> str | None:
    """Return the engine that was chosen earlier, None where that does not count here."""
    earlier = task.earlier
    if earlier is None or earlier.machine != machine(task.device):
        return None
    if earlier.engine.startswith("openvino") and not task.keep and task.photos < WORTH_CONVERTING:
        return None  # the network would be converted anew each time
    try:
        check_engine(earlier.engine, task.device)
    except OptionError:
        return None
    return earlier.engine


def machine(device: torch.device) -> str:
    """Return what engines' results depend on besides network and photos: libraries, processor and device."""
    able = ", ".join(converted.usable_precisions()) or "no OpenVINO"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else converted.processor_name()
    return f"{device.type}, {name} ({able}), torch {torch.__version__}, openvino {_version('openvino')}"


def choice_of(engine: Engine, device: torch.device, photos: int) -> EngineChoice | None:
    """Return the choice of `engine` for later runs; None where there were too few photos to compare any."""
    if device.type == "cpu" and photos < WORTH_CONVERTING:
        return None
    library, _, precision = engine.name.split("-")
    return EngineChoice(f"{library}-{precision}", machine(device))


def _verdict_file(task: Workload, name: str, *, unable: bool) -> Path | None:
    """Return where a verdict on the engine `name` lies: of one that cannot run the network whatever the photos are."""
    part = "unable" if unable else task.check.digest
    return None if task.folder is None else task.folder / f"{name}-{part}.json"


def _read_verdict(task: Workload, name: str) -> Agreement | None:
    for unable in (True, False):
        file = _verdict_file(task, name, unable=unable)
        if file is None:
            return None
        try:
            kept = json.loads(read_regular(file, limit=_LONGEST_VERDICT))
            found = Agreement(float(kept["mean"]), float(kept["lowest"]), int(kept["photos"]))
            if kept["check"] == _check_of(file, found) and (found == UNABLE) is unable:
                return found
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass
        task.say(f"the verdict on {name} in {file} is damaged: the engine is checked again")
        remove(file)
    return None


def _write_verdict(task: Workload, name: str, found: Agreement) -> None:
    file = _verdict_file(task, name, unable=found == UNABLE)
    if file is None:
        return
    with contextlib.suppress(OSError):  # then it is checked again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({**asdict(found), "check": _check_of(file, found)}))


def _check_of(file: Path, found: Agreement) -> str:
    """Return a digest of a verdict and its place."""
    return sha256(f"{file.parent.name} {file.name} {asdict(found)}".encode()).hex()


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "none"
