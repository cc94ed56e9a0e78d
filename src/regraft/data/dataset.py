"""A data set: labelled photos that can be read, and all that is known across them, each computed once."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from regraft.data.audit import (
    Inspection,
    check_contradictions,
    check_unreadable,
    contradiction_lines,
    contradictions,
    inspect_shares,
    positions_by_key,
)
from regraft.data.near_duplicates import Pictures
from regraft.data.samples import Samples, together
from regraft.data.splits import lonely_classes, stratified_folds
from regraft.errors import first_few, printable, shortlist
from regraft.files import MAX_FILE_BYTES
from regraft.images.headers import Header
from regraft.images.preprocess import Preprocess
from regraft.images.resizing import PILLOW
from regraft.images.value_range import Range, Ranges, choose_ranges
from regraft.processes import ALONE, ProcessGroup
from regraft.progress import Observer, progress
from regraft.ray_workers import RayWorkers

_ABSENT_SHOWN = 20  # classes in a message
MAX_AMBIGUOUS = 0.01  # share of photos under two classes that a large set may lose
_GLANCE = Preprocess(32, 32, 1.0, "center", "bilinear", (0.0,) * 3, (1.0,) * 3)  # enough to see whether all can be read


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that was left out.

    Attributes:
        position: where it stood among all that were found.
        name: of the file.
        reason: why it cannot be read.
    """

    position: int
    name: str
    reason: str

    def __str__(self) -> str:
        """Return "file: reason"."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """n labelled photos that can be read.

    Attributes:
        samples: the photos, their labels and class names.
        keys: their content keys, 32 bytes each: equal files have equal keys.
        positions: (n,) where each stood among all that were found.
        unreadable: those that were left out, in order.
        pictures: what they show; None where nobody has looked.
        ranges: the values of black and white in photos of more than 8 bits, by kind of number.
        headers: (n,) what the photos' headers say; () where nobody has asked.
    """

    samples: Samples
    keys: tuple[bytes, ...]
    positions: np.ndarray
    unreadable: tuple[UnreadablePhoto, ...] = ()
    pictures: Pictures | None = None
    ranges: Ranges = ()
    headers: tuple[Header | None, ...] = ()
    _folds: dict[tuple[int, int, bool], np.ndarray] = field(default_factory=dict, repr=False)
    _groups: np.ndarray | None = field(default=None, repr=False)  # of a selection: as in the whole

    @classmethod
    def of(cls, samples: Samples, inspection: Inspection, ranges: Ranges = ()) -> "Dataset":
        """Return the photos of `samples` that `inspection` could open."""
        whole = cls(samples, inspection.keys, np.arange(len(samples)), ranges=ranges, headers=inspection.headers)
        return whole.without(inspection.unreadable)

    def __len__(self) -> int:
        """Return n."""
        return len(self.keys)

    @property
    def labels(self) -> np.ndarray:
        """Return (n,) positions in `classes`."""
        return self.samples.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.samples.classes

    @functools.cached_property
    def groups(self) -> np.ndarray | None:
        """Return (n,) numbers of what must stay on one side of a split, copies and near-duplicates joined; or None."""
        return joined_groups(self.samples, self.keys, self.pictures) if self._groups is None else self._groups

    def identities(self) -> list[bytes]:
        """Return what each of the n photos is known by, whatever stands beside it: its group's name, else its key."""
        return [
            b"photo " + key if name is None else b"group " + name.encode("utf-8", "surrogatepass")
            for name, key in zip(self.samples.names_of_groups(), self.keys, strict=True)
        ]

    def without(self, unreadable: Mapping[int, str]) -> "Dataset":
        """Return the data set without the photos at these positions, which have reasons; itself if there are none."""
        if not unreadable:
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[sorted(unreadable)] = False
        sources, places = self.samples.sources, self.positions
        lost = [UnreadablePhoto(int(places[p]), str(sources[p]), reason) for p, reason in unreadable.items()]
        rest = self._at(keep)
        return replace(rest, unreadable=tuple(sorted([*self.unreadable, *lost], key=lambda photo: photo.position)))

    def say_absent_classes(self, observer: Observer) -> None:
        """Name the classes without photos."""
        absent = [printable(name) for name, count in self.samples.counts().items() if not count]
        if absent:
            what = "1 class" if len(absent) == 1 else f"{len(absent):,} classes"
            observer.say(f"no photos of {what} here, whose recall is unknown: {first_few(absent, _ABSENT_SHOWN)}")

    def leave_out(self, reasons: Mapping[str, np.ndarray], observer: Observer) -> "Dataset":
        """Return the photos for which no reason is True; name the others, which take no part in the evaluation.

        Args:
            reasons: what is true of some photos, e.g. "were trained on", and of which: (n,) booleans, at most one True
                for each photo.
            observer: hears it.
        """
        keep = np.ones(len(self), dtype=bool)
        for why, mask in reasons.items():
            if not mask.any():
                continue
            names = [str(source) for source, left_out in zip(self.samples.sources, mask, strict=True) if left_out]
            observer.say(
                f"{len(names):,} of {len(mask):,} photos in {self.samples.where} {why} and are left out of the "
                f"evaluation:\n{shortlist(names)}"
            )
            keep &= ~mask
        return self if keep.all() else self._at(keep)

    def select(self, positions: np.ndarray) -> "Dataset":
        """Return the photos at `positions` (integers or booleans), with the same classes and in the same groups."""
        return replace(self._at(positions), _groups=None if self.groups is None else self.groups[positions])

    def _at(self, positions: np.ndarray) -> "Dataset":
        chosen = np.arange(len(self))[positions]
        return replace(
            self,
            samples=self.samples.select(chosen),
            keys=tuple(self.keys[place] for place in chosen),
            positions=self.positions[chosen],
            pictures=None if self.pictures is None else self.pictures.select(chosen),
            headers=tuple(self.headers[place] for place in chosen) if self.headers else (),
            _folds={},
            _groups=None,
        )

    def regrouped(self, groups: np.ndarray, names: Sequence[str | None]) -> "Dataset":
        """Return the same photos in other groups: (n,) numbers, and the name of each number."""
        samples = replace(self.samples, groups=groups, group_names=tuple(names))
        return replace(self, samples=samples, _folds={}, _groups=None)

    def with_labels(self, labels: np.ndarray, classes: Sequence[str]) -> "Dataset":
        """Return the same photos with labels (n,) that are positions in other classes."""
        samples = replace(self.samples, labels=labels, classes=tuple(classes))
        return replace(self, samples=samples, _folds={}, _groups=self.groups)

    def relabelled(self, labels: np.ndarray) -> "Dataset":
        """Return the same photos with other labels (n,), positions in the same classes."""
        return self.with_labels(labels, self.classes)

    @classmethod
    def joined(cls, parts: Sequence["Dataset"]) -> "Dataset":
        """Return the photos of several data sets of the same classes as one; groups of one name are one group."""
        if len(parts) == 1:
            return parts[0]
        keys = tuple(key for part in parts for key in part.keys)
        return cls(
            together([part.samples for part in parts]),
            keys,
            np.arange(len(keys)),
            pictures=_joined_pictures(parts),
            ranges=parts[0].ranges,
            headers=tuple(header for part in parts for header in part.headers) if all(p.headers for p in parts) else (),
        )

    def folds(self, count: int, *, seed: int) -> np.ndarray:
        """Return (n,) numbers of `count` stratified folds with whole groups, which follow from what the photos are.

        See `splits.stratified_folds`.

        Raises:
            DataError: some class cannot be both learned from and held out.
        """
        if (count, seed, True) not in self._folds:
            self._folds[count, seed, True] = stratified_folds(
                self.labels,
                self.classes,
                count=count,
                seed=seed,
                groups=self.groups,
                identities=self.identities(),
            )
        return self._folds[count, seed, True]

    def possible_folds(self, count: int, *, seed: int) -> np.ndarray:
        """Return (n,) numbers of `count` folds as `folds` does, -1 for the photos of classes that cannot be held out.

        These are the classes of a single photo (or group): they are learned from only.
        """
        held_out = ~np.isin(self.labels, lonely_classes(self.labels, self.groups))
        if held_out.all() and len(self):
            return self.folds(count, seed=seed)
        if (count, seed, False) not in self._folds:
            folds = np.full(len(self), -1)
            if held_out.any():
                folds[held_out] = self.select(held_out).folds(count, seed=seed)
            self._folds[count, seed, False] = folds
        return self._folds[count, seed, False]

    def same_files(self, other: "Dataset") -> np.ndarray:
        """Return (n,) booleans: which photos are in `other`, byte for byte."""
        known = set(other.keys)
        return np.array([key in known for key in self.keys], dtype=bool)

    def overlap(self, trained: "Dataset") -> tuple[np.ndarray, np.ndarray]:
        """Return two (n,) masks: which photos are in `trained` too, as they are or edited, and which of its groups.

        Args:
            trained: photos of the same classes.
        """
        copies = self.same_files(trained)
        pictures = _joined_pictures([trained, self])
        if pictures is not None:
            count = len(trained)
            copies |= np.isin(pictures.numbers[count:], pictures.numbers[:count])
        groups = joined_groups(together([trained.samples, self.samples]), trained.keys + self.keys, pictures)
        if groups is None:
            return copies, np.zeros_like(copies)
        count = len(trained)
        return copies, np.isin(groups[count:], groups[:count]) & ~copies

    def digest(self) -> str:
        """Return how many photos and classes there are, and a digest of photos, labels and groups."""
        found = hashlib.sha256(self.labels.tobytes() + b"".join(self.keys))
        found.update(b"" if self.groups is None else self.groups.astype(np.int64).tobytes())
        return f"{len(self):,} photos, {len(self.classes):,} classes, {found.hexdigest()[:12]}"


