"""A budget of memory that threads share."""

import threading
from concurrent.futures import ThreadPoolExecutor

from regraft.images.memory import MemoryBudget


def test_threads_share_a_budget_of_memory() -> None:
    """Three of 40 bytes and a budget of 100: two at a time, and the third when one is done."""
    budget, most, now = MemoryBudget(100), [], []
    barrier = threading.Barrier(2, timeout=30)

    def work(_: int) -> None:
        with budget.reserve(40):
            now.append(1)
            most.append(len(now))
            if len(most) <= 2:
                barrier.wait()  # two are inside at once
            now.pop()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert max(most) == 2


def test_what_is_larger_than_the_budget_gets_its_turn() -> None:
    budget, had = MemoryBudget(100), []
    for amount in (10_000, 100):
        with budget.reserve(amount):
            had.append(amount)
    assert had == [10_000, 100]
