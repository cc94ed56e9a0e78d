"""The machine: its devices and processors, and the part of this process among several."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.errors import OptionError, option

if TYPE_CHECKING:
    import torch

MANY_PHOTOS = 128  # from here on it pays to begin with what takes a second: to convert a network, to import torchvision
BATCH_SIZE = 32  # images per step through a network that is not trained
DEVICES = ("auto", "cpu", "cuda", "mps")
# of NVIDIA's drivers, the same inside Windows' Linux, and AMD's, whose GPUs PyTorch calls "cuda" as well
_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENAS = -1, -3, -8  # of glibc's mallopt; and how users set them for a process:
_MALLOC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
_LARGE_BLOCK, _LEAST_ARENAS = 1 << 20, 2  # bytes that are returned at once; heaps that threads share
_MOST_OF_ITSELF = 1 << 25  # bytes that glibc raises its threshold to as it goes; the most that older ones can be told


@dataclass(frozen=True)
class Device:
    """A processor that networks run on, named without PyTorch.

    Attributes:
        type: "cpu", "cuda" or "mps".
        index: which of several; None for the first.
    """

    type: str
    index: int | None = None

    @classmethod
    def of(cls, device: "torch.device") -> "Device":
        """Return PyTorch's device by its name."""
        return cls(device.type, device.index)

    def __str__(self) -> str:
        """Return PyTorch's name of it, e.g. "cuda:1"."""
        return self.type if self.index is None else f"{self.type}:{self.index}"


CPU = Device("cpu")


def is_installed(package: str) -> bool:
    """Tell whether `package` can be imported, without importing it."""
    if sys.modules.get(package) is not None:
        return True
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # kept out, as a test does
        return False
    return spec is not None and spec.origin is not None  # a folder without a package is what is left of one


def may_have_accelerator() -> bool:
    """Tell whether PyTorch might find an accelerator, by what its driver leaves; importing PyTorch takes a second.

    Where this is False there is none. A wrong True costs that second.
    """
    if not is_installed("torch"):
        return False
    if "torch" in sys.modules:  # it answers at once
        return True
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "nvcuda.dll").exists()
    return any(Path(place).exists() for place in _DRIVERS)


def find_device(name: str = "auto") -> Device:
    """Return the device called `name`; "auto" is the first accelerator there is, else the CPU.

    PyTorch is imported only where it has to be asked.

    Raises:
        OptionError: no such device on this machine.
    """
    kind = name.partition(":")[0] if isinstance(name, str) else name
    if kind not in DEVICES:
        raise OptionError(f"{option('device')} must be one of {', '.join(DEVICES)}. Got {name!r}.")
    if name == "cpu" or (name == "auto" and not may_have_accelerator()):
        return CPU
    if not is_installed("torch"):
        raise OptionError(
            f"{option('device', name)} needs PyTorch, which is not installed: pip install 'regraft[train]'. Without "
            "it: auto, cpu."
        )
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return Device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present.get(kind):
        usable = ", ".join(["auto", *(k for k, there in present.items() if there)])
        raise OptionError(f"{option('device', name)} is not present on this machine. Usable here: {usable}.")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(
            f"{option('device')} must be one of {', '.join(DEVICES)}, or a numbered one (cuda:0). Got {name!r}."
        ) from None
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"{option('device', name)} is not present on this machine. It has {torch.cuda.device_count()}, from cuda:0."
        )
    return Device.of(device)


def pick_device(name: str = "auto") -> "torch.device":
    """Return PyTorch's device for `find_device`.

    Raises:
        OptionError: no such device on this machine.
    """
    import torch  # here, because what answers photos must stay free of torch

    return torch.device(str(find_device(name)))


def process_count() -> int:
    """Return how many processes `torchrun` or another launcher started together, this one among them."""
    launched = "RANK" in os.environ  # WORLD_SIZE alone is left over from something else
    return int(os.environ.get("WORLD_SIZE") or 1) if launched else 1


def is_first_process() -> bool:
    """Tell whether this process reports for all: it is the only one, or the first of a distributed run."""
    return process_count() == 1 or os.environ["RANK"] == "0"


_most_cpus: int | None = None  # that this process was lent; None for all there are


def cpu_count() -> int:
    """Return the number of processors this process may use (containers, schedulers and `limit_cpus` narrow it)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count if _most_cpus is None else min(count, _most_cpus)


def limit_cpus(count: int) -> None:
    """Have this process use so many processors, where it shares the machine with others of its kind."""
    global _most_cpus  # noqa: PLW0603 (of the whole process)
    _most_cpus = count
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
    else:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(count)  # read when torch is imported


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the process keep what it frees in this block for what it allocates next, and return it at the end.

    glibc returns the memory of large tensors at once, and the kernel clears every page of the next ones: half of the
    time of a step through a whole network. Another C library, or one that the user has set, is left as it is.
    """
    allocator = _allocator()
    if allocator is None:
        yield
        return
    set_threshold, trim = allocator
    free = not any(name in os.environ for name in _MALLOC_VARIABLES)
    if free:  # bytes; larger ones are still returned at once
        if not set_threshold(_MMAP_THRESHOLD, 1 << 30):
            set_threshold(_MMAP_THRESHOLD, _MOST_OF_ITSELF)
        set_threshold(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        if free:
            set_threshold(_MMAP_THRESHOLD, _MOST_OF_ITSELF)
            set_threshold(_TRIM_THRESHOLD, 2 * _MOST_OF_ITSELF)
        trim(0)


def return_freed_memory() -> None:
    """Have the process return what it frees, rather than keep it: for one that runs for weeks. Called before threads.

    glibc keeps a heap for every few threads, and in each what large photos left. Another C library, or one that the
    user has set, is left as it is.
    """
    allocator = _allocator()
    if allocator is None or any(name in os.environ for name in _MALLOC_VARIABLES):
        return
    set_threshold, _ = allocator
    set_threshold(_ARENAS, _LEAST_ARENAS)
    set_threshold(_MMAP_THRESHOLD, _LARGE_BLOCK)
    set_threshold(_TRIM_THRESHOLD, 8 * _LARGE_BLOCK)


def trim_memory() -> None:
    """Return to the system what was freed and is kept, where the C library can: takes some milliseconds."""
    if (allocator := _allocator()) is not None:
        allocator[1](0)


def _allocator() -> tuple[Callable[[int, int], int], Callable[[int], int]] | None:
    """Return glibc's functions that set a threshold, and that return memory; None with another C library."""
    import ctypes  # here: importing it takes longer than a page of help may

    try:
        library = ctypes.CDLL(None)
        return library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
