"""Inputs that break every rule on purpose: what the runner has to notice."""

import itertools
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.watching import Log, Watch, peak_memory


def breaches(folder: Path, limit: float) -> dict[str, Any]:
    """Break the rules that the files in `folder/inputs` are named after."""
    at_first, inputs = peak_memory(), sorted((folder / "inputs").iterdir())
    watch = Watch(own=(folder / "cache",))
    log = Log(watch, (KeyError,), limit)
    for path in inputs:
        log.run(path.name, lambda path=path: _BREACHES[path.name](path), inputs=(path,))  # type: ignore[misc]
    watch.stop()
    return log.report(at_first)


def _reads(path: Path) -> str:
    path.read_bytes()
    return "read"


def _refuses(path: Path) -> str:
    raise KeyError(path)


def _foreign(path: Path) -> str:
    Path("/etc/hostname").read_bytes()
    return "opened"


def _changes_its_input(path: Path) -> str:
    path.write_bytes(b"other")
    return "opened"


def _removes(path: Path) -> str:
    (path.parents[1] / "kept").unlink()
    return "opened"


def _device(path: Path) -> str:
    with path.open("rb") as stream:  # a link to /dev/zero
        stream.read(1)
    return "opened"


def _connects(path: Path) -> str:
    with socket.socket() as client:
        client.connect_ex(("127.0.0.1", 9))
    return "connected"


def _resolves(path: Path) -> str:
    socket.getaddrinfo("127.0.0.1", 80)
    return "resolved"


def _starts(path: Path) -> str:
    subprocess.run([sys.executable, "-c", ""], check=True)
    os.system("true")
    return "started"


def _unpickles(path: Path) -> str:
    pickle.loads(pickle.dumps(Path("x")))
    return "unpickled"


def _hangs(path: Path) -> str:
    time.sleep(100)
    return "never"


def _hangs_with_the_lock(path: Path) -> str:
    return str(sum(itertools.repeat(1, 10**12)))  # which no signal interrupts


def _divides(path: Path) -> str:
    return str(1 // 0)


_BREACHES: dict[str, Callable[[Path], str]] = {
    "a reads": _reads,
    "b refuses": _refuses,
    "c foreign": _foreign,
    "d changes its input": _changes_its_input,
    "e removes": _removes,
    "f device": _device,
    "g connects": _connects,
    "h resolves": _resolves,
    "i starts": _starts,
    "j unpickles": _unpickles,
    "k hangs": _hangs,
    "l divides": _divides,
    "m hangs with the lock": _hangs_with_the_lock,
}
