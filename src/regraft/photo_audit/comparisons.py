"""Likely wrong labels, each beside the photos that it is to be compared with."""

from dataclasses import dataclass

import numpy as np

from regraft.photo_audit.audit import Audit

MOST = 60  # labels
CLASSES = 5  # that a photo is compared with at most
_IN_FULL = 20  # labels with so many; the others with two, or the page would outgrow a mailbox
_BLOCK = 4096  # photos whose distances are in memory at once


@dataclass(frozen=True)
class Comparison:
    """A likely wrong label.

    Attributes:
        position: of the photo.
        given: its class.
        suggested: the most probable other class.
        probability: of the given class.
        wrong: probability that the label is wrong.
        nearest: classes, and the position of the photo of each that is most alike; None where there is no other.
    """

    position: int
    given: str
    suggested: str
    probability: float
    wrong: float
    nearest: tuple[tuple[str, int | None], ...]


def comparisons(audit: Audit, *, most: int = MOST) -> list[Comparison]:
    """Return the first likely wrong labels, the least probable first, each with the nearest photos of classes.

    They are near by Euclidean distance in `audit.points`, and never of the same picture. A photo whose own label is
    likely wrong stands for no class.
    """
    answers, labels = audit.answers, audit.labels
    if answers is None or labels is None or not len(labels):
        return []
    rows, positions = labels.photos[:most], answers.positions
    sure = np.ones(len(positions), dtype=bool)
    sure[labels.photos] = False
    nearest = nearest_of_each_class(
        audit.points, positions[rows], positions[sure], answers.dataset.labels[sure], audit.photos.numbers
    )
    names, found = answers.dataset.classes, []
    for place, row in enumerate(rows.tolist()):
        given, suggested = int(answers.dataset.labels[row]), int(labels.suggested[place])
        count = CLASSES if place < _IN_FULL else 2
        shown = _classes_to_show(answers.probabilities[row], given, suggested, count)
        beside = [(names[label], nearest.get((place, label))) for label in shown]
        values = float(labels.given[place]), float(labels.wrong[place])
        found.append(Comparison(int(positions[row]), names[given], names[suggested], *values, tuple(beside)))
    return found


def _classes_to_show(probabilities: np.ndarray, given: int, suggested: int, count: int) -> list[int]:
    """Return the given class, the suggested one, and the most probable others."""
    others = [label for label in np.argsort(-probabilities, kind="stable").tolist() if label not in (given, suggested)]
    return [given, suggested, *others[: count - 2]]


def nearest_of_each_class(
    points: np.ndarray, asked: np.ndarray, positions: np.ndarray, labels: np.ndarray, numbers: np.ndarray
) -> dict[tuple[int, int], int]:
    """Return the position of the nearest photo by place in `asked` and class; none of the same picture.

    Args:
        points: (n, k) of all photos.
        asked: (q,) positions of those that are compared.
        positions: (m,) of those that they are compared with.
        labels: (m,) classes of these.
        numbers: (n,) equal for photos of one picture.
    """
    found: dict[tuple[int, int], int] = {}
    wanted = points[asked].astype(np.float64)
    for label in np.unique(labels).tolist():
        members = positions[labels == label]
        least, best = np.full(len(asked), np.inf), np.full(len(asked), -1)
        for start in range(0, len(members), _BLOCK):
            part = members[start : start + _BLOCK]
            distances = _distances(wanted, points[part].astype(np.float64))
            distances[numbers[asked][:, None] == numbers[part][None]] = np.inf
            nearest = distances.argmin(axis=1)
            values = distances[np.arange(len(asked)), nearest]
            best = np.where(values < least, part[nearest], best)
            least = np.minimum(values, least)
        found |= {(place, label): int(best[place]) for place in np.flatnonzero(best >= 0).tolist()}
    return found


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (q, m) squared distances; infinite where a point is not known."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.asarray(np.where(np.isfinite(squares), squares, np.inf))
