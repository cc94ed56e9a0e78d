"""Photo files to a feature matrix: regraft, the loop one would write with timm, and torchvision's.

The bound is what there is to gain: each image once through the engine, from memory, plus once decoded on all cores.
Networks are loaded and engines are made before; the photos' features are in no cache, their files in the system's.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import ours, rivals
from benchmarks.chart import Bar, Group, draw
from benchmarks.material import network_name, some_photos
from benchmarks.processes import Contender
from benchmarks.record import Measurement, Record, progress, shown

PLAIN, TORCHVISION, REGRAFT = "timm loop", "torchvision loop", "regraft"
ENGINE, DECODING, BOUND = "engine alone", "decoding alone", "bound"
_WARM_UP, _IN_MEMORY = 32, 96


@dataclass(frozen=True)
class Load:
    """How many photos regraft and the others are given: as many as take each some seconds."""

    ours: int
    theirs: int


LOADS = {
    "mobilenetv2_100": Load(2048, 96),
    "resnet50": Load(1024, 96),
    "inception_v3": Load(768, 64),
    "vgg16": Load(320, 64),
}
QUICK = {name: Load(max(load.ours // 8, 64), 64) for name, load in LOADS.items()}


def measure(*, rounds: int, quick: bool) -> Record:
    """Let all take turns, network by network."""
    loads = QUICK if quick else LOADS
    record = Record(
        "features",
        "Photo files to a feature matrix, images per second",
        {"rounds": rounds, "photos": {name: [load.ours, load.theirs] for name, load in loads.items()}},
    )
    with Contender() as plain, Contender() as other, Contender() as own:
        for network, load in loads.items():
            contest = _Contest(network, load, plain, other, own)
            contest.prepare(record)
            contest.hold(record, rounds)
    record.notes += [
        f"{PLAIN}: timm.create_model, timm's evaluation transform on Pillow images, eager float32, "
        f"DataLoader(batch_size={rivals.BATCH}, num_workers={rivals.WORKERS}); {TORCHVISION}: the same with "
        "torchvision's network and transform",
        f"{BOUND}: 1 / (1 / {ENGINE} + 1 / {DECODING})",
        "weights are pretrained or random: speed does not depend on them",
    ]
    return record


@dataclass(frozen=True)
class _Contest:
    """All that take turns with one network, each in a process of its own."""

    network: str
    load: Load
    plain: Contender
    other: Contender
    own: Contender

    def prepare(self, record: Record) -> None:
        """Let each load the network and see some photos; keep whether they find the same features."""
        progress(f"features: {self.network}: loading")
        network_name(self.network)  # made once, before several processes want it
        warm = some_photos(_WARM_UP)
        expected = self.plain(rivals.timm_features, self.network, warm)[1]
        self.other(rivals.torchvision_features, self.network, warm)
        got = self.own(ours.regraft_features, self.network, warm)[1]
        record.settings.setdefault("engines", {})[self.network] = self.own(ours.engine_name, self.network)
        record.settings.setdefault("cosine_to_timm", {})[self.network] = _cosines(expected, got)

    def hold(self, record: Record, rounds: int) -> None:
        """Measure all in turn."""
        tasks = self._tasks()
        speeds: dict[str, list[float]] = {name: [] for name in tasks}
        for number in range(rounds):
            for name, (count, task) in tasks.items():
                speeds[name].append(count / task())
                progress(
                    f"features: {self.network}: round {number + 1} of {rounds}: {name} {shown(speeds[name][-1])}/s"
                )
        speeds[BOUND] = [1 / (1 / e + 1 / d) for e, d in zip(speeds[ENGINE], speeds[DECODING], strict=True)]
        for name, values in speeds.items():
            record.add(self.network, name, "images/s", values)
        for rival in (PLAIN, TORCHVISION, BOUND):
            record.compare(self.network, REGRAFT, rival, "images/s")

    def _tasks(self) -> dict[str, tuple[int, Callable[[], float]]]:
        network, few, many = self.network, some_photos(self.load.theirs), some_photos(self.load.ours)
        return {
            PLAIN: (len(few), lambda: self.plain(rivals.timm_features, network, few)[0]),
            TORCHVISION: (len(few), lambda: self.other(rivals.torchvision_features, network, few)[0]),
            REGRAFT: (len(many), lambda: self.own(ours.regraft_features, network, many)[0]),
            ENGINE: (len(many), lambda: self.own(ours.engine_alone, network, many[:_IN_MEMORY], len(many))),
            DECODING: (len(many), lambda: self.own(ours.decoding_alone, network, many)),
        }


def _cosines(expected: np.ndarray, got: np.ndarray) -> dict[str, float]:
    """Return mean and lowest cosine similarity of two (n, d) matrices, row by row."""
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosines = np.sum(expected * got, axis=1) / lengths
    return {"mean": round(float(cosines.mean()), 5), "lowest": round(float(cosines.min()), 5)}


def picture(record: Record, path: Path) -> None:
    """Draw, for each network, how many times as fast as the loop each is."""
    groups = []
    for network in dict.fromkeys(one.of for one in record.measurements):
        find = functools.partial(record.find, network, unit="images/s")
        found = {name: find(by=name) for name in (PLAIN, TORCHVISION, REGRAFT, BOUND)}
        base = found[PLAIN]
        if base is not None:
            groups.append(Group(network, [_bar(one, base) for one in found.values() if one is not None]))
    draw(path, "Features of photos, times as fast as a plain timm loop", [groups], footnote=record.footnote())


def _bar(one: Measurement, base: Measurement) -> Bar:
    kind = {REGRAFT: "ours", BOUND: "bound"}.get(one.by, "other")
    times = one.median / base.median
    return Bar(one.by, times, f"{shown(times)}x · {shown(one.median)} images/s", kind)
