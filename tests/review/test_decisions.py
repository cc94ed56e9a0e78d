"""The log of decisions: what counts, who wins, what survives a kill, and what is no such file."""

import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from regraft.errors import DataError, OptionError, OutputError
from regraft.images.sources import TableCell
from regraft.review.decision import Action
from regraft.review.decisions import DecisionStore

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> DecisionStore:
    return DecisionStore(tmp_path / "decisions.sqlite")


def said(store: DecisionStore) -> dict[bytes, tuple[str, str | None, str]]:
    return {key: (one.action.value, one.label, one.reviewer) for key, one in store.state().items()}


def test_a_decision_is_kept_with_all_that_is_known_of_it(store: DecisionStore, tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = store.record(A, tmp_path / "a.jpg", "relabel", " dog ", reviewer=" Ada ")
    (kept,) = DecisionStore(store.path).log()
    assert kept == made
    assert (kept.number, kept.key, kept.path) == (1, A, str(tmp_path / "a.jpg"))
    assert (kept.action, kept.label, kept.reviewer, kept.undoes) == (Action.relabel, "dog", "Ada", None)
    assert before <= kept.time <= datetime.now(UTC)


def test_undo_takes_back_the_reviewers_own_last_decision_and_the_log_keeps_all(store: DecisionStore) -> None:
    store.record(A, "a.jpg", "confirm", "cat", reviewer="ada")
    store.record(B, "b.jpg", "exclude", reviewer="ada")
    store.record(C, "c.jpg", "relabel", "dog", reviewer="bob")
    undone = store.undo("ada")
    assert undone is not None
    assert (undone.key, undone.action) == (B, Action.exclude)
    assert said(store) == {A: ("confirm", "cat", "ada"), C: ("relabel", "dog", "bob")}
    assert store.undo("ada") is not None  # the one before it
    assert store.undo("ada") is None
    assert said(store) == {C: ("relabel", "dog", "bob")}
    assert [(one.action.value, one.undoes) for one in store.log()] == [
        ("confirm", None),
        ("exclude", None),
        ("relabel", None),
        ("undo", 2),
        ("undo", 1),
    ]


def test_of_two_reviewers_the_later_counts_and_both_are_kept(store: DecisionStore) -> None:
    store.record(A, "a.jpg", "relabel", "dog", reviewer="ada")
    store.record(B, "b.jpg", "confirm", "cat", reviewer="ada")
    store.record(A, "a.jpg", "exclude", reviewer="bob")
    store.record(B, "b.jpg", "relabel", "cat", reviewer="bob")  # which says the same
    assert said(store) == {A: ("exclude", None, "bob"), B: ("relabel", "cat", "bob")}
    (both,) = store.conflicts()
    assert [(one.reviewer, one.label) for one in both] == [("ada", "dog"), ("bob", None)]
    store.record(A, "a.jpg", "exclude", reviewer="ada")  # who gives in
    assert store.conflicts() == []
    store.undo("ada")
    assert said(store)[A] == ("exclude", None, "bob")  # the later of those that are in force
    assert len(store.conflicts()) == 1


def test_the_log_cannot_be_changed(store: DecisionStore) -> None:
    store.record(A, "a.jpg", "confirm", "cat", reviewer="ada")
    other = sqlite3.connect(store.path)
    for statement in ("DELETE FROM decisions", "UPDATE decisions SET label = 'dog'"):
        with pytest.raises(sqlite3.IntegrityError, match="decisions are not"):
            other.execute(statement)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_many_threads_and_stores_at_once(store: DecisionStore) -> None:
    stores = [store, *(DecisionStore(store.path) for _ in range(3))]

    def decide(number: int) -> int:
        key = number.to_bytes(32)
        return stores[number % 4].record(key, f"{number}.jpg", "confirm", "cat", reviewer=f"r{number % 7}").number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(decide, range(200)))
    assert sorted(numbers) == list(range(1, 201))
    assert len(DecisionStore(store.path).state()) == 200


def _open_at_once(path: str) -> int:
    with DecisionStore(path) as store:
        return store.record(A, "a.jpg", "exclude", reviewer="ada").number


def test_several_processes_make_the_file_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        numbers = pool.map(_open_at_once, [str(tmp_path / "new.sqlite")] * 8)
    assert sorted(numbers) == list(range(1, 9))


