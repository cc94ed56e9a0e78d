"""The routes: photos in, answers out; what the classifier is, how the process does, what it has counted."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPError

from regraft.errors import option, printable
from regraft.images.sources import EncodedImage
from regraft.serve import documents
from regraft.serve.about import about
from regraft.serve.allowance import Allowance, OverAllowanceError
from regraft.serve.answers import Answers, Failure, answers_of
from regraft.serve.fetching import FetchError, fetch
from regraft.serve.guards import guarded, with_security_headers
from regraft.serve.metrics import TYPE, Metrics
from regraft.serve.page import add_page, heatmap_of
from regraft.serve.refusals import (
    App,
    Message,
    Receive,
    RefusalError,
    Scope,
    Send,
    json_response,
    memory_full,
    send_json,
)
from regraft.serve.review_routes import PREFIX as REVIEW
from regraft.serve.review_routes import add_review
from regraft.serve.schemas import BODY, FAILURES, FORM
from regraft.serve.service import Service
from regraft.serve.settings import MOST_TOP, ServeSettings
from regraft.serve.uploads import FIELD, read_form, read_urls, shown, too_slow

if TYPE_CHECKING:
    pass

LOG = logging.getLogger("regraft.serve")
FAILED = "the server failed. Its log says how."
_FETCHES = 8  # photos that are fetched at once
_Photos = tuple[list[EncodedImage], dict[int, tuple[str, str]]]  # those of a request; names and reasons of the others
_ROUTES = ("/", "/predict", "/model", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/heatmap", "/similar")


def make_app(service: Service, *, host: str, token: str | None = None) -> App:
    """Return the server's app (ASGI).

    Args:
        service: what answers.
        host: that it is bound to.
        token: that requests must have; None for none.
    """
    app = guarded(_with_routes(service), service.settings, host=host, token=token, memory=service.memory)
    return _Answered(app, service.metrics)


class _Answered:
    """Sees that each request is answered and counted, whatever happens, with the headers that all answers have."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets
        send, status, started = with_security_headers(send), 0, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except RefusalError as refusal:
            self._metrics.rejected.labels(refusal.reason).inc()
            if not status:
                await send_json(watched, refusal.status, {"error": str(refusal)}, refusal.headers)
        except Exception:
            LOG.exception("a request could not be answered")
            if not status:
                await send_json(watched, 500, {"error": FAILED})
        finally:
            route = _route_of(scope["path"])
            self._metrics.requests.labels(route, str(status or "gone")).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)


def _route_of(path: str) -> str:
    """Return what requests of a path are counted as: not each photo by itself."""
    if path.startswith(REVIEW):
        return REVIEW
    return path if path in _ROUTES else "other"


