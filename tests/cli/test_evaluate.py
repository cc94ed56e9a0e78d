"""`regraft evaluate`: which photos evaluate a classifier."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import REPORTED
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]


def test_evaluate_leaves_out_what_was_learned_from(run: Run, bundle: Path, photos: Photos) -> None:
    others = photos("others", first_seed=500, red=6, blue=4)
    shutil.copy(bundle.parent / "learned" / "red" / "3.jpg", others / "red" / "known.jpg")
    done = run("evaluate", bundle, others, "--json", "--positive", "blue")
    numbers = json.loads(done.stdout)
    assert numbers.keys() >= REPORTED
    assert (numbers["n"], numbers["estimate"], numbers["positive"]) == (10, "test", "blue")
    assert numbers["confusion"] == [[4, 0], [0, 6]]
    assert "1 of 11 photos" in done.stderr
    assert "known.jpg" in done.stderr


def test_evaluate_takes_the_test_split(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("data/train", red=2, blue=2)
    photos("data/val", first_seed=100, red=3, blue=3)
    photos("data/test", first_seed=200, red=4, blue=4)
    assert json.loads(run("evaluate", bundle, "data", "--json").stdout)["n"] == 8
    assert json.loads(run("evaluate", bundle, "data", "--json", "--split", "validation").stdout)["n"] == 6
    shutil.rmtree(tmp_path / "data" / "test")
    failed = run("evaluate", bundle, "data", "--split", "test")
    assert failed.exit_code == 1
    assert "data has no test split. It has: train, validation." in failed.stderr


def test_evaluate_reads_no_other_split(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("data/train", red=2, blue=2)
    photos("data/val", first_seed=100, red=3, blue=3)
    (tmp_path / "data" / "test").mkdir()  # empty: reading it would be an error
    done = run("evaluate", bundle, "data", "--json", "--split", "validation")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 6
    assert "test holds no images" in run("evaluate", bundle, "data").stderr


def test_split_column_is_used_by_fit_and_evaluate(run: Run, tiny_network: str, photos: Photos, tmp_path: Path) -> None:
    """Twelve of sixteen rows are learned from; the other four evaluate, and are left out by neither."""
    photos("photos", red=8, blue=8)
    rows = [f"{label}/{n}.jpg,{label},{'test' if n < 2 else 'train'}" for label in ("red", "blue") for n in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["image,label,split", *rows]))
    done = run("fit", "table.csv", "--image-root", "photos", "--model", tiny_network, "--strategy", "frozen", "--json")
    assert json.loads(done.stdout)["n"] == 12
    said = "table.csv: the column 'split' says which split each row is of: train 12, test 4"
    assert done.stderr.count(said) == 1
    done = run("evaluate", "classifier.safetensors", "table.csv", "--image-root", "photos", "--json")
    assert json.loads(done.stdout)["n"] == 4
    assert (said in done.stderr, "left out" in done.stderr) == (True, False)
    whole = ("evaluate", "classifier.safetensors", "table.csv", "--image-root", "photos", "--split-column", "none")
    done = run(*whole, "--json")
    assert "12 of 16 photos" in done.stderr
    assert json.loads(done.stdout)["n"] == 4


def test_two_classifiers_are_compared_on_the_same_photos(
    run: Run, bundle: Path, photos: Photos, tmp_path: Path
) -> None:
    others = photos("others", first_seed=500, red=6, blue=4)
    shutil.copy(bundle, tmp_path / "copy.safetensors")
    shutil.copy(bundle.parent / "learned" / "red" / "3.jpg", others / "red" / "known.jpg")
    done = run("evaluate", bundle.name, "copy.safetensors", others, "--json", "--positive", "blue")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["n"], told["trained_on"]) == (10, 1)
    assert [(one["classifier"], one["positive"]) for one in told["classifiers"]] == [
        (bundle.name, "blue"),
        ("copy.safetensors", "blue"),
    ]
    assert {(pair["a"], pair["b"]) for pair in told["pairs"]} == {("copy.safetensors", bundle.name)}
    assert {pair["metric"] for pair in told["pairs"] if pair["decides"]} == {"log_loss"}
    shown = run("evaluate", bundle.name, "copy.safetensors", others).stdout
    assert f"copy.safetensors against {bundle.name}:" in shown
    assert "right alone: 0 against 0 photos" in shown


def test_wrong_pairs_are_told_in_words(fails: Callable[..., str], run: Run, bundle: Path, photos: Photos) -> None:
    others = photos("others", first_seed=500, red=3, blue=2)
    twice = fails("evaluate", bundle.name, bundle.name, others)
    assert f"{bundle.name} is named twice: each classifier is compared with the others once." in twice
    several = fails("evaluate", bundle.name, "other.safetensors", others, "--out", "answers.csv")
    assert "--out is for the answers of one classifier. Got 2: name one, or leave --out out." in several
    assert "gone.safetensors does not exist" in fails("evaluate", bundle.name, "gone.safetensors", others)
    two = run("evaluate", bundle.name, others, others)
    assert two.exit_code == 2
    assert "unexpected extra arguments" in two.stderr
