"""Fine-tuning the last two stages on cached activations: against the bound, and where the time of a whole fit goes.

The bound is the same layers forward and backward on one batch, with no data and no optimizer, channels first or last,
whichever is faster: in float32, in which regraft trains on a CPU, and in bfloat16 (autocast).
"""

import functools
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks import ours
from benchmarks.cached_trunk import BATCH, cut_top, speed, untrained
from benchmarks.chart import Bar, Group, draw
from benchmarks.material import MOBILENET, REPOSITORY, dogs_and_cats, link_flat
from benchmarks.processes import Contender, run
from benchmarks.record import Record, progress, shown
from benchmarks.startup import Clocks, owner_of
from regraft.networks.freezing import apply_plan
from regraft.runtime import freed_memory_kept

TRAINING = "regraft, whole updates"
UPDATES = {MOBILENET: 12, "resnet50": 3}  # that are timed
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
BOUNDS = {name: f"bound, {name}" for name in FORMATS}
PHOTOS = 245  # of two classes, in five folds
FIT, PARTS = f"fit --strategy top, {PHOTOS} photos", "where its time goes"
FIRST, AGAIN = "with an empty cache", "again, from the cache"
IMPORTS, REST = "Python and imports", "the rest"
_WORTH_A_BAR = 0.1  # seconds


def updates(network: str) -> float:
    """Return images/s of regraft's training."""
    return speed(untrained(network), "top", 1 + UPDATES[network])


def layers(network: str, number_format: str, layout: str) -> float:
    """Return images/s of the trained layers alone, forward and backward."""
    work = _work(network, number_format, layout)
    with freed_memory_kept():  # as in training
        work()
        started = time.perf_counter()
        for _ in range(UPDATES[network]):
            work()
        return BATCH * UPDATES[network] / (time.perf_counter() - started)


@functools.cache
def _work(network: str, number_format: str, layout: str) -> Callable[[], None]:
    backbone, dtype = untrained(network), FORMATS[number_format]
    top, plan, values = cut_top(backbone, "top")
    apply_plan(top.network, plan)
    model = nn.Sequential(top, nn.Linear(backbone.features, 2)).eval().to(memory_format=LAYOUTS[layout])
    batch = torch.from_numpy(values).float().contiguous(memory_format=LAYOUTS[layout])
    labels = torch.arange(BATCH) % 2

    def work() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = model(batch)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))

    return work


def measure(*, rounds: int, quick: bool) -> Record:
    """Let updates and layers take turns, then fit from the shell."""
    record = Record("fine_tuning", "Fine-tuning on cached activations", {"rounds": rounds, "updates": UPDATES})
    for network in [MOBILENET] if quick else UPDATES:
        _speeds(record, network, rounds)
    _fits(record, 1 if quick else rounds)
    record.notes += [
        f"bound: the faster of the layers alone, channels first or last, round by round; batch {BATCH}",
        f"{FIT}: a process of its own; what one part does within another counts for itself alone; "
        f"{IMPORTS}: what is left of the time from the shell",
    ]
    return record


def _speeds(record: Record, network: str, rounds: int) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    with Contender() as contender:
        for number in range(rounds):
            found[TRAINING].append(contender(updates, network))
            for number_format, bound in BOUNDS.items():
                speeds = [contender(layers, network, number_format, layout) for layout in LAYOUTS]
                for layout, value in zip(LAYOUTS, speeds, strict=True):
                    found[f"layers, {number_format}, {layout}"].append(value)
                found[bound].append(max(speeds))
            progress(f"fine_tuning: {network}: round {number + 1} of {rounds}: {shown(found[TRAINING][-1])}/s")
    for name, values in found.items():
        record.add(network, name, "images/s", values)
    for bound in BOUNDS.values():
        record.compare(network, TRAINING, bound, "images/s")


def _fits(record: Record, rounds: int) -> None:
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link_flat(dogs_and_cats()[:PHOTOS], folder / "photos")
        environment = ours.with_cache(folder / "cache")
        command = [sys.executable, "-m", "benchmarks.fine_tuning", str(folder)]
        for number in range(rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for case in (FIRST, AGAIN):
                done = run(command, environment=environment)
                parts = done.json()
                found[case].append({IMPORTS: done.seconds - sum(parts.values()), **parts})
                progress(f"fine_tuning: round {number + 1} of {rounds}: {case}: {shown(done.seconds)} s")
    for case, fits in found.items():
        record.add(FIT, case, "s", [sum(one.values()) for one in fits])
    for part in found[FIRST][0]:
        record.add(PARTS, part, "s", [one[part] for one in found[FIRST]])


def fit_here(folder: Path) -> dict[str, float]:
    """Return the seconds of each part of a fit in this process, most imports not counted."""
    clocks = Clocks()
    for part, name in ours.TOP_PARTS.items():
        owner, attribute = owner_of(name)
        setattr(owner, attribute, clocks.watch(part, getattr(owner, attribute)))
    arguments = ours.fit_arguments(folder / "photos", folder / "fitted.safetensors", "top")
    clocks.watch(REST, ours.run_here)(arguments)
    return {part: clocks.seconds[part] for part in [*ours.TOP_PARTS, REST]}


def picture(record: Record, path: Path) -> None:
    """Draw the speeds on the left, and where the time of a fit goes on the right."""
    kinds = {TRAINING: "ours", **dict.fromkeys(BOUNDS.values(), "bound")}
    speeds = [
        Group(network, [Bar(one.by, one.median, shown(one.median), kinds.get(one.by, "other"), (one.low, one.high))
                        for one in record.measurements if one.of == network])
        for network in UPDATES if record.find(network, TRAINING, "images/s")
    ]  # fmt: skip
    parts = sorted((one for one in record.measurements if one.of == PARTS), key=lambda one: -one.median)
    bars = [Bar(one.by, one.median, shown(one.median)) for one in parts if one.median >= _WORTH_A_BAR]
    whole = [Bar(one.by, one.median, shown(one.median), "ours") for one in record.measurements if one.of == FIT]
    fits = [Group(f"{FIT}, seconds", whole), Group(f"{PARTS}, {FIRST}", bars)]
    draw(path, "Fine-tuning on cached activations: images/s, seconds", [speeds, fits], footnote=record.footnote())


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(fit_here(Path(sys.argv[1]))))
