"""Do conformal sets hold what they promise, and is what is unlike the training photos marked?

Three sets of photos are split 50 times (whole groups): from 60 % a last layer is learned, and the thresholds are chosen
on its out-of-fold probabilities; the sets of the other 40 % are looked at. How many of n photos are held is
beta-binomial for thresholds of m exchangeable photos: with the k-th smallest score, of m + 1 - k and k (Vovk 2012).
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import betabinom

from benchmarks.chart import Bar, Group, draw
from benchmarks.decisions import held_out
from benchmarks.depths import NETWORKS, SETS, samples_of
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress
from regraft.classifier.classifier import UNLIKE_LEVEL
from regraft.classifier.reference import TrainingReference
from regraft.data.dataset import Dataset
from regraft.data.samples import together
from regraft.engines.compute import Compute
from regraft.evaluation.conformal import COVERAGE_OF, Coverage, HeldOutScores
from regraft.heads.probe import CalibratedHeads
from regraft.networks.backbones import load_backbone
from regraft.networks.hook_points import LAST
from regraft.progress import Observer
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

NETWORK, SPLITS, LEARNED = "M", 50, 0.6
NAMES, OTHERS = ("dogs-vs-cats", "skin-lesions", "satellite"), ("hymenoptera",)
COVERAGES = [Coverage(share, of) for share in (0.9, 0.95) for of in COVERAGE_OF]
HELD, LEAST, SIZE, EMPTY, SEVERAL, WITHIN = (
    "held", "held, least class", "classes in a set", "empty", "several", "within the beta-binomial interval"
)  # fmt: skip


def photos_of(name: str, root: Path) -> tuple[Dataset, np.ndarray]:
    """Return all photos of a set, and their last features."""
    samples = together(list(samples_of(SETS[name], root / "data").values()))
    load = functools.partial(load_backbone, f"local-dir:{root / 'weights' / NETWORKS[NETWORK]}")
    settings = FitSettings(strategy="frozen", features=LAST)
    experiment = prepare_experiment({"train": samples}, load, settings, Compute(), Observer())
    return experiment.dataset, experiment.features.values


def units_of(dataset: Dataset) -> np.ndarray:
    """Return (n,) numbers of what is split: groups, or photos where there are none."""
    return np.arange(len(dataset)) if dataset.groups is None else np.unique(dataset.groups, return_inverse=True)[1]


def within(known: HeldOutScores, coverage: Coverage, labels: np.ndarray, held: np.ndarray) -> float:
    """Return the share of what has a threshold of its own whose count of held photos lies in its 95 % interval."""
    together = known.pooled(coverage) if coverage.of == "classes" else list(range(known.classes))
    parts = [[label] for label in range(known.classes) if label not in together]
    found = []
    for part in [*parts, together] if together else parts:
        learned, new = np.isin(known.labels, part), np.isin(labels, part)
        count = int(learned.sum()) if known.groups is None else len(np.unique(known.groups[learned]))
        rank = int((1 - coverage.share) * (count + 1) + 1e-9)
        low, high = betabinom(int(new.sum()), count + 1 - rank, rank).interval(0.95)
        found.append(low <= held[new].sum() <= high)
    return float(np.mean(found))


def look(known: HeldOutScores, coverage: Coverage, labels: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """Return what the sets of new photos, of their probabilities (n, c), come to."""
    sets = known.sets(new, coverage)
    assert sets is not None  # there are photos enough
    held, sizes = sets[np.arange(len(sets)), labels], sets.sum(axis=1)
    return {
        HELD: 100 * float(held.mean()),
        LEAST: 100 * min(float(held[labels == label].mean()) for label in np.unique(labels)),
        SIZE: float(sizes.mean()),
        EMPTY: 100 * float((sizes == 0).mean()),
        SEVERAL: 100 * float((sizes > 1).mean()),
        WITHIN: 100 * within(known, coverage, labels, held),
    }


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (the splits are the rounds)
    """Split each set of photos many times."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    splits = 2 if quick else SPLITS
    record = Record("conformal", "Do conformal sets hold what they promise?", {"splits": splits, "network": NETWORK})
    photos = {name: photos_of(name, root) for name in (*NAMES, *OTHERS)}
    for name in NAMES:
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(splits):
            for key, value in split(name, photos, seed).items():
                found.setdefault(key, []).append(value)
        for (what, by), values in found.items():
            record.add(f"{name}, {what}", by, "" if by == SIZE else "%", values)
        progress(f"{name}: {splits} splits")
    record.notes.append(f"{100 * LEARNED:.0f} % of the photos are learned from; figures are of the others")
    record.notes.append(f"beyond: farther than {100 * UNLIKE_LEVEL:.0f} % of the training photos from each other")
    return record


def split(name: str, photos: dict[str, tuple[Dataset, np.ndarray]], seed: int) -> dict[tuple[str, str], float]:
    """Return the figures of one split of the set `name`."""
    whole, values = photos[name]
    units = units_of(whole)
    learned = (np.random.default_rng(seed).permutation(units.max() + 1) < LEARNED * (units.max() + 1))[units]
    dataset, features = whole.select(learned), values[learned]
    heads = CalibratedHeads(features, dataset, seed=0, all_too=True)
    probabilities = held_out(dataset, features, heads)
    new = heads.of(np.arange(len(dataset))).probabilities(values[~learned])
    known = HeldOutScores.of(probabilities, dataset.labels, dataset.groups)
    found = {}
    for coverage in COVERAGES:
        for by, value in look(known, coverage, whole.labels[~learned], new).items():
            found[f"{coverage} of {coverage.of}", by] = value
    columns: Any = slice(None)
    reference = TrainingReference.of(
        features, dataset.labels, classes=len(dataset.classes), columns=columns, groups=dataset.groups
    )
    assert reference is not None  # there are photos enough
    for other, (_, theirs) in photos.items():
        far = reference.distances_of(values[~learned] if other == name else theirs) > reference.limit(UNLIKE_LEVEL)
        found["beyond", "others of these" if other == name else other] = 100 * float(far.mean())
    return found


def picture(record: Record, path: Path) -> None:
    """Draw the shares that are held, of all photos and of the class with the least."""
    columns = [
        [
            Group(
                by,
                [
                    Bar(one.of, one.median, f"{one.median:.1f} %", "ours" if "classes" in one.of else "other", None)
                    for one in record.measurements
                    if one.by == by
                ],
            )
        ]
        for by in (HELD, LEAST)
    ]
    draw(path, "Photos whose set holds the true class (medians of splits)", columns, footnote=record.footnote())
