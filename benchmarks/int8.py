"""Is the converted network in int8 worth an engine? Its speed, its agreement, and the accuracy of last layers on it.

NNCF (https://github.com/openvinotoolkit/nncf; no dependency of regraft) quantises weights and activations after
training, by the training photos, without their labels. Networks are run from memory, all engines in turns; the last
layers of all learn from the same folds, and differences to torch-float32 are paired, photo by photo.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import NETWORKS, SETS, samples_of
from benchmarks.environments import NoEnvironmentError
from benchmarks.job import NoPhotosError
from benchmarks.material import shared, some_photos
from benchmarks.record import Record, installed, progress, shown
from benchmarks.test_views import answers
from regraft.data.samples import together
from regraft.engines import openvino
from regraft.engines.agreement import Agreement
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine, run_ahead
from regraft.engines.kinds import ENGINE_KINDS, REFERENCE
from regraft.engines.openvino import OpenVinoEngine
from regraft.engines.pytorch import TorchEngine
from regraft.evaluation.paired import paired_differences
from regraft.features.extraction import extract
from regraft.features.network_pass import check_photos
from regraft.images.loading import Batch, load_batches
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone
from regraft.networks.hook_points import LAST
from regraft.progress import Observer
from regraft.transfer.experiment import Experiment
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings

FLOAT32, BFLOAT16, INT8 = "openvino-float32", "openvino-bfloat16", "openvino-int8"
ENGINES = (REFERENCE, FLOAT32, BFLOAT16, INT8)
JUDGED_AS = {FLOAT32: FLOAT32, BFLOAT16: BFLOAT16, INT8: BFLOAT16}  # whose least agreement is asked for
CHOSEN = ("dogs-vs-cats", "skin-lesions", "satellite")
METRICS = {"accuracy": (100, "points"), "auc": (100, "points"), "log_loss": (1, "nats")}  # scale and unit
UNTRAINED = "resnet50"  # of random weights, on which only speed is measured
CALIBRATION = 300  # photos, as NNCF takes
ROUNDS = 5  # at least
PHOTOS, IN_MEMORY = 256, 64  # of a turn; PyTorch's is a turn of those in memory


@dataclass(frozen=True)
class Quantised:
    """A network in int8, and the seconds that took."""

    model: Any
    seconds: float


def nncf() -> Any:
    """Return NNCF, which finds OpenVINO's telemetry as little as OpenVINO does here.

    Raises:
        NoEnvironmentError: it is not installed.
    """
    openvino.core()
    try:
        with openvino.without_telemetry():
            import nncf as library
    except ImportError as error:
        raise NoEnvironmentError(f"needs NNCF, which quantises networks: pip install nncf ({error})") from None
    return library


def quantise(model: Any, batches: list[Batch]) -> Quantised:
    """Return a converted network in int8, calibrated on `batches` of photos."""
    photos = [pixels[None] for batch in batches for pixels in batch.pixels]
    library, started = nncf(), time.perf_counter()
    quantised = library.quantize(model.clone(), library.Dataset(photos), subset_size=len(photos))
    return Quantised(quantised, time.perf_counter() - started)


def engines_of(backbone: Backbone, calibration: list[Batch]) -> tuple[dict[str, Engine], float]:
    """Return all engines of a network, and the seconds of its quantisation.

    Streams, threads and batches are the same for all that OpenVINO runs; what stays above int8 runs in bfloat16, where
    the processor can.
    """
    model = openvino.convert(backbone.feature_module, backbone.preprocess)
    quantised = quantise(model, calibration)
    precisions = openvino.usable_precisions()
    found: dict[str, Engine] = {REFERENCE: TorchEngine(backbone, torch.device("cpu"))}
    found |= {f"openvino-{one}": OpenVinoEngine(model, backbone.preprocess, one) for one in reversed(precisions)}
    found[INT8] = OpenVinoEngine(quantised.model, backbone.preprocess, precisions[0])
    found[INT8].name = "openvino-cpu-int8"
    return found, quantised.seconds


def experiment_of(name: str, backbone: Backbone, root: Path) -> Experiment:
    """Return all photos of a set, each evaluated out-of-fold, run through a network by the reference."""
    splits = list(samples_of(SETS[name], root / "data").values())
    samples = together([split.aligned(splits[0].classes) for split in splits])
    settings = FitSettings(strategy="frozen", features=LAST, positive=SETS[name].positive)
    compute = Compute(device="cpu", engine=REFERENCE, cache=False)
    return prepare_experiment({"train": samples}, lambda: backbone, settings, compute, Observer())


def calibration_of(experiment: Experiment) -> list[Batch]:
    """Return some photos that are learned from, drawn by chance."""
    sources, preprocess = experiment.dataset.samples.sources, experiment.backbone.preprocess
    drawn = np.random.default_rng(0).permutation(len(sources))[:CALIBRATION]
    with closing(load_batches([sources[place] for place in drawn], preprocess)) as batches:
        return list(batches)


def judge(record: Record, name: str, network: str, root: Path) -> None:
    """Compare all engines on one set of photos: features, and answers of last layers on them."""
    backbone = load_backbone(f"local-dir:{root / 'weights' / NETWORKS[network]}")
    reference = experiment_of(name, backbone, root)
    backbone, dataset, of = reference.backbone, reference.dataset, f"{name}, {NETWORKS[network]}"
    engines, seconds = engines_of(backbone, calibration_of(reference))
    record.add(of, f"{INT8}: quantisation", "s", [seconds])
    sources = dataset.samples.sources
    checked = check_photos(sources, dataset.keys, backbone.preprocess, dataset.labels).read()
    expected = engines[REFERENCE].features(checked)
    found: dict[str, np.ndarray] = {}
    for by, engine in engines.items():
        features = reference.features
        if by != REFERENCE:
            features = extract(sources, dataset.keys, backbone, engine)
            agreement = Agreement.of(engine.features(checked), expected)
            everywhere = Agreement.of(features.values, reference.features.values)
            passes = agreement.suffices(ENGINE_KINDS[JUDGED_AS[by]])
            record.add(of, f"{by}: mean cosine of the photos that engines are compared on", "", [agreement.mean])
            record.add(of, f"{by}: mean cosine of all photos", "", [everywhere.mean])
            record.add(of, f"{by}: passes as an engine", "", [float(passes)])
            progress(f"{of}, {by}: {agreement}; {everywhere}; {'passes' if passes else 'does not pass'}")
        own = replace(reference, features=features, _cuts={}, _hashes={})
        found[by] = answers(own, own)
    compare_answers(record, of, found, reference)


def compare_answers(record: Record, of: str, found: Mapping[str, np.ndarray], experiment: Experiment) -> None:
    """Keep the figures of the answers (n, c) by each engine, and their differences to the reference's."""
    dataset, positive = experiment.dataset, experiment.settings.positive
    for by, probabilities in found.items():
        accuracy = 100 * float((probabilities.argmax(axis=1) == dataset.labels).mean())
        record.add(of, f"{by}: accuracy", "%", [accuracy])
        if by == REFERENCE:
            continue
        differences = paired_differences(
            probabilities,
            found[REFERENCE],
            dataset.labels,
            positive=None if positive is None else dataset.classes.index(positive),
            groups=dataset.groups,
            folds=experiment.folds(),
        )
        said = []
        for metric, (scale, unit) in METRICS.items():
            if metric in differences:
                one = differences[metric]
                interval = [
                    scale * part for part in one.interval or () if np.isfinite(part)
                ]  # none of AUCs that are equal
                record.add(of, f"{by}: {metric} difference", unit, [scale * one.value])
                if interval:
                    record.add(of, f"{by}: {metric} difference, from", unit, interval[:1])
                    record.add(of, f"{by}: {metric} difference, to", unit, interval[1:])
                said.append(f"{metric} {scale * one.value:+.4f} {[round(part, 4) for part in interval]} {unit}")
        progress(f"{of}, {by}: accuracy {accuracy:.2f} %; to {REFERENCE}: {', '.join(said)}")