def open_datasets(
    parts: Sequence[Samples],
    observer: Observer,
    *,
    max_file_size: int = MAX_FILE_BYTES,
    large: bool = False,
    value_range: Range | None = None,
    known: Ranges = (),
    processes: ProcessGroup = ALONE,
    workers: RayWorkers | None = None,
) -> list[Dataset]:
    """Look at every photo once and return the data sets of `parts`. All commands get their labelled photos here.

    Args:
        parts: samples of the same classes, each of one split.
        observer: hears findings and progress.
        max_file_size: bytes that a photo's file may have; a larger one counts as unreadable.
        large: a large source has some damaged photos and some under two classes: both are found now, by decoding all,
            and left out, as training must not come upon them after hours.
        value_range: the values of black and white in photos of more than 8 bits, where the user chose them.
        known: those that a classifier was trained with, by kind of number.
        processes: that look at a part of the photos each, and tell the others what they found.
        workers: of a cluster that look at the photos instead of this process.

    Raises:
        DataError: too many cannot be read, or one photo stands under two classes.
    """
    inspections = [
        inspect_shares(part.sources, processes, workers, max_file_size=max_file_size, say=observer.say)
        for part in parts
    ]
    deep = [
        (p.sources[place], e) for p, found in zip(parts, inspections, strict=True) for place, e in found.extents.items()
    ]
    ranges = choose_ranges(deep, given=value_range, known=known, say=observer.say)
    if large:
        return [replace(part, ranges=ranges) for part in _open_large(parts, inspections, observer, processes)]
    for part, inspection in zip(parts, inspections, strict=True):
        check_unreadable(part, inspection.unreadable)
        check_contradictions([part], [inspection.keys])
        for note in part.notes:
            observer.say(note)
    if len(parts) > 1:
        check_contradictions(parts, [inspection.keys for inspection in inspections])
    return [Dataset.of(part, inspection, ranges) for part, inspection in zip(parts, inspections, strict=True)]


