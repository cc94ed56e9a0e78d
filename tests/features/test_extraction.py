"""Features: equal to the network's own, computed once for each photo, and kept whatever interrupts the pass."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regraft import watchdog
from regraft.cache import describe, features_folder
from regraft.data.audit import inspect
from regraft.data.dataset import Dataset, UnreadablePhoto, open_datasets
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.engines.kinds import WORTH_CONVERTING
from regraft.engines.pytorch import TorchEngine
from regraft.engines.workload import EngineChoice, Workload
from regraft.errors import DataError, OutputError, WeightsError
from regraft.features import extraction as features
from regraft.features import shards
from regraft.features.extraction import FeatureExtractor, Features, extract
from regraft.features.joint import JointExtractor
from regraft.features.network_pass import check_photos
from regraft.features.store import FeatureStore
from regraft.images.decoding import READING, decode
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.runtime import CPU

Photos = Callable[..., Path]
PLENTY = 10**9  # bytes of cache: more than any test fills


class Pass:
    """One network and how often photos go through it."""

    def __init__(self, backbone: Backbone, engine: TorchEngine) -> None:
        self.backbone, self.engine = backbone, engine

    def __call__(self, sources: list[Path], *, limit: int | None = PLENTY, **options: Any) -> Features:
        keys = inspect(tuple(sources)).keys
        return extract(sources, keys, self.backbone, self.engine, cache_limit=limit, **options)


@pytest.fixture
def run(backbone: Backbone, engine: TorchEngine) -> Pass:
    return Pass(backbone, engine)


@pytest.fixture
def ten(photos: Photos) -> list[Path]:
    return files(photos(red=5, blue=5))


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def cut_off(path: Path) -> Path:
    """Leave the header and some of the pixels."""
    path.write_bytes(path.read_bytes()[:700])
    return path


def no_pixels(*_: object, **__: object) -> None:
    raise AssertionError("a pixel was decoded")


def stop_at(engine: TorchEngine, batch: int, error: BaseException) -> Callable[[np.ndarray], np.ndarray]:
    """Return the engine's features, which raise at their `batch`-th call."""
    genuine, calls = engine.features, []

    def features_of(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if len(calls) == batch:
            raise error
        return genuine(pixels)

    return features_of


# --- the right numbers ---


@pytest.mark.parametrize("batch_size", [1, 3, 10, 32])
def test_features_are_the_networks_whatever_the_batch(run: Pass, ten: list[Path], batch_size: int) -> None:
    expected = []
    for path in ten:
        pixels = decode(path, run.backbone.preprocess)
        expected.append(run.engine.features(pixels[None].copy())[0])
    result = run(ten, batch_size=batch_size, limit=None)
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[-1]).max() > 0.01 * scale  # the photos can be told apart
    np.testing.assert_allclose(result.values, expected, rtol=0, atol=1e-5 * scale)
    assert (result.values.dtype, result.computed, result.unreadable) == (np.float32, 10, {})
    assert result.seconds > 0


def test_cached_features_are_bit_for_bit_the_computed_ones(run: Pass, ten: list[Path]) -> None:
    first = run(ten, batch_size=4)
    second = run(ten[::-1], batch_size=4)
    assert (first.computed, second.computed) == (10, 0)
    assert first.values.any(axis=1).all()
    assert np.array_equal(second.values[::-1], first.values)


def test_no_photos(run: Pass) -> None:
    result = run([])
    assert (result.values.shape, result.computed, result.unreadable) == ((0, run.backbone.features), 0, {})


# --- never twice ---


