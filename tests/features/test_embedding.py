"""Vectors in blocks: those of the network, from the cache where they are, whatever the blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.features import embedding as module
from regraft.features.embedding import Embedder, OpenPhotos
from regraft.features.extraction import Features, extract
from regraft.networks.backbone import Backbone

Photos = Callable[..., Path]
EXACT = Compute(engine="torch-float32")


@pytest.fixture
def ten(photos: Photos) -> list[Path]:
    return sorted(photos(red=5, blue=5).rglob("*.jpg"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of four photos."""
    monkeypatch.setattr(module, "_LEAST", 4)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1)


def test_vectors_are_those_that_timm_gives(backbone: Backbone, tiny_network: str, tmp_path: Path) -> None:
    """timm's own network, transform and forward pass, photo by photo; PNGs, which every decoder reads alike."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
    network = timm.create_model(tiny_network, pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(network))
    with torch.inference_mode():
        expected = torch.cat([network(transform(Image.open(path))[None]) for path in paths]).numpy()
    embedder = Embedder(backbone, EXACT)
    found = embedder.all_of(*embedder.open(paths))
    assert found.positions.tolist() == list(range(6))
    assert (found.vectors.dtype, found.vectors.shape) == (np.float32, (6, embedder.dimension))
    scale = np.abs(expected).max()
    assert np.abs(np.diff(expected, axis=0)).max() > 0.05 * scale
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=2e-3 * scale)  # resized pixels are rounded


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("cache", [True, False])
def test_blocks_are_one_pass_in_order(backbone: Backbone, ten: list[Path], listener: Any, cache: bool) -> None:
    ten[3].write_bytes(b"no image")  # known by its header
    ten[5].write_bytes(ten[5].read_bytes()[:700])  # known when it is decoded
    compute = Compute(engine="torch-float32", cache=cache)
    embedder = Embedder(backbone, compute, listener)
    (opened,) = embedder.open(ten)
    assert sorted(opened.unreadable) == [3]
    blocks = list(embedder.blocks(opened))
    assert [block.positions.tolist() for block in blocks] == [[0, 1, 2], [4, 6, 7], [8, 9]]
    assert [sorted(block.unreadable) for block in blocks] == [[3], [5], []]
    assert [block.computed for block in blocks] == [3, 3, 2]
    whole = Embedder(backbone, Compute(engine="torch-float32", cache=False))
    expected = whole.all_of(*whole.open([path for place, path in enumerate(ten) if place not in (3, 5)])).vectors
    found = np.concatenate([block.vectors for block in blocks])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    begun = [what for kind, what in listener.heard if kind == "begin"]
    assert begun == [("features (torch-cpu-float32)", 10)]
    assert sum(count for kind, count in listener.heard if kind == "advance") == 9  # but the one that is no image
    assert [kind for kind, _ in listener.heard].count("end") == 1
    assert embedder.engine == "torch-cpu-float32"


@pytest.mark.usefixtures("small_blocks")
def test_a_second_pass_reads_no_pixel(
    backbone: Backbone, ten: list[Path], listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Embedder(backbone, EXACT)
    first = embedder.all_of(*embedder.open(ten))
    monkeypatch.setattr("regraft.features.passes.load_batches", None)
    embedder = Embedder(backbone, EXACT, listener)
    second = embedder.all_of(*embedder.open(ten[::-1]))
    assert (first.computed, second.computed) == (10, 0)
    assert np.array_equal(first.vectors, second.vectors[::-1])
    assert listener.heard == []


@pytest.mark.usefixtures("small_blocks")
def test_no_more_than_a_block_is_extracted_at_once(
    backbone: Backbone, ten: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(sources: list[Path], *given: Any, **named: Any) -> Any:
        sizes.append(len(sources))
        return extract(sources, *given, **named)

    monkeypatch.setattr("regraft.features.extraction.extract", counted)
    embedder = Embedder(backbone, EXACT)
    (opened,) = embedder.open(ten)
    blocks: Iterator[Any] = embedder.blocks(opened)
    assert sizes == []
    next(blocks)
    assert sizes == [4]
    assert [len(block.positions) for block in blocks] == [4, 2]
    assert sizes == [4, 4, 2]


@pytest.mark.usefixtures("small_blocks")
def test_few_photos_of_many_are_resized_as_all_of_them(
    backbone: Backbone, ten: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of 4, 4 and 2, as a share of all of them, and beside others: by what resizes eight photos or more."""
    monkeypatch.setattr("regraft.images.resizing.MANY_PHOTOS", 8)
    exact = Compute(engine="torch-float32", cache=False)

    def vectors(photos: list[Path], *others: list[Path], of: int | None = None) -> np.ndarray:
        embedder = Embedder(backbone, exact)
        return embedder.all_of(embedder.open(*others, photos, photos=of)[-1]).vectors

    monkeypatch.setattr(module, "_LEAST", 10)
    whole, few = vectors(ten), vectors(ten[8:])
    close = 1e-5 * np.abs(whole).max()
    assert np.abs(few - whole[8:]).max() > 10 * close  # else nothing is shown
    monkeypatch.setattr(module, "_LEAST", 4)
    for found, expected in (
        (vectors(ten), whole),
        (vectors(ten[8:], of=10), whole[8:]),
        (vectors(ten[8:], ten), whole[8:]),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=close)


