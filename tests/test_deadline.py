"""Python code with a time limit, which leaves nothing behind."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from regraft.deadline import deadline


class LateError(Exception):
    pass


def endless() -> None:
    while True:
        pass


def test_a_loop_is_interrupted() -> None:
    started, before = time.thread_time(), sys.gettrace()
    with pytest.raises(LateError), deadline(0.2, LateError(), within=(__name__,)):
        endless()
    assert 0.2 <= time.thread_time() - started < 0.4
    assert sys.gettrace() is before


def test_what_ends_in_time_is_left_alone() -> None:
    with deadline(30, LateError(), within=(__name__,)):
        assert sum(range(1000)) == 499_500


def test_waiting_for_a_processor_is_not_counted() -> None:
    """A thread that sleeps is to the clock as one that other programs keep waiting."""
    with deadline(0.1, LateError(), within=(__name__,)):
        time.sleep(0.2)
        result = sum(range(10))
    assert result == 45


def test_lines_of_other_modules_are_not_interrupted() -> None:
    with deadline(0.001, LateError(), within=("another",)):
        sum(range(1_000_000))
        result = sorted(range(3), reverse=True)
    assert result == [2, 1, 0]


def test_an_error_of_the_work_itself_comes_through() -> None:
    before = sys.gettrace()
    with pytest.raises(ZeroDivisionError), deadline(30, LateError(), within=(__name__,)):
        raise ZeroDivisionError
    assert sys.gettrace() is before


def test_what_a_block_has_opened_is_closed() -> None:
    closed: list[bool] = []

    @contextmanager
    def opened() -> Iterator[None]:
        try:
            yield
        finally:
            closed.append(True)

    with opened(), pytest.raises(LateError), deadline(0.1, LateError(), within=(__name__,)):
        endless()
    assert closed == [True]
