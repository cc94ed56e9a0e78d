"""Several classifiers on the same photos: those that none has seen, the same order of classes, and verdicts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import evaluate
from regraft.classifier.paired_evaluation import evaluate_paired
from regraft.data.layouts import find_samples
from regraft.errors import DataError, OptionError
from regraft.evaluation.goals import DecisionRequest
from regraft.transfer.fit import FitResult

Photos = Callable[..., Path]


def with_classes(classifier: Classifier, order: list[int]) -> Classifier:
    """Return the same classifier with its classes in another order."""
    head = replace(classifier.head, weight=classifier.head.weight[order], bias=classifier.head.bias[order])
    return replace(classifier, head=head, classes=tuple(classifier.classes[k] for k in order), seen={})


def confused(classifier: Classifier) -> Classifier:
    """Return one that takes blue photos (its first class) for green ones, and has seen none."""
    shift = np.zeros_like(classifier.head.bias)
    shift[0] = -1000.0
    return replace(classifier, head=replace(classifier.head, bias=classifier.head.bias + shift), seen={})


def test_the_order_of_classes_makes_no_difference(trained: FitResult, photos: Photos) -> None:
    new = find_samples(photos("new", first_seed=500, red=3, green=2, blue=4))["train"]
    other = with_classes(trained.classifier, [2, 0, 1])
    found = evaluate_paired({"one": trained.classifier, "other": other}, new)
    assert found.reports["one"].classes == found.reports["other"].classes == ("blue", "green", "red")
    assert found.reports["other"].confusion == found.reports["one"].confusion
    alone = evaluate(trained.classifier, new).report
    assert alone is not None
    assert found.reports["one"].figures == alone.figures
    assert found.reports["one"].intervals == alone.intervals
    assert [pair.difference for pair in found.pairs] == pytest.approx([0.0] * len(found.pairs), abs=1e-7)
    assert {pair.verdict for pair in found.pairs} == {"not proven"}


def test_who_is_right_alone_is_counted(trained: FitResult, photos: Photos) -> None:
    """All seven blue photos are answered rightly by the one alone: 2 / 2^7 by McNemar's test."""
    new = find_samples(photos("new", first_seed=500, red=3, green=2, blue=7))["train"]
    found = evaluate_paired({"a": trained.classifier, "b": confused(trained.classifier)}, new)
    (accuracy,) = (pair for pair in found.pairs if pair.metric == "accuracy")
    assert (accuracy.a, accuracy.b, accuracy.n) == ("b", "a", 12)
    assert (accuracy.only_a, accuracy.only_b, accuracy.verdict) == (0, 7, "worse")
    assert accuracy.difference == pytest.approx(-7 / 12)
    assert accuracy.p_value == pytest.approx(2 / 128)
    text = str(found)
    assert text.splitlines()[0] == "test, n = 12, 3 classes; 95 % intervals in brackets"
    assert "\nLog loss decides, at 5 %; other figures describe.\n\nb against a:\n  log loss +" in text
    assert "; right alone: 0 against 7 photos" in text
    # of 12 photos 7 are blue; b answers none of them so
    assert ["always", "the", "largest", "class", "0.583"] in [line.split() for line in text.splitlines()]
    assert "\nb: never answered: blue\n" in text
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (told["n"], told["classes"], told["estimate"]) == (12, ["blue", "green", "red"], "test")
    assert [one["classifier"] for one in told["classifiers"]] == ["a", "b"]
    assert [one["accuracy"] for one in told["classifiers"]] == [1.0, 5 / 12]
    assert {"a", "b", "metric", "difference", "low", "high", "p_value", "p_corrected"} <= set(told["pairs"][0])


def test_each_answers_by_its_own_rule(trained: FitResult, photos: Photos) -> None:
    """Costs under which red is always answered, by the class's name in either order."""
    new = find_samples(photos("new", first_seed=500, red=3, green=2, blue=7))["train"]
    for order in ([0, 1, 2], [2, 0, 1]):
        always_red = with_classes(trained.classifier, order)
        always_red.decide_by(DecisionRequest(cost="red:blue=1000000,red:green=1000000"))
        found = evaluate_paired({"a": trained.classifier, "b": always_red}, new)
        assert found.reports["b"].confusion == [[0, 0, 7], [0, 0, 2], [0, 0, 3]]
        decided = "cost red:blue=1000000,red:green=1000000: the class whose mistakes are expected to cost least"
        assert found.reports["b"].decided_by == decided
        assert f"\nb: decided by {decided}\n" in str(found)
        assert "a: decided by" not in str(found)
        (accuracy,) = (pair for pair in found.pairs if pair.metric == "accuracy")
        assert (accuracy.only_a, accuracy.only_b) == (0, 9)


