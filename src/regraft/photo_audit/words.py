"""Findings of labels, cues and features, and all findings in lines for people."""

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

from regraft.data.findings import HIGH, IN_GROUPS, KINDS, LOW, MEDIUM, WITHOUT_NAMES, Finding
from regraft.errors import first_few
from regraft.evaluation.label_errors import LabelErrors
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.photos import AuditPhotos
from regraft.photo_audit.shortcuts import CueScore, Giveaway

_LIKELY, _POSSIBLY = 0.5, 0.1  # probability that a label is wrong, from which on it is of high or medium severity
_GOOD = 0.9  # accuracy from which on mistakes of the classifier are rarely taken for wrong labels
_MANY = 0.1  # share of unreadable photos that is of high severity
FIRST = 20  # likely wrong labels of which it is said how many are to be expected wrong
_SHOWN = 4
_SHOWN_EQUAL = 6  # photos of one picture
_ALL, _NONE = 0.995, 0.005  # shares that are said as all and none


def unreadable_findings(photos: AuditPhotos) -> list[Finding]:
    """Return the finding of photos that cannot be read, if there are any."""
    if not photos.unreadable:
        return []
    files = photos.names(list(photos.unreadable))
    severity = HIGH if len(files) > _MANY * len(photos) else MEDIUM
    reasons = dict(zip(files, photos.unreadable.values(), strict=True))
    counts = Counter(reasons.values()).most_common()
    said = [reason if len(counts) == 1 else f"{reason} ({count:,})" for reason, count in counts]
    advice = f"{first_few(said, _SHOWN)}. Leave them out, or copy again what is damaged."
    return [Finding("unreadable", severity, files, advice, more={"reasons": reasons})]


def label_findings(photos: AuditPhotos, answers: HeldOutAnswers, labels: LabelErrors) -> list[Finding]:
    """Return a finding for each label that is likely wrong, the least probable first.

    None is of high severity where what looked at them is often wrong itself.
    """
    classes, found = answers.dataset.classes, []
    likely = HIGH if _accuracy(answers) >= _GOOD else MEDIUM
    rows = zip(labels.photos.tolist(), labels.suggested.tolist(), labels.given.tolist(), labels.wrong, strict=True)
    for row, suggested, probability, wrong in rows:
        given = classes[int(answers.dataset.labels[row])]
        severity = likely if wrong >= _LIKELY else MEDIUM if wrong >= _POSSIBLY else LOW
        more = {
            "label": given,
            "suggested": classes[suggested],
            "probability": float(probability),
            "probability_wrong": float(wrong),
        }
        advice = (
            f"labelled {given}, looks like {classes[suggested]} (given label: {_percent(probability)}): look at it."
        )
        files = photos.names([answers.positions[row]])
        found.append(Finding("likely-mislabelled", severity, files, advice, more=more))
    return found


def shortcut_findings(photos: AuditPhotos, answers: HeldOutAnswers, cues: Sequence[CueScore]) -> list[Finding]:
    """Return a finding for each cue that tells classes apart far above chance."""
    found = []
    for score in cues:
        giveaway = score.giveaway
        if not score.far_above_chance or giveaway is None or score.interval is None:
            continue
        said = giveaway_in_words(giveaway, answers.dataset.classes)
        own = np.flatnonzero(giveaway.has & (answers.dataset.labels == giveaway.label))
        remedy = (
            "Save or collect all classes alike, or evaluate on photos from elsewhere."
            if score.cue.of_file
            else "It may be the subject itself: look, and evaluate on photos from elsewhere."
        )
        advice = (
            f"{said}. By {score.cue.name} alone {score.accuracy:.0%} [{score.interval[0]:.0%}, "
            f"{score.interval[1]:.0%}] of the answers are right, where chance is {score.chance:.0%}. {remedy}"
        )
        more = {
            "cue": score.cue.name,
            "balanced_accuracy": score.accuracy,
            "interval": list(score.interval),
            "chance": score.chance,
            "class": answers.dataset.classes[giveaway.label],
            "share_of_class": giveaway.share,
            "share_of_others": giveaway.share_of_others,
        }
        severity = HIGH if score.cue.of_file else MEDIUM
        found.append(Finding("shortcut", severity, photos.names(answers.positions[own]), advice, more=more))
    return found


def giveaway_in_words(giveaway: Giveaway, classes: Sequence[str]) -> str:
    """Return e.g. "class covid: all are 1,024 x 1,024 pixels, of the others none"."""
    share, others = (_share(value) for value in (giveaway.share, giveaway.share_of_others))
    return f"class {classes[giveaway.label]}: {share} {giveaway.words}, of the others {others}"


