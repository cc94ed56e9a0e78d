"""The command with photos to review: mistakes end with a sentence, and what was shown as saved outlives every kill."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import Start

Photos = Callable[..., Path]
MISTAKES = [
    (["--review", "nothing"], r"--review nothing: there is no such folder or table. Name one."),
    (["--review", "photos", "--workers", "2"], "--review takes one process, which many people may ask at once. Got"),
    (["--decisions", "a.sqlite"], "--decisions: go with --review DATA. Name DATA, or leave them out."),
    (["--label-column", "x"], "options of tables: go with --review DATA."),
    (["--review", "photos", "--decisions", "photos/red/0.jpg"], "is no SQLite file, so no store of decisions."),
    (["--review", "photos", "--decisions", "no/folder/a.sqlite"], "its folder is not there"),
    (["--review", "photos", "--label-column", "x"], "are for tables"),
    (["--review", "a.txt"], "a.txt"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(one) for one, _ in MISTAKES])
def test_a_mistake_ends_with_a_sentence(
    reviewed_file: Path, photos: Photos, arguments: list[str], said: str, tmp_path: Path
) -> None:
    photos(red=2, blue=2)
    (tmp_path / "a.txt").write_text("no table")
    command = [sys.executable, "-m", "regraft", "serve", str(reviewed_file), "--port", "0", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def until_looked(port: int) -> None:
    ends = time.monotonic() + 60
    while ask(port, "GET", "/review/state")[1]["phase"] != "ready":
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.slow
def test_ten_kills_lose_no_decision_that_was_answered(start: Start, reviewed_file: Path, photos: Photos) -> None:
    """Three reviewers decide as fast as they can; the process is killed in the middle, and started anew, ten times."""
    folder = photos(red=12, blue=12)
    saved: dict[int, tuple[str, str, str]] = {}
    generator = random.Random(5)
    for _ in range(10):
        process, port = start("--review", str(folder), file=reviewed_file)
        until_looked(port)
        ids = [one["id"] for one in ask(port, "GET", "/review/photos?count=500")[1]["photos"]]
        assert len(ids) == 24

        def review(name: str, port: int = port, ids: list[str] = ids, seed: int = generator.randrange(10**6)) -> None:
            own = random.Random(f"{seed}{name}")
            while True:
                body = {"photo": own.choice(ids), "action": "relabel", "label": own.choice("xyz"), "reviewer": name}
                try:
                    status, said = ask(port, "POST", "/review/decisions", body)
                except (OSError, http.client.HTTPException, ValueError):  # it is gone
                    return
                assert status == 201
                saved[said["decision"]["number"]] = (body["photo"], body["label"], name)

        before = len(saved)
        reviewers = [threading.Thread(target=review, args=(name,)) for name in ("ada", "bo", "cy")]
        for one in reviewers:
            one.start()
        time.sleep(generator.uniform(0.1, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        for one in reviewers:
            one.join(30)
        assert len(saved) > before
    _, port = start("--review", str(folder), file=reviewed_file)
    kept: dict[int, tuple[str, str, str]] = {}
    after = 0
    while rows := ask(port, "GET", f"/review/decisions?after={after}")[1]["decisions"]:
        kept |= {row["number"]: (row["photo"], row["label"], row["reviewer"]) for row in rows}
        after = rows[-1]["number"]
    assert {number: kept.get(number) for number in saved} == saved
    assert len(kept) <= len(saved) + 30  # at most one of each reviewer was written and not answered, each time


@pytest.mark.slow
def test_a_review_ends_with_the_server(start: Start, reviewed_file: Path, photos: Photos) -> None:
    """SIGTERM while the photos are still looked at: it ends soon, with nothing but its lines."""
    process, port = start("--review", str(photos(red=40, blue=40)), file=reviewed_file)
    assert ask(port, "GET", "/review/state")[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == f"photos are reviewed at http://127.0.0.1:{port}/review\n"
