"""Which engine runs a network: the fastest that gives the reference's features on the user's own photos.

The choice depends on the network, the photos, the machine and the versions alone, never on what ran before.
"""

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from regraft.engines.agreement import UNABLE, Agreement, read_verdict, reference_of, write_verdict
from regraft.engines.engine import Engine, UnsupportedNetworkError
from regraft.engines.kinds import AUTO, ENGINE_KINDS, REFERENCE, EngineKind, candidates, engine_names
from regraft.engines.workload import EngineChoice, SharedChoice, Workload, device_type_of, machine
from regraft.errors import EngineError, OptionError, did_you_mean, option
from regraft.progress import Detail
from regraft.runtime import Device

if TYPE_CHECKING:
    import torch


_PYTORCH = re.compile(r", torch [^,]*")


class LazyEngine(Engine):
    """An engine that is known to be right, and is built when it is first needed: not if all is in the cache."""

    def __init__(self, kind: EngineKind, workload: Workload) -> None:
        self.name, self.preprocess = kind.engine_name(workload.device), workload.backbone.preprocess
        self._kind, self._workload = kind, workload
        self._building = threading.Lock()  # several threads may need it first
        self._built: Engine | None = None
        self.ahead = 3

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels."""
        return self._build().features(pixels)

    def activations(self, pixels: np.ndarray) -> "torch.Tensor":
        """Return the same as a tensor, on the device where the network runs."""
        return self._build().activations(pixels)

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on (b, h, w, 3) uint8 pixels; return a function that waits for their features (b, d)."""
        return self._build().start(pixels)

    def drop(self) -> None:
        """Cancel what was started and has not begun to run."""
        if self._built is not None:
            self._built.drop()

    def _build(self) -> Engine:
        with self._building:
            if self._built is None:
                self._built = self._kind.build(self._workload)
            return self._built


def check_engine(wanted: str, device: Device) -> None:
    """Raise `OptionError` unless `wanted` is one of `engine_names` and can run here."""
    names = engine_names()
    if wanted not in names:
        raise OptionError(
            f"{option('engine')} must be one of {', '.join(names)}. Got {wanted!r}.{did_you_mean(str(wanted), names)}"
        )
    obstacle = None if wanted == AUTO else ENGINE_KINDS[wanted].obstacle(device)
    if obstacle is not None:
        raise OptionError(f"{option('engine', wanted)} {obstacle}")


def choose_engine(workload: Workload, wanted: str = AUTO, *, exact: bool = False) -> Engine:
    """Return the engine that runs `workload`.

    Before its first use on these photos every engine but torch-float32 is compared with that on some of them, and the
    verdict is stored; `kinds.Precision` has the agreement that is required.

    Args:
        workload: network and photos.
        wanted: one of `engine_names`; "auto" is the one that was chosen earlier on a machine like this, else the
            fastest that agrees. Networks are not converted for a few photos. A `SharedChoice` counts whatever is named.
        exact: only engines that are good enough for the inputs of training: of a library that is named, in float32.

    Raises:
        OptionError: `wanted` does not exist or cannot run here.
        EngineError: `wanted`, or what another process has chosen, does not give the features of torch-float32 or cannot
            run here.
    """
    check_engine(wanted, workload.device)
    if isinstance(workload.earlier, SharedChoice) and not exact:
        return _shared(workload, workload.earlier)
    earlier = None if exact else _earlier(workload)
    if earlier is not None and (wanted == earlier.name or (wanted == AUTO and _pays(workload, earlier))):
        return LazyEngine(earlier, workload)
    if wanted != AUTO:
        return _named(workload, _exact(ENGINE_KINDS[wanted]) if exact else ENGINE_KINDS[wanted])
    for kind in candidates(workload.device, exact=exact):
        if kind is reference_of(workload):
            break
        engine = _tried(workload, kind) if workload.photos >= kind.worth_from else None
        if engine is not None:
            return engine
    return reference_of(workload).build(workload)


def choice_of(engine: Engine, device: Device, photos: int) -> EngineChoice | None:
    """Return the choice of `engine` for later runs; None where `photos` were too few to try every engine."""
    kinds = ENGINE_KINDS.values()
    if any(photos < kind.worth_from for kind in kinds if kind.preference(device) is not None):
        return None
    names = [kind.name for kind in kinds if kind.engine_name(device) == engine.name]
    return EngineChoice(names[0], machine(device)) if names else None


