"""The process, or processes, that answer: a socket, Uvicorn, signals, and an end without a loss."""

import asyncio
import errno
import functools
import http.client
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import EngineError, OptionError, RegraftError, option, printable, take_flags
from regraft.progress import Observer
from regraft.publishing.subject import CardSubject
from regraft.review.background import LOG as REVIEW_LOG
from regraft.review.session import ReviewSession
from regraft.runtime import return_freed_memory
from regraft.serve.settings import ServeSettings

LOG = logging.getLogger("regraft.serve")
_BACKLOG = 2048
_IDLE = 30  # seconds in which a connection begins a request
_PATIENCE = 60  # seconds in which a worker shows that it lives: compiling a network may hold Python's lock
_OFTEN = 0.1  # seconds between two looks whether a worker is ready


@dataclass(frozen=True)
class ReviewRequest:
    """Photos that people review.

    Attributes:
        data: a folder or table.
        columns: by which a table is read.
        decisions: the file that decisions are kept in; None for the usual one beside the data.
        compute: where their features are made.
        max_pixels: of a photo that people add.
    """

    data: str
    columns: Columns
    decisions: Path | None
    compute: Compute
    max_pixels: int

    def open(self, classifier: Classifier) -> ReviewSession:
        """Return the review by a classifier."""
        return ReviewSession(
            classifier,
            self.data,
            columns=self.columns,
            decisions=self.decisions,
            compute=self.compute,
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True)
class Server:
    """What is served, and where. It can be pickled, for processes of its own.

    Attributes:
        file: of the classifier.
        compute: where it runs.
        settings: the limits.
        host: name or address to bind to.
        port: 0 for a free one.
        token: that requests must have; None for none.
        review: what is reviewed; None for nothing.
        flags: as `errors.flags_in_messages` takes them; None for Python's names.
        verbose: whether the log says how, too: what runs the network, what is black and white.
    """

    file: Path
    compute: Compute
    settings: ServeSettings
    host: str
    port: int
    token: str | None = None
    review: ReviewRequest | None = None
    flags: Mapping[str, str] | None = None
    verbose: bool = False

    def run(self, say: Callable[[str], object]) -> None:
        """Answer until the process is told to end (SIGTERM, Ctrl-C).

        Args:
            say: hears where answers are given, once there are some.

        Raises:
            OptionError: nothing can be bound to this host and port.
            RegraftError: the classifier cannot answer.
        """
        self.settings.check()
        with bound(self.host, self.port) as listener:
            port = listener.getsockname()[1]
            shown = "127.0.0.1" if self.host in ("0.0.0.0", "") else "::1" if self.host == "::" else self.host
            url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
            place = replace(self, port=port)
            review = "" if self.review is None else f"\nphotos are reviewed at {url}review"
            subject = CardSubject.of_file(self.file)  # a mistake in the file is said before anything is started
            _without_death_by_signal()
            return_freed_memory()
            if self.settings.workers == 1:
                _serve(place, listener, subject, lambda: say(f"answers at {url} (docs at /docs){review}"))
                return
            del subject  # each process has its own
            _supervise(place, listener, shown, lambda: say(f"answers at {url} (docs at /docs)"))


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a host and port.

    Raises:
        OptionError: no such host, or a port that is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
    except (OSError, UnicodeError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
        raise OptionError(f"{option('host', printable(host))}: {reason}. Name an address of this machine.") from None
    # with its protocol: else asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for an acknowledgement
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise OptionError(_refused(host, port, error)) from None
    return listener


def _refused(host: str, port: int, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return f"{option('port', port)} of {printable(host)} is in use. Name another, or 0 for one that is free."
    if code in (errno.EACCES, errno.EPERM):
        return f"{option('port', port)} is not yours to use. Name one from 1024 on, or 0 for one that is free."
    reason = printable(getattr(error, "strerror", None) or error)
    return f"{option('host', printable(host))}, {option('port', port)}: {reason}. Name an address of this machine."


def _without_death_by_signal() -> None:
    """Have the signals that ask for an end do nothing more once Uvicorn, which raises them again, has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


class _Connection(H11Protocol):
    """A connection that is closed where it begins no request in a while: else whoever opens many takes all there are.

    Uvicorn closes by itself those alone that have been answered and send nothing more. By h11, also where httptools is
    installed, which is faster and takes headers without an end.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as Uvicorn has it
        """Begin to look."""
        super().connection_made(transport)
        self._last: object = None
        self._looking = self.loop.call_later(_IDLE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._last:
            self.transport.close()
            return
        self._last = self.cycle
        self._looking = self.loop.call_later(_IDLE, self._look)


def _config(place: Server, app: Any, *, workers: int = 1, factory: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=factory,
        workers=workers,
        interface="asgi3",
        http=_Connection,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody says who asks but the connection
        timeout_worker_healthcheck=_PATIENCE,
        timeout_graceful_shutdown=max(int(place.settings.timeout) + 1, 1),
    )


def _open(
    place: Server, subject: CardSubject, on_ready: Callable[[], object], on_failure: Callable[[Exception], object]
) -> tuple[Any, Any]:
    """Return the app of one process, and its service."""
    from regraft.serve.app import make_app
    from regraft.serve.service import open_service

    for log in (LOG, REVIEW_LOG) if place.verbose else ():
        if not log.handlers:
            log.addHandler(logging.StreamHandler())
            log.setLevel(logging.INFO)
    service = open_service(
        subject,
        lambda classifier: Predictor(classifier, place.compute, _Log(), max_pixels=place.settings.max_pixels),
        place.settings,
        batch_size=place.compute.batch_size,
        # a classifier of its own: two threads do not run one network
        review=None if place.review is None else place.review.open(load_bundle(place.file)),
        on_ready=on_ready,
        on_failure=on_failure,
    )
    return make_app(service, host=place.host, token=place.token), service


def _serve(place: Server, listener: socket.socket, subject: CardSubject, on_ready: Callable[[], object]) -> None:
    """Answer in this process until a signal comes."""
    failures: list[Exception] = []
    app, service = _open(place, subject, on_ready, lambda error: _give_up(failures, error, process))
    process = _Uvicorn(_config(place, app), service)
    process.run(sockets=[listener])
    if failures:
        raise failures[0]


def _give_up(failures: list[Exception], error: Exception, process: uvicorn.Server) -> None:
    failures.append(error)
    process.should_exit = True


class _Log(Observer):
    """Writes what a predictor says, and what it begins, into the log."""

    def say(self, text: str) -> None:
        """Write one line, or several."""
        LOG.info("%s", printable(text, lines=True))

    def begin(self, task: str, total: int) -> None:
        """Write what is done with how many photos."""
        LOG.info("%s: %d", printable(task), total)


class _Uvicorn(uvicorn.Server):
    """Uvicorn's server; it is not ready any more as soon as it is told to end."""

    def __init__(self, config: uvicorn.Config, service: Any) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that no more is answered soon."""
        self._service.stopping = True
        super().handle_exit(sig, frame)


def worker_app(place: Server) -> Any:
    """Return the app of one of several processes, which lasts as long as the process."""
    return_freed_memory()
    take_flags(place.flags)
    try:
        app, _ = _open(place, CardSubject.of_file(place.file), lambda: None, _end_worker)
    except Exception as error:
        _end_worker(error)
        raise
    return app


def _end_worker(error: Exception) -> None:
    LOG.error("%s", printable(error, lines=True), exc_info=None if isinstance(error, RegraftError) else error)
    os._exit(STARTUP_FAILURE)  # which the parent takes for the end of all: the others would fail in the same way


def _supervise(place: Server, listener: socket.socket, shown: str, on_ready: Callable[[], object]) -> None:
    """Keep several processes alive, which share the socket and count together."""
    from regraft.serve.metrics import FOLDER_VARIABLE

    with tempfile.TemporaryDirectory(prefix="regraft-serve-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            config = _config(place, functools.partial(worker_app, place), workers=place.settings.workers, factory=True)
            supervisor = Multiprocess(config, sockets=[listener])
            waiting = threading.Thread(
                target=_await_ready, args=(shown, place.port, supervisor.should_exit, on_ready), daemon=True
            )
            waiting.start()
            supervisor.run()
            if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
                raise EngineError("a process cannot answer by this classifier: the reason stands above.")
        finally:
            del os.environ[FOLDER_VARIABLE]


def _await_ready(host: str, port: int, ended: threading.Event, on_ready: Callable[[], object]) -> None:
    """Say so once one of the processes answers."""
    while not ended.wait(_OFTEN):
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, port, timeout=1)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                on_ready()
                return
