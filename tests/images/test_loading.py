"""Batches in order, decoded ahead by threads, within bounds."""

import contextlib
import gc
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.marks import some_slow

from regraft.data.audit import inspect
from regraft.images import loading
from regraft.images import sources as sources_
from regraft.images.decoding import decode
from regraft.images.loading import Batch, load_batches
from regraft.images.preprocess import Preprocess
from regraft.images.reading import read_image
from regraft.images.resizing import PILLOW, TORCHVISION
from regraft.images.sources import Pixels, Source, as_sources
from regraft.runtime import BATCH_SIZE

UNCHANGED = Preprocess(10, 12, 1.0, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)  # what `pixels` has
PixelsOf = Callable[[int], np.ndarray]


@pytest.fixture
def sources(pixels: PixelsOf) -> Callable[[int], list[Source]]:
    """Return a function from n to n images in memory, of the noise of seeds 0 to n - 1."""
    return lambda count: [Pixels(Image.fromarray(pixels(seed)), str(seed)) for seed in range(count)]


def plain(batches: list[Batch]) -> list[tuple[list[int], dict[int, str]]]:
    return [(batch.positions.tolist(), batch.unreadable) for batch in batches]


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (23, [4] * 5 + [3])]
)
def test_all_images_in_order(
    sources: Callable[[int], list[Source]], pixels: PixelsOf, count: int, sizes: list[int]
) -> None:
    batches = list(load_batches(sources(count), UNCHANGED, batch_size=4))
    assert [len(batch.pixels) for batch in batches] == sizes
    assert [position for batch in batches for position in batch.positions] == list(range(count))
    for batch in batches:
        assert (batch.pixels.dtype, batch.pixels.shape[1:], batch.unreadable) == (np.uint8, (10, 12, 3), {})
        assert np.array_equal(batch.pixels, np.stack([pixels(seed) for seed in batch.positions]))


def test_usual_batch_size(sources: Callable[[int], list[Source]]) -> None:
    sizes = [len(batch.pixels) for batch in load_batches(sources(BATCH_SIZE + 1), UNCHANGED)]
    assert sizes == [BATCH_SIZE, 1]


