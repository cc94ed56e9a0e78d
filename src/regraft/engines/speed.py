"""How fast networks run on this machine: each timed once on blank images, through PyTorch, and kept in the cache."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.cache import engines_folder
from regraft.engines.workload import machine
from regraft.files import atomic_write, json_or_none, read_regular, sha256
from regraft.runtime import Device, cpu_count

if TYPE_CHECKING:
    import torch

_IMAGES = 4
_RUNS = 3  # that are timed
_WAITING = 4  # times what is enough
_PREEMPTIONS = 20  # in a second; an idle machine has a few, one with a program more than processors about 100
_LARGEST_FILE = 100_000  # bytes


class Speeds:
    """Images per second through networks, without reading files; timed once and kept in the cache.

    Attributes:
        busy: whether other programs kept the machine busy when this began.
        doubtful: something was timed while they did: it is lower, and is not kept.

    Args:
        device: that runs the networks.
        keep: False reads and writes no file.
    """

    def __init__(self, device: "torch.device", *, keep: bool = True) -> None:
        self._device, self._file = device, _file(device) if keep else None
        self._known = _read(self._file) if self._file else {}
        self.busy = is_busy()  # before anything is timed, which keeps it busy, too
        self.doubtful = False

    def of(self, name: str) -> float:
        """Return the speed of the network called `name`, in float32; its weights do not matter and are not fetched."""
        return self.timed(name, lambda: measure(name, self._device))

    def timed(self, name: str, measured: Callable[[], float]) -> float:
        """Return the speed that is known under `name`; if none is, `measured` returns it."""
        if name not in self._known:
            self._known[name] = measured()
            self.doubtful |= self.busy
            if self._file and not self.busy:
                _write(self._file, self._known)
        return self._known[name]


def is_busy() -> bool:
    """Tell whether as many programs ran during the last minute as there are processors, where that is known."""
    try:
        return os.getloadavg()[0] >= (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows
        return False


def measure(name: str, device: "torch.device") -> float:
    """Return images per second through the network called `name`."""
    import torch

    from regraft.networks.backbones import build_untrained

    backbone = build_untrained(name)
    module, preprocess = backbone.module.to(device), backbone.preprocess
    images = torch.zeros(_IMAGES, 3, preprocess.height, preprocess.width, device=device)
    with torch.no_grad():
        return _IMAGES / seconds_of(lambda: module(images), device, enough=0.5)


def seconds_of(work: Callable[[], object], device: "torch.device", *, enough: float = 1.0, runs: int = _RUNS) -> float:
    """Return the least seconds of `work` on `device`: what else runs on the machine only ever adds.

    The first of several runs, which sets things up, does not count; of work that takes longer than `enough` seconds it
    is the only one. On an accelerator, which may take seconds to be set up for work of milliseconds, one more goes
    before it. Of a run on the CPU during which other programs took it away, the seconds on all its processors
    count, and not the waiting.

    Args:
        work: is done up to `runs` times, and once before.
        device: that does it.
        enough: seconds; no further run begins once all together took longer, or several times as long with waiting.
        runs: that are timed at most.
    """
    import torch

    if device.type != "cpu":
        work()
    seconds: list[float] = []
    waited = 0.0
    for run in range(1 + runs):
        _wait(device)
        watch, used = Contention(), time.process_time()
        work()
        _wait(device)
        elapsed, own = watch.elapsed, (time.process_time() - used) / min(torch.get_num_threads(), cpu_count())
        waited += elapsed
        if device.type == "cpu" and watch.found:
            elapsed = min(elapsed, own)
        seconds += [elapsed] if run or elapsed > enough else []
        if sum(seconds) > enough or (seconds and waited > _WAITING * enough):
            break
    return min(seconds)


class Contention:
    """Tells whether other programs took the processors away since it was made."""

    def __init__(self) -> None:
        self._started, self._lost = time.perf_counter(), preemptions()

    @property
    def elapsed(self) -> float:
        """Return the seconds since then."""
        return time.perf_counter() - self._started

    @property
    def found(self) -> bool:
        """Whether they were taken more often than on an idle machine."""
        return preemptions() - self._lost > 2 + _PREEMPTIONS * self.elapsed


def preemptions() -> int:
    """Return how often other programs took a processor from this one, where that is known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _wait(device: "torch.device") -> None:
    """Wait until an accelerator has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def _file(device: "torch.device") -> Path:
    about = f"{machine(Device.of(device))}, {cpu_count()} processors"
    return engines_folder() / "speeds" / f"{sha256(about.encode()).hex()[:24]}.json"


def _read(file: Path) -> dict[str, float]:
    """Return what was measured before; nothing of a file that is damaged or not there."""
    try:
        found = json_or_none(read_regular(file, limit=_LARGEST_FILE))
    except OSError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: float(rate) for name, rate in found.items() if isinstance(rate, (int, float)) and rate > 0}


def _write(file: Path, known: dict[str, float]) -> None:
    with contextlib.suppress(OSError):  # then it is measured again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
