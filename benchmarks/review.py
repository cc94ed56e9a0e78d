"""Wrong labels planted in real photos: how many a reviewer is shown first, and what fitting again with others takes."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.heads import DEPTHS, made_up
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress, shown
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.features.embedding import Embedder
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import audit
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos
from regraft.review.decision import Action, Decision
from regraft.review.order import review_order
from regraft.review.retrain import retrain
from regraft.transfer.fit import FitResult, fit, fit_experiment
from regraft.transfer.settings import FitSettings

WRONG, FIRST, SEEDS = 30, (30, 60), 5
OF = "1,000 pets, 30 labels exchanged"
MADE_UP = 5_000  # photos
CORRECTED = 10  # labels more in each step of a review
STEPS = ("the first time", "with more labels", "with a photo left out, too")


def with_wrong_labels(photos: AuditPhotos, seed: int) -> tuple[AuditPhotos, set[int]]:
    """Return photos of two classes of which some have the other's label, and the positions of these."""
    chosen = np.random.default_rng(seed).choice(len(photos), WRONG, replace=False)
    labels = photos.labels.copy()
    labels[chosen] = 1 - labels[chosen]
    listed = replace(photos.listed, labels=tuple(photos.classes[label] for label in labels))
    return replace(photos, labels=labels, listed=listed), set(chosen.tolist())


def measure(*, rounds: int, quick: bool) -> Record:
    """Exchange labels, audit, and count, where `rounds` are the seeds; then fit again, step by step, and time it."""
    folder = shared()
    if folder is None:
        raise NoPhotosError("it exchanges labels of real photos, and there are none")
    record = Record("review", "a review: wrong labels among the first photos, and seconds to fit again", {})
    record.settings = {"wrong": WRONG, "corrected in each step": CORRECTED}
    name = f"local-dir:{folder / 'weights' / 'mobilenetv2_100.tf_in1k'}"
    seeds = 1 if quick else max(rounds, SEEDS)
    _count_found(record, folder / "data" / "dogs-vs-cats" / "train", load_backbone(name, None), seeds)
    sets = {"1,000": "dogs-vs-cats/train", "245": "hymenoptera/train"}
    bases: dict[str, Callable[[], FitResult]] = {}
    for count, photos in list(sets.items())[: 1 if quick else None]:
        for depths in ("last", "all"):
            what = f"{count} photos, features of {'all depths' if depths == 'all' else 'the last layer'}"
            bases[what] = functools.partial(_fitted, folder / "data" / photos, name, depths)
    if not quick:
        bases[f"{MADE_UP:,} made-up photos, features of all depths"] = functools.partial(
            _made_up, folder / "data" / "hymenoptera" / "train", name
        )
    for what, base in bases.items():
        times = _times(base(), seeds)
        for step, seconds in zip(STEPS, times, strict=True):
            record.add(what, step, "s", seconds)
        progress(f"review: {what}: {', '.join(shown(float(np.median(seconds))) for seconds in times)} s")
    return record


def _count_found(record: Record, folder: Path, backbone: Backbone, seeds: int) -> None:
    photos, embedder = find_audit_photos(folder), Embedder(backbone)
    found: dict[int, list[float]] = {first: [] for first in FIRST}
    for seed in range(seeds):
        noisy, wrong = with_wrong_labels(photos, seed)
        order = [item.position for item in review_order(audit(noisy, embedder))]
        for first in FIRST:
            found[first].append(float(len(wrong & set(order[:first]))))
        progress(f"review: {', '.join(f'{shown(found[n][-1])} of the first {n}' for n in FIRST)}")
    for first, values in found.items():
        record.add(OF, f"wrong of the first {first}", "", values)


def _fitted(photos: Path, network: str, depths: str) -> FitResult:
    """Return a classifier of photos of which some have the other label."""
    samples = find_samples(photos)["train"]
    labels = samples.labels.copy()
    wrong = np.random.default_rng(0).choice(len(labels), WRONG, replace=False)
    labels[wrong] = 1 - labels[wrong]
    return fit(
        {"train": replace(samples, labels=labels)},
        lambda: load_backbone(network, None),
        model=network,
        settings=FitSettings(strategy="frozen", features=depths),
        compute=Compute(device="cpu"),
    )


def _made_up(photos: Path, network: str) -> FitResult:
    """Return a classifier of features that are made up, in an experiment of real photos."""
    found = _fitted(photos, network, "all").experiment
    features, dataset = made_up(MADE_UP, DEPTHS["all"], 2)
    dataset = replace(dataset, samples=replace(dataset.samples, classes=tuple(found.dataset.classes)))
    experiment = replace(
        found, dataset=dataset, features=replace(found.features, values=features), _cuts={}, _hashes={}
    )
    return fit_experiment(experiment, model=network)


def _times(base: FitResult, rounds: int) -> list[list[float]]:
    """Return the seconds of each step in each round."""
    times: list[list[float]] = [[] for _ in STEPS]
    for seed in range(rounds):
        order = np.random.default_rng(seed).permutation(len(base.experiment.dataset))
        steps = (order[:CORRECTED], order[: 2 * CORRECTED], order[: 2 * CORRECTED + 1])
        base.experiment.coordinates = None  # nothing is known of other labels
        for number, places in enumerate(steps):
            left_out = places[2 * CORRECTED :]
            times[number].append(retrain(base, _decided(base, places, left_out)).seconds)
    return times


def _decided(base: FitResult, places: Sequence[int] | np.ndarray, left_out: np.ndarray) -> dict[bytes, Decision]:
    """Return decisions that give the photos at `places` the other label, or leave them out."""
    dataset, found = base.experiment.dataset, {}
    for number, place in enumerate(places, 1):
        action = Action.exclude if place in left_out else Action.relabel
        label = None if action is Action.exclude else dataset.classes[1 - dataset.labels[place]]
        key = dataset.keys[place]
        found[key] = Decision(number, key, str(place), action, label, "benchmark", datetime.now(UTC))
    return found


def picture(record: Record, path: Path) -> None:
    """Draw how many of the wrong labels are found by looking at so many photos, and the seconds of each step."""
    columns: list[dict[str, list[Bar]]] = [{}, {}]
    for one in record.measurements:
        column, heading = (1, one.of) if one.unit == "s" else (0, f"of {WRONG} wrong labels among 1,000 photos")
        bar = Bar(one.by, one.median, shown(one.median), "ours", (one.low, one.high))
        columns[column].setdefault(heading, []).append(bar)
    groups = [[Group(heading, bars) for heading, bars in column.items()] for column in columns]
    draw(path, "Wrong labels that a reviewer is shown; seconds to fit again", groups, footnote=record.footnote())
