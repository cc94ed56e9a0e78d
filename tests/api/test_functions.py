"""`regraft.compare` and `regraft.evaluate`: the same figures as the commands, of folders, tables and lists."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import photo
from tests.marks import some_slow

import regraft
from regraft.api.estimator import TransferClassifier
from regraft.errors import BundleError, DataError, ModelError, OptionError
from regraft.transfer import auto
from regraft.transfer.auto_plan import AutoPlan

Photos = Callable[..., Path]
Make = Callable[..., TransferClassifier]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
COLOURS = ["blue"] * 8 + ["red"] * 8


@pytest.fixture
def fitted(make: Make, sixteen: list[str]) -> TransferClassifier:
    return make().fit(sixteen, COLOURS)


@pytest.fixture
def new(photos: Photos, sixteen: list[str]) -> Path:
    """Return class folders of 3 red and 4 blue photos: one stands under red that is blue, one was trained on."""
    folder = photos("new", first_seed=500, red=2, blue=4)
    (folder / "blue" / "0.jpg").rename(folder / "red" / "wrong.jpg")
    (folder / "blue" / "known.jpg").write_bytes(Path(sixteen[0]).read_bytes())
    return folder


# --- evaluate ---


def test_photos_that_it_was_trained_on_are_left_out(fitted: TransferClassifier, new: Path) -> None:
    (new / "red" / "bad.jpg").write_bytes(b"nothing")
    for more in range(9):  # a tenth may be unreadable
        photo(new / "red" / f"more{more}.jpg", "red", 900 + more)
    record = regraft.evaluate(fitted, new)
    assert record.report is not None
    assert (record.report.n, record.report.estimate, record.trained_on) == (15, "test", 1)
    assert record.report.accuracy == 14 / 15
    assert record.unreadable == (str(new / "red" / "bad.jpg"),)
    assert str(record).endswith(
        "left out, as the classifier was trained on them: 1\n"
        f"  left out, as they cannot be read: 1\n  {new / 'red' / 'bad.jpg'}"
    )
    assert str(record).startswith(str(record.report))


@pytest.mark.parametrize(
    "form", some_slow(["estimator", "loaded", "file", "path", "classifier"], {"estimator", "file", "classifier"})
)
def test_a_classifier_in_any_form(fitted: TransferClassifier, new: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / "m.safetensors"
    fitted.save(file)
    forms = {"estimator": fitted, "file": str(file), "path": file, "classifier": fitted.classifier_}
    record = regraft.evaluate(forms[form] if form in forms else regraft.load(file), str(new), batch_size=np.int64(2))
    assert record.report is not None
    assert (record.report.n, record.report.accuracy) == (6, 5 / 6)


def test_near_duplicates_are_as_the_estimator_has_them_or_as_they_are_given(
    make: Make, sixteen: list[str], new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, heard = make(near_duplicates="ignore").fit(sixteen, COLOURS), []
    monkeypatch.setattr(
        "regraft.api.functions.evaluation_of", lambda *_, **given: heard.append(given) or SimpleNamespace(record=None)
    )
    for classifier, given in ((estimator, {}), (estimator, {"near_duplicates": "join"}), (estimator.classifier_, {})):
        regraft.evaluate(classifier, new, **given)
    assert [given["near"] for given in heard] == [False, True, True]
    with pytest.raises(OptionError, match=r"near_duplicates must be one of join, ignore\. Got 'Ignore'"):
        regraft.evaluate(estimator, new, near_duplicates="Ignore")


def test_a_list_with_labels_and_groups(fitted: TransferClassifier, new: Path) -> None:
    paths = pd.Series(sorted(map(str, new.rglob("*.jpg"))))
    y = paths.map(lambda path: Path(path).parent.name)
    record = regraft.evaluate(fitted, paths, y)
    assert record.report is not None
    assert (record.report.n, record.report.accuracy) == (6, 5 / 6)
    grouped = regraft.evaluate(fitted, paths, y, groups=["a", "b"] * 3 + ["a"], positive="blue").report
    assert grouped is not None
    assert grouped.positive == "blue"
    assert grouped.intervals["accuracy"] != record.report.intervals["accuracy"]


def test_a_table_and_a_split(fitted: TransferClassifier, new: Path, photos: Photos, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    pd.DataFrame({"photo": ["red/0.jpg", "blue/1.jpg"], "kind": ["red", "blue"]}).to_csv(table, index=False)
    record = regraft.evaluate(fitted, table, image_column="photo", label_column="kind", image_root=new)
    assert record.report is not None
    assert (record.report.n, record.report.accuracy) == (2, 1.0)
    folder = photos("data/train", first_seed=700, red=2, blue=2).parent
    photos("data/test", first_seed=800, red=1, blue=2)
    counts = [regraft.evaluate(fitted, folder, split=split).report for split in (None, "test", "train")]
    assert [report.n for report in counts if report is not None] == [3, 3, 4]


def test_mistakes_in_evaluate(fitted: TransferClassifier, new: Path) -> None:
    mistakes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"split": "val"}, OptionError, "split must be one of train, validation, test. Got 'val'."),
        ({"seed": -1}, OptionError, "seed must be a whole number from 0. Got -1."),
        ({"positive": "rde"}, OptionError, "positive must be one of blue, red. Got 'rde'. Did you mean 'red'?"),
        ({"batch_size": 0}, OptionError, "batch_size must be 1 or more. Got 0."),
        ({"threshold": "0.2 for rde"}, OptionError, "threshold must be for one of blue, red. Got 'rde'."),
        ({"balance": "yes"}, OptionError, "balance must be True or False. Got 'yes'."),
        ({"cost": "red:blue"}, OptionError, "After red:blue there must be =COST, the number."),
        ({"threshold": 0.2, "balance": True}, OptionError, "threshold and balance exclude each other"),
        ({"devic": "cpu"}, TypeError, "evaluate has no argument 'devic'. Did you mean 'device'?"),
        ({"y": ["red"]}, DataError, "is a folder, which brings its own labels: leave y out."),
        ({"classifier": "gone.safetensors"}, BundleError, "gone.safetensors does not exist."),
        ({"classifier": 3}, OptionError, "classifier must be a fitted TransferClassifier, or the file of one. Got int"),
        ({"X": ["gone.jpg"], "y": ["red"], "split": "test"}, OptionError, "split is for a folder or table with splits"),
    ]
    for arguments, error, message in mistakes:
        with pytest.raises(error) as caught:
            regraft.evaluate(**{"classifier": fitted, "X": new, **arguments})
        assert message in str(caught.value)


def test_another_rule_decides_and_the_classifier_keeps_its_own(fitted: TransferClassifier, new: Path) -> None:
    """All photos are answered red: three of each class are new, and of those under red one is blue."""
    plain = regraft.evaluate(fitted, new).report
    assert plain is not None
    assert plain.confusion == [[3, 0], [1, 2]]
    rules: list[dict[str, Any]] = [
        {"threshold": "0.0000001 for red"},
        {"threshold": 1e-7},
        {"cost": "red:blue=1000000"},
    ]
    for rule in rules:
        report = regraft.evaluate(fitted, new, **rule).report
        assert report is not None
        assert report.confusion == [[0, 3], [0, 3]]
        assert report.decided_by.startswith(next(iter(rule)))
    paired = regraft.evaluate_paired({"a": fitted, "b": fitted}, new, cost="red:blue=1000000")
    assert [report.confusion for report in paired.reports.values()] == [[[0, 3], [0, 3]]] * 2
    assert "\na: decided by cost red:blue=1000000: red above a probability of 0.0001 %, else blue\n" in str(paired)
    assert fitted.classifier_.decision is None
    counts = fitted.classifier_.record.class_counts  # 8 of each: balance cuts at one half
    assert counts == (8, 8)
    balanced = regraft.evaluate(fitted, new, balance=True).report
    assert balanced is not None
    assert balanced.confusion == plain.confusion
    assert "above a probability of 50 %" in balanced.decided_by


# --- compare ---


def test_what_is_compared_is_shown_whole(sixteen: list[str], tiny_network: str, other_network: str) -> None:
    models = [tiny_network, other_network]
    found = regraft.compare(sixteen, COLOURS, model=models, strategies="frozen", sizes=[3, "all"], seed=1)
    rows = [(row.model, row.size, row.n) for row in found.rows if row.metric == "accuracy"]
    assert sorted(rows, key=str) == sorted([(m, size, 16) for m in models for size in (3, "all")], key=str)
    assert {(pair.a, pair.b) for pair in found.pairs} == {(f"{other_network} frozen", f"{tiny_network} frozen")}
    lines = str(found).splitlines()
    assert lines[0].split()[:2] == ["strategy", "photos/class"]
    assert lines[-1] == found.advice.replace("\n", " ")
    assert len(lines) == 1 + 4 + 1 + 1 + len(found.notes) + 1  # a row of always the largest class, and a blank line


def test_a_comparison_of_a_folder_reads_its_training_photos(photos: Photos, tiny_network: str) -> None:
    folder = photos("data/train", red=6, blue=6).parent
    (photos("data/test", red=1, blue=1) / "red" / "0.jpg").write_bytes(b"not read")
    found = regraft.compare(folder, model=tiny_network, strategies=["frozen"])
    assert {(row.strategy, row.size, row.n) for row in found.rows} == {("frozen", "all", 12)}
    grouped = regraft.compare(
        sorted(folder.glob("train/*/*")), [0] * 6 + [1] * 6, groups=[k // 2 for k in range(12)], model=tiny_network,
        strategies="frozen", sizes="all", budget=600,
    )  # fmt: skip
    bounds = [next(row for row in one.rows if row.metric == "accuracy").low for one in (found, grouped)]
    assert bounds[0] != bounds[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"strategies": ["frozn"]}, OptionError, "strategies must be some of frozen, top, whole, scratch. Got frozn."),
        ({"strategies": []}, OptionError, "strategies must be some of frozen, top, whole, scratch. Got none."),
        ({"sizes": 3.5}, OptionError, "sizes must be numbers of photos of each class, or 'all', e.g. [20, 50, 'all']."),
        ({"sizes": "20,some"}, OptionError, "sizes must be numbers of photos of each class, or 'all'"),
        ({"sizes": 9}, OptionError, "sizes must be photos of each class, from 2 to 8 (the largest class), or all."),
        ({"budget": "1h"}, OptionError, "budget must be a number of seconds above 0. Got '1h'."),
        ({"model": []}, ModelError, "model names no network."),
        ({"model": "auto"}, ModelError, "'auto' is no network, but a choice that `regraft fit` makes of several."),
        ({"model": ["pocet"]}, ModelError, "There is no network named 'pocet'."),
        ({"models": "pocket"}, TypeError, "compare has no argument 'models'. Did you mean 'model'"),
        ({"goal": "sensitivity>=0.9 for red"}, TypeError, "compare has no argument 'goal'."),
        ({"cost": "red:blue=3"}, TypeError, "compare has no argument 'cost'."),
        ({"threshold": 0.2}, TypeError, "compare has no argument 'threshold'."),
        ({"balance": True}, TypeError, "compare has no argument 'balance'."),
        ({"strategy": "top"}, TypeError, "compare has no argument 'strategy'. Did you mean 'strategies'"),
        ({"seed": -1}, OptionError, "seed must be a whole number from 0 to 4294967295. Got -1."),
        ({"positive": "green"}, OptionError, "positive must be one of blue, red. Got 'green'."),
        ({"y": None}, DataError, "y is missing"),
    ],
)
def test_mistakes_in_compare(
    sixteen: list[str], tiny_network: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"X": sixteen, "y": COLOURS, "model": tiny_network, "strategies": "frozen", **arguments}
    with pytest.raises(error) as caught:
        regraft.compare(**given)
    assert message in str(caught.value)


# --- what is said ---


def test_findings_go_to_the_log(make: Make, photos: Photos, caplog: pytest.LogCaptureFixture) -> None:
    folder = photos(red=6, blue=6)
    (folder / "notes.txt").write_text("no image")
    with caplog.at_level("INFO", logger="regraft"):
        fitted = make().fit(folder)
    assert f"1 other files in {folder} are no images: ignored" in fitted.log_
    assert [record.getMessage() for record in caplog.records if record.name == "regraft"] == list(fitted.log_)


def test_the_plan_of_auto_names_arguments_as_they_are_given(
    make: Make, sixteen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither strategy fits into a minute: nothing is trained."""
    monkeypatch.setattr(auto, "PROVABLE", 0)  # the photos are told apart without fail
    monkeypatch.setattr(auto, "plan_auto", lambda *_, budget: AutoPlan({"top": 200.0, "whole": 2400.0}, budget))
    fitted = make(strategy="auto", budget=60).fit(sixteen, COLOURS)
    assert fitted.log_[-2:] == (
        "auto: top would take about 3.3 min: skipped, budget=240 lets it; whole would take about 40 min: skipped, "
        "budget=3000 lets it",
        "auto: the last layer alone is trained; training top and whole would take longer than budget",
    )
    record = fitted.classifier_.record
    assert record is not None
    assert [one.to_json() for one in record.over_budget] == [
        {"strategy": "top", "seconds": 200.0, "budget": "budget=240"},
        {"strategy": "whole", "seconds": 2400.0, "budget": "budget=3000"},
    ]


