"""Short memory: batches are split, not tried larger again, and one photo that is too much is an error in words."""

import pytest
import torch

from regraft.engines.microbatches import MicroBatches, memory_for
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


def test_a_batch_is_halved_until_it_fits_and_the_next_starts_there() -> None:
    batches, small = MicroBatches(CPU, "testing on"), Small(3)
    assert batches(10, small) == list(range(10))
    assert small.tried == [[10], [5, 5], [2, 3, 2, 3]]
    assert batches(7, small) == list(range(7))
    assert small.tried[3:] == [[1, 2, 2, 2]]


def test_micro_batches_of_two_have_no_single_photo() -> None:
    batches, small = MicroBatches(CPU, "testing on", least=2), Small(3)
    assert batches(5, small) == list(range(5))
    assert small.tried == [[5], [2, 3]]
    with pytest.raises(TrainingError, match=r"^cpu has no memory for testing on two photos. Use device='cpu'.$"):
        batches(5, Small(2))


def test_no_room_for_one_photo_is_an_error() -> None:
    small = Small(0)
    with pytest.raises(TrainingError, match=r"^cpu has no memory for testing on a single photo. Use device='cpu'.$"):
        MicroBatches(CPU, "testing on")(3, small)
    assert small.tried == [[3], [1, 2], [1, 1, 1]]


def test_no_room_for_work_that_cannot_be_split_is_an_error() -> None:
    with (
        pytest.raises(
            TrainingError, match=r"^cpu has no memory for training. Train fewer stages \(train_from\), or use"
        ),
        memory_for(CPU, "training"),
    ):
        raise torch.OutOfMemoryError
    with pytest.raises(RuntimeError, match="another"), memory_for(CPU, "training"):
        raise RuntimeError("another")


def test_short_memory_is_not_taken_for_a_network_that_cannot_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Top, "forward", full)
    backbone = build_untrained("test_resnet")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        cut_before(backbone.module, backbone.stages()[-1].name, (3, 64, 64))
    assert not isinstance(caught.value, ModelError)
