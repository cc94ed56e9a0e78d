"""What a process does beside its work, told by Python's audit events, and work on one input at a time within limits.

Audit events come from Python alone: what a library opens by itself (safetensors, OpenVINO, libvips) is not seen.
"""

import faulthandler
import os
import resource
import signal
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from regraft import watchdog

SHOWN = 40  # of each kind of event
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NET = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "socket.bind",
    "urllib.Request",
)
_STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
# what is changed or listed, and which of the arguments are paths
_CHANGES = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.rename": 2, "os.link": 2}
_CHANGES |= {"os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1}
_LISTS = ("os.listdir", "os.scandir")
_SOURCE = (".py", ".pyc", ".so")  # what an import reads
_FACTS = ("/METADATA", "/entry_points.txt")  # of installed packages: their versions


class LateError(BaseException):
    """An input took too long. No `Exception`: nothing may hold it for an error of the input."""


class Watch:
    """Remembers what is opened, changed, started, connected to and unpickled, but for what is expected.

    Expected is to read the named inputs, to read and write below the cache and the output folder, and to read what
    imports read below Python's own folders and regraft's: sources, bytecode, libraries, versions of packages.
    """

    def __init__(self, *, own: tuple[Path, ...]) -> None:
        """Watch from now on.

        Args:
            own: the cache and the output folder.
        """
        self.seen: dict[str, list[str]] = {name: [] for name in ("opened", "network", "started", "unpickled")}
        self._own = tuple(_absolute(path) for path in own)
        self.inputs: tuple[str, ...] = ()
        self.item = ""
        package = Path(watchdog.__file__).parent
        self._code = tuple({*map(_absolute, (sys.prefix, sys.base_prefix, package, Path(__file__).parents[2]))})
        self._on = True
        sys.addaudithook(self._hear)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hear nothing of what the runner does itself in the block."""
        self._on = False
        yield
        self._on = True

    def stop(self) -> None:
        """Hear nothing more: audit hooks cannot be removed."""
        self._on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._opened(arguments[0], arguments[2])
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                if arguments[-1] in (-1, None) or event == "os.utime":  # else it is below a folder that was checked
                    self._check(event, path, writing=True)
        elif event in _LISTS:
            self._check(event, arguments[0], writing=False)
        elif event in _NET:
            self._note("network", event, arguments)
        elif event in _STARTS:
            self._note("started", event, arguments)
        elif event == "pickle.find_class":
            self._note("unpickled", event, arguments)

    def _opened(self, path: Any, flags: Any) -> None:
        writing = isinstance(flags, int) and bool(flags & _WRITING)
        self._check("open", path, writing=writing)

    def _check(self, event: str, path: Any, *, writing: bool) -> None:
        if isinstance(path, int) or path is None:  # of what is open
            return
        place = _absolute(path)
        if place != os.fsdecode(path) and not os.path.lexists(place):
            return  # below a folder that is open, and was looked at when it was opened
        if _below(place, self._own) or (_below(place, self.inputs) and not writing):
            if event == "open" and _endless(place):
                self._note("opened", "no ordinary file", (place,))
        elif writing or not self._is_code(place, event):
            self._note("opened", event + (" for writing" if writing else ""), (place,))

    def _is_code(self, place: str, event: str) -> bool:
        if not _below(place, self._code):
            return False
        if event in _LISTS or place in sys.path:  # which has the name of an archive that may be there
            return True
        return place.endswith(_SOURCE + _FACTS) or ".so." in Path(place).name

    def _note(self, kind: str, event: str, arguments: tuple[Any, ...]) -> None:
        if len(self.seen[kind]) < SHOWN:
            self.seen[kind].append(f"{self.item!r}: {event} {repr(arguments)[:300]}")


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links stay links


def _below(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == folder or place.startswith(folder.rstrip("/") + "/") for folder in folders)


def _endless(place: str) -> bool:
    try:
        mode = os.stat(place).st_mode  # noqa: PTH116 - a Path would be another event's business
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class Log:
    """Runs one input after the other and counts what came of them.

    Args:
        watch: told which input is under way.
        fine: errors that are right answers to a bad input.
        limit: seconds for an input.
    """

    def __init__(self, watch: Watch, fine: tuple[type[Exception], ...], limit: float) -> None:
        self._watch, self._fine, self._limit = watch, fine, limit
        self.counts: Counter[str] = Counter()
        self.failures: list[dict[str, str]] = []
        self.stages: dict[str, float] = {}
        self.greedy: list[tuple[float, str]] = []  # what raised the peak, in MB
        self.slowest: tuple[float, str] = (0.0, "")
        # regraft's own watch would take faulthandler's one timer, which here ends a process that hangs
        watchdog.faulthandler = SimpleNamespace(  # type: ignore[assignment]
            dump_traceback_later=lambda *_, **__: None, cancel_dump_traceback_later=lambda: None
        )

    def run(self, item: str, work: Callable[[], str], *, inputs: tuple[Path, ...] = (), stage: float = 0) -> None:
        """Do `work`, which returns its outcome in a word.

        Args:
            item: its name.
            work: what may go wrong.
            inputs: files that it may read, or folders of such.
            stage: seconds for all inputs together, where this is no single one.
        """
        sys.stderr.write(f"item: {item!r}\n")
        self._watch.item = item
        self._watch.inputs = tuple(_absolute(path) for path in inputs)
        started, peak = time.monotonic(), peak_memory()
        try:
            with _limited(stage or self._limit):
                outcome = work()
        except self._fine as error:
            outcome = type(error).__name__
        except (Exception, LateError) as error:
            outcome = "failed"
            self.failures.append({"item": item, "exception": f"{type(error).__name__}: {str(error)[:300]}"})
        seconds = time.monotonic() - started
        self.counts[outcome] += 1
        if peak_memory() > peak + 10:
            self.greedy.append((round(peak_memory() - peak, 1), item))
        if stage:
            self.stages[item] = round(seconds, 3)
        else:
            self.slowest = max(self.slowest, (round(seconds, 3), item))

    def report(self, at_first: float) -> dict[str, Any]:
        """Return all that was found, in JSON types; `at_first` is the peak memory in MB before the first input."""
        return {
            "counts": dict(self.counts),
            "failures": self.failures,
            "slowest": {"seconds": self.slowest[0], "item": self.slowest[1]},
            "raised_peak": self.greedy,
            "stages": self.stages,
            **self._watch.seen,
            "peak_mb": peak_memory(),
            "imports_mb": at_first,
        }


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End the block by `LateError` after `seconds`, and the process if a library holds Python's lock so long."""

    def late(*_: object) -> None:
        raise LateError(f"more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, late)
    faulthandler.dump_traceback_later(1.5 * seconds + 1, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def peak_memory() -> float:
    """Return the most memory that this process has held at once, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1)
