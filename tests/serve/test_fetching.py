"""Photos are fetched from public addresses alone, whole, in time, and not for ever."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regraft.files import size_in_words
from regraft.serve import fetching
from regraft.serve.allowance import Allowance, OverAllowanceError
from regraft.serve.fetching import FetchError, fetch, is_public, public_address

PHOTO = bytes(range(256)) * 300


class Site(BaseHTTPRequestHandler):
    """Redirects /2 to /1 to /0, drips /drip, breaks /part off, and leads /inside to another name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        getattr(self, f"_{self.path.strip('/').partition('?')[0]}", self._missing)()

    def _0(self) -> None:
        self._send(200, PHOTO)

    def _1(self) -> None:
        self._send(302, location="/0")

    def _2(self) -> None:
        self._send(307, location="/1")

    def _3(self) -> None:
        self._send(301, location="/2")

    def _4(self) -> None:
        self._send(308, location="/3")

    def _inside(self) -> None:
        self._send(302, location="http://inside.example/0")

    def _file(self) -> None:
        self._send(302, location="file:///etc/passwd")

    def _missing(self) -> None:
        self._send(404, b"")

    def _part(self) -> None:
        self._send(200, PHOTO[:50], length=len(PHOTO))
        self.close_connection = True

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            return

    def _send(self, status: int, body: bytes = b"", location: str = "", length: int | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a server that counts as public; no other does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    real = public_address

    def resolved(host: str, port: int) -> str:
        if host == "inside.example":
            return real("127.0.0.1", port)
        return "127.0.0.1" if host == "photos.example" else real(host, port)

    monkeypatch.setattr(fetching, "public_address", resolved)
    yield f"http://photos.example:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_photo_is_fetched_past_three_redirects(site: str) -> None:
    for path in ("/0", "/1?size=2", "/2", "/3"):
        assert fetch(site + path, allowance=Allowance(len(PHOTO))) == PHOTO


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/4", "more than 3 redirects"),
        ("/gone", "its server answers 404"),
        ("/part", "its server sent a part of it only"),
        ("/inside", "the address is not a public one, and others are not asked"),
        ("/file", "addresses begin with http:// or https://"),
    ],
)
def test_what_cannot_be_fetched(site: str, path: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(site + path, allowance=Allowance(len(PHOTO)))
    assert str(caught.value) == reason


def test_too_large(site: str) -> None:
    with pytest.raises(FetchError, match=r"^it is larger than 1 kB$"):
        fetch(f"{site}/0", allowance=Allowance(1000))


def test_photos_that_are_fetched_at_once_share_what_may_be_held(site: str) -> None:
    """As many as fit are whole, however they meet; what is over is not held."""
    for most, whole in ((4 * len(PHOTO), 4), (4 * len(PHOTO) - 1, 3), (len(PHOTO) - 1, 0)):
        allowance = Allowance(most)

        def get(_: int, allowance: Allowance = allowance) -> bytes | str:
            try:
                return fetch(f"{site}/0", allowance=allowance)
            except FetchError as error:
                return str(error)

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(get, range(4)))
        kept = [one for one in found if isinstance(one, bytes)]
        assert kept == [PHOTO] * len(kept)
        assert allowance.held == len(kept) * len(PHOTO) <= most
        assert len(kept) == 4 if whole == 4 else len(kept) <= whole
        for told in found:
            assert isinstance(told, bytes) or told.endswith(f"it is larger than {size_in_words(most)}")


def test_photos_one_after_the_other_share_it_too(site: str) -> None:
    allowance = Allowance(2 * len(PHOTO) - 1)
    assert fetch(f"{site}/0", allowance=allowance) == PHOTO
    with pytest.raises(FetchError, match=r"^with the request's other photos it is larger than 153.6 kB$"):
        fetch(f"{site}/0", allowance=allowance)
    assert allowance.held == len(PHOTO)


def test_what_is_not_returned_is_not_held(site: str) -> None:
    memory = Allowance(2 * len(PHOTO) - 1)
    with Allowance(10 * len(PHOTO), within=memory) as allowance:
        with pytest.raises(FetchError):
            fetch(f"{site}/part", allowance=allowance)
        assert memory.held == 0
        fetch(f"{site}/1", allowance=allowance)
        with pytest.raises(OverAllowanceError):  # of all requests
            fetch(f"{site}/0", allowance=allowance)
        assert memory.held == len(PHOTO)
    assert memory.held == 0
    with pytest.raises(FetchError):  # the request is over
        fetch(f"{site}/0", allowance=allowance)
    assert memory.held == 0


def test_a_server_that_drips_is_cut_off(site: str) -> None:
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"^it takes longer than 10 seconds$"):
        fetch(f"{site}/drip", allowance=Allowance(1000), seconds=0.2)
    assert time.monotonic() - started < 1.5


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "public_address", lambda *_: "127.0.0.1")
    with pytest.raises(FetchError, match=r"^it cannot be fetched$"):
        fetch("http://photos.example:9/", allowance=Allowance(1))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/a", "addresses begin with http:// or https://"),
        ("/etc/passwd", "addresses begin with http:// or https://"),
        ("http://", "addresses begin with http:// or https://"),
        ("http://a:b@example.org/", "addresses with a user's name or password are not asked"),
        ("http://example.org:99999/", "it is no address"),
        ("http://[::1", "it is no address"),
        ("http://exa\u00e4mple.org/", "addresses hold neither blanks nor letters beyond ASCII: percent-encode them"),
        ("http://example.org/a b", "addresses hold neither blanks nor letters beyond ASCII: percent-encode them"),
    ],
)
def test_what_is_no_address(url: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(url, allowance=Allowance(1))
    assert str(caught.value) == reason


# each of IANA's special ranges, and the ways in which IPv6 writes them
@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "nonsense"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "localhost", "::1", "017700000001"])
def test_ways_to_write_this_machine(host: str) -> None:
    with pytest.raises(FetchError):
        public_address(host, 80)


def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "192.168.0.1")]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchError, match="not a public one"):
        public_address("example.org", 80)
    found.pop()
    assert public_address("example.org", 80) == "1.1.1.1"
