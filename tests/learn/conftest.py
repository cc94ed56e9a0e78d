"""What the tests of learning share: content keys, a network with its engine, and an observer that remembers."""

import functools
import hashlib
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from threadpoolctl import threadpool_limits

from regraft.judge import report
from regraft.judge.intervals import bootstrap
from regraft.learn import probe
from regraft.learn.observer import Observer
from regraft.models.backbones import Backbone, load_backbone
from regraft.models.engines import TorchEngine
from regraft.models.heads import select_heads


class Listener(Observer):
    """Remembers what it heard, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def say(self, text: str) -> None:
        self.heard.append(("say", text))

    def begin(self, task: str, total: int) -> None:
        self.heard.append(("begin", (task, total)))

    def advance(self, count: int) -> None:
        self.heard.append(("advance", count))

    def end(self) -> None:
        self.heard.append(("end", None))

    @property
    def said(self) -> list[str]:
        return [str(what) for kind, what in self.heard if kind == "say"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep threads from waiting for each other over a network and matrices this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """End a test that waits, as for somebody to write into a pipe, after a minute."""

    def late(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def key() -> Callable[[object], bytes]:
    """Return a function that makes 32 bytes of anything, as content keys are."""
    return lambda of: hashlib.sha256(str(of).encode()).digest()


@pytest.fixture
def backbone(tiny_network: str) -> Backbone:
    return load_backbone(tiny_network)


@pytest.fixture
def engine(backbone: Backbone) -> TorchEngine:
    return TorchEngine(backbone, torch.device("cpu"))


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw 20 bootstrap samples instead of 1000: where the intervals are not what is tested."""
    monkeypatch.setattr(report, "bootstrap", lambda *given, **named: bootstrap(*given, **{**named, "resamples": 20}))


@pytest.fixture
def few_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose between two strengths of the penalty instead of 13: where the choice is not what is tested."""
    quick = functools.partial(select_heads, strengths=(1.0, 0.1))
    monkeypatch.setattr(probe, "select_heads", quick)
