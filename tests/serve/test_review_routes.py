"""A review over HTTP: what is shown, what is recorded, what is refused, and that nothing says where files lie."""

import io
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.conftest import photo
from tests.serve.conftest import BASE, form, make_service, until_ready

from regraft.classifier.bundle import load_bundle
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.publishing.subject import CardSubject
from regraft.review.session import ReviewSession
from regraft.serve.app import make_app
from regraft.serve.review_answers import without_places

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
Photos = Callable[..., Path]


@pytest.fixture
def pets(photos: Photos) -> Path:
    """Return 9 red and 11 blue photos, two of which are red ones, and one that is there twice."""
    folder = photos("pets", red=11, blue=9)
    for number in range(2):
        (folder / "red" / f"{number}.jpg").rename(folder / "blue" / f"r{number}.jpg")
    (folder / "blue" / "copy.jpg").write_bytes((folder / "blue" / "8.jpg").read_bytes())
    return folder


@pytest.fixture
def client(reviewed_file: Path, pets: Path) -> Iterator[TestClient]:
    """Return what asks a server that reviews these photos, once nothing goes on any more."""
    own = load_bundle(reviewed_file)  # not what answers, whose module another thread runs
    session = ReviewSession(own, pets, compute=Compute(device="cpu", engine="torch-float32"))
    service = make_service(CardSubject.of_file(reviewed_file), review=session)
    with TestClient(make_app(service, host="127.0.0.1"), base_url=BASE) as asked:
        until_ready(asked)
        state_of(asked)
        yield asked


def state_of(client: TestClient) -> dict[str, Any]:
    """Return the state once nothing goes on."""
    ends = time.monotonic() + 60
    while True:
        found: dict[str, Any] = client.get("/review/state").json()
        if found["phase"] != "looking" and found["doing"] is None and not found["retrain"]["running"]:
            return found
        assert time.monotonic() < ends
        time.sleep(0.01)


