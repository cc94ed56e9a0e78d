"""`regraft predict` of the photos that tables name: the answers that Python gives."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

import regraft

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]


@pytest.fixture
def bundle(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> Path:
    done = run("fit", photos("learned", red=6, blue=6), "--model", tiny_network, "--strategy", "frozen", "--force")
    assert done.exit_code == 0, done.output
    return tmp_path / "classifier.safetensors"


@pytest.fixture
def new(photos: Photos) -> Path:
    return photos("new", first_seed=100, red=2, blue=2)


def answers(done: Result) -> tuple[list[str], np.ndarray]:
    """Return the names and the probabilities of blue and red that --format jsonl prints."""
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["file"] for row in rows], np.array([list(row["probabilities"].values()) for row in rows])


def test_a_csv_is_answered_as_python_answers_it(run: Run, bundle: Path, new: Path) -> None:
    """In the order of its rows, without labels; red/0.jpg stands in it twice."""
    (new / "photos.csv").write_text("path\nred/1.jpg\nblue/0.jpg\nred/0.jpg\nred/0.jpg\n")
    names, probabilities = answers(run("predict", bundle, new / "photos.csv", "--format", "jsonl"))
    assert names == [str(new / name) for name in ("red/1.jpg", "blue/0.jpg", "red/0.jpg")]
    expected = regraft.load(bundle).predict_proba(new / "photos.csv")
    assert probabilities == pytest.approx(expected, abs=5e-7)  # printed with 6 digits
    assert expected.argmax(axis=1).tolist() == [1, 0, 1]


def test_photos_inside_parquet_are_answered_as_python_answers_them(
    run: Run, bundle: Path, new: Path, tmp_path: Path
) -> None:
    """Photos and a table in one command: the bytes in the table give what the files give."""
    order = ["red/1.jpg", "blue/0.jpg", "blue/1.jpg"]
    cells = [{"bytes": (new / name).read_bytes(), "path": Path(name).name} for name in order]
    pq.write_table(pa.table({"image": cells}), tmp_path / "new.parquet")
    names, probabilities = answers(run("predict", bundle, "new.parquet", *(new / n for n in order), "--format=jsonl"))
    assert names == ["new.parquet:1.jpg", "new.parquet:0.jpg", "new.parquet:1.jpg", *(str(new / n) for n in order)]
    assert np.array_equal(probabilities[:3], probabilities[3:])
    assert probabilities[:3] == pytest.approx(regraft.load(bundle).predict_proba("new.parquet"), abs=5e-7)


def test_every_format_names_photos_inside_parquet(run: Run, bundle: Path, new: Path, tmp_path: Path) -> None:
    cells = [{"bytes": data, "path": f"{name}.jpg"} for name, data in (("7", b"no image"), ("10", b""))]
    cells += [{"bytes": (new / "red/0.jpg").read_bytes(), "path": "8.jpg"}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "new.parquet")
    table = run("predict", bundle, "new.parquet")
    assert table.exit_code == 3
    assert [line.split()[0] for line in table.stdout.splitlines()] == [f"new.parquet:{n}.jpg" for n in (7, 10, 8)]
    assert "unreadable: new.parquet:10.jpg: the file is empty" in table.stderr
    rows = list(csv.DictReader(run("predict", bundle, "new.parquet", "--format", "csv").stdout.splitlines()))
    assert [row["file"] for row in rows] == [f"new.parquet:{n}.jpg" for n in (7, 10, 8)]
    kaggle = run("predict", bundle, "new.parquet", "--format", "kaggle", "--positive", "red")
    assert [line.partition(",")[0] for line in kaggle.stdout.splitlines()] == ["id", "7", "8", "10"]


def test_the_column_and_the_root_of_a_table(run: Run, fails: Fails, bundle: Path, new: Path, tmp_path: Path) -> None:
    shutil.copy(new / "red/0.jpg", new / "one.jpg")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_text("photo,note\none,x\n")
    command = ("predict", bundle, "lists/a.csv", "--image-column", "photo")
    assert answers(run(*command, "--image-root", new, "--format", "jsonl"))[0] == [str(new / "one.jpg")]
    assert "lists/a.csv: --image-column is needed: none of image, " in fails(*command[:3])
    message = fails(*command)
    assert "lists/a.csv: 1 of 1 rows name no image file below lists:\n  row 2: 'one' is missing\n" in message
    assert "name the images' folder with --image-root." in message
    assert fails("predict", bundle, new, "--image-root", new) == (
        "error: --image-column and --image-root are for tables. None of the photos is named by a CSV or Parquet file: "
        "name one, or leave them out.\n"
    )
