"""Copies, photos of one picture, and groups that stand on both sides of a split."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from regraft.data.audit import positions_by_key
from regraft.data.findings import HIGH, LOW, MEDIUM, Finding
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos

_SHOWN = 5
_SPLITS, _CLASSES = "splits", "classes"
_EXACT, _NEAR = "exact-duplicate", "near-duplicate"


def find_duplicates(photos: AuditPhotos) -> list[Finding]:
    """Return a finding for each photo that is there more than once: equal pixels, and others of the same picture."""
    exact = _equal(photos)
    first = np.arange(len(photos))
    for positions in exact:
        first[positions] = positions[0]
    found = [_finding(photos, _EXACT, positions) for positions in exact]
    for positions in _shared(photos.numbers.tolist(), photos):
        if len(np.unique(first[positions])) > 1:
            found.append(_finding(photos, _NEAR, positions))
    return sorted(found, key=lambda one: (one.kind, one.severity != HIGH, not one.across))


def _equal(photos: AuditPhotos) -> list[list[int]]:
    """Return the positions of photos with equal contents or equal pixels, for each such photo."""
    keys = list(photos.keys)
    if photos.pictures is not None:
        rows = photos.pictures.keys
        keys = [row.tobytes() if key and row.any() else key for key, row in zip(keys, rows, strict=True)]
    return [positions for positions in positions_by_key(keys).values() if len(positions) > 1]


def _shared(numbers: Sequence[int], photos: AuditPhotos) -> list[list[int]]:
    of_number: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(numbers):
        if photos.keys[place]:
            of_number[number].append(place)
    return [positions for positions in of_number.values() if len(positions) > 1]


def _finding(photos: AuditPhotos, kind: str, positions: Sequence[int]) -> Finding:
    across = _across(photos, positions)
    what = "the same photo" if kind == _EXACT else "the same picture"
    files = photos.names(positions)
    if _CLASSES in across:
        labels = sorted({photos.classes[label] for label in photos.labels[list(positions)].tolist() if label >= 0})
        advice = f"{what} stands under {' and '.join(labels)}: keep it under its right class alone."
    elif _SPLITS in across:
        splits = sorted({str(photos.splits[place]) for place in positions} - {str(None)})
        advice = f"{what} is in {' and '.join(splits)}: figures of one do not hold for new photos. Keep one."
    elif kind == _EXACT:
        advice = "the same photo more than once: keep one. `fit` keeps them on one side of every split."
    else:
        advice = "they show the same picture: `fit` takes them as one group. Look whether one is enough."
    severity = HIGH if across else (MEDIUM if kind == _EXACT else LOW)
    return Finding(kind, severity, files, advice, across)


def _across(photos: AuditPhotos, positions: Sequence[int]) -> tuple[str, ...]:
    places = list(positions)
    labels = {label for label in photos.labels[places].tolist() if label != NO_LABEL}
    splits = {photos.splits[place] for place in places} - {None}  # photos beside the splits are in none
    return tuple(name for name, found in ((_SPLITS, splits), (_CLASSES, labels)) if len(found) > 1)


def find_subject_leaks(photos: AuditPhotos, guessed: Sequence[str | None] = ()) -> list[Finding]:
    """Return a finding for each group that has photos in more than one split.

    Args:
        photos: with the groups that the data set names.
        guessed: (n,) names of groups that are a guess, where the data set names none.
    """
    names = photos.groups if any(name is not None for name in photos.groups) else tuple(guessed)
    is_guess = names is not photos.groups and bool(names)
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if name is not None and photos.keys[place]:
            members[name].append(place)
    found = []
    for name, positions in members.items():
        splits = sorted({str(photos.splits[place]) for place in positions} - {str(None)})
        if len(splits) > 1:
            said = "what seems to be one group" if is_guess else "the group"
            advice = (
                f"{said}, {name}, has photos in {' and '.join(splits)}: figures of one do not hold for new groups. "
                f"Move all of them into one split."
            )
            severity = MEDIUM if is_guess else HIGH
            more = {"group": name, **({"guessed": True} if is_guess else {})}
            found.append(Finding("subject-leak", severity, photos.names(positions), advice, (_SPLITS,), more))
    return found


def redundant(photos: AuditPhotos) -> dict[int, str]:
    """Return which photos a clean list leaves out, by position, each with the reason.

    Those that cannot be read; of equal photos all but one; of photos of one picture in several splits those that are
    trained on; and what stands under two classes, for nothing says which is right.
    """
    dropped = dict.fromkeys(photos.unreadable, "unreadable")
    order = {"test": 0, "validation": 1, "train": 2, None: 3}
    for kind, sets in ((_EXACT, _equal(photos)), (_NEAR, _shared(photos.numbers.tolist(), photos))):
        for positions in sets:
            left = [place for place in positions if place not in dropped]
            across = _across(photos, left)
            if _CLASSES in across and kind == _EXACT:
                dropped |= dict.fromkeys(left, "one photo under several classes")
            elif len(left) > 1 and kind == _EXACT:
                kept = min(left, key=lambda p: (order[photos.splits[p]], bool(photos.labels[p] == NO_LABEL), p))
                dropped |= {p: f"copy of {photos.names([kept])[0]}" for p in left if p != kept}
            elif _SPLITS in across:
                best = min(order[photos.splits[place]] for place in left)
                kept = next(place for place in left if order[photos.splits[place]] == best)
                said = f"shows the picture of {photos.names([kept])[0]}, of another split"
                dropped |= {p: said for p in left if order[photos.splits[p]] != best}
    return dict(sorted(dropped.items()))
