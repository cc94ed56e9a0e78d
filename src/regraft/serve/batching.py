"""One thread owns the predictor and answers what waits, many requests at once."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regraft.errors import RegraftError
from regraft.images.sources import Source
from regraft.runtime import MANY_PHOTOS, trim_memory
from regraft.serve.metrics import Metrics
from regraft.serve.refusals import RefusalError

if TYPE_CHECKING:
    from regraft.classifier.predict import ExplainedPredictions, Predictor

LOG = logging.getLogger("regraft.serve")
_LONGEST_WAIT = 60  # seconds that anybody is asked to stay away
_OFTEN = 0.1  # seconds between two looks whether the predictor is open
_REST = 2.0  # seconds without photos after which memory is returned
_RECENT = 0.2  # weight of the last batch in the rate


@dataclass(frozen=True, eq=False)
class _Job:
    sources: tuple[Source, ...]
    counted: bool = True
    answer: "Future[ExplainedPredictions]" = field(default_factory=Future)


class Batcher:
    """Answers requests in the order in which they come, as many photos at once as wait.

    A request's photos stay together, for some decisions are about all of them; nothing is delayed for the sake of a
    larger batch: while one is answered, the next one gathers.

    Args:
        make: opens the predictor, in the thread that uses it.
        warm_up: photos that are classified before the first request.
        batch_size: photos at once; a request of more goes alone.
        max_queue: photos that may wait.
        metrics: counts.
        on_ready: called once the first photo is classified.
        on_failure: called if it cannot be.
    """

    def __init__(
        self,
        make: "Callable[[], Predictor]",
        warm_up: Sequence[Source],
        *,
        batch_size: int,
        max_queue: int,
        metrics: Metrics,
        on_ready: Callable[[], object] = lambda: None,
        on_failure: Callable[[Exception], object] = lambda _: None,
    ) -> None:
        self._make, self._warm_up, self._metrics = make, tuple(warm_up), metrics
        self._batch_size = min(batch_size, MANY_PHOTOS - 1)  # many are resized otherwise, and few requests are not many
        self._max_queue, self._on_ready, self._on_failure = max_queue, on_ready, on_failure
        self._waiting: deque[_Job] = deque()
        self._photos = 0  # that wait
        self._rate = 0.0  # photos/s
        self._changed = threading.Condition()
        self._closing, self._trimmed = False, False
        self._successors: deque[tuple[Callable[[], Predictor], Future[None]]] = deque()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predictor", daemon=True)

    @property
    def ready(self) -> bool:
        """Tell whether requests are answered."""
        return self._is_ready.is_set() and not self._closing and self._thread.is_alive()

    def start(self) -> None:
        """Open the predictor."""
        self._thread.start()

    def wait(self) -> None:
        """Return once requests are answered, or never will be."""
        while self._thread.is_alive() and not self._is_ready.wait(_OFTEN):
            continue

    def close(self, seconds: float) -> None:
        """Take nothing more, and answer what waits, for at most so long."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            for job in self._waiting:
                job.answer.cancel()
            self._waiting.clear()
            for _, done in self._successors:
                done.cancel()
            self._successors.clear()

    def succeed_by(self, make: "Callable[[], Predictor]") -> "Future[None]":
        """Answer by another predictor from the next photos on, and return what becomes its arrival.

        The present one goes on where the other cannot be opened, for the reason that the result then raises. The last
        one that is asked for stays; what is asked for once nothing is answered any more is cancelled.

        Args:
            make: opens it, in the thread that uses it.
        """
        done: Future[None] = Future()
        with self._changed:
            if self._closing:
                done.cancel()
            else:
                self._successors.append((make, done))
            self._changed.notify_all()
        return done

    def submit(self, sources: Sequence[Source], *, counted: bool = True) -> "Future[ExplainedPredictions]":
        """Return what becomes the answer for the photos of a request.

        Args:
            sources: the photos.
            counted: whether they are photos of users, whose answers the metrics tell.

        Raises:
            RefusalError: too many wait, or nothing is answered yet, or any more.
        """
        if not self.ready:
            raise RefusalError(
                503, "not ready", "the classifier is not ready, or stops. Come again.", {"Retry-After": "1"}
            )
        job = _Job(tuple(sources), counted)
        with self._changed:
            if self._photos + len(job.sources) > self._max_queue:
                wait = self._seconds_for(self._photos + len(job.sources))
                raise RefusalError(
                    429,
                    "queue",
                    f"{self._photos} photos wait, and at most {self._max_queue} may. Come again in {wait} s.",
                    {"Retry-After": str(wait)},
                )
            self._waiting.append(job)
            self._set_photos(self._photos + len(job.sources))
            self._changed.notify()
        return job.answer

    def _seconds_for(self, photos: int) -> int:
        """Return in how many seconds so many photos are answered, at the present rate."""
        return min(max(math.ceil(photos / self._rate), 1), _LONGEST_WAIT) if self._rate else 1

    def _set_photos(self, photos: int) -> None:
        self._photos = photos
        self._metrics.waiting.set(photos)

    def _run(self) -> None:
        try:
            predictor = self._make()
            predictor.predict(self._warm_up)
        except Exception as error:
            self._on_failure(error)
            return
        self._is_ready.set()
        self._on_ready()
        while (jobs := self._take()) or not self._closing:
            self._trimmed = False
            predictor = self._succeeded(predictor)
            if not jobs:
                continue
            started = time.monotonic()
            self._answer(predictor, jobs)
            photos, seconds = sum(len(job.sources) for job in jobs), max(time.monotonic() - started, 1e-6)
            self._metrics.batches.observe(photos)
            last = photos / seconds
            self._rate = last if not self._rate else (1 - _RECENT) * self._rate + _RECENT * last

    def _take(self) -> list[_Job]:
        """Return the requests that are answered next, once there are some; none when there will be none."""
        with self._changed:
            while True:
                jobs: list[_Job] = []
                photos = 0
                while self._waiting and (not jobs or photos + len(self._waiting[0].sources) <= self._batch_size):
                    job = self._waiting.popleft()
                    self._set_photos(self._photos - len(job.sources))
                    if job.answer.set_running_or_notify_cancel():  # else whoever asked has gone
                        jobs.append(job)
                        photos += len(job.sources)
                if jobs or self._closing or self._successors:
                    return jobs
                if not self._changed.wait(None if self._trimmed else _REST):
                    self._trimmed = True
                    trim_memory()

    def _succeeded(self, predictor: "Predictor") -> "Predictor":
        """Return what answers from now on."""
        while True:
            with self._changed:
                if not self._successors or self._closing:
                    return predictor
                make, done = self._successors.popleft()
            if not done.set_running_or_notify_cancel():  # whoever asked for it has gone
                continue
            try:
                found = make()
                found.predict(self._warm_up)
            except Exception as error:
                done.set_exception(error)
                continue
            predictor = found
            done.set_result(None)

    def _answer(self, predictor: "Predictor", jobs: Sequence[_Job]) -> None:
        try:
            found = predictor.explain_each([job.sources for job in jobs])
        except Exception as error:
            if len(jobs) > 1:  # one request's fault is not the others'
                for job in jobs:
                    self._answer(predictor, [job])
                return
            if not isinstance(error, RegraftError):
                LOG.exception("a request could not be answered")
            jobs[0].answer.set_exception(error)
            return
        for job, explained in zip(jobs, found, strict=True):
            if job.counted:
                self._metrics.count(explained)
            job.answer.set_result(explained)
