"""`regraft predict`: photos in files, folders, globs and tables, answered in every format."""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

import regraft

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


def test_predict_table_csv_and_jsonl(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=900, red=2, blue=1)
    table = run("predict", bundle, new)
    assert table.exit_code == 0
    assert [line.split()[1] for line in table.stdout.splitlines()] == ["blue", "red", "red"]
    rows = list(csv.DictReader(run("predict", bundle, new, "--format", "csv").stdout.splitlines()))
    assert [row["prediction"] for row in rows] == ["blue", "red", "red"]
    for row in rows:
        assert float(row["probability_blue"]) + float(row["probability_red"]) == pytest.approx(1, abs=2e-6)
        assert float(row["probability"]) == max(float(row["probability_blue"]), float(row["probability_red"]))
    lines = [json.loads(line) for line in run("predict", bundle, new, "--format", "jsonl").stdout.splitlines()]
    assert [line["file"] for line in lines] == [row["file"] for row in rows]
    assert [line["probabilities"]["red"] for line in lines] == [float(row["probability_red"]) for row in rows]


def test_what_was_left_out_of_an_archive_is_said(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(next(photos("new", red=1).rglob("*.jpg")), "1.jpg")
        archive.addfile(tarfile.TarInfo("2.cls"))
    done = run("predict", bundle, "a.tar")
    assert done.exit_code == 0
    assert done.stdout.startswith("a.tar:1.jpg ")
    assert "a.tar: 1 of 2 samples have no image: left out\n" in done.stderr


def test_predict_takes_files_folders_and_globs_once_each(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=900, red=11)
    done = run("predict", bundle, "new/red/10.jpg", "new/red/*.jpg", new, "--format", "csv")
    named = [Path(row["file"]).name for row in csv.DictReader(done.stdout.splitlines())]
    # the folder is named by its absolute path, file and glob by relative ones
    assert named[:11] == ["10.jpg", *(f"{number}.jpg" for number in range(10))]


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_unreadable_photo_is_a_row_and_exit_code_3(run: Run, bundle: Path, photos: Photos, format: str) -> None:
    new = photos("new", first_seed=900, red=2)
    (new / "red" / "1.jpg").write_text("no image")
    done = run("predict", bundle, new, "--format", format)
    assert done.exit_code == 3
    lines = [line for line in done.stdout.splitlines() if "jpg" in line]
    assert len(lines) == 2
    assert "red" in lines[0].replace("new/red", "")
    assert "not an image, or damaged at its start" in lines[1]
    assert f"unreadable: {new / 'red' / '1.jpg'}: not an image" in done.stderr


def test_kaggle_ids_in_numeric_order_and_clipped(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("new", first_seed=900, red=11)
    done = run(
        "predict", bundle, "new", "--format", "kaggle", "--positive", "red", "--clip", "0.01", "--out", "answer.csv"
    )
    assert done.exit_code == 0, done.output
    rows = list(csv.reader((tmp_path / "answer.csv").read_text().splitlines()))
    assert rows[0] == ["id", "label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(11)]
    assert {0.01 <= float(row[1]) <= 0.99 for row in rows[1:]} == {True}
    assert done.stdout == ""


def test_kaggle_needs_to_know_which_class(run: Run, bundle: Path, photos: Photos) -> None:
    done = run("predict", bundle, photos("new", red=1), "--format", "kaggle")
    assert done.exit_code == 1
    assert "--format kaggle needs --positive, the class whose probability is asked for: blue or red." in done.stderr
    done = run("predict", bundle, "new", "--format", "kaggle", "--positive", "red", "--clip", "0.5")
    assert "--clip must be from 0 to below 0.5. Got 0.5." in done.stderr


@pytest.mark.parametrize("engine", ["auto", "torch-bfloat16", "openvino-float32"])
def test_no_cache_leaves_nothing_on_disk(run: Run, bundle: Path, photos: Photos, tmp_path: Path, engine: str) -> None:
    run("cache", "--clear")
    done = run("predict", bundle, photos("new", red=2), "--no-cache", "--engine", engine)
    assert done.exit_code == 0, done.output
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.fixture
def new(photos: Photos) -> Path:
    return photos("new", first_seed=100, red=2, blue=2)


def answers(done: Result) -> tuple[list[str], np.ndarray]:
    """Return the names and the probabilities of blue and red that --format jsonl prints."""
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["file"] for row in rows], np.array([list(row["probabilities"].values()) for row in rows])


def test_a_csv_is_answered_as_python_answers_it(run: Run, bundle: Path, new: Path) -> None:
    """In the order of its rows, without labels; red/0.jpg stands in it twice, and has two answers."""
    (new / "photos.csv").write_text("path\nred/1.jpg\nblue/0.jpg\nred/0.jpg\nred/0.jpg\n")
    names, probabilities = answers(run("predict", bundle, new / "photos.csv", "--format", "jsonl"))
    assert names == [str(new / name) for name in ("red/1.jpg", "blue/0.jpg", "red/0.jpg", "red/0.jpg")]
    expected = regraft.load(bundle).predict_proba(new / "photos.csv")
    assert probabilities == pytest.approx(expected, abs=5e-7)  # printed with 6 digits
    assert expected.argmax(axis=1).tolist() == [1, 0, 1, 1]


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
    assert "lists/a.csv: 1 of 1 rows name no image file below lists:\n  line 2: 'one' is missing\n" in message
    assert "name the images' folder with --image-root." in message
    assert fails("predict", bundle, new, "--image-root", new) == (
        "error: --image-column and --image-root are for tables. None of the photos is named by a CSV or Parquet file: "
        "name one, or leave them out.\n"
    )


def test_the_ending_decides_and_a_folder_or_an_input_is_no_file(
    run: Run, fails: Fails, bundle: Path, new: Path, tmp_path: Path
) -> None:
    done = run("predict", bundle, "new", "--out", "answers.csv")
    assert done.stderr.endswith("wrote answers.csv (4 photos)\n")
    assert (tmp_path / "answers.csv").read_text() == run("predict", bundle, "new", "--format", "csv").stdout
    assert run("predict", bundle, "new", "--out", "plain").stderr.endswith("wrote plain (4 photos, a table)\n")
    assert run("predict", bundle, "new", "--out", "-").stdout == (tmp_path / "plain").read_text()
    for folder in ("new", "new/", "nowhere/"):
        message = f"--out {folder} is a folder. Name a file in it, e.g. {folder.rstrip('/')}/answers.csv.\n"
        assert fails("predict", bundle, "new", "--out", folder) == f"error: {message}"
    assert "answers are not written as .xlsx." in fails("predict", bundle, "new", "--out", "a.xlsx")
    (tmp_path / "photos.csv").write_text("path\nnew/red/1.jpg\n")
    for name, format in (("photos.csv", "csv"), ("new/red/1.jpg", "jsonl")):
        message = fails("predict", bundle, name, "--format", format, "--out", name)
        assert message == f"error: --out {name} is a file that is read here: {name}. Name another.\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("option", "value"), [("--positive", "red"), ("--clip", "0.1"), ("--answer", "label")])
def test_options_of_submissions_are_for_them(run: Run, fails: Fails, bundle: Path, option: str, value: str) -> None:
    message = fails("predict", bundle, ".", "--format", "csv", option, value)
    assert message.startswith(f"error: {option} is for a submission: ")
    assert message.endswith("--like with the competition's sample. Add that, or leave it out.\n")


def test_names_in_csv_cannot_steer_the_terminal_but_are_exact_elsewhere(
    run: Run, bundle: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `ls` does it: what is a terminal's is shown, what is a program's is exact."""
    (new / "red" / "0.jpg").rename(new / "red" / "\x1b[2J.jpg")
    assert "\x1b[2J" in run("predict", bundle, "new", "--format", "csv").stdout
    monkeypatch.setattr("regraft.cli.predict.stdout_is_terminal", lambda: True)
    shown = run("predict", bundle, "new", "--format", "csv").stdout
    assert "\x1b" not in shown
    assert r"\x1b[2J.jpg" in shown
    monkeypatch.setenv("COLUMNS", "60")
    table = run("predict", bundle, new).stdout.splitlines()
    sure = [line for line in table if not line.endswith("not sure")]  # which stands in the place of the second guess
    assert {len(line) for line in sure} <= {58, 59, 60}  # `blue` and `red` share the room of two times `blue`
    assert sure
    assert max(map(len, table)) <= 60
    assert {line[:3] for line in table} == {"..."}
