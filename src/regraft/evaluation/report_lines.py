"""Parts of a report as lines for a terminal."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from regraft.evaluation.figures import ClassFigures
from regraft.evaluation.intervals import Interval

_CLASSES_SHOWN = 20
_WORST_SHOWN = 10
_CONFUSIONS_SHOWN = 3
_WIDTH = 100  # of sentences, in characters
# up to so many photos the accuracy of the classifier that is written lay in the out-of-fold interval in so many of 100
# simulations (`benchmarks/intervals.py`: 86, 84, 83, 86, 89 and 91 with 20, 40, 60, 100, 200 and 400 photos, no groups)
_HELD = {150: 85, 1000: 90}


def shown(value: float | None, interval: Interval | None, *, percent: bool) -> str:
    """Return a figure with its interval, in percent or with three digits."""
    if value is None:
        return "none"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    text = f"{scale * value:.{digits}f}{unit}"
    if interval is None:
        return text
    return f"{text} [{scale * interval[0]:.{digits}f}, {scale * interval[1]:.{digits}f}]"


def cases_held(estimate: str, photos: int) -> int | None:
    """Return in how many of 100 cases the out-of-fold interval holds the accuracy of the classifier that is written.

    Simulations of so many independent photos came to that; None where it is about 95, and of other estimates.
    """
    if estimate != "out-of-fold":
        return None
    return next((held for most, held in _HELD.items() if photos <= most), None)


def estimate_note(estimate: str, folds: int | None, held: int | None) -> str:
    """Return whose figures these are: out-of-fold those of several classifiers, none of which is the one written.

    Args:
        estimate: what the probabilities are.
        folds: how many classifiers answered; None where that is not known.
        held: of `cases_held`; None leaves it out.
    """
    if estimate != "out-of-fold":
        return ""
    count = "" if folds is None else f"{folds:,} "
    rough = f", and its accuracy lies in the interval in about {held} of 100 cases, not in 95" if held else ""
    return (
        f"Figures of {count}classifiers, each of which answered the photos that it had not learned from. The one that "
        f"is written learned from all: it is a little better as a rule{rough}."
    )


def wrapped(text: str) -> list[str]:
    """Return sentences as indented lines."""
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def padded(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line for each row, whose cells stand below each other.

    >>> padded([["a", "bc", "d"], ["efg", "", "h"]])
    ['a    bc  d', 'efg      h']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def class_lines(classes: Sequence[str], per_class: Mapping[str, ClassFigures]) -> list[str]:
    """Return the table of classes; of many those that are missed most."""
    names, title = list(classes), ""
    if len(names) > _CLASSES_SHOWN:
        names.sort(key=lambda name: (per_class[name].recall is None, per_class[name].recall or 0))
        names, title = names[:_WORST_SHOWN], f"the {_WORST_SHOWN} classes that are missed most"
    width = max(*(len(name) for name in names), len(title), len("class"))
    lines = [f"  {title or 'class':<{width}}  photos  {'recall':<24}  precision      F1"]
    for name in names:
        row = per_class[name]
        recall = shown(row.recall, row.recall_interval, percent=True)
        precision, f1 = shown(row.precision, None, percent=True), shown(row.f1, None, percent=False)
        lines.append(f"  {name:<{width}}  {row.support:>6,}  {recall:<24}  {precision:>9}  {f1:>6}")
    return lines


def never_answered_lines(names: Sequence[str]) -> list[str]:
    """Return a line that names the classes that are never answered; nothing where there are none."""
    more = f" and {len(names) - _WORST_SHOWN:,} more" if len(names) > _WORST_SHOWN else ""
    return [f"  never answered: {', '.join(names[:_WORST_SHOWN])}{more}"] if names else []


def confusion_lines(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    """Return the most frequent confusions, in one line after an empty one; nothing where there are none."""
    table = np.array(confusion)
    np.fill_diagonal(table, 0)
    worst = [divmod(int(cell), len(classes)) for cell in np.argsort(-table, axis=None, kind="stable")]
    found = [
        f"{classes[truth]} taken for {classes[answer]}: {table[truth, answer]:,}"
        for truth, answer in worst[:_CONFUSIONS_SHOWN]
        if table[truth, answer]
    ]
    return ["", "  " + "; ".join(found)] if found else []
