"""Charts as SVG that takes on the font and the text colour of its page, light or dark."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from regraft.evaluation.figures import ReliabilityBin
from regraft.plots.curves import BAND, COLOURS, Curves, draw_curves, grid_lines, percent_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#123456"  # stands for the page's own colour until the picture is in it
_SIZE = (6.4, 3.8)  # inches; the page scales it
_BELOW = 0.25  # of the axis of net benefit, relative to what is above 0


def curve_chart(
    curves: Curves,
    *,
    x_label: str,
    y_label: str,
    names: Sequence[str] = (),
    logarithmic: bool = False,
) -> str:
    """Return an SVG of lines with their 95 % bands.

    Args:
        curves: the points of each.
        x_label: of the axis.
        y_label: of the axis.
        names: of the x values 0, 1, 2 ...; none for numbers.
        logarithmic: whether the x axis is.
    """

    def draw(axes: "Axes") -> None:
        draw_curves(axes, curves, x_label=x_label, y_label=y_label, names=names, logarithmic=logarithmic)
        if len(curves) > 1:
            axes.legend(frameon=False, loc="best")

    return _svg(draw)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Return an SVG of accuracy against confidence, with intervals, and the line on which both are equal."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--", alpha=0.5, label="perfect calibration")
        for one in bins:
            if one.interval is not None:
                axes.vlines(one.confidence, *one.interval, color=COLOURS[0], linewidth=2, alpha=0.45)
        most = max(one.n for one in bins)
        axes.scatter(
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
            s=[20 + 160 * one.n / most for one in bins],
            color=COLOURS[0],
            zorder=3,
            label="photos (area: how many)",
        )
        axes.set_xlim(-0.02, 1.04)
        axes.set_ylim(-0.02, 1.06)
        percent_ticks(axes.xaxis)
        percent_ticks(axes.yaxis)
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("accuracy")
        legend = axes.legend(frameon=False, loc="lower right")
        legend.legend_handles[1].set_sizes([40])  # type: ignore[union-attr]  # it is the scatter

    return _svg(draw)


def trade_off_chart(
    points: Sequence[tuple[float, float, float, float]],
    *,
    x_label: str,
    y_label: str,
    guess: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    """Return an SVG of one proportion against another, with its 95 % band, and a dashed line of what guessing gives.

    Args:
        points: x, y, and the interval of y; ascending.
        x_label: of the axis.
        y_label: of the axis.
        guess: the ends of the line.
    """

    def draw(axes: "Axes") -> None:
        (x0, y0), (x1, y1) = guess
        axes.plot([x0, x1], [y0, y1], color=_INK, linewidth=1, linestyle="--", alpha=0.5)
        x, y, low, high = zip(*points, strict=True)
        axes.plot(x, y, color=COLOURS[0], linewidth=1.8)
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=BAND, linewidth=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        percent_ticks(axes.xaxis)
        percent_ticks(axes.yaxis)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)

    return _svg(draw, salt=x_label)  # a page has several, whose axes are alike


def net_benefit_chart(points: Sequence[tuple[float, float, float, float]], everybody: Sequence[float]) -> str:
    """Return an SVG of net benefit per 100 photos by threshold, with its 95 % band, and dashed lines to compare with.

    Args:
        points: threshold, net benefit per photo, and its interval; ascending.
        everybody: the net benefit of acting on everybody at each threshold; that of acting on nobody is 0.
    """

    def draw(axes: "Axes") -> None:
        x, *columns = zip(*points, strict=True)
        benefit, low, high, all_of_them = (100 * np.array(column) for column in (*columns, everybody))
        axes.plot([0, 1], [0, 0], color=_INK, linewidth=1, linestyle="--", alpha=0.5, label="acting on nobody")
        axes.plot(x, all_of_them, color=COLOURS[1], linewidth=1.4, linestyle="--", label="acting on everybody")
        axes.plot(x, benefit, color=COLOURS[0], linewidth=1.8, label="acting on its alarms")
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=BAND, linewidth=0)
        top = max(float(high.max()), float(all_of_them.max()))
        axes.set_ylim(-_BELOW * top, 1.05 * top)  # acting on everybody falls without end
        axes.set_xlim(-0.02, 1.02)
        percent_ticks(axes.xaxis)
        axes.set_xlabel("acting from a probability of")
        axes.set_ylabel("net benefit per 100 photos")
        axes.legend(frameon=False, loc="best")

    return _svg(draw, salt="net benefit")


def bar_chart(values: Mapping[str, float], *, x_label: str) -> str:
    """Return an SVG of one bar for each name, from top to bottom."""

    def draw(axes: "Axes") -> None:
        names = list(values)
        axes.barh(range(len(names)), list(values.values()), color=COLOURS[0], height=0.62)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        grid_lines(axes, along="x")
        percent_ticks(axes.xaxis)
        axes.set_xlabel(x_label)

    return _svg(draw, height=0.9 + 0.27 * len(values))


def _svg(draw: Callable[["Axes"], None], *, height: float = _SIZE[1], salt: str = "") -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",  # text stays text: it takes on the page's font, and can be searched and read aloud
        "svg.hashsalt": f"regraft{salt}",  # of ids
        "font.size": 11,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        figure.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        grid_lines(axes)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(stream.getvalue())


def _for_page(text: str) -> str:
    """Return the SVG element alone, in the page's colour and font, scaled to the available width."""
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # several charts on a page would have the same ids
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would apply to the whole page
    text = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? *", "", text)
    opening, rest = text.split(">", maxsplit=1)
    return re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest
