"""The routes: answers equal to those of `regraft predict`, refusals with their sentences, nothing of the machine."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.hostile.photos import KINDS
from tests.serve.conftest import BASE, Held, form, make_service, until_ready
from typer.testing import CliRunner

from regraft.classifier.predict import Predictor
from regraft.publishing.subject import CardSubject
from regraft.serve import app as app_
from regraft.serve.allowance import Allowance
from regraft.serve.app import make_app
from regraft.serve.fetching import FetchError

Ask = Callable[..., TestClient]


def test_answers_are_those_of_the_command(client: TestClient, served_file: Path, jpegs: list[Path]) -> None:
    from regraft.cli.main import app

    done = CliRunner().invoke(app, ["predict", str(served_file), *map(str, jpegs), "--format", "json"])
    assert done.exit_code == 0, done.output
    expected = json.loads(done.stdout)
    given = client.post("/predict", files=form(*jpegs))
    assert given.status_code == 200
    rows = given.json()["predictions"]
    assert [row["file"] for row in rows] == [path.name for path in jpegs]
    for row, known in zip(rows, expected, strict=True):
        assert row["label"] == known["prediction"]
        assert row["probability"] == pytest.approx(known["probability"], abs=2e-6)
        assert (row["unsure"], row["unlike_training"]) == (known["unsure"], known["unlike_training"])
        best = sorted(known["probabilities"].items(), key=lambda item: -item[1])
        assert [one["label"] for one in row["top"]] == [label for label, _ in best]
        assert row["error"] is None
    assert len({row["label"] for row in rows}) > 1
    # the rule decides, not the largest probability alone
    assert all(row["label"] == "dog" for row, known in zip(rows, expected, strict=True) if _of(known, "dog") >= 0.35)


def _of(known: dict[str, Any], label: str) -> float:
    return float(known["probabilities"][label])


def test_one_photo_has_the_answer_that_it_has_among_others(client: TestClient, jpegs: list[Path]) -> None:
    together = client.post("/predict", files=form(*jpegs)).json()["predictions"]
    for path, row in zip(jpegs, together, strict=True):
        (alone,) = client.post("/predict", files=form(path)).json()["predictions"]
        assert alone["label"] == row["label"]
        assert alone["probability"] == pytest.approx(row["probability"], abs=2e-6)


def test_requests_at_once_each_get_their_own_answers(client: TestClient, jpegs: list[Path]) -> None:
    known = [client.post("/predict", files=form(path)).json()["predictions"][0]["probability"] for path in jpegs]
    with ThreadPoolExecutor(8) as pool:
        asked = [n % len(jpegs) for n in range(24)]
        given = list(pool.map(lambda n: client.post("/predict", files=form(jpegs[n])).json(), asked))
    found = [one["predictions"][0]["probability"] for one in given]
    assert found == pytest.approx([known[n] for n in asked], abs=2e-6)


def test_top(client: TestClient, jpegs: list[Path]) -> None:
    (row,) = client.post("/predict?top=1", files=form(jpegs[0])).json()["predictions"]
    assert len(row["top"]) == 1
    for wrong in ("0", "6", "two"):
        refused = client.post(f"/predict?top={wrong}", files=form(jpegs[0]))
        assert refused.status_code == 422
        assert refused.json() == {"error": f"top must be a whole number from 1 to 5. Got {wrong!r}."}


def test_a_damaged_photo_alone_and_among_others(client: TestClient, jpegs: list[Path]) -> None:
    alone = client.post("/predict", files=form(("a\x1b[2J.jpg", b"no photo")))
    assert alone.status_code == 422
    reason = "not an image, or damaged at its start"
    nothing = {"label": None, "probability": None, "top": [], "unsure": None, "unlike_training": None}
    assert alone.json() == {"predictions": [{"file": "a\\x1b[2J.jpg", **nothing, "error": reason}]}
    among = client.post("/predict", files=form(jpegs[0], ("b.jpg", b""), jpegs[1]))
    assert among.status_code == 200
    assert [row["error"] for row in among.json()["predictions"]] == [None, "the file is empty", None]


def test_more_pixels_than_allowed(ask: Ask, jpegs: list[Path]) -> None:
    given = ask(max_pixels=2000).post("/predict", files=form(jpegs[1], jpegs[0]))
    assert [row["error"] for row in given.json()["predictions"]] == [
        "57 x 45 pixels: more than 2,000",
        None,
    ]  # 48 x 40 are 1,920


def test_photos_of_one_request_do_not_change_another_s_black_and_white(
    client: TestClient, subject: CardSubject, tmp_path: Path
) -> None:
    """16-bit photos of 10 and of 16 bits, which the file knows no range of: each by its own."""
    dark, bright = tmp_path / "dark.png", tmp_path / "bright.png"
    values = np.random.default_rng(0).integers(0, 1024, (40, 48)).astype(np.uint16)
    Image.fromarray(values).save(dark)
    Image.fromarray(values * 60).save(bright)
    predictor = Predictor(subject.classifier)
    alone = [predictor.predict([path]).probabilities[0] for path in (dark, bright)]
    together = predictor.predict([dark, bright]).probabilities
    assert not np.allclose(together[0], alone[0], atol=1e-3)  # else the test shows nothing
    each = predictor.explain_each([[dark], [bright], [dark, bright], []])
    np.testing.assert_allclose(each[0].predictions.probabilities[0], alone[0], atol=1e-6)
    np.testing.assert_allclose(each[1].predictions.probabilities[0], alone[1], atol=1e-6)
    np.testing.assert_allclose(each[2].predictions.probabilities, together, atol=1e-6)
    assert each[3].predictions.probabilities.shape == (0, 3)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")  # Pillow's, which would be errors here; the command line lets none of them out
def test_hostile_files_end_nothing(client: TestClient, jpegs: list[Path], count: int) -> None:
    generator = np.random.default_rng(11)
    files = [(f"{n}", KINDS[n % len(KINDS)](generator)) for n in range(count)]
    for start in range(0, count, 20):
        given = client.post("/predict", files=form(*files[start : start + 20], jpegs[0]))
        assert given.status_code == 200
        rows = given.json()["predictions"]
        assert all((row["label"] is None) != (row["error"] is None) for row in rows)
        assert rows[-1]["error"] is None
    assert client.get("/ready").status_code == 200


def test_answers_hold_no_path_of_the_machine(client: TestClient, served_file: Path) -> None:
    pages = ["/model", "/openapi.json", "/metrics", "/docs", "/health", "/ready", "/nothing"]
    for page in pages:
        text = client.get(page).text
        assert str(served_file.parent) not in text
        assert "/tmp/" not in text


def test_what_the_model_says(client: TestClient) -> None:
    found = client.get("/model").json()
    assert found["classes"] == ["Kätzchen", "dog", "7"]
    assert found["answer"] == (
        "answered is dog from a probability of 35 % on, else the most probable of the others (threshold 0.35 for dog)"
    )
    assert [one["architecture"] for one in found["networks"]] == ["test_efficientnet"]
    assert found["figures"] is None  # nothing was evaluated
    assert set(found["served_by"]) == {"regraft"}
    assert re.fullmatch("[0-9a-f]{64}", found["sha256"])


def test_states_and_documents(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    first = client.get("/")
    assert first.status_code == 200
    assert "<title>regraft</title>" in first.text
    page = client.get("/docs")
    linked = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
    assert len(linked) == 3
    for link in linked:
        part = client.get(f"/{link}")
        assert part.status_code == 200
        assert part.headers["content-type"].startswith(("text/css", "text/javascript"))
    assert re.search(r"<script(?! src=)|<style| on\w+=| style=", page.text) is None
    assert "http" not in page.text


@pytest.mark.parametrize("page", ["/predict", "/health", "/docs", "/nothing", "/docs/other.js"])
def test_all_answers_have_the_headers_that_keep_browsers_safe(client: TestClient, page: str) -> None:
    headers = client.get(page).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        (
            {"content": b"x", "headers": {"Content-Type": "text/plain"}},
            415,
            "send a form with photos (multipart/form-data, field 'files'), or JSON with addresses.",
        ),
        (
            {"json": {"urls": ["http://example.org/a.jpg"]}},
            403,
            "this server fetches no photos. Send them, or start it with allow_urls=True.",
        ),
        (
            {"files": [("photo", ("a.jpg", b"x"))]},
            422,
            "the form has a field 'photo'. Send photos as 'files', one or many.",
        ),
        (
            {"content": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            422,
            "the form holds no photos. Send one or more as 'files'.",
        ),
        (
            {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "the body is no form that is whole (multipart/form-data). Send it again.",
        ),
        (
            {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "the body is no form that is whole (multipart/form-data). Send it again.",
        ),
        (
            {"files": form(*[(f"{n}.jpg", b"x") for n in range(65)])},
            413,
            "a request may have 64 photos at most (max_files of the server). Send several requests.",
        ),
    ],
    ids=lambda value: value if isinstance(value, int) else None,
)
def test_refusals(client: TestClient, request_: dict[str, Any], status: int, sentence: str) -> None:
    given = client.post("/predict", **request_)
    assert given.json() == {"error": sentence}
    assert given.status_code == status


def test_other_pages_and_methods(client: TestClient) -> None:
    gone, other = client.get("/nothing"), client.get("/predict")
    assert (gone.status_code, gone.json()) == (404, {"error": "there is no /nothing here. See /docs."})
    assert (other.status_code, other.json()) == (405, {"error": "/predict takes POST. Got GET."})
    assert other.headers["allow"] == "POST"


def test_before_the_classifier_is_ready_and_while_it_stops(subject: CardSubject, jpegs: list[Path]) -> None:
    opened, may = make_service(subject), threading.Event()
    make = opened.batcher._make

    def late() -> Predictor:
        may.wait(10)
        return make()

    opened.batcher._make = late
    with TestClient(make_app(opened, host="127.0.0.1"), base_url=BASE) as client:
        refused = client.post("/predict", files=form(jpegs[0]))
        assert refused.status_code == 503
        assert refused.json() == {"error": "the classifier is not ready, or stops. Come again."}
        assert refused.headers["retry-after"] == "1"
        assert (client.get("/ready").status_code, client.get("/health").status_code) == (503, 200)
        may.set()
        until_ready(client)
        opened.stopping = True
        assert (client.get("/ready").status_code, client.get("/health").status_code) == (503, 200)


def test_what_does_not_arrive_in_time(subject: CardSubject) -> None:
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.sleep(10)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    app = make_app(make_service(subject, timeout=0.02), host="127.0.0.1")
    asyncio.run(app(scope, never, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"]) == {"error": "the photos did not arrive within 0.02 s."}


def test_what_is_not_answered_in_time(ask: Ask, jpegs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    client = ask(timeout=0.3)
    held = threading.Event()
    predict = Predictor.explain_each

    def slow(self: Predictor, lists: Any) -> Any:
        held.wait(10)
        return predict(self, lists)

    monkeypatch.setattr(Predictor, "explain_each", slow)
    given = client.post("/predict", files=form(jpegs[0]))
    held.set()
    assert given.status_code == 503
    assert given.json() == {"error": "there is no answer within 0.3 s. Send fewer photos at once, or come again."}
    assert given.headers["retry-after"] == "1"


def test_a_fault_of_the_server_shows_no_traceback(
    client: TestClient, jpegs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(app_, "answers_of", fails)
        given = client.post("/predict", files=form(jpegs[0]))
    assert (given.status_code, given.json()) == (500, {"error": "the server failed. Its log says how."})
    assert client.post("/predict", files=form(jpegs[0])).status_code == 200


def test_addresses_are_fetched_and_named_in_order(ask: Ask, jpegs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(url: str, *, allowance: Allowance) -> bytes:
        if url.endswith("gone"):
            raise FetchError("its server answers 404")
        allowance.take(len(jpegs[int(url[-1])].read_bytes()))
        return jpegs[int(url[-1])].read_bytes()

    client = ask(allow_urls=True)
    monkeypatch.setattr(app_, "fetch", fetched)
    urls = ["http://example.org/1", "http://example.org/gone", "http://example.org/2"]
    given = client.post("/predict", json={"urls": urls})
    rows = given.json()["predictions"]
    assert [row["file"] for row in rows] == urls
    assert [row["error"] for row in rows] == [None, "its server answers 404", None]
    sent = client.post("/predict", files=form(jpegs[1], jpegs[2])).json()["predictions"]
    assert [rows[0]["label"], rows[2]["label"]] == [row["label"] for row in sent]
    assert client.post("/predict", json={"urls": urls[1:2]}).status_code == 422
    for wrong in ({"urls": []}, {"urls": "a"}, {"urls": [1]}, [], {"urls": ["a"], "more": 1}):
        refused = client.post("/predict", json=wrong)
        assert refused.status_code == 422
        assert refused.json()["error"] == 'JSON must be {"urls": [...]}, with the address of one photo or more.'
    assert client.post("/predict", json={"urls": urls * 30}).status_code == 413


def test_all_that_is_fetched_is_held_with_the_bodies_and_let_go(
    subject: CardSubject, jpegs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others hold all memory, a request is asked to come again; what it held itself is given back each time."""
    service = make_service(subject, allow_urls=True, max_body=10_000)
    photo = jpegs[0].read_bytes()
    held: list[int] = []

    def fetched(_: str, *, allowance: Allowance) -> bytes:
        allowance.take(len(photo))
        held.append(service.memory.held)
        return photo

    monkeypatch.setattr(app_, "fetch", fetched)
    with TestClient(make_app(service, host="127.0.0.1"), base_url=BASE) as client:
        until_ready(client)
        urls = {"urls": ["http://example.org/1", "http://example.org/2"]}
        assert client.post("/predict", json=urls).status_code == 200
        body = len(json.dumps(urls, separators=(",", ":")))
        assert sorted(held)[-1] == 2 * len(photo) + body
        assert service.memory.held == 0
        service.memory.take(80_000 - body - len(photo))
        refused = client.post("/predict", json=urls)
        assert refused.status_code == 429
        assert refused.json()["error"].startswith("other requests hold all the memory that is meant for photos.")
        assert refused.headers["retry-after"] == "1"
        assert service.memory.held == 80_000 - body - len(photo)


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again_and_then_answers(subject: CardSubject, jpegs: list[Path]) -> None:
    """One photo is worked on, two wait, which is all that may; a client that waits as it is told is answered."""
    service = make_service(subject, max_queue=2, max_files=2)
    held = Held(service)
    with TestClient(make_app(service, host="127.0.0.1"), base_url=BASE) as client:
        until_ready(client)
        first = held.send(client, jpegs[0])
        assert held.begun.acquire(timeout=20)
        second = held.send(client, *jpegs[1:3])
        held.until(2)
        refused = client.post("/predict", files=form(jpegs[3]))
        assert refused.status_code == 429
        assert refused.json() == {"error": "2 photos wait, and at most 2 may. Come again in 1 s."}
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-content-type-options"] == "nosniff"
        held.may.set()
        time.sleep(int(refused.headers["retry-after"]))
        assert client.post("/predict", files=form(jpegs[3])).status_code == 200
        assert [one.result(20).status_code for one in (first, second)] == [200, 200]
        text = client.get("/metrics").text
    assert 'regraft_rejected_total{reason="queue"} 1.0' in text
    assert 'regraft_requests_total{route="/predict",status="429"} 1.0' in text


