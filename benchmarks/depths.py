"""What features of several depths cost and give: the pass, and last layers on six sets of real photos.

The pass takes turns with that of the last layer's features alone. Every choice of features is evaluated by nested
cross-validation, or on the validation photos where there are some, and compared with the last layer's features alone,
photo by photo.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.job import NoPhotosError
from benchmarks.material import shared, some_photos
from benchmarks.processes import Contender
from benchmarks.record import Record, progress, shown
from regraft.data.audit import inspect
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.evaluation.intervals import mean_interval
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.report import Report
from regraft.features.depths import find_depths
from regraft.features.extraction import FeatureExtractor
from regraft.features.joint import JointExtractor
from regraft.networks.backbones import load_backbone
from regraft.networks.hook_points import LAST
from regraft.progress import Observer
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

AUTO, ALONE, EVERY = "auto", "last layer alone", "all depths"
NETWORKS = {"M": "mobilenetv2_100.tf_in1k", "L0": "tf_efficientnet_lite0.in1k"}
JOINED = {"M": ("M",), "L0": ("L0",), "M + L0": ("M", "L0")}
PHOTOS, WARM_UP = 1000, 64  # of the pass


@dataclass(frozen=True)
class Photos:
    """A set of photos.

    Attributes:
        place: below the folder of shared data.
        columns: of its table.
        positive: the class that AUC and average precision are of.
        most: photos that are taken.
    """

    place: str
    columns: Columns | None = None
    positive: str | None = None
    most: int | None = None


SETS = {
    "dogs-vs-cats": Photos("dogs-vs-cats/train", positive="dog"),
    "hymenoptera": Photos("hymenoptera", positive="bees"),
    "skin-lesions": Photos(
        "skin-lesions/metadata.csv", Columns("isic_id", "diagnosis", "lesion_id", Path("images")), "malignant"
    ),
    "satellite": Photos("satellite"),
    "rice-leaves": Photos("rice-leaves/leaves.csv", Columns(label="disease", group="photo")),
    "tiny-imagenet": Photos("tiny-imagenet", most=5000),
}


def samples_of(photos: Photos, data: Path) -> dict[str, Samples]:
    """Return the photos by split."""
    columns = photos.columns
    if columns is not None and columns.image_root is not None:
        columns = Columns(columns.image, columns.label, columns.group, data / Path(photos.place).parent / "images")
    splits = find_samples(data / photos.place, columns)
    if photos.most is None:
        return splits
    train = splits["train"]
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: photos.most])
    return {"train": train.select(chosen)}


def experiment_of(photos: Photos, networks: Sequence[str], root: Path) -> Experiment:
    """Return the photos run through networks, with features of all depths."""
    first, *rest = [
        functools.partial(load_backbone, f"local-dir:{root / 'weights' / NETWORKS[name]}") for name in networks
    ]
    splits = samples_of(photos, root / "data")
    return prepare_experiment(splits, first, FitSettings(strategy="frozen"), Compute(), Observer(), joined=rest)


def figures_of(experiment: Experiment) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return (n, c) probabilities of the photos that evaluate, and seconds of fitting, by choice of features."""
    dataset = experiment.dataset
    everything = np.arange(len(dataset))
    parts = [(everything, everything)]
    values, evaluated = experiment.features.values, dataset
    if experiment.validation is not None and experiment.validation_features is not None:
        values, evaluated = experiment.validation_features.values, experiment.validation
        parts = [(everything, np.arange(len(evaluated)))]
    else:
        folds = experiment.folds()
        parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    found = {name: np.empty((len(evaluated), len(dataset.classes))) for name in (*experiment.choices, AUTO)}
    started = time.perf_counter()
    for learn, held_out in parts:
        found[AUTO][held_out] = experiment.heads.of(learn).probabilities(values[held_out])
        for name, head in experiment.heads.of_each_choice(learn).items():
            found[name][held_out] = head.probabilities(values[held_out])
    return found, {AUTO: time.perf_counter() - started}


