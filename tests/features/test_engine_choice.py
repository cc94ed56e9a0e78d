"""Photos meet engines: which one runs them, that features are never mixed, and what is kept of converted networks."""

import hashlib
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.cache import cache_folder, clear, converted_size, describe, engines_folder, features_folder, keep_limit
from regraft.data.audit import inspect
from regraft.engines import openvino
from regraft.engines.compute import Compute
from regraft.engines.kinds import WORTH_CONVERTING
from regraft.engines.pytorch import TorchEngine
from regraft.engines.workload import CHECKED_PHOTOS
from regraft.errors import OptionError
from regraft.features.extraction import FeatureExtractor, Features, extract
from regraft.features.network_pass import check_photos
from regraft.images.decoding import decode
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone

Photos = Callable[..., Path]
OPENVINO = Compute(engine="openvino-float32")


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


@pytest.fixture
def ten(photos: Photos) -> list[Path]:
    return files(photos(red=5, blue=5))


@pytest.fixture
def run(backbone: Backbone, listener: Any) -> Callable[..., Features]:
    """Return a function that runs photos through `backbone` as `compute` says, with an engine chosen anew."""

    def extraction(sources: list[Path], compute: Compute) -> Features:
        return FeatureExtractor(backbone, compute, listener).extract(sources, inspect(tuple(sources)).keys)

    return extraction


Run = Callable[..., Features]


def weights_files() -> list[Path]:
    return sorted(engines_folder().rglob("*.bin"))


# --- which engine ---


def test_features_are_those_of_pytorch(run: Run, ten: list[Path]) -> None:
    expected = run(ten, Compute(engine="torch-float32", cache=False)).values
    for batch_size in (1, 3, 32):
        found = run(ten, replace(OPENVINO, cache=False, batch_size=batch_size))
        assert (found.engine, found.computed) == ("openvino-cpu-float32", 10)
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("photos_at_hand", [1, WORTH_CONVERTING - 1, WORTH_CONVERTING])
def test_pytorch_runs_a_few_photos(
    backbone: Backbone, ten: list[Path], listener: Any, photos_at_hand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "usable_precisions", lambda: ("float32",))
    sources = (ten * WORTH_CONVERTING)[:photos_at_hand]
    keys = inspect(tuple(sources)).keys
    engine = FeatureExtractor(backbone, Compute(device="cpu"), listener).choose(sources, keys)
    few = photos_at_hand < WORTH_CONVERTING
    assert engine.name == ("torch-cpu-float32" if few else "openvino-cpu-float32")
    assert bool(weights_files()) != few


def test_the_engine_is_named_in_progress(run: Run, ten: list[Path], listener: Any) -> None:
    run(ten, OPENVINO)
    (said,) = listener.said
    assert said.startswith("engine: openvino-cpu-float32 (cosine to torch-float32 on 10 photos: mean 1.0000")
    assert ("begin", ("features (openvino-cpu-float32)", 10)) in listener.heard


def test_an_engine_that_there_is_not(backbone: Backbone, ten: list[Path], listener: Any) -> None:
    with pytest.raises(OptionError, match=r"^engine must be one of auto, .* Got 'tourch'\."):
        FeatureExtractor(backbone, Compute(engine="tourch"), listener).choose(ten, inspect(tuple(ten)).keys)
    with pytest.raises(OptionError, match=r"^engine must be one of auto, .* Got 'tourch'\."):
        Compute(engine="tourch").check()


def drawn(sources: list[Path], backbone: Backbone, labels: list[int] | None = None) -> list[Path]:
    """Return which of `sources` engines are compared on, found by their pixels."""
    pixels = {decode(path, backbone.preprocess).tobytes(): path for path in sources}
    keys = inspect(tuple(sources)).keys
    check = check_photos(sources, keys, backbone.preprocess, None if labels is None else np.array(labels))
    return [pixels[image.tobytes()] for image in check.read()]


def by_key(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: hashlib.sha256(path.read_bytes()).digest())


def test_engines_are_compared_on_photos_of_every_class(backbone: Backbone, photos: Photos) -> None:
    """A class of 3 gives all it has; those of 40 and 30 as many each, the ones whose contents' hashes come first."""
    folder = photos(red=40, green=30, blue=3)
    sources = files(folder)
    labels = [["red", "green", "blue"].index(path.parent.name) for path in sources]
    of = {name: by_key(files(folder / name)) for name in ("red", "green", "blue")}
    found = drawn(sources, backbone, labels)
    assert len(found) == CHECKED_PHOTOS
    counts = {name: sum(path.parent.name == name for path in found) for name in of}
    assert counts["blue"] == 3
    assert sorted((counts["red"], counts["green"])) == [6, 7]
    for name, count in counts.items():
        assert [path for path in found if path.parent.name == name] == of[name][:count]


def test_more_classes_than_photos_that_are_compared(backbone: Backbone, photos: Photos) -> None:
    sources = files(photos(red=40))
    assert drawn(sources, backbone, list(range(40))) == by_key(sources)[:CHECKED_PHOTOS]  # one of each class


