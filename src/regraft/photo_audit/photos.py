"""All photos of a data set with what names, tables, headers and pixels say of them: what an audit looks at."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy as np

from regraft.data.columns import Columns
from regraft.data.dataset import Dataset
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples, readers_of, split_names
from regraft.data.near_duplicates import Pictures
from regraft.data.photo_list import PhotoList, list_photos
from regraft.data.samples import Samples, clean_name, natural_order
from regraft.data.tables import groups_in_table
from regraft.errors import DataError
from regraft.images.headers import Header
from regraft.images.sources import Source
from regraft.images.value_range import Ranges
from regraft.storage.locations import location

NO_LABEL = -1
_TEST = "test"


@dataclass(frozen=True, eq=False)
class AuditPhotos:
    """n photos, those that cannot be read among them.

    Attributes:
        listed: the photos, with labels and splits where they have any.
        classes: c names, in natural order.
        labels: (n,) positions in `classes`, -1 for a photo without a label.
        groups: (n,) names of groups that the data set names; None for a photo in none.
        keys: (n,) content keys; b"" for photos that cannot be read.
        headers: (n,) what they say.
        unreadable: reasons by position.
        ranges: the values of black and white in photos of more than 8 bits.
        pictures: what they show; None where nobody has looked.
    """

    listed: PhotoList
    classes: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str | None, ...]
    keys: tuple[bytes, ...] = ()
    headers: tuple[Header | None, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)
    ranges: Ranges = ()
    pictures: Pictures | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.listed)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the photos."""
        return self.listed.sources

    @property
    def splits(self) -> tuple[str | None, ...]:
        """Return the split of each photo; None where nothing says."""
        return self.listed.splits

    @property
    def folder(self) -> str:
        """Return the folder that all photos lie in; "" where they are not files."""
        if not self.sources or not all(isinstance(source, PurePath) for source in self.sources):
            return ""
        parents = {str(Path(str(source)).parent) for source in self.sources}
        try:
            return os.path.commonpath(parents)
        except ValueError:  # relative and absolute names, or several drives
            return ""

    def names(self, positions: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Return the names of the photos at `positions`."""
        return tuple(str(self.sources[int(position)]) for position in positions)

    def without(self, unreadable: Mapping[int, str]) -> "AuditPhotos":
        """Return the same with more photos that cannot be read."""
        found = {**self.unreadable, **unreadable}
        keys = tuple(b"" if place in found else key for place, key in enumerate(self.keys))
        return replace(self, unreadable=dict(sorted(found.items())), keys=keys)

    @property
    def numbers(self) -> np.ndarray:
        """Return (n,) numbers, equal for photos of one picture."""
        return np.arange(len(self)) if self.pictures is None else self.pictures.numbers

    def learnable(self) -> np.ndarray:
        """Return the positions (m,) that may be learned from: readable, with a label, and not of the test split.

        Only those of classes that have two such photos or more. None where nobody has looked which can be read.
        """
        if not self.keys:
            return np.empty(0, dtype=np.int64)
        usable = np.array([bool(key) for key in self.keys]) & (self.labels != NO_LABEL)
        usable &= np.array([split != _TEST for split in self.splits], dtype=bool)
        counts = np.bincount(self.labels[usable], minlength=len(self.classes))
        usable[usable] = counts[self.labels[usable]] > 1
        return np.flatnonzero(usable)

    def labels_to_learn(self) -> np.ndarray:
        """Return (n,) classes, -1 for photos without one and for those of the test split, whose labels are not used."""
        return np.where([split == _TEST for split in self.splits], NO_LABEL, self.labels)

    def dataset(self, positions: np.ndarray, *, pictures: bool = True, groups: bool = True) -> Dataset:
        """Return labelled photos as what heads learn from.

        Args:
            positions: (m,) of photos with labels.
            pictures: whether copies, and photos that show one picture, are joined; else each is one of its own.
            groups: whether the groups that the data set names count.
        """
        names = [self.groups[place] for place in positions.tolist()]
        samples = Samples.from_labels(
            self.listed.where,
            [self.sources[place] for place in positions.tolist()],
            [self.classes[label] for label in self.labels[positions].tolist()],
            groups=names if groups and any(name is not None for name in names) else None,
        )
        keys = [self.keys[place] for place in positions.tolist()]
        if not pictures:
            keys = [key + place.to_bytes(8) for key, place in zip(keys, positions.tolist(), strict=True)]
        return Dataset(
            samples,
            tuple(keys),
            np.arange(len(positions)),
            pictures=self.pictures.select(positions) if pictures and self.pictures is not None else None,
            ranges=self.ranges,
        )


def photos_of(dataset: Dataset) -> AuditPhotos:
    """Return labelled photos that were looked at already."""
    samples, nothing = dataset.samples, (None,) * len(dataset)
    names = tuple(dataset.classes[label] for label in dataset.labels.tolist())
    listed = PhotoList(samples.sources, names, nothing, samples.where)
    headers = dataset.headers or nothing
    return AuditPhotos(
        listed, dataset.classes, dataset.labels, nothing, dataset.keys, headers, {}, dataset.ranges, dataset.pictures
    )


def find_audit_photos(
    data: str | os.PathLike[str], columns: Columns | None = None, corrections: LabelOptions | None = None
) -> AuditPhotos:
    """Return all photos that `data` names, of all splits, before any is looked at.

    Args:
        data: a folder, a table, a photo, or a glob.
        columns: of a table.
        corrections: what corrects the labels that are found.

    Raises:
        DataError: it names no photo, or a table that cannot be read.
        OptionError: columns of what is no table.
    """
    columns, corrections = columns or Columns(), corrections or LabelOptions()
    listed = list_photos(data, replace(columns, group=None))
    path = location(data)
    groups, said = _groups(data, columns, corrected=corrections.labels is not None)
    listed = replace(listed, notes=tuple(dict.fromkeys([*listed.notes, *said])))
    if columns.group is not None and any(reader.is_table for reader in readers_of(path)):
        names, notes = groups_in_table(path, columns.group)
        listed = replace(listed, notes=(*listed.notes, *notes))
    else:
        names = [groups.get(source) for source in listed.sources]
    return label_photos(*corrections.apply_to_list(listed, names, data, columns))


def label_photos(listed: PhotoList, groups: tuple[str | None, ...]) -> AuditPhotos:
    """Return listed photos as an audit takes them, before any is looked at.

    Args:
        listed: n photos.
        groups: (n,) the name of each one's group; None for a photo in none.
    """
    names = [None if label is None else clean_name(label) for label in listed.labels]
    classes = tuple(natural_order(name for name in names if name is not None))
    places = {name: place for place, name in enumerate(classes)}
    labels = np.array([NO_LABEL if name is None else places[name] for name in names], dtype=np.int64)
    return AuditPhotos(listed, classes, labels, groups)


def _groups(
    data: str | os.PathLike[str], columns: Columns, *, corrected: bool = False
) -> tuple[dict[Source, str | None], list[str]]:
    """Return the name of each photo's group by its file's name; those of splits that training would refuse are unknown.

    And what training would say of the photos: what is passed over, or why it would refuse them, unless their labels are
    still to be corrected.

    Raises:
        OptionError, DataError: a group column of what is no table.
    """
    try:
        splits = split_names(data, columns)
    except DataError:  # one photo or a glob, or folders that say nothing of splits
        if columns.group is not None:
            raise
        return {}, []
    found: dict[Source, str | None] = {}
    said: list[str] = []
    for split in splits:
        try:
            samples = find_samples(data, columns, splits=(split,))[split]
            said += samples.notes
            if split == "train" and not corrected:
                samples.check_trainable()
        except DataError as error:  # it has no labels, as a folder of photos to be answered, or none to learn from
            if split != _TEST:
                said.append(f"`fit` would refuse these photos: {error}")
            continue
        if samples.groups is not None:
            for source, number in zip(samples.sources, samples.groups.tolist(), strict=True):
                known = number < len(samples.group_names)
                found[source] = samples.group_names[number] if known else None
    return found, said
