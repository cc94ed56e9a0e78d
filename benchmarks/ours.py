"""What most benchmarks know of regraft's inside: they change here with its interfaces.

The functions run in processes that are kept between rounds; the last network and its engine are kept in each.
"""

import functools
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import network_name, some_photos

_ENOUGH = 256  # photos for which it is worth making the fastest engine
COMMAND = (sys.executable, "-m", "regraft")
# what `regraft fit` and `predict` import once they know what is asked
FIT_IMPORTS = ("regraft.cli.main", "regraft.transfer.fit", "regraft.classifier.bundle")
PREDICT_IMPORTS = ("regraft.cli.main", "regraft.classifier.predict", "regraft.classifier.bundle")
# the parts of `regraft predict`, by the function that does each, as its caller names it
PREDICT_PARTS = {
    "read the classifier's file": "regraft.classifier.bundle.load_bundle",
    "hash the photo": "regraft.classifier.predict.inspect_shares",
    "choose the engine": "regraft.features.extraction.FeatureExtractor.choose",
    "name the network in the cache": "regraft.networks.backbone.Backbone.fingerprint",
    "compile, decode, run, keep": "regraft.features.extraction.extract",
}
# the parts of `regraft fit --strategy top`
TOP_PARTS = {
    "look for copies": "regraft.transfer.preparation.open_splits",
    "load the network": "regraft.networks.backbones.load_backbone",
    "make the engine of the features": "regraft.features.extraction.FeatureExtractor.choose",
    "features": "regraft.features.joint.JointExtractor.of_dataset",
    "make the engine of the views": "regraft.transfer.experiment.choose_engine",
    "views at the cut": "regraft.features.activations.cache_views",
    "last layers": "regraft.heads.probe.CalibratedHeads.of",
    "training": "regraft.training.loop.run_training",
    "checkpoints": "regraft.training.finetuner.Finetuner._save",
    "answer held-out photos": "regraft.training.finetuner.Finetuner.logits",
    "hash what is frozen": "regraft.transfer.trainers.FineTuningTrainer._prove",
    "write the classifier": "regraft.classifier.bundle.save_bundle",
}


def regraft_features(network: str, photos: Sequence[Path]) -> tuple[float, np.ndarray]:
    """Return the seconds from photo files to a feature matrix without a cache, and the (n, d) matrix."""
    from regraft.features.extraction import extract

    backbone, engine = _made(network)
    keys = [str(number).encode() for number in range(len(photos))]  # each is computed, also one that is there twice
    started = time.perf_counter()
    features = extract(list(photos), keys, backbone, engine)
    return time.perf_counter() - started, features.values


def engine_alone(network: str, photos: Sequence[Path], count: int) -> float:
    """Return the seconds of `count` images through the engine, batches of `photos` over and over, from memory."""
    from regraft.engines.engine import run_ahead
    from regraft.images.loading import load_batches
    from regraft.runtime import BATCH_SIZE

    _, engine = _made(network)
    batches = list(load_batches(list(photos), engine.preprocess))
    started = time.perf_counter()
    for _ in run_ahead(engine, (batches[number % len(batches)] for number in range(count // BATCH_SIZE))):
        pass
    return time.perf_counter() - started


def decoding_alone(network: str, photos: Sequence[Path]) -> float:
    """Return the seconds of reading `photos` and bringing them to the network's size, on all cores."""
    from regraft.images.loading import load_batches

    preprocess = _made(network)[0].preprocess
    started = time.perf_counter()
    for _ in load_batches(list(photos), preprocess):
        pass
    return time.perf_counter() - started


def engine_name(network: str) -> str:
    """Return which engine and precision regraft takes."""
    return str(_made(network)[1].name)


@functools.lru_cache(1)
def _made(network: str) -> tuple[Any, Any]:
    import torch

    from regraft.data.audit import inspect
    from regraft.engines.compute import Compute
    from regraft.features.extraction import FeatureExtractor
    from regraft.networks.backbones import build_untrained, load_backbone

    name = network_name(network)
    torch.manual_seed(0)  # as the others', so that random weights are the same
    backbone = load_backbone(name) if name.startswith("local-dir:") else build_untrained(name)
    photos: list[Any] = some_photos(_ENOUGH)
    keys = inspect(tuple(photos)).keys
    return backbone, FeatureExtractor(backbone, Compute(device="cpu", cache=False)).choose(photos, keys)


def import_script(modules: Sequence[str]) -> str:
    """Return a program that does no more than import `modules` as the command does: what is taken off a refit."""
    return f"from regraft.cli.main import collect_less_garbage; collect_less_garbage(); import {', '.join(modules)}"


def fit_command(data: Path, out: Path) -> list[str]:
    """Return the command that fits a new last layer on `data` and writes a classifier and its figures."""
    return [*COMMAND, *fit_arguments(data, out, "frozen")]


def fit_arguments(data: Path, out: Path, strategy: str) -> list[str]:
    """Return the command without its program, for any strategy."""
    model = network_name("mobilenetv2_100")
    return ["fit", str(data), "--model", model, "--strategy", strategy, "--out", str(out), "--force", "--json"]


def predict_command(bundle: Path, photo: Path) -> list[str]:
    """Return the command that classifies one photo."""
    return [*COMMAND, "predict", str(bundle), str(photo)]


def with_cache(folder: Path) -> dict[str, str]:
    """Return an environment in which regraft's cache lies in `folder`."""
    return {**os.environ, "REGRAFT_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}


def forget_photos(cache: Path) -> None:
    """Remove what was computed of photos from a cache; converted networks stay."""
    shutil.rmtree(cache / "features", ignore_errors=True)


def run_here(arguments: Sequence[str]) -> None:
    """Run the command `regraft` with `arguments` in this process."""
    from typer.testing import CliRunner

    from regraft.cli.main import app

    outcome = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    if outcome.exit_code:
        raise RuntimeError(outcome.output)
