"""Devices by name, and the processors of this process."""

import ctypes
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from regraft import runtime
from regraft.errors import OptionError
from regraft.runtime import (
    CPU,
    Device,
    cpu_count,
    find_device,
    freed_memory_kept,
    is_first_process,
    is_installed,
    may_have_accelerator,
    pick_device,
)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two GPUs, and no MPS."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("devices")
def test_devices_by_name() -> None:
    assert pick_device() == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device must be one of auto, cpu, cuda, mps. Got 'gpu'."),
        (None, "device must be one of auto, cpu, cuda, mps. Got None."),
        ("mps", "device='mps' is not present on this machine. Usable here: auto, cpu, cuda."),
        ("cuda:x", "device must be one of auto, cpu, cuda, mps, or a numbered one (cuda:0). Got 'cuda:x'."),
        ("cuda:2", "device='cuda:2' is not present on this machine. It has 2, from cuda:0."),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        pick_device(name)
    assert str(caught.value) == message


def test_auto_is_the_cpu_without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    assert find_device("auto") == CPU


def test_a_device_has_pytorchs_name() -> None:
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        device = Device.of(torch.device(name))
        assert str(device) == name
        assert torch.device(str(device)) == torch.device(name)
    assert Device.of(torch.device("cuda:1")) == Device("cuda", 1)


@pytest.mark.usefixtures("devices")
def test_devices_are_those_of_pytorch() -> None:
    assert [find_device(name) for name in ("auto", "cpu", "cuda:1")] == [Device("cuda"), CPU, Device("cuda", 1)]


# --- without PyTorch ---


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what a driver leaves once it is there; PyTorch is installed, and not imported yet."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(runtime, "_DRIVERS", (str(tmp_path / "dev" / "nvidia0"), str(tmp_path / "nvidiactl")))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(runtime, "is_installed", lambda name: name == "torch")
    return tmp_path / "nvidiactl"


def test_pytorch_is_not_asked_where_no_driver_is(driver: Path) -> None:
    assert find_device("auto") == find_device("cpu") == CPU
    assert "torch" not in sys.modules
    driver.touch()
    assert may_have_accelerator()


@pytest.mark.parametrize(("machine", "may"), [("arm64", True), ("x86_64", False)])
def test_a_mac_may_have_one_by_its_processor(
    driver: Path, monkeypatch: pytest.MonkeyPatch, machine: str, may: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert may_have_accelerator() == may


def test_windows_has_the_driver_in_its_folder(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert not may_have_accelerator()
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert may_have_accelerator()


def test_an_imported_pytorch_is_asked(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert may_have_accelerator()


def test_without_pytorch_there_is_the_cpu(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.touch()
    monkeypatch.setattr(runtime, "is_installed", lambda _: False)
    assert not may_have_accelerator()
    assert find_device("auto") == find_device("cpu") == CPU
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(OptionError) as caught:
            find_device(name)
        assert str(caught.value) == (
            f"device={name!r} needs PyTorch, which is not installed: pip install 'regraft[train]'. Without it: auto, "
            "cpu."
        )
    with pytest.raises(OptionError, match=r"^device must be one of auto, cpu, cuda, mps\. Got 'gpu'\.$"):
        find_device("gpu")


def test_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("torch")
    assert not is_installed("no_such_package")
    assert not is_installed("torch.no_such.part")
    monkeypatch.setitem(sys.modules, "torch", None)  # kept out
    assert not is_installed("torch")


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_reports(monkeypatch: pytest.MonkeyPatch, rank: str | None, first: bool) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first_process() == first
    monkeypatch.delenv("WORLD_SIZE")  # then the rank is left over from something else
    assert is_first_process()


def test_processors_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu_count() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this PyTorch multiplies by another library")
@pytest.mark.parametrize(("given", "mode"), [({}, "AUTO"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE")])
def test_gradients_have_the_same_bits_again(given: dict[str, str], mode: str) -> None:
    """The backward pass of one photo, whose gradient had other bits in every second process.

    MKL_VERBOSE has MKL tell of each product in which mode it is.
    """
    script = """
    import torch
    import regraft

    layer = torch.nn.Conv2d(64, 256, 1)
    photo, gradient = torch.randn(1, 64, 1, 1, requires_grad=True), torch.randn(1, 256, 1, 1)
    found = set()
    for _ in range(200):
        photo.grad = None
        layer(photo).backward(gradient)
        found.add(photo.grad.numpy().tobytes())
    print("gradients", len(found))
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MKL", "OMP"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**environment, "MKL_VERBOSE": "1", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gradients 1" in done.stdout.splitlines()
    told = [line for line in done.stdout.splitlines() if line.startswith("MKL_VERBOSE SGEM")]
    assert told
    assert all(f"CNR:{mode}" in line for line in told), told[0]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_kept_and_returned_at_the_end() -> None:
    """16 MB are 4,096 pages of 4 kB: the kernel clears them the first time, and no second time."""
    script = """
    import resource
    from regraft.runtime import freed_memory_kept

    def faults(times):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(times):
            bytearray(1 << 24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with freed_memory_kept():
        print(faults(1), faults(10))
    print(faults(1))
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    first, others, after = map(int, found)
    pages = (1 << 24) // os.sysconf("SC_PAGE_SIZE")
    assert others < pages / 10 < 0.9 * pages < min(first, after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_goes_back_to_the_system() -> None:
    """Eight threads at once free 15 MB each, below something small that stays: by itself glibc would keep it all."""
    script = """
    import sys
    import threading
    from regraft.runtime import return_freed_memory, trim_memory

    def resident():
        pages = int(open("/proc/self/statm").read().split()[1])
        return pages * 4096 / 1e6

    if sys.argv[1] == "returned":
        return_freed_memory()
    bytearray(30_000_000)  # of such a size on, glibc has learned, it returns at once what is freed
    before, stays, together = resident(), [], threading.Barrier(8)

    def work():
        parts = [bytearray(1_500_000) for _ in range(10)]
        stays.append(bytearray(100))
        together.wait()
        parts.clear()
        together.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    if sys.argv[1] == "returned":
        trim_memory()
    print(resident() - before)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    held = {
        how: float(subprocess.run([*command, how], env=environment, capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "returned")
    }
    assert held["returned"] < 10
    assert held["kept"] > 60


@pytest.mark.parametrize(
    ("library", "calls"), [("glibc", 4), ("older glibc", 5), ("set by the user", 0), ("musl", None), ("Windows", None)]
)
def test_what_is_asked_of_each_c_library(library: str, calls: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, name: int, value: int) -> int:
            asked.append((name, value))
            return library != "older glibc" or value <= 1 << 25 or name != -3

        def malloc_trim(self, _: int) -> None:
            asked.append((0, 0))

    def opened(_: None) -> object:
        if library == "Windows":
            raise TypeError("bad argument type for built-in operation")
        return object() if library == "musl" else Library()

    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    if library == "set by the user":
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    monkeypatch.setattr(ctypes, "CDLL", opened)
    with freed_memory_kept():
        assert len(asked) == max((calls or 0) - 2, 0)
    assert asked[calls or 0 :] == ([] if calls is None else [(0, 0)])
