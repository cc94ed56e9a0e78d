"""Charts of a comparison."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.errors import printable
from regraft.files import atomic_write

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by the colour-blind
_NAMES = {"accuracy": "accuracy", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy"}


def draw_learning_curve(rows: Sequence[Mapping[str, Any]], path: Path, *, metric: str) -> None:
    """Write a PNG: `metric` by the photos per class that were learned from, a line with its 95 % band per strategy.

    Where all learned from as many, there is no line to draw: the strategies stand below each other.

    Args:
        rows: of `transfer.compare.Comparison`.
        path: of the PNG.
        metric: one of the rows'.

    Raises:
        OutputError: it cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    chosen = [row for row in rows if row["metric"] == metric]
    several = len({row["model"] for row in chosen}) > 1
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in chosen:
        name = f"{row['strategy']} ({_short(row['model'])})" if several else row["strategy"]
        lines.setdefault(name, []).append((row["learned_per_class"], row))
    ticks = sorted({size for points in lines.values() for size, _ in points})
    height = 4.6 if len(ticks) > 1 else 1.2 + 0.5 * len(lines)
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():  # a name may hold a $
        warnings.filterwarnings("ignore", message=".*Glyph")  # of letters that the font lacks: a box stands for each
        figure, axes = plt.subplots(figsize=(7.2, height), dpi=160, layout="constrained")
        try:
            axes.spines[["top", "right"]].set_visible(False)
            label = f"{_NAMES.get(metric, metric)}, with 95 % interval"
            if len(ticks) > 1:
                _draw_lines(axes, lines, ticks, label)
            else:
                _draw_below_each_other(axes, lines, f"{label}; {ticks[0]:,} photos per class" if ticks else label)
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            plt.close(figure)


_Lines = Mapping[str, list[tuple[int, Mapping[str, Any]]]]


def _draw_lines(axes: Any, lines: _Lines, ticks: Sequence[int], label: str) -> None:
    from matplotlib.ticker import NullLocator, PercentFormatter

    for colour, (name, points) in zip(_cycled(len(lines)), lines.items(), strict=True):
        points.sort(key=lambda point: point[0])
        sizes, means = [size for size, _ in points], [row["mean"] for _, row in points]
        axes.plot(sizes, means, color=colour, marker="o", markersize=5, linewidth=2, label=name)
        bounds = [(s, row["low"], row["high"]) for s, row in points if row["low"] is not None]
        low, high = [b[1] for b in bounds], [b[2] for b in bounds]
        if len(bounds) > 1:
            axes.fill_between([b[0] for b in bounds], low, high, color=colour, alpha=0.15, linewidth=0)
        elif bounds:
            axes.vlines([b[0] for b in bounds], low, high, color=colour, alpha=0.5)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("labelled photos per class")
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.legend(frameon=False, loc="best")


def _draw_below_each_other(axes: Any, lines: _Lines, label: str) -> None:
    from matplotlib.ticker import PercentFormatter

    for place, (colour, points) in enumerate(zip(_cycled(len(lines)), lines.values(), strict=True)):
        for _, row in points:
            if row["low"] is not None:
                axes.hlines(place, row["low"], row["high"], color=colour, linewidth=3, alpha=0.45)
            axes.plot([row["mean"]], [place], color=colour, marker="o", markersize=8)
            axes.annotate(f"{row['mean']:.1%}", (row["mean"], place), (0, 8), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(lines)), list(lines))
    axes.set_ylim(len(lines) - 0.5, -0.7)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(label)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)


def _short(model: str) -> str:
    return printable(model.rpartition("/")[2].removeprefix("local-dir:"))


def _cycled(count: int) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(count)]
