"""The files of the page, and the heat map that it asks for."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serve.conftest import form

from regraft.publishing.subject import CardSubject
from regraft.serve.page import heatmap_of, static_files
from regraft.serve.refusals import RefusalError


def test_the_page_asks_for_its_own_files_alone(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    asked = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert {name for name in asked if name.startswith("static/")} >= {"static/page.js", "static/page.css"}
    for name in asked:
        assert client.get(f"/{name}").status_code == 200, name
    for data, _ in static_files().values():
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", data)
    assert "'unsafe" not in page.headers["content-security-policy"]


def test_the_files_of_the_pages_find_each_other() -> None:
    """What a page or a module asks for is there, and all that is there is asked for; the HTML holds no script."""
    files = {name: data.decode() for name, (data, _) in static_files().items()}
    asked = set()
    for name, text in files.items():
        if name.endswith(".html"):
            asked |= set(re.findall(r'(?:src|href)="static/([^"#]+)"', text))
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)", text), name
        if name.endswith(".js"):
            asked |= set(re.findall(r'from "\./([^"]+)"', text))
    assert asked == {name for name in files if not name.endswith(".html")}


@pytest.mark.parametrize("name", ["none.js", "..%2fapp.py", "%2e%2e/app.py", "page.py"])
def test_no_other_file_is_given_out(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_a_heat_map(client: TestClient, jpegs: list[Path]) -> None:
    """48 x 40 pixels: eight cells along the shorter side, and ten along the other."""
    before = client.get("/metrics").text
    given = client.post("/heatmap", params={"label": "dog"}, files=form(jpegs[0]))
    assert given.status_code == 200
    values = given.json()["values"]
    assert (len(values), {len(row) for row in values}, given.json()["label"]) == (8, {10}, "dog")
    assert any(value != 0 for row in values for value in row)
    answers = [line for line in before.splitlines() if line.startswith("regraft_answers_total")]
    after = client.get("/metrics").text.splitlines()
    assert answers == [line for line in after if line.startswith("regraft_answers_total")]  # nobody's photos


@pytest.mark.parametrize(
    ("label", "data", "told"),
    [
        ("cat", None, "label must be one of Kätzchen, dog, 7. Got 'cat'."),
        ("dog", b"no photo", "p.jpg: not an image, or damaged at its start."),
    ],
)
def test_no_heat_map(client: TestClient, jpegs: list[Path], label: str, data: bytes | None, told: str) -> None:
    sent = form(("p.jpg", jpegs[0].read_bytes() if data is None else data))
    given = client.post("/heatmap", params={"label": label}, files=sent)
    assert (given.status_code, given.json()) == (422, {"error": told})


def test_a_photo_that_does_not_arrive_is_not_waited_for(subject: CardSubject) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.Event().wait()

    request: Any = SimpleNamespace(headers={"content-type": "multipart/form-data; boundary=x"}, stream=stalls)
    nobody: Any = None  # is asked
    with pytest.raises(RefusalError, match=r"^the photos did not arrive within 0\.05 s\.$") as caught:
        asyncio.run(heatmap_of(request, "dog", subject.classifier, nobody, seconds=0.05))
    assert caught.value.status == 408


def test_a_heat_map_is_of_one_photo(client: TestClient, jpegs: list[Path]) -> None:
    given = client.post("/heatmap", params={"label": "dog"}, files=form(*jpegs[:2]))
    assert given.status_code == 413
    assert client.post("/heatmap", files=form(jpegs[0])).status_code == 422
