"""Every photo of a folder, a table or a pattern, each with its label and its split where it has them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from regraft.data.class_folders import read_folder
from regraft.data.columns import Columns
from regraft.data.folders import image_files, split_folders, subfolders
from regraft.data.layouts import SPLITS, readers_of
from regraft.data.photos import find_photos, paths_named
from regraft.data.samples import natural_order
from regraft.data.tables import TableRows, rows_in_table, rows_of_tables, split_of_shard, tables_in_order
from regraft.data.tar_table import EmptyArchiveError
from regraft.errors import DataError, OptionError, first_few, option, shortlist
from regraft.images.sources import Source
from regraft.storage.locations import Location, location

_SHOWN = 10  # classes in a line
_Said = tuple[str | None, str | None]  # the label and the split of a row


@dataclass(frozen=True, eq=False)
class PhotoList:
    """n photos, of which some may have labels or be of a split.

    Attributes:
        sources: the photos.
        labels: the name of each one's class, None where it has none.
        splits: "train", "validation" or "test", None where nothing says.
        where: the folder, table or pattern.
        notes: what was assumed, in words.
    """

    sources: tuple[Source, ...]
    labels: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    where: str = "the given images"
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def unlabelled(cls, sources: Sequence[Source], where: str = "the given images") -> "PhotoList":
        """Return photos of which nothing else is known."""
        nothing = (None,) * len(sources)
        return cls(tuple(sources), nothing, nothing, where)

    def __len__(self) -> int:
        """Return n."""
        return len(self.sources)

    @property
    def has_labels(self) -> bool:
        """Whether any photo has a label."""
        return any(label is not None for label in self.labels)

    @property
    def has_splits(self) -> bool:
        """Whether any photo is of a split."""
        return any(split is not None for split in self.splits)

    def select(self, positions: Sequence[int]) -> "PhotoList":
        """Return the photos at these positions."""
        return replace(
            self,
            sources=tuple(self.sources[place] for place in positions),
            labels=tuple(self.labels[place] for place in positions),
            splits=tuple(self.splits[place] for place in positions),
        )

    def without(self, unreadable: Mapping[int, str]) -> tuple["PhotoList", list[tuple[Source, str]]]:
        """Return the photos but those at these positions, and these, in order, with their reasons."""
        rest = self.select([place for place in range(len(self)) if place not in unreadable])
        return rest, [(self.sources[place], reason) for place, reason in sorted(unreadable.items())]

    def counts(self) -> dict[str, int]:
        """Return {label: number of photos}, in natural order; photos without a label are not counted."""
        found = Counter(label for label in self.labels if label is not None)
        return {label: found[label] for label in natural_order(found)}

    def split_counts(self) -> dict[str, int]:
        """Return {split: number of photos}, in the order of `layouts.SPLITS`."""
        found = Counter(self.splits)
        return {split: found[split] for split in SPLITS if split in found}

    def __str__(self) -> str:
        """Return in words what was found: how many photos, of which labels and splits."""
        without = self.labels.count(None)
        counts = [f"{label} {count:,}" for label, count in self.counts().items()]
        parts = [f"{len(self):,} photo{'' if len(self) == 1 else 's'} of {self.where}"]
        parts.append(f"labels: {first_few(counts, _SHOWN)}" if counts else "without labels")
        parts += [f"without one {without:,}"] if counts and without else []
        splits = ", ".join(f"{split} {count:,}" for split, count in self.split_counts().items())
        return "; ".join([*parts, *([f"splits: {splits}"] if splits else [])])


def none_readable(photos: PhotoList, unreadable: Sequence[tuple[Source, str]]) -> str:
    """Return the message where no photo of a list can be read."""
    lines = [f"{source}: {reason}" for source, reason in unreadable]
    return f"{photos.where}: none of the {len(photos):,} photos can be read:\n{shortlist(lines)}"


def list_photos(data: str | os.PathLike[str], columns: Columns | None = None) -> PhotoList:
    """Return all photos that `data` names, in the order of `find_photos`, the splits of a data set among them.

    A photo has the label that training would take it to have (`layouts.find_samples`), and none where there is none:
    labels that training would refuse are left out, and a note says why.

    Args:
        data: a folder, a table, a photo, or a glob.
        columns: of a table.

    Raises:
        DataError: it names no photo, or a table that cannot be read.
        OptionError: columns of what is no table.
    """
    columns, path = columns or Columns(), location(data)
    if _is_read_as_table(path):
        return _of_rows(rows_in_table(path, columns), str(data))
    if columns != Columns():
        names = ", ".join(map(option, ("image_column", "label_column", "split_column")))
        raise OptionError(
            f"{names} and {option('image_root')} are for tables. {data} is none: name a CSV or Parquet file instead, "
            "or leave them out."
        )
    found = PhotoList.unlabelled(find_photos([data]), str(data))
    return _of_folder(path, found) if path.is_dir() else _of_glob(paths_named(data), found)


def _is_read_as_table(path: Location) -> bool:
    """Tell whether `list_photos` reads rows: of a table, or of tables in a folder below which no photo lies."""
    is_table = any(reader.is_table for reader in readers_of(path))
    return is_table and not (path.is_dir() and image_files(path)[0])


def list_tables(path: Location) -> list[tuple[Location, str | None]]:
    """Return the tables whose rows `list_photos` reads, in its order; none where photos lie one by one.

    With each is the split that its rows are of unless they say another; None where nothing says.
    """
    return tables_in_order(path) if _is_read_as_table(path) else []


def _of_rows(rows: TableRows, where: str) -> PhotoList:
    if not rows.sources:
        raise DataError(f"{where} has no rows.")
    return PhotoList(tuple(rows.sources), tuple(rows.labels), tuple(rows.splits), where, tuple(rows.notes))


def _of_glob(paths: Sequence[Location], photos: PhotoList) -> PhotoList:
    """Return the photos that a glob matches with what tables among `paths` say of their rows.

    A photo is of the first table that names it; there it may be named by several rows.
    """
    notes: list[str] = []
    found: dict[Source, Iterator[_Said]] = {}
    for path in paths:
        if not _is_read_as_table(path):
            continue
        try:
            rows = rows_of_tables([(path, split_of_shard(path))], Columns())
        except EmptyArchiveError:
            continue
        except DataError as error:  # no table of photos, or one that another command would refuse
            notes.append(f"no label or split is taken from {path}: {error}")
            continue
        notes += rows.notes
        own: dict[Source, list[_Said]] = {}
        for source, label, split in zip(rows.sources, rows.labels, rows.splits, strict=True):
            own.setdefault(source, []).append((label, split))
        for source, said in own.items():
            found.setdefault(source, iter(said))
    nothing: _Said = (None, None)
    each = [next(found[source], nothing) if source in found else nothing for source in photos.sources]
    labels, splits = zip(*each, strict=True)
    return replace(photos, labels=labels, splits=splits, notes=tuple(notes))


def _of_folder(folder: Location, photos: PhotoList) -> PhotoList:
    """Return the photos below `folder` with what its folders and their names say."""
    notes: list[str] = []
    labels: dict[Source, str] = {}
    splits: dict[Source, str] = {}
    try:
        parts = split_folders(folder)
    except DataError as error:
        parts = {}
        notes.append(f"no split is taken from {folder}: {error}")
    for split, part in parts.items():
        splits |= dict.fromkeys(image_files(part)[0], split)
    for part in parts.values() or [folder]:
        try:
            samples = read_folder(part)
        except DataError as error:
            if subfolders(part):  # else a folder of photos without labels, as many are
                notes.append(f"no label is taken from {part}: {error}")
            continue
        names = (samples.classes[place] for place in samples.labels)
        labels |= dict(zip(samples.sources, names, strict=True))
    return replace(
        photos,
        labels=tuple(map(labels.get, photos.sources)),
        splits=tuple(map(splits.get, photos.sources)),
        notes=tuple(notes),
    )