def test_order_does_not_depend_on_who_is_done_first(
    sources: Callable[[int], list[Source]], pixels: PixelsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_on_even(source: Pixels, _: Preprocess, **__: str) -> np.ndarray:
        time.sleep(0.01 if int(source.name) % 2 == 0 else 0)
        return np.asarray(source.image)

    monkeypatch.setattr(loading, "decode", slow_on_even)
    batches = list(load_batches(sources(12), UNCHANGED, batch_size=5))
    assert np.array_equal(np.concatenate([b.pixels for b in batches]), np.stack([pixels(seed) for seed in range(12)]))


def test_images_are_brought_to_the_networks_size(pixels: PixelsOf) -> None:
    preprocess = Preprocess(8, 6, 0.9, "center", "bilinear", (0.5,) * 3, (0.5,) * 3)
    image = Image.fromarray(pixels(0))
    expected = preprocess.pixels(image)
    (batch,) = load_batches([Pixels(image, "x")], preprocess)
    assert batch.pixels.shape == (1, 8, 6, 3)
    assert np.array_equal(batch.pixels[0], expected)
    (batch,) = load_batches([Pixels(image, "x")], preprocess, resizer=TORCHVISION)
    assert np.array_equal(batch.pixels[0], preprocess.pixels(image, resizer=TORCHVISION))
    assert 0 < np.abs(batch.pixels[0].astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("count", "resizer"), [(127, PILLOW), (128, TORCHVISION)])
def test_torchvision_resizes_where_there_are_many(
    sources: Callable[[int], list[Source]], count: int, resizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What resizes follows from the number of photos, and from whether torchvision is there."""
    seen: list[str] = []

    def watched(source: Pixels, _: Preprocess, *, resizer: str) -> np.ndarray:
        seen.append(resizer)
        return np.asarray(source.image)

    monkeypatch.setattr(loading, "decode", watched)
    given = sources(1) * count
    assert len(list(load_batches(given, UNCHANGED, batch_size=64))) == 2
    assert seen == [resizer] * count
    monkeypatch.setitem(sys.modules, "torchvision", None)
    seen.clear()
    assert len(list(load_batches(given, UNCHANGED, batch_size=64))) == 2
    assert seen == [PILLOW] * count


def test_unreadable_images_are_left_out_with_their_reasons(
    sources: Callable[[int], list[Source]], pixels: PixelsOf, tmp_path: Path
) -> None:
    given = sources(7)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    given[1], given[4], given[5] = tmp_path / "text.jpg", tmp_path / "empty.jpg", tmp_path / "gone.jpg"
    batches = list(load_batches(given, UNCHANGED, batch_size=4))
    assert plain(batches) == [
        ([0, 2, 3], {1: "not an image, or damaged at its start"}),
        ([6], {4: "the file is empty", 5: "the file is gone"}),
    ]
    assert np.array_equal(batches[0].pixels, np.stack([pixels(seed) for seed in (0, 2, 3)]))
    assert np.array_equal(batches[1].pixels, pixels(6)[None])


def test_a_batch_of_nothing_readable_is_empty(tmp_path: Path) -> None:
    (batch,) = load_batches([tmp_path / "gone.jpg"] * 3, UNCHANGED)
    assert batch.pixels.shape == (0, 10, 12, 3)
    assert plain([batch]) == [([], dict.fromkeys(range(3), "the file is gone"))]


def test_an_error_that_is_no_files_fault_is_not_swallowed(
    sources: Callable[[int], list[Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Source, __: Preprocess, **___: str) -> np.ndarray:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(loading, "decode", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(load_batches(sources(3), UNCHANGED))


def test_never_more_than_three_batches_are_decoded_ahead(
    sources: Callable[[int], list[Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow consumer: by when batch k (from 0) is handed over, at most 4 k + 12 of 60 images have been begun."""
    begun: list[str] = []

    def count(source: Pixels, _: Preprocess, **__: str) -> np.ndarray:
        begun.append(source.name)
        return np.asarray(source.image)

    monkeypatch.setattr(loading, "decode", count)
    seen: list[int] = []
    for _ in load_batches(sources(60), UNCHANGED, batch_size=4):
        time.sleep(0.01)  # the threads have time for far more
        seen.append(len(begun))
    assert len(seen) == 15
    assert all(done <= 4 * number + 12 for number, done in enumerate(seen)), seen
    assert seen[0] > 4, "nothing was decoded ahead"
    assert len(begun) == 60


def test_nothing_is_decoded_before_it_is_asked_for(
    sources: Callable[[int], list[Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Source] = []
    monkeypatch.setattr(loading, "decode", lambda source, _, **__: begun.append(source) or np.asarray(source.image))
    batches = load_batches(sources(8), UNCHANGED, batch_size=4)
    assert begun == []
    assert len(list(batches)) == 2
    assert len(begun) == 8


@pytest.mark.parametrize("ending", ["closed", "exhausted", "thrown into"])
def test_threads_end_with_the_generator(sources: Callable[[int], list[Source]], ending: str) -> None:
    before = set(threading.enumerate())
    batches = load_batches(sources(40), UNCHANGED, batch_size=4)
    next(batches)
    assert set(threading.enumerate()) - before
    if ending == "closed":
        batches.close()
    elif ending == "exhausted":
        assert len(list(batches)) == 9
    else:
        with pytest.raises(KeyboardInterrupt):
            batches.throw(KeyboardInterrupt())
    assert set(threading.enumerate()) <= before


def test_what_was_queued_is_not_decoded_after_closing(
    sources: Callable[[int], list[Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slow thread at a time: of the 12 images queued, most are dropped when the consumer stops."""
    begun: list[str] = []

    def slow(source: Pixels, _: Preprocess, **__: str) -> np.ndarray:
        begun.append(source.name)
        time.sleep(0.03)
        return np.asarray(source.image)

    monkeypatch.setattr(loading, "decode", slow)
    monkeypatch.setattr(loading, "cpu_count", lambda: 1)
    batches = load_batches(sources(60), UNCHANGED, batch_size=4)
    next(batches)
    batches.close()
    assert 4 <= len(begun) <= 8


# --- one image given more than once ---


@pytest.mark.parametrize("kind", some_slow(["JPEG", "PNG", "TIFF", "GIF", "WEBP", "HEIF"], {"PNG", "HEIF"}))
def test_an_image_given_many_times_is_read_alike_each_time(tmp_path: Path, kind: str) -> None:
    """Oversampling: Pillow reads an image when it is first asked for pixels, and threads ask at once. Twenty times."""
    paths = []
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        paths.append(tmp_path / f"{seed}")
        Image.fromarray(noise).save(paths[-1], kind, **({"exif": exif} if kind in ("JPEG", "TIFF", "PNG") else {}))
    preprocess = Preprocess(20, 20, 1.0, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    places = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 16))
    expected = []
    for path in paths:
        with Image.open(path) as alone:
            expected.append(decode(Pixels(alone, "alone"), preprocess))
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(Image.open(path)) for path in paths]
            sources = as_sources([opened[place] for place in places])
            audit = inspect(tuple(sources))
            assert audit.unreadable == {}
            assert len(set(audit.keys)) == 3
            for batch in load_batches(sources, preprocess, batch_size=16):
                assert batch.unreadable == {}
                for position, pixels in zip(batch.positions, batch.pixels, strict=True):
                    assert np.array_equal(pixels, expected[places[position]])


def test_two_images_of_one_open_file_are_not_read_at_once(tmp_path: Path) -> None:
    """They move the same place in the file."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    for _ in range(20):
        with (tmp_path / "x.png").open("rb") as file:
            sources = as_sources([Image.open(file), Image.open(file)])
            assert sources[0].lock is sources[1].lock
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(read_image, sources)
            assert np.array_equal(np.asarray(first), noise)
            assert np.array_equal(np.asarray(second), noise)


def test_locks_go_with_their_images() -> None:
    before = len(sources_._locks)  # how many are kept shows nowhere else
    kept = as_sources([Image.new("RGB", (4, 4)) for _ in range(50)])
    assert len(sources_._locks) == before + 50
    del kept
    gc.collect()
    assert len(sources_._locks) == before


def test_photos_with_next_to_no_contrast_are_told() -> None:
    """8 levels are some, 7 are next to none; one colour is a picture."""
    ramps = [np.full((10, 12, 3), 3, np.uint8) for _ in range(4)]
    ramps[0][0], ramps[1][0], ramps[3][..., 0] = 11, 10, 200
    (batch,) = load_batches([Pixels(Image.fromarray(ramp), "x") for ramp in ramps], UNCHANGED)
    assert batch.flat == (1, 2)
