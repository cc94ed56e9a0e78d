"""Horizontal bars with their values written beside them: one picture for each benchmark."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

_WIDTH, _DOTS_PER_INCH = 8.3, 110  # as wide as a README is shown
_LETTERS = 9.0  # points
_BAR, _GAP, _HEADING, _TOP, _BOTTOM, _EDGE, _MARGIN = 0.24, 0.14, 0.28, 0.5, 0.3, 0.1, 0.06  # inches
_INK, _QUIET, _PLAIN, _OURS, _BOUND = "#1f2328", "#59636e", "#c3cad2", "#0f766e", "#99c9c3"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: before it.
        value: its length, in the same unit for all bars of a column.
        text: behind it.
        kind: "ours", "bound" or "other", which sets its colour.
        spread: lowest and highest value, drawn as a thin line.
    """

    label: str
    value: float
    text: str
    kind: str = "other"
    spread: tuple[float, float] | None = None


@dataclass(frozen=True)
class Group:
    """Bars under one heading."""

    heading: str
    bars: Sequence[Bar]


def draw(path: Path, title: str, columns: Sequence[Sequence[Group]], *, footnote: str = "") -> None:
    """Write a PNG of one or more columns of groups of bars; each column has a scale of its own, from 0."""
    height = max(sum(_HEADING + len(group.bars) * _BAR + _GAP for group in groups) for groups in columns)
    whole = _TOP + height + _BOTTOM
    figure = Figure(figsize=(_WIDTH, whole), dpi=_DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(_EDGE / _WIDTH, 1 - _TOP / 2 / whole, title, fontsize=12.5, fontweight="bold", color=_INK, va="center")
    figure.text(_EDGE / _WIDTH, 0.15 / whole, footnote, fontsize=7.5, color=_QUIET, va="center")
    width = _WIDTH / len(columns)
    for number, groups in enumerate(columns):
        bars = [bar for group in groups for bar in group.bars]
        left = _EDGE + max(_inches(figure, bar.label) for bar in bars) + _MARGIN
        room = (width - left - _EDGE) / _WIDTH
        axes = figure.add_axes(((number * width + left) / _WIDTH, _BOTTOM / whole, room, height / whole))
        axes.set_axis_off()
        axes.set_ylim(height, 0)
        axes.set_xlim(0, _scale(figure, bars, width - left - _EDGE))
        _column(axes, groups)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    Image.open(picture).convert("RGB").quantize(64).save(path, optimize=True)  # a quarter of the size, looks the same


def _inches(figure: Figure, text: str) -> float:
    """Return how wide a label is, in bold."""
    label = figure.text(0, 0, text, fontsize=_LETTERS, fontweight="bold")
    width = label.get_window_extent().width / _DOTS_PER_INCH
    label.remove()
    return float(width)


def _scale(figure: Figure, bars: Sequence[Bar], width: float) -> float:
    """Return the value at the right end of an axis `width` inches wide, so that every bar's text has room."""
    return max(_end(bar) * width / (width - _inches(figure, bar.text) - 2 * _MARGIN) for bar in bars)


def _end(bar: Bar) -> float:
    return max(bar.value, bar.spread[1] if bar.spread else 0.0)


def _column(axes: Axes, groups: Sequence[Group]) -> None:
    place = 0.0
    for group in groups:
        axes.text(0, place + _HEADING / 2, group.heading, fontsize=_LETTERS, fontweight="bold", color=_INK, va="center")
        place += _HEADING
        for bar in group.bars:
            _draw_bar(axes, bar, place + _BAR / 2)
            place += _BAR
        place += _GAP


def _draw_bar(axes: Axes, bar: Bar, place: float) -> None:
    colour = {"ours": _OURS, "bound": _BOUND}.get(bar.kind, _PLAIN)
    weight = "bold" if bar.kind == "ours" else "normal"
    margin = _MARGIN * axes.get_xlim()[1] / (axes.get_position().width * _WIDTH)
    axes.barh(place, bar.value, height=0.78 * _BAR, color=colour)
    if bar.spread and bar.spread[1] > bar.spread[0]:
        axes.plot(bar.spread, (place, place), color=_INK, linewidth=0.8, solid_capstyle="butt")
    axes.text(-margin, place, bar.label, fontsize=_LETTERS, color=_INK, fontweight=weight, va="center", ha="right")
    axes.text(_end(bar) + margin, place, bar.text, fontsize=_LETTERS, color=_INK, fontweight=weight, va="center")
