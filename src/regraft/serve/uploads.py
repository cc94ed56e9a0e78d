"""From the body of a request to photos in memory, or to addresses of photos. Nothing is written to a disk."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from regraft.errors import option, printable
from regraft.files import json_or_none
from regraft.images.sources import EncodedImage
from regraft.serve.refusals import RefusalError

if TYPE_CHECKING:
    from fastapi import Request
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
_LONGEST_NAME = 200  # characters that are kept


class _Form:
    """Takes the parts of a form as they are parsed.

    Args:
        most: photos.
    """

    def __init__(self, most: int) -> None:
        self.photos: list[EncodedImage] = []
        self.complete = False
        self._most = most
        self._data, self._key, self._value = bytearray(), b"", b""
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        if len(self.photos) == self._most:
            raise too_many(self._most)
        self._data, self._disposition = bytearray(), b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = self._value
        self._key = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise RefusalError(
                422, "form", f"the form has a field {printable(field)[:80]!r}. Send photos as {FIELD!r}, one or many."
            )
        name = options.get(b"filename", b"").decode("utf-8", "replace") or f"photo {len(self.photos) + 1}"
        self.photos.append(EncodedImage(bytes(self._data), shown(name)))
        self._data = bytearray()

    def on_end(self) -> None:
        self.complete = True


async def read_form(content_type: str, body: AsyncIterator[bytes], *, most: int) -> list[EncodedImage]:
    """Return the photos of a form, in order.

    Args:
        content_type: the header.
        body: of the request, in parts.
        most: photos.

    Raises:
        RefusalError: no such form, other fields, no photos or too many.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise _malformed()
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for part in body:
            parser.write(part)
        parser.finalize()
    except FormParserError:
        raise _malformed() from None
    if not form.complete:
        raise _malformed()
    if not form.photos:
        raise RefusalError(422, "form", f"the form holds no photos. Send one or more as {FIELD!r}.")
    return form.photos


async def read_photos(request: "Request", *, most: int, seconds: float) -> list[EncodedImage]:
    """Return the photos of a request's form, in order.

    Args:
        request: whose body is the form.
        most: photos.
        seconds: in which they must arrive.

    Raises:
        RefusalError: as `read_form`, or they do not arrive in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await read_form(request.headers.get("content-type", ""), request.stream(), most=most)
    except TimeoutError:
        raise too_slow(seconds) from None


async def read_urls(body: AsyncIterator[bytes], *, most: int) -> list[str]:
    """Return the addresses in a request's JSON.

    Raises:
        RefusalError: other JSON, or too many.
    """
    text = bytearray()
    async for part in body:
        text += part
    found = json_or_none(bytes(text))
    urls = found.get("urls") if isinstance(found, dict) and set(found) == {"urls"} else None
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise RefusalError(422, "json", 'JSON must be {"urls": [...]}, with the address of one photo or more.')
    if len(urls) > most:
        raise too_many(most)
    return urls


def too_many(most: int) -> RefusalError:
    """Return the refusal of a request of too many photos."""
    return RefusalError(
        413,
        "files",
        f"a request may have {most:,} photos at most ({option('max_files')} of the server). Send several requests.",
        {"Connection": "close"},
    )


def too_slow(seconds: float) -> RefusalError:
    """Return the refusal of a request whose photos do not arrive in time."""
    return RefusalError(408, "slow", f"the photos did not arrive within {seconds:g} s.", {"Connection": "close"})


def shown(name: str) -> str:
    """Return what stands for a photo in answers: what it was sent as, without characters that forge text."""
    text = printable(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 4]} ..."


def _malformed() -> RefusalError:
    return RefusalError(400, "malformed", "the body is no form that is whole (multipart/form-data). Send it again.")
