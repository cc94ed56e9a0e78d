"""What the columns of a sample submission ask for, and the cells that answer.

What a column means is said; where it could be meant in two ways, the user is asked.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from os.path import commonprefix

import numpy as np

from regraft.cli.formats import clipped
from regraft.cli.submission_sample import Sample, is_exact_cell, some
from regraft.errors import DataError, OptionError, did_you_mean, printable, shortlist


@dataclass(frozen=True)
class AnswerColumns:
    """How the columns of answers are filled.

    Attributes:
        cells: probabilities of one photo, (c,), and its answer to its cells.
        notes: what the columns were taken to mean.
        answers: whether they hold answers, which a rule may decide, and not probabilities alone.
    """

    cells: Callable[[np.ndarray, int], list[str]]
    notes: tuple[str, ...]
    answers: bool


class Answer(StrEnum):
    """What the one column of answers holds."""

    label = "label"
    probability = "probability"


def column_per_class(sample: Sample, others: Sequence[int], classes: Sequence[str], *, clip: float) -> AnswerColumns:
    """Return how a sample with a probability of each class is filled."""
    names = [sample.header[position] for position in others]
    matched = match_classes(names, classes)
    if not matched:  # prob_cat, prob_dog
        prefix = re.sub(r"[^\W_]*$", "", commonprefix(names))  # noqa: RUF071 (they are no paths)
        shorter = {name: name.removeprefix(prefix) for name in names}
        found = match_classes(list(shorter.values()), classes)
        matched = {name: found[short] for name, short in shorter.items() if short in found}
    unknown = [name for name in names if name not in matched]
    without = [name for at, name in enumerate(classes) if at not in matched.values()]
    if unknown or without:
        said = [f"{len(unknown)} columns name no class: {some(unknown)}."] if unknown else []
        said += [f"{len(without)} classes have no column: {some(without)}."] if without else []
        raise DataError(
            f"{sample.name}: a column for each class is filled by name. {' '.join(said)} Learn with classes that are "
            "named as the columns, or write --format csv and choose the columns yourself."
        )
    columns = [matched[name] for name in names]

    def cells(probabilities: np.ndarray, _: int) -> list[str]:
        mixed = (1 - clip) * probabilities + clip / len(classes)  # it still adds up to 1
        return [f"{mixed[at]:.6g}" for at in columns]

    meaning = f"columns: the probability of each of {len(classes)} classes{_kept_away(clip)}"
    renamed = _renamed({name: classes[at] for name, at in matched.items()}, "columns")
    return AnswerColumns(cells, (meaning, *renamed), answers=False)


def one_column(
    sample: Sample, position: int, classes: Sequence[str], *, positive: str | None, clip: float, answer: Answer | None
) -> AnswerColumns:
    """Return how a sample with one column of answers is filled."""
    column = sample.header[position].strip()
    heading = f"column {printable(column)!r}"
    values = list(dict.fromkeys(value.strip() for value in sample.column(position) if value.strip()))
    shown = f"the sample holds {some(values)}" if values else "the sample's is empty"
    if answer is None:
        answer = _answer_of(sample, column, values, classes, positive=positive)
    if answer is Answer.probability:
        chosen = positive or _named_by(column, classes)
        if chosen is None:
            raise OptionError(
                f"{sample.name}: {heading} is taken for a probability ({shown}). Of which class, "
                f"--positive says: {some(classes)}."
            )
        at = list(classes).index(chosen)
        answers = (
            "; --answer label writes 0 and 1" if values and set(values) <= {"0", "1"} and len(classes) == 2 else ""
        )
        said = f"{heading}: probability of {printable(chosen)}{_kept_away(clip)} ({shown}{answers})"
        return AnswerColumns(lambda row, _: [f"{clipped(row[at], clip):.6f}"], (said,), answers=False)
    guesses = _guesses(values, classes)
    if guesses > 1:
        said = f"{heading}: names of the {guesses} likeliest classes, best first ({shown})"
        return AnswerColumns(
            lambda row, answer: [" ".join(classes[at] for at in _best_first(row, answer)[:guesses])],
            (said,),
            answers=True,
        )
    written, notes = _written_labels(sample, heading, values, classes, positive=positive)
    if len(classes) == 2 and all(map(_is_number, classes)) and positive is None:
        notes.append("a probability is written with --positive, the class that it is of")
    notes[0] = f"{heading}: {notes[0]} ({shown})"
    return AnswerColumns(lambda _, answer: [written[answer]], tuple(notes), answers=True)


def _best_first(row: np.ndarray, answer: int) -> list[int]:
    """Return the answer, which a rule may have given, and the other classes by their probabilities (c,)."""
    return [answer, *(at for at in np.argsort(-row, kind="stable").tolist() if at != answer)]


def _answer_of(
    sample: Sample, column: str, values: Sequence[str], classes: Sequence[str], *, positive: str | None
) -> Answer:
    """Return what the values of a sample's one column of answers ask for.

    Raises:
        DataError: values that name no class and are no probabilities.
        OptionError: they could be either.
    """
    heading = f"column {printable(column)!r}"
    matched = match_classes(values, classes)
    unknown = [value for value in values if value not in matched]
    numbers = all(map(_is_number, values)) and bool(values)
    if not unknown or _guesses(values, classes) > 1:
        if positive is not None and values and not numbers:
            raise OptionError(
                f"{sample.name}: {heading} holds names of classes ({some(values)}), so that --positive has no use. "
                "Leave it out, or ask for its probability with --answer probability."
            )
        return Answer.label if positive is None else Answer.probability
    if not numbers:
        raise DataError(
            f"{sample.name}: {heading} holds {some(unknown)}, which name no class.{did_you_mean(unknown[0], classes)} "
            f"The classes are {some(classes)}. If any text is meant, --answer label writes the class, --answer "
            "probability with --positive a probability."
        )
    if positive is not None or not all(value.isdecimal() for value in values):
        return Answer.probability
    if len(classes) > 2 or not set(values) <= {"0", "1"}:
        raise DataError(
            f"{sample.name}: {heading} holds numbers ({some(values)}), and the classes are {some(classes)}. Which "
            "number means which class is not known: learn with these numbers as labels, ask for names with --answer "
            "label, or for the probability of one class with --positive."
        )
    if _named_by(column, classes) is None:
        raise OptionError(
            f"{sample.name}: {heading} holds {some(values)}, which may stand for a probability or for a class. Name "
            f"the class that 1 means with --positive ({some(classes)}): its probability is written; with --answer "
            "label 0 or 1 is."
        )
    return Answer.probability


def _written_labels(
    sample: Sample, heading: str, values: Sequence[str], classes: Sequence[str], *, positive: str | None
) -> tuple[list[str], list[str]]:
    """Return how each class is written in a column of labels, and what is to be said."""
    matched = match_classes(values, classes)
    if not matched and values and all(value in ("0", "1") for value in values) and len(classes) == 2:
        if positive is None:
            raise OptionError(
                f"{sample.name}: {heading} holds {some(values)}. Name the class that 1 means with --positive: "
                f"{some(classes)}."
            )
        return [str(int(name == positive)) for name in classes], [f"1 for {printable(positive)}, else 0"]
    written = list(classes)
    for value, at in matched.items():
        written[at] = value
    unsafe = [name for name in written if not is_exact_cell(name)]
    if unsafe:
        raise DataError(
            f"{sample.name}: {len(unsafe)} classes would begin a spreadsheet's formula, and a submission has them as "
            f"they are:\n{shortlist(unsafe)}\nRename them, or use --format csv."
        )
    return written, ["class names", *_renamed({value: classes[at] for value, at in matched.items()}, "classes")]


def match_classes(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Return {name: position of its class}: the class called so, else the only one that is but for case and blanks."""
    exact = {name: at for at, name in enumerate(classes)}
    alike = defaultdict(list)
    for at, name in enumerate(classes):
        alike[_plain(name)].append(at)
    found: dict[str, int] = {}
    for name in sorted(names, key=lambda one: one.strip() not in exact):  # exact ones first: each class has one name
        candidates = [exact[name.strip()]] if name.strip() in exact else alike.get(_plain(name), [])
        if len(candidates) == 1 and candidates[0] not in found.values():
            found[name] = candidates[0]
    return found


