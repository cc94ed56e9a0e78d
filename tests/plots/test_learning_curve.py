"""The learning curve: each point stands where it was learned."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from regraft.plots.learning_curve import draw_learning_curve


def test_a_point_stands_at_the_photos_that_were_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 photos of each class 24 are learned from: the point of `--sizes 30` is not to the right of that of all."""
    monkeypatch.setattr(plt, "close", lambda _: None)
    common = {"model": "net", "metric": "accuracy", "low": None, "high": None}
    rows = [
        {**common, "strategy": "frozen", "size": 30, "learned_per_class": 24, "mean": 0.8},
        {**common, "strategy": "frozen", "size": 4, "learned_per_class": 4, "mean": 0.6},
        {**common, "strategy": "top", "size": "all", "learned_per_class": 24, "mean": 0.7},
    ]
    draw_learning_curve(rows, tmp_path / "curve.png", metric="accuracy")
    figure = plt.gcf()
    monkeypatch.undo()
    frozen, top = figure.axes[0].lines
    plt.close(figure)
    assert (list(frozen.get_xdata()), list(frozen.get_ydata())) == ([4, 24], [0.6, 0.8])
    assert list(top.get_xdata()) == [24]


def test_of_one_size_the_strategies_stand_below_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "close", lambda _: None)
    common = {"model": "net", "metric": "accuracy", "size": "all", "learned_per_class": 24}
    rows = [
        {**common, "strategy": "frozen", "mean": 0.8, "low": 0.7, "high": 0.9},
        {**common, "strategy": "scratch", "mean": 0.6, "low": None, "high": None},
    ]
    draw_learning_curve(rows, tmp_path / "curve.png", metric="accuracy")
    figure = plt.gcf()
    monkeypatch.undo()
    axes = figure.axes[0]
    plt.close(figure)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["frozen", "scratch"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] == [([0.8], [0]), ([0.6], [1])]
    assert axes.yaxis_inverted()  # the first one stands above
    assert axes.get_xlabel() == "accuracy, with 95 % interval; 24 photos per class"
    (interval,) = axes.collections
    assert interval.get_segments()[0].tolist() == [[0.7, 0.0], [0.9, 0.0]]
