"""What the observer hears of a training, resumed ones and broken ones too."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from regraft.errors import TrainingError
from regraft.training.finetuner import TrainingRecord
from regraft.training.loop import run_training


def training(*records: TrainingRecord, fails: bool = False) -> Any:
    """Return a training on 10 photos in batches of 4 that yields these records."""

    def train() -> Iterator[TrainingRecord]:
        yield from records
        if fails:
            raise TrainingError("the loss is not finite")

    return SimpleNamespace(train=train, images_from=lambda step: 10 - 4 * step)


STEPS = [TrainingRecord(1, step, 3, 1.0, 0.1, photos) for step, photos in ((1, 4), (2, 4), (3, 2))]


def test_progress_counts_photos(listener: Any) -> None:
    shares: list[float] = []
    run_training(training(*STEPS), "top", listener, pace=shares.append)
    assert listener.heard == [
        ("begin", ("top", 10)),
        *[("advance", photos) for photos in (4, 4, 2)],
        ("end", None),
    ]
    assert shares == [1 / 3, 2 / 3, 1.0]


def test_what_was_done_before_is_no_progress(listener: Any) -> None:
    run_training(training(*STEPS[1:]), "top", listener)
    assert listener.heard[0] == ("begin", ("top", 6))


def test_a_training_that_fails_ends_its_progress(listener: Any) -> None:
    with pytest.raises(TrainingError):
        run_training(training(STEPS[0], fails=True), "top", listener)
    assert listener.heard[-1] == ("end", None)


def test_a_training_without_records_says_nothing(listener: Any) -> None:
    run_training(training(), "top", listener)
    assert listener.heard == []
