"""What the routes work with: the classifier that answers, its queue, its counts, and the review that goes on."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regraft.errors import RegraftError, printable
from regraft.images.sources import EncodedImage, Source
from regraft.serve.allowance import Allowance
from regraft.serve.batching import Batcher
from regraft.serve.guards import BODIES
from regraft.serve.metrics import Metrics
from regraft.serve.refusals import RefusalError
from regraft.serve.settings import ServeSettings

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.classifier.predict import ExplainedPredictions, Predictor
    from regraft.publishing.subject import CardSubject
    from regraft.review.session import ReviewSession

LOG = logging.getLogger("regraft.serve")
_STEP = 10.0  # seconds that a step of what goes on in the background may take


@dataclass(eq=False)
class Service:
    """What the routes work with.

    Attributes:
        subject: the classifier, and what its file says of itself.
        make: opens a classifier.
        settings: the limits.
        metrics: counts.
        batcher: answers.
        memory: what the photos of all requests may hold.
        review: of photos, by people; None where nobody reviews.
        stopping: whether the process is to end.
        in_use: the number of the retraining whose classifier answers; 0 for none.
    """

    subject: "CardSubject"
    make: "Callable[[Classifier], Predictor]"
    settings: ServeSettings
    metrics: Metrics
    batcher: Batcher
    memory: Allowance
    review: "ReviewSession | None" = None
    stopping: bool = False
    in_use: int = 0

    @property
    def ready(self) -> bool:
        """Tell whether photos are answered."""
        return self.batcher.ready and not self.stopping

    def start(self) -> None:
        """Open the classifier, and begin to look at the photos that are reviewed."""
        self.batcher.start()
        if self.review is not None:
            self.review.start()

    def close(self) -> None:
        """Finish what was begun, for at most so long as a request may take."""
        if self.review is not None:
            self.review.close(_STEP)
        self.batcher.close(self.settings.timeout)

    async def succeed_by(self, subject: "CardSubject", number: int) -> None:
        """Answer by another classifier from now on, once it is open.

        Args:
            subject: the classifier, and what its file says of itself.
            number: of the retraining that gave it.

        Raises:
            RefusalError: it cannot be opened, or the server stops.
        """
        opened = asyncio.wrap_future(self.batcher.succeed_by(lambda: self.make(subject.classifier)))
        try:
            await opened
        except asyncio.CancelledError:
            if opened.cancelled() and self.stopping:
                raise _stops() from None
            raise
        except RegraftError as error:
            raise _cannot_answer(error) from None
        self.subject, self.in_use = subject, number

    async def answer(self, sources: Sequence[EncodedImage], ends: float) -> "ExplainedPredictions":
        """Return what the classifier says of photos.

        Args:
            sources: the photos.
            ends: the time, as `time.monotonic` has it, by which it must have said so.

        Raises:
            RefusalError: it does not, or cannot.
        """
        waiting = asyncio.wrap_future(self.batcher.submit(sources))
        try:
            async with asyncio.timeout(max(ends - time.monotonic(), 0)):
                return await waiting
        except TimeoutError:
            raise RefusalError(
                503,
                "timeout",
                f"there is no answer within {self.settings.timeout:g} s. Send fewer photos at once, or come again.",
                {"Retry-After": "1"},
            ) from None
        except asyncio.CancelledError:
            if waiting.cancelled() and self.stopping:
                raise _stops() from None
            raise
        except RegraftError as error:
            raise _cannot_answer(error) from None


def _stops() -> RefusalError:
    return RefusalError(503, "not ready", "the server stops. Come again.", {"Retry-After": "1"})


def _cannot_answer(error: RegraftError) -> RefusalError:
    LOG.error("%s", printable(error, lines=True))
    return RefusalError(500, "classifier", "the classifier cannot answer. The server's log says why.")


def open_service(
    subject: "CardSubject",
    make: "Callable[[Classifier], Predictor]",
    settings: ServeSettings,
    *,
    batch_size: int,
    review: "ReviewSession | None" = None,
    on_ready: Callable[[], object] = lambda: None,
    on_failure: Callable[[Exception], object] = lambda _: None,
) -> Service:
    """Return what answers by a classifier; nothing is started yet.

    Args:
        subject: the classifier, and what its file says of itself.
        make: opens a classifier, in the thread that uses it.
        settings: the limits.
        batch_size: photos at once.
        review: of photos, by people.
        on_ready: called once the first photo is classified.
        on_failure: called if it cannot be.
    """
    metrics = Metrics(subject.classifier.classes)
    batcher = Batcher(
        lambda: make(subject.classifier),
        [warm_up_photo()],
        batch_size=batch_size,
        max_queue=settings.max_queue,
        metrics=metrics,
        on_ready=on_ready,
        on_failure=on_failure,
    )
    memory = Allowance(BODIES * settings.max_body)
    return Service(subject, make, settings, metrics, batcher, memory, review)


def warm_up_photo() -> Source:
    """Return a made-up photo, by which an engine is built before anybody asks."""
    from regraft.images.sources import as_sources

    return as_sources([np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)])[0]