def _plain(name: str) -> str:
    """Return a name without what spellings differ in: case, blanks, hyphens, underscores, forms of letters."""
    return re.sub(r"[\s_.-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _named_by(column: str, classes: Sequence[str]) -> str | None:
    """Return the class that a column of probabilities is called after, or "1" of the classes 0 and 1."""
    if set(classes) == {"0", "1"}:
        return "1"
    matched = match_classes([column], classes)
    return classes[matched[column]] if matched else None


def _guesses(values: Sequence[str], classes: Sequence[str]) -> int:
    """Return how many names of classes each value holds, with blanks between them; 0 if that is not what it holds."""
    counts = {len(value.split()) for value in values}
    known = set(classes)
    fits = len(counts) == 1 and all(name in known for value in values for name in value.split())
    return min(counts.pop(), len(classes)) if fits and not set(values) <= known else 0


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _kept_away(clip: float) -> str:
    return f", kept away from 0 and 1 (--clip {clip:g})" if clip else ""


def _renamed(names: Mapping[str, str], what: str) -> list[str]:
    """Return what to say of names that a sample spells in another way than the classifier."""
    other = [f"{name} is {found}" for name, found in names.items() if name.strip() != found]
    return [f"{len(other)} {what} are spelled in another way in the sample:\n{shortlist(other)}"] if other else []
