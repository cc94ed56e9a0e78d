"""Activations at a cut: those on disk are those that would be computed, and are computed once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.cache import features_folder, keep_limit
from regraft.data.audit import inspect
from regraft.data.layouts import find_samples
from regraft.engines.pytorch import TorchEngine
from regraft.errors import DataError
from regraft.features import activations as views_module
from regraft.features.activations import CachedViews, ComputedViews, ViewSet, cache_views
from regraft.images.augment import Augmentation
from regraft.networks.backbone import Backbone
from regraft.networks.cutting import Trunk
from regraft.progress import Observer

ABOUT = {"network": "abc", "cut": "blocks.1"}
PAIRS = [[(0, 0), (3, 2)], [(7, 1)]]


class Said(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def view_set(photos: Callable[..., Path]) -> ViewSet:
    samples = find_samples(photos(red=5, blue=5))["train"]
    return ViewSet(samples.sources, inspect(samples.sources).keys, Augmentation())


@pytest.fixture
def trunk(backbone: Backbone) -> TorchEngine:
    cut = backbone.stages()[-2].name
    return TorchEngine(backbone, torch.device("cpu"), Trunk(backbone.module, cut))


Cache = Callable[..., CachedViews | ComputedViews]


@pytest.fixture
def cache(view_set: ViewSet, trunk: TorchEngine) -> Cache:
    def run(
        observer: Observer | None = None,
        limit: int = 10**9,
        about: dict[str, str] | None = None,
        pace: Callable[[float], None] | None = None,
        of: ViewSet = view_set,
    ) -> object:
        heard = observer or Observer()
        return cache_views(of, trunk, about or ABOUT, count=3, limit=limit, observer=heard, pace=pace)

    return run  # type: ignore[return-value]


def test_cached_activations_are_the_computed_ones_in_half_precision(
    cache: Cache, view_set: ViewSet, trunk: TorchEngine
) -> None:
    kept = cache()
    assert isinstance(kept, CachedViews)
    for ours, theirs in zip(kept.stream(PAIRS), ComputedViews(view_set, trunk).stream(PAIRS), strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, rtol=2**-10, atol=1e-4)


def test_views_of_one_photo_differ(cache: Cache) -> None:
    first, second, third = (next(iter(cache().stream([[(4, number)]]))) for number in range(3))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_the_second_time_nothing_is_computed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said()
    first = [batch.clone() for batch in cache(said).stream(PAIRS)]
    assert said.done == 30
    again = Said()
    monkeypatch.setattr(ViewSet, "pixels", lambda *_, **__: pytest.fail("a photo was opened"))
    assert all(torch.equal(a, b) for a, b in zip(cache(again).stream(PAIRS), first, strict=True))
    assert again.done == 0


def test_an_interrupted_pass_is_resumed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stopped: after six of thirty views, taken three at a time."""
    monkeypatch.setattr(views_module, "_FLUSH_EVERY", 1)
    monkeypatch.setattr(views_module, "_BATCH", 3)
    expected = [batch.clone() for batch in cache(about={"network": "other"}).stream(PAIRS)]
    pixels = ViewSet.pixels

    def interrupted(self: ViewSet, pairs: list[tuple[int, int]], *given: object, **named: object) -> object:
        yield from pixels(self, pairs[:6], *given, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ViewSet, "pixels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache()
    said = Said()
    assert all(torch.equal(a, b) for a, b in zip(cache(said).stream(PAIRS), expected, strict=True))
    assert said.done == 30 - 6


def test_a_pass_over_its_time_ends_and_keeps_what_it_did(cache: Cache, view_set: ViewSet) -> None:
    """Thirty views of ten photos, 32 at a time, are one batch; of forty photos, four."""
    heard: list[float] = []
    cache(pace=heard.append)
    assert heard == [1.0]
    cache(pace=heard.append)  # nothing was missing
    assert heard == [1.0]

    class OverError(Exception):
        pass

    def over(share: float) -> None:
        heard.append(share)
        raise OverError

    many = ViewSet(view_set.sources * 4, [bytes([n]) * 32 for n in range(40)], view_set.augmentation)
    with pytest.raises(OverError):
        cache(pace=over, of=many)
    said = Said()
    cache(said, of=many, pace=heard.append)
    assert said.done == 120 - 32
    assert heard[1:] == pytest.approx([32 / 120, 32 / 88, 64 / 88, 1.0])


def test_too_large_for_the_cache_is_computed_and_reported(cache: Cache) -> None:
    said = Said()
    computed = cache(said, limit=1000)
    assert isinstance(computed, ComputedViews)
    assert computed.count > 1000  # a new view each time
    assert "more than the cache may hold" in said.lines[0]
    assert said.lines[0].endswith("A later cut, fewer views or a larger cache_limit make it faster.")
    assert not list(features_folder().glob("*.views"))


def test_a_full_disk_is_no_obstacle(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(views_module, "_reserve", full)
    said = Said()
    assert isinstance(cache(said), ComputedViews)
    assert said.lines == [
        "activations are not kept on disk (No space left on device); they are computed during training"
    ]


def test_activations_beyond_half_precision_are_not_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    activations = TorchEngine.activations
    monkeypatch.setattr(TorchEngine, "activations", lambda self, pixels: activations(self, pixels) + 1e6)
    said = Said()
    assert isinstance(cache(said), ComputedViews)
    assert "too large for float16" in said.lines[0]


def test_views_count_for_the_limit_of_the_cache(cache: Cache) -> None:
    cache()
    assert len(list(features_folder().glob("*.views"))) == 1
    assert keep_limit(0) > 0
    assert not list(features_folder().glob("*.views"))


def test_a_photo_that_has_gone_is_named(view_set: ViewSet, trunk: TorchEngine) -> None:
    Path(str(view_set.sources[3])).unlink()
    with pytest.raises(DataError, match=r"could be read before, and cannot be read now"):
        list(ComputedViews(view_set, trunk).stream(PAIRS))


def test_batches_keep_their_order_and_sizes(view_set: ViewSet, trunk: TorchEngine) -> None:
    found = list(ComputedViews(view_set, trunk).stream([[(0, 0), (1, 0)], [(2, 0), (3, 0)], [(4, 0)]]))
    assert [len(batch) for batch in found] == [2, 2, 1]
    joined = list(ComputedViews(view_set, trunk).stream([[(0, 0), (1, 0)], [(2, 0), (3, 0), (4, 0)]]))
    assert [len(batch) for batch in joined] == [2, 3]
    assert torch.allclose(torch.cat(joined), torch.cat(found), atol=1e-5)
    alone = [next(iter(ComputedViews(view_set, trunk).stream([[(photo, 0)]]))) for photo in range(5)]
    assert torch.allclose(torch.cat(found), torch.cat(alone), atol=1e-5)
    assert np.isfinite(torch.cat(found).numpy()).all()
