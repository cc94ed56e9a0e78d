"""`regraft similar`: the nearest photos, as a table, CSV and JSON."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.fixture
def pets(photos: Photos) -> Path:
    return photos("pets", red=4, blue=4)


def rows(done: Result) -> list[dict[str, str]]:
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(done.stdout.splitlines()))


def test_they_are_those_of_the_vectors_that_embed_writes(
    run: Run, pets: Path, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    photos("new", 700, red=1, blue=1)
    model = ("--model", tiny_network, "--engine", "torch-float32")
    for data, out in (("pets", "pets.parquet"), ("new", "new.parquet")):
        assert run("embed", data, *model, "--out", out).exit_code == 0
    known, asked = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("pets", "new"))
    vectors, queries = (np.stack(list(frame["features"])).astype(np.float64) for frame in (known, asked))
    search = NearestNeighbors(n_neighbors=3, metric="cosine", algorithm="brute").fit(vectors)
    distances, positions = search.kneighbors(queries)
    found = rows(run("similar", "new", "pets", *model, "--top", 3, "--format", "csv"))
    assert [row["photo"] for row in found] == ["new/blue/0.jpg"] * 3 + ["new/red/0.jpg"] * 3
    assert [row["rank"] for row in found] == ["1", "2", "3"] * 2
    assert [row["path"] for row in found] == known["path"].to_numpy()[positions].ravel().tolist()
    assert [row["label"] for row in found] == known["label"].to_numpy()[positions].ravel().tolist()
    np.testing.assert_allclose([float(row["distance"]) for row in found], distances.ravel(), rtol=0, atol=5e-7)


def test_the_table_and_the_same_file(run: Run, pets: Path, tiny_network: str) -> None:
    shutil.copy(pets / "red" / "2.jpg", "new.jpg")
    done = run("similar", "new.jpg", "pets", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == ["new.jpg", "  0.0000  red   pets/red/2.jpg  (same file)"]
    assert len(lines) == 9  # all eight photos, though nine are shown by default
    assert [line.split()[1] for line in lines[1:5]] == ["red"] * 4
    assert done.stderr.startswith("8 photos of pets; labels: blue 4, red 4\n")


def test_several_photos_the_last_name_is_where_they_are_looked_for(run: Run, pets: Path, tiny_network: str) -> None:
    done = run("similar", "pets/red/0.jpg", "pets/blue/*.jpg", "pets", "--model", tiny_network, "--top", 1, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["model"], found["engine"], found["unreadable"]) == (tiny_network, "torch-cpu-float32", [])
    names = ["pets/red/0.jpg", *(f"pets/blue/{number}.jpg" for number in range(4))]
    assert [row["photo"] for row in found["photos"]] == names
    nearest = [row["nearest"] for row in found["photos"]]
    assert [row[0]["path"] for row in nearest] == names
    assert nearest[0] == [{"path": names[0], "distance": 0.0, "label": "red", "split": None, "match": "same file"}]


def test_a_classifiers_network(run: Run, bundle: Path, pets: Path) -> None:
    found = rows(run("similar", "pets/red/0.jpg", "pets", "--model", bundle, "--top", 4, "--format", "tsv"))
    assert [row["photo\trank\tpath\tdistance\tlabel\tsplit\tmatch\terror"].split("\t")[4] for row in found] == [
        "red"
    ] * 4


def test_unreadable_photos_are_named_and_the_others_answered(run: Run, pets: Path, tiny_network: str) -> None:
    (pets / "red" / "1.jpg").write_bytes(b"")
    Path("bad\n.jpg").write_text("no image")
    command = ("similar", "bad\n.jpg", "pets/red/0.jpg", "pets", "--model", tiny_network, "--top", 2)
    done = run(*command)
    assert done.exit_code == 3
    assert done.stdout.splitlines()[0].startswith(r"bad\n.jpg: unreadable: not an image")
    assert done.stdout.splitlines()[1] == "pets/red/0.jpg"
    assert r"unreadable: bad\n.jpg: not an image" in done.stderr
    assert "unreadable: pets/red/1.jpg: the file is empty" in done.stderr
    found = run(*command, "--format", "csv")
    assert found.exit_code == 3
    assert [row["error"][:12] for row in csv.DictReader(found.stdout.splitlines(keepends=True))] == [
        "not an image",
        "",
        "",
    ]


def test_hostile_names(
    run: Run, pets: Path, tiny_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("=1+1.jpg", "a\x1b[2J\n.jpg", os.fsdecode(b"\xe9.jpg")):
        shutil.copy(pets / "red" / "0.jpg", folder / name)
    monkeypatch.chdir(folder)
    done = run("similar", "=1+1.jpg", ".", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert len(done.stdout.splitlines()) == 4
    (folder / os.fsdecode(b"\xe9.jpg")).unlink()  # typer's test runner cannot print it; tests of streams can
    found = rows(run("similar", "=1+1.jpg", "../new", "--model", tiny_network, "--format", "csv"))
    assert {row["photo"] for row in found} == {"./=1+1.jpg"}  # no spreadsheet takes it for a formula


def test_what_cannot_be_meant(run: Run, fails: Fails, pets: Path, tiny_network: str) -> None:
    message = fails("similar", "pets/red/0.jpg", "pets/red/1.jpg")  # as a shell makes of *.jpg
    assert "pets/red/1.jpg is one photo, and DATA, which comes last, is where the nearest are looked for. " in message
    assert "no image found for: gone" in fails("similar", "gone", "pets")
    assert "no image found for: gone" in fails("similar", "pets/red/0.jpg", "gone")
    message = fails("similar", "pets/red/0.jpg", "pets", "--json", "--format", "csv")
    assert "--json and --format csv say two things. Leave one of them out." in message
    done = run("similar", "pets/red/0.jpg", "pets", "--top", 0)
    assert (done.exit_code, done.stdout) == (2, "")
    assert run("similar", "pets").exit_code == 2
