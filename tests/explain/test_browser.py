"""The report in a real browser: silent, self-contained, and readable on a screen, a phone and in the dark."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from regraft.explain.explain import Explanation
from regraft.explain.html_report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCREEN, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def report(explained: Callable[..., Explanation], tmp_path: Path) -> Path:
    return write_report(explained(strategy="top", units=2), tmp_path)


def test_in_a_browser(browser: Browser, report: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    asked: list[str] = []
    grounds = {}
    for size, scheme in ((SCREEN, "light"), (SCREEN, "dark"), (PHONE, "light")):
        page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.images.length") > 10
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]  # nothing sticks out
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert ink == page.evaluate("getComputedStyle(document.body).color")  # charts have the page's colours
        if size is SCREEN and scheme == "light":
            page.pdf(path=tmp_path / "report.pdf")
        page.close()
    assert heard == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()] * 3
    assert grounds["light"] != grounds["dark"]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