def test_requests_beyond_those_under_way_are_asked_to_come_again(subject: CardSubject, jpegs: list[Path]) -> None:
    service = make_service(subject, max_requests=2)
    held = Held(service)
    with TestClient(make_app(service, host="127.0.0.1"), base_url=BASE) as client:
        until_ready(client)
        sent = [held.send(client, jpegs[0])]
        assert held.begun.acquire(timeout=20)
        sent.append(held.send(client, jpegs[1]))
        held.until(1)
        for refused in (client.post("/predict", files=form(jpegs[2])), client.get("/model"), client.get("/")):
            assert refused.status_code == 503
            assert refused.json() == {
                "error": "2 requests are under way, and no more are taken. Come again in a second."
            }
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["cache-control"] == "no-store"
        for watched in ("/health", "/ready", "/metrics"):
            assert client.get(watched).status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
        held.may.set()
        assert [one.result(20).status_code for one in sent] == [200, 200]
        assert client.post("/predict", files=form(jpegs[2])).status_code == 200
        assert 'regraft_rejected_total{reason="requests"} 3.0' in client.get("/metrics").text


def test_metrics_count(ask: Ask, jpegs: list[Path]) -> None:
    client = ask()
    client.post("/predict", files=form(*jpegs[:3], ("b.jpg", b"")))
    client.post("/predict", content=b"", headers={"Content-Type": "text/plain"})
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert lines["regraft_photos_total"] == "4.0"
    assert lines["regraft_unreadable_photos_total"] == "1.0"
    assert sum(float(lines[f'regraft_answers_total{{label="{name}"}}']) for name in ("Kätzchen", "dog", "7")) == 3
    assert lines['regraft_requests_total{route="/predict",status="200"}'] == "1.0"
    assert lines['regraft_requests_total{route="/predict",status="415"}'] == "1.0"
    assert lines['regraft_rejected_total{reason="type"}'] == "1.0"
    assert lines['regraft_batch_photos_bucket{le="4.0"}'] == "1.0"
    assert lines['regraft_batch_photos_bucket{le="2.0"}'] == "0.0"
    assert lines["regraft_queue_photos"] == "0.0"
    assert lines['regraft_request_seconds_count{route="/predict"}'] == "2.0"