def _with_routes(service: Service) -> FastAPI:
    settings = service.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        if settings.workers > 1:  # the others answer meanwhile; alone, it says that it is not ready
            await asyncio.to_thread(service.batcher.wait)
        yield
        service.stopping = True
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="regraft serve",
        summary="A classifier of photos that answers by HTTP.",
        version=version("regraft"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_exception_handler(RefusalError, _refused_by(service.metrics))
    app.add_exception_handler(AnyHTTPError, _http_error)
    app.add_exception_handler(500, _failed)
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(405, _not_allowed)
    app.add_exception_handler(RequestValidationError, _wrong_value)
    _add_predict(app, service)
    _add_heatmap(app, service)
    _add_state(app, service)
    _add_documents(app)
    add_page(app)
    if service.review is not None:
        add_review(app, service, service.review)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    settings = service.settings
    fetching = ThreadPoolExecutor(_FETCHES, thread_name_prefix="fetch")
    unreadable: dict[int | str, dict[str, Any]] = {
        422: {"model": Answers | Failure, "description": "The one photo cannot be read, or no photo is sent."}
    }

    @app.post("/predict", response_model=Answers, responses=FAILURES | unreadable, openapi_extra=BODY)
    async def predict(request: Request, top: Annotated[int, Query(ge=1, le=MOST_TOP)] = MOST_TOP) -> Response:
        """Classify photos: the fields `files` of a form, or addresses where the server is started to fetch them."""
        ends = time.monotonic() + settings.timeout
        with Allowance(settings.max_body, within=service.memory) as fetched:
            get = functools.partial(_fetched, pool=fetching, allowance=fetched)
            sources, failed = await _photos_of(request, settings, get, ends)
            explained = await service.answer(sources, ends) if sources else None
            found = [] if explained is None else answers_of(explained.predictions, explained.classes, top)
        rows = _in_order(found, failed)
        lost = len(rows) == 1 and rows[0]["error"] is not None
        return json_response({"predictions": rows}, 422 if lost else 200)


def _add_heatmap(app: FastAPI, service: Service) -> None:
    @app.post("/heatmap", response_model=dict[str, Any], responses=FAILURES, openapi_extra=FORM)
    async def heatmap(request: Request, label: str) -> Response:
        """Say which parts of a photo speak for a class: how much its log-odds fall where they are covered."""
        classifier, seconds = service.subject.classifier, service.settings.timeout
        return json_response(await heatmap_of(request, label, classifier, service.batcher, seconds=seconds))


async def _photos_of(
    request: Request, settings: ServeSettings, get: Callable[[list[str]], Awaitable[_Photos]], ends: float
) -> _Photos:
    """Return the photos of a request, and by position the names and reasons of those that cannot be fetched."""
    kind = request.headers.get("content-type", "")
    essence = kind.partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(ends - time.monotonic()):
            if essence == "multipart/form-data":
                return await read_form(kind, request.stream(), most=settings.max_files), {}
            if essence != "application/json":
                raise RefusalError(
                    415,
                    "type",
                    f"send a form with photos (multipart/form-data, field {FIELD!r}), or JSON with addresses.",
                )
            if not settings.allow_urls:
                raise RefusalError(
                    403,
                    "urls",
                    f"this server fetches no photos. Send them, or start it with {option('allow_urls', True)}.",
                )
            return await get(await read_urls(request.stream(), most=settings.max_files))
    except TimeoutError:
        raise too_slow(settings.timeout) from None


async def _fetched(urls: list[str], *, pool: ThreadPoolExecutor, allowance: Allowance) -> _Photos:
    loop = asyncio.get_running_loop()

    def get(url: str) -> bytes | FetchError:
        try:
            return fetch(url, allowance=allowance)
        except FetchError as error:
            return error

    try:
        found = await asyncio.gather(*(loop.run_in_executor(pool, get, url) for url in urls))
    except OverAllowanceError:
        raise memory_full() from None
    photos, failed = [], {}
    for place, (url, data) in enumerate(zip(urls, found, strict=True)):
        if isinstance(data, FetchError):
            failed[place] = (shown(url), printable(data))
        else:
            photos.append(EncodedImage(data, shown(url)))
    return photos, failed


def _in_order(answered: list[dict[str, Any]], failed: dict[int, tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the rows of all photos of a request, those that could not be fetched in their places."""
    rows = iter(answered)
    nothing: dict[str, Any] = {"label": None, "probability": None, "top": [], "unsure": None, "unlike_training": None}
    return [
        {"file": failed[place][0], **nothing, "error": failed[place][1]} if place in failed else next(rows)
        for place in range(len(answered) + len(failed))
    ]


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/model", response_model=dict[str, Any])
    async def model() -> Response:
        """Say what answers: classes, networks, what decides, figures with intervals, licences, versions."""
        return json_response({**about(service.subject), "review": service.review is not None})

    @app.get("/health", response_model=dict[str, str])
    async def health() -> Response:
        """Say that the process lives."""
        return json_response({"status": "alive"})

    @app.get("/ready", response_model=dict[str, str], responses={503: {"model": dict[str, str]}})
    async def ready() -> Response:
        """Say whether photos are answered: not before the first one was, and not while the server stops."""
        return json_response({"status": "ready"}) if service.ready else json_response({"status": "not ready"}, 503)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Return what was counted, as Prometheus reads it."""
        return Response(await asyncio.to_thread(service.metrics.text), headers={"Content-Type": TYPE})


def _add_documents(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(documents.PAGE)

    @app.get("/docs/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        found = documents.part(name)
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1])


def _refused_by(metrics: Metrics) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusalError)
        metrics.rejected.labels(error.reason).inc()
        answer = json_response({"error": str(error)}, error.status)
        answer.headers.update(error.headers)
        return answer

    return refused


async def _failed(_: Request, __: Exception) -> Response:  # the error itself goes on to the log
    return json_response({"error": FAILED}, 500)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPError)
    return json_response({"error": str(error.detail)}, error.status_code)


async def _not_found(request: Request, _: Exception) -> Response:
    return json_response({"error": f"there is no {printable(request.url.path)[:200]} here. See /docs."}, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    allowed = headers.get("Allow", "another method")
    answer = json_response({"error": f"{printable(request.url.path)} takes {allowed}. Got {request.method}."}, 405)
    answer.headers.update(headers)
    return answer


_NO_JSON = "the body is no JSON object. Send one, with the header 'Content-Type: application/json'."


async def _wrong_value(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if tuple(first["loc"][:1]) == ("body",) and first["type"] in ("json_invalid", "model_attributes_type"):
        return json_response({"error": _NO_JSON}, 422)
    name, given = str(first["loc"][-1]), printable(repr(first.get("input")))[:80]
    if name == "top":
        return json_response({"error": f"top must be a whole number from 1 to {MOST_TOP}. Got {given}."}, 422)
    said = (
        printable(first["msg"])
        .rstrip(".")
        .replace("Input should be", "must be")
        .replace("Field required", "is missing")
    )
    return json_response({"error": f"{printable(name)[:80]}: {said[:300]}. Got {given}."}, 422)
