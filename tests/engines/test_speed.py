"""Timing work: the least of several runs, without the time that other programs took."""

import pytest
import torch

from regraft.engines import speed
from regraft.engines.speed import Speeds, preemptions, seconds_of

CPU = torch.device("cpu")


class Machine:
    """A clock, the processor time used, and the number of times that it was taken away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.used, self.lost, self.runs = 0.0, 0.0, 0, 0
        monkeypatch.setattr(speed.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(speed.time, "process_time", lambda: self.used)
        monkeypatch.setattr(speed, "preemptions", lambda: self.lost)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def work(self, *runs: tuple[float, float, int]) -> None:
        """Do the next of `runs`: seconds, seconds of the processors, and how often they were taken away."""
        seconds, used, lost = runs[min(self.runs, len(runs) - 1)]
        self.now, self.used, self.lost, self.runs = (
            self.now + seconds,
            self.used + used,
            self.lost + lost,
            self.runs + 1,
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_the_least_of_the_runs_after_the_first_counts(machine: Machine) -> None:
    found = seconds_of(lambda: machine.work((0.1, 0.2, 0), (0.3, 0.6, 0), (0.2, 0.4, 0), (0.25, 0.5, 0)), CPU)
    assert (found, machine.runs) == (pytest.approx(0.2), 4)


def test_work_that_takes_long_is_done_once(machine: Machine) -> None:
    assert seconds_of(lambda: machine.work((1.5, 3.0, 0)), CPU, enough=1.0) == 1.5
    assert machine.runs == 1


def test_the_start_of_an_accelerator_does_not_count(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run loads the accelerator's libraries, for 9 s, and the second is the first of the others."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    found = seconds_of(
        lambda: machine.work((9.0, 9.0, 0), (0.3, 0.3, 0), (0.2, 0.2, 0), (0.25, 0.25, 0)),
        torch.device("cuda"),
        enough=0.4,
    )
    assert (found, machine.runs) == (pytest.approx(0.2), 4)


def test_short_work_is_done_until_it_is_enough(machine: Machine) -> None:
    seconds_of(lambda: machine.work((0.25, 0.5, 0)), CPU, enough=0.6, runs=20)
    assert machine.runs == 1 + 3  # 0.75 s are more than 0.6
    seconds_of(lambda: machine.work((0.001, 0.002, 0)), CPU, enough=0.6, runs=5)
    assert machine.runs == 4 + 1 + 5


def test_time_that_other_programs_took_does_not_count(machine: Machine) -> None:
    """Of 0.8 s two threads computed 0.2 s each; in the second run nobody disturbed one that waited for something."""
    disturbed, waiting = (0.8, 0.4, 100), (0.7, 0.1, 3)
    assert seconds_of(lambda: machine.work(waiting, disturbed, waiting), CPU) == pytest.approx(0.2)
    machine.runs = 0
    assert seconds_of(lambda: machine.work(waiting), CPU) == pytest.approx(0.7)


def test_on_a_busy_machine_work_is_repeated_for_some_time(machine: Machine) -> None:
    """Each run takes 0.6 s, of which the work itself takes a tenth: no two of them are enough, and four take 2.4 s."""
    seconds_of(lambda: machine.work((0.6, 0.12, 200)), CPU, enough=0.5, runs=20)
    assert machine.runs == 4


def test_preemptions_are_counted() -> None:
    before = preemptions()
    assert before >= 0
    assert preemptions() >= before


def test_what_is_known_is_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "is_busy", lambda: False)
    assert Speeds(CPU).timed("work", lambda: 5.0) == 5.0
    assert Speeds(CPU).timed("work", lambda: 6.0) == 5.0
    assert Speeds(CPU, keep=False).timed("work", lambda: 7.0) == 7.0
    assert Speeds(CPU).timed("work", lambda: 8.0) == 5.0