def _shared(workload: Workload, choice: SharedChoice) -> Engine:
    """Return the engine that one process has chosen for several, whatever this one's own photos would say of it.

    Raises:
        EngineError: this is another kind of machine, where it cannot run or does not agree with the reference.
    """
    kind, device = ENGINE_KINDS[choice.engine], workload.device
    if _is_like(choice.machine, machine(device), kind):
        return LazyEngine(kind, workload)
    there, name = device_type_of(choice.machine), option("engine", kind.name)
    where = f"{socket.gethostname()} is another kind of machine than the one that chose what all run."
    if there != device.type:
        raise EngineError(
            f"{where} {name} was to run on {there}, and what works here has {device.type}. Name a device that all "
            f"have: {option('device', 'cpu')}."
        )
    remedy = f"Name an engine that runs on all: {option('engine', REFERENCE)}."
    if kind.obstacle(device) is not None:
        raise EngineError(f"{where} {name} {kind.obstacle(device)} {remedy}")
    if kind.name != REFERENCE and not len(choice.check.read()):
        raise EngineError(f"{where} No photo could be read that {name} can be compared on. {remedy}")
    try:
        return _named(replace(workload, check=choice.check), kind, remedy="")
    except EngineError as error:
        raise EngineError(f"{where} {error} {remedy}") from error


def _named(workload: Workload, kind: EngineKind, *, remedy: str | None = None) -> Engine:
    """Return the engine that the user named; `remedy` ends a refusal, None for the usual one.

    Raises:
        EngineError: it cannot run the network, or does not agree with the reference.
    """
    if kind in (reference := reference_of(workload), ENGINE_KINDS[REFERENCE]):
        return kind.build(workload)
    known = read_verdict(workload, kind.engine_name(workload.device))
    if known is not None and known.suffices(kind):
        return LazyEngine(kind, workload)
    if known is not None and known != UNABLE:  # an engine that is unable fails again, with its reason
        raise _refusal(kind, known, remedy)
    if not len(workload.pixels):  # of unreadable photos nothing will be run
        return reference.build(workload)
    engine, found = _compared(workload, kind)
    if not found.suffices(kind):
        raise _refusal(kind, found, remedy)
    return engine


def _tried(workload: Workload, kind: EngineKind) -> Engine | None:
    """Return an engine of this `kind` if it agrees with the reference; else say why not."""
    known = read_verdict(workload, kind.engine_name(workload.device))
    if known is not None:
        if known.suffices(kind):
            return LazyEngine(kind, workload)
        why = "it was found before that it cannot run this network" if known == UNABLE else known
        workload.say(Detail(f"{kind.name} is not used: {why}"))
        return None
    if not len(workload.pixels):  # of unreadable photos nothing will be run
        return None
    try:
        engine, found = _compared(workload, kind)
    except EngineError as error:
        if isinstance(error, UnsupportedNetworkError):  # others may pass: lack of memory
            write_verdict(workload, kind.engine_name(workload.device), UNABLE)
        workload.say(Detail(f"{kind.name} is not used: {error}"))
        return None
    if found.suffices(kind):
        return engine
    workload.say(Detail(f"{kind.name} is not used ({found}; at least {kind.precision.least_cosine} is needed)"))
    return None


def _compared(workload: Workload, kind: EngineKind) -> tuple[Engine, Agreement]:
    """Build an engine, compare it with the reference and store the verdict.

    Raises:
        EngineError: it cannot run the network.
    """
    engine = kind.build(workload)
    reference = reference_of(workload)
    expected = workload.shared("expected", lambda: reference.build(workload).features(workload.pixels))
    found = Agreement.of(engine.features(workload.pixels), expected, workload.widths, reference=reference.name)
    write_verdict(workload, kind.engine_name(workload.device), found)
    if found.suffices(kind):
        workload.say(Detail(f"engine: {engine.name} ({found})"))
    return engine, found


def _refusal(kind: EngineKind, found: Agreement, remedy: str | None) -> EngineError:
    of = "for each photo" if kind.precision.every_photo else "on average"
    fault = (
        f"{option('engine', kind.name)} does not give this network's features: {found}, and at least "
        f"{kind.precision.least_cosine} {of} is needed."
    )
    remedy = f"Leave {option('engine')} out." if remedy is None else remedy
    return EngineError(f"{fault} {remedy}".rstrip())


def _exact(kind: EngineKind) -> EngineKind:
    """Return the exact engine of the same library, the reference if there is none."""
    same = [other for other in ENGINE_KINDS.values() if other.library == kind.library and other.precision.exact]
    return same[0] if same else ENGINE_KINDS[REFERENCE]


def _is_like(other: str, here: str, kind: EngineKind) -> bool:
    """Tell whether a machine is like another; which PyTorch it has, if any, does not change what OpenVINO gives."""
    if kind.library == "torch":
        return other == here
    return _PYTORCH.sub("", other) == _PYTORCH.sub("", here)


def _pays(workload: Workload, kind: EngineKind) -> bool:
    """Tell whether the network is not converted anew each time, or for enough photos."""
    return workload.keep or workload.graph is not None or workload.photos >= kind.worth_from


def _earlier(workload: Workload) -> EngineKind | None:
    """Return the engine that was chosen earlier, None where that choice does not hold here."""
    earlier = workload.earlier
    kind = None if earlier is None else ENGINE_KINDS.get(earlier.engine)
    if earlier is None or kind is None or not _is_like(earlier.machine, machine(workload.device), kind):
        return None
    return kind if kind.obstacle(workload.device) is None else None
