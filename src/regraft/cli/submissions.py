"""A submission that is filled as a competition's sample has it: its columns, its ids, its order.

What the sample means is found before anything is predicted. Nothing is made up for an id without a photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.cli.formats import check_clip
from regraft.cli.submission_answers import Answer, AnswerColumns, column_per_class, one_column
from regraft.cli.submission_ids import match_ids
from regraft.cli.submission_sample import Sample, is_exact_cell, read_sample, some
from regraft.data.csv_text import csv_text
from regraft.errors import DataError, OptionError, did_you_mean, shortlist
from regraft.images.sources import Source

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions


@dataclass(frozen=True)
class Submission:
    """How a sample is filled.

    Attributes:
        sample: what is filled.
        ids: position of the column of ids.
        sources: the photo of each row.
        columns: how the other columns are filled.
        notes: what the sample was taken to mean.
    """

    sample: Sample
    ids: int
    sources: tuple[Source, ...]
    columns: AnswerColumns
    notes: tuple[str, ...]

    def text(self, predictions: "Predictions") -> str:
        """Return the submission; of an unreadable photo every cell but its id is empty: nothing is made up for it."""
        rows = [list(self.sample.header)]
        for row, name in enumerate(self.sample.column(self.ids)):
            empty = [""] * (len(self.sample.header) - 1)
            cells = (
                empty
                if row in predictions.unreadable
                else self.columns.cells(predictions.probabilities[row], int(predictions.answers[row]))
            )
            rows.append([*cells[: self.ids], name, *cells[self.ids :]])
        return csv_text(rows, delimiter=self.sample.delimiter, exact=True)


def plan_submission(
    file: Path,
    sources: Sequence[Source],
    classes: Sequence[str],
    *,
    positive: str | None,
    clip: float,
    answer: Answer | None,
) -> Submission:
    """Return how the sample in `file` is filled with answers for `sources`. Predicts nothing.

    Args:
        file: the competition's sample submission.
        sources: the photos that ids may name.
        classes: of the classifier.
        positive: the class whose probability the one column of answers holds.
        clip: what probabilities are kept away from 0 and 1.
        answer: what the one column holds; None to find it from the sample's values.

    Raises:
        DataError: no such table, ids without a photo, or columns or values that name no class.
        OptionError: an option that this sample has no use for, or one that it needs.
    """
    check_clip(clip)
    if positive is not None and positive not in classes:
        raise OptionError(
            f"--positive must be one of the classes: {some(classes)}. Got {positive!r}."
            f"{did_you_mean(positive, classes)}"
        )
    sample = read_sample(file)
    ids, found, notes = match_ids(sample, sources)
    others = [position for position in range(len(sample.header)) if position != ids]
    if len(others) > 1:
        columns = column_per_class(sample, others, classes, clip=clip)
        _check_unused(sample, positive=positive, answer=answer)
    else:
        columns = one_column(sample, others[0], classes, positive=positive, clip=clip, answer=answer)
    unsafe = [cell for cell in (*sample.header, *sample.column(ids)) if not is_exact_cell(cell)]
    if unsafe:
        raise DataError(
            f"{sample.name}: {len(unsafe)} names or ids would begin a spreadsheet's formula, and a submission has them "
            f"as they are:\n{shortlist(unsafe)}\nRename them, or use --format csv."
        )
    return Submission(sample, ids, tuple(found), columns, (*notes, *columns.notes))


def _check_unused(sample: Sample, *, positive: str | None, answer: Answer | None) -> None:
    for option, value in (("--positive", positive), ("--answer", answer)):
        if value is not None:
            raise OptionError(
                f"{option} is for a sample with one column of answers. {sample.name} has {len(sample.header) - 1}: "
                "leave it out."
            )