def test_the_photos_do_not_depend_on_order_names_and_copies(backbone: Backbone, photos: Photos, tmp_path: Path) -> None:
    sources = files(photos(red=20, blue=20))
    keys = inspect(tuple(sources)).keys
    expected = check_photos(sources, keys, backbone.preprocess).digest
    moved = [Path(shutil.copy(path, tmp_path / f"{40 - place}.jpg")) for place, path in enumerate(sources)]
    for other in (sources[::-1], moved, [*sources, *moved]):
        assert check_photos(other, inspect(tuple(other)).keys, backbone.preprocess).digest == expected
    fewer = sources[:30]
    assert check_photos(fewer, inspect(tuple(fewer)).keys, backbone.preprocess).digest != expected


def test_without_labels_they_are_drawn_by_content(backbone: Backbone, photos: Photos) -> None:
    sources = files(photos(red=20, blue=20))
    assert drawn(sources, backbone) == by_key(sources)[:CHECKED_PHOTOS]


def test_photos_that_turn_out_damaged_are_passed_over(backbone: Backbone, photos: Photos) -> None:
    sources = files(photos(red=20, blue=20))
    for path in by_key(sources)[:5]:
        path.write_bytes(path.read_bytes()[:600])  # its header is sound
    sound = [path for path in sources if path.stat().st_size > 600]
    keys = inspect(tuple(sources)).keys
    found = check_photos(sources, keys, backbone.preprocess).read()
    assert len(found) == CHECKED_PHOTOS
    pixels = {decode(path, backbone.preprocess).tobytes() for path in sound}
    assert {image.tobytes() for image in found} <= pixels


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_may_be_few_of_them_or_none(backbone: Backbone, ten: list[Path], count: int) -> None:
    shape, few = (32, 32, 3), ten[:count]
    keys = inspect(tuple(few)).keys
    assert check_photos(few, keys, backbone.preprocess).read().shape == (count, *shape)
    for path in few:
        path.write_text("no image")
    for known in (keys, inspect(tuple(few)).keys):  # it was sound when it was looked at, or was not
        assert check_photos(few, known, backbone.preprocess).read().shape == (0, *shape)


