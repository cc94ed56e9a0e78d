"""Short memory: batches in parts, which are not tried larger again, and words where one photo is too much."""

import numpy as np
import pytest
import torch

from regraft.engines.engine import TorchEngine
from regraft.engines.microbatches import Parts, memory_for
from regraft.errors import ModelError, TrainingError
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import Top, cut_before

CPU = torch.device("cpu")


class Small:
    """Has room for `room` photos at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[list[int]] = []

    def __call__(self, parts: list[slice]) -> list[int]:
        sizes = [rows.stop - rows.start for rows in parts]
        self.tried.append(sizes)
        if max(sizes) > self.room:
            raise torch.OutOfMemoryError
        return [row for rows in parts for row in range(rows.start, rows.stop)]


def test_a_batch_is_halved_until_it_fits_and_the_next_begins_there() -> None:
    parts, small = Parts(CPU, "testing on"), Small(3)
    assert parts(10, small) == list(range(10))
    assert small.tried == [[10], [5, 5], [2, 3, 2, 3]]
    assert parts(7, small) == list(range(7))
    assert small.tried[3:] == [[1, 2, 2, 2]]


def test_parts_of_two_have_no_single_photo() -> None:
    parts, small = Parts(CPU, "testing on", least=2), Small(3)
    assert parts(5, small) == list(range(5))
    assert small.tried == [[5], [2, 3]]
    with pytest.raises(TrainingError, match=r"^cpu has no memory for testing on two photos. Use --device cpu.$"):
        parts(5, Small(2))


def test_no_room_for_one_photo_is_told() -> None:
    small = Small(0)
    with pytest.raises(TrainingError, match=r"^cpu has no memory for testing on a single photo. Use --device cpu.$"):
        Parts(CPU, "testing on")(3, small)
    assert small.tried == [[3], [1, 2], [1, 1, 1]]


def test_work_without_parts_is_told_too() -> None:
    with (
        pytest.raises(
            TrainingError, match=r"^cpu has no memory for training. Train fewer stages \(--train-from\), or use"
        ),
        memory_for(CPU, "training"),
    ):
        raise torch.OutOfMemoryError
    with pytest.raises(RuntimeError, match="another"), memory_for(CPU, "training"):
        raise RuntimeError("another")


def test_the_engine_halves_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    engine = TorchEngine(build_untrained("test_resnet"), CPU)
    side = engine.preprocess.height
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    expected = engine.features(pixels)
    forward = type(engine._module).forward

    def small(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return forward(self, images)  # type: ignore[no-any-return, operator]

    monkeypatch.setattr(type(engine._module), "forward", small)
    assert np.allclose(engine.features(pixels), expected, atol=1e-5)
    assert np.allclose(engine.activations(pixels).numpy(), expected, atol=1e-5)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(engine._module), "forward", full)
    with pytest.raises(
        TrainingError, match=r"cpu has no memory for running the network on a single photo. Use --device"
    ):
        engine.features(pixels)


def test_short_memory_is_not_taken_for_a_network_that_cannot_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Top, "forward", full)
    backbone = build_untrained("test_resnet")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        cut_before(backbone.module, backbone.stages()[-1].name, (3, 64, 64))
    assert not isinstance(caught.value, ModelError)
