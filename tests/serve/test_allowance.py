"""Bytes are counted once, in every allowance that they are held in, and are given back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from regraft.serve.allowance import Allowance, OverAllowanceError


def test_what_is_held_within_another() -> None:
    memory = Allowance(10)
    with Allowance(8, within=memory) as first, Allowance(8, within=memory) as second:
        first.take(8)
        with pytest.raises(OverAllowanceError) as own:
            first.take(1)
        with pytest.raises(OverAllowanceError) as all_together:
            second.take(3)
        assert (own.value.of, all_together.value.of) == (first, memory)
        second.take(2)
        first.give_back(3)
        second.take(3)
        assert (first.held, second.held, memory.held) == (5, 5, 10)
        first.give_back(100)  # no more than is held
        assert (first.held, memory.held) == (0, 5)
    assert memory.held == 0


def test_after_its_block_nothing_is_held() -> None:
    """A thread may still fetch what nobody waits for any more."""
    memory = Allowance(10)
    with Allowance(10, within=memory) as request:
        request.take(4)
    with pytest.raises(OverAllowanceError):
        request.take(1)
    request.give_back(4)
    assert (request.held, memory.held) == (0, 0)


def test_many_threads_hold_all_that_may_be_held_and_no_byte_more() -> None:
    memory = Allowance(1000)
    requests = [Allowance(300, within=memory) for _ in range(5)]

    def take(number: int) -> int:
        try:
            requests[number % 5].take(1)
        except OverAllowanceError:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        taken = sum(pool.map(take, range(3000)))
    assert taken == memory.held == sum(request.held for request in requests) == 1000
    assert max(request.held for request in requests) <= 300
