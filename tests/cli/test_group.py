"""`regraft group`: photos without labels to groups, a page that shows them, and a table that `fit` reads."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.conftest import photo
from typer.testing import Result

Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Return a folder of photos of three colours, 6, 8 and 10."""
    for place, colour in enumerate(("red", "green", "blue")):
        for number in range(6 + 2 * place):
            photo(tmp_path / "heap" / f"{colour}{number}.jpg", colour, 100 * place + number)
    return tmp_path / "heap"


def test_groups_are_named_in_the_table_and_learned_from(run: Run, heap: Path, tiny_network: str) -> None:
    done = run("group", "heap", "--groups", 3, "--model", tiny_network, "--out", "groups.csv", "--report", "page")
    assert done.exit_code == 0, done.output
    assert re.findall(r"^(group-\d)  +(\d+) ", done.stdout, re.M) == [
        ("group-1", "10"),
        ("group-2", "8"),
        ("group-3", "6"),
    ]
    assert "24 photos of heap\n" in done.stderr
    assert "next: replace group-1, group-2 ... in its column label by names" in done.stderr
    frame = pd.read_csv("groups.csv")
    assert list(frame.columns) == ["file", "label", "distance"]
    colours = frame["file"].map(lambda name: re.sub(r"\d", "", Path(name).stem))
    assert colours.groupby(frame["label"]).unique().map(list).to_dict() == {
        "group-1": ["blue"],
        "group-2": ["green"],
        "group-3": ["red"],
    }
    assert frame.groupby("label")["distance"].apply(lambda own: own.is_monotonic_increasing).all()
    page = Path("page/groups.html").read_text(encoding="utf-8")
    assert "<h1>24 photos in 3 groups</h1>" in page
    assert page.count("<img ") == 24
    frame["label"] = colours
    frame.to_csv("groups.csv", index=False)
    again = run("fit", "groups.csv", "--model", tiny_network, "--strategy", "frozen", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["classes"] == ["blue", "green", "red"]


def test_the_number_of_groups_is_chosen(run: Run, heap: Path, tiny_network: str) -> None:
    (heap / "bad.jpg").write_text("no image")
    done = run("group", "heap", "--model", tiny_network, "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert found["groups"] == int(min(found["criteria"], key=found["criteria"].get))
    assert sum(found["sizes"]) == len(found["photos"]) == 24
    assert found["unreadable"] == ["heap/bad.jpg"]
    most = max(map(int, found["criteria"]))
    assert f"criterion of 1 to {most} (another number: --groups)" in done.stderr
    assert "unreadable: heap/bad.jpg: not an image" in done.stderr


def test_photos_of_a_test_split_are_left_to_evaluate(run: Run, fails: Fails, heap: Path, tiny_network: str) -> None:
    rows = [f"heap/{path.name},{'test' if 'red' in path.name else 'train'}\n" for path in sorted(heap.iterdir())]
    Path("list.csv").write_text("file,split\n" + "".join(rows))
    done = run("group", "list.csv", "--groups", 2, "--model", tiny_network, "--out", "groups.csv")
    assert done.exit_code == 0, done.output
    assert "left out, as part of a test split: 6\n" in done.stderr
    assert not pd.read_csv("groups.csv")["file"].str.contains("red").any()
    Path("list.csv").write_text("file,split\n" + "".join(row for row in rows if "red" in row))
    message = fails("group", "list.csv", "--model", tiny_network)
    assert "list.csv: all 6 photos are of a test split, which nothing is learned from. Name other photos." in message


def test_what_cannot_be_meant(run: Run, fails: Fails, heap: Path, tiny_network: str) -> None:
    message = fails("group", "heap", "--groups", 25, "--model", tiny_network)
    assert "--groups must be at most 24, the number of photos that can be read. Got 25." in message
    assert "--out must end in .csv. Got g.parquet." in fails("group", "heap", "--out", "g.parquet")
    assert "no image found for: gone" in fails("group", "gone")
    Path("list.csv").write_text("file\nheap/red0.jpg\n")
    assert "--out list.csv is a file that is read here" in fails("group", "list.csv", "--out", "list.csv")
    assert run("group", "heap", "--groups", 0).exit_code == 2


def test_hostile_names(run: Run, tiny_network: str, tmp_path: Path) -> None:
    for place, name in enumerate(("=1+1.jpg", "<b>&`x`.jpg", 'a"b.jpg')):
        photo(tmp_path / "odd" / name, "red", place)
    done = run("group", "odd", "--groups", 1, "--model", tiny_network, "--out", "g.csv", "--report", "page")
    assert done.exit_code == 0, done.output
    with Path("g.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["file"]).name for row in csv.DictReader(file)} == {"=1+1.jpg", "<b>&`x`.jpg", 'a"b.jpg'}
    assert "<b>&" not in Path("page/groups.html").read_text(encoding="utf-8")
