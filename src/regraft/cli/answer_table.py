"""Predictions as a table for people: a line for each photo, and what is doubted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len

from regraft.cli.tree_answers import path_text
from regraft.errors import printable

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions

_LEAST_FILE, _LEAST_SHOWN = 24, 8  # cells of a line that names are not cut below
_BESIDE_NAMES = len("    100.0%  ( 50.0%)")  # what stands in a line of the table beside file and answers
_NAMED = 3  # classes of a set, of more how many
_NOT_SURE, UNLIKE = "not sure", "unlike the training photos"


def as_table(predictions: "Predictions", classes: Sequence[str], *, width: int | None = None) -> str:
    """Return aligned lines: file, answer and its probability, the second guess, doubts; or why there is no answer.

    A set that was asked for stands in the place of the second guess.

    Args:
        predictions: what is shown.
        classes: their names.
        width: columns of the terminal, into which names are cut; None to show them whole.
    """
    best, second, sets = predictions.answers, _second_guesses(predictions), predictions.likeliest_first()
    asked = predictions.coverage is not None
    answered = [row for row in range(len(predictions.sources)) if row not in predictions.unreadable]
    beside = {row: sets[row] if asked else [int(second[row])] for row in answered}
    files = [printable(source) for source in predictions.sources]
    shown = {label for row in answered for label in (int(best[row]), *beside[row][:_NAMED])}
    names = {label: printable(classes[label]) for label in shown}
    if width is not None:
        longest = max(map(cell_len, names.values()), default=0)
        room = max(_LEAST_SHOWN, (width - _BESIDE_NAMES - _LEAST_FILE) // 2)
        names = {label: _cut(name, room) for label, name in names.items()}
        left = width - _BESIDE_NAMES - 2 * min(longest, room)
        files = [_cut(file, left, keep_end=True) for file in files]
    file_width = max(map(cell_len, files), default=0)
    answer_width = max((cell_len(names[int(best[row])]) for row in answered), default=0)
    lines = []
    for row, file in enumerate(files):
        start = file + " " * (file_width - cell_len(file))
        if row in predictions.unreadable:
            lines.append(f"{start}  unreadable: {printable(predictions.unreadable[row])}")
        elif predictions.withheld[row]:
            lines.append(f"{start}  {_doubt(predictions, row, sets[row], names)}")
        else:
            answer, values = names[int(best[row])], predictions.probabilities[row]
            answer += " " * (answer_width - cell_len(answer))
            guess = (
                "{" + _listed(sets[row], names) + "}" if asked else f"({names[second[row]]} {values[second[row]]:.1%})"
            )
            line = _marked(
                f"{start}  {answer}  {values[best[row]]:6.1%}", f"  {guess}", _marks(predictions, row), width
            )
            above = path_text(predictions, row)
            lines.append(line if not above or (width and cell_len(line + above) > width) else line + above)
    return "\n".join(lines) + "\n"


def _second_guesses(predictions: "Predictions") -> np.ndarray:
    """Return (n,) classes: the most probable one but that which is answered."""
    first, next_best = np.argsort(-np.nan_to_num(predictions.probabilities), axis=1, kind="stable").T[:2]
    return np.asarray(np.where(first == predictions.answers, next_best, first))


def _is_unlike(predictions: "Predictions", row: int) -> bool:
    return predictions.unlike is not None and bool(predictions.unlike[row])


def _marks(predictions: "Predictions", row: int) -> list[str]:
    """Return ends of a line whose answer is doubted, the longest first; of another that there is none."""
    unsure = predictions.unsure is not None and bool(predictions.unsure[row])
    found = [f"  {UNLIKE}"] if _is_unlike(predictions, row) else []
    return [*found, f"  {_NOT_SURE}"] if unsure or found else [""]


def _marked(line: str, guess: str, marks: Sequence[str], width: int | None) -> str:
    """Return a line with guess and mark; where the terminal is too narrow, the mark takes the place of the guess."""
    ends = [guess + marks[0], *marks]
    return next((line + end for end in ends if width is None or cell_len(line + end) <= width), line + ends[-1])


def _doubt(predictions: "Predictions", row: int, own: Sequence[int], names: dict[int, str]) -> str:
    """Return what is said instead of an answer."""
    if _is_unlike(predictions, row):
        return f"{_NOT_SURE}: {UNLIKE}"
    answer = int(predictions.answers[row])
    possible = own if answer in own else [answer, *own]
    return f"{_NOT_SURE}: {_listed(possible, names, last=' or ')}?"


def _listed(labels: Sequence[int], names: dict[int, str], *, last: str = ", ") -> str:
    """Return names with commas between, `last` before the last one; of many the first and how many more.

    >>> _listed([1, 0], {0: "cat", 1: "dog"}, last=" or "), _listed(range(5), dict(enumerate("abcde")))
    ('dog or cat', 'a, b, c and 2 more')
    """
    if len(labels) > _NAMED:
        return f"{', '.join(names[label] for label in labels[:_NAMED])} and {len(labels) - _NAMED:,} more"
    *first, final = [names[label] for label in labels] or [""]
    return f"{', '.join(first)}{last if first else ''}{final}"


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """Return `text` in at most `width` cells of a terminal, of which "..." stands for what is left out."""
    if cell_len(text) <= width:
        return text
    kept = text[::-1] if keep_end else text
    while cell_len(kept) > width - 3:
        kept = kept[:-1]
    return f"...{kept[::-1]}" if keep_end else f"{kept}..."