def test_second_pass_decodes_no_pixel(run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run(ten)
    monkeypatch.setattr("regraft.images.loading.decode", no_pixels)
    assert run(ten).computed == 0
    with pytest.raises(AssertionError, match="a pixel was decoded"):
        run(ten, limit=None)


def test_new_photos_cost_only_themselves(run: Pass, ten: list[Path]) -> None:
    part = run(ten[2:9])
    whole = run(ten)
    assert (part.computed, whole.computed) == (7, 3)
    assert np.array_equal(whole.values[2:9], part.values)
    fresh = run(ten, limit=None).values
    np.testing.assert_allclose(whole.values, fresh, rtol=0, atol=1e-5 * np.abs(fresh).max())


def test_renamed_photo_is_known_and_changed_one_is_not(run: Pass, ten: list[Path]) -> None:
    run(ten)
    moved = ten[0].rename(ten[0].with_name("moved.jpg"))
    shutil.copy(ten[9], ten[1])  # another photo under an old name: known too
    Image.new("RGB", (40, 40)).save(ten[2])
    assert run([moved, ten[1], *ten[3:]]).computed == 0
    assert run([ten[2]]).computed == 1


@pytest.mark.parametrize("limit", [PLENTY, None])
def test_equal_photos_are_computed_once(run: Pass, ten: list[Path], tmp_path: Path, limit: int | None) -> None:
    copies = [Path(shutil.copy(ten[i], tmp_path / f"copy{i}.jpg")) for i in (0, 3)]
    result = run([copies[1], *ten[:4], *copies], limit=limit)  # 3 0 1 2 3 0 3
    assert result.computed == 4
    assert np.array_equal(result.values[[0, 5, 6]], result.values[[4, 1, 4]])
    assert len({row.tobytes() for row in result.values}) == 4


def test_other_weights_share_nothing(run: Pass, ten: list[Path], tiny_network: str) -> None:
    run(ten)
    other = load_backbone(tiny_network)
    with torch.no_grad():
        next(other.module.parameters()).view(-1)[0] += 1.0  # one weight
    assert Pass(other, TorchEngine(other, torch.device("cpu")))(ten).computed == 10
    same = load_backbone(tiny_network)
    assert Pass(same, TorchEngine(same, torch.device("cpu")))(ten).computed == 0


@pytest.mark.parametrize(
    "change", [{"crop_pct": 0.9}, {"interpolation": "bilinear"}, {"mean": (0.5, 0.5, 0.4)}, {"height": 36, "width": 36}]
)
def test_other_preprocessing_shares_nothing(
    run: Pass, ten: list[Path], tiny_network: str, change: dict[str, Any]
) -> None:
    first = run(ten)
    other = load_backbone(tiny_network)
    other.preprocess = replace(other.preprocess, **change)
    second = Pass(other, TorchEngine(other, torch.device("cpu")))(ten)
    assert second.computed == 10
    assert not np.array_equal(second.values, first.values)


def test_other_engine_shares_nothing(run: Pass, ten: list[Path]) -> None:
    run(ten)
    run.engine.name = "torch-cuda-float32"
    assert run(ten).computed == 10


def test_without_cache_nothing_is_written_or_read(run: Pass, ten: list[Path]) -> None:
    assert run(ten, limit=None).computed == 10
    assert not features_folder().exists()
    run(ten)
    assert run(ten, limit=None).computed == 10


def test_cache_says_what_it_holds(run: Pass, ten: list[Path]) -> None:
    run(ten)
    (info,) = describe()
    assert info.vectors == 10
    assert info.about == {
        "architecture": "test_efficientnet",
        "weights": run.backbone.fingerprint(),
        "preprocess": run.backbone.preprocess.to_json(),
        "cut": "pooled",
        "engine": "torch-cpu-float32",
        "reading": READING,
        "resizer": "pillow",  # of few photos
        "format": 2,
    }


def test_few_photos_and_many_are_kept_apart(run: Pass, ten: list[Path]) -> None:
    """They are resized otherwise. 128 photos are many, though most of them are the same."""
    run(ten)
    assert run([*ten, *ten[:1] * 118]).computed == 10
    assert [info.vectors for info in describe()] == [10, 10]
    assert [info.about.get("resizer") for info in sorted(describe(), key=lambda info: len(info.about))] == [
        None,
        "pillow",
    ]


def test_cache_keeps_its_limit(run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "much")  # the limit is passed, not read here
    run(ten[:2])
    (small,) = features_folder().rglob("*.safetensors")
    os.utime(small, (0, 0))
    limit = 9 * (1024 + 32)  # 8 vectors of 256 float32 and keys, but not 10
    run(ten[2:], limit=limit)
    assert not small.exists()
    assert run(ten[2:], limit=limit).computed == 0
    assert run(ten[:2], limit=limit).computed == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_cache_keeps_its_limit_in_a_pass_that_does_not_end(
    run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    sizes: list[int] = []
    genuine = run.engine.features

    def watched(pixels: np.ndarray) -> np.ndarray:
        sizes.append(sum(path.stat().st_size for path in features_folder().rglob("*.safetensors")))
        if len(sizes) == 5:
            raise error
        return genuine(pixels)

    limit = 5 * (1024 + 32)  # 4 vectors of 256 float32 and keys, but not 6
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 2)
    monkeypatch.setattr(run.engine, "features", watched)
    with pytest.raises(type(error)):
        run(ten, batch_size=2, limit=limit)
    assert 0 < max(sizes) <= limit
    assert sizes[2:] == [sizes[2]] * 3  # full after the second shard; each further one takes the place of one


# --- interrupted ---


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_what_was_computed_before_an_error_is_kept(
    run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(run.engine, "features", stop_at(run.engine, 3, error))
        with pytest.raises(type(error)):
            run(ten, batch_size=3)
    result = run(ten, batch_size=3)
    assert result.computed == 4  # 10 less two batches of three
    np.testing.assert_allclose(result.values, run(ten, limit=None).values, rtol=0, atol=1e-4)


def test_shards_are_written_as_the_pass_goes_on(run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = FeatureStore.write

    def counted(self: FeatureStore, keys: list[bytes], vectors: np.ndarray) -> None:
        written.append(len(keys))
        write(self, keys, vectors)

    monkeypatch.setattr(FeatureStore, "write", counted)
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 4)
    run(ten[:9], batch_size=2)
    assert written == [4, 4, 1]
    written.clear()
    monkeypatch.setattr(shards, "_SECONDS_PER_SHARD", -1.0)  # each batch is late
    shutil.rmtree(features_folder())
    run(ten, batch_size=3)
    assert written == [3, 3, 3, 1]


KILLED = """
import sys, time
from pathlib import Path
from regraft import watchdog
from regraft.data.audit import inspect
from regraft.features import extraction as features, shards
from regraft.networks.backbones import load_backbone
from regraft.engines.pytorch import TorchEngine, torch

shards._IMAGES_PER_SHARD = 4
backbone = load_backbone(sys.argv[1])
engine = TorchEngine(backbone, torch.device("cpu"))
fast, calls = engine.features, []

def slow(pixels):
    calls.append(len(pixels))
    if len(calls) == 4:
        print("fourth", flush=True)
        time.sleep(60)
    return fast(pixels)

engine.features = slow
sources = sorted(Path(sys.argv[2]).rglob("*.jpg"))
features.extract(sources, inspect(tuple(sources)).keys, backbone, engine, cache_limit=10**9, batch_size=2)
"""


@pytest.mark.slow
def test_killed_process_loses_at_most_one_shard(run: Pass, ten: list[Path], tiny_network: str) -> None:
    folder = str(ten[0].parents[1])
    with subprocess.Popen([sys.executable, "-c", KILLED, tiny_network, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"fourth\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert sum(info.vectors for info in describe()) == 4  # six were computed: one shard of four, two in memory
    assert run(ten).computed == 6


def test_full_disk_costs_the_cache_alone(
    run: Pass, ten: list[Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(ten, limit=None, batch_size=2).values
    attempts: list[int] = []

    def full(self: FeatureStore, keys: list[bytes], vectors: np.ndarray) -> None:
        attempts.append(len(keys))
        raise OutputError("the disk is full")

    monkeypatch.setattr(FeatureStore, "write", full)
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 4)
    result = run(ten, batch_size=2, observer=listener)
    assert np.array_equal(result.values, expected)
    assert result.computed == 10
    assert listener.said == ["the cache is not used any further: the disk is full"]
    assert attempts == [4]  # it is not tried again


# --- what is wrong with photos or weights ---


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_the_photo(
    run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    genuine, seen = run.engine.features, []

    def broken(pixels: np.ndarray) -> np.ndarray:
        vectors = genuine(pixels)
        seen.append(len(pixels))
        if len(seen) == 2:  # the second batch of four: photos 4 to 7
            vectors[2, 5] = vectors[3, 0] = value
        return vectors

    with monkeypatch.context() as patched:
        patched.setattr(run.engine, "features", broken)
        with pytest.raises(WeightsError) as caught:
            run(ten, batch_size=4)
    assert str(caught.value) == (
        f"the network gives values that are not finite (NaN or infinite), first for {ten[6]}. "
        "Its weights are damaged or do not belong to it; use others."
    )
    assert run(ten).computed == 6  # of that batch nothing was kept, of the first all


def test_not_finite_is_named_rightly_beside_unreadable_and_cached(
    run: Pass, ten: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ten[:3])
    cut_off(ten[3])
    monkeypatch.setattr(run.engine, "features", lambda pixels: np.full((len(pixels), 256), np.nan, np.float32))
    with pytest.raises(WeightsError) as caught:
        run(ten)
    assert f"first for {ten[4]}." in str(caught.value)


def test_unreadable_photos_have_reasons_and_zeros(run: Pass, ten: list[Path]) -> None:
    whole = run(ten, limit=None, batch_size=2).values
    cut_off(ten[3])
    cut_off(ten[8])
    result = run(ten, batch_size=2)
    assert result.unreadable == dict.fromkeys((3, 8), "the file is cut off (truncated)")
    assert result.computed == 8
    assert not result.values[[3, 8]].any()
    others = [0, 1, 2, 4, 5, 6, 7, 9]
    np.testing.assert_allclose(result.values[others], whole[others], rtol=0, atol=1e-5 * np.abs(whole).max())


def test_unreadable_photos_are_named_again_from_a_full_cache(run: Pass, ten: list[Path]) -> None:
    cut_off(ten[3])
    copy = Path(shutil.copy(ten[3], ten[3].with_name("copy.jpg")))
    run(ten)
    result = run([*ten, copy])
    assert (result.computed, set(result.unreadable)) == (0, {3, 10})  # every copy has its reason


def test_all_unreadable(run: Pass, ten: list[Path]) -> None:
    result = run([cut_off(path) for path in ten[:3]])
    assert (result.computed, set(result.unreadable)) == (0, {0, 1, 2})
    assert not features_folder().exists()


def test_photos_without_a_key_are_passed_over(run: Pass, ten: list[Path], listener: Any) -> None:
    ten[4].write_bytes(b"no image")
    ten[5].unlink()
    result = run(ten, observer=listener)
    assert (result.computed, result.unreadable) == (8, {})  # the inspection has the reasons
    assert not result.values[[4, 5]].any()
    assert ("begin", ("features (torch-cpu-float32)", 8)) in listener.heard


# --- the observer ---


def test_observer_hears_every_photo_once(run: Pass, ten: list[Path], listener: Any) -> None:
    cut_off(ten[2])
    run(ten[5:7])
    run([*ten, ten[0]], batch_size=3, observer=listener)
    # 10 different photos, 2 of them in the cache; 1 of the other 8 unreadable, which is done all the same
    assert listener.heard == [
        ("begin", ("features (torch-cpu-float32)", 8)),
        ("advance", 3),
        ("advance", 3),
        ("advance", 2),
        ("end", None),
    ]


def test_observer_hears_nothing_where_all_is_cached(run: Pass, ten: list[Path], listener: Any) -> None:
    run(ten)
    run(ten, observer=listener)
    assert listener.heard == []


def test_observer_hears_the_end_of_a_pass_that_failed(
    run: Pass, ten: list[Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.engine, "features", stop_at(run.engine, 2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(ten, batch_size=4, observer=listener)
    assert listener.heard == [("begin", ("features (torch-cpu-float32)", 10)), ("advance", 4), ("end", None)]


def test_a_pass_that_stops_says_so(
    backbone: Backbone, engine: TorchEngine, photos: Callable[..., Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sorted(photos(red=4).rglob("*.jpg"))
    features = engine.features

    def stuck(pixels: np.ndarray) -> np.ndarray:
        time.sleep(0.8)
        return features(pixels)

    monkeypatch.setattr(watchdog, "PATIENCE", 0.2)
    monkeypatch.setattr(engine, "features", stuck)
    extract(sources, inspect(tuple(sources)).keys, backbone, engine, cache_limit=PLENTY, observer=listener)
    told = [text for text in listener.said if "nothing has been done" in text]
    assert [text.partition(":")[0] for text in told] == ["features (torch-cpu-float32)"]
    assert listener.said[-1] == "features (torch-cpu-float32): going on"


def test_features_of_some_photos() -> None:
    whole = Features(np.arange(8, dtype=np.float32).reshape(4, 2), "an engine", {1: "damaged"}, 3, 1.5)
    for positions in (np.array([0, 3]), np.array([True, False, False, True])):
        part = whole.select(positions)
        assert part.values.tolist() == [[0, 1], [6, 7]]
        assert (part.engine, part.unreadable, part.computed, part.seconds) == ("an engine", {}, 3, 1.5)


# --- the extractor ---

REFERENCE = Compute(device="cpu", engine="torch-float32")
Key = Callable[[object], bytes]


def opened(folder: Path) -> Dataset:
    (dataset,) = open_datasets([find_samples(folder)["train"]], Observer())
    return dataset


@pytest.fixture
def workloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Workload, str]]:
    """Return what engines are chosen for, which fills as they are: each time a new one of PyTorch."""
    chosen: list[tuple[Workload, str]] = []

    def choose(workload: Workload, wanted: str) -> Engine:
        chosen.append((workload, wanted))
        return TorchEngine(workload.backbone, torch.device(str(workload.device)))

    monkeypatch.setattr(features, "choose_engine", choose)
    return chosen


def test_the_extractor_gives_the_features_of_its_engine(run: Pass, ten: list[Path]) -> None:
    expected = run(ten, limit=None, batch_size=4)
    found = FeatureExtractor(run.backbone, replace(REFERENCE, batch_size=4)).extract(ten, inspect(tuple(ten)).keys)
    assert np.array_equal(found.values, expected.values)
    assert (found.engine, found.computed, found.unreadable) == ("torch-cpu-float32", 10, {})


def test_one_engine_is_kept(
    backbone: Backbone, ten: list[Path], workloads: list[tuple[Workload, str]], listener: Any
) -> None:
    keys, earlier = inspect(tuple(ten)).keys, EngineChoice("torch-float32", "a machine")
    extractor = FeatureExtractor(backbone, REFERENCE, listener, earlier=earlier)
    engine = extractor.choose(ten, keys)
    assert extractor.choose(ten[:3], keys[:3]) is engine
    extractor.extract(ten[3:], keys[3:])
    ((workload, wanted),) = workloads
    assert (workload.backbone, workload.device, workload.photos) == (backbone, CPU, 10)
    assert (workload.keep, workload.earlier, wanted) == (True, earlier, "torch-float32")
    assert workload.check.digest == check_photos(ten, keys, backbone.preprocess).digest
    workload.say("a finding")
    assert listener.said == ["a finding"]
    FeatureExtractor(backbone, replace(REFERENCE, cache=False)).choose(ten, keys)
    assert not workloads[1][0].keep


def test_an_engine_is_chosen_anew_when_many_photos_follow_few(
    backbone: Backbone, workloads: list[tuple[Workload, str]], key: Key
) -> None:
    """It is worth converting the network for them. What cannot be read does not count."""
    many = WORTH_CONVERTING
    keys = [key(number) for number in range(many)]
    sources = [Path(f"{number}.jpg") for number in range(many + 9)]
    extractor = FeatureExtractor(backbone, replace(REFERENCE, engine="auto"))
    few = extractor.choose(sources[: many - 1], keys[:-1])
    assert extractor.choose(sources[: many + 8], [*keys[:-1], *[b""] * 9]) is few
    assert extractor.choose(sources[:2], keys[:2]) is few
    fast = extractor.choose(sources[:many], keys)
    assert fast is not few
    assert extractor.choose(sources[:many], keys) is fast
    assert extractor.choose(sources[:2], keys[:2]) is fast
    assert [workload.photos for workload, _ in workloads] == [many - 1, many]
    named = FeatureExtractor(backbone, REFERENCE)
    assert named.choose(sources[:2], keys[:2]) is named.choose(sources[:many], keys)  # whatever many would say


def test_engines_are_compared_by_class_where_labels_are_known(
    backbone: Backbone, photos: Photos, workloads: list[tuple[Workload, str]]
) -> None:
    dataset = opened(photos(red=30, blue=2))
    by_class, whatever = (
        check_photos(dataset.samples.sources, dataset.keys, backbone.preprocess, labels).digest
        for labels in (dataset.labels, None)
    )
    for labelled in (True, False):
        JointExtractor([backbone], REFERENCE).of_dataset(dataset, labelled=labelled)
    assert [workload.check.digest for workload, _ in workloads] == [by_class, whatever]
    assert by_class != whatever


def test_the_cache_is_as_large_as_it_was_set(
    backbone: Backbone, ten: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = inspect(tuple(ten)).keys
    without = FeatureExtractor(backbone, replace(REFERENCE, cache=False))
    assert [without.extract(ten, keys).computed for _ in range(2)] == [10, 10]
    assert not features_folder().exists()
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 2)
    limit = 5 * (1024 + 32)  # 4 vectors of 256 float32 and keys, but not 6
    FeatureExtractor(backbone, replace(REFERENCE, cache_limit=limit, batch_size=2)).extract(ten, keys)
    assert sum(info.vectors for info in describe()) == 4
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", str(limit))  # where the setting is left out
    shutil.rmtree(features_folder())
    FeatureExtractor(backbone, replace(REFERENCE, batch_size=2)).extract(ten, keys)
    assert sum(info.vectors for info in describe()) == 4


def test_all_that_can_be_read_is_kept_as_it_is(backbone: Backbone, photos: Photos, listener: Any) -> None:
    dataset = opened(photos(red=5, blue=5))
    readable, found = JointExtractor([backbone], REFERENCE, listener).of_dataset(dataset)
    assert readable is dataset
    assert found.values.shape == (10, backbone.features)
    assert listener.said == []


def test_all_that_cannot_be_read_is_named_at_once_in_the_order_it_was_found(
    backbone: Backbone, photos: Photos, listener: Any
) -> None:
    """Headers reveal some of it when the data set is opened, pixels the rest."""
    folder = photos(blue=15, red=15)
    files = find_samples(folder)["train"].sources
    whole = JointExtractor([backbone], REFERENCE).of_dataset(opened(folder))[1].values
    cut_off(Path(str(files[2])))
    Path(str(files[7])).write_bytes(b"no image")
    cut_off(Path(str(files[28])))
    dataset = opened(folder)
    readable, found = JointExtractor([backbone], REFERENCE, listener).of_dataset(dataset)
    cut, header = "the file is cut off (truncated)", "not an image, or damaged at its start"
    assert listener.said == [
        "3 of 30 images cannot be read and are left out:\n"
        f"  {files[2]}: {cut}\n  {files[7]}: {header}\n  {files[28]}: {cut}"
    ]
    assert readable.unreadable == (
        UnreadablePhoto(2, str(files[2]), cut),
        UnreadablePhoto(7, str(files[7]), header),
        UnreadablePhoto(28, str(files[28]), cut),
    )
    left = [place for place in range(30) if place not in (2, 7, 28)]
    assert readable.positions.tolist() == left
    assert readable.samples.sources == tuple(files[place] for place in left)
    assert np.array_equal(found.values, whole[left])
    assert found.unreadable == {}


def test_photos_without_headers_alone_are_named_too(backbone: Backbone, photos: Photos, listener: Any) -> None:
    folder = photos(blue=5, red=5)
    (folder / "red" / "4.jpg").write_bytes(b"")
    _, found = JointExtractor([backbone], REFERENCE, listener).of_dataset(opened(folder))
    assert listener.said == [
        f"1 of 10 images cannot be read and are left out:\n  {folder / 'red' / '4.jpg'}: the file is empty"
    ]
    assert found.values.shape == (9, backbone.features)


def test_more_than_twenty_that_cannot_be_read_are_all_named(backbone: Backbone, photos: Photos, listener: Any) -> None:
    folder = photos(blue=110, red=110)
    for number in range(22):
        (folder / "blue" / f"{number}.jpg").write_bytes(b"no image")
    JointExtractor([backbone], REFERENCE, listener).of_dataset(opened(folder))
    (said,) = listener.said
    assert said.startswith("22 of 220 images cannot be read and are left out:\n")
    assert said.count("\n") == said.count("damaged at its start") == 22


def test_too_many_that_cannot_be_read_headers_and_pixels_together(backbone: Backbone, photos: Photos) -> None:
    folder = photos(blue=10, red=10)
    (folder / "red" / "4.jpg").write_bytes(b"")
    cut_off(folder / "blue" / "1.jpg")
    JointExtractor([backbone], REFERENCE).of_dataset(opened(folder))
    cut_off(folder / "red" / "1.jpg")
    with pytest.raises(DataError) as caught:
        JointExtractor([backbone], REFERENCE).of_dataset(opened(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: 3 of 20 images cannot be read, more than 10%:\n")
    places = [message.index(f"{folder}/{name}.jpg: ") for name in ("blue/1", "red/1", "red/4")]
    assert places == sorted(places)