def _open_large(
    parts: Sequence[Samples], inspections: Sequence[Inspection], observer: Observer, processes: ProcessGroup
) -> list[Dataset]:
    keys = [inspection.keys for inspection in inspections]
    ambiguous = contradictions(parts, keys)
    several = {position for positions in ambiguous for position in positions}
    if len(several) > MAX_AMBIGUOUS * sum(map(len, parts)):
        check_contradictions(parts, keys)
    if ambiguous:
        observer.say(
            f"{len(ambiguous):,} images stand under more than one class and are left out:\n"
            f"{shortlist(contradiction_lines(parts, ambiguous))}"
        )
    datasets, start = [], 0
    for part, inspection in zip(parts, inspections, strict=True):
        damaged = _damaged(part, set(inspection.unreadable), observer, processes)
        unreadable = {**inspection.unreadable, **damaged}
        check_unreadable(part, unreadable)
        for note in part.notes:
            observer.say(note)
        own = {position - start for position in several if 0 <= position - start < len(part)} - set(unreadable)
        readable = Dataset.of(part, replace(inspection, unreadable=unreadable))
        for photo in readable.unreadable:
            observer.say(str(photo))
        datasets.append(readable._at(~np.isin(readable.positions, sorted(own))))
        start += len(part)
    return datasets


def _damaged(samples: Samples, known: set[int], observer: Observer, processes: ProcessGroup) -> dict[int, str]:
    """Return the reasons why photos beyond those `known` cannot be decoded, by position.

    JPEGs are decoded at a fraction of their size, which reads all of it.
    """
    from regraft.images.loading import load_batches  # torch, which looking at headers does without

    places = processes.own([place for place in range(len(samples)) if place not in known])
    found: dict[int, str] = {}
    batches = load_batches([samples.sources[place] for place in places], _GLANCE, resizer=PILLOW)
    with progress(observer, "looking for damaged photos", len(places)) as advance, closing(batches):
        for batch in batches:
            found |= {places[position]: reason for position, reason in batch.unreadable.items()}
            advance(len(batch.positions) + len(batch.unreadable))
    return {place: reason for part in processes.gather(found) for place, reason in part.items()}


def _joined_pictures(parts: Sequence[Dataset]) -> Pictures | None:
    known = [part.pictures for part in parts if part.pictures is not None]
    return Pictures.joined(known) if len(known) == len(parts) else None


def joined_groups(samples: Samples, keys: Sequence[bytes], pictures: Pictures | None = None) -> np.ndarray | None:
    """Return groups (n,) that also keep copies on one side of a split, or None where nothing is to be kept.

    Two images share a group if they shared one before, have equal content or show one picture, directly or through
    others.
    """
    shared = [keys] if pictures is None else [keys, [number.tobytes() for number in pictures.numbers]]
    found = [positions for values in shared for positions in positions_by_key(values).values()]
    duplicates = [positions for positions in found if len(positions) > 1]
    if not duplicates:
        return samples.groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(samples)
    links = [(positions[0], other) for positions in duplicates for other in positions[1:]]
    if samples.groups is not None:
        first_of_group: dict[int, int] = {}
        links += [(first_of_group.setdefault(int(g), i), i) for i, g in enumerate(samples.groups)]
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
