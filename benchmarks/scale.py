"""The plan of docs/scale.md, and the rates of one host that it stands on.

python -m benchmarks scale                 measures the rates (two minutes) and keeps them, as every benchmark does
python -m benchmarks.scale                 prints the plan from what was kept; --photos 1000000 for another number
python -m benchmarks.scale --docs          writes its tables into docs/scale.md

Photos are of 3 megapixels and lie in the system's cache: what networks and stores take is in the plan. The head is that
of a fit whose features lie in shards, on made-up features, its sums timed where the shards are.
"""

import argparse
import json
import re
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ours, scale_tables
from benchmarks.cached_trunk import speed
from benchmarks.chart import Bar, Group, draw
from benchmarks.heads import made_up, peak
from benchmarks.material import REPOSITORY, camera_photos
from benchmarks.processes import Contender
from benchmarks.record import Record, progress, shown
from benchmarks.scale_plan import (
    BYTES,
    CLASSES,
    DECODING,
    DIRECTIONS,
    FORWARD,
    HASHING,
    LAST,
    LOGITS,
    LOOKING,
    NAME,
    NETWORK,
    PAIRS,
    PHOTOS,
    READS,
    SCATTER,
    SUMS,
    TRAINING,
    UNITS,
    WORKER,
)
from regraft.data.audit import inspect
from regraft.data.close_pairs import blocks_of_pairs
from regraft.data.splits import OUTER_FOLDS
from regraft.engines.compute import Compute
from regraft.features.pictures import pictures_of
from regraft.heads.search import ABSENT, LEARNED, select_heads
from regraft.heads.sharded_rows import FeatureShard, LocalShards, ShardedFeatures
from regraft.images.perceptual_hash import HASH_BYTES
from regraft.images.sources import ArchiveMember
from regraft.networks.backbones import build_untrained
from regraft.progress import Observer
from regraft.storage.locations import location

DOCUMENT = REPOSITORY / "docs" / "scale.md"
RESULTS = REPOSITORY / "benchmarks" / "results" / "scale.json"
HOST = "one host"
SHARD = location("s3://bucket/photos/train-000123.tar")
_PHOTOS, _HASHES, _HEAD, _NAMES, _UPDATES = 256, 12_000, 60_000, 20_000, 2
_QUICK_HEAD = 5_000
_PLACES = re.compile(r"(<!-- scale: (\w+) -->\n\n)(?:\|.*\n)*\n*")


def look(photos: Sequence[Path]) -> dict[str, float]:
    """Return photos/s that are read and hashed."""
    return {LOOKING: _speed(len(photos), lambda: inspect(tuple(photos)))}


def hash_pictures(photos: Sequence[Path], hashes: int) -> dict[str, float]:
    """Return photos/s that are decoded small and hashed, and millions of pairs of hashes that are compared."""
    keys = [str(number).encode() for number in range(len(photos))]
    some = np.random.default_rng(0).integers(0, 256, (hashes, HASH_BYTES), dtype=np.uint8)
    return {
        HASHING: _speed(len(photos), lambda: pictures_of(photos, keys, (), Compute(cache=False), Observer())),
        PAIRS: _speed(hashes**2 / 2e6, lambda: list(blocks_of_pairs(some, None, 0))),
    }


def run_network(photos: Sequence[Path]) -> dict[str, float]:
    """Return photos/s that are decoded to the network's size, and that go through it, and the memory that took."""
    ours.engine_name(NETWORK)  # made before
    decoding, engine = ours.decoding_alone(NETWORK, photos), ours.engine_alone(NETWORK, photos[:64], len(photos))
    return {DECODING: len(photos) / decoding, FORWARD: len(photos) / engine, WORKER: peak()}


def train() -> dict[str, float]:
    """Return photos/s that the whole network is trained with."""
    return {TRAINING: speed(build_untrained(NETWORK), "whole", 1 + _UPDATES)}


class _TimedShards(LocalShards):
    """Keeps how long each method took, and how often it went through all features.

    Args:
        shard: that has all photos.
        cells: of its photos, which are about equal.
    """

    def __init__(self, shard: FeatureShard, cells: int) -> None:
        super().__init__([shard])
        self.seconds: dict[str, float] = defaultdict(float)
        self.reads: Counter[str] = Counter()
        self._cells = cells

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        started = time.perf_counter()
        found = super().call(method, arguments)
        self.seconds[method] += time.perf_counter() - started
        self.reads[method] += {
            "sum_cells": self._cells,
            "centre": self._cells,
            "scatter": 1,
            "logits": 1,
            "sums": len({query.cell for query in arguments[0][0]}) if method == "sums" else 0,
        }.get(method, 0)
        return found


def tasks_of_many(folds: np.ndarray) -> list[np.ndarray]:
    """Return the choices of a fit of many photos, by their folds (n,): without each fold, and of all.

    Each holds the two folds out that are beside the missing one, as `heads.probe.CalibratedHeads` does.
    """
    count, found = int(folds.max()) + 1, []
    for away in (None, *range(count)):
        task = np.where(folds == away, ABSENT, folds)
        beside = [((away or 0) + step) % count for step in (-1, 1)]
        task[(task >= 0) & ~np.isin(task, beside)] = LEARNED
        found.append(task)
    return found


