"""Charts of the report as SVG that takes its page's colours, light or dark, and its font."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regraft.evaluation.intervals import Interval

COLOURS = ("#2f7ed8", "#e0792f", "#1a9e77", "#c35fa0")  # told apart by the colour-blind, on white and on black
_INK = "#123456"  # stands for the page's own colour until the picture is in it
_SIZE = (6.4, 3.8)  # inches; the page scales it


def curve_chart(
    series: Mapping[str, Sequence[tuple[float, float, Interval | None]]],
    *,
    x_label: str,
    y_label: str,
    names: Sequence[str] = (),
    logarithmic: bool = False,
) -> str:
    """Return an SVG of lines with their 95 % bands.

    Args:
        series: by name, points of x, share from 0 to 1, and its interval.
        x_label: of the axis.
        y_label: of the axis.
        names: what the x values 0, 1, 2 ... are called; none for numbers.
        logarithmic: whether the x axis is.
    """

    def draw(axes: Any) -> None:
        for colour, (name, points) in zip(COLOURS, series.items(), strict=False):
            xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
            axes.plot(xs, ys, color=colour, marker="o", markersize=4.5, linewidth=1.8, label=name)
            known = [(x, band) for x, _, band in points if band is not None]
            axes.fill_between(
                [x for x, _ in known],
                [low for _, (low, _) in known],
                [high for _, (_, high) in known],
                color=colour,
                alpha=0.16,
                linewidth=0,
            )
        if logarithmic:
            _log_ticks(axes, sorted({x for points in series.values() for x, _, _ in points}))
        if names:
            axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        _percent(axes.yaxis)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(series) > 1:
            axes.legend(frameon=False, loc="best", labelcolor=_INK)

    return _svg(draw)


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG of accuracy against confidence, with the intervals, and the line on which both are equal."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--", alpha=0.5, label="as sure as right")
        for one in bins:
            if one["interval"] is not None:
                axes.vlines(one["confidence"], *one["interval"], color=COLOURS[0], linewidth=2, alpha=0.45)
        most = max(one["n"] for one in bins)
        axes.scatter(
            [one["confidence"] for one in bins],
            [one["accuracy"] for one in bins],
            s=[20 + 160 * one["n"] / most for one in bins],
            color=COLOURS[0],
            zorder=3,
            label="photos (area: how many)",
        )
        axes.set_xlim(-0.02, 1.04)
        axes.set_ylim(-0.02, 1.06)
        _percent(axes.xaxis)
        _percent(axes.yaxis)
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("share of right answers")
        legend = axes.legend(frameon=False, loc="upper left", labelcolor=_INK)
        legend.legend_handles[1].set_sizes([40])

    return _svg(draw)


def bar_chart(values: Mapping[str, float], *, x_label: str) -> str:
    """Return an SVG of one bar for each name, from top to bottom."""

    def draw(axes: Any) -> None:
        names = list(values)
        axes.barh(range(len(names)), list(values.values()), color=COLOURS[0], height=0.62)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=_INK, alpha=0.15, linewidth=0.8)
        _percent(axes.xaxis)
        axes.set_xlabel(x_label)

    return _svg(draw, height=0.9 + 0.27 * len(values))


def _log_ticks(axes: Any, ticks: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _percent(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _svg(draw: Callable[[Any], None], *, height: float = _SIZE[1]) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[str, Any] = {
        "svg.fonttype": "none",  # text stays text: it takes the page's font, and can be searched and read aloud
        "svg.hashsalt": "regraft",
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
        axes.grid(visible=True, axis="y", color=_INK, alpha=0.15, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(stream.getvalue())


def _for_page(text: str) -> str:
    """Return the SVG element alone, in the page's colour and font, as wide as there is room."""
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # several charts in a page would have the same ids
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would be the whole page's
    text = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? *", "", text)
    opening, rest = text.split(">", maxsplit=1)
    return re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest
