"""A network as data: built once, when it is first asked for, and the same as if it had been built at once."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from regraft.engines.workload import CheckPhotos, Workload
from regraft.errors import ModelError
from regraft.features.depths import find_depths
from regraft.networks.backbone import Backbone, LazyModule
from regraft.networks.backbones import load_backbone
from regraft.networks.graph import Graph
from regraft.networks.outline import Outline
from regraft.runtime import CPU


@pytest.fixture(scope="module")
def loaded(tiny_network: str) -> Backbone:
    return load_backbone(tiny_network)


@pytest.fixture(scope="module")
def outline(loaded: Backbone) -> Outline:
    return Outline(tuple(loaded.stages()), loaded.tensor_outlines(), find_depths(loaded))


Lazy = Callable[..., Backbone]


@pytest.fixture
def built() -> list[int]:
    """Return what has an entry for each time that a lazy network was built."""
    return []


@pytest.fixture
def lazy(tiny_network: str, loaded: Backbone, built: list[int]) -> Lazy:
    """Return a function that makes the network as data."""

    def make(outline: Outline | None = None) -> Backbone:
        def build() -> nn.Module:
            built.append(1)
            return load_backbone(tiny_network).module

        module = LazyModule({name: array.copy() for name, array in loaded.arrays().items()}, build)
        return Backbone(
            module,  # type: ignore[arg-type] # a field that is read as what it builds
            loaded.recipe,
            loaded.preprocess,
            loaded.features,
            loaded.source,
            outline=outline,
        )

    return make


def test_what_is_known_does_not_change_when_it_is_built(lazy: Lazy, outline: Outline, loaded: Backbone) -> None:
    found = lazy(outline)

    def known() -> list[object]:
        arrays = {name: (array.dtype, array.tobytes()) for name, array in found.arrays().items()}
        hashes, outlines = found.tensor_hashes(), found.tensor_outlines()
        return [found.fingerprint(), arrays, hashes, outlines, found.stages(), found.parameter_count()]

    before = known()
    module = found.module
    assert known() == before
    assert found.fingerprint() == loaded.fingerprint()
    assert found.tensor_hashes() == loaded.tensor_hashes() == found.hash_tensors()
    assert found.stages() == loaded.stages()
    assert found.module is module


def test_nothing_is_built_before_it_is_asked_for(lazy: Lazy, outline: Outline, built: list[int]) -> None:
    found = lazy(outline)
    found.fingerprint(), found.tensor_hashes(), found.tensor_outlines(), found.stages(), found.arrays()
    find_depths(found.with_ranges((("uint16", 0.0, 4095.0),)))
    assert built == []
    assert found.module.training is False
    assert built == [1]


def test_what_nobody_knows_is_found_in_the_module(lazy: Lazy, outline: Outline, built: list[int]) -> None:
    """Without an outline."""
    found = lazy()
    assert (found.stages(), found.tensor_outlines()) == (list(outline.stages), outline.tensors)
    assert find_depths(found) == outline.depths
    assert built == [1]


def test_it_is_built_once_for_all_that_share_it(lazy: Lazy, built: list[int]) -> None:
    found = lazy()
    ranged, deep = found.with_ranges((("uint16", 0.0, 4095.0),)), found.with_depths(())
    modules: list[nn.Module] = []
    threads = [threading.Thread(target=lambda one=one: modules.append(one.module)) for one in (found, ranged, deep)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(module) for module in modules}) == 1
    assert len(modules) == 3
    assert built == [1]
    assert ranged.preprocess.ranges == (("uint16", 0.0, 4095.0),)
    assert found.preprocess.ranges == ()
    assert ranged.with_ranges(ranged.preprocess.ranges) is ranged


def test_who_asks_meanwhile_waits(loaded: Backbone) -> None:
    def build() -> nn.Module:
        time.sleep(0.05)
        return loaded.module

    lazy, found = LazyModule({}, build), []
    threads = [threading.Thread(target=lambda: found.append(lazy.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert not lazy.is_built
    for thread in threads:
        thread.join()
    assert [module is loaded.module for module in found] == [True] * 4


def test_what_cannot_be_built_says_so_each_time(loaded: Backbone) -> None:
    def build() -> nn.Module:
        raise ModelError("there is no such layer")

    found = Backbone(LazyModule(loaded.arrays(), build), loaded.recipe, loaded.preprocess, 7, "nowhere")  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ModelError, match="there is no such layer"):
            _ = found.module
    assert found.fingerprint() == loaded.fingerprint()


# --- what runs it without PyTorch ---


GRAPH = Graph(256, "<net />", (), {})


def test_a_graph_is_of_these_features(lazy: Lazy, outline: Outline) -> None:
    graph, found = GRAPH, lazy(outline).with_graph(GRAPH)
    assert found.with_ranges((("uint16", 0.0, 4095.0),)).graph is graph
    assert found.with_depths(()).graph is graph
    deep = found.with_depths(outline.depths)
    assert deep.graph is None
    assert deep.width == sum(depth.units for depth in outline.depths) + found.features
    assert found.with_tensors({}, "trained").graph is None
    assert found.graph is graph


def test_a_graph_is_of_these_tensors(lazy: Lazy, loaded: Backbone) -> None:
    """Some of its numbers may be made of tensors: it does not follow what is changed in place."""
    graph, found = GRAPH, lazy().with_graph(GRAPH)
    workload = Workload(found, CPU, 1, CheckPhotos("", lambda: np.empty(0)), keep=False)
    module = found.module
    assert found.current_graph is workload.graph is graph
    module.to(memory_format=torch.channels_last)  # as engines do
    assert found.current_graph is graph
    with torch.no_grad():
        next(module.parameters()).mul_(2)
    assert found.current_graph is workload.graph is None
    again = found.with_graph(graph)  # of the tensors as they are now
    assert again.current_graph is graph
    with torch.no_grad():
        next(module.parameters()).mul_(2)
    assert again.current_graph is None
    assert found.fingerprint() != loaded.fingerprint()
