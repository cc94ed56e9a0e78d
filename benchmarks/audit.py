"""What an audit finds of faults that were planted in real photos, its labels beside cleanlab's, and what it takes."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import SETS, samples_of
from benchmarks.job import NoPhotosError
from benchmarks.material import MADE, crops, label, shared
from benchmarks.planted import Planted, plant
from benchmarks.processes import run
from benchmarks.record import Record, progress, shown
from regraft.data.dataset import open_datasets
from regraft.evaluation.label_errors import LabelErrors, find_label_errors
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.audit import audit as audit_photos
from regraft.photo_audit.held_out import FoldHeads
from regraft.photo_audit.photos import find_audit_photos
from regraft.progress import Observer

NETWORKS = {"L0": "efficientnet-lite0", "pocket": "pocket"}
NOISE = (0.0, 0.03, 0.1)  # shares of labels that are exchanged
LABEL_SETS = ("dogs-vs-cats", "hymenoptera", "satellite", "skin-lesions")
COUNTS = (10_000, 20_000, 50_000)
PLANTED = 5  # sets of planted faults
FIRST, EXPECTED = 30, 20


def audit_of(folder: Path | str, network: str) -> Audit:
    """Return the audit of a folder."""
    return audit_photos(find_audit_photos(folder), Embedder(load_backbone(network, None)))


def planted_figures(planted: Planted, found: Audit) -> dict[str, float]:
    """Return how much of what was planted was found, and what else."""
    sets = {kind: [set(one.files) for one in found.of(kind)] for kind in ("exact-duplicate", "near-duplicate")}
    both = [*sets["exact-duplicate"], *sets["near-duplicate"]]
    pairs = [{str(a), str(b)} for a, b in (*planted.exact, *planted.edited)]
    wrong, doubted = set(map(str, planted.wrong)), [one.files[0] for one in found.of("likely-mislabelled")]
    unreadable = {file for one in found.of("unreadable") for file in one.files}
    return {
        "exact copies found": sum(
            any(pair <= one for one in sets["exact-duplicate"]) for pair in pairs[: len(planted.exact)]
        ),
        "edited copies found": sum(any(pair <= one for one in both) for pair in pairs[len(planted.exact) :]),
        "other pictures joined": sum(not any(pair <= one for pair in pairs) for one in both),
        "wrong labels found": len(wrong & set(doubted)),
        f"wrong of the first {FIRST} labels": sum(file in wrong for file in doubted[:FIRST]),
        f"expected wrong of the first {EXPECTED}": 0.0 if found.labels is None else found.labels.expected(EXPECTED),
        f"wrong of the first {EXPECTED} labels": sum(file in wrong for file in doubted[:EXPECTED]),
        "broken files found": len(unreadable & set(map(str, planted.broken))),
        "shortcut named by its JPEG tables": any(one.more["cue"] == "JPEG tables" for one in found.of("shortcut")),
    }


def plant_and_audit(record: Record, photos: Mapping[str, Sequence[Path]], rounds: int) -> None:
    """Audit folders with planted faults."""
    figures: dict[str, list[float]] = {}
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            planted = plant(photos, Path(folder), seed=seed)
            for name, value in planted_figures(planted, audit_of(folder, NETWORKS["L0"])).items():
                figures.setdefault(name, []).append(float(value))
        progress(f"audit: planted faults, {seed + 1} of {rounds}")
    for name, values in figures.items():
        record.add("800 pets with 30 faults of each kind", name, "", values)


def exchanged(labels: np.ndarray, classes: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) labels of which a share was exchanged for any other, and (n,) booleans of these."""
    rng = np.random.default_rng(0)
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[rng.choice(len(labels), round(share * len(labels)), replace=False)] = True
    found = labels.copy()
    found[wrong] = (labels[wrong] + rng.integers(1, classes, int(wrong.sum()))) % classes
    return found, wrong


