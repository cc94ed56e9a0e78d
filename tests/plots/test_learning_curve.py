"""The learning curve: each point is where it was learned, and every name can be drawn."""

from pathlib import Path

import pytest
from PIL import Image

from regraft.errors import OutputError
from regraft.plots.curves import COLOURS
from regraft.plots.learning_curve import draw_learning_curve, learning_curve


def test_of_several_sizes_there_are_lines() -> None:
    curves = {"frozen": [(24, 0.8, (0.7, 0.9)), (4, 0.6, None)], "top": [(24, 0.7, None)]}
    (axes,) = learning_curve(curves, metric="accuracy").axes
    frozen, top = axes.lines
    assert (list(frozen.get_xdata()), list(frozen.get_ydata())) == ([4, 24], [0.6, 0.8])
    assert list(top.get_xdata()) == [24]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["frozen", "top"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "24"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("labelled photos per class", "accuracy, with 95 % interval")


def test_of_one_size_the_strategies_stand_below_each_other() -> None:
    curves = {"frozen": [(24, 0.8, (0.7, 0.9))], "scratch": [(24, 0.6, None)]}
    (axes,) = learning_curve(curves, metric="accuracy").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["frozen", "scratch"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] == [([0.8], [0]), ([0.6], [1])]
    assert [line.get_color() for line in axes.lines] == list(COLOURS[:2])
    assert [text.get_text() for text in axes.texts] == ["80.0 %", "60.0 %"]
    assert axes.yaxis_inverted()  # the first one stands above
    assert axes.get_xlabel() == "accuracy, with 95 % interval; 24 photos per class"
    (interval,) = axes.collections
    assert interval.get_segments()[0].tolist() == [[0.7, 0.0], [0.9, 0.0]]


@pytest.mark.parametrize("sizes", [[4], [4, 24], []])
def test_a_png_of_any_names(tmp_path: Path, sizes: list[int]) -> None:
    """Formulas that are none, and letters that the font lacks."""
    curves = {name: [(size, 0.8, (0.7, 0.9)) for size in sizes] for name in (r"$\nonsense{$", "猫")}
    draw_learning_curve(curves, tmp_path / "curve.png", metric="accuracy")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 7.2 * 160
        assert len(set(picture.convert("L").tobytes())) > 20  # something is drawn


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml"), ("a.jpg", b"\xff\xd8"), ("a", b"\x89PNG")],
)
def test_the_suffix_decides_the_format(tmp_path: Path, name: str, start: bytes) -> None:
    draw_learning_curve({"frozen": [(4, 0.8, (0.7, 0.9))]}, tmp_path / name, metric="accuracy")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        draw_learning_curve({"frozen": [(4, 0.8, None)]}, tmp_path / "missing" / "curve.png", metric="accuracy")
