"""How long the heads of one `regraft fit` take, and how much memory: the estimate, the choices and the final fit.

    python benchmarks/heads.py [--photos 50000] [--features 1280] [--classes 100] [--rounds 1]

The features are made up, seeded, and as hard as real ones: pooled over four places after a ReLU, from 400 factors of
falling strength that a photo's places share in part, with features that never fire. Their correlation matrix has a few
large eigenvalues and a long tail, classes overlap, and the out-of-fold accuracy is printed.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np

from regraft.learn.comparison import Clock, cross_validate
from regraft.learn.methods import Candidate, FrozenMethod
from regraft.learn.probe import OUTER_FOLDS, Labelled, Probes, inner_folds
from regraft.runtime import cpu_count

FACTORS, PLACES, DEAD = 400, 4, 0.03
SIGNAL = {2: 0.25, 100: 0.27}  # distance of the classes: about 97 % accuracy with 1,000 photos of two, 80 % of 100


def made_up(photos: int, features: int, classes: int, seed: int = 0) -> Labelled:
    """Return features (n, d) and labels."""
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
    return Labelled(found / PLACES, labels, None, [str(label) for label in range(classes)])


def peak() -> float:
    """Return the most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Time the heads and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    before = peak()
    data = made_up(options.photos, options.features, options.classes)
    folds = inner_folds(data, count=OUTER_FOLDS, seed=0)
    seconds = []
    for _ in range(options.rounds):
        started = time.perf_counter()
        probes = Probes(data, seed=0)
        method = FrozenMethod(Candidate("frozen"), SimpleNamespace(data=data, probes=probes))  # type: ignore[arg-type]
        outcome = cross_validate(method, data, folds, clock=Clock(float("inf")))
        final = probes.of(np.arange(options.photos))
        seconds.append(time.perf_counter() - started)
    right = outcome.probabilities[np.arange(options.photos), data.labels]
    told = {
        "photos": options.photos,
        "features": options.features,
        "classes": options.classes,
        "seconds": {"median": round(statistics.median(seconds), 2), "all": [round(value, 2) for value in seconds]},
        "memory_MB": {
            "peak": round(peak()),
            "growth": round(peak() - before),
            "features": data.features.nbytes // 10**6,
        },
        "accuracy": round(float((outcome.probabilities.argmax(axis=1) == data.labels).mean()), 4),
        "log_loss": round(float(-np.log(right).mean()), 4),
        "strength": final.head.strength,
        "temperature": round(final.temperature, 3),
        "processors": cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "numpy": version("numpy"),
        "torch": version("torch"),
    }
    print(json.dumps(told, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
