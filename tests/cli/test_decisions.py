"""What decides the answers, from `fit` to `predict`: goals, costs, thresholds and balance; and held-out answers."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from tests.cli.conftest import exchange_labels
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
FAST = ("--strategy", "frozen", "--features", "last", "--force")


@pytest.fixture
def mixed(photos: Photos) -> Path:
    """Twelve red and twelve blue photos, three of each under the other label: no classifier can tell all."""
    return exchange_labels(photos("mixed", red=12, blue=12), 3)


def test_a_goal_decides_from_fit_to_predict(run: Run, mixed: Path, tiny_network: str) -> None:
    goal = ("--goal", "sensitivity>=0.9 for red")
    done = run("fit", mixed, "--model", tiny_network, *FAST, *goal, "--json", "--predictions", "held-out.csv")
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert numbers["decided_by"].startswith("sensitivity >= 0.9 for red: red from a probability of ")
    rows = list(csv.DictReader(Path("held-out.csv").read_text().splitlines()))
    assert len(rows) == 24
    hits = sum(row["label"] == row["answer"] == "red" for row in rows)
    assert numbers["per_class"]["red"]["recall"] == hits / 12
    assert numbers["confusion"][1] == [12 - hits, hits]
    # the threshold of the file: of 12 photos the floor(.1 * 13) = 1st smallest probability of red, and below it down to
    # the middle of the gap
    smallest = min(float(row["probability_red"]) for row in rows if row["label"] == "red")
    below = [float(row["probability_red"]) for row in rows if row["label"] == "blue"]
    smallest = (smallest + max(value for value in below if value < smallest)) / 2
    answers = run("predict", "classifier.safetensors", mixed, "--format", "csv")
    assert "decided by sensitivity >= 0.9 for red: red from" in answers.stderr
    for row in csv.DictReader(answers.stdout.splitlines()):
        assert row["decided_by"] == "sensitivity >= 0.9 for red"
        assert row["prediction"] == ("red" if float(row["probability_red"]) >= smallest - 1e-6 else "blue")
    table = numbers["operating_points"]
    assert table["of"] == "red"
    assert [point["least_sensitivity"] for point in table["points"]] == [0.8, 0.9]
    assert table["points"][1]["threshold"] == pytest.approx(smallest, rel=1e-8)
    decision = numbers["decision"]
    assert (decision["rule"], decision["class"]) == ("threshold", "red")
    assert decision["threshold"] == table["points"][1]["threshold"]


def middle_of_the_gap(table: pd.DataFrame, rank: int) -> float:
    """Return the threshold for blue at the rank-th smallest hit, lowered into the middle of the gap below it."""
    hits = np.sort(table.loc[table["label"] == "blue", "probability_blue"])
    alarms = table.loc[table["label"] == "red", "probability_blue"]
    low = alarms[alarms < hits[rank - 1]].max()
    return float(low + hits[hits > low].min()) / 2


def test_each_photo_is_answered_by_the_threshold_of_the_others(run: Run, mixed: Path, tiny_network: str) -> None:
    """Answers follow from the table: of 12 hits the floor(.2 * 13) = 2nd smallest, without a hit that rank of 11."""
    goal = ("--goal", "sensitivity>=0.8 for blue")
    done = run("fit", mixed, "--model", tiny_network, *FAST, *goal, "--predictions", "held-out.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("held-out.csv")
    whole = middle_of_the_gap(table, 2)
    rank = 1 + (table.loc[table["label"] == "blue", "probability_blue"] < whole).sum()
    for row, own in table.iterrows():
        others = table.drop(index=row)
        nearest = int(rank / 13 * 12 + 0.5)
        threshold = middle_of_the_gap(others, nearest) if own["label"] == "blue" else whole
        assert own["answer"] == ("blue" if own["probability_blue"] >= threshold else "red")


def test_held_out_answers_give_the_figures_in_scikit_learn(run: Run, mixed: Path, tiny_network: str) -> None:
    done = run("fit", mixed, "--model", tiny_network, *FAST, "--json", "--predictions", "out.parquet")
    numbers, table = json.loads(done.stdout), pd.read_parquet("out.parquet")
    assert numbers["decided_by"] == "most probable class"
    assert numbers["accuracy"] == accuracy_score(table["label"], table["answer"])
    columns = ["probability_blue", "probability_red"]
    assert numbers["log_loss"] == pytest.approx(log_loss(table["label"], table[columns]), rel=1e-6)
    assert sorted(table["fold"].unique()) == [0, 1, 2, 3, 4]
    assert table["group"].isna().all()


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_evaluate_writes_every_answer(run: Run, bundle: Path, photos: Photos, ending: str) -> None:
    others = photos("others", first_seed=500, red=4, blue=3)
    done = run("evaluate", bundle, others, "--json", "--out", f"answers.{ending}")
    assert done.exit_code == 0, done.output
    read = {
        "csv": pd.read_csv,
        "tsv": lambda file: pd.read_csv(file, sep="\t"),
        "json": pd.read_json,
        "jsonl": lambda file: pd.read_json(file, lines=True),
        "parquet": pd.read_parquet,
    }[ending]
    table = read(f"answers.{ending}")
    assert list(table) == ["file", "label", "fold", "group", "answer", "probability_blue", "probability_red"]
    assert len(table) == 7
    assert table["fold"].isna().all()
    assert json.loads(done.stdout)["auc"] == roc_auc_score(table["label"] == "red", table["probability_red"])


def test_evaluate_and_predict_take_another_decision(run: Run, bundle: Path, photos: Photos) -> None:
    others = photos("others", first_seed=500, red=4, blue=3)
    all_red = ("--threshold", "0.000001 for red")
    numbers = json.loads(run("evaluate", bundle, others, "--json", *all_red).stdout)
    assert numbers["confusion"] == [[0, 3], [0, 4]]
    assert numbers["never_answered"] == ["blue"]
    assert numbers["decided_by"].startswith("threshold 1e-06 for red: red from a probability of 0.0001 % on, else blue")
    assert "never answered: blue" in run("evaluate", bundle, others, *all_red).stdout
    done = run("predict", bundle, others, "--format", "jsonl", "--cost", "blue:red=1000000")
    assert {json.loads(line)["decided_by"] for line in done.stdout.splitlines()} == {"cost blue:red=1000000"}
    assert run("predict", bundle, others, "--balance").exit_code == 0


def test_the_table_of_the_fit_is_evaluated_on_other_photos(run: Run, mixed: Path, tiny_network: str, photos: Photos):
    fitted = json.loads(run("fit", mixed, "--model", tiny_network, *FAST, "--json").stdout)
    others = photos("others", first_seed=500, red=8, blue=8)
    done = run("evaluate", "classifier.safetensors", others, "--json", "--out", "answers.csv")
    there, table = json.loads(done.stdout)["operating_points"], pd.read_csv("answers.csv")
    assert [p["threshold"] for p in there["points"]] == [p["threshold"] for p in fitted["operating_points"]["points"]]
    for point in there["points"]:
        answered = table["probability_red"] >= point["threshold"]
        assert point["sensitivity"] == answered[table["label"] == "red"].mean()
        assert point["specificity"] == 1 - answered[table["label"] == "blue"].mean()
    assert "to find red" in run("evaluate", "classifier.safetensors", others).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--goal", "sensitivity>=0.9", "--balance"), "--goal and --balance exclude each other"),
        (("--goal", "sensitivity for red"), "--goal must be a least sensitivity, specificity or precision"),
        (("--goal", "recall>=0.9 for rde"), "--goal must be for one of blue, red. Got 'rde'. Did you mean 'red'?"),
        (("--goal", "sensitivity>=0.99 for red"), "takes at least 99 photos of red to be promised. Got 12"),
        (("--cost", "red:rot=3"), "--cost must say what a mistake costs"),
        (("--threshold", "2"), "--threshold must be a probability above 0 and below 1"),
        (("--predictions", "held-out.xlsx"), "--predictions held-out.xlsx: the answers are a table for programs"),
        (("--predictions", "held-out.txt"), "Name it held-out.csv, or"),
        (("--predictions", "held-out"), "Name it held-out.csv, or .tsv"),
        (("--predictions", "mixed"), "--predictions mixed is a folder. Name a file in it, e.g. mixed/held-out.csv."),
        (("--predictions", "nowhere/held-out.csv"), "the folder nowhere does not exist"),
    ],
)
def test_wrong_decisions_are_named_before_anything_is_trained(
    run: Run, mixed: Path, tiny_network: str, options: tuple[str, ...], said: str
) -> None:
    done = run("fit", mixed, "--model", tiny_network, *FAST, *options)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "features (" not in done.stderr
    assert not Path("classifier.safetensors").exists()


@pytest.mark.parametrize(
    "case",
    [
        (("--goal", "recall>=0.9 for rde"), "--goal must be for one of blue, red. Got 'rde'. Did you mean 'red'?"),
        (("--goal", "sensitivity>=95"), "--goal must ask for more than 0 and less than 1 (100 %). Got"),
        (("--goal", "sensitivity>=0.9 for red"), "takes at least 9 photos of red to be promised. Got 2"),
        (("--cost", "red:blue"), "After red:blue there must be =COST, the number."),
        (("--cost", "taxonomy"), "--cost taxonomy is the distance in the tree of the classes, and none is known"),
        (("--threshold", "2"), "--threshold must be a probability above 0 and below 1"),
        (("--class-weight", "rot=3"), "--class-weight must name classes: blue, red. Got 'rot'."),
        (("--positive", "rde"), "--positive must be one of blue, red. Got 'rde'."),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(
    fails: Fails, photos: Photos, tiny_network: str, other_network: str, case: tuple[tuple[str, ...], str]
) -> None:
    (options, said), folder = case, photos("pets", red=2, blue=2)
    assert said in fails("fit", folder, "--model", tiny_network, "--dry-run", *options)
    assert said in fails("fit", folder, "--model", tiny_network, "--model", other_network, "--dry-run", *options)


def test_a_goal_that_no_threshold_reaches_says_what_is_the_most(fails: Fails, mixed: Path, tiny_network: str) -> None:
    """A precision of 92 % takes all 12 red photos before the first blue one."""
    message = fails("fit", mixed, "--model", tiny_network, *FAST, "--goal", "precision>=0.92 for red")
    assert "--goal precision >= 0.92 for red: no threshold reaches that on the 24 photos" in message
    assert re.search(r"; \d+\.\d % is the most\. Ask for less, or leave it out", message)
    assert not Path("classifier.safetensors").exists()


def test_a_file_that_is_read_is_not_overwritten(fails: Fails, bundle: Path, photos: Photos) -> None:
    (bundle.parent / "table.csv").write_text(f"image,label\n{photos('x', red=1)}/red/0.jpg,red\n")
    assert "is a file that is read here" in fails("evaluate", bundle, "table.csv", "--out", "table.csv")


def test_figures_by_patient(run: Run, mixed: Path, tiny_network: str) -> None:
    """Two photos of each patient: his probability is their mean, and his figures are those of 12 patients."""
    rows = [f"{label}/{n}.jpg,{label},{label}{n // 2}" for label in ("red", "blue") for n in range(12)]
    Path("table.csv").write_text("\n".join(["image,label,patient", *rows]))
    table = ("table.csv", "--image-root", mixed, "--group-column", "patient")
    done = run("fit", *table, "--model", tiny_network, *FAST, "--json", "--predictions", "out.csv")
    assert done.exit_code == 0, done.output
    found, answers = json.loads(done.stdout)["groups"], pd.read_csv("out.csv")
    by_patient = answers.groupby("group").agg({"label": "first", "probability_red": "mean", "fold": "first"})
    assert (found["grouped_by"], found["n"], found["mixed"]) == ("patient", 12, 0)
    assert found["accuracy"] == ((by_patient["probability_red"] > 0.5) == (by_patient["label"] == "red")).mean()
    pairs = []  # of one fold: others were answered by other classifiers
    for _, fold in by_patient.groupby("fold"):
        red, blue = (fold.loc[fold["label"] == name, "probability_red"].to_numpy() for name in ("red", "blue"))
        pairs += [(a > b) + 0.5 * (a == b) for a in red for b in blue]
    assert found["auc"] == pytest.approx(np.mean(pairs))
    shown = run("fit", *table, "--model", tiny_network, *FAST)
    assert "by patient, of the mean of its photos' probabilities:" in shown.stdout


def test_weights_of_classes_decide_by_the_same_weights(run: Run, mixed: Path, tiny_network: str) -> None:
    """Answered is the largest weight times probability, whose shares are those of the photos; a goal goes before."""
    weights = ("--class-weight", "blue=3,red=1")
    done = run("fit", mixed, "--model", tiny_network, *FAST, *weights, "--json", "--predictions", "out.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("out.csv")
    expected = np.where(3 * table["probability_blue"] >= table["probability_red"], "blue", "red")
    assert table["answer"].tolist() == expected.tolist()
    assert json.loads(done.stdout)["decided_by"].startswith(
        "class weights blue=3,red=1: red above a probability of 75 %"
    )
    ruled = run("fit", mixed, "--model", tiny_network, *FAST, *weights, "--threshold", "0.4", "--json")
    assert json.loads(ruled.stdout)["decided_by"].startswith("threshold 0.4 for red")


def test_the_class_of_the_goal_is_the_one_that_everything_is_about(
    run: Run, mixed: Path, tiny_network: str, photos: Photos
) -> None:
    """The first class is not the default of AUC and table; once a goal is for it, it is, in all commands."""
    fitted = json.loads(
        run("fit", mixed, "--model", tiny_network, *FAST, "--goal", "recall>=0.8 for blue", "--json").stdout
    )
    assert (fitted["positive"], fitted["operating_points"]["of"], fitted["trade_offs"]["of"]) == ("blue",) * 3
    others = photos("others", first_seed=500, red=8, blue=8)
    there = json.loads(run("evaluate", "classifier.safetensors", others, "--json").stdout)
    assert (there["positive"], there["operating_points"]["of"]) == ("blue", "blue")
    assert [p["threshold"] for p in there["operating_points"]["points"]] == [
        p["threshold"] for p in fitted["operating_points"]["points"]
    ]
    done = run("predict", "classifier.safetensors", others, "--threshold", "0.3")
    assert "decided by threshold 0.3 for blue" in done.stderr


def test_validation_photos_do_not_judge_the_threshold_that_they_chose(
    run: Run, photos: Photos, tiny_network: str
) -> None:
    photos("data/train", red=8, blue=8)
    exchange_labels(photos("data/val", first_seed=300, red=12, blue=12), 4)
    goal = ("--goal", "sensitivity>=0.8 for red")
    fitted = json.loads(run("fit", "data", "--model", tiny_network, *FAST, *goal, "--json").stdout)
    again = json.loads(run("evaluate", "classifier.safetensors", "data", "--split", "validation", "--json").stdout)
    for name in ("estimate", "accuracy", "confusion", "decided_by"):
        assert again[name] == fitted[name]
    for one, other in zip(again["operating_points"]["points"], fitted["operating_points"]["points"], strict=True):
        assert one["threshold"] == pytest.approx(other["threshold"], rel=1e-5)  # features of other batches
        assert (one["sensitivity"], one["specificity"]) == (other["sensitivity"], other["specificity"])


def test_photos_that_chose_the_threshold_do_not_judge_beside_new_ones(
    run: Run, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    """They are left out and named; the new ones are answered by the file's rule, as without them."""
    photos("data/train", red=8, blue=8)
    photos("data/val", first_seed=300, red=10, blue=10)
    goal = ("--goal", "sensitivity>=0.8 for red")
    assert run("fit", "data", "--model", tiny_network, *FAST, *goal).exit_code == 0
    new = photos("new", first_seed=600, red=4, blue=4)
    alone = json.loads(run("evaluate", "classifier.safetensors", new, "--json").stdout)
    shutil.copy(tmp_path / "data" / "val" / "red" / "0.jpg", new / "red" / "known.jpg")
    done = run("evaluate", "classifier.safetensors", new, "--json")
    mixed = json.loads(done.stdout)
    assert "known.jpg" in done.stderr
    assert "evaluated the classifier in its fit (validation), while others here are new" in done.stderr
    for name in ("n", "estimate", "accuracy", "confusion"):
        assert mixed[name] == alone[name]
    assert mixed["estimate"] == "test"


