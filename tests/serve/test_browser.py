"""The page in a real browser: photos in by every way, answers, heat map, table; a phone, the keyboard, axe's rules."""

import csv
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect
from tests.serve.conftest import PHONE, Held, faults, make_service

from regraft.publishing.subject import CardSubject
from regraft.serve.app import Service, make_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOKEN = "a secret of twenty letters"


class Live:
    """A server on loopback in a thread."""

    def __init__(self, service: Service, token: str | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        app = make_app(service, host="127.0.0.1", token=token)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        ends = time.monotonic() + 30
        while not (self._server.started and app_is_ready(self.url)):
            assert time.monotonic() < ends
            time.sleep(0.02)

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()


def app_is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}ready", timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:  # not yet
        return False


@pytest.fixture(scope="module")
def live(subject: CardSubject) -> Iterator[str]:
    server = Live(make_service(subject))
    yield server.url
    server.end()


@pytest.fixture
def opened(open_page: Callable[..., Page], live: str) -> Callable[..., Page]:
    """Return a function that opens the page."""
    return lambda url=live, **settings: open_page(url, **settings)


def test_one_photo_and_where_it_looks(opened: Callable[..., Page], jpegs: list[Path]) -> None:
    page = opened()
    expect(page.get_by_role("heading", level=1)).to_have_text("Kätzchen, dog or 7?")
    page.set_input_files("#files", jpegs[0])
    expect(page.locator("#bars li")).to_have_count(3)
    shares = [float(text.strip("<> %")) for text in page.locator("#bars .number").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    answer = page.locator("#label").inner_text()
    assert answer in ("Kätzchen", "dog", "7")
    expect(page.locator("#table")).to_be_hidden()
    page.get_by_role("button", name="Show what it looks at").click()
    expect(page.locator("#map")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text(f"{answer}: the part that speaks for it most lies at the")
    photo, drawn = page.locator("#photo").bounding_box(), page.locator("#map").bounding_box()
    assert photo == drawn  # it lies on the photo
    page.get_by_role("button", name="Hide what it looks at").click()
    expect(page.locator("#map")).to_be_hidden()


def test_several_photos_become_a_table_and_a_file(
    opened: Callable[..., Page], jpegs: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "=broken.jpg"
    broken.write_bytes(b"no photo")
    page = opened()
    page.set_input_files("#files", [*jpegs, broken])
    expect(page.locator("#rows tr")).to_have_count(7)
    expect(page.get_by_role("status")).to_have_text("7 photos done; 1 cannot be read.")
    expect(page.locator("#rows tr").last).to_contain_text("not an image")
    page.get_by_role("button", name="3.jpg").click()
    expect(page.locator("#name")).to_have_text("3.jpg")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert [row["file"] for row in rows] == [*(path.name for path in jpegs), "'=broken.jpg"]  # no formula
    shown = page.locator("#rows tr td:nth-child(3)").all_inner_texts()
    assert [row["label"] for row in rows] == shown
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#detail")).to_be_hidden()


def test_photos_are_dropped_and_pasted(opened: Callable[..., Page], jpegs: list[Path]) -> None:
    page = opened()
    for event, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        before = page.locator("#rows tr").count()
        page.evaluate(
            """([bytes, event, field]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], `${event}.jpg`, { type: "image/jpeg" }));
              const kind = event === "drop" ? DragEvent : ClipboardEvent;
              document.body.dispatchEvent(new kind(event, { [field]: data, bubbles: true, cancelable: true }));
            }""",
            [list(jpegs[1].read_bytes()), event, field],
        )
        expect(page.locator("#rows tr")).to_have_count(before + 1)
        expect(page.locator("#name")).to_have_text(f"{event}.jpg")


def test_the_keyboard_reaches_everything(opened: Callable[..., Page], jpegs: list[Path]) -> None:
    page = opened()
    page.set_input_files("#files", jpegs[:2])
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator("body").press("Home")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"files", "camera", "explain", "csv", "clear", "0.jpg", "1.jpg", "For programs"} <= reached


def test_a_phone_and_the_dark(opened: Callable[..., Page], jpegs: list[Path]) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page = opened(viewport=PHONE, color_scheme=scheme, is_mobile=True, has_touch=True)
        page.set_input_files("#camera", jpegs[2])
        expect(page.locator("#bars li")).to_have_count(3)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]  # nothing sticks out
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(opened: Callable[..., Page], jpegs: list[Path], scheme: str) -> None:
    page = opened(color_scheme=scheme)
    page.set_input_files("#files", jpegs[:2])
    expect(page.locator("#rows tr")).to_have_count(2)
    assert faults(page) == []


def test_a_server_with_a_token_asks_for_it(subject: CardSubject, browser: Browser) -> None:
    server = Live(make_service(subject), TOKEN)
    try:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#login")).to_be_visible()
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Kätzchen, dog or 7?")
        page.close()
    finally:
        server.end()


def test_a_busy_server_is_asked_again(subject: CardSubject, browser: Browser, jpegs: list[Path]) -> None:
    """One photo is worked on and one waits, which is all that may: the page waits as it is told, and is answered."""
    service = make_service(subject, max_queue=1, max_files=1)
    held = Held(service)
    server = Live(service)
    try:
        page = browser.new_page()
        page.goto(server.url)
        statuses: list[int] = []
        page.on("response", lambda one: statuses.append(one.status) if one.url.endswith("/predict") else None)
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            first = held.send(client, jpegs[0])
            assert held.begun.acquire(timeout=20)
            second = held.send(client, jpegs[1])
            held.until(1)
            page.set_input_files("#files", jpegs[2])
            expect(page.get_by_role("status")).to_have_text("The server is busy; trying again in 1 s")
            held.may.set()
            expect(page.locator("#bars li")).to_have_count(3)
            assert [one.result(20).status_code for one in (first, second)] == [200, 200]
        assert (statuses[0], statuses[-1]) == (429, 200)
        page.close()
    finally:
        held.may.set()
        server.end()


def test_the_documents_for_programs_open_without_a_connection(opened: Callable[..., Page], live: str) -> None:
    page = opened(f"{live}docs")
    expect(page.get_by_text("/predict", exact=True)).to_be_visible()
