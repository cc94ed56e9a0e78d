"""Advice: what is taken of the things compared, as far as the paired differences support it."""

from dataclasses import replace
from typing import Any

from regraft.transfer.comparison import Comparison, ComparisonRow, PairedDifference, advise


def row(metric: str, mean: float | None, low: float | None, high: float | None, **others: Any) -> ComparisonRow:
    """Return a figure of 9 photos, of the last layer alone unless `others` say otherwise."""
    about: dict[str, Any] = {"model": "A", "strategy": "frozen", "size": "all", "learned_per_class": 4}
    about |= {"missing": None if mean is not None else "not defined", "n": 9, "seconds": 2.0, "folds": 5}
    about |= {"images_per_second": 4.0}
    return ComparisonRow(metric=metric, mean=mean, low=low, high=high, **(about | others))


def pair(both: tuple[str, str], metric: str, value: float, half: float, verdict: str) -> PairedDifference:
    """Return a difference; log loss decides."""
    a, b = both
    decides, p = metric == "log_loss", 0.2 if verdict == "not proven" else 0.0104
    return PairedDifference(a, b, metric, value, value - half, value + half, verdict, 9, p, p, decides)


ROWS = [
    row("accuracy", 0.931, 0.919, 0.943),
    row("balanced_accuracy", 0.93, 0.92, 0.94),
    row("log_loss", 0.2, 0.18, 0.22),
]


def test_a_gain_that_is_not_proven_is_not_worth_it() -> None:
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.004, 0.009, "not proven"),
        pair(("top", "frozen"), "balanced_accuracy", 0.003, 0.009, "not proven"),
        pair(("top", "frozen"), "log_loss", -0.01, 0.03, "not proven"),
    ]
    assert advise(ROWS, pairs, ["frozen", "top"], 3) == (
        "Take frozen: more training is not proven to help. Log loss decides, at 5 %; other figures describe. "
        "frozen: log loss 0.200 [0.180, 0.220], accuracy 0.931 [0.919, 0.943], balanced accuracy 0.930 "
        "[0.920, 0.940]; top: log loss -0.010 [-0.040, +0.020], not proven (p = 0.2), accuracy +0.004 "
        "[-0.005, +0.013], balanced accuracy +0.003 [-0.006, +0.012]."
    )


def test_a_proven_gain_is_taken_the_cheapest_first() -> None:
    pairs = [
        pair(("top", "frozen"), "log_loss", -0.05, 0.01, "better"),
        pair(("whole", "frozen"), "log_loss", -0.051, 0.01, "better"),
        pair(("whole", "top"), "log_loss", -0.001, 0.01, "not proven"),
    ]
    text = advise(ROWS, pairs, ["frozen", "top", "whole"], 3)
    assert text.startswith(
        "Take top. Log loss decides, at 5 % over all 3 comparisons together (Holm: each p is corrected for them); "
        "other figures describe. frozen: "
    )
    assert "top: log loss -0.050 [-0.060, -0.040], proven better (p = 0.01)" in text


def test_between_networks_that_were_not_trained_more_nothing_is_said_of_that() -> None:
    pairs = [pair(("B frozen", "A frozen"), "log_loss", 0.004, 0.009, "not proven")]
    names = ["A frozen", "B frozen"]
    assert advise(ROWS, pairs, names, 3, networks=["A", "B"]).startswith("Take A frozen. Log loss decides")
    pairs += [pair(("A top", name), "log_loss", 0.0, 0.01, "not proven") for name in names]
    text = advise(ROWS, pairs, [*names, "A top"], 3, networks=["A", "B", "A"])
    assert text.startswith("Take A frozen: more training is not proven to help. ")
    text = advise(ROWS, pairs, [*names, "B top"], 3, networks=["A", "B", "B"])
    assert text.startswith("Take A frozen. ")


def test_where_log_loss_is_missing_accuracy_decides_and_what_is_missing_is_not_named() -> None:
    rows = [ROWS[0], row("average_precision", None, None, None)]
    pairs = [replace(pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better"), decides=True)]
    assert advise(rows, pairs, ["frozen", "top"], 2) == (
        "Take top. Accuracy decides (not all probabilities are calibrated), at 5 %; other figures describe. "
        "frozen: accuracy 0.931 [0.919, 0.943]; top: accuracy +0.020 [+0.010, +0.030], proven better (p = 0.01)."
    )


def test_what_does_not_decide_is_no_proof() -> None:
    """Three figures would be three chances to be wrong."""
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better"),
        pair(("top", "frozen"), "balanced_accuracy", 0.02, 0.01, "better"),
        pair(("top", "frozen"), "log_loss", -0.02, 0.03, "not proven"),
    ]
    assert advise(ROWS, pairs, ["frozen", "top"], 3).startswith("Take frozen")


def test_one_alone_is_taken_and_nothing_is_decided() -> None:
    assert advise(ROWS, [], ["frozen"], 3) == (
        "Take frozen. frozen: accuracy 0.931 [0.919, 0.943], balanced accuracy 0.930 [0.920, 0.940]."
    )


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


def test_below_all_accuracies_stands_that_of_the_largest_class() -> None:
    lines = Comparison(ROWS, [], "", classes=3, majority_share=0.4).table().splitlines()
    assert lines[-1].startswith("always the largest class")
    assert lines[-1].index("0.400") == lines[0].index("accuracy") == lines[1].index("0.931")