@pytest.mark.slow
def test_evaluating_several_nests_as_evaluating_one_does(run: Run, photos: Photos, tiny_network: str) -> None:
    photos("data/train", red=8, blue=8)
    validation = exchange_labels(photos("data/val", first_seed=300, red=12, blue=12), 4)
    goal = ("--goal", "sensitivity>=0.8 for red")
    assert run("fit", "data", "--model", tiny_network, *FAST, *goal, "--out", "a.safetensors").exit_code == 0
    assert run("fit", "data/train", "--model", tiny_network, *FAST, "--out", "b.safetensors").exit_code == 0
    alone = json.loads(run("evaluate", "a.safetensors", validation, "--json").stdout)
    both = json.loads(run("evaluate", "a.safetensors", "b.safetensors", validation, "--json").stdout)
    first, second = both["classifiers"]
    assert (first["accuracy"], first["confusion"], first["estimate"]) == (
        alone["accuracy"], alone["confusion"], "validation"
    )  # fmt: skip
    assert second["estimate"] == "test"  # it never saw these photos


@pytest.mark.slow
def test_class_names_may_be_typed_as_macos_writes_them(run: Run, mixed: Path, tiny_network: str) -> None:
    """A class "Hünd" is one name, whether its letter is one character or two."""
    whole, parts = "H\u00fcnd", "Hu\u0308nd"
    (mixed / "red").rename(mixed / whole)
    fit = ("fit", mixed, "--model", tiny_network, *FAST, "--json")
    goal = json.loads(run(*fit, "--goal", f"sensitivity>=0.8 for {parts}").stdout)
    assert (goal["positive"], goal["operating_points"]["of"]) == (whole, whole)
    for options in (("--cost", f"{parts}:blue=2"), ("--threshold", f"0.3 for {parts}"), ("--positive", parts)):
        assert run(*fit, *options).exit_code == 0
    assert run(*fit, "--class-weight", f"{parts}=2").exit_code == 0
    for options in (("--threshold", f"0.3 for {parts}"), ("--format", "kaggle", "--positive", parts)):
        assert run("predict", "classifier.safetensors", mixed / "blue", *options).exit_code == 0


