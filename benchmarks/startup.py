"""From the shell: `regraft --help` and `regraft predict` of one photo, and where the time of the latter goes."""

import functools
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.material import REPOSITORY, dogs_and_cats, link_flat
from benchmarks.processes import run
from benchmarks.record import Record, progress, shown

HELP, FIRST, READY, AGAIN, REFIT = (
    "regraft --help",
    "predict, everything for the first time",
    "predict a new photo, network converted",
    "predict the same photo again",
    "fit 1,000 photos again, from the cache",
)
SHELL, MEMORY, PARTS = "from the shell", "peak memory from the shell", "parts of a prediction"
INTERPRETER, REST = "Python itself", "other imports"
_PACKAGES = ("torch", "torchvision", "timm", "openvino", "numpy", "scipy", "sklearn", "pandas", "regraft")
_IMPORT = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)")
_PHOTOS_TO_FIT = 256  # enough for the network to be converted
_WORTH_A_BAR = 0.05  # seconds


def measure(*, rounds: int, quick: bool) -> Record:
    """Let all commands take turns."""
    rounds = min(rounds, 1) if quick else rounds
    record = Record("startup", "From the shell: seconds from the command to the end", {"rounds": rounds})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, photo = _fitted(folder), dogs_and_cats()[-1]
        _commands(record, bundle, photo, rounds)
        _breakdown(record, bundle, photo, rounds)
    record.notes += [
        "files are in the system's cache; regraft's cache is empty the first time, then holds what a first run leaves",
        f"parts: of '{READY}'; imports by `python -X importtime`, each module counted under its own package, scaled to "
        "the seconds that the same imports take without it",
    ]
    return record


def _fitted(folder: Path) -> Path:
    """Return a classifier that learned from a few photos."""
    progress("startup: fitting a classifier to predict with")
    link_flat(dogs_and_cats()[:_PHOTOS_TO_FIT], folder / "photos")
    bundle = folder / "classifier.safetensors"
    _fit(bundle)
    return bundle


def _fit(bundle: Path) -> None:
    command = ours.fit_command(bundle.parent / "photos", bundle)
    run(command, environment=ours.with_cache(bundle.parent / "cache"))


def _commands(record: Record, bundle: Path, photo: Path, rounds: int) -> None:
    cache, fitted = bundle.parent / "cache", bundle.parent / "cache-of-fit"
    predict = ours.predict_command(bundle, photo)
    refit = ours.fit_command(link_flat(dogs_and_cats(), bundle.parent / "all"), bundle.parent / "all.safetensors")

    def convert() -> None:
        _fit(bundle)
        if not list((cache / "engines").rglob("model.xml")):
            progress("startup: the network is not converted on this machine")
        ours.forget_photos(cache)

    before: dict[str, tuple[Sequence[str], Callable[[], None]]] = {
        HELP: ([*ours.COMMAND, "--help"], lambda: None),
        FIRST: (predict, lambda: shutil.rmtree(cache, ignore_errors=True)),
        READY: (predict, convert),
        AGAIN: (predict, lambda: None),
        REFIT: (refit, lambda: None),
    }
    progress("startup: fitting all photos once, to fit them again")
    run(refit, environment=ours.with_cache(fitted))
    seconds: dict[str, list[float]] = defaultdict(list)
    megabytes: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for name, (command, prepare) in before.items():
            prepare()
            done = run(command, environment=ours.with_cache(fitted if name == REFIT else cache))
            seconds[name].append(done.seconds)
            megabytes[name].append(done.peak_megabytes)
            progress(f"startup: round {number + 1} of {rounds}: {name}: {shown(seconds[name][-1])} s")
    for name, values in seconds.items():
        record.add(SHELL, name, "s", values)
        record.add(MEMORY, name, "MB", megabytes[name])