WRITER = """
import sys
import time
from regraft.review.decisions import DecisionStore
store = DecisionStore(sys.argv[1])
while True:
    made = store.record(bytes(31) + b"x", "a.jpg", "relabel", "dog", reviewer=sys.argv[2])
    print(made.number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_nothing_is_lost_that_record_returned_for(tmp_path: Path, kills: int) -> None:
    """A writer is killed in the midst of it, after 20, 40, ... decisions: each number that it printed is there."""
    path, acknowledged = tmp_path / "decisions.sqlite", []
    for turn in range(kills):
        reviewer = f"r{turn}"
        with subprocess.Popen([sys.executable, "-c", WRITER, path, reviewer], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(20 * (turn + 1)):
                acknowledged.append((int(writer.stdout.readline()), reviewer))
            writer.kill()
            rest = writer.stdout.read().split(b"\n")[:-1]  # what it printed before it died, without half a line
        acknowledged += [(int(number), reviewer) for number in rest]
        assert writer.returncode == -signal.SIGKILL
    kept = {(one.number, one.reviewer) for one in DecisionStore(path).log()}
    assert set(acknowledged) <= kept
    assert len(kept) - len(acknowledged) <= kills  # one at most that was written and not said


def other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name)")


def newer(path: Path) -> None:
    DecisionStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")


def torn(path: Path) -> None:
    with DecisionStore(path) as store:
        for number in range(300):
            store.record(number.to_bytes(32), f"{number}.jpg", "confirm", "cat", reviewer="ada")
    path.write_bytes(path.read_bytes()[:-8192] + bytes(4096))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no database" * 200), r"is no SQLite file, so no store of decisions\. Name an"),
        (other_program, r"is an SQLite file of another program, no store of decisions\. Name another file\."),
        (newer, r"was written by a newer version of regraft \(format 2; this one reads up to 1\)\. Update regraft\."),
        (torn, r"is damaged \(.*\)\. Put a copy of it back, or move it away to begin anew\."),
        (Path.mkdir, r"is no ordinary file\. Name a file for the decisions\."),
    ],
)
def test_what_is_no_store_is_left_as_it_is(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "store"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(DataError, match=f"store {message}"):
        DecisionStore(path)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"cannot be kept there: its folder is not there, or no file can be made in"):
        DecisionStore(tmp_path / "nowhere" / "store")
    DecisionStore(tmp_path / "store").close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **how: connect(f"file:{path}?mode=ro", uri=True, **how))
    with pytest.raises(OutputError, match=r"cannot be kept there: the file or its folder is read-only\. Nothing was"):
        DecisionStore(tmp_path / "store").record(A, "a.jpg", "exclude", reviewer="ada")


def test_a_file_that_another_program_holds(store: DecisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.record(A, "a.jpg", "exclude", reviewer="ada")
    monkeypatch.setattr("regraft.review.decisions._BUSY", 0.05)
    waiting = DecisionStore(store.path)
    with sqlite3.connect(store.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match=r"another program has held it for 0\.05 seconds\. Nothing was recorded"):
            waiting.record(B, "b.jpg", "exclude", reviewer="ada")
    waiting.record(B, "b.jpg", "exclude", reviewer="ada")
    assert len(store.log()) == 2
    assert [one.number for one in store.log(0, count=1)] == [1]


def test_nobody_waits_longer_than_that_and_who_reads_does_not_wait(
    store: DecisionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six threads wait for one file: each 0.3 s, not one after the other; meanwhile the log is read at once."""
    store.record(A, "a.jpg", "exclude", reviewer="ada")
    monkeypatch.setattr("regraft.review.decisions._BUSY", 0.3)

    def seconds(number: int) -> float:
        started = time.monotonic()
        with pytest.raises(OutputError, match=r"another program has held it for 0\.3 seconds"):
            store.record(B, "b.jpg", "exclude", reviewer=f"r{number}")
        return time.monotonic() - started

    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(6) as pool:
        waited = pool.map(seconds, range(6))
        time.sleep(0.1)
        started = time.monotonic()
        assert len(store.log()) == 1
        read = time.monotonic() - started
        assert max(waited) < 0.9  # one after the other would take 1.8
    assert read < 0.1
    other.close()


def test_a_file_that_is_not_there_any_more_takes_no_decision(store: DecisionStore) -> None:
    store.record(A, "a.jpg", "exclude", reviewer="ada")
    aside = store.path.with_name("aside")
    store.path.rename(aside)
    for _ in range(2):
        with pytest.raises(OutputError, match=r"was moved, removed or replaced .* Nothing was recorded\. Download"):
            store.record(B, "b.jpg", "exclude", reviewer="ada")
        store.path.write_bytes(aside.read_bytes())  # another file of that name is another file
    assert [one.key for one in store.log()] == [A]  # what is there can still be read
    aside.replace(store.path)
    assert store.record(B, "b.jpg", "exclude", reviewer="ada").number == 2


