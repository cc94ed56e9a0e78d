"""Features of views: those of the pictures that they show, in a cache of their own, and never twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.fixtures.rays import WorkersHere

from regraft.data.audit import inspect
from regraft.engines import compute as compute_
from regraft.engines.compute import Compute
from regraft.engines.pytorch import TorchEngine
from regraft.features import extraction, joint, passes
from regraft.features.activations import CachedViews, ViewSet, cache_views
from regraft.features.extraction import extract
from regraft.features.joint import JointExtractor
from regraft.features.shares import in_shares
from regraft.images.augment import Augmentation
from regraft.images.decoding import decode, decode_views
from regraft.images.resizing import TORCHVISION
from regraft.images.tta import MIRRORED, OF_CORNERS, PLAIN, TTA
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer

Photos = Callable[..., Path]
PLENTY = 10**9
EVERY = (PLAIN, MIRRORED, OF_CORNERS)
EXACT = Compute(device="cpu", engine="torch-float32")


@pytest.fixture
def ten(photos: Photos) -> list[Path]:
    """Return ten photos whose left half is dark."""
    found = sorted(photos(red=5, blue=5).rglob("*.jpg"))
    for path in found:
        pixels = np.array(Image.open(path))
        pixels[:, : pixels.shape[1] // 2] //= 3
        Image.fromarray(pixels).save(path, quality=95)
    return found


@pytest.fixture
def run(backbone: Backbone, engine: TorchEngine) -> Callable[..., Any]:
    def of(sources: list[Path], *parts: str, limit: int | None = PLENTY, **options: Any) -> Any:
        keys = inspect(tuple(sources)).keys
        return extract(sources, keys, backbone, engine, parts=parts or (PLAIN,), cache_limit=limit, **options)

    return of


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


def test_features_of_views_are_those_of_the_pictures_they_show(
    run: Callable[..., Any], ten: list[Path], backbone: Backbone, engine: TorchEngine
) -> None:
    preprocess = backbone.preprocess
    found = run(ten, *EVERY, limit=None, batch_size=7)
    plain, mirrored, corners = np.split(found.values, 3, axis=1)
    pixels = np.stack([decode(path, preprocess) for path in ten])
    mirror_images = np.stack([np.asarray(ImageOps.mirror(Image.fromarray(one))) for one in pixels])
    assert close(plain, engine.features(pixels))
    assert close(mirrored, engine.features(mirror_images))
    cut = [engine.features(decode_views(path, preprocess, (OF_CORNERS,))) for path in ten]  # each (4, d)
    assert close(corners, np.stack([(one[0] + one[1] + one[2] + one[3]) / 4 for one in cut]))
    assert not close(plain, mirrored)
    assert not close(plain, corners)
    assert (found.computed, found.engine, found.unreadable) == (10, engine.name, {})


def test_each_view_is_computed_once_and_none_is_taken_for_another(run: Callable[..., Any], ten: list[Path]) -> None:
    fresh = np.split(run(ten, *EVERY, limit=None).values, 3, axis=1)
    assert run(ten[:5]).computed == 5  # a cache of before there were views
    assert run(ten[:5], MIRRORED).computed == 5
    assert run(ten, PLAIN, MIRRORED).computed == 5
    assert run(ten, *EVERY).computed == 10  # their corners
    again = run(ten, *EVERY)
    assert again.computed == 0
    for found, expected in zip(np.split(again.values, 3, axis=1), fresh, strict=True):
        assert close(found, expected)
    for part, expected in zip(EVERY, fresh, strict=True):
        alone = run(ten, part)
        assert alone.computed == 0
        assert close(alone.values, expected)


def test_what_is_in_the_cache_does_not_go_through_the_network_again(
    run: Callable[..., Any], ten: list[Path], engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ten[:6])
    seen: list[int] = []
    genuine = engine.features
    monkeypatch.setattr(engine, "features", lambda pixels: seen.append(len(pixels)) or genuine(pixels))
    run(ten, PLAIN, MIRRORED)
    assert sum(seen) == 6 * 1 + 4 * 2
    del seen[:]
    run(ten, PLAIN, OF_CORNERS, batch_size=10)
    assert sum(seen) == 10 * 4
    assert max(seen) <= 10  # a batch has as many pictures as without views


def test_photos_that_cannot_be_read_are_named_once_and_equal_ones_run_once(
    run: Callable[..., Any], ten: list[Path]
) -> None:
    ten[3].write_bytes(ten[3].read_bytes()[:700])
    sources = [*ten, ten[0]]
    found = run(sources, *EVERY)
    assert found.unreadable == {3: "the file is cut off (truncated)"}
    assert not found.values[3].any()
    assert np.array_equal(found.values[0], found.values[10])
    assert found.computed == 9
    assert run([], *EVERY).values.shape == (0, found.values.shape[1])


def test_flat_photos_are_named_whatever_the_views(run: Callable[..., Any], tmp_path: Path, ten: list[Path]) -> None:
    Image.new("RGB", (48, 40), "grey").save(tmp_path / "grey.png")
    assert run([*ten[:2], tmp_path / "grey.png"], PLAIN, OF_CORNERS).flat == (2,)


def test_views_of_several_networks_stand_side_by_side(ten: list[Path], backbone: Backbone, other_network: str) -> None:
    """The mean over the views of each network, then the networks beside each other."""
    networks, keys = [backbone, load_backbone(other_network)], inspect(tuple(ten)).keys
    each = [JointExtractor([network], EXACT).extract_parts(ten, keys, parts=EVERY) for network in networks]
    for tta, weights in (("none", (1, 0, 0)), ("flip", (0.5, 0.5, 0)), ("crops", (0.2, 0, 0.8))):
        expected = np.concatenate(
            [sum(w * one[part].values for w, part in zip(weights, EVERY, strict=True)) for one in each], axis=1
        )
        found = JointExtractor(networks, EXACT, tta=tta).extract(ten, keys)
        assert close(found.values, expected)
        assert found.computed == 0 or tta == "none"


def test_the_pass_is_named_by_its_views(run: Callable[..., Any], ten: list[Path], listener: Any, engine: Any) -> None:
    run(ten, *TTA["crops"].parts, observer=listener)
    assert ("begin", (f"features of photos and corners ({engine.name})", 10)) in listener.heard
    run(ten, *TTA["flip"].parts, observer=listener)
    assert ("begin", (f"features of mirror images ({engine.name})", 10)) in listener.heard  # photos are known


def test_a_disk_without_room_ends_the_keeping_not_the_work(
    run: Callable[..., Any], ten: list[Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.errors import OutputError

    def full(*_: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(extraction.FeatureStore, "write", full)
    found = run(ten, PLAIN, MIRRORED, observer=listener)
    assert found.values.any(axis=1).all()
    assert "the cache is not used any further: no room" in listener.said


def test_activations_of_views_of_answers_are_computed_beside_those_that_are_kept(
    ten: list[Path], backbone: Backbone, engine: TorchEngine
) -> None:
    """Numbers below 0 are the views of `images.tta`: -1 the mirror image, -2 to -5 the corners."""
    keys = inspect(tuple(ten)).keys
    views = cache_views(
        ViewSet(ten, keys, Augmentation()), engine, {"x": 1}, count=2, limit=PLENTY, observer=Observer()
    )
    assert isinstance(views, CachedViews)
    pairs = [[(3, -1), (0, -4), (7, -2)], [(9, -5)]]
    found = [part.numpy() for part in views.stream(pairs)]
    pictures = {
        photo: decode_views(ten[photo], backbone.preprocess, EVERY, resizer=TORCHVISION) for photo in (0, 3, 7, 9)
    }
    for part, batch in zip(found, pairs, strict=True):
        expected = engine.features(np.stack([pictures[photo][-number] for photo, number in batch]))
        assert close(part, expected)
    (plain,) = views.stream([[(3, 0)]])
    assert np.allclose(plain.numpy(), engine.features(pictures[3][:1]), rtol=2e-3, atol=1e-3)  # kept in half precision


def test_parts_and_shares_are_whole_batches_of_views(
    backbone: Backbone, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 11 views, five of each photo, two photos are run together: 10 of at most 11 go to a worker."""
    sources = sorted(photos(red=7, blue=6).rglob("*.jpg"))
    keys, parts = inspect(tuple(sources)).keys, TTA["crops"].parts
    workers = WorkersHere()
    monkeypatch.setattr(passes, "PHOTOS_OF_A_PART", 11)
    monkeypatch.setattr(compute_, "workers_on", lambda name: workers if name else None)
    exact = replace(EXACT, cache=False, batch_size=11)
    alone = JointExtractor([backbone], exact, tta="crops").extract_parts(sources, keys, parts=parts)
    shares: list[int] = []

    def counted(*given: Any, batch_size: int) -> Any:
        shares.append(batch_size)
        return in_shares(*given, batch_size=batch_size)

    monkeypatch.setattr(joint, "in_shares", counted)
    there = JointExtractor([backbone], replace(exact, on="ray"), tta="crops").extract_parts(sources, keys, parts=parts)
    assert [len(part) for part in reversed(workers.parts)] == [10, 3]  # type: ignore[arg-type]
    assert shares == [2]
    for part in parts:
        assert np.array_equal(there[part].values, alone[part].values)