@pytest.mark.parametrize("first", ["dark", "bright"])
def test_the_same_command_gives_the_same_engine_whatever_ran_before(
    tiny_network: str, photos: Photos, listener: Any, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """An engine that is wrong on dark photos alone: photos that came first must not decide for the others."""
    dark, bright = files(photos("dark", blue=WORTH_CONVERTING)), files(photos("bright", 9999, red=WORTH_CONVERTING))
    reference = TorchEngine.features

    class WrongOnBlue(TorchEngine):
        def __init__(self, model: Any, preprocess: Any, precision: str, width: int | None) -> None:
            super().__init__(load_backbone(tiny_network), torch.device("cpu"))
            self.name = f"openvino-cpu-{precision}"

        def features(self, pixels: np.ndarray) -> np.ndarray:
            found = reference(self, pixels)
            return -found if pixels[..., 2].mean() > pixels[..., 0].mean() else found

    monkeypatch.setattr(openvino, "OpenVinoEngine", WrongOnBlue)
    monkeypatch.setattr(openvino, "usable_precisions", lambda: ("float32",))
    backbone, sets = load_backbone(tiny_network), {"dark": dark, "bright": bright}
    for name in (first, "bright", "dark", "bright"):
        extractor = FeatureExtractor(backbone, Compute(device="cpu"), listener)
        engine = extractor.choose(sets[name], inspect(tuple(sets[name])).keys)
        assert engine.name == {"dark": "torch-cpu-float32", "bright": "openvino-cpu-float32"}[name]


# --- the cache ---


def test_features_of_one_engine_are_never_anothers(run: Run, ten: list[Path]) -> None:
    engines = ["torch-float32", "torch-bfloat16"]
    engines += [f"openvino-{precision}" for precision in openvino.usable_precisions()]
    first = {engine: run(ten, Compute(engine=engine)) for engine in engines}
    assert [found.computed for found in first.values()] == [10] * len(engines)
    for engine in engines:
        again = run(ten, Compute(engine=engine))
        assert again.computed == 0
        assert np.array_equal(again.values, first[engine].values)
    assert len({found.values.tobytes() for found in first.values()}) == len(engines)
    named = sorted(str(info.about["engine"]) for info in describe())
    assert named == sorted(engine.replace("-", "-cpu-") for engine in engines)


@pytest.mark.parametrize("engine", ["auto", "openvino-float32", "torch-bfloat16"])
def test_without_cache_nothing_is_left_on_disk(run: Run, ten: list[Path], engine: str) -> None:
    assert run(ten, Compute(engine=engine, cache=False)).computed == 10
    assert not cache_folder().exists()


def test_a_cache_that_cannot_be_written(
    run: Run, ten: list[Path], listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(ten, replace(OPENVINO, cache=False)).values
    listener.heard.clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    found = run(ten, OPENVINO)
    assert np.array_equal(found.values, expected)
    starts = [said.partition(":")[0] for said in listener.said]
    assert starts == ["the converted network is not kept", "engine", "the cache is not used any further"]


def test_the_limit_counts_converted_networks(run: Run, ten: list[Path]) -> None:
    run(ten, OPENVINO)
    (weights,), (shard,) = weights_files(), list(features_folder().rglob("*.safetensors"))
    size = weights.stat().st_size
    os.utime(weights, (1000, 1000))  # used longest ago
    assert keep_limit(size + shard.stat().st_size) == 0
    assert keep_limit(size + shard.stat().st_size - 1) == size
    assert (weights.exists(), shard.exists()) == (False, True)


@pytest.mark.slow
def test_the_converted_network_used_longest_ago_goes_first(
    run: Run, ten: list[Path], other_network: str, listener: Any
) -> None:
    run(ten, OPENVINO)
    (first,) = weights_files()
    other = load_backbone(other_network)
    FeatureExtractor(other, OPENVINO, listener).choose(ten, inspect(tuple(ten)).keys)
    (second,) = set(weights_files()) - {first}
    for place, path in enumerate((first, second)):
        os.utime(path, (1000 + place, 1000 + place))
    for shard in features_folder().rglob("*.safetensors"):
        shard.unlink()
    run(ten, OPENVINO)  # the first is used again
    features = sum(path.stat().st_size for path in features_folder().rglob("*.safetensors"))
    keep_limit(first.stat().st_size + features)
    assert (first.exists(), second.exists()) == (True, False)


@pytest.mark.slow
def test_a_network_that_was_dropped_is_converted_again(
    run: Run, ten: list[Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(ten, OPENVINO)
    keep_limit(0)
    assert weights_files() == []
    listener.heard.clear()
    again = run(ten, OPENVINO)
    assert again.computed == 10
    assert np.array_equal(again.values, first.values)
    assert len(weights_files()) == 1
    assert listener.said == []  # it was right before
    monkeypatch.setattr(openvino, "convert", lambda *_: pytest.fail("it is there"))
    clear_features()
    assert run(ten, OPENVINO).computed == 10


def test_what_is_in_the_cache_needs_no_network(run: Run, ten: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run(ten, OPENVINO)
    monkeypatch.setattr(openvino, "load", lambda *_: pytest.fail("it was loaded"))
    monkeypatch.setattr(openvino, "convert", lambda *_: pytest.fail("it was converted"))
    assert run(ten, OPENVINO).computed == 0


@pytest.mark.slow
def test_clear_takes_converted_networks_and_verdicts_too(run: Run, ten: list[Path]) -> None:
    run(ten, OPENVINO)
    everything = sum(path.stat().st_size for path in cache_folder().rglob("*") if path.is_file())
    of_engines = sum(path.stat().st_size for path in engines_folder().rglob("*") if path.is_file())
    assert converted_size() == of_engines > 0
    assert clear() == everything
    assert converted_size() == 0
    assert [path for path in cache_folder().rglob("*") if path.is_file()] == []
    assert run(ten, OPENVINO).computed == 10


def clear_features() -> None:
    for shard in features_folder().rglob("*.safetensors"):
        shard.unlink()


# --- threads and processes ---


@pytest.mark.parametrize("error", [RuntimeError("the engine broke"), KeyboardInterrupt()])
def test_a_pass_that_fails_ends_the_threads_that_decode(
    backbone: Backbone, engine: TorchEngine, photos: Photos, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    sources = files(photos(red=20, blue=20))
    keys = inspect(tuple(sources)).keys
    before = set(threading.enumerate())

    def broken(_: np.ndarray) -> np.ndarray:
        assert set(threading.enumerate()) - before  # they are at work
        raise error

    monkeypatch.setattr(engine, "features", broken)
    with pytest.raises(type(error)) as caught:
        extract(sources, keys, backbone, engine, batch_size=4)
    assert caught.value is error  # held, with all that its traceback holds
    assert set(threading.enumerate()) <= before


def extract_alone(network: str, folder: Path, answer: Any) -> None:
    backbone, sources = load_backbone(network), files(folder)
    found = []
    for compute in (Compute(), OPENVINO):
        keys = inspect(tuple(sources)).keys
        engine = FeatureExtractor(backbone, compute).choose(sources, keys)
        found.append(extract(sources, keys, backbone, engine).values)  # none from the cache
    answer.put(found)


@pytest.mark.slow
def test_a_spawned_process_gives_the_same(run: Run, ten: list[Path], tiny_network: str) -> None:
    """This process has made engines and threads of its own before."""
    expected = [run(ten, compute).values for compute in (Compute(), OPENVINO)]
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=extract_alone, args=(tiny_network, ten[0].parents[1], answer))
    process.start()
    found = answer.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())