def test_a_store_that_was_closed(store: DecisionStore) -> None:
    store.close()
    with pytest.raises(OutputError, match=r"was closed\. Open it again"):
        store.log()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((b"short", "a.jpg", "exclude", None), r"key must have 32 bytes\. Got 5\."),
        ((A, "a.jpg", "undo", None), r"action must be one of confirm, relabel, exclude\. Got 'undo'\."),
        ((A, "a.jpg", "exclude", "cat"), r"label goes with confirm and relabel\. Leave it out\."),
        ((A, "a.jpg", "relabel", None), r"label must be the name of a class: .* Got None\."),
        ((A, "a.jpg", "relabel", "NaN"), r"label must be the name of a class: .* Got 'NaN'\."),
        ((A, "a.jpg", "relabel", "two\nlines"), r"label must be the name of a class: .* Got 'two\\nlines'\."),
        ((A, "a.jpg", "confirm", '"cat"'), r"label must be .*, without quotes around it, .* Got '\"cat\"'\."),
        ((A, "a.jpg", "relabel", "a\0b"), r"label must be the name of a class: .* Got 'a\\x00b'\."),
        ((A, "a.jpg", "relabel", "x" * 1001), r"label must be .* of at most 1,000 characters\. Got 'x{199} \.\.\.\."),
        ((A, "a.jpg", "relabel", "\u00ad\u200f"), r"label must be the name of a class: "),
        ((A, "a\udcff.jpg", "exclude", None), r"source .* is no UTF-8, and cannot be kept\. Rename the file\."),
    ],
)
def test_what_cannot_be_recorded(store: DecisionStore, given: tuple[bytes, str, str, str | None], message: str) -> None:
    key, name, action, label = given
    with pytest.raises(OptionError, match=message):
        store.record(key, name, action, label, reviewer="ada")
    with pytest.raises(OptionError, match=r"reviewer must be a name, in one line\. Got ' '\."):
        store.undo(" ")
    assert store.log() == []


def test_labels_that_a_table_would_read_as_several(store: DecisionStore) -> None:
    """`fit --labels` looks at all labels of a table, and so does what is recorded: in any order, without the undone."""
    store.record(A, "a.jpg", "relabel", "cat", reviewer="ada")
    store.record(B, "b.jpg", "relabel", "Dog", reviewer="ada")
    message = r"^label must be one class\. Got 'cat\|dog': in a table of labels that is read as several\. Give one of"
    with pytest.raises(OptionError, match=message):
        store.record(C, "c.jpg", "relabel", "cat|dog", reviewer="bob")
    store.undo("ada")
    store.undo("ada")
    store.record(C, "c.jpg", "relabel", "cat|dog", reviewer="bob")
    store.record(A, "a.jpg", "relabel", "hen", reviewer="ada")
    message = r"^label 'dog' cannot stand in one table with 'cat\|dog', which was given before .*, or undo what was"
    with pytest.raises(OptionError, match=message):
        store.record(B, "b.jpg", "relabel", "dog", reviewer="ada")
    assert [one.label for one in store.in_force()] == ["cat|dog", "hen"]


def test_a_new_label_is_not_made_of_the_data_s_classes(store: DecisionStore) -> None:
    classes = ("cat", "dog", "black and white", "black", "white")
    for label in ("cat|dog", "dog, cat", "dog;owl"):
        with pytest.raises(OptionError, match=r"^label must be one class"):
            store.record(A, "a.jpg", "relabel", label, reviewer="ada", classes=classes)
    store.record(A, "a.jpg", "confirm", "black and white", reviewer="ada", classes=classes)  # it is one of them
    assert len(store.log()) == 1


@pytest.mark.parametrize("name", ["a\0b", "two\nlines", "x" * 1001])
def test_names_of_reviewers_that_no_table_can_hold(store: DecisionStore, name: str) -> None:
    with pytest.raises(OptionError, match=r"^reviewer must be a name, in one line\. Got '"):
        store.record(A, "a.jpg", "exclude", reviewer=name)


def test_a_photo_inside_a_table_is_named_by_both(store: DecisionStore, tmp_path: Path) -> None:
    cell = TableCell(tmp_path / "t.parquet", "image", 0, 3, "p/3.png")
    assert store.record(A, cell, "exclude", reviewer="ada").path == f"{tmp_path / 't.parquet'}:p/3.png"