# --- evaluate_paired ---


def test_classifiers_in_any_form_are_compared(fitted: TransferClassifier, new: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    forms = {"fitted": fitted, "file": tmp_path / "m.safetensors", "classifier": fitted.classifier_}
    found = regraft.evaluate_paired(forms, new, batch_size=2)
    assert {name: report.accuracy for name, report in found.reports.items()} == dict.fromkeys(forms, 5 / 6)
    assert (found.trained_on, {pair.n for pair in found.pairs}) == (1, {6})
    listed = regraft.evaluate_paired([fitted, str(tmp_path / "m.safetensors")], str(new), positive="blue")
    assert list(listed.reports) == ["classifier 1", str(tmp_path / "m.safetensors")]
    assert {report.positive for report in listed.reports.values()} == {"blue"}


def test_mistakes_in_evaluate_paired(fitted: TransferClassifier, new: Path) -> None:
    mistakes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"classifiers": "m.safetensors"}, OptionError, "classifiers must be classifiers by name, or a list of files"),
        ({"classifiers": []}, OptionError, "classifiers must be two or more. Got none."),
        ({"level": 1}, TypeError, "evaluate_paired has no argument 'level'."),
        ({"threshold": 2}, OptionError, "threshold must be a probability"),
        ({"cost": "red:blue=3", "balance": True}, OptionError, "cost and balance exclude each other"),
        ({"classifiers": [fitted]}, OptionError, "classifiers must be two or more. Got classifier 1 alone."),
        ({"classifiers": [fitted, 3]}, OptionError, "classifier must be a fitted TransferClassifier, or the file of"),
        ({"seed": -1}, OptionError, "seed must be a whole number from 0. Got -1."),
        ({"split": "val"}, OptionError, "split must be one of train, validation, test. Got 'val'."),
        ({"near_duplicates": "no"}, OptionError, "near_duplicates must be one of join, ignore. Got 'no'"),
        ({"devic": "cpu"}, TypeError, "evaluate_paired has no argument 'devic'. Did you mean 'device'?"),
    ]
    for arguments, error, message in mistakes:
        with pytest.raises(error) as caught:
            regraft.evaluate_paired(**{"classifiers": {"a": fitted, "b": fitted}, "X": new, **arguments})
        assert message in str(caught.value)