def photos_of(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/review/photos", params=asked).json()["photos"]
    return found


def id_of(client: TestClient, file: str) -> str:
    return str(next(one["id"] for one in photos_of(client, count=500) if one["file"] == file))


def test_a_review_from_the_first_photo_to_the_new_classifier(client: TestClient, pets: Path, tmp_path: Path) -> None:
    state = state_of(client)
    assert (state["data"], state["phase"], state["photos"], state["last"]) == ("pets", "ready", 20, 0)
    assert state["classes"] == [
        {"name": "blue", "photos": 12, "new": False},
        {"name": "red", "photos": 9, "new": False},
    ]
    assert state["retrain"] == {"possible": True, "why_not": None, "running": False, "since": 0, "result": None}
    assert client.get("/model").json()["review"] is True
    assert client.post("/review/use").status_code == 409
    for number in range(2):
        body = {"photo": id_of(client, f"blue/r{number}.jpg"), "action": "relabel", "label": "red", "reviewer": "ada"}
        given = client.post("/review/decisions", json=body)
        assert given.status_code == 201
        assert given.json()["decision"]["number"] == number + 1
        assert given.json()["photo"]["decision"] == given.json()["decision"]
    client.post("/review/decisions", json={"photo": id_of(client, "red/5.jpg"), "action": "exclude", "reviewer": "bo"})
    state = state_of(client)
    assert state["decided"] == {"confirm": 0, "relabel": 2, "exclude": 1}
    assert [one["photos"] for one in state["classes"]] == [10, 10]
    assert state["retrain"]["since"] == 3
    assert client.post("/review/retrain").status_code == 202
    state = state_of(client)
    result = state["retrain"]["result"]
    assert (result["number"], result["compared"], result["relabelled"], result["excluded"]) == (1, 20, 2, 1)
    for figure in result["figures"]:
        assert figure["after"] - figure["before"] == pytest.approx(figure["difference"], abs=2e-6)
    assert [one["name"] for one in result["figures"]] == ["accuracy", "balanced_accuracy", "auc", "log_loss"]
    assert (result["in_use"], state["retrain"]["since"]) == (False, 0)
    (tmp_path / "new.safetensors").write_bytes(client.get("/review/classifier").content)
    made = load_bundle(tmp_path / "new.safetensors")
    assert made.record is not None
    assert made.record.class_counts == (10, 10)
    before = client.get("/model").json()["sha256"]
    assert client.post("/review/use").json() == {"in_use": 1}
    assert state_of(client)["retrain"]["result"]["in_use"] is True
    assert client.get("/model").json()["sha256"] != before
    answer = client.post("/predict", files=form(pets / "blue" / "r0.jpg")).json()["predictions"][0]
    assert answer["label"] == "red"


@pytest.mark.slow
def test_the_table_is_read_by_fit(client: TestClient, pets: Path, tmp_path: Path) -> None:
    for file, action, label in (("blue/r0.jpg", "relabel", "red"), ("red/5.jpg", "exclude", None)):
        body = {"photo": id_of(client, file), "action": action, "label": label, "reviewer": "ada"}
        assert client.post("/review/decisions", json=body).status_code == 201
    new = photo(tmp_path / "x.jpg", "green", 77)
    assert client.post("/review/photos?label=green&reviewer=ada", files=form(new)).status_code == 201
    given = client.get("/review/labels.csv")
    assert given.headers["content-disposition"] == 'attachment; filename="reviewed.csv"'
    assert str(tmp_path) not in given.text
    table = tmp_path / "downloads" / "reviewed.csv"
    table.parent.mkdir()
    table.write_bytes(given.content)
    found = LabelOptions(table).apply(find_samples(pets), pets)["train"]
    assert found.counts() == {"blue": 11, "green": 1, "red": 9}


def test_reviewers_see_each_other_and_differ(client: TestClient) -> None:
    photo_id = id_of(client, "blue/r0.jpg")
    for reviewer, label in (("ada", "red"), ("bo", "blue")):
        body = {"photo": photo_id, "action": "relabel", "label": label, "reviewer": reviewer}
        client.post("/review/decisions", json=body)
    heard = client.get("/review/decisions", params={"after": 1}).json()
    assert heard["last"] == 2
    assert [(one["reviewer"], one["label"], one["photo"]) for one in heard["decisions"]] == [("bo", "blue", photo_id)]
    assert state_of(client)["conflicts"] == 1
    (differing,) = photos_of(client, conflict=True)
    assert differing["decision"]["reviewer"] == "bo"
    assert [(one["reviewer"], one["label"]) for one in differing["others"]] == [("ada", "red")]
    undone = client.post("/review/undo", json={"reviewer": "bo"}).json()
    assert (undone["undone"]["number"], undone["photo"]["decision"]["reviewer"]) == (2, "ada")
    assert client.get(f"/review/photos/{photo_id}").json()["others"] == []
    assert client.post("/review/undo", json={"reviewer": "cy"}).json() == {"undone": None, "photo": None}
    assert client.get("/review/decisions", params={"after": 3}).json() == {"last": 3, "decisions": []}


def test_photos_in_order_and_by_what_is_asked(client: TestClient) -> None:
    everything = photos_of(client, count=500)
    assert [one["place"] for one in everything] == list(range(20))
    pages = [photos_of(client, count=7, after=after) for after in (-1, 6, 13)]
    assert [one["id"] for page in pages for one in page] == [one["id"] for one in everything]
    (twice,) = (one for one in everything if one["copies"])
    assert twice["file"] in ("blue/8.jpg", "blue/copy.jpg")
    client.post("/review/decisions", json={"photo": everything[0]["id"], "action": "exclude", "reviewer": "ada"})
    assert [one["place"] for one in photos_of(client, count=2, undecided=True)] == [1, 2]
    reasons = {one["reason"]: one["photos"] for one in state_of(client)["reasons"]}
    for reason, count in reasons.items():
        assert len(photos_of(client, reason=reason, count=500)) == count
    assert sum(reasons.values()) == 20


@pytest.mark.slow
def test_pictures_fit_and_stand_upright(client: TestClient, pets: Path) -> None:
    given = client.get(f"/review/photos/{id_of(client, 'red/7.jpg')}/image", params={"side": 32})
    assert given.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(given.content)).size == (32, 27)  # of 48 x 40
    lost = id_of(client, "red/8.jpg")
    (pets / "red" / "8.jpg").unlink()
    given = client.get(f"/review/photos/{lost}/image")
    assert given.status_code == 422
    assert given.json()["error"].startswith("red/8.jpg: ")


