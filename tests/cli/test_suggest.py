"""`regraft suggest`: photos to label, what is left out, and the table that goes back into `fit`."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tests.conftest import photo
from typer.testing import Result

from regraft.classifier.bundle import load_bundle
from regraft.classifier.predict import Predictor

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Return a folder of photos of colours that the classifier knows, and of others, without labels."""
    for place, colour in enumerate(("red", "blue", "green", "grey")):
        for number in range(3):
            photo(tmp_path / "new" / f"{colour}{number}.jpg", colour, 5000 + 10 * place + number)
    return tmp_path / "new"


def table(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_photos_are_those_of_predict_the_least_sure_first(run: Run, bundle: Path, new: Path) -> None:
    done = run("suggest", bundle, "new", "-n", 99, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["candidates"], found["left_out"], found["unreadable"], found["out"]) == (12, {}, [], None)
    classifier = load_bundle(bundle)
    paths = sorted(Path("new").iterdir())
    probabilities = Predictor(classifier).predict(paths).probabilities
    expected = {}
    for path, row in zip(paths, probabilities.tolist(), strict=True):
        guess = max(range(2), key=row.__getitem__)
        expected[str(path)] = (classifier.classes[guess], row[guess], classifier.classes[1 - guess])
    assert {one["file"]: (one["guess"], one["second_guess"]) for one in found["suggested"]} == {
        name: (guess, second) for name, (guess, _, second) in expected.items()
    }
    for one in found["suggested"]:
        assert one["probability"] == pytest.approx(expected[one["file"]][1], abs=1e-5)
        assert one["margin"] == pytest.approx(2 * one["probability"] - 1, abs=2e-6)
    margins = [one["margin"] for one in found["suggested"]]
    assert margins == sorted(margins)


def test_the_table_is_filled_in_and_learned_from(
    run: Run, fails: Fails, bundle: Path, new: Path, tiny_network: str
) -> None:
    done = run("suggest", bundle, "new", "-n", 4, "--labelled", "learned", "--out", "next.csv")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 4
    assert "4 of 12 photos are suggested\nwrote next.csv.\nnext: fill in its column label" in done.stderr
    rows = table("next.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"] + [""] * 24
    assert [row["label"] for row in rows[:4]] == [""] * 4
    assert sorted(row["label"] for row in rows[4:]) == ["blue"] * 12 + ["red"] * 12
    assert all(Path(row["file"]).is_absolute() for row in rows)
    near = {row["file"]: row["nearest_label"] for row in rows[:4]}
    assert all(Path(row["nearest"]).parent.name == row["nearest_label"] for row in rows[:4])
    for name, label in near.items():
        if Path(name).stem[:-1] in ("red", "blue"):
            assert label == Path(name).stem[:-1]
    message = fails("fit", "next.csv", "--model", tiny_network, "--strategy", "frozen")
    assert "4 of 28 rows have no value in the label column 'label'" in message
    frame = pd.read_csv("next.csv", dtype=str, keep_default_na=False)
    frame.loc[frame["label"] == "", "label"] = "red"
    frame.to_csv("next.csv", index=False)
    again = run("fit", "next.csv", "--model", tiny_network, "--strategy", "frozen", "--json", "--out", "b.safetensors")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["n"] == 28


def test_what_is_left_out(run: Run, bundle: Path, new: Path) -> None:
    shutil.copy("learned/red/3.jpg", "new/a.jpg")
    Image.open("learned/blue/4.jpg").save("new/b.png")  # another file, with equal pixels
    shutil.copy("new/grey0.jpg", "new/z.jpg")
    (new / "bad\n.jpg").write_text("no image")
    done = run("suggest", bundle, "new", "-n", 99, "--out", "next.csv")
    assert done.exit_code == 3
    assert "left out, as labelled already, or copies of such photos: 2\n" in done.stderr
    assert "left out, as copies of others: 1\n" in done.stderr
    assert "left out, as unreadable: 1\n" in done.stderr
    assert "12 of 12 photos are suggested" in done.stderr
    assert r"unreadable: new/bad\n.jpg: not an image" in done.stderr
    assert "It holds the suggested photos alone: --labelled DATA adds" in done.stderr
    names = {Path(row["file"]).name for row in table("next.csv")}
    assert names == {f"{colour}{number}.jpg" for colour in ("red", "blue", "green", "grey") for number in range(3)}
    assert "nearest" not in table("next.csv")[0]


def test_rows_of_a_table_that_have_a_label_and_test_photos(run: Run, bundle: Path, new: Path) -> None:
    files = sorted(new.iterdir())
    rows = pd.DataFrame({"file": [f"new/{path.name}" for path in files]})
    rows["label"] = ["red" if "red" in path.name else "" for path in files]
    rows["split"] = ["test" if "blue" in path.name else "train" for path in files]
    rows["who"] = [path.name[-5] for path in files]
    rows.to_csv("photos.csv", index=False)
    done = run("suggest", bundle, "photos.csv", "-n", 99, "--group-column", "who", "--out", "next.csv")
    assert done.exit_code == 0, done.output
    assert "as labelled already, or copies of such photos: 3" in done.stderr
    assert "as part of a test split: 3" in done.stderr
    found = table("next.csv")
    assert {Path(row["file"]).stem[:-1] for row in found} == {"green", "grey"}
    assert all(row["group"] == Path(row["file"]).stem[-1] for row in found)
    both = run("suggest", bundle, "new", "--labelled", "photos.csv", "--group-column", "who", "--out", "both.csv")
    assert both.exit_code == 0, both.output
    known = [row for row in table("both.csv") if row["label"]]
    assert [(row["label"], row["split"], row["group"]) for row in known] == [("red", "train", n) for n in "012"]


def test_what_cannot_be_meant(run: Run, fails: Fails, bundle: Path, new: Path) -> None:
    assert "--out must end in .csv. Got next.txt." in fails("suggest", bundle, "new", "--out", "next.txt")
    message = fails("suggest", bundle, "new", "--labelled", "new")
    assert "new holds no photo with a label. Name the photos that `regraft fit` learned from, or leave" in message
    message = fails("suggest", bundle, "learned")
    assert "no photo is left to choose from (labelled already, or copies of such photos: 24). Name photos" in message
    shutil.rmtree(new)
    new.mkdir()
    (new / "a.jpg").write_text("no image")
    assert "none of the 1 photos to choose from can be read. Name others." in fails("suggest", bundle, "new")
    assert "no image found for: gone" in fails("suggest", bundle, "gone")
    assert "are for tables" in fails("suggest", bundle, "new", "--image-column", "x")
    pd.DataFrame({"file": ["new/a.jpg"]}).to_csv("photos.csv", index=False)
    message = fails("suggest", bundle, "photos.csv", "--out", "photos.csv")
    assert "--out photos.csv is a file that is read here" in message
    assert run("suggest", bundle, "new", "-n", 0).exit_code == 2
