"""Folds: which photos are held out and which are learned from; fixed by what the photos are, not by where they stand.

The fold of a photo follows from its own content (or its group's name) and the seed alone, so that other photos that
come or go never move it. Nothing but such a function can promise that, and it fills folds as dice do. Where a class has
too few photos for dice, they are dealt to the folds in turn instead.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.errors import DataError, SmallClassesError, option, shortlist

OUTER_FOLDS = 5  # of the evaluation: each photo is answered by what was learned without its fold
ENOUGH = 20  # photos or groups of a class that chance spreads over the folds well enough,
_ENOUGH_OF_A_FOLD = 4  # and so many for each fold
_ATTEMPTS = 20  # orders of dealing tried until every class is in every training part


def stratified_folds(
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    count: int,
    seed: int,
    groups: np.ndarray | None = None,
    identities: Sequence[bytes] | None = None,
) -> np.ndarray:
    """Return (n,) fold numbers from 0, none of them empty, with every class in each fold's share as far as it goes.

    A unit, a group or a photo in none, is hashed to a fold by the identity with the least hash in it: other photos play
    no part. Units of classes with fewer than `ENOUGH` units are dealt in the order of these hashes, each to the fold
    that has fewest photos of its rarest class: a class of no more units than folds has each in a fold of its own.

    Args:
        labels: (n,) positions in `classes`.
        classes: the class names, for the message.
        count: of folds; fewer are made if no class has that many photos (or groups).
        seed: of the hashes.
        groups: (n,) numbers of what must stay together, or None.
        identities: n names of what the photos are, equal for those of one named group; None: their positions.

    Raises:
        DataError: some class has fewer than two photos or groups, so that it cannot be both learned from and held out.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    _check_spread(labels, units, classes)
    table = _Units.of(labels, units, _hashes(seed, identities, len(labels)))
    most = int(table.spread.max())  # units of the class that has most
    for made in range(min(count, most), min(count, len(table.hashes)) + 1):
        folds = _spread_over(table, made)
        if folds is not None:
            return np.unique(folds[units], return_inverse=True)[1].ravel()
    raise DataError(
        "no split keeps the groups whole and leaves every class something to learn from: some class is in too few "
        f"groups. Add groups of the rare classes or leave {option('group_column')} out."
    )


