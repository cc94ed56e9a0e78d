"""Charts of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.files import atomic_write

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by the colour-blind
_NAMES = {"accuracy": "accuracy", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy"}


def draw_learning_curve(rows: Sequence[Mapping[str, Any]], path: Path, *, metric: str) -> None:
    """Write a PNG: `metric` by the photos per class that were learned from, a line with its 95 % band per strategy.

    Args:
        rows: of `learn.compare.Comparison`.
        path: of the PNG.
        metric: one of the rows'.

    Raises:
        OutputError: it cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator, PercentFormatter

    chosen = [row for row in rows if row["metric"] == metric]
    several = len({row["model"] for row in chosen}) > 1
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in chosen:
        name = f"{row['strategy']} ({_short(row['model'])})" if several else row["strategy"]
        lines.setdefault(name, []).append((row["learned_per_class"], row))
    figure, axes = plt.subplots(figsize=(7.2, 4.6), dpi=160, layout="constrained")
    try:
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
        ticks = sorted({size for points in lines.values() for size, _ in points})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("labelled photos per class")
        axes.set_ylabel(f"{_NAMES.get(metric, metric)}, with 95 % interval")
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
    finally:
        plt.close(figure)


def _short(model: str) -> str:
    return model.rpartition("/")[2].removeprefix("local-dir:")


def _cycled(count: int) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(count)]
