"""Wrong labels planted in real photos: how many of them are among the first that a reviewer is shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress, shown
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import audit
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos
from regraft.review.order import review_order

WRONG, FIRST, SEEDS = 30, (30, 60), 5
OF = "1,000 pets, 30 labels exchanged"


def with_wrong_labels(photos: AuditPhotos, seed: int) -> tuple[AuditPhotos, set[int]]:
    """Return photos of two classes of which some have the other's label, and the positions of these."""
    chosen = np.random.default_rng(seed).choice(len(photos), WRONG, replace=False)
    labels = photos.labels.copy()
    labels[chosen] = 1 - labels[chosen]
    listed = replace(photos.listed, labels=tuple(photos.classes[label] for label in labels))
    return replace(photos, labels=labels, listed=listed), set(chosen.tolist())


def measure(*, rounds: int, quick: bool) -> Record:
    """Exchange labels, audit, and count; `rounds` are the seeds."""
    folder = shared()
    if folder is None:
        raise NoPhotosError("it exchanges labels of real photos, and there are none")
    record = Record("review", "wrong labels among the first photos that a reviewer is shown", {"wrong": WRONG})
    photos = find_audit_photos(folder / "data" / "dogs-vs-cats" / "train")
    embedder = Embedder(load_backbone(f"local-dir:{folder / 'weights' / 'mobilenetv2_100.tf_in1k'}", None))
    found: dict[int, list[float]] = {first: [] for first in FIRST}
    for seed in range(1 if quick else max(rounds, SEEDS)):
        noisy, wrong = with_wrong_labels(photos, seed)
        order = [item.position for item in review_order(audit(noisy, embedder))]
        for first in FIRST:
            found[first].append(float(len(wrong & set(order[:first]))))
        progress(f"review: {', '.join(f'{shown(found[n][-1])} of the first {n}' for n in FIRST)}")
    for first, values in found.items():
        record.add(OF, f"wrong of the first {first}", "", values)
    return record


def picture(record: Record, path: Path) -> None:
    """Draw how many of the wrong labels are found by looking at so many photos."""
    bars = [Bar(one.by, one.median, shown(one.median), "ours", (one.low, one.high)) for one in record.measurements]
    title = "Wrong labels that a reviewer is shown"
    draw(path, title, [[Group(f"of {WRONG} among 1,000 photos", bars)]], footnote=record.footnote())
