"""What every benchmark shares: medians and spread of interleaved rounds, the machine, the table and the JSON.

pyperf is not used: it repeats one short piece of code in many processes. Here contenders of seconds to minutes, some in
environments of their own, take turns in one run, so that whatever else the machine does meets all of them.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = ("regraft", "torch", "torchvision", "timm", "openvino", "numpy", "scikit-learn", "pillow")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")  # what decides which arithmetic is fast
_began = time.monotonic()


@dataclass(frozen=True)
class Measurement:
    """One thing measured in several rounds.

    Attributes:
        of: what was worked on, e.g. a network.
        by: who did the work.
        unit: "images/s", "s" or "MB".
        values: one of each round.
    """

    of: str
    by: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median of all rounds."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Return the lowest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Return the highest."""
        return max(self.values)

    def text(self) -> str:
        """Return the median with its unit, and the spread in brackets where there were several rounds."""
        spread = f" [{shown(self.low)}, {shown(self.high)}]" if len(self.values) > 1 else ""
        return f"{shown(self.median)}{'' if self.unit == 'x' else ' '}{self.unit}{spread}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        rounded = {name: significant(getattr(self, name)) for name in ("median", "low", "high")}
        return {**asdict(self), "values": [significant(value) for value in self.values], **rounded}


def ratio(of: str, by: Measurement, to: Measurement) -> Measurement:
    """Return how many times as fast `by` is as `to`, taken round by round, so that both had the same machine.

    Where one took part in fewer rounds, they are the first.
    """
    if by.unit != to.unit:
        raise ValueError(f"{by.unit} cannot be compared with {to.unit}")
    pairs = zip(by.values, to.values, strict=False)
    faster = [a / b if by.unit.endswith("/s") else b / a for a, b in pairs]
    return Measurement(of, f"{by.by} against {to.by}", "x", tuple(faster))


def significant(value: float, digits: int = 4) -> float:
    """Return `value` with that many significant digits."""
    return float(f"{value:.{digits}g}")


def shown(value: float) -> str:
    """Return three significant digits, thousands set apart: 0.123, 4.56, 78.9, 1,230."""
    if value >= 1000:
        return f"{significant(value, 3):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """Return processor, what it can do, cores that this process may use, memory, and operating system."""
    name, flags = platform.processor() or platform.machine(), ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line.partition(":") for line in information.read_text().splitlines()]
        found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
        name, flags = found.get("model name", name), found.get("flags", found.get("Features", ""))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": name,
        "arithmetic": [flag for flag in _FLAGS if flag in flags.split()],
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
    }


def machine_line() -> str:
    """Return the machine in one line."""
    found = machine()
    arithmetic = f" ({', '.join(found['arithmetic'])})" if found["arithmetic"] else ""
    return f"{found['processor']}{arithmetic}, {found['cores']} cores, {found['memory_gb']} GB, {found['system']}"


def installed(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of `packages`, as far as they are installed here, and Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass
class Record:
    """All that one benchmark found.

    Attributes:
        name: of the benchmark; the results are written to NAME.json and NAME.png.
        question: what it answers.
        settings: counts and choices, in JSON types.
        measurements: what was measured.
        ratios: what follows from it.
        notes: sentences to read the numbers by.
        left_out: why, by name of the contender.
        versions: of what took part.
    """

    name: str
    question: str
    settings: dict[str, Any] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    ratios: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed)

    def add(self, of: str, by: str, unit: str, values: Sequence[float]) -> Measurement:
        """Keep one measurement."""
        self.measurements.append(Measurement(of, by, unit, tuple(values)))
        return self.measurements[-1]

    def find(self, of: str, by: str, unit: str) -> Measurement | None:
        """Return the measurement of that name, None if it was not made."""
        named = (m for m in self.measurements if (m.of, m.by, m.unit) == (of, by, unit))
        return next(named, None)

    def compare(self, of: str, by: str, to: str, unit: str) -> Measurement | None:
        """Keep how many times as fast `by` is as `to`; None where one of them was not measured."""
        ours, theirs = self.find(of, by, unit), self.find(of, to, unit)
        if ours is None or theirs is None:
            return None
        self.ratios.append(ratio(of, ours, theirs))
        return self.ratios[-1]

    def leave_out(self, name: str, why: str) -> None:
        """Keep and say why something is not measured."""
        self.left_out[name] = why
        progress(f"{name} is left out: {why}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "benchmark": self.name,
            "question": self.question,
            "measured": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "versions": self.versions,
            "settings": self.settings,
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "ratios": [one.to_json() for one in self.ratios],
            "notes": self.notes,
            "left_out": self.left_out,
        }

    def footnote(self) -> str:
        """Return machine, versions and date in one line."""
        found = machine()
        named = [f"{name} {self.versions[name]}" for name in ("torch", "openvino") if name in self.versions]
        return ", ".join(
            [f"medians; {found['cores']} cores of {found['processor']}", *named, time.strftime("%Y-%m-%d")]
        )

    def write(self, folder: Path) -> Path:
        """Write NAME.json into `folder` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def show(self) -> None:
        """Print the table, the ratios and the notes."""
        console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
        table = Table("", "", "median", "lowest to highest", title=self.question, title_justify="left")
        before = ""
        for one in [*self.measurements, *self.ratios]:
            spread = f"{shown(one.low)} to {shown(one.high)}, {len(one.values)} rounds" if len(one.values) > 1 else ""
            unit = one.unit if one.unit == "x" else f" {one.unit}"
            table.add_row("" if one.of == before else one.of, one.by, f"{shown(one.median)}{unit}", spread)
            before = one.of
        console.print(table)
        for line in [*self.notes, *(f"left out: {name}: {why}" for name, why in self.left_out.items())]:
            console.print(f"- {line}")
        console.print(machine_line(), "; ".join(f"{name} {number}" for name, number in self.versions.items()), sep="\n")


def progress(text: str) -> None:
    """Say on stderr what goes on, with the minutes since the start."""
    minutes, seconds = divmod(int(time.monotonic() - _began), 60)
    print(f"[{minutes:3d}:{seconds:02d}] {text}", file=sys.stderr, flush=True)
