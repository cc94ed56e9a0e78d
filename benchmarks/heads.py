"""How long the heads of one `regraft fit` take, and how much memory: the estimate, the choices and the final fit.

The features are made up, seeded, and as hard as real ones: pooled over four places after a ReLU, from 400 factors of
falling strength that a photo's places share in part, with features that never fire. Their correlation matrix has a few
large eigenvalues and a long tail, classes overlap, and the out-of-fold accuracy is kept.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.material import REPOSITORY
from benchmarks.processes import run
from benchmarks.record import Record, progress, shown
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.data.splits import OUTER_FOLDS
from regraft.heads.head_choice import DISCRIMINANT, LOGISTIC
from regraft.heads.probe import CalibratedHeads
from regraft.transfer.budget import Clock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.trainers import LinearProbe

FEATURES = 1280
# the last features, those of the last third of the blocks too, and those of all: MobileNetV2's, the last ones first
DEPTHS = {"last": FEATURES, "late": 1952, "all": 2424}
CASES = {  # photos, classes, features, head: rounds at most; of more than the last features, which are seen is chosen
    (1_000, 2, FEATURES, LOGISTIC): 3,
    (50_000, 2, FEATURES, LOGISTIC): 1,
    (50_000, 100, FEATURES, LOGISTIC): 1,
    (50_000, 100, DEPTHS["all"], LOGISTIC): 1,
    (500_000, 2, FEATURES, LOGISTIC): 1,
    (50_000, 100, FEATURES, DISCRIMINANT): 1,
    (500_000, 2, FEATURES, DISCRIMINANT): 1,
    (500_000, 100, FEATURES, DISCRIMINANT): 1,
}
QUICK = {(1_000, 2, FEATURES, head): 1 for head in (LOGISTIC, DISCRIMINANT)}
TIME, MEMORY, ACCURACY = "time", "memory taken", "out-of-fold accuracy"
FACTORS, PLACES, DEAD = 400, 4, 0.03
SIGNAL = {2: 0.25, 100: 0.27}  # distance of the classes: about 97 % accuracy with 1,000 photos of two, 80 % of 100


def made_up(photos: int, features: int, classes: int, seed: int = 0) -> tuple[np.ndarray, Dataset]:
    """Return features (n, d) float32, and a data set with labels whose photos do not exist."""
    generator = np.random.default_rng(seed)
    strengths = np.arange(1, FACTORS + 1) ** -0.5
    strengths /= np.linalg.norm(strengths)
    mixing = generator.normal(size=(FACTORS, features)).astype(np.float32)
    centres = generator.normal(size=(classes, FACTORS)) * strengths * SIGNAL.get(classes, 0.27)
    thresholds = generator.uniform(0.0, 1.5, features).astype(np.float32)
    dead = generator.random(features) < DEAD
    labels = generator.integers(0, classes, photos)
    found = np.zeros((photos, features), dtype=np.float32)
    for first in range(0, photos, 1024):
        part = labels[first : first + 1024]
        shared = centres[part] + generator.normal(size=(len(part), FACTORS)) * strengths
        for _ in range(PLACES):
            here = shared + 0.7 * generator.normal(size=shared.shape) * strengths
            noise = generator.standard_normal((len(part), features), dtype=np.float32)
            found[first : first + 1024] += np.maximum(here.astype(np.float32) @ mixing + 0.5 * noise - thresholds, 0)
    found[:, dead] = 0
    found /= PLACES  # in place: the memory that is measured is the heads'
    paths = tuple(Path(f"{number}.jpg") for number in range(photos))
    samples = Samples(paths, labels, tuple(str(label) for label in range(classes)))
    keys = tuple(number.to_bytes(32, "big") for number in range(photos))
    return found, Dataset(samples, keys, np.arange(photos))


def peak() -> float:
    """Return the most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def case_of(photos: int, classes: int, features: int, head: str) -> str:
    """Return what a case is called."""
    choice = "" if features == FEATURES else f", choice of {len(DEPTHS)} depths"
    how = "" if head == LOGISTIC else f", {head}"
    return f"{photos:,} x {features:,}, {classes} classes{choice}{how}"


def fit_here(photos: int, classes: int, width: int, head: str) -> dict[str, float]:
    """Return seconds, MB that the process grew by, and accuracy, of everything that is fitted on frozen features."""
    before = peak()
    features, dataset = made_up(photos, width, classes)
    choices = {name: slice(0, depth) for name, depth in DEPTHS.items() if depth <= width}
    folds = dataset.possible_folds(OUTER_FOLDS, seed=0)
    started = time.perf_counter()
    heads = CalibratedHeads(
        features, dataset, seed=0, all_too=True, choices=choices if len(choices) > 1 else None, head=head
    )
    trainer = LinearProbe(features, dataset, heads=heads)
    found = cross_validate(trainer, dataset, folds, clock=Clock(float("inf")))
    heads.of(np.arange(photos))
    seconds = time.perf_counter() - started
    accuracy = float((found.probabilities.argmax(axis=1) == dataset.labels).mean())
    return {TIME: seconds, MEMORY: peak() - before, ACCURACY: accuracy}


def measure(*, rounds: int, quick: bool) -> Record:
    """Fit each case in a process of its own."""
    cases = QUICK if quick else CASES
    record = Record("heads", "The last layer: path of strengths, all folds, temperatures and the final fit", {})
    for case, most in cases.items():
        found, name = [], case_of(*case)
        for number in range(min(rounds, most)):
            found.append(run([sys.executable, "-m", "benchmarks.heads", *map(str, case)]).json())
            progress(f"heads: {name}, round {number + 1}: {shown(found[-1][TIME])} s")
        for what, unit in ((TIME, "s"), (MEMORY, "MB"), (ACCURACY, "")):
            record.add(name, what, unit, [one[what] for one in found])
    record.notes.append("memory taken: how much the process grew from its imports to its peak, the features included")
    return record


def picture(record: Record, path: Path) -> None:
    """Draw time on the left and memory on the right."""
    columns = []
    for what, heading in ((TIME, "seconds"), (MEMORY, "memory taken, MB")):
        chosen = [one for one in record.measurements if one.by == what]
        bars = [Bar(one.of, one.median, shown(one.median), "ours", (one.low, one.high)) for one in chosen]
        columns.append([Group(heading, bars)])
    draw(path, "Fitting the last layer", columns, footnote=record.footnote())


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    count, several, wide, how = sys.argv[1:]
    print(json.dumps(fit_here(int(count), int(several), int(wide), how)))
