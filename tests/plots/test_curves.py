"""Curves on axes: points, bands and ticks where the values say, and a look of its own for each curve."""

from itertools import combinations, islice

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regraft.plots.curves import COLOURS, draw_curves, grid_lines, percent_label, percent_ticks, styles

# linear RGB as deuteranopes and protanopes see it (Machado, Oliveira and Fernandes 2009, severity 1)
VISION = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of sRGB


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear RGB, white D65."""
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_distinct(vision: str) -> None:
    """A difference of 2 is just noticeable side by side; lines need many times that."""
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_seen_on_white_and_on_black(colour: str) -> None:
    """WCAG 2.1 asks for a contrast of 3 in graphics; the orange on white has 2.96."""
    luminance = float(TO_XYZ[1] @ linear(colour))
    assert min(1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05) > 2.9


def test_more_curves_than_colours_are_dashed() -> None:
    found = list(islice(styles(), 2 * len(COLOURS) + 1))
    assert len(set(found)) == len(found)
    assert found[0] == (COLOURS[0], "-")
    assert found[len(COLOURS)] == (COLOURS[0], "--")


def test_points_are_in_order_and_a_band_spans_the_known_intervals(axes: Axes) -> None:
    draw_curves(axes, {"a": [(9, 0.5, (0.4, 0.6)), (1, 0.2, (0.1, 0.3)), (4, 0.3, None)]}, x_label="x", y_label="y")
    (line,), (band,) = axes.lines, axes.collections
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 4, 9], [0.2, 0.3, 0.5])
    assert line.get_label() == "a"
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 0.1), (1, 0.3), (9, 0.4), (9, 0.6)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")


def test_a_single_interval_is_an_upright_line(axes: Axes) -> None:
    draw_curves(axes, {"a": [(1, 0.2, None), (4, 0.3, (0.25, 0.4))], "b": [(1, 0.5, None)]}, x_label="x", y_label="y")
    (interval,) = axes.collections
    assert interval.get_segments()[0].tolist() == [[4, 0.25], [4, 0.4]]


def test_ticks_of_a_logarithmic_axis_are_the_values(axes: Axes) -> None:
    curves = {"a": [(5, 0.5, None), (1234, 0.6, None)], "b": [(50, 0.5, None)]}
    draw_curves(axes, curves, x_label="x", y_label="y", logarithmic=True)
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "50", "1,234"]
    assert len(axes.get_xticks(minor=True)) == 0


def test_named_places(axes: Axes) -> None:
    draw_curves(axes, {"a": [(0, 0.5, None), (1, 0.6, None)]}, x_label="x", y_label="y", names=["conv1", "layer1"])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["conv1", "layer1"]


@pytest.mark.parametrize(
    ("ends", "labels"),
    [
        ((0.0, 1.0), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
        ((0.62, 0.71), [f"{n} %" for n in range(62, 72)]),
        ((0.9985, 0.9999), ["99.86 %", "99.88 %", "99.90 %", "99.92 %", "99.94 %", "99.96 %", "99.98 %"]),
    ],
)
def test_percent_ticks_are_round_and_say_where_they_stand(
    axes: Axes, ends: tuple[float, float], labels: list[str]
) -> None:
    axes.set_ylim(*ends)
    percent_ticks(axes.yaxis)
    assert [
        tick.get_text() for tick in axes.get_yticklabels() if ends[0] <= tick.get_position()[1] <= ends[1]
    ] == labels


@pytest.mark.parametrize("low", [0.0, 0.31, 0.7, 0.888, 0.99, 0.9985])
@pytest.mark.parametrize("inches", [1.0, 2.0, 4.6, 9.0])
def test_no_tick_is_rounded(low: float, inches: float) -> None:
    axes = Figure(figsize=(7.2, inches)).add_subplot()
    axes.set_ylim(low, 1.0)
    percent_ticks(axes.yaxis)
    ticks = axes.get_yticklabels()
    assert len(ticks) > 1
    for tick in ticks:
        assert float(tick.get_text().removesuffix(" %")) == pytest.approx(100 * tick.get_position()[1], abs=1e-7)


@pytest.mark.parametrize(
    ("value", "ticks", "label"),
    [
        (0.725, (), "72.5 %"),
        (0.75, (0.7, 0.725, 0.75), "75.0 %"),  # as many decimals as its neighbours
        (0.1 + 0.2, (), "30 %"),  # 0.30000000000000004
        (-1e-18, (), "0 %"),
        (1.0, (), "100 %"),
        (0.99875, (), "99.875 %"),
    ],
)
def test_percent(value: float, ticks: tuple[float, ...], label: str) -> None:
    assert percent_label(value, ticks) == label


@pytest.mark.parametrize(("along", "shown"), [("y", [False, True]), ("x", [True, False])])
def test_grid_of_one_axis(axes: Axes, along: str, shown: list[bool]) -> None:
    grid_lines(axes, along=along)
    assert [axis.get_gridlines()[0].get_visible() for axis in (axes.xaxis, axes.yaxis)] == shown
    sides = ("left", "bottom", "top", "right")
    assert [axes.spines[side].get_visible() for side in sides] == [True, True, False, False]
