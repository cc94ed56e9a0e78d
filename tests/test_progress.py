"""Progress of a pass: begun, advanced and ended, whatever happens in it; and a pass that stalls."""

import time

import pytest

from regraft.progress import Observer, progress
from regraft.training.finetuner import TrainingRecord


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[object] = []

    def say(self, text: str) -> None:
        self.heard.append(text.partition(" for")[0])

    def begin(self, task: str, total: int) -> None:
        self.heard.append(("begin", task, total))

    def advance(self, count: int) -> None:
        self.heard.append(count)

    def complete(self) -> None:
        self.heard.append("complete")

    def end(self) -> None:
        self.heard.append("end")


def test_a_pass_is_reported() -> None:
    listener = Listener()
    with progress(listener, "features", 10) as advance:
        advance(7)
        advance(3)
    assert listener.heard == [("begin", "features", 10), 7, 3, "complete", "end"]


def test_a_pass_that_fails_ends() -> None:
    listener = Listener()
    with pytest.raises(ZeroDivisionError), progress(listener, "features", 10):
        raise ZeroDivisionError
    assert listener.heard == [("begin", "features", 10), "end"]


def test_a_pass_that_stalls_is_reported() -> None:
    listener = Listener()
    with progress(listener, "features", 10, patience=0.2) as advance:
        time.sleep(0.8)
        advance(10)
    assert listener.heard[1:] == ["features: nothing has been done", "features: going on", 10, "complete", "end"]


def test_an_observer_ignores_everything(capfd: pytest.CaptureFixture[str]) -> None:
    observer = Observer()
    with progress(observer, "features", 1) as advance:
        advance(1)
        observer.record("all photos", TrainingRecord(1, 1, 2, 0.5, 0.1))  # it has all that the protocol names
    assert vars(observer) == {}
    assert capfd.readouterr() == ("", "")
