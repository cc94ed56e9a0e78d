"""What it costs to find what excites each unit: against a plain pass of the photos, in time and memory; and the report.

    python benchmarks/explain.py --model local-dir:FOLDER --photos FOLDER [--rounds 3] [--report]

A plain pass is `features.extraction.extract` without a cache. Both are timed in turn in one run; printed are medians
and spread. The memory is the largest growth of the process while the photos are gone through once, and four times as
many (the same ones over and over). `--report` also times `regraft explain` as a command.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from regraft.data.layouts import find_samples
from regraft.engines.pytorch import TorchEngine
from regraft.explain.top_activations import MOST_POOLED, find_top_activations
from regraft.features.extraction import extract
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.runtime import cpu_count

CPU = torch.device("cpu")


def plain_pass(backbone: Backbone, paths: list[Path]) -> float:
    """Return the seconds of one pass that keeps the pooled features alone."""
    started = time.perf_counter()
    extract(paths, [str(n).encode() for n in range(len(paths))], backbone, TorchEngine(backbone, CPU))
    return time.perf_counter() - started


def unit_pass(backbone: Backbone, paths: list[Path], labels: np.ndarray) -> float:
    """Return the seconds of one pass that finds the nine strongest photos of every unit of every stage."""
    started = time.perf_counter()
    sampled = np.arange(min(len(paths), MOST_POOLED))
    find_top_activations(backbone, paths, labels, classes=int(labels.max()) + 1, sampled=sampled, device=CPU)
    return time.perf_counter() - started


def peak_of(arguments: list[str]) -> float:
    """Return the largest memory (MB) of this script run with `arguments`, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Time, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--repeats", type=int, help=argparse.SUPPRESS)  # of the photos; prints the memory alone
    options = parser.parse_args()
    samples = find_samples(options.photos)["train"]
    backbone, paths = load_backbone(options.model), [Path(str(source)) for source in samples.sources]
    if options.repeats:
        unit_pass(backbone, paths * options.repeats, np.tile(samples.labels, options.repeats))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    found: dict[str, list[float]] = {"plain": [], "units": []}
    for _ in range(options.rounds):
        found["plain"].append(plain_pass(backbone, paths))
        found["units"].append(unit_pass(backbone, paths, samples.labels))
    medians = {name: statistics.median(values) for name, values in found.items()}
    same = ["--model", options.model, "--photos", str(options.photos), "--repeats"]
    told = {
        "photos": len(paths),
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "spread": {name: [round(min(values), 2), round(max(values), 2)] for name, values in found.items()},
        "ratio": round(medians["units"] / medians["plain"], 3),
        "peak_megabytes": {repeats: round(peak_of([*same, str(repeats)])) for repeats in (1, 4)},
        "processors": cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "torch": version("torch"),
    }
    if options.report:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            command = [sys.executable, "-m", "regraft", "explain", options.model, str(options.photos), "--out", folder]
            subprocess.run(command, check=True, env={**os.environ, "REGRAFT_CACHE": f"{folder}/cache"})
            told["report_seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
