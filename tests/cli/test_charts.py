"""The learning curve: each point stands where it was learned."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from regraft.cli.charts import draw_learning_curve


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
