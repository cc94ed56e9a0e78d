"""What all charts share: colours, percent and logarithmic axes, and curves with their bands."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from regraft.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Point = tuple[float, float, Interval | None]  # x, a proportion from 0 to 1, and its interval
Curves = Mapping[str, Sequence[Point]]  # by name

# distinct to the colour-blind, and on white as on black
COLOURS = ("#2f7ed8", "#e0792f", "#1a9e77", "#c35fa0", "#7830f0", "#a83030")
_DASHES = ("-", "--", ":")  # for more curves than colours
BAND = 0.16  # opacity
_MOST_DECIMALS = 6  # of a tick in percent: what is smaller is the noise of binary fractions


def styles() -> Iterator[tuple[str, str]]:
    """Yield colour and line style of one curve after the other."""
    while True:
        for dashes, colour in product(_DASHES, COLOURS):
            yield colour, dashes


def draw_curves(
    axes: "Axes",
    curves: Curves,
    *,
    x_label: str,
    y_label: str,
    names: Sequence[str] = (),
    logarithmic: bool = False,
) -> None:
    """Draw lines with their 95 % bands.

    Args:
        axes: to draw on.
        curves: the points of each; a band reaches over those whose interval is known.
        x_label: of the axis.
        y_label: of the axis.
        names: of the x values 0, 1, 2 ...; none for numbers.
        logarithmic: whether the x axis is; then each x has its tick.
    """
    for (colour, dashes), (name, points) in zip(styles(), curves.items(), strict=False):
        ordered = sorted(points, key=lambda point: point[0])
        xs, ys = [x for x, _, _ in ordered], [y for _, y, _ in ordered]
        axes.plot(xs, ys, color=colour, linestyle=dashes, marker="o", markersize=4.5, linewidth=1.8, label=name)
        known = [(x, *interval) for x, _, interval in ordered if interval is not None]
        if len(known) > 1:
            x, low, high = zip(*known, strict=True)
            axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0)
        elif known:  # a band without width is not seen
            axes.vlines(*known[0], color=colour, linewidth=2, alpha=0.45)
    if logarithmic:
        _log_ticks(axes, sorted({x for points in curves.values() for x, _, _ in points}))
    if names:
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    percent_ticks(axes.yaxis)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def grid_lines(axes: "Axes", *, along: str = "y") -> None:
    """Draw faint lines in the colour of text at the ticks of one axis alone, below all else, and open the frame."""
    import matplotlib as mpl

    axes.grid(visible=False)
    axes.grid(
        visible=True, axis="y" if along == "y" else "x", color=mpl.rcParams["text.color"], alpha=0.15, linewidth=0.8
    )
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent_ticks(axis: "Axis") -> None:
    """Label an axis of proportions in percent: at round values, each with as many digits as all of them need."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], min_n_ticks=3))
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent_label(value, axis.get_majorticklocs().tolist())))


def percent_label(value: float, ticks: Sequence[float] = ()) -> str:
    """Return a proportion as its tick says it: unrounded, with the decimals that all `ticks` need.

    >>> percent_label(0.725, [0.7, 0.725, 0.75]), percent_label(0.75, [0.7, 0.725, 0.75]), percent_label(0.9975)
    ('72.5 %', '75.0 %', '99.75 %')
    """
    decimals = max(len(f"{100 * one:.{_MOST_DECIMALS}f}".rstrip("0").partition(".")[2]) for one in (value, *ticks))
    return f"{round(100 * value, _MOST_DECIMALS) + 0.0:.{decimals}f} %"  # + 0.0: there is no -0 %


def _log_ticks(axes: "Axes", ticks: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
