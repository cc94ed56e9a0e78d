"""Why a request is not answered: a status, a sentence, and a word by which such requests are counted."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from fastapi.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
JSON = b"application/json"


class RefusalError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        reason: a word, to count by.
        sentence: for whoever asks.
        headers: of the answer, besides the usual ones.
    """

    def __init__(self, status: int, reason: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


def memory_full() -> RefusalError:
    """Return the refusal of a request whose photos would be more than memory is meant to hold."""
    return RefusalError(
        429,
        "memory",
        "other requests hold all the memory that is meant for photos. Come again in a second.",
        {"Retry-After": "1", "Connection": "close"},
    )


def json_bytes(value: Any) -> bytes:
    """Return JSON; what is no UTF-8 in names of classes is escaped."""
    return json.dumps(value, allow_nan=False).encode("ascii")


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer of JSON."""
    return Response(json_bytes(value), status, media_type="application/json")


async def send_json(send: Send, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
    """Answer with JSON."""
    body = json_bytes(value)
    own: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", JSON),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in (headers or {}).items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": list(own)})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header of a request, None where it is not there.

    Raises:
        RefusalError: it is there twice.
    """
    found = [value for key, value in scope["headers"] if key == name]
    if len(found) > 1:
        raise RefusalError(400, "malformed", f"the header {name.decode()} is given {len(found)} times. Give it once.")
    return None if not found else bytes(found[0]).decode("latin-1")
