"""Sets with a stated coverage, "not sure" and "unlike the training photos", from `fit` to `predict` and `evaluate`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from tests.cli.conftest import exchange_labels
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
COLUMNS = ["probability_blue", "probability_red"]


@pytest.fixture
def mixed(photos: Photos) -> Path:
    """Fourteen red and fourteen blue photos, four of each under the other label: no classifier can tell all."""
    return exchange_labels(photos("mixed", red=14, blue=14), 4)


def true_scores(table: pd.DataFrame) -> np.ndarray:
    """Return (n,) probabilities of the true classes in a table of held-out answers."""
    return np.where(table["label"] == "blue", table["probability_blue"], table["probability_red"])


def test_sets_from_fit_to_evaluate(run: Run, mixed: Path, photos: Photos, tiny_network: str) -> None:
    """All of it from the tables alone: 14 photos of a class are too few for 95 %, so both have one threshold."""
    options = ("--strategy", "frozen", "--features", "last", "--force", "--json")
    fitted = run("fit", mixed, "--model", tiny_network, *options, "--predictions", "held-out.csv")
    assert fitted.exit_code == 0, fitted.output
    table = pd.read_csv("held-out.csv")
    scores = true_scores(table)
    held, sizes = [], []
    for fold in range(5):
        others = scores[table["fold"] != fold]
        assert 19 <= len(others) < 39  # the floor(0.05 (m + 1)) = 1st
        inside = table.loc[table["fold"] == fold, COLUMNS].to_numpy() >= others.min() - 1e-7
        held += (scores[table["fold"] == fold] >= others.min() - 1e-7).tolist()
        sizes += inside.sum(axis=1).tolist()
    found = json.loads(fitted.stdout)["conformal"]
    assert (found["coverage"], found["of"]) == (0.95, "classes")
    assert found["held"] == np.mean(held)
    assert found["mean_size"] == np.mean(sizes)
    assert found["several"] == np.mean(np.array(sizes) == 2)
    kept = load_file("classifier.safetensors")
    assert kept["held_out.labels"].tolist() == [0] * 14 + [1] * 14
    assert np.sort(kept["held_out.scores"]).tolist() == pytest.approx(np.sort(scores).tolist(), rel=1e-6)

    new = photos("new", first_seed=400, red=6, blue=6)
    done = run("evaluate", "classifier.safetensors", new, "--out", "answers.csv")
    answers = pd.read_csv("answers.csv")
    inside = answers[COLUMNS].to_numpy() >= scores.min() - 1e-7
    covered = true_scores(answers) >= scores.min() - 1e-7
    line = f"  sets of 95 %: hold the true class in {100 * covered.mean():.1f} % ["
    assert line in done.stdout
    assert f"], {inside.sum(axis=1).mean():.2f} classes on average; " in done.stdout
    predicted = run("predict", "classifier.safetensors", new, "--coverage", "95%", "--format", "csv")
    rows = list(csv.DictReader(predicted.stdout.splitlines()))
    assert [len(json.loads(row["set"])) for row in rows] == inside.sum(axis=1).tolist()


def test_photos_unlike_the_training_photos_are_marked(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=3, grey=2)
    lines = run("predict", bundle, new).stdout.splitlines()
    assert ["unlike the training photos" in line for line in lines] == [True] * 2 + [False] * 3  # grey, red
    rows = list(csv.DictReader(run("predict", bundle, new, "--format", "csv").stdout.splitlines()))
    assert [row["unlike_training"] for row in rows] == ["true"] * 2 + ["false"] * 3
    assert [row["unsure"] for row in rows] == ["true"] * 2 + ["false"] * 3
    assert all(row["prediction"] for row in rows)


def test_abstaining_says_of_how_many_it_is_not_sure(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=3, grey=2)
    done = run("predict", bundle, new, "--abstain")
    assert done.stderr.splitlines()[-2:] == [
        "sets hold the true class of 95 % of the photos of each class; of these together, as fewer than 19 were held "
        "out of some: blue, red",
        "not sure of 2 of 5 photos; 2 are unlike the training photos",
    ]
    assert [line.partition("jpg  ")[2] for line in done.stdout.splitlines()[:2]] == [
        "not sure: unlike the training photos"
    ] * 2
    records = json.loads(run("predict", bundle, new, "--abstain", "--format", "json").stdout)
    assert [record["prediction"] for record in records] == [None, None, "red", "red", "red"]
    assert [record["set"] for record in records[2:]] == [["red"]] * 3


def test_coverage_of_all_photos(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=1)
    done = run("predict", bundle, new, "--coverage", "0.95", "--coverage-of", "photos")
    assert "sets hold the true class of 95 % of all photos\n" in done.stderr
    assert "held out of some" not in done.stderr
    assert done.stdout.rstrip().endswith("{red}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--coverage", "95"], "--coverage must be a share above 0 and below 1, like 0.95 or 95%. Got '95'."),
        (
            ["--coverage", "0.99"],
            "--coverage of 99 % takes at least 99 held-out photos to be promised. The classifier ",
        ),
        (["--coverage", "0.9", "--format", "kaggle", "--positive", "red"], "--coverage has no use in a submission, "),
        (["--coverage-of", "photos"], "--coverage-of photos goes with --coverage or --abstain: it says of which "),
        (["--abstain", "--like", "sample.csv"], "--abstain has no use in a submission, which holds answers or "),
    ],
)
def test_what_cannot_be_had_is_said(fails: Fails, bundle: Path, photos: Photos, given: list[str], told: str) -> None:
    Path("sample.csv").write_text("id,label\n0,red\n")
    assert fails("predict", bundle, photos("new", red=1), *given).startswith(f"error: {told}")
