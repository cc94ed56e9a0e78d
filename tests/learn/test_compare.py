"""Comparing: the same folds for all, rows and pairs as documented, and advice that the numbers support."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.data.samples import find_samples
from regraft.errors import OptionError
from regraft.learn.compare import Comparison, advise, compare
from regraft.learn.schedule import Schedule
from regraft.learn.settings import Settings
from regraft.models.backbones import load_backbone

QUICK = Settings(schedule=Schedule(epochs=1, views=1, batch_size=8), force=True)
Photos = Callable[..., Path]


@pytest.fixture
def found(photos: Photos, tiny_network: str, few_draws: None) -> Comparison:
    samples = find_samples(photos(red=15, blue=15))["train"]
    return compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "top", "scratch"],
        sizes=[4, None],
        settings=QUICK,
    )


def test_there_is_a_row_for_each_strategy_size_and_metric(found: Comparison) -> None:
    metrics = {row["metric"] for row in found.rows}
    assert {"accuracy", "balanced_accuracy", "log_loss", "auc", "average_precision"} <= metrics
    cells = {(row["strategy"], row["size"]) for row in found.rows}
    assert cells == {(s, size) for s in ("frozen", "top", "scratch") for size in (4, "all")}
    assert len(found.rows) == len(cells) * len(metrics)
    for row in found.rows:
        assert row["folds"] == 5
        assert row["n"] == 30
        assert row["low"] is None or row["low"] <= row["mean"] <= row["high"] or row["metric"] == "ece"
        assert row["seconds"] > 0


def test_each_pair_is_compared_once_at_the_largest_size(found: Comparison) -> None:
    pairs = {(pair["a"], pair["b"]) for pair in found.pairs}
    assert pairs == {("top", "frozen"), ("scratch", "frozen"), ("scratch", "top")}
    mean = {row["strategy"]: row["mean"] for row in found.rows if row["metric"] == "accuracy" and row["size"] == "all"}
    for pair in found.pairs:
        if pair["metric"] == "accuracy":
            assert pair["difference"] == pytest.approx(mean[pair["a"]] - mean[pair["b"]])
            assert pair["n"] == 30


def test_networks_that_share_a_run_answer_each_for_itself(
    photos: Photos, tiny_network: str, other_network: str, few_draws: None, tmp_path: Path
) -> None:
    samples = find_samples(photos(red=15, blue=15))["train"]

    def log_losses(folder: Path | None) -> list[float]:
        loaders = {name: (lambda name=name: load_backbone(name)) for name in (tiny_network, other_network)}  # type: ignore[misc]
        found = compare(samples, loaders, strategies=["top"], sizes=[None], settings=QUICK, folder=folder)
        return [row["mean"] for row in found.rows if row["metric"] == "log_loss"]

    apart = log_losses(None)
    assert apart[0] != apart[1]
    assert log_losses(tmp_path / "run") == apart


def test_what_does_not_fit_into_the_budget_is_left_out_and_named(
    photos: Photos, tiny_network: str, few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.learn import comparison

    monkeypatch.setattr(comparison, "_SECONDS_BEFORE_FORECAST", 0.0)
    samples = find_samples(photos(red=15, blue=15))["train"]
    told = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "whole"],
        sizes=[None],
        settings=QUICK,
        budget=1e-6,
    )
    assert {row["strategy"] for row in told.rows} == {"frozen"}
    assert "frozen: 1 of 5 folds, for --budget" in told.notes
    assert "whole: not one fold fits into --budget; left out" in told.notes


@pytest.mark.parametrize(
    ("strategies", "sizes", "message"),
    [
        (["frozen", "melted"], [None], "--strategies must be some of frozen, top, whole, scratch. Got melted."),
        (
            ["frozen"],
            [5, 16],
            "--sizes must be photos of each class, from 2 to 15 (the largest class), or all.",
        ),
        (["frozen"], [1], "from 2 to 15 (the largest class), or all. Got 1."),
    ],
)
def test_mistakes_are_told_before_any_work(
    photos: Photos, strategies: list[str], sizes: list[int | None], message: str
) -> None:
    samples = find_samples(photos(red=15, blue=15))["train"]
    unloaded = {"any": lambda: pytest.fail("the network was loaded")}
    with pytest.raises(OptionError) as caught:
        compare(samples, unloaded, strategies=strategies, sizes=sizes, settings=QUICK)
    assert message in str(caught.value)


def pair(both: tuple[str, str], metric: str, value: float, half: float, verdict: str) -> dict[str, object]:
    a, b = both
    bounds = {"low": value - half, "high": value + half}
    return {"a": a, "b": b, "metric": metric, "difference": value, "verdict": verdict, "n": 9} | bounds


ROWS = [
    {"metric": "accuracy", "mean": 0.931, "low": 0.919, "high": 0.943},
    {"metric": "balanced_accuracy", "mean": 0.93, "low": 0.92, "high": 0.94},
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


def test_a_gain_in_one_figure_and_a_loss_in_another_decide_nothing() -> None:
    pairs = [
        pair(("top", "frozen"), "accuracy", 0.02, 0.01, "better"),
        pair(("top", "frozen"), "balanced_accuracy", -0.02, 0.01, "worse"),
    ]
    assert advise(ROWS, pairs, ["frozen", "top"], 3).startswith("Take frozen")
