"""Activations that have changed on the disk: they are computed again, and that is said."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.damages import damages

from regraft.cache import features_folder
from regraft.data.audit import inspect
from regraft.data.layouts import find_samples
from regraft.engines.pytorch import TorchEngine
from regraft.features.activations import ViewSet, cache_views
from regraft.images.augment import Augmentation
from regraft.networks.backbone import Backbone
from regraft.networks.cutting import Trunk

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("no_waiting")
VIEWS, ROWS = 3, 36  # of twelve photos: one batch of 32 and one of four


class Activations:
    """Three views of twelve photos at a cut, from the cache."""

    def __init__(self, folder: Path, backbone: Backbone, listener: Any) -> None:
        samples = find_samples(folder)["train"]
        self.view_set = ViewSet(samples.sources, inspect(samples.sources).keys, Augmentation())
        cut = backbone.stages()[-2].name
        self.engine = TorchEngine(backbone, torch.device("cpu"), Trunk(backbone.module, cut))
        self.listener = listener

    def get(self, about: str = "a") -> torch.Tensor:
        before = len(self.listener.heard)
        given = (self.view_set, self.engine, {"network": about})
        views = cache_views(*given, count=VIEWS, limit=10**9, observer=self.listener)
        assert views.kind == "cached"
        self.computed = sum(what for kind, what in self.listener.heard[before:] if kind == "advance")
        (found,) = views.stream([[(row // VIEWS, row % VIEWS) for row in range(ROWS)]])
        return found

    def expected(self) -> torch.Tensor:
        wanted = [(row // VIEWS, row % VIEWS) for row in range(ROWS)]
        batches = self.view_set.pixels(wanted, self.engine.preprocess, batch_size=32)
        return torch.cat([self.engine.activations(pixels).half().float() for pixels in batches])


@pytest.fixture
def activations(photos: Photos, backbone: Backbone, listener: Any) -> Activations:
    return Activations(photos(red=6, blue=6), backbone, listener)


def views_file() -> Path:
    (path,) = features_folder().glob("*.views")
    return path


def change_row(path: Path, row: int, value: bytes) -> None:
    """Write `value` over the beginning of a row's values."""
    data = bytearray(path.read_bytes())
    width = (len(data) - 8 * ROWS) // ROWS
    data[row * width : row * width + len(value)] = value
    path.write_bytes(data)


@damages
def test_damaged_activations_are_computed_again(
    activations: Activations, damage: Callable[[Path], None], listener: Any
) -> None:
    expected = activations.expected()
    assert torch.equal(activations.get(), expected)
    path = views_file()
    size = path.stat().st_size
    damage(path)
    assert torch.equal(activations.get(), expected)
    assert activations.computed > 0
    (line,) = listener.said
    assert f"activations in {path} are damaged: they are " in line
    assert (path.is_symlink(), path.stat().st_size) == (False, size)
    assert torch.equal(activations.get(), expected)
    assert (activations.computed, len(listener.said)) == (0, 1)


@pytest.mark.parametrize(("rows", "computed"), [([0], 32), ([35], 4), ([3, 7, 31], 32), ([31, 32], 36)], ids=str)
def test_whole_batches_are_computed_again(
    activations: Activations, listener: Any, rows: list[int], computed: int
) -> None:
    """The last digits depend on how many views go through the network together."""
    expected = activations.get().clone()
    for row in rows:
        change_row(views_file(), row, b"\xff\x7f")  # a NaN
    assert torch.equal(activations.get(), expected)
    assert activations.computed == computed
    assert listener.said == [f"{len(rows)} of the activations in {views_file()} are damaged: they are computed again"]


def test_activations_of_another_network_or_row_are_computed_again(activations: Activations, listener: Any) -> None:
    expected = activations.get().clone()
    own = views_file()
    data = own.read_bytes()
    width = (len(data) - 8 * ROWS) // ROWS
    swapped = data[width : 2 * width] + data[:width] + data[2 * width : ROWS * width]
    checks = data[ROWS * width :]
    own.write_bytes(swapped + checks[8:16] + checks[:8] + checks[16:])  # two rows and their checks change places
    assert torch.equal(activations.get(), expected)
    assert listener.said == [f"2 of the activations in {own} are damaged: they are computed again"]
    own.unlink()
    activations.get("b")
    views_file().replace(own)
    assert torch.equal(activations.get(), expected)
    assert listener.said[1:] == [f"36 of the activations in {own} are damaged: they are computed again"]


def test_an_activation_without_its_check_counts_as_not_computed(activations: Activations, listener: Any) -> None:
    """So does what a killed run had not noted yet: there is nothing to say."""
    expected = activations.get().clone()
    path = views_file()
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(8))
    assert torch.equal(activations.get(), expected)
    assert (activations.computed, listener.said) == (4, [])
    assert path.read_bytes() == data


def test_checks_of_activations_are_what_the_format_says(activations: Activations) -> None:
    expected = activations.get()
    path = views_file()
    digest = hashlib.sha256(path.name.encode()).digest()
    for row in range(ROWS):
        values = struct.pack(f"<{expected[row].numel()}e", *expected[row].flatten().tolist())
        check = hashlib.sha256(digest + struct.pack("<Q", row) + values).digest()[:8]
        assert path.read_bytes()[8 * (row - ROWS) :][:8] == check


def test_a_file_of_activations_is_looked_at_in_parts(
    activations: Activations, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = activations.get().clone()
    path = views_file()
    change_row(path, 35, b"\0\0")
    data = path.read_bytes()
    unknown = len(data) - 8 * (ROWS - 5)  # the checks of rows 5 to 9
    path.write_bytes(data[:unknown] + bytes(40) + data[unknown + 40 :])
    monkeypatch.setattr("regraft.features.activations._CHUNK", 5 * 2 * expected[0].numel())  # one part is passed over
    assert torch.equal(activations.get(), expected)
    assert activations.computed == ROWS
    assert listener.said == [f"1 of the activations in {views_file()} are damaged: they are computed again"]


def test_activations_reach_the_disk_before_their_checks(
    activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, noted = np.memmap.flush, []

    def watched(self: np.memmap) -> None:
        if self.dtype == np.float16:
            noted.append(any(views_file().read_bytes()[-8 * ROWS :]))
        flush(self)

    monkeypatch.setattr(np.memmap, "flush", watched)
    activations.get()
    assert noted == [False]
    assert all(views_file().read_bytes()[-8 * ROWS + 8 * row :][:8] != bytes(8) for row in range(ROWS))
