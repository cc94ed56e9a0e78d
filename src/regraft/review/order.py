"""The order in which photos are shown to people: where looking is most likely to change something comes first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from regraft.evaluation.label_errors import probability_wrong
from regraft.images.sources import Source
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos

_POSSIBLY = 0.02  # probability that a label is wrong from which on it is looked at before all else
_ALMOST_CERTAIN = 0.99  # beyond which a probability is not given in digits that it does not have
_SURE = 0.9  # probability of an answer from which on it is called sure
_COPIES = ("exact-duplicate", "near-duplicate")


class Reason(StrEnum):
    """Why a photo is shown where it is; the first are shown first."""

    wrong_label = "wrong label"
    duplicate = "duplicate"
    uncertain = "uncertain"
    outlier = "outlier"
    unlabelled = "unlabelled"
    added = "added"
    none = "none"


@dataclass(frozen=True)
class ReviewItem:
    """A photo to look at.

    Attributes:
        position: among the photos of the audit.
        reason: why it is shown here.
        words: the same in a sentence.
        suggested: the class that it looks like where that is not its label; None where nothing says so.
        related: positions of what shows the same picture, of duplicates.
    """

    position: int
    reason: Reason
    words: str
    suggested: str | None = None
    related: tuple[int, ...] = ()


def review_order(audit: Audit, name_of: Callable[[Source], str] = str) -> list[ReviewItem]:
    """Return the photos whose label somebody may correct, each once, for the first reason that it has.

    Likely wrong labels, the likeliest first; duplicates across splits or classes; answers that are not sure, the least
    sure first; photos unlike all others; photos without a label; and all others, the least sure first. Photos that
    cannot be read and those of a test split, of which nothing is corrected, are left out.

    Args:
        audit: of the photos.
        name_of: what photos are called in words.
    """
    photos = audit.photos
    shown = {place for place, split in enumerate(photos.splits) if split != "test"} - set(photos.unreadable)
    shown &= {place for place, key in enumerate(photos.keys) if key}
    found: dict[int, ReviewItem] = {}
    for items in (
        _wrong_labels(audit),
        _duplicates(audit, name_of),
        _answered(audit, Reason.uncertain),
        _outliers(audit),
        _unlabelled(photos),
        _answered(audit, Reason.none),
    ):
        for item in items:
            if item.position in shown:
                found.setdefault(item.position, item)
    nothing = "nothing is known of it but its label"
    return [*found.values(), *(ReviewItem(place, Reason.none, nothing) for place in sorted(shown - set(found)))]


def _wrong_labels(audit: Audit) -> Iterator[ReviewItem]:
    """Yield the photos whose label may be wrong, the most probable ones first.

    By the probability for all photos: confident learning finds as many as it estimates there are, and misses some.
    """
    answers = audit.answers
    if answers is None or audit.labels is None:  # where answers are no better than chance, no label is doubted
        return
    known = np.flatnonzero(np.isfinite(answers.probabilities).all(axis=1))
    labels, probabilities = answers.dataset.labels[known], answers.probabilities[known]
    wrong = np.zeros(len(answers.probabilities))
    wrong[known] = probability_wrong(labels, probabilities)
    others = answers.probabilities.copy()
    others[np.arange(len(others)), answers.dataset.labels] = -1.0
    doubted = wrong >= _POSSIBLY
    doubted[audit.labels.photos] = True
    classes = answers.dataset.classes
    for row in np.argsort(-wrong, kind="stable").tolist():
        if doubted[row]:
            given, other = classes[answers.dataset.labels[row]], classes[int(others[row].argmax())]
            sure = "more than 99%" if wrong[row] > _ALMOST_CERTAIN else f"{wrong[row]:.0%}"
            words = f"labelled {given}, may be {other}: the label is wrong with a probability of {sure}"
            yield ReviewItem(int(answers.positions[row]), Reason.wrong_label, words, other)


def _duplicates(audit: Audit, name_of: Callable[[Source], str]) -> Iterator[ReviewItem]:
    """Yield what shows one picture under several classes, or in several splits; classes first."""
    photos = audit.photos
    places: dict[str, list[int]] = {}
    for place, source in enumerate(photos.sources):
        places.setdefault(str(source), []).append(place)
    findings = [one for kind in _COPIES for one in audit.of(kind) if one.across]
    for finding in sorted(findings, key=lambda one: "classes" not in one.across):
        own = [place for name in dict.fromkeys(finding.files) for place in places[name]]
        for place in own:
            others = tuple(other for other in own if other != place)
            where = "; ".join(f"{name_of(photos.sources[other])} ({_place_of(photos, other)})" for other in others[:3])
            words = f"{_place_of(photos, place)}, and shows the picture of {where}"
            yield ReviewItem(place, Reason.duplicate, words, related=others)


def _place_of(photos: AuditPhotos, place: int) -> str:
    label = photos.labels[place]
    said = ["without a label" if label == NO_LABEL else f"labelled {photos.classes[label]}"]
    return ", ".join([*said, *([f"of {photos.splits[place]}"] if photos.splits[place] else [])])


def _answered(audit: Audit, reason: Reason) -> Iterator[ReviewItem]:
    """Yield the photos with an answer, the least sure first: those that are not sure, or all."""
    answers = audit.answers
    if answers is None:
        return
    surest = np.nan_to_num(answers.probabilities, nan=np.inf).max(axis=1)
    for row in np.argsort(surest, kind="stable").tolist():
        if np.isfinite(surest[row]) and (reason is not Reason.uncertain or surest[row] < _SURE):
            yield _answered_item(answers, row, reason)


def _answered_item(answers: HeldOutAnswers, row: int, reason: Reason) -> ReviewItem:
    classes, probabilities = answers.dataset.classes, answers.probabilities[row]
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    given = int(answers.dataset.labels[row])
    other = classes[first] if first != given else None
    if reason is Reason.uncertain:
        words = f"not sure: {classes[first]} {probabilities[first]:.0%}, {classes[second]} {probabilities[second]:.0%}"
    else:
        words = f"labelled {classes[given]}, answered {classes[first]} ({probabilities[first]:.0%})"
    return ReviewItem(int(answers.positions[row]), reason, words, other)


def _outliers(audit: Audit) -> Iterator[ReviewItem]:
    photos = audit.photos
    names = [name for finding in audit.of("outlier") for name in finding.files]
    places = {str(source): place for place, source in enumerate(photos.sources)}
    for name in names:
        place = places[name]
        label = photos.labels[place]
        whose = "photos" if label == NO_LABEL else f"photos of {photos.classes[label]}"
        yield ReviewItem(place, Reason.outlier, f"unlike all other {whose}")


def _unlabelled(photos: AuditPhotos) -> Iterator[ReviewItem]:
    for place in np.flatnonzero(photos.labels == NO_LABEL).tolist():
        yield ReviewItem(place, Reason.unlabelled, "has no label")