def time_network(record: Record, of: str, backbone: Backbone, rounds: int) -> None:
    """Run photos from memory through all engines of a network in turns."""
    with closing(load_batches(some_photos(CALIBRATION), backbone.preprocess)) as read:
        calibration = list(read)
    engines, seconds = engines_of(backbone, calibration)
    record.add(of, f"{INT8}: quantisation", "s", [seconds])
    batches = [batch for batch in calibration if len(batch.positions) == len(calibration[0].positions)]
    speeds: dict[str, list[float]] = {by: [] for by in engines}
    for number in range(-1, rounds):  # the first sets things up and does not count
        for by, engine in engines.items():
            count = (IN_MEMORY if by == REFERENCE else PHOTOS) // len(batches[0].positions)
            started = time.perf_counter()
            for _ in run_ahead(engine, (batches[one % len(batches)] for one in range(count))):
                pass
            if number >= 0:
                speeds[by].append(count * len(batches[0].positions) / (time.perf_counter() - started))
    for by, values in speeds.items():
        record.add(of, by, "images/s", values)
    for to in [by for by in engines if by != INT8]:
        record.compare(of, INT8, to, "images/s")
    progress(f"{of}: {', '.join(f'{by} {shown(float(np.median(values)))}/s' for by, values in speeds.items())}")


def measure(*, rounds: int, quick: bool) -> Record:
    """Time all engines, then compare what last layers learn of them."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    library = nncf()
    rounds = 1 if quick else max(rounds, ROUNDS)
    record = Record("int8", "OpenVINO in int8: speed, agreement, and accuracy of last layers", {"rounds": rounds})
    record.versions = {**installed(), "nncf": library.__version__}
    for network in NETWORKS.values():
        time_network(record, network, load_backbone(f"local-dir:{root / 'weights' / network}"), rounds)
    if not quick:
        torch.manual_seed(0)
        time_network(record, UNTRAINED, build_untrained(UNTRAINED), rounds)
    for name in CHOSEN[:1] if quick else CHOSEN:
        for network in NETWORKS:
            judge(record, name, network, root)
    record.notes += [
        "images/s: the network alone, photos from memory, all engines in turns",
        f"int8 is calibrated on {CALIBRATION} photos of the set, without their labels",
        f"{UNTRAINED} has random weights: only its speed is measured",
        "accuracy: of last layers on the features, out-of-fold, folds the same for all engines",
        f"differences: to {REFERENCE}, with 95 % intervals",
    ]
    return record


def picture(record: Record, path: Path) -> None:
    """Draw images per second of all engines, network by network."""
    groups = []
    for network in dict.fromkeys(one.of for one in record.measurements if one.unit == "images/s"):
        bars = []
        base = record.find(network, BFLOAT16, "images/s") or record.find(network, FLOAT32, "images/s")
        for by in ENGINES:
            one = record.find(network, by, "images/s")
            if one is not None and base is not None:
                times = one.median / base.median
                bars.append(Bar(by, times, f"{shown(times)}x · {one.text()}", "ours" if by == INT8 else "other"))
        groups.append(Group(network, bars))
    draw(path, f"The network alone, times as fast as {BFLOAT16}", [groups], footnote=record.footnote())
