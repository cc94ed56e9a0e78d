"""What a worker's observer hears is heard where the work was started: in order, once, and ended where it breaks off."""

import hashlib
import pickle
from collections.abc import Callable

import pytest
from tests.fixtures.learning import Listener

from regraft.cluster import relay
from regraft.cluster.relay import Desk, Outcome, RelayObserver, Replay, packed
from regraft.errors import ClusterError, DataError, DownloadError, SmallClassesError
from regraft.progress import Detail


def test_an_observer_hears_what_the_workers_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_SECONDS_BETWEEN", 3600.0)
    sent: list[list[relay.Event]] = []
    worker = RelayObserver(sent.append)
    worker.say("first")
    worker.begin("features", 9)
    for _ in range(3):
        worker.advance(3)
    worker.complete()
    worker.end()
    worker.say(Detail("last"))
    worker.flush()
    worker.flush()
    assert [[method for method, _ in parcel] for parcel in sent] == [
        ["say"],
        ["begin"],
        ["advance", "complete"],  # the three in one, with what comes next
        ["end"],
        ["say"],
    ]
    listener = Listener()
    for parcel in sent:
        Replay(listener).repeat(1, pickle.loads(pickle.dumps(parcel)))
    assert listener.heard == [
        ("say", "first"),
        ("begin", ("features", 9)),
        ("advance", 9),
        ("end", None),
        ("say", "last"),
    ]
    assert isinstance(listener.heard[-1][1], Detail)


def test_a_new_attempt_ends_what_the_one_before_had_begun() -> None:
    listener = Listener()
    replay = Replay(listener)
    replay.repeat(0, [])
    replay.repeat(1, [("begin", ("one", 2)), ("end", ()), ("begin", ("two", 2))])
    assert [kind for kind, _ in listener.heard] == ["begin", "end", "begin"]
    replay.repeat(2, [("begin", ("two", 2))])
    assert listener.heard[3:] == [
        ("end", None),
        ("say", "a worker of the Ray cluster has ended; all begin again, attempt 2"),
        ("begin", ("two", 2)),
    ]
    replay.close()
    replay.close()
    assert [kind for kind, _ in listener.heard[6:]] == ["end"]


def test_the_desk_drops_what_an_earlier_attempt_still_tells() -> None:
    desk = Desk(b"work")
    assert (desk.work(), desk.take()) == (b"work", (0, []))
    assert desk.attempt() == 0
    assert desk.begin() == 1
    desk.tell(1, [("say", ("one",))])
    assert desk.attempt() == 1
    assert desk.begin() == 2
    desk.tell(1, [("say", ("late",))])
    desk.tell(2, [("say", ("two",))])
    assert desk.take() == (2, [("say", ("two",))])
    assert desk.take() == (2, [])


def test_the_first_failure_and_a_whole_result_count() -> None:
    desk = Desk(b"")
    assert not desk.finish(b"result", hashlib.sha256(b"other").hexdigest())
    assert desk.outcome() == Outcome()
    assert desk.finish(b"result", hashlib.sha256(b"result").hexdigest())
    assert desk.outcome() == Outcome(result=b"result")
    failing = Desk(b"")
    failing.fail(b"one")
    failing.fail(b"two")
    assert (failing.has_failed(), failing.outcome()) == (True, Outcome(failure=b"one"))


@pytest.mark.parametrize(
    "error",
    [DataError("no photos"), SmallClassesError("too few", ["ant"]), DownloadError("away", "offline"), OSError(2)],
)
def test_errors_travel_whole(error: Exception) -> None:
    found = pickle.loads(packed(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_errors_that_cannot_be_carried_travel_as_words() -> None:
    class OwnError(DataError):
        def __init__(self, hook: Callable[[], None]) -> None:
            super().__init__("no\x1b photos")
            self.hook = hook

    found = pickle.loads(packed(OwnError(lambda: None)))
    assert type(found) is ClusterError
    assert str(found) == "OwnError: no\\x1b photos"
