"""What people decided about photos: an append-only log in an SQLite file, from which the present state follows.

Nothing is ever changed or removed: to undo is a row of the log, too. Every decision is on the disk (write-ahead log,
synchronous=FULL) before `DecisionStore.record` returns.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from regraft.errors import DataError, OutputError, printable
from regraft.files import is_file
from regraft.images.sources import Source
from regraft.review.decision import Action, Decision, checked_action, checked_reviewer, name_of_photo
from regraft.review.label_export import write_labels

_FORMAT = 1  # in the file's user_version
_APPLICATION = 0x72677264  # "rgrd", in its application_id: other SQLite files are not ours to write into
_BUSY = 20.0  # seconds that another process may hold the file
_PAUSE = 0.02  # seconds before the next attempt where SQLite does not wait by itself
_SCHEMA = (
    """CREATE TABLE decisions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL CHECK (length(key) = 32),
        path TEXT NOT NULL,
        action TEXT NOT NULL CHECK (action IN ('confirm', 'relabel', 'exclude', 'undo')),
        label TEXT,
        reviewer TEXT NOT NULL,
        time TEXT NOT NULL,
        undoes INTEGER UNIQUE REFERENCES decisions (number),
        CHECK ((action = 'undo') = (undoes IS NOT NULL)),
        CHECK ((action IN ('confirm', 'relabel')) = (label IS NOT NULL))
    )""",
    "CREATE INDEX decisions_of_reviewer ON decisions (reviewer, number)",
    """CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions
        BEGIN SELECT RAISE(ABORT, 'decisions are not changed'); END""",
    """CREATE TRIGGER decisions_remain BEFORE DELETE ON decisions
        BEGIN SELECT RAISE(ABORT, 'decisions are not removed'); END""",
)
_COLUMNS = "number, key, path, action, label, reviewer, time, undoes"
_IN_FORCE = (  # neither to undo something nor undone
    "action != 'undo' AND number NOT IN (SELECT undoes FROM decisions WHERE undoes IS NOT NULL)"
)


class DecisionStore:
    """The decisions in one file, which any number of threads, stores and processes read and append to at once.

    Args:
        path: of the file, which is made where there is none.

    Raises:
        DataError: the file is damaged, is no such store, or was written by a newer version.
        OutputError: it cannot be made or written there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        if os.path.lexists(self.path) and not is_file(self.path):
            raise DataError(f"{printable(self.path)} is no ordinary file. Name a file for the decisions.")
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None  # who reads does not wait for who waits to write
        with self._errors():
            self._connection = self._opened()
            self._reader = self._connected()
        self._identity = _identity(self.path)

    def __enter__(self) -> Self:
        """Return the store, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        with self._writing, self._reading:
            for connection in (self._connection, self._reader):
                if connection is not None:
                    connection.close()
            self._connection = self._reader = None

    def record(
        self,
        key: bytes,
        source: Source | str,
        action: Action | str,
        label: str | None = None,
        *,
        reviewer: str,
        classes: Collection[str] = (),
    ) -> Decision:
        """Append a decision, and return it once it is on the disk.

        Args:
            key: of the photo's content, 32 bytes.
            source: the photo.
            action: confirm or relabel, with the label; or exclude.
            label: the photo's class: the one that it has, or the new one.
            reviewer: who decided.
            classes: of the data: a new label is not made of their names, as "cat|dog" is.

        Raises:
            OptionError: an action, label, key or name that is not allowed, or labels that no table can hold together.
            OutputError: it cannot be written. It is then not recorded.
        """
        name, reviewer = name_of_photo(source), checked_reviewer(reviewer)
        with self._transaction() as connection:
            given = [
                one
                for (one,) in connection.execute(
                    f"SELECT DISTINCT label FROM decisions WHERE label IS NOT NULL AND {_IN_FORCE}"
                )
            ]
            action, label = checked_action(key, action, label, given=given, classes=classes)
            values = (bytes(key), name, action.value, label, reviewer, _now())
            cursor = connection.execute(
                f"INSERT INTO decisions (key, path, action, label, reviewer, time) VALUES (?, ?, ?, ?, ?, ?) "
                f"RETURNING {_COLUMNS}",
                values,
            )
            (row,) = cursor.fetchall()
        return _decision(row)

    def undo(self, reviewer: str) -> Decision | None:
        """Undo the reviewer's last decision that is in force, and return that decision; None where there is none."""
        reviewer = checked_reviewer(reviewer)
        with self._transaction() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM decisions WHERE reviewer = ? AND {_IN_FORCE} ORDER BY number DESC LIMIT 1",
                (reviewer,),
            ).fetchone()
            if row is None:
                return None
            undone = _decision(row)
            connection.execute(
                "INSERT INTO decisions (key, path, action, reviewer, time, undoes) VALUES (?, ?, 'undo', ?, ?, ?)",
                (undone.key, undone.path, reviewer, _now(), undone.number),
            )
        return undone

    def log(self, after: int = 0, *, count: int = -1) -> list[Decision]:
        """Return all that was ever decided, in order; of a long log what came after the row of that number.

        Args:
            after: the number of a row.
            count: at most so many rows; -1 for all.
        """
        return self._rows("WHERE number > ?", after, count=count)

    def in_force(self) -> list[Decision]:
        """Return the decisions that were not undone, in order."""
        return self._rows(f"WHERE {_IN_FORCE}")

    def state(self) -> dict[bytes, Decision]:
        """Return the decision that counts for each photo, by content key: the last one that is in force."""
        return {decision.key: decision for decision in self.in_force()}

    def conflicts(self) -> list[tuple[Decision, ...]]:
        """Return, for each photo of which reviewers say different things, what each said last; the last of all counts.

        To confirm a label and to give it are the same.
        """
        last: dict[bytes, dict[str, Decision]] = {}
        for decision in self.in_force():
            own = last.setdefault(decision.key, {})
            own.pop(decision.reviewer, None)  # so that the order is that of the last decisions
            own[decision.reviewer] = decision
        return [tuple(own.values()) for own in last.values() if len({one.label for one in own.values()}) > 1]

    def export_csv(self, path: str | Path) -> int:
        """Write what counts for each photo as a table that `data.label_file` reads, and return the number of rows.

        A photo that was decided on under several names has a row for each. Names are relative to the table's folder
        where they lie in it.

        Raises:
            OptionError: a name or label that cannot stand in a table.
            OutputError: it cannot be written.
        """
        return write_labels(self.in_force(), Path(path).expanduser())

    def _rows(self, condition: str, *values: int, count: int = -1) -> list[Decision]:
        statement = f"SELECT {_COLUMNS} FROM decisions {condition} ORDER BY number LIMIT {count:d}"
        with self._reading, self._errors():
            rows = self._open(self._reader).execute(statement, values).fetchall()
        return [_decision(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection while nobody else writes; what is written is on the disk at the end of the block.

        Whoever waits, for other threads, too, does so no longer than `_BUSY`.
        """
        ends = time.monotonic() + _BUSY
        if not self._writing.acquire(timeout=_BUSY):
            raise self._in_words(None)
        try:
            with self._errors(), self._written(ends) as connection:
                yield connection
        finally:
            self._writing.release()

    @contextmanager
    def _written(self, ends: float) -> Iterator[sqlite3.Connection]:
        connection = self._open(self._connection)
        if _identity(self.path) != self._identity:
            raise OutputError(
                f"{printable(self.path)} was moved, removed or replaced while it is in use: what is recorded now would "
                "be lost. Nothing was recorded. Download what was decided, put the file back, and start again."
            )
        connection.execute(f"PRAGMA busy_timeout = {max(round(1000 * (ends - time.monotonic())), 1)}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _open(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise OutputError(f"{printable(self.path)}: the store of decisions was closed. Open it again.")
        return connection

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)

    def _opened(self) -> sqlite3.Connection:
        connection = self._connected()
        try:
            self._check_kind(connection)
            _wait_for(connection, "PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            self._check_kind(connection)  # again: another process may have made it
            if not connection.execute("PRAGMA user_version").fetchone()[0]:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
            connection.execute("COMMIT")
            if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise self._damaged(str(said))
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_kind(self, connection: sqlite3.Connection) -> None:
        """Raise `DataError` unless the file is new, or a store that this version can read. Nothing is written."""
        found = _wait_for(connection, "PRAGMA application_id")
        version, tables = _wait_for(connection, "PRAGMA user_version"), _wait_for(connection, "PRAGMA schema_version")
        if found != _APPLICATION and (found or version or tables):
            raise DataError(
                f"{printable(self.path)} is an SQLite file of another program, no store of decisions. Name another "
                "file."
            )
        if version > _FORMAT:
            raise DataError(
                f"{printable(self.path)} was written by a newer version of regraft (format {version}; this one reads "
                f"up to {_FORMAT}). Update regraft."
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite says into one sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._in_words(error) from None

    def _in_words(self, error: sqlite3.Error | None) -> DataError | OutputError:
        """Return what an error of SQLite means; None for having waited too long."""
        where = printable(self.path)
        code = sqlite3.SQLITE_BUSY if error is None else getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            return DataError(f"{where} is no SQLite file, so no store of decisions. Name another file.")
        if code == sqlite3.SQLITE_CORRUPT:
            return self._damaged(str(error))
        reasons = {
            sqlite3.SQLITE_READONLY: "the file or its folder is read-only",
            sqlite3.SQLITE_CANTOPEN: "its folder is not there, or no file can be made in it",
            sqlite3.SQLITE_PERM: "the file or its folder is read-only",
            sqlite3.SQLITE_FULL: "the disk is full",
            sqlite3.SQLITE_BUSY: f"another program has held it for {_BUSY:g} seconds",
        }
        return OutputError(
            f"{where}: decisions cannot be kept there: {reasons.get(code, str(error))}. Nothing was recorded; mend "
            "that, or name another file."
        )

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"{printable(self.path)} is damaged ({printable(reason.partition(chr(10))[0])}). Put a copy of it back, or "
            "move it away to begin anew."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _wait_for(connection: sqlite3.Connection, statement: str) -> int:
    """Return the first value of a statement that SQLite does not wait for others with, as it changes the journal."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            value = connection.execute(statement).fetchone()[0]
            return value if isinstance(value, int) else 0
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


def _decision(row: Sequence[object]) -> Decision:
    number, key, path, action, label, reviewer, when, undoes = row
    return Decision(
        number=int(str(number)),
        key=bytes(key),  # type: ignore[call-overload] # sqlite3 gives bytes
        path=str(path),
        action=Action(str(action)),
        label=None if label is None else str(label),
        reviewer=str(reviewer),
        time=datetime.fromisoformat(str(when)),
        undoes=None if undoes is None else int(str(undoes)),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