def judge(record: Record, name: str, photos: Photos, by: str, root: Path) -> None:
    """Evaluate every choice of features on one set of photos."""
    experiment = experiment_of(photos, JOINED[by], root)
    found, seconds = figures_of(experiment)
    evaluated = experiment.validation or experiment.dataset
    last = photo_log_loss(evaluated.labels, found[LAST])
    right = found[LAST].argmax(axis=1) == evaluated.labels
    for choice, probabilities in found.items():
        report = Report.from_probabilities(
            probabilities,
            evaluated.labels,
            evaluated.classes,
            estimate="validation" if experiment.validation else "out-of-fold",
            positive=photos.positive,
            groups=evaluated.groups,
            folds=None if experiment.validation else experiment.folds(),
        )
        losses = photo_log_loss(evaluated.labels, probabilities)
        gain = mean_interval(losses - last, groups=evaluated.groups)
        points = mean_interval(
            (probabilities.argmax(axis=1) == evaluated.labels).astype(float) - right, groups=evaluated.groups
        )
        figures = report.to_json()
        text = f"accuracy {100 * report.accuracy:.1f}"
        for metric, short in (("auc", "AUC"), ("average_precision", "AP")):
            if figures.get(metric) is not None:
                value = figures[metric]["value"] if isinstance(figures[metric], dict) else figures[metric]
                text += f", {short} {value:.3f}"
                record.add(f"{name}, {by}", f"{choice}: {short}", "", [float(value)])
        record.add(f"{name}, {by}", f"{choice}: accuracy", "%", [100 * report.accuracy])
        record.add(f"{name}, {by}", f"{choice}: log loss", "nats", [float(losses.mean())])
        progress(
            f"{name}, {by}, {choice}: {text}, log loss {losses.mean():.4f}; against last: "
            f"{100 * points.value:+.1f} [{100 * points.low:+.1f}, {100 * points.high:+.1f}] points, "
            f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        )
    record.add(f"{name}, {by}", "all heads", "s", list(seconds.values()))


class FeaturePass:
    """A pass over photos, from files to features: the engine is built and warm.

    Args:
        extractor: which keeps nothing.
        count: how many photos.
    """

    def __init__(self, extractor: FeatureExtractor | JointExtractor, count: int) -> None:
        self._extractor, self._photos = extractor, tuple(some_photos(count))
        self._keys = tuple(inspect(self._photos).keys)
        extractor.choose(self._photos, self._keys)
        extractor.extract(self._photos[:WARM_UP], self._keys[:WARM_UP])

    def speed(self) -> float:
        """Return photos a second."""
        started = time.perf_counter()
        self._extractor.extract(self._photos, self._keys)
        return len(self._photos) / (time.perf_counter() - started)


def speed(network: str, depths: bool) -> float:
    """Return photos a second from files to features, in no cache."""
    return prepared(network, depths).speed()


@functools.cache
def prepared(network: str, depths: bool) -> FeaturePass:
    """Return the pass of a network."""
    root = shared()
    assert root is not None  # else nothing is measured
    backbone = load_backbone(f"local-dir:{root / 'weights' / NETWORKS[network]}")
    if depths:
        backbone = backbone.with_depths(find_depths(backbone))
    return FeaturePass(FeatureExtractor(backbone, Compute(cache=False)), PHOTOS)


def measure(*, rounds: int, quick: bool) -> Record:
    """Time the pass in turns, then evaluate every choice on every set of photos."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    record = Record("depths", "Features of several depths: what they cost and give", {"rounds": rounds})
    with Contender() as contender:
        for network in NETWORKS:
            values: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(rounds):
                for depths, found in values.items():
                    found.append(contender(speed, network, depths))
            record.add(network, ALONE, "images/s", values[False])
            record.add(network, EVERY, "images/s", values[True])
            record.compare(network, EVERY, ALONE, "images/s")
            progress(f"depths: {network}: {shown(values[True][-1])} against {shown(values[False][-1])} images/s")
    for name, photos in SETS.items():
        if quick and name != "hymenoptera":
            continue
        for by in JOINED:
            judge(record, name, photos, by, root)
    record.notes.append("hymenoptera and satellite: learned from train, evaluated on val; the others out-of-fold")
    record.notes.append("all heads: last, late and all depths, of all folds")
    return record


def picture(record: Record, path: Path) -> None:
    """Draw accuracies of the last layer alone and of the choice."""
    columns = []
    for by in JOINED:
        bars = []
        for name in SETS:
            for one in record.measurements:
                if one.of == f"{name}, {by}" and one.by in (f"{LAST}: accuracy", f"{AUTO}: accuracy"):
                    kind = "ours" if one.by.startswith(AUTO) else "other"
                    bars.append(Bar(f"{name}, {one.by.partition(':')[0]}", one.median, f"{one.median:.1f}", kind, None))
        columns.append([Group(by, bars)])
    title = "Accuracy, %, by features of the last layer alone and of chosen depths"
    draw(path, title, columns, footnote=record.footnote())
