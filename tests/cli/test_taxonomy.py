"""Classes that lie in a tree, from `fit` to `predict` and `evaluate`."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score
from typer.testing import Result

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.evaluation.goals import DecisionRequest

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
FAST = ("--strategy", "frozen", "--features", "last", "--force")
TREE = "vivid:\n  warm: [red]\n  sea: [green, blue]\ndull: [grey, black]\n"
CLASSES = ["grey", "red", "sea"]  # of the classifier below: blue and green have 8 photos together


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TREE)
    return tmp_path / "tree.yaml"


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    """Return what one fit wrote and printed, which the tests of this file share."""
    return {}


@pytest.fixture
def fitted(run: Run, photos: Photos, tiny_network: str, tree: Path, kept: dict[str, bytes]) -> Path:
    """Return a classifier of grey, red and sea, made of photos that are labelled grey, red, green and blue."""
    if not kept:
        data = photos("learned", grey=6, red=8, green=3, blue=5)
        size = ("--taxonomy", tree, "--max-class-size", 8, "--json", "--predictions", "held-out.csv")
        done = run("fit", data, "--model", tiny_network, *FAST, *size)
        assert done.exit_code == 0, done.output
        kept["out"], kept["err"] = done.stdout.encode(), done.stderr.encode()
        kept["file"], kept["held-out"] = (Path(n).read_bytes() for n in ("classifier.safetensors", "held-out.csv"))
        shutil.rmtree(data)
    Path("classifier.safetensors").write_bytes(kept["file"])
    return Path("classifier.safetensors")


def test_fit_learns_training_classes_and_is_evaluated_at_every_level(fitted: Path, kept: dict[str, bytes]) -> None:
    numbers, said = json.loads(kept["out"]), kept["err"].decode()
    assert "train: 22 photos of 3 classes: grey 6, red 8, sea 8" in said
    assert "4 labels are learned as 3 training classes of at most 8 photos" in said
    assert "sea (8 photos of blue, green)" in said
    assert numbers["classes"] == CLASSES
    assert numbers["class_counts"] == [6, 8, 8]
    Path("held-out.csv").write_bytes(kept["held-out"])
    table = pd.read_csv("held-out.csv")
    vivid = table["probability_red"] + table["probability_sea"]
    first, last = numbers["taxonomy"]["levels"]
    assert (first["nodes"], last["nodes"]) == (["dull", "vivid"], CLASSES)
    assert first["figures"]["accuracy"] == accuracy_score(table["label"] != "grey", vivid > 0.5)
    assert last["figures"]["accuracy"] == numbers["accuracy"] == accuracy_score(table["label"], table["answer"])
    # grey - dull - (no name) - vivid - sea are 4 edges, and red - warm one more
    edges = {("grey", "sea"): 4, ("grey", "red"): 5, ("red", "sea"): 3}
    between = [edges.get(tuple(sorted(pair)), 0) for pair in zip(table["label"], table["answer"], strict=True)]
    found = numbers["taxonomy"]["distances"]
    assert found["answers"]["value"] == pytest.approx(np.mean(between))
    assert found["majority"]["value"] == pytest.approx((6 * 5 + 8 * 3) / 22)  # always red
    assert (found["least"], found["largest"]) == (3, 5)


def test_predict_has_the_way_to_each_answer_with_sums(run: Run, fitted: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, grey=2, red=2, blue=2)
    (new / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    done = run("predict", fitted, new, "--format", "csv")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert list(rows[0])[3:] == [
        *(f"probability_{name}" for name in CLASSES),
        *("level_1", "level_1_probability", "level_2", "level_2_probability"),
        *("decided_by", "unsure", "unlike_training", "error"),
    ]
    for row in rows[:6]:
        values = [float(row[f"probability_{name}"]) for name in CLASSES]
        upper = "dull" if row["prediction"] == "grey" else "vivid"
        assert (row["level_1"], row["level_2"]) == (upper, row["prediction"])
        sums = {"dull": values[0], "vivid": values[1] + values[2]}
        assert float(row["level_1_probability"]) == pytest.approx(sums[upper], abs=2e-6)
        assert row["level_2_probability"] == row["probability"]
    assert (rows[6]["level_1"], rows[6]["level_1_probability"]) == ("", "")
    records = [json.loads(line) for line in run("predict", fitted, new, "--format", "jsonl").stdout.splitlines()]
    for row, record in zip(rows[:6], records[:6], strict=True):
        assert [node["name"] for node in record["path"]] == [row["level_1"], row["level_2"]]
        assert record["path"][0]["probability"] == float(row["level_1_probability"])
    assert records[6]["path"] is None
    run("predict", fitted, new, "--out", "answers.parquet")
    parquet = pd.read_parquet("answers.parquet")
    assert list(parquet) == list(rows[0])
    assert parquet["level_1"].tolist()[:6] == [row["level_1"] for row in rows[:6]]
    assert parquet["level_1"].isna().tolist() == [False] * 6 + [True]
    assert parquet["level_1_probability"].isna().tolist() == [False] * 6 + [True]
    line = run("predict", fitted, new / "red" / "0.jpg").stdout
    assert f"  in vivid {float(rows[4]['level_1_probability']):.1%}" in line


def test_predict_at_a_level(run: Run, fitted: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, grey=2, red=2, blue=2)
    below = list(csv.DictReader(run("predict", fitted, new, "--format", "csv").stdout.splitlines()))
    above = list(csv.DictReader(run("predict", fitted, new, "--format", "csv", "--level", 1).stdout.splitlines()))
    for one, other in zip(below, above, strict=True):
        vivid = float(one["probability_red"]) + float(one["probability_sea"])
        assert float(other["probability_vivid"]) == pytest.approx(vivid, abs=2e-6)
        assert other["prediction"] == ("vivid" if vivid > 0.5 else "dull")
    done = run("predict", fitted, new, "--format", "jsonl", "--level", 1, "--threshold", "0.000001 for dull")
    assert {json.loads(line)["prediction"] for line in done.stdout.splitlines()} == {"dull"}
    kaggle = run("predict", fitted, new / "red", "--format", "kaggle", "--positive", "vivid", "--level", 1)
    assert kaggle.stdout.splitlines()[0] == "id,label"


def test_evaluate_maps_labels_by_the_tree(run: Run, fitted: Path, photos: Photos) -> None:
    """Green is sea, black is dull but no grey, and vivid photos count at the first level alone."""
    others = photos("others", first_seed=500, grey=3, red=4, green=3)
    for number in range(2):
        (others / "vivid").mkdir(exist_ok=True)
        (others / "black").mkdir(exist_ok=True)
        shutil.move(others / "red" / f"{number}.jpg", others / "vivid" / f"{number}.jpg")
    shutil.move(others / "grey" / "0.jpg", others / "black" / "0.jpg")
    done = run("evaluate", fitted, others, "--json", "--out", "answers.csv")
    assert done.exit_code == 0, done.output
    assert "3 photos are labelled with nodes of the tree that are no classes" in done.stderr
    assert "black (1), vivid (2)" in done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["n"] == 7
    assert [one["support"] for one in numbers["per_class"].values()] == [2, 2, 3]
    assert [one["n"] for one in numbers["taxonomy"]["levels"]] == [10, 7]
    assert numbers["taxonomy"]["distances"]["answers"]["n"] == 7
    assert pd.read_csv("answers.csv")["label"].value_counts().to_dict() == {"sea": 3, "grey": 2, "red": 2}
    upper = json.loads(run("evaluate", fitted, others, "--json", "--level", 1, "--out", "upper.csv").stdout)
    assert (upper["n"], upper["classes"], upper["positive"]) == (10, ["dull", "vivid"], "vivid")
    assert upper["accuracy"] == upper["taxonomy"]["levels"][0]["figures"]["accuracy"]
    table = pd.read_csv("upper.csv")
    assert table["label"].value_counts().to_dict() == {"vivid": 7, "dull": 3}
    assert upper["accuracy"] == accuracy_score(table["label"] == "vivid", table["probability_vivid"] > 0.5)
    shown = run("evaluate", fitted, others).stdout
    assert "at each level of the tree" in shown
    assert "distance from answer to truth in the tree" in shown


def test_photos_with_labels_of_a_level_alone(run: Run, fails: Fails, fitted: Path, photos: Photos) -> None:
    others = photos("others", first_seed=500, grey=2, red=3)
    shutil.move(others / "grey", others / "dull")
    shutil.move(others / "red", others / "vivid")
    numbers = json.loads(run("evaluate", fitted, others, "--json", "--level", 1).stdout)
    assert numbers["n"] == 5
    assert numbers["taxonomy"]["distances"] is None
    message = fails("evaluate", fitted, others)
    assert "no photo has a label that is one of these classes: grey, red, sea" in message
    assert "Evaluate at a level that they reach: --level 1." in message


def test_a_decision_of_the_classes_does_not_answer_at_a_level(run: Run, fitted: Path, photos: Photos) -> None:
    new, classifier = photos("new", first_seed=500, red=2, grey=2), load_bundle(fitted)
    classifier.decide_by(DecisionRequest(threshold="0.000001 for grey"))
    save_bundle(classifier, fitted)
    classes, level = (run("predict", fitted, new, "--format", "jsonl", *more) for more in ((), ("--level", 1)))
    assert {json.loads(line)["prediction"] for line in classes.stdout.splitlines()} == {"grey"}
    assert {json.loads(line)["prediction"] for line in level.stdout.splitlines()} == {"dull", "vivid"}
    said = "threshold 1e-06 for grey decides among the classes: at level 1 the most probable node is answered"
    assert said in level.stderr
    assert said in run("evaluate", fitted, new, "--level", 1).stderr


def test_distance_in_the_tree_as_cost(run: Run, fails: Fails, fitted: Path, bundle: Path, photos: Photos) -> None:
    """Grey is 5 edges from red and 4 from sea, and red 3 from sea: the answer follows from the table alone."""
    new = photos("new", first_seed=500, grey=2, red=2, blue=2)
    done = run("predict", fitted, new, "--format", "csv", "--cost", "taxonomy")
    table = pd.read_csv(io.StringIO(done.stdout))
    costs = table[[f"probability_{name}" for name in CLASSES]].to_numpy() @ [[0, 5, 4], [5, 0, 3], [4, 3, 0]]
    assert table["prediction"].tolist() == [CLASSES[answer] for answer in costs.argmin(axis=1)]
    assert set(table["decided_by"]) == {"cost taxonomy"}
    assert (
        "cost taxonomy" in json.loads(run("evaluate", fitted, new, "--json", "--cost", "taxonomy").stdout)["decided_by"]
    )
    assert "--cost taxonomy is the distance in the tree of the classes" in fails(
        "predict", bundle, new, "--cost", "taxonomy"
    )


def test_wrong_levels_and_files(run: Run, fails: Fails, fitted: Path, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=2, grey=2)
    for command in ("predict", "evaluate"):
        allowed = "--level must be one of 1 (2 nodes), 2 (3 nodes). Got 3."
        assert allowed in fails(command, fitted, new, "--level", 3)
        assert "--level is for classes that lie in a tree" in fails(command, bundle, new, "--level", 1)
        assert run(command, fitted, new, "--level", 0).exit_code == 2
    assert "--level is of one classifier. Got 2" in fails("evaluate", fitted, bundle, new, "--level", 1)


@pytest.mark.parametrize(
    ("tree", "options", "said"),
    [
        (None, ("--max-class-size", 5), "--max-class-size goes with --taxonomy"),
        (None, ("--cost", "taxonomy"), "--cost taxonomy is the distance in the tree of the classes, and none is known"),
        ("a: [red]\nb: [bleu]", (), "1 label is not in the tree of classes:\n  blue\n"),
        ("a: [red]\nb: [bleu]", (), "Did you mean 'bleu'?"),
        ("a: [red, blue]\nb: [red]", (), "tree.yaml, line 2: 'red' stands below 'b', and in line 1 below 'a'"),
        ("", (), "tree.yaml: the tree has no classes"),
        ("a: [red, blue]\nb: c", ("--max-class-size", 9), "--max-class-size 9 leaves one class, 'a'"),
    ],
)
def test_wrong_trees_are_named_before_anything_is_trained(
    fails: Fails, photos: Photos, tree: str | None, options: tuple[object, ...], said: str
) -> None:
    data = photos("learned", red=4, blue=4)
    given: tuple[object, ...] = ()
    if tree is not None:
        Path("tree.yaml").write_text(tree)
        given = ("--taxonomy", "tree.yaml")
    assert said in fails("fit", data, "--model", "pocket", *FAST, *given, *options)


def test_a_class_with_one_photo_may_be_joined(run: Run, photos: Photos, tiny_network: str) -> None:
    """Two photos are the least of a training class, and not of each label."""
    data = photos("learned", red=5, blue=1, green=4)
    Path("tree.yaml").write_text("sea: [blue, green]\nred:\n")
    alone = run("fit", data, "--model", tiny_network, "--dry-run", "--taxonomy", "tree.yaml")
    assert "fewer than two images" in alone.stderr
    joined = run("fit", data, "--model", tiny_network, "--dry-run", "--taxonomy", "tree.yaml", "--max-class-size", 5)
    assert joined.exit_code == 0, joined.output


def test_the_tree_is_not_overwritten(fails: Fails, photos: Photos, tree: Path, tiny_network: str) -> None:
    data = photos("learned", red=4, blue=4)
    Path("tree.csv").write_text("child,parent\nred,warm\nblue,cold\n")
    options = ("--taxonomy", "tree.csv", "--predictions", "tree.csv")
    assert "is a file that is read here" in fails("fit", data, "--model", tiny_network, *FAST, *options)


@pytest.mark.slow
def test_what_is_of_classes_leaves_inner_nodes_out(run: Run, fitted: Path, photos: Photos) -> None:
    """Two photos are labelled vivid, of which red and sea are kinds: nobody has said which."""
    others = photos("others", first_seed=500, grey=3, red=4, green=3)
    (others / "vivid").mkdir()
    for number in range(2):
        shutil.move(others / "red" / f"{number}.jpg", others / "vivid" / f"{number}.jpg")
    shutil.copy(fitted, "second.safetensors")
    said = (
        "2 photos are labelled with nodes of the tree that are no classes of this classifier: vivid (2). They are left"
    )
    explained = run("explain", fitted, others, "--units", "0", "--json")
    assert explained.exit_code == 0, explained.output
    assert said in explained.stderr
    both = run("evaluate", fitted, "second.safetensors", others, "--json")
    assert both.exit_code == 0, both.output
    assert said in both.stderr
    assert json.loads(both.stdout)["n"] == 8
