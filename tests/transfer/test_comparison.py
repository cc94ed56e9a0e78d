"""Advice: what is taken of the things compared, as far as the paired differences support it."""

from typing import Any

from regraft.transfer.comparison import Comparison, ComparisonRow, PairedDifference, advise


def row(metric: str, mean: float | None, low: float | None, high: float | None, **others: Any) -> ComparisonRow:
    """Return a figure of 9 photos, of the last layer alone unless `others` say otherwise."""
    about: dict[str, Any] = {"model": "A", "strategy": "frozen", "size": "all", "learned_per_class": 4}
    about |= {"missing": None if mean is not None else "not defined", "n": 9, "seconds": 2.0, "folds": 5}
    about |= {"images_per_second": 4.0}
    return ComparisonRow(metric=metric, mean=mean, low=low, high=high, **(about | others))


def pair(both: tuple[str, str], metric: str, value: float, half: float, verdict: str) -> PairedDifference:
    a, b = both
    return PairedDifference(a, b, metric, value, value - half, value + half, verdict, 9)


ROWS = [
    row("accuracy", 0.931, 0.919, 0.943),
    row("balanced_accuracy", 0.93, 0.92, 0.94),
]


def test_a_gain_that_is_not_proven_is_not_worth_it() -> None:
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.004, 0.009, "not proven"),
        pair(("top", "frozen"), "balanced_accuracy", 0.003, 0.009, "not proven"),
    ]
    assert advise(ROWS, pairs, ["frozen", "top"], 3) == (
        "Take frozen: more training is not worth it. frozen: accuracy 0.931 [0.919, 0.943], balanced accuracy 0.930 "
        "[0.920, 0.940]; top: accuracy +0.004 [-0.005, +0.013], not proven, balanced accuracy +0.003 [-0.006, +0.012], "
        "not proven."
    )


def test_a_proven_gain_is_taken_the_cheapest_first() -> None:
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better"),
        pair(("top", "frozen"), "balanced_accuracy", 0.02, 0.01, "better"),
        pair(("whole", "frozen"), "accuracy", 0.021, 0.01, "better"),
        pair(("whole", "frozen"), "balanced_accuracy", 0.02, 0.01, "better"),
        pair(("whole", "top"), "accuracy", 0.001, 0.01, "not proven"),
        pair(("whole", "top"), "balanced_accuracy", 0.0, 0.01, "not proven"),
    ]
    text = advise(ROWS, pairs, ["frozen", "top", "whole"], 3)
    assert text.startswith("Take top. ")
    assert "top: accuracy +0.020 [+0.010, +0.030], proven" in text


def test_between_networks_that_were_not_trained_more_nothing_is_said_of_that() -> None:
    pairs = [
        pair(("B frozen", "A frozen"), "accuracy", 0.004, 0.009, "not proven"),
        pair(("B frozen", "A frozen"), "balanced_accuracy", 0.003, 0.009, "not proven"),
    ]
    names = ["A frozen", "B frozen"]
    assert advise(ROWS, pairs, names, 3, networks=["A", "B"]).startswith("Take A frozen. A frozen: accuracy 0.931")
    pairs += [pair(("A top", name), "accuracy", 0.0, 0.01, "not proven") for name in names]
    text = advise(ROWS, pairs, [*names, "A top"], 3, networks=["A", "B", "A"])
    assert text.startswith("Take A frozen: more training is not worth it. ")
    text = advise(ROWS, pairs, [*names, "B top"], 3, networks=["A", "B", "B"])
    assert text.startswith("Take A frozen. ")


def test_a_metric_that_is_missing_has_no_say_and_is_not_named() -> None:
    rows = [ROWS[0], row("average_precision", None, None, None)]
    pairs = [pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better")]
    assert advise(rows, pairs, ["frozen", "top"], 2) == (
        "Take top. frozen: accuracy 0.931 [0.919, 0.943]; top: accuracy +0.020 [+0.010, +0.030], proven."
    )


def test_a_gain_in_one_figure_and_a_loss_in_another_decide_nothing() -> None:
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better"),
        pair(("top", "frozen"), "balanced_accuracy", -0.02, 0.01, "worse"),
    ]
    assert advise(ROWS, pairs, ["frozen", "top"], 3).startswith("Take frozen")


def test_a_comparison_is_plain_json_and_an_aligned_table() -> None:
    rows = [
        row("accuracy", 0.9, 0.85, 0.95),
        row("balanced_accuracy", 0.8, None, None),
        row("log_loss", None, None, None, missing="not calibrated"),
        row("accuracy", 0.5, None, None, strategy="scratch", size=6, images_per_second=None),
        row("balanced_accuracy", 0.5, None, None, strategy="scratch", size=6),
        row("log_loss", 1.0, None, None, strategy="scratch", size=6),
    ]
    found = Comparison(rows, [pair(("scratch", "frozen"), "accuracy", -0.4, 0.1, "worse")], "Take frozen.", classes=3)
    assert found.to_json()["rows"][2] == {
        "model": "A",
        "strategy": "frozen",
        "size": "all",
        "learned_per_class": 4,
        "metric": "log_loss",
        "mean": None,
        "low": None,
        "high": None,
        "missing": "not calibrated",
        "n": 9,
        "seconds": 2.0,
        "images_per_second": 4.0,
        "folds": 5,
    }
    (difference,) = found.to_json()["pairs"]
    assert (difference["a"], difference["b"], difference["difference"]) == ("scratch", "frozen", -0.4)
    assert found.table().splitlines() == [
        "strategy  photos/class  accuracy              balanced accuracy  log loss        folds  seconds  images/s",
        "frozen    all (4)       0.900 [0.850, 0.950]  0.800              not calibrated  5      2.0      4",
        "scratch   6 (4)         0.500                 0.500              1.000           5      2.0",
    ]
