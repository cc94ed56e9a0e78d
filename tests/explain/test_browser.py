"""The report in a real browser: silent, self-contained, and readable on a screen, a phone and in the dark."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.explain.made import explanation_of

from regraft.explain.explanation import Explanation
from regraft.explain.html_report import write_report
from regraft.explain.mistakes import Mistake, Mistakes
from regraft.photo_audit.thumbnails import Thumbnail

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
        if size is SCREEN:  # no table is cut, and what is to be known first is on the first screen
            cut = "[...document.querySelectorAll('.table, .grid')].filter(one => one.scrollWidth > one.clientWidth + 1)"
            assert page.evaluate(f"{cut}.length") == 0
            assert page.evaluate("document.querySelector('nav').getBoundingClientRect().bottom") <= size["height"]
        if size is SCREEN and scheme == "light":
            page.pdf(path=tmp_path / "report.pdf")
        page.close()
    assert heard == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()] * 3
    assert grounds["light"] != grounds["dark"]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_mistakes_are_sorted_by_a_click(browser: Browser, tmp_path: Path) -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    rows = (("b.jpg", "cat", "dog", 0.9), ("a10.jpg", "dog", "cat", 0.55), ("a9.jpg", "dog", "cat", 0.7))
    found.mistakes = Mistakes(
        tuple(
            Mistake(name, Thumbnail(""), label, answer, sure, 1 - sure, in_doubt=False)
            for name, label, answer, sure in rows
        ),
        3,
    )
    backbone = SimpleNamespace(recipe=SimpleNamespace(architecture="small"))
    found.subject = replace(found.subject, backbone=backbone)  # type: ignore[arg-type]
    page = browser.new_page(viewport=SCREEN)  # type: ignore[arg-type]
    page.goto(write_report(found, tmp_path).as_uri())

    def names() -> list[str]:
        return list(page.evaluate("[...document.querySelectorAll('.sortable .name')].map(one => one.innerText)"))

    assert names() == ["b.jpg", "a10.jpg", "a9.jpg"]
    page.click("th[data-kind=text]:last-of-type button")
    assert names() == ["a9.jpg", "a10.jpg", "b.jpg"]  # numbers in names by their size
    page.click("th[data-kind=text]:last-of-type button")
    assert names() == ["b.jpg", "a10.jpg", "a9.jpg"]
    page.click("th[data-kind=number] button >> nth=0")  # the probability of the answer
    assert names() == ["b.jpg", "a9.jpg", "a10.jpg"]
    assert page.get_attribute("th[data-kind=number] >> nth=0", "aria-sort") == "descending"
    page.click("th[data-kind=number] button >> nth=0")
    assert names() == ["a10.jpg", "a9.jpg", "b.jpg"]