@dataclass(frozen=True, eq=False)
class _Units:
    """m units: what must stay together, or single photos.

    Attributes:
        hashes: (m,) uint64.
        unit: (k,) the unit of each pair of a unit and a class that it has photos of.
        label: (k,) the class of each.
        photos: (k,) how many photos these are.
        spread: (c,) in how many units each class is.
    """

    hashes: np.ndarray
    unit: np.ndarray
    label: np.ndarray
    photos: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, units: np.ndarray, hashes: np.ndarray) -> "_Units":
        """Return the units (n,) of photos with these labels and hashes (n,)."""
        least = np.full(int(units.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(least, units, hashes)
        least = _digests(b"unit ", (number.tobytes() for number in least.astype("<u8")))  # the least of many is small
        width = int(labels.max()) + 1
        pairs, photos = np.unique(units.astype(np.int64) * width + labels, return_counts=True)
        return cls(least, pairs // width, pairs % width, photos, np.bincount(pairs % width))

    def every_class_learned(self, folds: np.ndarray) -> np.ndarray:
        """Return (c,) booleans: whether a class is learned from whichever of the folds (m,) is held out."""
        found = np.unique(np.stack([self.label, folds[self.unit]]), axis=1)[0]
        return np.asarray((np.bincount(found, minlength=len(self.spread)) > 1) | (self.spread == 0))


def _hashes(seed: int, identities: Sequence[bytes] | None, n: int) -> np.ndarray:
    """Return (n,) uint64: hashes of identities and seed."""
    return _digests(b"%d " % seed, (b"%d" % place for place in range(n)) if identities is None else identities)


def _digests(start: bytes, names: Iterable[bytes]) -> np.ndarray:
    """Return the first eight bytes of SHA-256 of each name after `start`, as (n,) uint64."""
    begun = hashlib.sha256(start)
    found = bytearray()
    for name in names:
        own = begun.copy()
        own.update(name)
        found += own.digest()[:8]
    return np.frombuffer(bytes(found), dtype=">u8").astype(np.uint64)


def _spread_over(table: _Units, count: int) -> np.ndarray | None:
    """Return (m,) folds of the units, None where some class cannot be learned from whichever is held out."""
    dealt = table.spread < max(ENOUGH, _ENOUGH_OF_A_FOLD * count)
    for attempt in range(_ATTEMPTS):
        folds = _hashed(table.hashes, count)
        _deal(table, folds, dealt, count, turn=attempt)
        learned = table.every_class_learned(folds)
        if learned.all():
            return folds
        dealt = dealt | ~learned  # by chance in one fold alone
    return None


def _hashed(hashes: np.ndarray, count: int) -> np.ndarray:
    """Return (m,) folds: floor(count u), u in [0, 1) being the first 40 bits of each hash."""
    scaled = (hashes >> np.uint64(24)) * np.uint64(count)
    return np.asarray(scaled >> np.uint64(40), dtype=np.int64)


def _deal(table: _Units, folds: np.ndarray, dealt: np.ndarray, count: int, *, turn: int) -> None:
    """Change the `folds` (m,) of units that have photos of the classes `dealt` (c,), the rarest class first.

    Each goes to the fold with fewest photos of its rarest class, then of its others, then of all; `turn` decides
    between equal ones, together with the hash.
    """
    waiting = defaultdict(list)  # the classes of each unit, the rarest first, and its photos of them
    for place in np.lexsort([table.label, table.spread[table.label]]).tolist():
        waiting[int(table.unit[place])].append((int(table.label[place]), int(table.photos[place])))
    chosen = set(table.unit[dealt[table.label]].tolist())
    of_class: dict[int, list[int]] = defaultdict(lambda: [0] * count)
    of_all = [0] * count
    for unit, parts in waiting.items():
        if unit not in chosen:
            _add(parts, int(folds[unit]), of_class, of_all)

    def rank(unit: int) -> tuple[int, int, int]:
        rarest = waiting[unit][0][0]
        return int(table.spread[rarest]), rarest, int(table.hashes[unit])

    for unit in sorted(chosen, key=rank):
        parts, first = waiting[unit], int(folds[unit]) + turn
        load = [
            (*(of_class[label][fold] for label, _ in parts), of_all[fold], (fold - first) % count)
            for fold in range(count)
        ]
        best = load.index(min(load))
        folds[unit] = best
        _add(parts, best, of_class, of_all)


def _add(parts: Sequence[tuple[int, int]], fold: int, of_class: dict[int, list[int]], of_all: list[int]) -> None:
    for label, photos in parts:
        of_class[label][fold] += photos
        of_all[fold] += photos


def lonely_classes(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the classes, positions in ascending order, that come from one photo or one group only.

    Args:
        labels: (n,) positions of classes.
        groups: (n,) numbers of what must stay together, or None.
    """
    units = np.arange(len(labels)) if groups is None else groups
    spread = np.bincount(np.unique(np.stack([labels, units]), axis=1)[0])
    return np.flatnonzero(spread == 1)


def _check_spread(labels: np.ndarray, units: np.ndarray, classes: Sequence[str]) -> None:
    lonely = lonely_classes(labels, units)
    if len(lonely):
        names = [classes[int(label)] for label in lonely]
        raise SmallClassesError(
            f"{len(lonely)} classes come from one photo or one group only, copies of a photo counted as one, and "
            f"cannot be both learned from and held out:\n{shortlist(names)}\n"
            "Add photos from another group (patient, object, scene) or remove the class. Where different photos were "
            f"taken for near-duplicates: {option('near_duplicates', 'ignore')}.",
            names,
        )