def fit_head(photos: int) -> dict[str, float]:
    """Return what a shard takes for the choice of a strength, all folds and the final fit: by photo, and reads."""
    features, dataset = made_up(photos, LAST, CLASSES)
    shards = _TimedShards(FeatureShard(features, dataset.labels), OUTER_FOLDS)
    folds = np.random.default_rng(0).permutation(photos) % OUTER_FOLDS
    started = time.perf_counter()
    select_heads(ShardedFeatures(shards, [photos], LAST), dataset.labels, CLASSES, folds=tasks_of_many(folds))
    alone = time.perf_counter() - started - sum(shards.seconds.values())
    scatter = shards.seconds.pop("scatter")
    return {
        DIRECTIONS: alone,
        LOGITS: shards.reads["logits"] / OUTER_FOLDS,
        SUMS: sum(shards.seconds.values()) / photos * 1e6,
        SCATTER: scatter / photos * 1e6,
        READS: shards.reads.total() / OUTER_FOLDS,
    }


def name_memory(photos: Sequence[Path], count: int) -> dict[str, float]:
    """Return the bytes that a process holds of each photo in shards: where it lies, label, key and header."""
    inspect(tuple(photos))  # what is kept of the first time is not counted
    tracemalloc.start()
    try:
        sources = tuple(ArchiveMember(SHARD, 512 * number, 500_000, f"{number:08d}.jpg") for number in range(count))
        labels = np.zeros(len(sources), dtype=np.int64)
        named = tracemalloc.get_traced_memory()[0]
        found = inspect(tuple(photos))
        both = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return {NAME: named / len(labels) + (both - named) / len(found.keys)}


def measure(*, rounds: int, quick: bool) -> Record:
    """Measure every rate in each round, one after the other."""
    camera = camera_photos()
    photos, many = camera * (1 if quick else _PHOTOS // len(camera)), _QUICK_HEAD if quick else _HEAD
    found: dict[str, list[float]] = defaultdict(list)
    found[BYTES].append(sum(photo.stat().st_size for photo in camera) / len(camera))
    with Contender() as own, Contender() as other, Contender() as training:
        work: Mapping[str, Callable[[], dict[str, float]]] = {
            "look": lambda: own(look, photos),
            "hash": lambda: own(hash_pictures, photos, _HASHES),
            "network": lambda: own(run_network, photos),
            "head": lambda: other(fit_head, many),
            "names": lambda: other(name_memory, photos, _NAMES),
            "training": lambda: training(train),
        }
        for number in range(1 if quick else rounds):
            for name, task in work.items():
                rates = task()
                for rate, value in rates.items():
                    found[rate].append(value)
                told = ", ".join(f"{rate} {shown(value)} {UNITS[rate]}" for rate, value in rates.items())
                progress(f"scale: round {number + 1}: {name}: {told}")
    record = Record("scale", "What one host does, for the plan of docs/scale.md", {"network": NETWORK})
    for rate, unit in UNITS.items():
        record.add(HOST, rate, unit, found[rate])
    record.notes += [
        f"photos of 3 megapixels, from memory; {NETWORK}, random weights: speed does not depend on them",
        f"head: {many:,} photos x {LAST} made-up features of two classes, strengths, folds and the final fit",
        "python -m benchmarks.scale prints the plan that follows",
    ]
    return record


def picture(record: Record, path: Path) -> None:
    """Draw how long one photo takes in each part."""
    names = (LOOKING, HASHING, DECODING, FORWARD, TRAINING)
    found = {name: record.find(HOST, name, UNITS[name]) for name in names}
    bars = [
        Bar(name, 1000 / one.median, f"{shown(1000 / one.median)} ms · {shown(one.median)} photos/s", "ours")
        for name, one in found.items()
        if one is not None
    ]
    title = f"What a photo of 3 megapixels takes on one host, {NETWORK}"
    draw(path, title, [[Group("milliseconds", bars)]], footnote=record.footnote())


def kept(told: Mapping[str, Any]) -> tuple[dict[str, float], int, float, str]:
    """Return the rates of a record as it was written, and cores, GB of memory and a name of their machine."""
    rates, found = {one["by"]: float(one["median"]) for one in told["measurements"]}, told["machine"]
    where = f"{found['cores']} cores of {found['processor']} ({', '.join(found['arithmetic'])}), {told['measured']}"
    return rates, int(found["cores"]), float(found["memory_gb"]), where


def with_tables(document: str, tables: Mapping[str, Sequence[str]]) -> str:
    """Return a document with the tables where its comments name them."""
    return _PLACES.sub(lambda place: place[1] + "\n".join([*tables[place[2]], "", ""]), document)


def main() -> None:
    """Print the plan, or write it into its document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="The plan of docs/scale.md.")
    parser.add_argument("--photos", type=float, default=PHOTOS, help="how many")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/scale.md")
    options = parser.parse_args()
    if options.docs and options.photos != PHOTOS:
        parser.error(f"docs/scale.md is about {PHOTOS:,} photos: leave --photos out")
    told = json.loads(RESULTS.read_text(encoding="utf-8"))
    tables = scale_tables.tables(*kept(told), photos=options.photos)
    if options.docs:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), tables), encoding="utf-8")
        print(f"wrote {DOCUMENT.relative_to(REPOSITORY)}")
        return
    for name, lines in tables.items():
        print(name, *lines, sep="\n", end="\n\n")


def _speed(count: float, work: Callable[[], object]) -> float:
    """Return how many a second a piece of work does."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
