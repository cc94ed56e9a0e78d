"""Requests wait in order, are answered together, and none spoils another."""

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from regraft.images.sources import EncodedImage
from regraft.serve.batching import Batcher
from regraft.serve.metrics import Metrics
from regraft.serve.refusals import RefusalError


class Slow:
    """Answers with the names of the photos once it may; one called "bad" makes it fail."""

    def __init__(self) -> None:
        self.may, self.begun = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def predict(self, sources: Sequence[EncodedImage]) -> None:
        """Warm up."""

    def explain_each(self, lists: Sequence[Sequence[EncodedImage]]) -> list[Any]:
        self.batches.append([len(one) for one in lists])
        self.begun.release()
        assert self.may.wait(10)
        if any(photo.name == "bad" for one in lists for photo in one):
            raise ZeroDivisionError
        return [SimpleNamespace(names=[photo.name for photo in one]) for one in lists]


def photos(*names: str) -> list[EncodedImage]:
    return [EncodedImage(b"", name) for name in names]


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def batcher(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> Any:
    metrics = Metrics(("a",))
    monkeypatch.setattr(metrics, "count", lambda _: None)
    ready = threading.Event()
    made = Batcher(lambda: slow, [], batch_size=4, max_queue=6, metrics=metrics, on_ready=ready.set)  # type: ignore[arg-type,return-value]
    made.start()
    assert ready.wait(10)
    yield made
    slow.may.set()
    made.close(10)


def test_what_waits_is_answered_together_up_to_the_size_of_a_batch(batcher: Batcher, slow: Slow) -> None:
    first = batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    others = [batcher.submit(photos(*names)) for names in ("bc", "d", "ef")]
    slow.may.set()
    assert [one.result(10).names for one in (first, *others)] == [["a"], ["b", "c"], ["d"], ["e", "f"]]  # type: ignore[attr-defined]
    assert slow.batches == [[1], [2, 1], [2]]  # 2 + 1 + 2 would be five


def test_a_request_larger_than_a_batch_stays_whole(batcher: Batcher, slow: Slow) -> None:
    slow.may.set()
    assert batcher.submit(photos(*"abcdef")).result(10).names == [*"abcdef"]  # type: ignore[attr-defined]
    assert slow.batches == [[6]]


def test_too_many_are_asked_to_come_again(batcher: Batcher, slow: Slow) -> None:
    batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    batcher.submit(photos(*"bcdef"))
    with pytest.raises(RefusalError) as refused:
        batcher.submit(photos("g", "h"))
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    assert str(refused.value) == "5 photos wait, and at most 6 may. Come again in 1 s."
    batcher.submit(photos("g"))


@pytest.mark.parametrize(("rate", "seconds"), [(0.25, "28"), (100.0, "1"), (0.01, "60")])
def test_when_to_come_again_follows_from_the_rate(batcher: Batcher, slow: Slow, rate: float, seconds: str) -> None:
    batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    batcher.submit(photos(*"bcdef"))
    batcher._rate = rate  # 7 photos at 0.25 a second take 28 seconds
    with pytest.raises(RefusalError) as refused:
        batcher.submit(photos("g", "h"))
    assert refused.value.headers == {"Retry-After": seconds}


def test_one_request_s_fault_is_not_the_others(batcher: Batcher, slow: Slow) -> None:
    first = batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    bad, good = batcher.submit(photos("bad")), batcher.submit(photos("b"))
    slow.may.set()
    assert first.result(10)
    assert good.result(10).names == ["b"]  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        bad.result(10)
    assert slow.batches == [[1], [1, 1], [1], [1]]


def test_whoever_has_gone_is_passed_over(batcher: Batcher, slow: Slow) -> None:
    batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    gone, stays = batcher.submit(photos("b")), batcher.submit(photos("c"))
    assert gone.cancel()
    slow.may.set()
    assert stays.result(10)
    assert slow.batches == [[1], [1]]


def test_the_end_answers_what_waits_and_takes_nothing_more(batcher: Batcher, slow: Slow) -> None:
    waiting = [batcher.submit(photos(name)) for name in "abc"]
    threading.Timer(0.05, slow.may.set).start()
    batcher.close(10)
    assert [one.result(0).names for one in waiting] == [["a"], ["b"], ["c"]]  # type: ignore[attr-defined]
    with pytest.raises(RefusalError, match=r"^the classifier is not ready, or stops\. Come again\.$"):
        batcher.submit(photos("d"))


def test_a_predictor_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Exception] = []

    def fails() -> Any:
        raise ZeroDivisionError

    batcher = Batcher(fails, [], batch_size=1, max_queue=1, metrics=Metrics(("a",)), on_failure=heard.append)
    batcher.start()
    batcher.wait()
    batcher.close(10)
    assert isinstance(heard[0], ZeroDivisionError)
    assert not batcher.ready


def test_of_several_successors_the_last_answers_and_each_is_said(batcher: Batcher, slow: Slow) -> None:
    """Four are asked for while photos wait: one is not wanted any more, one cannot be opened; the others come."""
    first = batcher.submit(photos("a"))
    assert slow.begun.acquire(timeout=10)
    named = Slow(), Slow()
    one, gone, broken, last = (
        batcher.succeed_by(make)  # type: ignore[arg-type]
        for make in (lambda: named[0], lambda: named[0], lambda: 1 / 0, lambda: named[1])
    )
    assert gone.cancel()
    slow.may.set()
    assert first.result(10)
    assert one.result(10) is None
    with pytest.raises(ZeroDivisionError):
        broken.result(10)
    assert last.result(10) is None
    named[1].may.set()
    assert batcher.submit(photos("b")).result(10)
    assert (named[0].batches, named[1].batches) == ([], [[1]])
    batcher.close(10)
    assert batcher.succeed_by(lambda: named[0]).cancelled()  # type: ignore[arg-type,return-value]
