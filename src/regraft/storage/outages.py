"""Which buckets and hosts do not answer: after some reads in a row that failed, one is asked no more for a while."""

import threading
import time
from dataclasses import dataclass

from regraft.storage.addresses import place_of
from regraft.storage.failures import BROKEN, REFUSED, SILENT, Trouble

GONE_AFTER = 8  # reads in a row that a bucket or host did not answer, or refused, until it counts as gone
_ASKED_AGAIN_AFTER = 15.0  # seconds: then one read is let through, which shows whether it is there again


@dataclass(frozen=True)
class Outage:
    """A bucket or host that counts as gone.

    Attributes:
        failures: reads in a row that failed.
        url: of the last of them.
        trouble: why that one failed.
    """

    failures: int
    url: str
    trouble: Trouble


class Outages:
    """Failed reads by bucket or host: a circuit breaker for each (Nygard, Release It!, 2nd ed. 2018, ch. 5).

    Of one that counts as gone a read is let through now and then, so that a process that runs for days recovers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[Outage, float]] = {}  # and until when it is asked no more

    def ask(self, url: str) -> Outage | None:
        """Return why an address is not to be read; None where it is, at most one at a time of a place that is gone."""
        place = place_of(url)
        with self._lock:
            found, until = self._failed.get(place, (None, 0.0))
            if found is None or found.failures < GONE_AFTER:
                return None
            now = time.monotonic()
            if now < until:
                return found
            self._failed[place] = (found, now + _ASKED_AGAIN_AFTER)
        return None

    def answered(self, url: str) -> None:
        """Note that the place of an address answers."""
        with self._lock:
            self._failed.pop(place_of(url), None)

    def failed(self, url: str, trouble: Trouble) -> Outage | None:
        """Note why a read failed, and return what is to be said where its place counts as gone."""
        if trouble.kind not in (REFUSED, SILENT, BROKEN):
            return None
        place = place_of(url)
        with self._lock:
            before = self._failed.get(place)
            found = Outage(before[0].failures + 1 if before else 1, url, trouble)
            self._failed[place] = (found, time.monotonic() + _ASKED_AGAIN_AFTER)
        return found if found.failures >= GONE_AFTER else None
