"""`regraft serve` under load from another process on the same machine: requests, latency, memory, hostile files."""

import contextlib
import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tests.hostile.photos import KINDS

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.load import Load, load
from benchmarks.material import MADE, crops, dogs_and_cats
from benchmarks.processes import Contender, run
from benchmarks.record import Record, progress, shown

_HOSTILE = 200
_LONG, _SHORT, _QUICK = 120.0, 20.0, 4.0  # seconds
LOADS = {  # by name: connections, photos of a request, whether hostile files are among them
    "1 at a time": (1, 1, False),
    "16 at once": (16, 1, False),
    "4 at once, of 16 photos": (4, 16, False),
    "64 at once": (64, 1, False),
    "64 at once, hostile ones among them": (64, 1, True),
}
_MAIN = "64 at once"  # more are answered no faster, and wait longer
_REST = 10.0  # seconds after which memory is looked at again


class BenchmarkError(Exception):
    """The server refused or lost a request."""


def measure(*, rounds: int, quick: bool) -> Record:
    """Ask one server in each way in turn; the main one for two minutes."""
    photos = dogs_and_cats()[: 100 if quick else 1000]
    record = Record(
        "serve", "regraft serve under load on one machine, server and client together", {"photos": len(photos)}
    )
    with tempfile.TemporaryDirectory() as name, Contender() as client:
        folder = Path(name)
        bundle = folder / "classifier.safetensors"
        run(ours.fit_command(crops(1000), bundle), environment=ours.with_cache(MADE / "cache"))
        mixed = _mixed(photos, folder, 20 if quick else _HOSTILE)
        rates = [client(predict_rate, bundle, photos) for _ in range(rounds)]
        record.add("regraft predict", "photos", "images/s", rates)
        with serving(bundle) as (process, port):
            client(load, port, photos[:50], (1.0, 4, 1))  # everything is warm
            record.add("server", "memory when idle", "MB", [_megabytes(process)])
            for what, (connections, each, hostile) in LOADS.items():
                long = what == _MAIN or hostile
                how = (_QUICK if quick else _LONG if long else _SHORT, connections, each)
                sent, times = (mixed if hostile else photos), (1 if long else rounds)
                _add(record, what, [client(load, port, sent, how) for _ in range(times)], hostile=hostile)
                time.sleep(1 if quick else _REST)
                record.add("server", f"memory after {what}", "MB", [_megabytes(process)])
    served = record.find(_MAIN, "photos", "images/s")
    if served is not None:
        record.notes.append(
            f"{_MAIN}: {served.median / float(np.median(rates)):.0%} of the photos/s of regraft predict"
        )
    record.notes.append(
        "the client, which takes a part of the same cores, waits for each answer; no request is refused"
    )
    return record


def predict_rate(bundle: Path, photos: Sequence[Path]) -> float:
    """Return how many photos a second `regraft predict` classifies, from files on, without start and cache."""
    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.predict import Predictor
    from regraft.engines.compute import Compute

    predictor = Predictor(load_bundle(bundle), Compute(cache=False))
    predictor.predict(photos[:8])
    started = time.perf_counter()
    predictor.predict(photos)
    return len(photos) / (time.perf_counter() - started)


def _add(record: Record, what: str, loads: Sequence[Load], *, hostile: bool) -> None:
    refused = {status for one in loads for status in one.statuses} - ({200, 422} if hostile else {200})
    if refused:
        raise BenchmarkError(f"{what}: the server answered {sorted(refused)}")
    record.add(what, "requests", "1/s", [len(one.latencies) / one.seconds for one in loads])
    record.add(what, "photos", "images/s", [one.photos / one.seconds for one in loads])
    for share in (50, 99):
        values = [1000 * float(np.percentile(one.latencies, share)) for one in loads]
        record.add(what, f"p{share}", "ms", values)
    progress(f"serve: {what}: {shown(loads[0].photos / loads[0].seconds)} photos/s")


def _mixed(photos: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Return photos and hostile files in an order of chance: cut off, of other types, several at once, bombs, empty."""
    generator, found = np.random.default_rng(0), list(photos)
    for number in range(count):
        found.append(folder / f"hostile.{number}.jpg")
        found[-1].write_bytes(_LINE if number % 20 == 0 else KINDS[number % len(KINDS)](generator))
    return [found[place] for place in generator.permutation(len(found)).tolist()]


def _line() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (1, 100_000)).save(stream, "PNG")
    return stream.getvalue()


_LINE = _line()


@contextlib.contextmanager
def serving(bundle: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server, and yield its process and port once it answers."""
    command = [sys.executable, "-m", "regraft", "serve", str(bundle), "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            raise BenchmarkError(line + process.stderr.read())
        yield process, int(found[1])
    finally:
        process.terminate()
        process.communicate()


def _megabytes(process: subprocess.Popen[str]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6


def picture(record: Record, path: Path) -> None:
    """Draw photos a second on the left and latencies on the right."""
    columns = []
    for heading, chosen in (("photos a second", ("photos",)), ("milliseconds", ("p50", "p99"))):
        bars = [
            Bar(
                one.of if one.by == "photos" else f"{one.of}, {one.by}",
                one.median,
                shown(one.median),
                "bound" if one.of == "regraft predict" else "ours",
                (one.low, one.high),
            )
            for one in record.measurements
            if one.by in chosen
        ]
        columns.append([Group(heading, bars)])
    draw(path, "regraft serve under load", columns, footnote=record.footnote())