def compare_labels(record: Record, network: str, data: Path) -> None:
    """Find exchanged labels of real photos, by confident learning here and in cleanlab."""
    from cleanlab.filter import find_label_issues  # type: ignore[import-not-found,import-untyped,unused-ignore]

    for name in LABEL_SETS:
        (dataset,) = open_datasets([samples_of(SETS[name], data)["train"]], Observer())
        embedder = Embedder(load_backbone(NETWORKS[network], None))
        (opened,) = embedder.open(dataset.samples.sources)
        features = embedder.all_of(opened).vectors
        for share in NOISE:
            labels, wrong = exchanged(dataset.labels, len(dataset.classes), share)
            noisy = dataset.relabelled(labels)
            heads = FoldHeads(features, noisy)
            probabilities = np.zeros((len(labels), len(dataset.classes)))
            heads.answer(features, heads.folds, probabilities)
            own = find_label_errors(labels, probabilities)
            theirs = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
            _add_labels(record, f"{name}, {network}, {share:.0%} exchanged", own, theirs, wrong)


def _add_labels(record: Record, of: str, own: LabelErrors, theirs: np.ndarray, wrong: np.ndarray) -> None:
    common = len(set(own.photos[:FIRST].tolist()) & set(theirs[:FIRST].tolist()))
    rows = {
        "exchanged": int(wrong.sum()),
        "found": len(own),
        "found by cleanlab": len(theirs),
        f"of the first {FIRST} in both": common,
        f"wrong of the first {FIRST}": int(wrong[own.photos[:FIRST]].sum()),
        f"wrong of cleanlab's first {FIRST}": int(wrong[theirs[:FIRST]].sum()),
        f"wrong of the first {EXPECTED}": int(wrong[own.photos[:EXPECTED]].sum()),
        f"expected wrong of the first {EXPECTED}": own.expected(EXPECTED),
    }
    for name, value in rows.items():
        record.add(of, name, "", [float(value)])
    progress(f"audit: {of}: " + ", ".join(f"{name} {shown(float(value))}" for name, value in rows.items()))


def time_and_memory(record: Record, counts: Sequence[int], rounds: int) -> None:
    """Audit ever more photos, whose features are cached, in a process of its own."""
    for count in counts:
        folder, cache = crops(count), MADE / "audit-cache"
        shutil.rmtree(cache, ignore_errors=True)
        command = [*ours.COMMAND, "audit", str(folder), "--model", NETWORKS["L0"], "--json"]
        seconds, memory = [], []
        for number in range(rounds + 1):
            done = run(command, environment=ours.with_cache(cache))
            progress(f"audit: {count:,} photos: {shown(done.seconds)} s, {shown(done.peak_megabytes)} MB")
            if number:
                seconds.append(done.seconds)
                memory.append(done.peak_megabytes)
            else:
                record.add(f"{count:,} photos", "first audit", "s", [done.seconds])
        record.add(f"{count:,} photos", "audit, features cached", "s", seconds)
        record.add(f"{count:,} photos", "peak memory", "MB", memory)
        shutil.rmtree(cache, ignore_errors=True)


def measure(*, rounds: int, quick: bool) -> Record:
    """Plant and find, compare with cleanlab, and time."""
    folder = shared()
    if folder is None:
        raise NoPhotosError("it plants faults in real photos, and there are none")
    record = Record("audit", "what an audit finds of planted faults, and what it takes", {"first": FIRST})
    pets = sorted((folder / "data" / "dogs-vs-cats" / "train").glob("*.jpg"), key=lambda path: path.name)
    photos = {name: [path for path in pets if label(path) == name][:400] for name in ("cat", "dog")}
    plant_and_audit(record, photos, 1 if quick else PLANTED)
    for network in ("L0",) if quick else NETWORKS:
        compare_labels(record, network, folder / "data")
    time_and_memory(record, (1_000,) if quick else COUNTS, rounds)
    return record


def picture(record: Record, path: Path) -> None:
    """Draw what was found of the planted faults, and the time by the number of photos."""
    names = ("exact copies found", "edited copies found", "wrong labels found", "broken files found")
    planted = [one for one in record.measurements if one.by in names]
    times = [one for one in record.measurements if one.by == "audit, features cached"]
    found = [Bar(one.by, one.median, shown(one.median), "ours", (one.low, one.high)) for one in planted]
    taken = [Bar(one.of, one.median, f"{shown(one.median)} s", "ours") for one in times]
    columns = [[Group("of 30 (broken files: 10)", found)], [Group("seconds, features cached", taken)]]
    draw(path, "What an audit finds, and what it takes", columns, footnote=record.footnote())
