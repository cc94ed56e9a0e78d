"""The learning curve of a comparison, as a picture file."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.files import atomic_write
from regraft.plots.curves import Curves, draw_curves, grid_lines, percent_ticks, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")  # suffixes of what is written


def draw_learning_curve(curves: Curves, path: Path, *, metric: str) -> None:
    """Write the figure of `learning_curve`, in the format that the suffix of `path` says; a PNG where it has none.

    Raises:
        OutputError: it cannot be written.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph")  # of letters that the font lacks: a box stands for each
        figure = learning_curve(curves, metric=metric)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=path.suffix.lower().lstrip(".") or "png")


def learning_curve(curves: Curves, *, metric: str) -> "Figure":
    """Return a figure of `metric` by the photos per class that were learned from, a line with its band for each curve.

    Where all learned from equally many there is no line to draw: the curves' points stand below each other.

    Args:
        curves: by name, points of photos per class, figure and interval.
        metric: its title.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = sorted({size for points in curves.values() for size, _, _ in points})
    label = f"{metric}, with 95 % interval"
    with mpl.rc_context({"text.parse_math": False}):  # a name may hold a $
        height = 4.6 if len(sizes) > 1 else 1.2 + 0.5 * len(curves)
        figure = Figure(figsize=(7.2, height), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if len(sizes) > 1:
            grid_lines(axes)
            draw_curves(axes, curves, x_label="labelled photos per class", y_label=label, logarithmic=True)
            axes.legend(frameon=False, loc="best")
        else:
            grid_lines(axes, along="x")
            _draw_below_each_other(axes, curves)
            axes.set_xlabel(f"{label}; {sizes[0]:,.10g} photos per class" if sizes else label)
    return figure


def _draw_below_each_other(axes: "Axes", curves: Curves) -> None:
    for place, ((colour, _), points) in enumerate(zip(styles(), curves.values(), strict=False)):
        for _, value, interval in points:
            if interval is not None:
                axes.hlines(place, *interval, color=colour, linewidth=3, alpha=0.45)
            axes.plot([value], [place], color=colour, marker="o", markersize=8)
            axes.annotate(f"{100 * value:.1f} %", (value, place), (0, 8), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(curves)), list(curves))
    axes.set_ylim(len(curves) - 0.5, -0.7)
    percent_ticks(axes.xaxis)
