"""Work in other processes: kept ones that take turns, and commands whose time and memory are measured."""

import contextlib
import json
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
_SECONDS_BETWEEN_LOOKS = 0.1


class Contender:
    """One process that is kept: its networks are loaded once, its threads disturb nobody between its turns."""

    def __init__(self) -> None:
        usual, spawn = multiprocessing.get_start_method(), multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, spawn, start_workers_by, (usual,))

    def __call__(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function of a module there and return what it returns."""
        return self._pool.submit(function, *arguments).result()

    def __enter__(self) -> "Contender":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._pool.shutdown()


def start_workers_by(method: str) -> None:
    """Let this process start its own by `method`: a spawned one would spawn, which costs a DataLoader seconds."""
    multiprocessing.set_start_method(method, force=True)


@dataclass(frozen=True)
class Finished:
    """A command that ended well.

    Attributes:
        seconds: from its start to its end.
        peak_megabytes: the most memory it held, with that of the processes it started, at one time.
        output: what it wrote to stdout.
    """

    seconds: float
    peak_megabytes: float
    output: str

    def json(self) -> dict[str, Any]:
        """Return the JSON object on its last line."""
        return dict(json.loads(self.output.strip().splitlines()[-1]))


class CommandError(Exception):
    """A command failed; holds the end of what it wrote to stderr."""


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command and measure it. It finds the time at which it was started in the variable BENCHMARK_STARTED.

    Raises:
        CommandError: it ended with another exit code than 0.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        environment = {**(environment or os.environ), "BENCHMARK_STARTED": str(time.time())}
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, stdin=subprocess.DEVNULL)
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = max(usage.ru_maxrss / 1024, watch.end())
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            told = errors.read().strip().splitlines()[-12:]
            raise CommandError(f"{' '.join(command)} ended with exit code {process.returncode}:\n" + "\n".join(told))
        return Finished(seconds, peak, output.read())


class _Watch:
    """Looks now and then how much memory a process and those below it hold together."""

    def __init__(self, pid: int) -> None:
        self._peak, self._ended = 0.0, threading.Event()
        self._process = psutil.Process(pid)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Return the most that was seen, in MB."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            with contextlib.suppress(psutil.Error):
                family = self._process.children(recursive=True)
                if family:  # a process alone is measured exactly by the operating system
                    held = sum(process.memory_info().rss for process in [self._process, *family])
                    self._peak = max(self._peak, held / 2**20)
