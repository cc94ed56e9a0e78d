"""What the OpenAPI description says of requests' bodies and of refusals."""

from typing import Any

from regraft.serve.answers import Failure
from regraft.serve.uploads import FIELD


def _photos(most: int | None) -> dict[str, Any]:
    photos: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
    photos |= {} if most is None else {"maxItems": most}
    form = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": {FIELD: photos}}
    return {"schema": form}


PHOTOS: dict[str, Any] = {  # one photo or many
    "requestBody": {"required": True, "content": {"multipart/form-data": _photos(None)}}
}
_ADDRESSES = {
    "schema": {
        "type": "object",
        "required": ["urls"],
        "additionalProperties": False,
        "properties": {"urls": {"type": "array", "minItems": 1, "items": {"type": "string"}}},
    }
}
BODY: dict[str, Any] = {  # photos, or addresses of photos
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _photos(None), "application/json": _ADDRESSES},
    }
}
FORM: dict[str, Any] = {"requestBody": {"required": True, "content": {"multipart/form-data": _photos(1)}}}  # one photo
_REFUSED = {
    400: "The request, or its body, is not whole.",
    401: "The token is missing, or another one.",
    403: "A page of another site asks, or addresses are not fetched here.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    413: "Too many photos, or bytes.",
    415: "Neither a form nor JSON.",
    421: "The server has another name.",
    422: "No photo is sent, one cannot be read, or a value is not allowed.",
    429: "Too many photos wait: come again after the seconds of Retry-After.",
    500: "The server's fault.",
    503: "Not ready, or not answered in time.",
    507: "It cannot be written to the disk.",
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": why} for status, why in _REFUSED.items()
}