def test_what_any_was_trained_on_is_left_out_for_all(
    trained: FitResult, photos: Photos, tmp_path: Path, listener: Any
) -> None:
    new = photos("new", first_seed=500, red=3, green=2, blue=3)
    for number in (1, 4):
        shutil.copy(tmp_path / "known" / "train" / "blue" / f"{number}.jpg", new / "blue" / f"known{number}.jpg")
    for order in (("a", "b"), ("b", "a")):  # whichever it was that has seen them
        given = {"a": trained.classifier, "b": confused(trained.classifier)}
        found = evaluate_paired({name: given[name] for name in order}, find_samples(new)["train"], observer=listener)
        assert [report.n for report in found.reports.values()] == [8, 8]
        assert found.trained_on == 2
        assert str(found).endswith("left out, as one of the classifiers was trained on them: 2")
    assert listener.said == [
        f"2 of 10 photos in {new} were trained on by at least one classifier and are left out of the evaluation:\n"
        f"  {new / 'blue' / 'known1.jpg'}\n  {new / 'blue' / 'known4.jpg'}"
    ] * 2  # fmt: skip


def test_photos_that_evaluated_one_are_validation(trained: FitResult, tmp_path: Path) -> None:
    samples = find_samples(tmp_path / "known" / "validation")["train"]
    found = evaluate_paired({"b": confused(trained.classifier), "a": trained.classifier}, samples)
    # the one that has seen nothing answers photos of a test
    assert {name: report.estimate for name, report in found.reports.items()} == {"b": "test", "a": "validation"}
    assert str(found).startswith("test and validation, n = 6, 3 classes")
    assert {report.n for report in found.reports.values()} == {6}


def test_unreadable_photos_are_left_out_for_all(trained: FitResult, photos: Photos) -> None:
    new = photos("new", first_seed=500, red=6, green=5, blue=6)
    (new / "blue" / "bad.jpg").write_bytes(b"nothing")
    found = evaluate_paired({"a": trained.classifier, "b": confused(trained.classifier)}, find_samples(new)["train"])
    assert found.unreadable == (str(new / "blue" / "bad.jpg"),)
    assert [report.n for report in found.reports.values()] == [17, 17]
    assert str(found).endswith(f"left out, as they cannot be read: 1\n  {new / 'blue' / 'bad.jpg'}")


def test_of_three_all_pairs_are_compared(trained: FitResult, photos: Photos) -> None:
    new = find_samples(photos("new", first_seed=500, red=3, green=2, blue=7))["train"]
    one = trained.classifier
    found = evaluate_paired({"a": one, "b": confused(one), "c": replace(one, temperature=3.0)}, new)
    assert list(dict.fromkeys((pair.a, pair.b) for pair in found.pairs)) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert "over all 3 comparisons together" in str(found)


def test_mistakes(trained: FitResult, photos: Photos, tmp_path: Path) -> None:
    new = find_samples(photos("new", first_seed=500, red=2, green=2))["train"]
    one = trained.classifier
    with pytest.raises(OptionError) as caught:
        evaluate_paired({"a": one, "b": replace(one, classes=("blue", "green", "pink"))}, new)
    assert str(caught.value) == (
        "a and b cannot be compared, as their classes differ: a alone knows red; b alone knows pink. Evaluate each by "
        "itself, or fit both on the same classes."
    )
    with pytest.raises(OptionError, match=r"^classifiers must be two or more\. Got a alone\.$"):
        evaluate_paired({"a": one}, new)
    known = tmp_path / "known" / "train"
    with pytest.raises(DataError) as refused:
        evaluate_paired({"a": confused(one), "b": one}, find_samples(known)["train"])
    assert str(refused.value).startswith(
        f"{known}: on each of these 18 photos at least one of the classifiers was trained, so that they cannot"
    )
