"""The family of damaged caches and unfinished runs: whatever lies there, answers are those of no cache at all."""

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.hostile.generate import FILES, Damage, caches
from tests.hostile.watching import Log, Watch, peak_memory

from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import TrainingError
from regraft.evaluation import figures
from regraft.evaluation.intervals import bootstrap
from regraft.heads import probe
from regraft.heads.search import select_heads
from regraft.networks.backbones import load_backbone
from regraft.training.finetuner import Finetuner
from regraft.training.schedule import Schedule
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

ENGINE = "openvino-float32"  # named, so that it is converted and checked for few photos too
TRAINED = ("views", "checkpoint", "arguments")  # kinds of files that training reads
RUN = "m.unfinished"


class Bench:
    """A cache and a run that was killed, which can be put back as they were, and what should come of them.

    Args:
        folder: holds base.safetensors, other.safetensors, photos and classes; "kept" and "work" come to be in it.
    """

    def __init__(self, folder: Path) -> None:
        self.kept, self.work = folder / "kept", folder / "work"
        os.environ["REGRAFT_CACHE"] = str(self.work / "cache")
        self._photos = sorted((folder / "photos").iterdir())
        self._classes = find_samples(folder / "classes")
        self._network = f"local-dir:{folder / 'network'}"
        self._classifier = load_bundle(folder / "base.safetensors")
        other = load_bundle(folder / "other.safetensors")
        for one in (
            self._classifier,
            other,
        ):  # as of an older regraft: they are converted
            one.backbone.graph = None
        self.work.mkdir()
        self.plain = self.answers(cache=False)
        half = len(self._photos) // 2
        for classifier in (self._classifier, other):
            for photos in (self._photos[:half], self._photos):  # two shards, which together answer for all
                self.answers(classifier=classifier, photos=photos)
        self._begin_training()
        shutil.copytree(self.work, self.kept)
        self.cached = self.answers()
        self.trained = self.training(folder="whole.unfinished")  # undisturbed

    def answers(
        self, *, cache: bool = True, classifier: Classifier | None = None, photos: list[Path] | None = None
    ) -> np.ndarray:
        """Return (n, c) probabilities of the photos."""
        compute = Compute(engine=ENGINE, cache=cache)
        return Predictor(classifier or self._classifier, compute).predict(photos or self._photos).probabilities

    def training(self, folder: str = RUN) -> dict[str, bytes]:
        """Train, or go on with what lies in `folder`; return all weights."""
        schedule = Schedule(epochs=1, views=2, batch_size=8)
        result = fit(
            self._classes,
            lambda: load_backbone(self._network),
            model="net",
            settings=FitSettings(strategy="top", force=True, schedule=schedule),
            folder=self.work / folder,
        )
        tensors = result.classifier.backbone.module.state_dict()
        head = {"head": result.classifier.head.weight.tobytes(), "bias": result.classifier.head.bias.tobytes()}
        return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()} | head

    def restore(self) -> None:
        """Put cache and run back as they were kept."""
        shutil.rmtree(self.work)
        shutil.copytree(self.kept, self.work)

    def _begin_training(self) -> None:
        """Have a training killed after a part of it is done."""
        begun, started = Finetuner.train, []

        def breaks(tuner: Finetuner) -> Any:
            started.append(tuner)
            if len(started) == 5:
                raise TrainingError("the power is gone")
            return begun(tuner)

        Finetuner.train = breaks  # type: ignore[method-assign]
        try:
            self.training()
            raise AssertionError("it was to be killed")
        except TrainingError:
            pass
        finally:
            Finetuner.train = begun  # type: ignore[method-assign]


def damages_of(bench: Bench, counts: dict[str, int]) -> list[Damage]:
    """Return so many damages to each kind of file that answers, and that training, depend on."""
    kinds = [kind for kind in FILES if kind not in TRAINED]
    return caches(bench.kept, counts["answers"], 0, kinds) + caches(bench.kept, counts["training"], 1, TRAINED)


def damaged_caches(folder: Path, limit: float) -> dict[str, Any]:
    """Damage one file at a time, and answer or train as if nothing were.

    Where photos are answered, those of a damaged shard go through the network together as they did at first, and so
    their answers are equal to the last digit, as are weights. To answers without a cache, where other photos go
    together, the relative difference is below 1e-6.
    """
    _hurry()
    bench = Bench(folder)
    assert np.allclose(bench.cached, bench.plain, rtol=1e-6, atol=0), np.abs(bench.cached - bench.plain).max()
    damages = damages_of(bench, json.loads((folder / "counts.json").read_text()))
    at_first = peak_memory()
    watch = Watch(own=(bench.work,))
    log = Log(watch, (), limit)

    def check(damage: Damage) -> str:
        if damage.kind in TRAINED:
            assert bench.training() == bench.trained, "other weights"
            return f"trained, {damage.kind}"
        expected = bench.cached
        if damage.kind not in ("features", "about"):  # the network is asked for only where features are missing
            shutil.rmtree(bench.work / "cache" / "features")
            expected = bench.plain
        found = bench.answers()
        assert np.array_equal(found, expected), f"answers differ by up to {np.abs(found - expected).max()}"
        return f"answered, {damage.kind}"

    every = tuple(folder / name for name in ("photos", "classes", "network"))
    for damage in damages:
        with watch.paused():
            bench.restore()
            damage.apply(bench.work)
        log.run(str(damage), functools.partial(check, damage), inputs=every)
    watch.stop()
    return log.report(at_first)


def _hurry() -> None:
    """Draw few bootstrap samples and try few penalties: neither is looked at, and both take long."""
    figures.bootstrap = _few_draws  # type: ignore[attr-defined]
    probe.select_heads = functools.partial(select_heads, strengths=(1.0, 0.1))  # type: ignore[assignment]
    torch.set_num_threads(1)  # nor that threads wait for each other over so small a network


def _few_draws(*given: Any, **named: Any) -> Any:
    return bootstrap(*given, **{**named, "resamples": 20})
