"""What of an audit comes with every fit: from headers and held-out answers that are there already."""

from collections.abc import Sequence

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.findings import HIGH, LOW, Finding, in_order
from regraft.data.splits import OUTER_FOLDS
from regraft.errors import DataError
from regraft.evaluation.label_errors import find_label_errors
from regraft.photo_audit.cues import file_cues
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.photos import photos_of
from regraft.photo_audit.quality import find_imbalance
from regraft.photo_audit.shortcuts import score_cues
from regraft.photo_audit.words import label_findings, shortcut_findings

_SHOWN = 3  # likely wrong labels that are named


def findings_of_photos(trained: Dataset, *, seed: int = 0) -> tuple[Finding, ...]:
    """Return what headers and labels say of photos that are learned from: shortcuts of files, uneven classes.

    Args:
        trained: the photos.
        seed: of the folds.
    """
    photos = photos_of(trained)
    found = find_imbalance(photos)
    if trained.headers:
        try:
            folds = trained.possible_folds(OUTER_FOLDS, seed=seed)
        except DataError:  # a class in too few groups: nothing can be held out
            folds = np.full(len(trained), -1)
        everything = np.ones(len(trained), dtype=bool)
        unanswered = HeldOutAnswers(np.arange(len(trained)), trained, folds, np.empty((0, 0)), everything)
        cues = [cue for cue in file_cues(trained.headers) if cue.of_file]
        scores = score_cues(cues, trained.labels, folds, groups=trained.groups)
        found = [*found, *shortcut_findings(photos, unanswered, scores)]
    return tuple(in_order(found))


def findings_of_answers(evaluated: Dataset, probabilities: np.ndarray) -> tuple[Finding, ...]:
    """Return the labels that are likely wrong.

    Args:
        evaluated: n photos.
        probabilities: (n, c) of these, by what did not learn from each.
    """
    everything = np.arange(len(evaluated))
    answers = HeldOutAnswers(everything, evaluated, np.zeros_like(everything), probabilities, everything >= 0)
    return tuple(label_findings(photos_of(evaluated), answers, find_label_errors(evaluated.labels, probabilities)))


def lines_of_fit(findings: Sequence[Finding]) -> list[str]:
    """Return what of these is said when a classifier is fitted: nothing that is of low severity."""
    lines = [f"{one.kind}: {one.advice}" for one in findings if one.severity != LOW and not _of_label(one)]
    doubted = [one for one in findings if one.severity == HIGH and _of_label(one)]
    if doubted:
        names = [f"  {one.files[0]}: {one.advice}" for one in doubted[:_SHOWN]]
        more = [f"  and {len(doubted) - _SHOWN:,} more"] if len(doubted) > _SHOWN else []
        lines.append("\n".join([f"labels that are likely wrong: {len(doubted):,}", *names, *more]))
    return lines


def _of_label(one: Finding) -> bool:
    return one.kind == "likely-mislabelled"
