"""The families of inputs that come from anybody: photos, bundles, folders of networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # noqa: F401 - imported before anything is watched
import pyvips  # noqa: F401
import torch
from tests.hostile.watching import Log, Watch, peak_memory

from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.audit import inspect
from regraft.engines.compute import Compute
from regraft.engines.workload import machine
from regraft.errors import RegraftError
from regraft.images.decoding import decode
from regraft.images.preprocess import Preprocess
from regraft.images.reading import UnreadableImageError
from regraft.networks.backbones import build_untrained, load_backbone

PREPROCESS = Preprocess(224, 224, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)


def images(folder: Path, limit: float) -> dict[str, Any]:
    """Inspect and decode each of `folder/inputs` by itself, then all together, and let a classifier answer them."""
    classifier = _prepared(folder)
    sources = tuple(sorted((folder / "inputs").iterdir()))
    at_first = peak_memory()
    watch = Watch(own=(folder / "cache",))
    log = Log(watch, (RegraftError, UnreadableImageError), limit)
    reasons: dict[int, str] = {}

    def look(place: int) -> str:
        audit = inspect((sources[place],))
        if audit.unreadable:
            reasons[place] = audit.unreadable[0]
            return "refused at once"
        pixels = decode(sources[place], PREPROCESS)
        assert pixels.shape == (224, 224, 3)
        assert pixels.dtype == np.uint8
        return "read"

    def look_at_all() -> str:
        assert dict(inspect(sources).unreadable) == reasons, "threads find something else"
        return "inspected together"

    def answer() -> str:
        found = Predictor(classifier).predict(sources)
        unreadable = sorted(found.unreadable)
        readable = np.setdiff1d(np.arange(len(sources)), unreadable)
        assert np.isnan(found.probabilities[unreadable]).all()
        assert np.allclose(found.probabilities[readable].sum(axis=1), 1)
        assert len(readable) == log.counts["read"], "threads read something else"
        return "answered together"

    for place, source in enumerate(sources):
        log.run(source.name, lambda place=place: look(place), inputs=(source,))  # type: ignore[misc]
    every = (folder / "inputs",)
    log.run("inspect", look_at_all, inputs=every, stage=limit * (1 + len(sources) / 10))
    log.run("predict", answer, inputs=every, stage=limit * (1 + len(sources) / 10))
    watch.stop()
    return log.report(at_first)


def bundles(folder: Path, limit: float) -> dict[str, Any]:
    """Load each bundle named in `folder/expected.json`; those that load answer two photos."""
    photos = sorted((folder / "photos").iterdir())
    compute = Compute(cache=False)
    expected = Predictor(_prepared(folder), compute).predict(photos).probabilities
    due = json.loads((folder / "expected.json").read_text())
    at_first = peak_memory()
    watch = Watch(own=(folder / "cache",))
    log = Log(watch, (RegraftError,), limit)

    def check(name: str) -> str:
        classifier = load_bundle(folder / "inputs" / name)
        assert due[name] != "refused", "a damaged bundle was loaded"
        answers = Predictor(classifier, compute).predict(photos).probabilities
        assert answers.shape == (len(photos), len(classifier.classes))
        assert np.isfinite(answers).all(), f"answers that are no numbers: {answers}"
        assert due[name] != "equal" or np.array_equal(answers, expected), f"other answers: {answers} {expected}"
        return "answered"

    for name in due:
        inputs = (folder / "inputs" / name, *photos)
        log.run(name, lambda name=name: check(name), inputs=inputs)  # type: ignore[misc]
    watch.stop()
    return log.report(at_first)


def configs(folder: Path, limit: float) -> dict[str, Any]:
    """Load the network in each folder of `folder/inputs`, and build it without weights."""
    _prepared(folder)
    found = sorted(path for path in (folder / "inputs").iterdir() if path.is_dir())
    build_untrained(f"local-dir:{folder / 'network'}")
    at_first = peak_memory()
    watch = Watch(own=(folder / "cache",))
    log = Log(watch, (RegraftError,), limit)

    def load(path: Path) -> str:
        load_backbone(f"local-dir:{path}")
        return "loaded"

    def build(path: Path) -> str:
        build_untrained(f"local-dir:{path}")
        return "built"

    for path in found:
        log.run(f"{path.name} load", lambda path=path: load(path), inputs=(path,))  # type: ignore[misc]
        log.run(f"{path.name} build", lambda path=path: build(path), inputs=(path,))  # type: ignore[misc]
    watch.stop()
    return log.report(at_first)


def _prepared(folder: Path) -> Classifier:
    """Return the sound classifier, after whatever is done once in a process: Python asks `uname` for the processor."""
    machine(torch.device("cpu"))
    classifier = load_bundle(folder / "base.safetensors")
    Predictor(classifier).predict(sorted((folder / "photos").iterdir()))
    return classifier