def _breakdown(record: Record, bundle: Path, photo: Path, rounds: int) -> None:
    """Keep where the time of a prediction with a converted network goes."""
    cache = bundle.parent / "cache"
    environment = ours.with_cache(cache)
    imports = ours.import_script(ours.PREDICT_IMPORTS)
    nothing, imported, parts = [], [], []
    for number in range(rounds):
        progress(f"startup: where the time goes: round {number + 1} of {rounds}")
        nothing.append(run([sys.executable, "-c", ""]).seconds)
        imported.append(run([sys.executable, "-c", imports], environment=environment).seconds)
        ours.forget_photos(cache)
        job = [sys.executable, "-m", "benchmarks.startup", str(bundle), str(photo)]
        parts.append(run(job, environment=environment).json())
    clocked = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", imports], env=environment, capture_output=True, text=True, check=True
    )
    shares = import_shares(clocked.stderr)
    record.add(PARTS, INTERPRETER, "s", nothing)
    for package, share in shares.items():
        name = REST if package == REST else f"import {package}"
        record.add(PARTS, name, "s", [share * (a - b) for a, b in zip(imported, nothing, strict=True)])
    for part in parts[0]:
        record.add(PARTS, part, "s", [one[part] for one in parts])


def import_shares(report: str) -> dict[str, float]:
    """Return each package's share of the time that a report of `python -X importtime` names, the largest first."""
    times: dict[str, float] = defaultdict(float)
    for line in report.splitlines():
        found = _IMPORT.match(line)
        if found:
            package = found[2].partition(".")[0]
            times[package if package in _PACKAGES else REST] += int(found[1])
    whole = sum(times.values())
    rest = times.pop(REST, 0.0)
    ordered = dict(sorted(times.items(), key=lambda item: -item[1])) | {REST: rest}
    return {package: seconds / whole for package, seconds in ordered.items()}


class Clocks:
    """Seconds spent in some functions; what one of them spends in another counts for the other alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = time.perf_counter()

    def watch(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, its time counted for `part`."""

        @functools.wraps(function, updated=())
        def watched(*arguments: Any, **named: Any) -> Any:
            self.switch(part)
            try:
                return function(*arguments, **named)
            finally:
                self.switch(None)

        return watched

    def switch(self, part: str | None) -> None:
        """Go into `part`, or with None back to where it was entered from."""
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now
        if part is None:
            self._inside.pop()
        else:
            self._inside.append(part)


def predict_here(bundle: str, photo: str) -> dict[str, float]:
    """Return the seconds of each part of a prediction in this process, imports not counted."""
    for module in ours.PREDICT_IMPORTS:
        importlib.import_module(module)
    clocks = Clocks()
    for part, name in ours.PREDICT_PARTS.items():
        owner, attribute = owner_of(name)
        setattr(owner, attribute, clocks.watch(part, getattr(owner, attribute)))
    clocks.watch("the rest", ours.run_here)(["predict", bundle, photo])
    return {part: clocks.seconds[part] for part in [*ours.PREDICT_PARTS, "the rest"]}


def owner_of(name: str) -> tuple[Any, str]:
    """Return the module or class that holds what is called `name`, and the last part of the name."""
    path, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(path), attribute
    except ModuleNotFoundError:
        module, _, kind = path.rpartition(".")
        return getattr(importlib.import_module(module), kind), attribute


def picture(record: Record, path: Path) -> None:
    """Draw the commands, and below them where the time of one goes."""
    commands = [one for one in record.measurements if one.of == SHELL]
    parts = sorted((one for one in record.measurements if one.of == PARTS), key=lambda one: -one.median)
    bars = [Bar(one.by, one.median, f"{shown(one.median)} s") for one in parts if one.median >= _WORTH_A_BAR]
    small = sum(one.median for one in parts if one.median < _WORTH_A_BAR)
    groups = [
        Group("from the shell", [Bar(one.by, one.median, f"{shown(one.median)} s", "ours") for one in commands]),
        Group(f"where the time goes: {READY}", [*bars, Bar("all else", small, f"{shown(small)} s")]),
    ]
    draw(path, "Start-up, and one photo from the shell", [groups], footnote=record.footnote())


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(predict_here(*sys.argv[1:])))