@pytest.mark.parametrize("options", [("--threshold", "0.9"), ("--cost", "red:blue=5"), ("--balance",)])
def test_nothing_decides_in_a_submission_of_probabilities(
    fails: Fails, bundle: Path, photos: Photos, tmp_path: Path, options: tuple[str, ...]
) -> None:
    new = photos("new", first_seed=900, red=2)
    (tmp_path / "sample.csv").write_text("id,blue,red\n0,0.5,0.5\n1,0.5,0.5\n")
    for submission in (("--format", "kaggle", "--positive", "red"), ("--like", "sample.csv")):
        instead = ": --format csv." if submission[0] == "--format" else " without --like: --format csv."
        takes = f"{' '.join(submission[:2])} takes probabilities"
        expected = f"{options[0]} decides what is answered, and {takes}. Leave it out, or write answers{instead}"
        assert expected in fails("predict", bundle, new, *submission, *options)


def test_a_rule_of_the_file_is_said_where_a_submission_holds_answers(
    run: Run, mixed: Path, tiny_network: str, tmp_path: Path
) -> None:
    assert run("fit", mixed, "--model", tiny_network, *FAST, "--threshold", "0.3 for red").exit_code == 0
    (tmp_path / "sample.csv").write_text("id,label\n0,red\n1,red\n")
    predict = ("predict", "classifier.safetensors", mixed / "blue", "--like", "sample.csv")
    assert "decided by threshold 0.3 for red" in run(*predict).stderr
    assert "decided by" not in run(*predict, "--answer", "probability", "--positive", "red").stderr


