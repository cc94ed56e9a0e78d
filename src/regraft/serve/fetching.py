"""Photos from addresses on the internet, and from nowhere else.

Whoever asks could otherwise have the server look at what only its own network reaches (server-side request forgery). A
name is resolved once, and the connection goes to the address that was checked: a name that leads elsewhere by then
(DNS rebinding) changes nothing. Every redirect is checked as the first address was.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import closing
from urllib.parse import SplitResult, urljoin, urlsplit

from regraft.files import size_in_words
from regraft.serve.allowance import Allowance, OverAllowanceError

MOST_REDIRECTS = 3
SECONDS = 10.0  # for one photo, redirects and all
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_PART = 1 << 16  # bytes that are read at once
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchError(Exception):
    """Why there is no photo at an address, in words."""


def fetch(url: str, *, allowance: Allowance, seconds: float = SECONDS) -> bytes:
    """Return what an address holds.

    Args:
        url: http or https.
        allowance: of bytes, of which what is returned stays held.
        seconds: all in all.

    Raises:
        FetchError: no such address, one that is not public, an answer that is no success, or too large or slow.
        OverAllowanceError: more than all requests together may hold.
    """
    ends = time.monotonic() + seconds
    for _ in range(MOST_REDIRECTS + 1):
        parts, port = _checked(url)
        found = _get(parts, port, allowance, ends=ends)
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise FetchError(f"more than {MOST_REDIRECTS} redirects")


def public_address(host: str, port: int) -> str:
    """Return the address that a host's name leads to.

    Raises:
        FetchError: it leads nowhere, or one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError("the host's name leads to no address") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise FetchError("the address is not a public one, and others are not asked")
    return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an IP address is of the internet, and so is every IPv4 address that it stands for.

    >>> is_public("192.168.0.1"), is_public("::ffff:127.0.0.1"), is_public("169.254.169.254"), is_public("1.1.1.1")
    (False, False, False, True)
    """
    try:
        one: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    judged = _within(one) if one in _NAT64 else [one, *_within(one)]
    return all(part.is_global and not part.is_multicast and not part.is_reserved for part in judged)


def _within(address: Address) -> list[Address]:
    """Return the IPv4 addresses that an IPv6 address stands for, by mapping or translation or through a tunnel."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _checked(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError("it is no address") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise FetchError("addresses begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise FetchError("addresses with a user's name or password are not asked")
    if any(character <= " " or character == "\x7f" for character in url) or not url.isascii():
        raise FetchError("addresses hold neither blanks nor letters beyond ASCII: percent-encode them")
    return parts, port or _PORTS[parts.scheme]


def _get(parts: SplitResult, port: int, allowance: Allowance, *, ends: float) -> bytes | str:
    """Return what an address holds, or where it redirects to."""
    host = str(parts.hostname)
    address = public_address(host, port)
    secure = parts.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(host, port)
    try:
        stream = socket.create_connection((address, port), timeout=max(ends - time.monotonic(), 0.001))
        with _cut_off(stream, ends), closing(connection):
            if secure:
                stream = ssl.create_default_context().wrap_socket(stream, server_hostname=host)
            connection.sock = stream
            path = parts.path or "/"
            headers = {
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "regraft",
                "Connection": "close",
            }
            connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=headers)
            with connection.getresponse() as answer:
                return _body(answer, allowance, ends)
    except (OSError, http.client.HTTPException, ValueError):
        late = time.monotonic() >= ends
        raise FetchError(f"it takes longer than {SECONDS:g} seconds" if late else "it cannot be fetched") from None


def _body(answer: http.client.HTTPResponse, allowance: Allowance, ends: float) -> bytes | str:
    location = answer.getheader("Location")
    if answer.status in _REDIRECTS and location:
        return location
    if answer.status != 200:
        raise FetchError(f"its server answers {answer.status}")
    data, held = bytearray(), 0
    try:
        while part := answer.read1(_PART):
            data += part
            allowance.take(len(part))
            held += len(part)
        if time.monotonic() >= ends:  # cut off, and perhaps not whole
            raise TimeoutError
        if answer.length:
            raise FetchError("its server sent a part of it only")
    except BaseException as error:
        allowance.give_back(held)
        if isinstance(error, OverAllowanceError) and error.of is allowance:
            together = "" if len(data) > allowance.most else "with the request's other photos "
            raise FetchError(f"{together}it is larger than {size_in_words(allowance.most)}") from None
        raise
    return bytes(data)


class _cut_off:  # noqa: N801 (a context manager, used as a function)
    """Shuts a connection down once its time is over: a server may send a byte each second for ever."""

    def __init__(self, stream: socket.socket, ends: float) -> None:
        self._file = stream.dup()  # of the same connection, whatever becomes of `stream` in TLS
        self._timer = threading.Timer(max(ends - time.monotonic(), 0), self._shut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._file.close()

    def _shut(self) -> None:
        try:
            self._file.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended
            return
