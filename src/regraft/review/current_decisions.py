"""Which decisions count at present, kept up with the log row by row."""

import threading
from collections.abc import Mapping

from regraft.review.decision import Action, Decision
from regraft.review.decisions import DecisionStore


class CurrentDecisions:
    """What counts for each photo, as of the last row of a store's log that was read. Any number of threads may ask.

    It agrees with `DecisionStore.state` and `DecisionStore.conflicts`, and reads each row of the log once: those of
    other processes, too, as soon as they are on the disk.

    Args:
        store: the log.
    """

    def __init__(self, store: DecisionStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._of_key: dict[bytes, dict[int, Decision]] = {}  # those in force, by number
        self._key_of: dict[int, bytes] = {}
        self._last = 0

    def catch_up(self) -> int:
        """Read what was appended to the log, and return the number of its last row."""
        with self._lock:
            for row in self._store.log(self._last):
                if row.action is Action.undo and row.undoes is not None:
                    self._of_key[self._key_of[row.undoes]].pop(row.undoes, None)
                else:
                    self._of_key.setdefault(row.key, {})[row.number] = row
                    self._key_of[row.number] = row.key
                self._last = row.number
            return self._last

    def of(self, key: bytes) -> Decision | None:
        """Return the decision that counts for a photo; None where nobody decided."""
        with self._lock:
            return self._of(key)

    def _of(self, key: bytes) -> Decision | None:
        own = self._of_key.get(key)
        return own[max(own)] if own else None

    def differing(self, key: bytes) -> list[Decision]:
        """Return what other reviewers said last of a photo where it is not what counts. See `conflicts`."""
        with self._lock:
            own = self._of_key.get(key, {})
            counts = self._of(key)
            last = {own[number].reviewer: own[number] for number in sorted(own)}
        return [one for one in last.values() if counts is not None and one.label != counts.label]

    def state(self) -> Mapping[bytes, Decision]:
        """Return the decision that counts for each photo, by content key."""
        with self._lock:
            found = ((key, self._of(key)) for key in self._of_key)
            return {key: decision for key, decision in found if decision is not None}
