"""Photos by several processes: each looks at its own, all get what one process would have found."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import photo
from tests.fixtures.processes import in_processes

from regraft import cache
from regraft.cache import features_folder
from regraft.data import audit
from regraft.data.audit import inspect
from regraft.data.dataset import open_datasets
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.engines.pytorch import TorchEngine
from regraft.errors import EngineError
from regraft.features import activations
from regraft.features.activations import NO_DISK, CachedViews, ComputedViews, ViewSet, cache_views
from regraft.features.extraction import FeatureExtractor, Features, extract
from regraft.features.joint import JointExtractor, check_same_engines, features_of_trained
from regraft.features.pictures import join_pictures
from regraft.features.shares import in_shares
from regraft.images.augment import Augmentation
from regraft.networks.backbone import Backbone
from regraft.networks.cutting import Trunk
from regraft.processes import ProcessGroup
from regraft.progress import Observer

Photos = Callable[..., Path]


@pytest.fixture
def folder(photos: Photos) -> Path:
    """Return 23 photos, one of which is there twice, one that is cut off, and one that is no image."""
    folder = photos(red=10, blue=9)
    (folder / "blue" / "copy.jpg").write_bytes((folder / "blue" / "3.jpg").read_bytes())
    photo(folder / "red" / "cut.jpg", "red", 77)
    (folder / "red" / "cut.jpg").write_bytes((folder / "red" / "cut.jpg").read_bytes()[:700])
    (folder / "red" / "empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture
def samples(folder: Path) -> Samples:
    return find_samples(folder)["train"]


def looked_at(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each file is looked at from here on."""
    counted: Counter[str] = Counter()
    look = audit.look_at

    def counting(source: Any, **how: Any) -> Any:
        counted[str(source)] += 1
        return look(source, **how)

    monkeypatch.setattr(audit, "look_at", counting)
    return counted


