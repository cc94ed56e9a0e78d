"""Ways to choose what is labelled next, beside each other: `python -m benchmarks.suggest_methods [DRAWS]`.

This is the trial that the method of `suggest` was chosen by. Its sets of photos are not those on which `suggest` is
measured, so that nothing that chose it says what it is worth. Each way is written here for a few thousand photos.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from benchmarks.depths import NETWORKS, SETS, Photos, experiment_of, samples_of
from benchmarks.few_photos import PhotoSet
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import progress
from benchmarks.suggest import CHANCE, MARGIN, NETWORK, SUGGEST, WAYS, Choose, learn
from regraft.engines.compute import Compute
from regraft.evaluation.intervals import mean_interval
from regraft.labelling.clusters import directions, k_means
from regraft.labelling.diverse_batch import margins_of
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

DRAWS = 10
FIRST_SEED = 1000  # those of `suggest` are small numbers
STEPS = (10, 20, 40, 60, 80, 120)  # photos that are labelled beyond the first ones
_CLASSES, _OF_EACH = 30, 100  # of Tiny ImageNet
_NEIGHBOURS = 20  # by which TypiClust finds typical photos
_PHOTOS_PER_CLUSTER = 5  # of cluster-margin


class Question:
    """What a way is asked: photos of which `count` are to be labelled, and those that are.

    Attributes:
        points: (n, d) directions of features.
        labelled: (m, d) of photos with labels.
        probabilities: (n, c).
        count: photos to choose.
        generator: random.
    """

    def __init__(
        self,
        features: np.ndarray,
        probabilities: np.ndarray,
        count: int,
        generator: np.random.Generator,
        labelled: np.ndarray,
    ) -> None:
        self.points, self.labelled = directions(features), directions(labelled)
        self.probabilities, self.count, self.generator = probabilities, count, generator

    def from_labelled(self) -> np.ndarray:
        """Return (n,) squared distances to the nearest photo with a label."""
        return np.asarray(2 - 2 * (self.points @ self.labelled.T).max(axis=1))


def core_set(asked: Question, weights: np.ndarray | None = None) -> np.ndarray:
    """Take the farthest from all that are labelled, one by one (Sener and Savarese 2018); `weights` (n,) count, too."""
    distances, chosen = asked.from_labelled(), np.empty(0, dtype=np.int64)
    for _ in range(asked.count):
        scores = distances if weights is None else distances * weights
        scores = np.where(np.isin(np.arange(len(scores)), chosen), -1, scores)
        chosen = np.append(chosen, scores.argmax())
        distances = np.minimum(distances, 2 - 2 * asked.points @ asked.points[chosen[-1]])
    return chosen


def weighted_core_set(asked: Question) -> np.ndarray:
    """Take the farthest, in distances that are weighted by 1 - margin."""
    return core_set(asked, 1 - margins_of(asked.probabilities))


def badge(asked: Question) -> np.ndarray:
    """Start k-means++ on gradients of the last layer for the guessed classes (Ash et al. 2020)."""
    gradients = asked.probabilities - np.eye(asked.probabilities.shape[1])[asked.probabilities.argmax(axis=1)]
    lengths = (asked.points**2).sum(axis=1) * (gradients**2).sum(axis=1)

    def distances_from(place: int) -> np.ndarray:
        products = (asked.points @ asked.points[place]) * (gradients @ gradients[place])
        return np.asarray(np.maximum(lengths + lengths[place] - 2 * products, 0))

    chosen = [int(lengths.argmax())]
    distances = distances_from(chosen[0])
    while len(chosen) < asked.count:
        distances[chosen] = 0
        chosen.append(int(asked.generator.choice(len(distances), p=distances / distances.sum())))
        distances = np.minimum(distances, distances_from(chosen[-1]))
    return np.array(chosen)


def typiclust(asked: Question) -> np.ndarray:
    """Take the most typical photo of the largest clusters without a label (Hacohen et al. 2022)."""
    known, points = len(asked.labelled), np.concatenate([asked.labelled, asked.points])
    count = min(known + asked.count, len(points) - 1)
    clusters = k_means(points, count, weights=np.ones(len(points)), seed=int(asked.generator.integers(1 << 30)))
    members = sorted(clusters.members(), key=lambda own: (int((own < known).sum()), -len(own)))
    chosen: list[int] = []
    for turn in range(len(points)):
        own = members[turn % len(members)]
        free = [place for place in own.tolist() if place >= known and place not in chosen]
        if free and len(chosen) < asked.count:
            distances = np.sort(np.sqrt(np.maximum(2 - 2 * points[free] @ points[own].T, 0)), axis=1)
            chosen.append(free[int(distances[:, : _NEIGHBOURS + 1].sum(axis=1).argmin())])
    return np.array(chosen) - known


def cluster_margin(asked: Question) -> np.ndarray:
    """Take turns between clusters of the least sure photos, the smallest first (Citovsky et al. 2021)."""
    numbers = AgglomerativeClustering(
        max(len(asked.points) // _PHOTOS_PER_CLUSTER, 2), linkage="average", metric="cosine"
    ).fit_predict(asked.points)
    unsure = np.argsort(margins_of(asked.probabilities), kind="stable")[: 10 * asked.count]
    parts = sorted((unsure[numbers[unsure] == number] for number in np.unique(numbers[unsure])), key=len)
    parts = [asked.generator.permutation(part) for part in parts]
    turns = [part[turn] for turn in range(max(map(len, parts))) for part in parts if turn < len(part)]
    return np.array(turns[: asked.count])


OTHERS: dict[str, Callable[[Question], np.ndarray]] = {
    "BADGE": badge,
    "core-set": core_set,
    "core-set weighted by margins": weighted_core_set,
    "TypiClust": typiclust,
    "cluster-margin": cluster_margin,
}


def as_way(choose: Callable[[Question], np.ndarray]) -> Choose:
    """Return a way of choosing as `suggest.learn` calls it."""
    return lambda *asked: choose(Question(*asked))


def part_of(photos: PhotoSet, labels: np.ndarray) -> PhotoSet:
    """Return the photos with other labels (n,); those with -1 are left out."""
    kept = labels >= 0
    return photos.relabelled(np.flatnonzero(kept), labels[kept])


def sets(root: Path) -> Iterator[tuple[str, PhotoSet]]:
    """Yield sets of photos by name."""
    for name in ("rice-leaves", "dogs-vs-cats"):
        yield name, PhotoSet(experiment_of(SETS[name], [NETWORK], root))
    train = samples_of(Photos("tiny-imagenet"), root / "data")["train"]
    place = np.concatenate([np.flatnonzero(train.labels == label)[:_OF_EACH] for label in range(_CLASSES)])
    network = functools.partial(load_backbone, f"local-dir:{root / 'weights' / NETWORKS[NETWORK]}")
    settings = FitSettings(strategy="frozen")
    train = replace(train.select(np.sort(place)), classes=train.classes[:_CLASSES])
    experiment = prepare_experiment({"train": train}, network, settings, Compute(), Observer())
    photos = PhotoSet(experiment)
    labels, order = photos.labels, np.arange(len(photos.labels))
    rank = np.array([int((labels[:one] == labels[one]).sum()) for one in order])  # among its class
    yield "20 classes", part_of(photos, np.where(labels < 20, labels, -1))
    rare = (labels >= 20) & (rank < np.where(labels < 25, _OF_EACH, _OF_EACH // 5))
    yield "10 classes, 5 of them rare", part_of(photos, np.where(rare, labels - 20, -1))
    yield "2 classes, 1 of them rare", part_of(photos, np.where((labels >= 25) & (rank % 2 > 0), -1, labels >= 25))


def main() -> None:
    """Print mean gains in accuracy over photos at random, in points, over all steps."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    ways = {CHANCE: WAYS[CHANCE], MARGIN: WAYS[MARGIN], SUGGEST: WAYS[SUGGEST]}
    ways |= {name: as_way(choose) for name, choose in OTHERS.items()}
    gains: dict[str, list[float]] = {}
    for name, photos in sets(root):
        first = max(20, 2 * len(np.unique(photos.labels)))
        budgets = (first, *(first + step for step in STEPS if first + step <= len(photos.labels) // 2 - 1))
        found = {
            way: np.array([list(learn(photos, budgets, choose, FIRST_SEED + draw)) for draw in range(draws)])[
                :, 1:-1, 0
            ]
            for way, choose in ways.items()
        }
        for way, values in found.items():
            gain = mean_interval((values - found[CHANCE]).mean(axis=1), groups=np.arange(draws))
            gains.setdefault(way, []).append(gain.value)
            progress(f"{name}, {way}: {values.mean():.1f} %, {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
    for way, values_of in gains.items():
        progress(f"all sets, {way}: {np.mean(values_of):+.2f}")


if __name__ == "__main__":
    main()
