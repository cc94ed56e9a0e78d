"""How long the search for close pairs among the perceptual hashes of many photos takes, what it holds, what it finds.

The hashes are made up, seeded: independent bits, of which distances are about as of real photos of unlike things (a
median of 113 bits in the nearest of eight orientations). For each number of bits up to the limit that is learned of
them, hashes with so many bits changed are planted, in any orientation.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.heads import peak
from benchmarks.material import REPOSITORY
from benchmarks.processes import run
from benchmarks.record import Record, progress, shown
from regraft.data import bit_sampling
from regraft.data.near_duplicates import SURE, learned_limit
from regraft.images.perceptual_hash import BITS, HASH_BYTES, PARITIES, TRANSPOSED

ALL, SAMPLES = "all pairs", "samples of bits"
CASES = {(20_000, ALL): 3, (20_000, SAMPLES): 3, (100_000, ALL): 1, (100_000, SAMPLES): 3, (1_000_000, SAMPLES): 1}
QUICK = {(5_000, ALL): 1, (5_000, SAMPLES): 1}
TIME, CPU, MEMORY = "time", "processor time", "peak memory"
SURELY, NEARLY, FARTHEST = (
    f"found of pairs of 1 to {SURE} bits",
    "found of farther pairs",
    "found of those at the limit",
)
_PLANTED = 100  # pairs of each distance, where there are photos enough
_AT_A_TIME = 50_000


def made_up(photos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return (n, 32) hashes, (p, 2) pairs, in how many bits those differ (p,), and the limit."""
    rng = np.random.default_rng(0)
    hashes = np.empty((photos, HASH_BYTES), dtype=np.uint8)
    for start in range(0, photos, _AT_A_TIME):
        hashes[start : start + _AT_A_TIME] = _packed(rng.random((min(_AT_A_TIME, photos - start), BITS)) < 0.5)
    limit = learned_limit(hashes)
    changed = np.repeat(np.arange(1, limit + 1), min(_PLANTED, photos // (8 * limit)))
    pairs = rng.permutation(photos)[: 2 * len(changed)].reshape(-1, 2)
    for (one, other), k in zip(pairs, changed, strict=True):
        bits = np.unpackbits(hashes[one])[:BITS].astype(bool)
        bits[rng.choice(BITS, k, replace=False)] ^= True
        hashes[other] = _packed(_in_any_orientation(bits, rng)[None])[0]
    return hashes, np.sort(pairs, axis=1), changed, limit


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(np.pad(bits, ((0, 0), (0, 8 * HASH_BYTES - BITS))), axis=1)


def _in_any_orientation(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    down, across, turned = rng.random(3) < 0.5
    found = bits[TRANSPOSED] if turned else bits.copy()
    for number, part in enumerate(PARITIES):
        found[part] ^= (down and number // 2 == 1) != (across and number % 2 == 1)
    return found


def search_here(photos: int, by: str) -> dict[str, float]:
    """Return seconds, MB of the process, and shares of the planted pairs that are found."""
    hashes, planted, changed, limit = made_up(photos)
    bit_sampling.MOST_PAIRS = 0 if by == SAMPLES else photos**2
    wall, cpu, found = time.perf_counter(), time.process_time(), [np.empty(0, dtype=np.int64)]
    for pairs in bit_sampling.close_pairs(hashes, None, limit, lambda one, _: np.ones(len(one), dtype=bool)):
        found.append(pairs.first * photos + pairs.second)
    seconds = {TIME: time.perf_counter() - wall, CPU: time.process_time() - cpu}
    is_found = np.isin(planted[:, 0] * photos + planted[:, 1], np.concatenate(found))
    kinds = {SURELY: changed <= SURE, NEARLY: changed > SURE, FARTHEST: changed == limit}
    return seconds | {MEMORY: peak()} | {name: float(is_found[kind].mean()) for name, kind in kinds.items()}


def measure(*, rounds: int, quick: bool) -> Record:
    """Search each number of photos in a process of its own, in turn."""
    cases = QUICK if quick else CASES
    record = Record("near_duplicates", "Close pairs among perceptual hashes: time, memory, share found", {})
    found: dict[tuple[int, str], list[dict[str, float]]] = defaultdict(list)
    for number in range(rounds):
        for photos, by in (case for case, most in cases.items() if number < most):
            found[photos, by].append(run([sys.executable, "-m", "benchmarks.near_duplicates", str(photos), by]).json())
            progress(f"near_duplicates: {photos:,} photos, {by}: {shown(found[photos, by][-1][TIME])} s")
    for (photos, by), told in found.items():
        for what, unit in {TIME: "s", CPU: "s", MEMORY: "MB", SURELY: "", NEARLY: "", FARTHEST: ""}.items():
            record.add(f"{photos:,} photos, {what}", by, unit, [one[what] for one in told])
    record.notes += [
        "made-up hashes of independent bits, with planted pairs of each distance up to the learned limit",
        f"all pairs are compared of up to {bit_sampling.MOST_PAIRS:,} pairs, samples of bits are taken beyond",
    ]
    return record


def picture(record: Record, path: Path) -> None:
    """Draw the seconds of each number of photos."""
    chosen = [one for one in record.measurements if one.of.endswith(f", {TIME}")]
    bars = [
        Bar(f"{one.of.removesuffix(f', {TIME}')}, {one.by}", one.median, shown(one.median), "ours", (one.low, one.high))
        for one in chosen
    ]
    draw(path, "Close pairs among perceptual hashes", [[Group("seconds", bars)]], footnote=record.footnote())


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(search_here(int(sys.argv[1]), sys.argv[2])))
