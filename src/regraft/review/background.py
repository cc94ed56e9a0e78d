"""Work that goes on while people review: one thing after the other in one thread, which says how far it is."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from regraft.errors import RegraftError, printable
from regraft.progress import Observer

LOG = logging.getLogger("regraft.review")
_FAILED = "this failed for a reason that the server's log gives."


@dataclass(frozen=True)
class Task:
    """What goes on.

    Attributes:
        task: in words.
        done: photos that are done.
        total: photos in all; 0 where that is not known.
    """

    task: str
    done: int = 0
    total: int = 0


class StoppedError(Exception):
    """The work is not to be finished."""


class Worker(Observer):
    """A thread for work that takes a while. It is the work's observer, and ends it where nobody waits for it any more.

    Whoever gives work hears why it failed; the thread goes on.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], None], Callable[[str], object]] | None]
        self._jobs = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._doing: Task | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="review", daemon=True)

    def start(self) -> None:
        """Begin with what was given to it."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Take nothing more, and end what goes on at its next step; wait for that for at most so long."""
        self._closing = True
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def give(self, task: str, job: Callable[[], None], failed: Callable[[str], object] = lambda _: None) -> None:
        """Have something done after all that was given before.

        Args:
            task: in words.
            job: what is called.
            failed: hears in a sentence why it failed.
        """
        with self._lock:
            self._waiting.append(task)
        self._jobs.put((task, job, failed))

    def is_to_do(self, task: str) -> bool:
        """Tell whether something of this name goes on or waits."""
        with self._lock:
            return task in self._waiting

    @property
    def is_busy(self) -> bool:
        """Tell whether anything goes on or waits."""
        with self._lock:
            return bool(self._waiting)

    @property
    def doing(self) -> Task | None:
        """Return what goes on; None where nothing does."""
        return self._doing

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None and not self._closing:
            task, job, failed = given
            self._doing = Task(task)
            try:
                job()
            except StoppedError:
                return
            except RegraftError as error:
                LOG.warning("%s: %s", task, printable(error, lines=True))
                failed(str(error))
            except Exception:
                LOG.exception("%s", task)
                failed(_FAILED)
            finally:
                self._doing = None
                with self._lock:
                    self._waiting.remove(task)

    def _check(self) -> None:
        if self._closing and threading.current_thread() is self._thread:
            raise StoppedError

    def say(self, text: str) -> None:
        """Write a finding into the log."""
        self._check()
        LOG.info("%s", printable(text, lines=True))

    def begin(self, task: str, total: int) -> None:
        """Receive the start of a pass over photos."""
        self._check()
        self._doing = Task(task, 0, total)

    def advance(self, count: int) -> None:
        """Receive that more of them are done."""
        self._check()
        if (now := self._doing) is not None:
            self._doing = Task(now.task, now.done + count, now.total)
