"""Time and memory of `regraft fit` as photos become more: each number of photos in a process and cache of its own."""

import itertools
import shutil
from pathlib import Path

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.material import MADE, crops
from benchmarks.processes import run
from benchmarks.record import Record, progress, shown

TIME, PER_PHOTO, MEMORY = "time", "time of each photo more", "peak memory"
COUNTS = {1_000: 3, 5_000: 3, 20_000: 1, 50_000: 1}  # photos: rounds at most
QUICK = {1_000: 1, 2_000: 1}
_FLAT_FROM = 5_000


def measure(*, rounds: int, quick: bool) -> Record:
    """Fit on each number of photos, in turn."""
    counts = QUICK if quick else COUNTS
    folders = {count: crops(count) for count in counts}
    record = Record("growth", "regraft fit as photos become more: time and memory", {"rounds": counts})
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    memory: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(rounds):
        for count in (count for count, most in counts.items() if number < most):
            progress(f"growth: {count:,} photos, round {number + 1}")
            cache, out = MADE / "cache", MADE / "grown.safetensors"
            shutil.rmtree(cache, ignore_errors=True)
            done = run(ours.fit_command(folders[count], out), environment=ours.with_cache(cache))
            shutil.rmtree(cache, ignore_errors=True)
            seconds[count].append(done.seconds)
            memory[count].append(done.peak_megabytes)
            progress(f"growth: {count:,} photos: {shown(done.seconds)} s, {shown(done.peak_megabytes)} MB")
    for count in counts:
        record.add(f"{count:,} photos", TIME, "s", seconds[count])
        record.add(f"{count:,} photos", MEMORY, "MB", memory[count])
    _conclude(record, list(counts))
    record.notes += [
        "each in a fresh process with an empty cache, imports and the making of the engine included",
        "memory: the most that the process, with those below it, held at one time",
    ]
    return record


def _conclude(record: Record, counts: list[int]) -> None:
    for few, many in itertools.pairwise(counts):
        before, after = (record.find(f"{count:,} photos", TIME, "s") for count in (few, many))
        if before is not None and after is not None:
            more = 1000 * (after.median - before.median) / (many - few)
            record.add(f"{few:,} to {many:,} photos", PER_PHOTO, "ms", [more])
    linear = [one.median for one in record.measurements if one.by == PER_PHOTO]
    if len(linear) > 1:
        record.notes.append(
            f"each photo more costs {shown(min(linear))} to {shown(max(linear))} ms: the same if linear"
        )
    least = min((count for count in counts if count >= _FLAT_FROM), default=counts[0])
    small, large = (record.find(f"{count:,} photos", MEMORY, "MB") for count in (least, counts[-1]))
    if small is not None and large is not None:
        grown = large.median / small.median - 1
        record.notes.append(f"peak memory of {counts[-1]:,} photos against {least:,}: {grown:+.0%}")


def picture(record: Record, path: Path) -> None:
    """Draw time on the left and memory on the right."""
    columns = []
    for what, unit, heading in ((TIME, "s", "seconds"), (MEMORY, "MB", "peak memory, MB")):
        chosen = [one for one in record.measurements if one.by == what and one.unit == unit]
        bars = [Bar(one.of, one.median, shown(one.median), "ours", (one.low, one.high)) for one in chosen]
        columns.append([Group(heading, bars)])
    draw(path, "regraft fit as photos become more", columns, footnote=record.footnote())