@pytest.mark.slow
def test_a_picture_is_of_what_was_looked_at(client: TestClient, pets: Path) -> None:
    """A file that holds another photo by now is not shown under the old one's name; a copy of it is."""
    changed, copied = id_of(client, "red/7.jpg"), id_of(client, "blue/8.jpg")
    photo(pets / "red" / "7.jpg", "blue", 4711)
    given = client.get(f"/review/photos/{changed}/image")
    assert given.status_code == 422
    assert given.json()["error"] == "red/7.jpg: its file holds something else by now. Look at the photos again."
    (pets / "blue" / "8.jpg").unlink()
    assert client.get(f"/review/photos/{copied}/image").status_code == 200


@pytest.mark.slow
def test_similar_photos_are_of_the_same_colour(client: TestClient, tmp_path: Path) -> None:
    found = client.post("/similar", files=form(photo(tmp_path / "x.jpg", "blue", 99))).json()["photos"]
    assert len(found) == 6
    assert {one["file"].partition("/")[0] for one in found} <= {"blue"}
    assert client.get(f"/review/photos/{found[0]['id']}/image").status_code == 200
    assert client.post("/similar", files=form(("x.jpg", b"no photo"))).status_code == 422


REFUSED = [
    ("/review/decisions", {}, "is missing"),
    ("/review/decisions", {"action": "burn"}, "action: must be 'confirm', 'relabel' or 'exclude'. Got 'burn'."),
    ("/review/decisions", {"label": " "}, "label must be the name of a class"),
    ("/review/decisions", {"label": None}, "label must be the name of a class"),
    ("/review/decisions", {"label": "blue|red"}, "label must be one class. Got 'blue|red'"),
    ("/review/decisions", {"reviewer": " "}, "reviewer must be a name"),
    ("/review/decisions", {"photo": "0" * 64}, "there is no such photo"),
    ("/review/decisions", {"photo": "../../etc"}, "photo: "),
    ("/review/decisions", {"more": 1}, "more: "),
    ("/review/undo", {"reviewer": ""}, "reviewer: "),
]


