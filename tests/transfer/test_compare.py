"""Comparing: the same folds for all, rows and pairs as documented, and advice that the numbers support."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.data.dataset import Dataset, open_datasets
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer import budget
from regraft.transfer.compare import _distinct, compare
from regraft.transfer.comparison import Comparison
from regraft.transfer.cross_validation import CrossValidation, cross_validate
from regraft.transfer.settings import FitSettings

QUICK = FitSettings(schedule=Schedule(epochs=1, views=1, batch_size=8), force=True)
Photos = Callable[..., Path]


@pytest.mark.slow
def test_rows_and_pairs(photos: Photos, tiny_network: str, few_draws: None) -> None:
    """A row for each strategy, size and metric; each pair once, at the largest size."""
    samples = find_samples(photos(red=15, blue=15))["train"]
    found = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "top", "scratch"],
        sizes=[4, None],
        settings=QUICK,
        compute=Compute(),
    )
    _check_rows(found)
    _check_pairs(found)


def _check_rows(found: Comparison) -> None:
    metrics = {row.metric for row in found.rows}
    assert {"accuracy", "balanced_accuracy", "log_loss", "auc", "average_precision"} <= metrics
    cells = {(row.strategy, row.size) for row in found.rows}
    assert cells == {(s, size) for s in ("frozen", "top", "scratch") for size in (4, "all")}
    assert len(found.rows) == len(cells) * len(metrics)
    for row in found.rows:
        assert row.folds == 5
        assert row.n == 30
        assert row.low is None or row.low <= row.mean <= row.high or row.metric == "ece"
        assert row.seconds > 0


def _check_pairs(found: Comparison) -> None:
    pairs = {(pair.a, pair.b) for pair in found.pairs}
    assert pairs == {("top", "frozen"), ("scratch", "frozen"), ("scratch", "top")}
    mean = {row.strategy: row.mean for row in found.rows if row.metric == "accuracy" and row.size == "all"}
    for pair in found.pairs:
        if pair.metric == "accuracy":
            assert pair.difference == pytest.approx(mean[pair.a] - mean[pair.b])
            assert pair.n == 30


@pytest.mark.slow
def test_networks_that_share_a_run_are_each_trained_on_their_own(
    photos: Photos, tiny_network: str, other_network: str, few_draws: None, tmp_path: Path
) -> None:
    samples = find_samples(photos(red=15, blue=15))["train"]

    def log_losses(folder: Path | None) -> list[float]:
        loaders = {name: (lambda name=name: load_backbone(name)) for name in (tiny_network, other_network)}  # type: ignore[misc]
        found = compare(
            samples, loaders, strategies=["top"], sizes=[None], settings=QUICK, compute=Compute(), folder=folder
        )
        return [row.mean for row in found.rows if row.metric == "log_loss"]

    apart = log_losses(None)
    assert apart[0] != apart[1]
    assert log_losses(tmp_path / "run") == apart


def test_what_the_features_of_any_network_join_stays_in_one_fold_for_all(
    photos: Photos, tiny_network: str, other_network: str, few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, seen = iter([(0, 7), (3, 11)]), []

    def join(datasets: list[Dataset], *_: object) -> list[Dataset]:
        (dataset,), (first, second) = datasets, next(pairs)
        assert dataset.pictures is not None
        numbers = dataset.pictures.numbers.copy()
        numbers[second] = numbers[first]
        return [replace(dataset, pictures=replace(dataset.pictures, numbers=numbers), _folds={})]

    def heard(trainer: object, dataset: Dataset, folds: np.ndarray, **options: Any) -> CrossValidation:
        seen.append((dataset.groups, folds))
        return cross_validate(trainer, dataset, folds, **options)

    monkeypatch.setattr("regraft.transfer.preparation.join_parts_of_pictures", join)
    monkeypatch.setattr("regraft.transfer.compare.cross_validate", heard)
    compare(
        find_samples(photos(red=15, blue=15))["train"],
        {name: (lambda name=name: load_backbone(name)) for name in (tiny_network, other_network)},  # type: ignore[misc]
        strategies=["frozen"],
        sizes=[None],
        settings=FitSettings(force=True),
        compute=Compute(),
    )
    assert len(seen) == 2
    for groups, folds in seen:
        for values in (groups, folds):
            assert values[0] == values[7]
            assert values[3] == values[11]
        assert len(np.unique(groups)) == 28


def test_what_does_not_fit_into_the_budget_is_left_out_and_named(
    photos: Photos, tiny_network: str, few_draws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # private: the forecast of a tiny network would need minutes of training
    monkeypatch.setattr(budget, "_SECONDS_BEFORE_FORECAST", 0.0)
    samples = find_samples(photos(red=15, blue=15))["train"]
    found = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "whole"],
        sizes=[None],
        settings=FitSettings(schedule=Schedule(epochs=1, batch_size=8), force=True),  # views are kept for `top` alone
        compute=Compute(),
        budget=1e-6,
    )
    assert {row.strategy for row in found.rows} == {"frozen"}
    assert "frozen: 1 of 5 folds, for budget" in found.notes
    assert "whole: not one fold fits into budget; left out" in found.notes


def test_one_fold_without_a_temperature_has_no_figures_that_a_temperature_changes(
    photos: Photos, tiny_network: str, few_draws: None
) -> None:
    samples = find_samples(photos(red=15, blue=15))["train"]
    found = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "top"],
        sizes=[None],
        settings=QUICK,
        compute=Compute(),
        budget=1e-6,
    )
    assert {row.folds for row in found.rows} == {1}
    missing = {(row.strategy, row.metric): row.missing for row in found.rows if row.mean is None}
    assert missing == {("top", name): "not calibrated" for name in ("log_loss", "brier", "ece")}
    assert {pair.metric for pair in found.pairs} == {"accuracy", "balanced_accuracy", "auc", "average_precision"}
    assert (
        "top: a single fold has no others to set its temperature on; log loss, Brier score and calibration error are "
        "left out"
    ) in found.notes


def test_a_figure_that_the_answered_photos_do_not_define_is_left_out(
    photos: Photos, tiny_network: str, few_draws: None
) -> None:
    """Three red photos are in three of five folds: the fold that was reached may have none of them."""
    samples = find_samples(photos(red=3, blue=22))["train"]
    rare = samples.classes.index("red")
    seeds = (s for s in range(20) if rare not in samples.labels[folds_of(samples, s) == 0])
    found = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen", "top"],
        sizes=[None],
        settings=replace(QUICK, positive="red", seed=next(seeds)),
        compute=Compute(),
        budget=1e-6,
    )
    missing = {(row.strategy, row.metric) for row in found.rows if row.missing == "not defined"}
    assert missing == {(s, metric) for s in ("frozen", "top") for metric in ("auc", "average_precision")}
    assert {pair.metric for pair in found.pairs} == {"accuracy", "balanced_accuracy"}
    assert found.advice.startswith("Take ")
    assert "average precision" not in found.advice
    said = "AUC and average precision not defined: its photos are all of one class, or those of each fold"
    assert f"frozen: {said}" in found.notes
    json.dumps(found.to_json(), allow_nan=False)


def folds_of(samples: Samples, seed: int) -> np.ndarray:
    return open_datasets([samples], Observer())[0].folds(5, seed=seed)


@pytest.mark.slow
def test_more_than_a_fold_can_learn_from_is_said_to_be_what_it_is(
    photos: Photos, tiny_network: str, few_draws: None
) -> None:
    """Of 15 photos of each class, 3 are held out and 12 are learned from."""
    samples = find_samples(photos(red=15, blue=15))["train"]

    def told(*sizes: int | None) -> tuple[list[tuple[object, int]], list[str]]:
        network = {tiny_network: lambda: load_backbone(tiny_network)}
        settings = FitSettings(force=True)
        found = compare(samples, network, strategies=["frozen"], sizes=sizes, settings=settings, compute=Compute())
        return list(dict.fromkeys((row.size, row.learned_per_class) for row in found.rows)), found.notes

    capped = "sizes 15: folds learn from 12 photos of each class, as the others are held out"
    assert told(4, 11, 15) == ([(4, 4), (11, 11), (15, 12)], [capped])
    assert told(4, 15, 12, None) == ([(4, 4), ("all", 12)], ["sizes 15, 12: the same photos as all; done once"])
    assert told(14, 13, 13) == (
        [(13, 12)],
        ["sizes 14: the same photos as 13; done once", capped.replace("15", "13")],
    )


def test_the_largest_class_is_counted_by_the_mean_of_the_folds() -> None:
    """Folds of 2, 2, 2, 2 and 1 of nine photos, 1, 1, 0, 0 and 0 of two: learned from are 7, 7, 7, 7 and 8 of the one
    class, 7.2 on average, and 1, 1, 2, 2 and 2 of the other.
    """
    labels = np.array([0] * 9 + [1] * 2)
    folds = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 0, 1])
    learned, notes = _distinct([2, 7, 8, 9], labels, folds)
    assert learned == {2: 2, 7: 7, 8: 7}
    assert notes == [
        "sizes 9: the same photos as 8; done once",
        "sizes 8: folds learn from 7 photos of each class, as the others are held out",
    ]


@pytest.mark.parametrize(
    ("strategies", "sizes", "message"),
    [
        (["frozen", "melted"], [None], "strategies must be some of frozen, top, whole, scratch. Got melted."),
        (
            ["frozen"],
            [5, 16],
            "sizes must be photos of each class, from 2 to 15 (the largest class), or all.",
        ),
        (["frozen"], [1], "from 2 to 15 (the largest class), or all. Got 1."),
    ],
)
def test_mistakes_are_reported_before_any_work(
    photos: Photos, strategies: list[str], sizes: list[int | None], message: str
) -> None:
    samples = find_samples(photos(red=15, blue=15))["train"]
    unloaded = {"any": lambda: pytest.fail("the network was loaded")}
    with pytest.raises(OptionError) as caught:
        compare(samples, unloaded, strategies=strategies, sizes=sizes, settings=QUICK, compute=Compute())
    assert message in str(caught.value)


def test_an_option_that_no_strategy_uses_is_refused(photos: Photos) -> None:
    samples = find_samples(photos(red=5, blue=5))["train"]
    with pytest.raises(OptionError, match=r"^epochs and batch_size go with strategies top, whole or scratch\. Got "):
        compare(samples, {}, strategies=["frozen"], sizes=[None], settings=QUICK, compute=Compute())
