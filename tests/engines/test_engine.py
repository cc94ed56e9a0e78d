"""Batches in flight: in order, never too many, and an end whatever happens."""

import gc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from regraft.engines.engine import Engine, run_ahead
from regraft.images.loading import Batch
from regraft.images.preprocess import Preprocess

PREPROCESS = Preprocess(4, 4, 1.0, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)


class Slow(Engine):
    """Gives the first value of each image, and only when it is asked; remembers how much was in flight."""

    preprocess, name = PREPROCESS, "slow"

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.begun: list[int] = []
        self.open = self.most = 0

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return self.start(pixels)()

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        assert len(pixels), "an engine is not asked for nothing"
        self.begun.append(int(pixels[0, 0, 0, 0]))
        self.open += 1
        self.most = max(self.most, self.open)

        def wait() -> np.ndarray:
            self.open -= 1
            if pixels[0, 0, 0, 0] == 99:
                raise ZeroDivisionError("the engine broke")
            return pixels[:, 0, 0, :1].astype(np.float32)

        return wait


def batch(first: int, readable: int = 2, unreadable: int = 0) -> Batch:
    pixels = np.full((readable, 4, 4, 3), first, dtype=np.uint8)
    reasons = {10 * first + readable + number: "damaged" for number in range(unreadable)}
    return Batch(10 * first + np.arange(readable), pixels, reasons)


@pytest.mark.parametrize("ahead", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_batches_come_in_order_and_never_too_many_are_in_flight(ahead: int, count: int) -> None:
    engine, taken = Slow(ahead), 0

    def batches() -> Iterator[Batch]:
        nonlocal taken
        for number in range(count):
            taken += 1
            yield batch(number)

    given = 0
    for found, features in run_ahead(engine, batches()):
        assert found.positions.tolist() == [10 * given, 10 * given + 1]
        assert features.tolist() == [[given], [given]]
        given += 1
        assert taken <= given + ahead - 1  # nothing is decoded that the engine has no room for
        assert engine.open <= ahead - 1
    assert given == count
    assert engine.begun == list(range(count))
    assert engine.most == min(ahead, count)
    assert engine.open == 0


@pytest.mark.parametrize("ahead", [1, 3])
def test_batches_of_unreadable_photos_cost_the_engine_nothing(ahead: int) -> None:
    given = [batch(0, 0, 2), batch(1), batch(2, 0, 1), batch(3, 0, 3), batch(4, 1, 1), batch(5, 0, 1)]
    engine = Slow(ahead)
    found = list(run_ahead(engine, given))
    assert [one.batch for one in found] == given
    assert [len(one.features) for one in found] == [0, 2, 0, 0, 1, 0]
    assert engine.begun == [1, 4]


def test_nothing_begins_before_it_is_asked_for() -> None:
    engine = Slow(3)
    computed = run_ahead(engine, [batch(0)])
    assert engine.begun == []
    assert len(list(computed)) == 1


@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("broken", [0, 2, 4])
def test_an_error_of_the_engine_surfaces_after_what_came_before_it(ahead: int, broken: int) -> None:
    given = [batch(99 if number == broken else number) for number in range(5)]
    computed = run_ahead(Slow(ahead), given)
    assert [int(next(computed).batch.positions[0]) // 10 for _ in range(broken)] == list(range(broken))
    with pytest.raises(ZeroDivisionError, match="the engine broke"):
        next(computed)


def test_an_error_of_the_batches_surfaces() -> None:
    def batches() -> Iterator[Batch]:
        yield batch(0)
        raise OSError("the disk broke")

    with pytest.raises(OSError, match="the disk broke"):
        list(run_ahead(Slow(1), batches()))


def test_closing_early_begins_nothing_more_and_frees_what_is_in_flight() -> None:
    engine, made = Slow(3), []

    def batches() -> Iterator[Batch]:
        for number in range(9):
            one = batch(number)
            made.append(weakref.ref(one))
            yield one

    computed = run_ahead(engine, batches())
    next(computed)
    computed.close()  # type: ignore[attr-defined]
    assert engine.begun == [0, 1, 2]
    gc.collect()
    assert [reference() for reference in made] == [None] * 3