def outlier_findings(photos: AuditPhotos, positions: np.ndarray) -> list[Finding]:
    """Return the finding of photos at `positions`, the most unlike first, if there are any."""
    if not len(positions):
        return []
    advice = "look whether they are of what the others are, and leave out what is not."
    return [Finding("outlier", LOW, photos.names(positions), advice)]


def lines_of(findings: Sequence[Finding], images: int, *, where: str = "", shown: int = _SHOWN) -> list[str]:
    """Return findings in lines: of each kind and severity how many, what to do, and the first files.

    Args:
        findings: the severest first.
        images: how many photos were looked at.
        where: the folder that all lie in, which names are shown without; "" shows whole names.
        shown: findings, or files, of each that are named.
    """
    if not findings:
        return [f"{images:,} photo{'' if images == 1 else 's'}, and nothing was found."]
    photos = len({file for one in findings if one.kind not in WITHOUT_NAMES for file in one.files})
    counts = Counter(one.severity for one in findings)
    by_severity = ", ".join(f"{counts[severity]:,} {severity}" for severity in (HIGH, MEDIUM, LOW) if counts[severity])
    within = f", in {photos:,} photos" if photos else ""
    lines = [f"{images:,} photo{'' if images == 1 else 's'}; findings: {len(findings):,} ({by_severity}){within}"]
    for kind, severity in dict.fromkeys((one.kind, one.severity) for one in findings):
        own = [one for one in findings if (one.kind, one.severity) == (kind, severity)]
        lines += ["", f"{severity:<8}{kind}: {_heading(own)}"]
        lines += [f"{'':<8}{line}" for line in _details(own, where, shown)]
    return lines


def _heading(own: Sequence[Finding]) -> str:
    count = len(own[0].files) if KINDS[own[0].kind].together else len(own)
    said = [] if own[0].kind in WITHOUT_NAMES else [f"{count:,}"]
    for name in ("splits", "classes"):
        across = sum(name in one.across for one in own)
        said += [f"across {name}: {across:,}"] if across else []
    return KINDS[own[0].kind].title + (f" ({'; '.join(said)})" if said else "")


def _details(own: Sequence[Finding], where: str, shown: int) -> list[str]:
    kind = own[0].kind
    if kind in WITHOUT_NAMES:
        return [one.advice for one in own]
    if kind == "likely-mislabelled":
        lines = [f"{short_name(one.files[0], where)}: {one.advice}" for one in own[:shown]]
    elif len(own) == 1 and kind not in IN_GROUPS:
        return [own[0].advice, first_few([short_name(file, where) for file in own[0].files], shown)]
    else:
        sets = [[short_name(file, where) for file in one.files] for one in own[:shown]]
        lines = [own[0].advice, *(" = ".join(files[:_SHOWN_EQUAL]) + _more(len(files)) for files in sets)]
    return [*lines, *([f"... and {len(own) - shown:,} more"] if len(own) > shown else [])]


def _more(count: int) -> str:
    return f" and {count - _SHOWN_EQUAL:,} more" if count > _SHOWN_EQUAL else ""


def short_name(file: str, folder: str) -> str:
    """Return the name of a photo within a folder, as it is where the folder is ""."""
    return file.removeprefix(folder.rstrip(os.sep) + os.sep) if folder else file


def expected_in_words(labels: LabelErrors, first: int, answers: HeldOutAnswers | None = None) -> str:
    """Return how many of the `first` labels that are likely wrong are to be expected wrong, "" where there are none.

    Args:
        labels: that are likely wrong.
        first: how many of them it is said of.
        answers: that they were found by: where many are wrong, some of these mistakes are taken for wrong labels.
    """
    count = min(first, len(labels))
    if not count:
        return ""
    expected = labels.expected(count)
    about = "fewer than 1" if expected < 0.5 else f"about {expected:.0f}"
    verb = "is" if count == 1 else "are"
    said = f"of the first {count:,} likely wrong labels {about} {verb} expected to be wrong indeed"
    accuracy = 1.0 if answers is None else _accuracy(answers)
    if accuracy >= _GOOD:
        return said
    return f"{said}; roughly, as what looked at them is right in {accuracy:.0%} alone"


def _accuracy(answers: HeldOutAnswers) -> float:
    asked = answers.folds >= 0
    return float(answers.correct[asked].mean()) if asked.any() else 1.0


def _share(value: float) -> str:
    if value >= _ALL:
        return "all"
    return "none" if value < _NONE else _percent(value)


def _percent(value: float) -> str:
    return f"{value:.1%}" if 0 < value < 0.01 else f"{value:.0%}"
