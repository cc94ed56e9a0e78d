"""Who is answered: names, other sites' pages, tokens, sizes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.serve.conftest import form

from regraft.serve.guards import is_loopback

Ask = Callable[..., TestClient]
TOKEN = "a-token-of-23-characters"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1"])
def test_own_names(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "192.168.0.7", "127.0.0.1.evil.example", "[::2]"]
)
def test_other_names(client: TestClient, host: str) -> None:
    given = client.get("/health", headers={"Host": host})
    name = host.removesuffix(":8000").strip("[]")
    assert (given.status_code, given.json()) == (
        421,
        {
            "error": f"this server is not {name!r}. Ask it by the address that it was started with, or start it with "
            "allow_host and this name."
        },
    )


def test_no_name(client: TestClient) -> None:
    given = client.get("/health", headers={"Host": ""})
    assert given.status_code == 400
    assert given.json() == {"error": "the header Host is missing, which every request of HTTP/1.1 has."}


def test_a_server_for_others_is_asked_by_address_or_allowed_name(ask: Ask) -> None:
    client = ask(host="0.0.0.0", allow_host=("photos.example",))
    for host, status in (("192.168.0.7:80", 200), ("[fe80::1]", 200), ("photos.example", 200), ("evil.example", 421)):
        assert client.get("/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8000"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites(client: TestClient, jpegs: list[Path], headers: dict[str, str], status: int) -> None:
    given = client.post("/predict", files=form(jpegs[0]), headers=headers)
    assert given.status_code == status
    if status == 403:
        assert given.json() == {"error": "pages of other sites are not answered. Ask from a program."}


def test_token(ask: Ask, jpegs: list[Path]) -> None:
    client = ask(token=TOKEN)
    for page in ("/health", "/ready", "/", "/static/page.js"):  # the page asks for the token
        assert client.get(page).status_code == 200
    for page in ("/model", "/metrics", "/docs", "/openapi.json", "/heatmap?label=dog"):
        assert client.get(page).status_code == 401
    for header in (None, "Bearer", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x"):
        headers = {} if header is None else {"Authorization": header}
        given = client.post("/predict", files=form(jpegs[0]), headers=headers)
        assert given.status_code == 401
        assert given.headers["www-authenticate"] == 'Bearer realm="regraft"'
        assert given.json() == {"error": "this server needs its token: send the header 'Authorization: Bearer TOKEN'."}
    given = client.post("/predict", files=form(jpegs[0]), headers={"Authorization": f"bearer {TOKEN}"})
    assert given.status_code == 200


def test_bodies_too_large_by_what_they_say_and_by_what_they_hold(ask: Ask) -> None:
    client = ask(max_body=1000)

    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(20):
            yield b"0" * 100

    sentence = "the request is larger than 1 kB, the most that is taken. Send fewer photos at once, or smaller ones."
    said = client.post("/predict", files=form(("a", b"0" * 2000)))
    held = client.post("/predict", content=parts(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    for given in (said, held):
        assert (given.status_code, given.json()) == (413, {"error": sentence})


def test_what_all_requests_together_hold_is_let_go_again(ask: Ask, jpegs: list[Path]) -> None:
    client = ask(max_body=4000)
    for _ in range(12):  # 8 of the largest size at once, not one after the other
        assert client.post("/predict", files=form(jpegs[0])).status_code == 200


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.1", "example.org", "")] == [False] * 5