@pytest.mark.parametrize(("least", "size"), [(2, 20), (25, 25)])
def test_blocks_have_as_many_photos_as_their_bytes_allow(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, least: int, size: int
) -> None:
    """Room for twenty rows of the features of all depths, which are extracted, and a bit; the least always."""
    extracted: list[np.ndarray] = []

    def nothing(extractor: Any, _: tuple[Path, ...], keys: tuple[bytes, ...], *, photos: int) -> Features:
        assert photos == 50  # of all blocks
        extracted.append(np.zeros((len(keys), extractor.backbone.width), dtype=np.float32))
        return Features(extracted[-1])

    embedder = Embedder(backbone, EXACT)
    assert embedder.dimension < embedder.backbone.width
    monkeypatch.setattr(module, "_LEAST", least)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 20 * 4 * embedder.backbone.width + 3)
    monkeypatch.setattr(module.FeatureExtractor, "extract", nothing)
    opened = OpenPhotos((Path("x.jpg"),) * 50, (b"x" * 32,) * 50)
    blocks = list(embedder.blocks(opened))
    sizes = [len(values) for values in extracted]
    assert [block.vectors.shape for block in blocks] == [(count, embedder.dimension) for count in sizes]
    assert least > 20 or max(values.nbytes for values in extracted) <= module._BLOCK_BYTES
    assert sizes == [size] * (50 // size) + [50 % size] * (50 % size > 0)


def test_interrupted_it_goes_on_where_it_was(
    backbone: Backbone, ten: list[Path], small_blocks: None, listener: Any
) -> None:
    embedder = Embedder(backbone, EXACT, listener)
    (opened,) = embedder.open(ten)
    blocks = embedder.blocks(opened)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert [kind for kind, _ in listener.heard if kind in ("begin", "end")] == ["begin", "end"]
    again = Embedder(backbone, EXACT)
    assert again.all_of(*again.open(ten)).computed == 6


def test_photos_of_several_lists_have_one_black_and_white(backbone: Backbone, tmp_path: Path) -> None:
    """16 bits: of the second list alone 4,095 would be white, with the first it is 65,535."""
    for name, high in (("wide", 60000), ("narrow", 4000)):
        levels = np.linspace(0, high, 1600).reshape(40, 40).astype(np.uint16)
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    embedder = Embedder(backbone, EXACT)
    alone = embedder.all_of(*embedder.open([tmp_path / "narrow.png"])).vectors
    both = Embedder(backbone, EXACT)
    _, narrow = both.open([tmp_path / "wide.png"], [tmp_path / "narrow.png"])
    assert both.backbone.preprocess.ranges == (("uint16", 0.0, 65535.0),)
    assert not np.allclose(both.all_of(narrow).vectors, alone, atol=1e-3 * np.abs(alone).max())


def test_no_photos(backbone: Backbone) -> None:
    embedder = Embedder(backbone, EXACT)
    found = embedder.all_of(*embedder.open([]))
    assert (found.vectors.shape, found.positions.tolist(), found.unreadable) == ((0, embedder.dimension), [], {})


def test_what_the_vectors_are_made_with(backbone: Backbone, ten: list[Path]) -> None:
    embedder = Embedder(backbone, EXACT)
    embedder.open(ten)
    assert embedder.about("small") == {
        "model": "small",
        "weights": backbone.fingerprint(),
        "engine": "torch-cpu-float32",
        "depths": "last",
        "features": backbone.features,
    }


def test_values_that_are_not_allowed(backbone: Backbone) -> None:
    with pytest.raises(OptionError, match="batch_size must be 1 or more"):
        Embedder(backbone, Compute(batch_size=0))


def test_unreadable_files_are_named_by_place(backbone: Backbone, ten: list[Path]) -> None:
    ten[0].unlink()
    ten[1].write_bytes(b"")
    embedder = Embedder(backbone, EXACT)
    found = embedder.all_of(*embedder.open(ten))
    assert sorted(found.unreadable) == [0, 1]
    assert found.unreadable[1] == "the file is empty"
    assert found.positions.tolist() == list(range(2, 10))
