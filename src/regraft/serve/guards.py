"""Who is answered: hosts, pages of other sites, tokens, sizes; and the headers that keep browsers safe."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from regraft.errors import option, printable
from regraft.files import size_in_words
from regraft.serve.allowance import Allowance, OverAllowanceError
from regraft.serve.refusals import App, Message, Receive, RefusalError, Scope, Send, header, memory_full
from regraft.serve.settings import ServeSettings

OPEN = ("/health", "/ready", "/", "/review")  # to whoever watches the process; and pages, which ask for the token
OPEN_FILES = "/static/"
_LOCAL = ("localhost", "127.0.0.1", "::1")
BODIES = 8  # of the largest size, that all requests together may hold in memory
LONGEST_JSON = 1_000_000  # bytes
_WATCHED = ("/health", "/ready", "/metrics")  # are answered however many ask
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def with_security_headers(send: Send) -> Send:
    """Return what sends an answer with `HEADERS`, in the place of the same headers of the answer itself."""
    names = {name for name, _ in HEADERS}

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
            message = {**message, "headers": [*own, *HEADERS]}
        await send(message)

    return sent


class HostGuard:
    """Answers only who asks for the server by a name of its own, so that no other site's name leads here.

    A page whose name is made to lead to this machine (DNS rebinding) is in the browser's eyes its own server. Addresses
    in digits cannot be made to lead elsewhere, and are answered where the server is not for this machine alone.

    Args:
        app: what answers.
        host: that the server is bound to.
        allowed: other names.
    """

    def __init__(self, app: App, *, host: str, allowed: tuple[str, ...] = ()) -> None:
        self._app, self._public = app, not is_loopback(host)
        self._names = {name.lower().rstrip(".") for name in (*_LOCAL, host, *allowed)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "lifespan":
            self._check(header(scope, b"host"))
        await self._app(scope, receive, send)

    def _check(self, given: str | None) -> None:
        if not given:
            raise RefusalError(400, "host", "the header Host is missing, which every request of HTTP/1.1 has.")
        name = host_of(given)
        if name in self._names or (self._public and _is_address(name)):
            return
        raise RefusalError(
            421,
            "host",
            f"this server is not {printable(name)[:200]!r}. Ask it by the address that it was started with, or start "
            f"it with {option('allow_host')} and this name.",
        )


def host_of(given: str) -> str:
    """Return the name or address in a Host header, without its port.

    >>> host_of("Photos.example:8000"), host_of("[::1]:8000"), host_of("127.0.0.1")
    ('photos.example', '::1', '127.0.0.1')
    """
    if given.startswith("["):
        return given[1:].partition("]")[0].lower()
    return given.rpartition(":")[0].lower().rstrip(".") if given.count(":") == 1 else given.lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Tell whether only programs of this machine reach this host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class CrossSiteGuard:
    """Refuses what pages of other sites have a browser send. Programs send neither of these headers.

    Args:
        app: what answers.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
            foreign = site not in (None, "same-origin", "none")
            if origin is not None and not foreign:
                foreign = urlsplit(origin).netloc.lower() != (header(scope, b"host") or "").lower()
            if foreign:
                raise RefusalError(403, "cross-site", "pages of other sites are not answered. Ask from a program.")
        await self._app(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FILES)


class TokenGuard:
    """Answers only who has the token; `OPEN`, and what the page is made of, is open to all.

    Args:
        app: what answers.
        token: the secret.
    """

    def __init__(self, app: App, *, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "lifespan" and not _is_open(scope["path"]):
            scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
            held = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
            if scheme.lower() != "bearer" or not held:
                raise RefusalError(
                    401,
                    "token",
                    "this server needs its token: send the header 'Authorization: Bearer TOKEN'.",
                    {"WWW-Authenticate": 'Bearer realm="regraft"'},
                )
        await self._app(scope, receive, send)


class BodyGuard:
    """Refuses bodies that are too large, while they arrive, and more than memory is meant to hold of all together.

    What is no form is JSON, which takes many times its size in memory: `LONGEST_JSON` of it is enough for all routes.

    Args:
        app: what answers.
        most: bytes of one body.
        memory: what all requests may hold.
    """

    def __init__(self, app: App, *, most: int, memory: Allowance) -> None:
        self._app, self._most, self._memory = app, most, memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_form = (header(scope, b"content-type") or "").strip().lower().startswith("multipart/form-data")
        most = self._most if is_form else min(self._most, LONGEST_JSON)
        announced = header(scope, b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > most:
            raise _too_large(most)
        with Allowance(most, within=self._memory) as own:

            async def counted() -> Message:
                message = await receive()
                try:
                    own.take(len(message.get("body", b"")))
                except OverAllowanceError as error:
                    raise (_too_large(most) if error.of is own else memory_full()) from None
                return message

            await self._app(scope, counted, send)


def _too_large(most: int) -> RefusalError:
    return RefusalError(
        413,
        "body",
        f"the request is larger than {size_in_words(most)}, the most that is taken. Send fewer photos at once, or "
        "smaller ones.",
        {"Connection": "close"},
    )


class RequestGuard:
    """Refuses requests while many others are under way; those by which a process is watched are not counted.

    Uvicorn's own limit also counts connections that ask nothing, and answers without JSON, headers and counts.

    Args:
        app: what answers.
        most: requests.
    """

    def __init__(self, app: App, *, most: int) -> None:
        self._app, self._most, self._under_way = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in _WATCHED:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._most:
            raise RefusalError(
                503,
                "requests",
                f"{self._under_way:,} requests are under way, and no more are taken. Come again in a second.",
                {"Retry-After": "1"},
            )
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


def guarded(app: App, settings: ServeSettings, *, host: str, token: str | None, memory: Allowance) -> App:
    """Return an app behind all guards; each raises `RefusalError`.

    Args:
        app: what answers.
        settings: the limits, and other names of the server.
        host: that the server is bound to.
        token: that requests must have; None for none.
        memory: what all requests may hold.
    """
    app = RequestGuard(BodyGuard(app, most=settings.max_body, memory=memory), most=settings.max_requests)
    app = app if token is None else TokenGuard(app, token=token)
    return HostGuard(CrossSiteGuard(app), host=host, allowed=settings.allow_host)
