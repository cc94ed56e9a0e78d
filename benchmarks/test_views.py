"""What answers that are means over views of a photo give and cost: mirror images and corners, on four sets of photos.

The pass takes turns with that of the photo alone. All heads learn from the means that they answer, as in `fit`; beside
them stands a head that learned from the photo alone. Differences are paired, photo by photo.
"""

import functools
from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import NETWORKS, SETS, FeaturePass, samples_of
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.processes import Contender
from benchmarks.record import Record, progress, shown
from regraft.engines.compute import Compute
from regraft.evaluation.paired import paired_differences
from regraft.evaluation.report import Report
from regraft.features.joint import JointExtractor
from regraft.images.tta import NONE, TTA
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.view_choice import choose_views, views_in_words

CHOSEN = ("hymenoptera", "satellite", "dogs-vs-cats", "skin-lesions")
PHOTOS = 300  # of the pass
METRICS = {"log_loss": "nats", "accuracy": "", "auc": ""}
PLAIN_HEAD = "learned from the photo alone"


def experiment_of(name: str, network: str, root: Path) -> Experiment:
    """Return the photos of a set run through a network, in all views."""
    load = functools.partial(load_backbone, f"local-dir:{root / 'weights' / NETWORKS[network]}")
    settings = FitSettings(strategy="frozen", tta="auto", positive=SETS[name].positive)
    return prepare_experiment(samples_of(SETS[name], root / "data"), load, settings, Compute(), Observer())


def answers(learned: Experiment, answering: Experiment) -> np.ndarray:
    """Return (n, c) probabilities of the photos that evaluate, of heads on some views for features of others."""
    count = len(learned.dataset)
    if answering.validation_features is not None:
        return learned.heads.of(np.arange(count)).probabilities(answering.validation_features.values)
    folds, values = learned.folds(), answering.features.values
    found = np.empty((count, len(learned.dataset.classes)))
    for fold in np.unique(folds):
        found[folds == fold] = learned.heads.of(np.flatnonzero(folds != fold)).probabilities(values[folds == fold])
    return found


def judge(record: Record, name: str, network: str, root: Path) -> None:
    """Evaluate all views on one set of photos, and say what auto would take."""
    plain = experiment_of(name, network, root)
    evaluated = plain.validation or plain.dataset
    views = {NONE: plain, **{tta: plain.with_views(tta) for tta in plain.other_views}}
    found = {tta: answers(one, one) for tta, one in views.items()}
    found |= {f"{tta}, {PLAIN_HEAD}": answers(plain, one) for tta, one in views.items() if tta != NONE}
    positive = SETS[name].positive
    for tta, probabilities in found.items():
        differences = paired_differences(
            probabilities,
            found[NONE],
            evaluated.labels,
            positive=None if positive is None else evaluated.classes.index(positive),
            groups=evaluated.groups,
            folds=None if plain.validation else plain.folds(),
        )
        figures = Report.from_probabilities(
            probabilities,
            evaluated.labels,
            evaluated.classes,
            estimate="validation" if plain.validation else "out-of-fold",
            positive=positive,
            groups=evaluated.groups,
            folds=None if plain.validation else plain.folds(),
        ).to_json()
        said = []
        for metric, unit in METRICS.items():
            if metric not in differences:
                continue
            one = differences[metric]
            low, high = one.interval or (np.nan, np.nan)
            level = figures[metric]["value"] if isinstance(figures[metric], dict) else figures[metric]
            record.add(f"{name}, {network}", f"{tta}: {metric}", unit, [level])
            if tta != NONE:
                for end, value in (("", one.value), (", from", low), (", to", high)):
                    record.add(f"{name}, {network}", f"{tta}: {metric} difference{end}", unit, [value])
            said.append(f"{metric} {level:.4f} ({one.value:+.4f} [{low:+.4f}, {high:+.4f}])")
        progress(f"{name}, {network}, {tta}: {', '.join(said)}")
    choice = choose_views(plain)
    progress(f"{name}, {network}: {views_in_words(choice.experiment.tta, choice.tried)}")
    record.notes.append(f"{name}, {network}: auto takes {choice.experiment.tta}")


def speed(network: str, tta: str) -> float:
    """Return photos a second from files to mean features, in no cache."""
    return prepared(network, tta).speed()


@functools.cache
def prepared(network: str, tta: str) -> FeaturePass:
    """Return the pass of a network."""
    root = shared()
    assert root is not None  # else nothing is measured
    backbone = load_backbone(f"local-dir:{root / 'weights' / NETWORKS[network]}")
    return FeaturePass(JointExtractor([backbone], Compute(cache=False), tta=tta), PHOTOS)


def measure(*, rounds: int, quick: bool) -> Record:
    """Evaluate all views on every set of photos, then time the pass in turns."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    record = Record("test_views", "Means over views of a photo: what they give and cost", {"rounds": rounds})
    for name in CHOSEN[:1] if quick else CHOSEN:
        for network in NETWORKS:
            judge(record, name, network, root)
    with Contender() as contender:
        for network in NETWORKS:
            values: dict[str, list[float]] = {tta: [] for tta in TTA}
            for _ in range(rounds):
                for tta, found in values.items():
                    found.append(contender(speed, network, tta))
            for tta, found in values.items():
                record.add(network, tta, "photos/s", found)
                if tta != NONE:
                    record.compare(network, tta, NONE, "photos/s")
                progress(f"{network}, {tta}: {shown(float(np.median(found)))} photos/s")
    record.notes.append("hymenoptera and satellite: learned from train, evaluated on val; the others out-of-fold")
    record.notes.append("differences: against the photo alone, with 95 % intervals")
    return record


def picture(record: Record, path: Path) -> None:
    """Draw the log losses of all views."""
    columns = []
    for network in NETWORKS:
        bars = []
        for name in CHOSEN:
            for tta in TTA:
                one = record.find(f"{name}, {network}", f"{tta}: log_loss", "nats")
                if one is not None:
                    kind = "other" if tta == NONE else "ours"
                    bars.append(Bar(f"{name}, {tta}", one.median, f"{one.median:.3f}", kind, None))
        columns.append([Group(network, bars)])
    title = "Log loss, nats, of answers by the photo alone, with its mirror image, and with its corners"
    draw(path, title, columns, footnote=record.footnote())