def test_an_empty_coverage_is_none(fails: Fails, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=900, red=2)
    assert "--coverage must be a share above 0 and below 1" in fails("predict", bundle, new, "--coverage", "")


def test_alarms_that_are_given_though_unsure_are_counted(run: Run, mixed: Path, tiny_network: str) -> None:
    """From nearly nothing on all photos are alarms: none is withheld, and as many as the table marks are unsure."""
    assert run("fit", mixed, "--model", tiny_network, *FAST, "--threshold", "0.000001 for red").exit_code == 0
    options = ("--abstain", "--coverage", "80%", "--format", "jsonl")
    done = run("predict", "classifier.safetensors", mixed, *options)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    unsure = sum(row["unsure"] for row in rows)
    assert unsure > 0
    assert {row["prediction"] for row in rows} == {"red"}
    said = f"not sure of {unsure} of 24 photos, of which {unsure} are answered all the same"
    assert said in done.stderr


def test_a_row_of_several_classes_begins_with_what_the_rule_answers(
    run: Run, bundle: Path, photos: Photos, tmp_path: Path
) -> None:
    new = photos("new", first_seed=900, red=2)
    (tmp_path / "sample.csv").write_text("id,label\n0,red blue\n1,red blue\n")
    options = ("--like", "sample.csv", "--out", "filled.csv")
    plain, ruled = (), ("--threshold", "0.999999999 for red")
    for rule, filled in ((plain, "red blue"), (ruled, "blue red")):
        done = run("predict", bundle, new, *options, *rule)
        assert done.exit_code == 0, done.output
        assert (tmp_path / "filled.csv").read_text() == f"id,label\n0,{filled}\n1,{filled}\n"


def test_a_missing_tree_is_said_to_be_missing(fails: Fails, mixed: Path, tiny_network: str) -> None:
    message = fails("fit", mixed, "--model", tiny_network, "--taxonomy", "nowhere.yaml")
    assert "nowhere.yaml does not exist. Name the file of the tree of classes." in message
    assert "Errno" not in message
