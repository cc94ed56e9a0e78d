"""Time for trying things: what is left of it, what may begin, and what a forecast rests on."""

from collections.abc import Callable

import pytest

from regraft.training.checkpoints import Run
from regraft.transfer.budget import Clock, OverBudgetError, PersistentClock, forecast

Reopen = Callable[[], Run]


def test_a_part_of_the_time_is_an_equal_share_of_what_is_left(now: list[float]) -> None:
    whole = Clock(100.0)
    now[0] += 40.0
    assert whole.share(3).left() == pytest.approx(20.0)
    now[0] += 70.0
    assert whole.left() == pytest.approx(-10.0)
    assert whole.share(3).left() == 0.0
    assert not whole.may_begin("anything")


def test_replayed_seconds_are_subtracted_from_the_part_and_the_whole(now: list[float]) -> None:
    whole = Clock(100.0)
    part = whole.share(2)
    part.replay(30.0)
    assert (part.left(), whole.left()) == (20.0, 70.0)


def test_what_has_begun_in_time_may_be_resumed_after_it(now: list[float], reopen: Reopen) -> None:
    clock = PersistentClock(100.0, reopen(), "clock")
    assert clock.may_begin("fold 1")
    now[0] += 101.0
    assert not clock.may_begin("fold 2")
    clock.tick()
    clock = PersistentClock(100.0, reopen(), "clock")
    assert clock.left() == -1.0
    assert clock.may_begin("fold 1")
    assert not clock.may_begin("fold 2")


def test_a_persistent_clock_has_the_seconds_of_earlier_processes_already(now: list[float], reopen: Reopen) -> None:
    clock = PersistentClock(100.0, reopen(), "clock")
    clock.replay(50.0)
    assert clock.left() == 100.0


def test_moments_are_of_all_processes_together(now: list[float], reopen: Reopen) -> None:
    clock = PersistentClock(100.0, reopen(), "clock")
    now[0] += 10.0
    assert clock.mark("top begins") == 10.0
    now[0] += 20.0
    clock.mark("top ends")
    now[0] += 500.0  # nobody had time
    clock = PersistentClock(100.0, reopen(), "clock")
    assert clock.mark("whole begins") == 30.0
    now[0] += 5.0
    assert [clock.mark(moment) for moment in ("top begins", "top ends", "whole ends")] == [10.0, 30.0, 35.0]


def test_the_forecast_is_of_the_pace_without_the_slow_start(now: list[float]) -> None:
    """Ten seconds for a tenth: ninety more for this training, and another hundred for the second."""

    def hear(clock: Clock, trainings: int) -> None:
        pace = forecast(clock, trainings)
        now[0] += 1000.0  # before the first step is done
        pace(0.1)
        now[0] += 10.0
        pace(0.2)

    hear(Clock(1000.0 + 10.0 + 181.0), 2)
    with pytest.raises(OverBudgetError) as caught:
        hear(Clock(1000.0 + 10.0 + 179.0), 2)
    assert caught.value.args[0] == pytest.approx(180.0)


def test_what_is_done_once_has_a_forecast_of_its_own(now: list[float]) -> None:
    """A tenth in ten seconds: ninety more for the pass over the views, whatever number of trainings follows."""

    def hear(clock: Clock) -> None:
        pace = forecast(clock, 5)
        pace(0.0, once=True)
        now[0] += 10.0
        pace(0.1, once=True)

    hear(Clock(101.0))
    with pytest.raises(OverBudgetError) as caught:
        hear(Clock(99.0))
    assert caught.value.args[0] == pytest.approx(90.0)