@pytest.mark.filterwarnings("ignore")
def test_what_is_refused_records_nothing(client: TestClient) -> None:
    good = {"photo": id_of(client, "red/5.jpg"), "action": "relabel", "label": "red", "reviewer": "ada"}
    for path, changes, said in REFUSED:
        body = {} if path.endswith("undo") or not changes else good
        given = client.post(path, json=body | changes)
        assert given.status_code in (404, 422), (path, changes)
        assert said in given.json()["error"]
    kind, no_json = {"Content-Type": "application/json"}, "the body is no JSON object. Send one, with the header"
    for content, headers in (
        (b"{", kind),
        (b"\xff", kind),
        (b"[" * 99_999, kind),
        (b"{}", {"Content-Type": "text/plain"}),
    ):
        given = client.post("/review/decisions", content=content, headers=headers)
        assert given.status_code in (400, 422)
        assert given.json()["error"].startswith((no_json, "There was an error parsing the body"))
    assert client.post("/review/decisions", content=b"[],[]," * 200_000, headers=kind).status_code == 413
    assert client.post("/review/decisions", json=good, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/review/photos", params={"count": 0}).status_code == 422
    assert client.get("/review/photos", params={"reason": "burn"}).status_code == 422
    assert client.get("/review/photos/xyz").status_code == 404
    assert client.get("/review/photos/" + "é" * 64).status_code == 404
    assert client.get("/review/classifier").status_code == 409
    assert client.post("/review/photos?label=x&reviewer=ada", files=[("a", ("b", b"c"))]).status_code == 422
    assert state_of(client)["last"] == 0


def test_no_answer_says_where_files_lie(client: TestClient, tmp_path: Path) -> None:
    for one in photos_of(client, count=500):
        if one["label"] == "blue":
            client.post("/review/decisions", json={"photo": one["id"], "action": "exclude", "reviewer": "ada"})
    client.post("/review/retrain")
    error = state_of(client)["error"]
    assert error.startswith("pets")
    assert "one class only" in error
    for path in ("/review/state", "/review/photos?count=500", "/review/decisions", "/review/labels.csv", "/model"):
        assert str(tmp_path) not in client.get(path).text


def test_files_elsewhere_are_named_without_their_folders(reviewed_file: Path, pets: Path) -> None:
    session = ReviewSession(load_bundle(reviewed_file), pets)
    assert without_places(f"{pets}/red/1.jpg: no", session) == "pets/red/1.jpg: no"
    said = "/home/ada/nets/a.safetensors needs PyTorch: see https://x.example/a/b/ or train/val/test (/tmp/x/1.csv)."
    wanted = "a.safetensors needs PyTorch: see https://x.example/a/b/ or train/val/test (1.csv)."
    assert without_places(said, session) == wanted
    session.close(1)


@pytest.mark.slow
def test_whoever_waits_to_decide_keeps_nobody_from_looking(
    client: TestClient, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the file: twenty decisions wait at once, more than there are threads for the others."""
    monkeypatch.setattr("regraft.review.decisions._BUSY", 1.0)
    body = {"photo": id_of(client, "red/5.jpg"), "action": "exclude"}
    other = sqlite3.connect(pets.parent / "pets-review.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(client.post, "/review/decisions", json=body | {"reviewer": f"r{n}"}) for n in range(20)]
        time.sleep(0.2)
        started = time.monotonic()
        for path in ("/review/state", "/review/photos", f"/review/photos/{body['photo']}", "/health"):
            assert client.get(path).status_code == 200
        seconds = time.monotonic() - started
        answers = [one.result() for one in waiting]
    other.close()
    assert seconds < 0.5
    assert {one.status_code for one in answers} == {507}
    assert "another program has held it for 1 seconds. Nothing was recorded" in answers[0].json()["error"]


def test_without_a_review_there_are_no_such_routes(ask: Callable[..., TestClient]) -> None:
    plain = ask()
    assert plain.get("/review").status_code == 404
    assert plain.get("/review/state").status_code == 404
    assert plain.get("/model").json()["review"] is False


def test_with_a_token_the_page_is_open_and_nothing_else(reviewed_file: Path, pets: Path) -> None:
    session = ReviewSession(load_bundle(reviewed_file), pets)
    token = "a secret of twenty letters"
    closed = TestClient(
        make_app(make_service(CardSubject.of_file(reviewed_file), review=session), host="127.0.0.1", token=token),
        base_url=BASE,
    )
    assert closed.get("/review").status_code == 200
    gets, posts = ("state", "photos", "decisions", "labels.csv", "classifier"), ("decisions", "undo", "photos")
    asked = [("GET", f"/review/{name}") for name in gets]
    asked += [("POST", f"/review/{name}") for name in (*posts, "retrain", "use", "look")] + [("POST", "/similar")]
    assert {closed.request(method, path).status_code for method, path in asked} == {401}
    known = closed.get("/review/labels.csv", headers={"Authorization": f"Bearer {token}"})
    assert known.status_code == 503  # nobody looked at the photos yet: no table that is taken for the whole
    assert known.json() == {"error": "the photos are still looked at, or cannot be. Come again."}
    session.close(1)


@pytest.mark.slow
def test_what_the_new_classifier_would_not_know_any_more_is_named(client: TestClient, pets: Path) -> None:
    before = state_of(client)["look"]
    for one in photos_of(client, count=500):
        if one["label"] == "red":
            body = {"photo": one["id"], "action": "relabel", "label": "rosé", "reviewer": "ada"}
            assert client.post("/review/decisions", json=body).status_code == 201
    client.post("/review/retrain")
    result = state_of(client)["retrain"]["result"]
    assert (result["classes_lost"], result["learned_from"]) == (["red"], 21)
    (pets / "red" / "new.jpg").write_bytes((pets / "red" / "9.jpg").read_bytes())
    client.post("/review/look")
    assert state_of(client)["look"] == before + 1
    assert client.get("/review/photos").json()["look"] == before + 1
