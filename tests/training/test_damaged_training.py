"""Activations and checkpoints that have changed on the disk: they are made again, and that is said."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.damages import DAMAGES, damages, zeroed

from regraft.cache import features_folder
from regraft.data.audit import inspect
from regraft.data.augment import Augmentation
from regraft.data.layouts import find_samples
from regraft.engines.pytorch import TorchEngine
from regraft.errors import ResumeError
from regraft.features.activations import ViewSet, cache_views
from regraft.networks.backbones import Backbone
from regraft.networks.cutting import Trunk
from regraft.training.checkpoints import Run

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("no_waiting")
VIEWS, ROWS = 3, 36  # of twelve photos: one batch of 32 and one of four
ARGUMENTS = {"--epochs": 8, "photos": "abc"}
JOB, ABOUT, TENSORS = ["top", 1], {"step": 4, "best": None}, {"w": torch.arange(1.0, 65.0), "n": torch.tensor(3)}

# --- activations ---


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


# --- checkpoints ---


@pytest.fixture
def run(tmp_path: Path, listener: Any) -> Callable[..., Run]:
    return lambda **changed: Run(tmp_path / "run", {**ARGUMENTS, **changed}, restart=False, observer=listener)


def checkpoint(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "run").glob("*.safetensors")
    return path


def same(saved: Any) -> bool:
    return saved.about == ABOUT and all(torch.equal(saved.tensors[name], tensor) for name, tensor in TENSORS.items())


@damages
def test_a_damaged_checkpoint_counts_as_none(
    run: Callable[..., Run], tmp_path: Path, listener: Any, damage: Callable[[Path], None]
) -> None:
    run().save(JOB, TENSORS, ABOUT)
    assert same(run().load(JOB))
    path = checkpoint(tmp_path)
    damage(path)
    listener.heard.clear()
    again = run()
    assert again.load(JOB) is None
    assert not os.path.lexists(path)
    assert again.load(JOB) is None
    told = f"the checkpoint {path} is damaged: its part is done again"
    assert listener.said == [f"going on from the checkpoints in {tmp_path / 'run'}", told]
    again.save(JOB, TENSORS, ABOUT)
    assert same(run().load(JOB))


def test_every_byte_of_a_checkpoint_counts(run: Callable[..., Run], tmp_path: Path) -> None:
    first = run()
    first.save(JOB, TENSORS, ABOUT)
    path = checkpoint(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert first.load(JOB) is None, place
        assert not path.exists()
    path.write_bytes(whole)
    assert same(first.load(JOB))


@pytest.mark.parametrize("of", ["another job", "another run"])
def test_a_checkpoint_that_is_moved_is_not_taken(
    run: Callable[..., Run], tmp_path: Path, listener: Any, of: str
) -> None:
    run().save(JOB, TENSORS, ABOUT)
    own = checkpoint(tmp_path)
    other = Run(
        tmp_path / "other", ARGUMENTS if of == "another job" else {"--epochs": 9}, restart=False, observer=listener
    )
    other.save(["top", 2] if of == "another job" else JOB, {"w": torch.zeros(64), "n": torch.tensor(1)}, ABOUT)
    (foreign,) = (tmp_path / "other").glob("*.safetensors")
    foreign.replace(own)
    assert run().load(JOB) is None
    assert listener.said[-1] == f"the checkpoint {own} is damaged: its part is done again"


def test_the_digest_of_a_checkpoint_is_what_the_format_says(run: Callable[..., Run], tmp_path: Path) -> None:
    """Arguments, job, text, and shapes as JSON; then the bytes of the tensors by name."""
    run().save(JOB, TENSORS, ABOUT)
    path = checkpoint(tmp_path)
    text = '{"step": 4, "best": null}'
    shapes = '[["n", "torch.int64", []], ["w", "torch.float32", [64]]]'
    begin = f'[{{"--epochs": 8, "photos": "abc"}}, ["top", 1], {json.dumps(text)}, {shapes}]'
    values = struct.pack("<q", 3) + struct.pack("<64f", *range(1, 65))
    digest = hashlib.sha256(begin.encode() + values).hexdigest()
    with safe_open(path, framework="np") as file:
        assert file.metadata() == {"regraft": text, "sha256": digest}
    listed = '[{"--epochs": 8, "photos": "abc"}, ["top", 1], "[1]", []]'  # whole, but no dictionary
    save_file({}, path, {"regraft": "[1]", "sha256": hashlib.sha256(listed.encode()).hexdigest()})
    assert run().load(JOB) is None


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.tensor(True),
        torch.tensor([1.5, -2], dtype=torch.bfloat16),
        torch.arange(6).reshape(2, 3).T,
        torch.arange(16.0).reshape(1, 4, 2, 2).to(memory_format=torch.channels_last),
    ],
    ids=["no numbers", "one boolean", "bfloat16", "transposed", "channels last"],
)
def test_tensors_of_all_kinds_come_back(run: Callable[..., Run], listener: Any, tensor: torch.Tensor) -> None:
    run().save(JOB, {"t": tensor}, {})
    saved = run().load(JOB)
    assert saved is not None
    assert torch.equal(saved.tensors["t"], tensor)
    assert saved.tensors["t"].dtype == tensor.dtype


def test_a_checkpoint_that_may_not_be_read_stays(
    run: Callable[..., Run], tmp_path: Path, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    run().save(JOB, TENSORS, ABOUT)
    monkeypatch.setattr("regraft.training.checkpoints.safe_open", refuse)
    assert run().load(JOB) is None
    assert checkpoint(tmp_path).exists()
    assert not any("damaged" in line for line in listener.said)


LISTS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "gone": lambda path: path.unlink(),
    "a number": lambda path: path.write_text("3"),
    "no arguments": lambda path: path.write_text("{}"),
    "arguments of no kind": lambda path: path.write_text('{"arguments": 5, "sha256": "x"}'),
    "without a digest": lambda path: path.write_text('{"arguments": {"--epochs": 8, "photos": "abc"}}'),
    "another number": lambda path: path.write_text(path.read_text().replace("8,", "9,", 1)),
    "nested deeply": lambda path: path.write_text("[" * 200_000),
    "a large text": lambda path: path.write_text("{" + " " * 2_000_000 + "}"),
}


@pytest.mark.parametrize("damage", LISTS.values(), ids=LISTS)
def test_damaged_arguments_let_nothing_foreign_in(
    run: Callable[..., Run], tmp_path: Path, listener: Any, damage: Callable[[Path], None]
) -> None:
    run().save(JOB, TENSORS, ABOUT)
    arguments = tmp_path / "run" / "arguments.json"
    whole = arguments.read_bytes()
    damage(arguments)
    assert same(run().load(JOB))
    assert listener.said == [f"{arguments} is damaged or gone: only checkpoints of this run are resumed"]
    assert arguments.read_bytes() == whole
    with pytest.raises(ResumeError, match="--epochs: 8 then, 9 now"):
        run(**{"--epochs": 9})
    damage(arguments)
    other = run(**{"--epochs": 9})
    assert other.load(JOB) is None
    with pytest.raises(ResumeError, match="--epochs: 9 then, 8 now"):
        run()


@pytest.mark.parametrize("depth", [300, 990, 5000])
def test_arguments_nested_as_deeply_as_can_be_read(run: Callable[..., Run], tmp_path: Path, depth: int) -> None:
    run().save(JOB, TENSORS, ABOUT)
    deep = '{"a": ' * depth + "1" + "}" * depth
    (tmp_path / "run" / "arguments.json").write_text(f'{{"arguments": {deep}, "sha256": "x"}}')
    assert same(run().load(JOB))


def test_a_fact_that_is_damaged_is_recorded_again(run: Callable[..., Run], tmp_path: Path) -> None:
    run().record_fact("engine", "engine (--engine)", "torch")
    path = checkpoint(tmp_path)
    zeroed(path)
    again = run()
    again.record_fact("engine", "engine (--engine)", "openvino")
    assert run().fact("engine") == "openvino"
