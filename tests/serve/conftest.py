"""What the tests of the server share: a classifier's file around a tiny network, and one app that answers by it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.conftest import photo

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone
from regraft.publishing.subject import CardSubject
from regraft.review.session import ReviewSession
from regraft.serve.app import make_app
from regraft.serve.service import Service, open_service
from regraft.serve.settings import ServeSettings
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREEN, PHONE = {"width": 1200, "height": 850}, {"width": 360, "height": 740}
BASE = "http://127.0.0.1:8000"
Start = Callable[..., tuple[subprocess.Popen[str], int]]
Upload = tuple[str, tuple[str, bytes]]
FAILED = pytest.StashKey[bool]()  # of a test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note of a test that it failed, before what it uses is ended."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def served_file(tiny_network: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a classifier of three classes, whose rule answers "dog" from a probability of 0.35 on."""
    folder = tmp_path_factory.mktemp("served")
    backbone = load_backbone(tiny_network)
    weight = np.random.default_rng(0).normal(0, 8, (3, backbone.width)).astype(np.float32)
    classifier = Classifier(
        backbone=backbone,
        head=LinearHead(weight, np.array([0.1, 0.0, -0.1], dtype=np.float32), 0.01),
        classes=("Kätzchen", "dog", "7"),
        temperature=1.7,
        model=tiny_network,
        strategy="frozen",
        decision=Decision(ThresholdRule(1, 0.35), "threshold 0.35 for dog"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(folder / "cache"))
        save_bundle(classifier, folder / "pets.safetensors")
    return folder / "pets.safetensors"


@pytest.fixture(scope="session")
def reviewed_file(tiny_network: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a classifier of blue and red photos, which can be fitted again."""
    folder = tmp_path_factory.mktemp("reviewed")
    for colour in ("blue", "red"):
        for number in range(6):
            photo(folder / "photos" / colour / f"{number}.jpg", colour, 4000 + number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(folder / "cache"))
        made = fit(
            find_samples(folder / "photos"),
            lambda: load_backbone(tiny_network),
            model=tiny_network,
            settings=FitSettings(features="last", force=True),
            compute=Compute(device="cpu", engine="torch-float32"),
        )
        save_bundle(made.classifier, folder / "colours.safetensors")
    return folder / "colours.safetensors"


@pytest.fixture(scope="session")
def subject(served_file: Path) -> CardSubject:
    return CardSubject.of_file(served_file)


def make_service(subject: CardSubject, review: ReviewSession | None = None, **settings: Any) -> Service:
    chosen = ServeSettings(**settings)
    chosen.check()
    compute = Compute(cache=False, device="cpu")
    known = {subject.classifier: Predictor(subject.classifier, compute, max_pixels=chosen.max_pixels)}
    return open_service(
        subject, lambda one: known.get(one) or Predictor(one, compute), chosen, batch_size=32, review=review
    )


class Held:
    """Keeps a service from answering until it may; requests are sent by threads.

    Args:
        service: that is held.
    """

    def __init__(self, service: Service) -> None:
        self.may, self.begun, self._pool = threading.Event(), threading.Semaphore(0), ThreadPoolExecutor(8)
        self._service, make = service, service.batcher._make

        def slow() -> Predictor:
            predictor = make()
            answer = predictor.explain_each

            def explain_each(lists: Any) -> Any:
                self.begun.release()
                assert self.may.wait(20)
                return answer(lists)

            predictor.predict([])  # it is open
            predictor.predict = lambda _: None  # type: ignore[assignment,method-assign,return-value]
            predictor.explain_each = explain_each  # type: ignore[method-assign]
            return predictor

        service.batcher._make = slow

    def send(self, client: httpx2.Client, *files: Path) -> Future[Any]:
        """Send a request that is not waited for."""
        return self._pool.submit(client.post, "/predict", files=form(*files))

    def until(self, photos: int) -> None:
        """Return once so many photos wait."""
        ends = time.monotonic() + 20
        while self._service.batcher._photos != photos:
            assert time.monotonic() < ends
            time.sleep(0.005)


def until_ready(client: TestClient) -> None:
    ends = time.monotonic() + 30
    while client.get("/ready").status_code != 200:
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture(scope="package")
def client(subject: CardSubject) -> Iterator[TestClient]:
    """Return what asks a server with the usual settings."""
    with TestClient(make_app(make_service(subject), host="127.0.0.1"), base_url=BASE) as asked:
        until_ready(asked)
        yield asked


@pytest.fixture
def ask(subject: CardSubject) -> Iterator[Callable[..., TestClient]]:
    """Return a function that opens a server with other settings: ask(max_files=2, token="...")."""
    opened: list[TestClient] = []

    def started(*, token: str | None = None, host: str = "127.0.0.1", **settings: Any) -> TestClient:
        app = make_app(make_service(subject, **settings), host=host, token=token)
        found = TestClient(app, base_url=BASE)
        found.__enter__()
        opened.append(found)
        until_ready(found)
        return found

    yield started
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(scope="session")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return six photos of different colours and sizes."""
    folder = tmp_path_factory.mktemp("jpegs")
    colours = ("red", "green", "blue", "grey", "red", "blue")
    return [photo(folder / f"{n}.jpg", colour, n, (48 + 9 * n, 40 + 5 * n)) for n, colour in enumerate(colours)]


def form(*files: Path | tuple[str, bytes]) -> list[Upload]:
    """Return the fields of a form of these files."""
    pairs = [one if isinstance(one, tuple) else (one.name, one.read_bytes()) for one in files]
    return [("files", pair) for pair in pairs]


@pytest.fixture
def start(served_file: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return a function that starts the command and returns its process and port once it answers.

    Of a test that fails, what each process said is shown, and where each of its threads is: it may be silent.
    """
    begun: list[subprocess.Popen[str]] = []

    def started(*arguments: str, file: Path = served_file) -> tuple[subprocess.Popen[str], int]:
        port = () if "--port" in arguments else ("--port", "0")
        command = [sys.executable, "-m", "regraft", "serve", str(file), *port, *arguments]
        settings = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | settings)
        begun.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        while line.startswith("decisions are kept in "):
            line = process.stderr.readline()
        found = re.fullmatch(r"answers at http://127\.0\.0\.1:(\d+)/ \(docs at /docs\)\n", line)
        assert found, line + process.stderr.read()
        return process, int(found[1])

    yield started
    for process in begun:
        if request.node.stash.get(FAILED, False) and process.poll() is None:
            process.send_signal(signal.SIGABRT)  # faulthandler answers it, whoever holds Python's lock
            process.send_signal(signal.SIGCONT)  # where a test has stopped it
            with suppress(subprocess.TimeoutExpired):
                request.node.add_report_section("teardown", "server", process.communicate(timeout=10)[1])
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")  # no longer: its event loop is in the way of tests with one of their own
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Return a function that opens a page; at the end nothing was complained of, and no other server asked.

    `allowed` is what may fail to load, as a pattern of what a browser says of it; `script` runs before the page's own.
    """
    heard: list[str] = []
    asked: list[str] = []
    contexts = []

    def page(url: str, *, allowed: str = "nothing", script: str = "", **settings: Any) -> "Page":
        context = browser.new_context(**{"viewport": SCREEN, **settings})
        contexts.append(context)
        context.add_init_script(script)
        found = context.new_page()
        fits = re.compile(f"Failed to load resource: {allowed}").match
        found.on(
            "console", lambda said: heard.append(said.text) if said.type != "debug" and not fits(said.text) else None
        )
        found.on("pageerror", lambda error: heard.append(str(error)))
        found.on("request", lambda request: asked.append(request.url))
        found.goto(url)
        return found

    yield page
    for context in contexts:
        context.close()
    assert heard == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))] == []


def faults(page: "Page") -> list[str]:
    """Return the rules of axe that a page breaks."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert found["passes"]
    return [one["id"] for one in found["violations"]]
