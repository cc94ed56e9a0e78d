"""What workers tell the process that started them: progress, failure, the result. Kept by an actor of the cluster.

The first worker hears of progress as any process does, from its observer; this one hands on what it hears.
"""

import hashlib
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regraft.errors import ClusterError, RegraftError, printable
from regraft.progress import Observer, ProgressRecord

_SECONDS_BETWEEN = 0.3  # parcels of progress
_FREQUENT = ("advance", "record")
_ENDS = {"begin": "end", "begin_part": "end_part", "begin_series": "end_series"}
Event = tuple[str, tuple[Any, ...]]  # a method of `Observer`, and what it is called with


@dataclass(frozen=True)
class Outcome:
    """How the workers' work ended: one of both is None.

    Attributes:
        result: of the first worker, as it was pickled there.
        failure: of whichever worker failed first by itself, likewise.
    """

    result: bytes | None = None
    failure: bytes | None = None


class Desk:
    """Keeps what is to be done, and what is told, outside of workers, which may end at any time.

    Args:
        work: pickled, for the workers.
    """

    def __init__(self, work: bytes) -> None:
        self._work, self._attempt = work, 0
        self._events: list[Event] = []
        self._outcome = Outcome()
        self._groups: list[Any] = []

    def work(self) -> bytes:
        """Return what is to be done."""
        return self._work

    def begin(self) -> int:
        """Return how often the first worker has begun, this time included; what an earlier one told is dropped."""
        self._attempt += 1
        self._events.clear()
        return self._attempt

    def tell(self, attempt: int, events: list[Event]) -> None:
        """Take what the observer of an attempt heard."""
        if attempt == self._attempt:
            self._events += events

    def fail(self, failure: bytes) -> None:
        """Take why a worker cannot go on; the first counts."""
        if self._outcome == Outcome():
            self._outcome = Outcome(failure=failure)

    def has_failed(self) -> bool:
        """Tell whether a worker has said why it cannot go on."""
        return self._outcome.failure is not None

    def finish(self, result: bytes, digest: str) -> bool:
        """Take the first worker's result, unless other bytes came than it sent; tell whether it was taken."""
        if hashlib.sha256(result).hexdigest() != digest:
            return False
        self._outcome = Outcome(result=result)
        return True

    def attempt(self) -> int:
        """Return the number of the attempt, 0 before the first."""
        return self._attempt

    def take(self) -> tuple[int, list[Event]]:
        """Return the number of the attempt, 0 before the first, and what it told since this was asked last."""
        taken, self._events = self._events, []
        return self._attempt, taken

    def join(self, group: Any) -> None:
        """Take the placement group that a worker is in, before it begins."""
        self._groups = [group]  # those of earlier attempts are gone

    def groups(self) -> list[Any]:
        """Return the placement group of the workers, if they have begun."""
        return self._groups

    def outcome(self) -> Outcome:
        """Return how it ended."""
        return self._outcome


class RelayObserver(Observer):
    """Hands on what it hears: at once, but for what comes many times a second, which is sent a few times.

    Args:
        send: takes what was heard since it was called last.
    """

    def __init__(self, send: Callable[[list[Event]], None]) -> None:
        self._send = send
        self._heard: list[Event] = []
        self._sent = 0.0
        self._lock = threading.Lock()  # watchdogs speak from threads of their own

    def say(self, text: str) -> None:
        """Hand on a finding."""
        self._hear("say", text)

    def begin(self, task: str, total: int) -> None:
        """Hand on the start of a pass."""
        self._hear("begin", task, total)

    def advance(self, count: int) -> None:
        """Hand on how many more are done."""
        self._hear("advance", count)

    def complete(self) -> None:
        """Hand on that the rest need not be done."""
        self._hear("complete")

    def end(self) -> None:
        """Hand on the end of the pass."""
        self._hear("end")

    def begin_series(self, task: str, parts: int) -> None:
        """Hand on that passes follow that belong together."""
        self._hear("begin_series", task, parts)

    def begin_part(self, task: str, total: int) -> None:
        """Hand on the start of one of these."""
        self._hear("begin_part", task, total)

    def end_part(self) -> None:
        """Hand on its end."""
        self._hear("end_part")

    def reach_part(self, over: int) -> None:
        """Hand on how many are over."""
        self._hear("reach_part", over)

    def end_series(self) -> None:
        """Hand on the end of all."""
        self._hear("end_series")

    def record(self, training: str, record: ProgressRecord) -> None:
        """Hand on what an update or an epoch came to."""
        self._hear("record", training, record)

    def flush(self) -> None:
        """Send what was heard."""
        with self._lock:
            self._flush()

    def _hear(self, method: str, *given: Any) -> None:
        with self._lock:
            last = self._heard[-1] if self._heard else ("", ())
            if method == last[0] == "advance":
                self._heard[-1] = ("advance", (last[1][0] + given[0],))
            else:
                self._heard.append((method, given))
            if method not in _FREQUENT or time.monotonic() - self._sent > _SECONDS_BETWEEN:
                self._flush()

    def _flush(self) -> None:
        if self._heard:
            self._send(self._heard)
        self._heard, self._sent = [], time.monotonic()


class Replay:
    """Repeats to an observer what the first worker's heard, attempt by attempt.

    Args:
        observer: hears it.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._attempt = 0
        self._open: list[str] = []  # what ends the passes that have begun

    def repeat(self, attempt: int, events: list[Event]) -> None:
        """Repeat what was told; where a new attempt has begun, the passes of the one before are ended."""
        if attempt > self._attempt:
            self.close()
            if self._attempt:
                self._observer.say(f"a worker of the Ray cluster has ended; all begin again, attempt {attempt}")
            self._attempt = attempt
        for method, given in events:
            if method in _ENDS:
                self._open.append(_ENDS[method])
            elif self._open and method == self._open[-1]:
                self._open.pop()
            getattr(self._observer, method)(*given)

    def close(self) -> None:
        """End the passes that have begun and will not end by themselves."""
        while self._open:
            getattr(self._observer, self._open.pop())()


def packed(error: BaseException) -> bytes:
    """Return an exception as bytes, with its words alone where it cannot be carried whole."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        kind = ClusterError if isinstance(error, RegraftError) else RuntimeError
        return pickle.dumps(kind(f"{type(error).__name__}: {printable(error, lines=True)}"))
    return data