@pytest.mark.parametrize("large", [False, True])
def test_each_file_is_looked_at_by_one_process(samples: Samples, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    (alone,) = open_datasets([samples], Observer(), large=large)
    counted = looked_at(monkeypatch)
    found = in_processes(3, lambda group: open_datasets([samples], Observer(), large=large, processes=group)[0])
    assert counted == Counter({str(source): 1 for source in samples.sources})
    for dataset in found:
        assert dataset.keys == alone.keys
        assert dataset.unreadable == alone.unreadable
        assert dataset.headers == alone.headers
        assert np.array_equal(dataset.positions, alone.positions)
    assert len(alone.unreadable) == (2 if large else 1)


def one_by_one(samples: Samples, keys: tuple[bytes, ...], group: ProcessGroup) -> tuple[list[int], Features]:
    """Return which photos this process worked on, and what all got: each photo's position, some unreadable or flat."""
    worked: list[int] = []

    def work(own: list[int]) -> Mapping[str, Features]:
        worked.extend(own)
        values = np.array(own, dtype=np.float32).reshape(-1, 1)
        unreadable = {row: "broken" for row, place in enumerate(own) if place == 4}
        flat = tuple(row for row, place in enumerate(own) if place == 5)
        return {"": Features(values, "engine", unreadable, len(own) - len(unreadable), float(group.rank), flat)}

    return worked, in_shares(keys, group, work, batch_size=2)[""]


def test_shares_are_whole_batches_of_different_photos(samples: Samples) -> None:
    keys = (b"a", b"b", b"", b"a", b"c", b"d", b"e")  # the fourth is the first one again, the third cannot be read
    (first, found), (second, other) = in_processes(2, lambda group: one_by_one(samples, keys, group))
    assert (first, second) == ([0, 1, 6], [4, 5])  # batches 0 1, 4 5 and 6
    for features in (found, other):
        assert features.values.tolist() == [[0], [1], [0], [0], [4], [5], [6]]
        assert features.unreadable == {4: "broken"}
        assert features.flat == (5,)
        assert features.computed == 4
        assert features.seconds == 1.0


@pytest.mark.parametrize("cached", [False, True])
def test_features_are_those_of_one_process(samples: Samples, backbone: Backbone, cached: bool) -> None:
    keys = inspect(samples.sources).keys
    engine = TorchEngine(backbone, torch.device("cpu"))
    alone = extract(samples.sources, keys, backbone, engine, batch_size=4)
    limit = 10**9 if cached else None

    def shared(group: ProcessGroup) -> Features:
        def work(own: list[int]) -> Mapping[str, Features]:
            some = [samples.sources[place] for place in own], [keys[place] for place in own]
            own_engine = TorchEngine(backbone, torch.device("cpu"))
            return {"": extract(*some, backbone, own_engine, batch_size=4, cache_limit=limit, photos=len(keys))}

        return in_shares(keys, group, work, batch_size=4)[""]

    for again in (False, True):
        for found in in_processes(2, shared):
            assert np.array_equal(found.values, alone.values)
            assert found.unreadable == alone.unreadable
            assert found.computed == (0 if again and cached else alone.computed)


def test_the_extractor_shares_what_it_computes(samples: Samples, backbone: Backbone) -> None:
    compute = Compute(device="cpu", engine="torch-float32", cache=False, batch_size=4)
    (dataset,) = open_datasets([samples], Observer())
    _, alone = JointExtractor([backbone], compute).of_dataset(dataset)

    def shared(group: ProcessGroup) -> tuple[int, np.ndarray]:
        readable, found = JointExtractor([backbone], replace(compute, processes=group)).of_dataset(dataset)
        return len(readable), found.values

    for count, values in in_processes(2, shared):
        assert count == len(dataset) - 1
        assert np.array_equal(values, alone.values)


@pytest.mark.parametrize("refused", [{0}, {1}, {0, 1}])
def test_processes_leave_out_an_engine_that_does_not_agree_together(
    samples: Samples, backbone: Backbone, monkeypatch: pytest.MonkeyPatch, refused: set[int]
) -> None:
    """Else one waits for the other in another place, for hours."""
    named = Compute(device="cpu", engine="openvino-float32", cache=False, batch_size=4)
    (dataset,) = open_datasets([samples], Observer())
    readable, alone = JointExtractor([backbone], replace(named, engine="torch-float32")).of_dataset(dataset)
    choose = FeatureExtractor.choose

    def choose_here(self: FeatureExtractor, *given: Any, **more: Any) -> Engine:
        if self.compute.engine == named.engine and self.compute.processes.rank in refused:
            raise EngineError("it does not agree")
        return choose(self, *given, **more)

    monkeypatch.setattr(FeatureExtractor, "choose", choose_here)

    def run(group: ProcessGroup) -> np.ndarray:
        compute = replace(named, processes=group)
        found = features_of_trained(backbone, readable, compute, Observer(), tta="none").values
        with pytest.raises(EngineError, match="it does not agree"):
            JointExtractor([backbone], compute).of_dataset(readable)
        return found

    for values in in_processes(2, run):
        assert np.array_equal(values, alone.values)


def test_engines_that_differ_are_named() -> None:
    def choose(group: ProcessGroup) -> None:
        check_same_engines([["torch-cpu-float32", "openvino-cpu-float32"][group.rank]], group)

    with pytest.raises(
        EngineError, match=r"process 0: torch-cpu-float32; process 1: openvino-.*engine='torch-float32'"
    ):
        in_processes(2, choose)


def test_copies_are_found_across_shares(samples: Samples) -> None:
    (dataset,) = open_datasets([samples], Observer())
    (alone,) = join_pictures([dataset], Compute(cache=False), Observer())
    assert alone.pictures is not None

    def shared(group: ProcessGroup) -> np.ndarray:
        (found,) = join_pictures([dataset], Compute(cache=False, processes=group), Observer())
        assert found.pictures is not None
        return found.pictures.numbers

    for numbers in in_processes(2, shared):
        assert np.array_equal(numbers, alone.pictures.numbers)


@pytest.fixture
def view_set(photos: Photos) -> ViewSet:
    samples = find_samples(photos("others", red=6, blue=5))["train"]
    return ViewSet(samples.sources, inspect(samples.sources).keys, Augmentation())


@pytest.fixture
def cut(backbone: Backbone) -> Callable[[], TorchEngine]:
    """Return what makes an engine of the part before the last stages, for each process its own."""
    stage = backbone.stages()[-2].name
    return lambda: TorchEngine(backbone, torch.device("cpu"), Trunk(copy.deepcopy(backbone.module), stage))


Cut = Callable[[], TorchEngine]
PAIRS = [[(0, 0), (3, 2)], [(7, 1), (10, 2), (9, 0)]]


def views(view_set: ViewSet, engine: TorchEngine, group: ProcessGroup, limit: int = 10**9) -> Any:
    about = {"network": "abc"}
    return cache_views(view_set, engine, about, count=3, limit=limit, observer=Observer(), processes=group)


@pytest.mark.slow
def test_activations_are_computed_once_by_all_that_share_a_cache(
    view_set: ViewSet, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "_BATCH", 4)
    in_batches = cache_views(
        view_set, cut(), {"network": "alone"}, count=3, limit=10**9, observer=Observer(), processes=ProcessGroup()
    )
    expected = [part.clone() for part in in_batches.stream(PAIRS)]
    ran: list[int] = []
    pixels = ViewSet.pixels

    def counting(self: ViewSet, pairs: Any, *given: Any, **how: Any) -> Any:
        ran.append(len(pairs))
        return pixels(self, pairs, *given, **how)

    monkeypatch.setattr(ViewSet, "pixels", counting)
    found = in_processes(2, lambda group: [part.clone() for part in views(view_set, cut(), group).stream(PAIRS)])
    assert sorted(ran) == [16, 17]  # 33 views in batches of 4, the last of which has one
    assert all(torch.equal(a, b) for parts in found for a, b in zip(parts, expected, strict=True))
    ran.clear()
    again = in_processes(3, lambda group: [part.clone() for part in views(view_set, cut(), group).stream(PAIRS)])
    assert not ran
    assert all(torch.equal(a, b) for parts in again for a, b in zip(parts, expected, strict=True))
    assert not [path for path in features_folder().iterdir() if path.name.startswith(".")]  # no marks are left


def test_on_several_machines_each_keeps_its_own(view_set: ViewSet, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one folder that both see: parts of a page that two machines write into would be lost."""
    names = iter(["a", "b"])
    monkeypatch.setattr(cache.platform, "node", lambda: next(names))
    in_processes(2, lambda group: views(view_set, cut(), group))
    assert len(list(features_folder().glob("*.views"))) == 2


def test_where_one_process_has_no_disk_none_keeps(view_set: ViewSet, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(activations, "_reserve", full)
    found = in_processes(2, lambda group: views(view_set, cut(), group))
    assert all(isinstance(one, ComputedViews) and one.kind == NO_DISK for one in found)


def test_where_one_process_may_keep_less_none_keeps(view_set: ViewSet, cut: Cut) -> None:
    found = in_processes(2, lambda group: views(view_set, cut(), group, limit=10**9 if group.writes else 10))
    assert all(isinstance(one, ComputedViews) for one in found)


def test_where_one_process_has_numbers_too_large_none_keeps(view_set: ViewSet, cut: Cut) -> None:
    def engine(group: ProcessGroup) -> TorchEngine:
        made = cut()
        if not group.writes:
            run = made.activations
            made.activations = lambda pixels: run(pixels) + 1e6  # type: ignore[method-assign]
        return made

    found = in_processes(2, lambda group: views(view_set, engine(group), group))
    assert not any(isinstance(one, CachedViews) for one in found)
