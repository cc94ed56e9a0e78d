"""Labels that somebody reviewed, in a table beside the photos: they correct what folders, names and tables say."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from regraft.data.columns import Columns
from regraft.data.folders import split_of
from regraft.data.label_table import LabelRow, LabelTable, read_label_table
from regraft.data.layouts import find_samples, split_names
from regraft.data.photo_list import PhotoList, list_photos
from regraft.data.samples import Samples, composed, natural_order
from regraft.errors import DataError, counted, first_few, option, printable, shortlist
from regraft.images.sources import ArchiveMember, Source, TableCell
from regraft.options import setting
from regraft.storage.locations import Location, RemotePath, address, is_file, location

_CLASSES_SHOWN = 10


@dataclass(frozen=True)
class LabelOptions:
    """A table that corrects the labels of photos; the command line's option is made from this field.

    Attributes:
        labels: a .csv or .tsv file with a row for each photo that is corrected; None: labels are as they are found.
    """

    labels: Path | None = setting(
        None,
        help="CSV of image and label that corrects the labels found: other labels, photos to leave out (no label) or "
        "to add.",
        allowed="a file",
        check=lambda file: isinstance(file, str | os.PathLike),
    )

    def find(
        self,
        data: str | os.PathLike[str],
        columns: Columns | None = None,
        *,
        splits: Sequence[str] = ("train", "validation"),
    ) -> dict[str, Samples]:
        """Return what `layouts.find_samples` finds with the labels that the table has.

        Where there is a table, photos that have a label in it alone are among them, and those that have none anywhere
        are left out.

        Raises:
            DataError, OptionError: as `find_samples` and `apply`.
        """
        return self.apply(find_samples(data, columns, splits=splits, unlabelled=self.labels is not None), data, columns)

    def apply(
        self, splits: Mapping[str, Samples], data: str | os.PathLike[str], columns: Columns | None = None
    ) -> dict[str, Samples]:
        """Return splits with the labels that the table has; as they are where there is no table.

        A photo that `data` has not is added to the training photos. Photos of splits that are not among `splits` stay
        where they are.

        Args:
            splits: "train" and others that were found in `data`.
            data: the folder or table.
            columns: by which it was read.

        Raises:
            DataError: a table that cannot be read, or rows that name no photo, several, or contradict each other.
        """
        if self.labels is None:
            return dict(splits)
        table = read_label_table(location(self.labels))
        columns = columns or Columns()
        others = _of_other_splits(data, columns, splits)
        sources = [source for part in splits.values() for source in part.sources]
        root = _root(data, columns)
        held_back = range(len(sources), len(sources) + len(others))
        found = _matched(table, _KnownPhotos([*sources, *others], root), held_back=held_back)
        known = {name for part in splits.values() for name in part.classes}
        before = [name for part in splits.values() for name in part.names()]
        notes = [*table.notes, *found.in_words(before)]
        result, start = {}, 0
        for split, part in splits.items():
            own = {place - start: label for place, label in found.labels.items() if 0 <= place - start < len(part)}
            result[split] = _corrected(part, own, found.added if split == "train" else (), table.file)
            start += len(part)
        counts = {name: count for part in result.values() for name, count in part.counts().items() if count}
        if new := [f"{name} ({counts[name]:,})" for name in natural_order(counts) if name not in known]:
            notes.append(f"labels: new classes, with their photos: {printable(first_few(new, _CLASSES_SHOWN))}")
        if found.added and splits["train"].grouped_by:
            notes.append(
                f"labels: each photo that is added is taken as a group of its own ({splits['train'].grouped_by!r})"
            )
        if count := sum(name is None and place not in found.labels for place, name in enumerate(before)):
            notes.append(f"labels: {counted(count, 'photo')} without a label, there or in {table.file.name}, left out")
        result["train"] = replace(result["train"], notes=(*result["train"].notes, *notes))
        return result

    def apply_to_list(
        self,
        listed: PhotoList,
        groups: Sequence[str | None],
        data: str | os.PathLike[str],
        columns: Columns | None = None,
    ) -> tuple[PhotoList, tuple[str | None, ...]]:
        """Return listed photos, and the names of their groups (n,), with the labels that the table has.

        A photo that is not listed is added, to the training photos where there are splits. Photos of a test split stay
        as they are.

        Raises:
            DataError: as `apply`.
        """
        if self.labels is None:
            return listed, tuple(groups)
        table = read_label_table(location(self.labels))
        tested = {place for place, split in enumerate(listed.splits) if split == "test"}
        known = _KnownPhotos(listed.sources, _root(data, columns or Columns()))
        found = _matched(table, known, held_back=tested)
        keep = [place for place in range(len(listed)) if found.labels.get(place, "") is not None]
        if not keep and not found.added:
            raise _nothing_left(table.file, len(listed), listed.where)
        labels = [found.labels.get(place, listed.labels[place]) for place in keep]
        count = len(found.added)
        split = "train" if listed.has_splits else None
        notes = [*table.notes, *found.in_words(listed.labels)]
        result = PhotoList(
            (*(listed.sources[place] for place in keep), *(path for path, _ in found.added)),
            (*labels, *(label for _, label in found.added)),
            (*(listed.splits[place] for place in keep), *[split] * count),
            listed.where,
            (*listed.notes, *notes),
        )
        return result, (*(groups[place] for place in keep), *[None] * count)


class _KnownPhotos:
    """The photos of a data set by where they lie, whatever name they go by.

    Args:
        sources: the n photos.
        root: the folder that names in the table may be relative to, beside the table's own.
    """

    def __init__(self, sources: Sequence[Source], root: Location) -> None:
        self.root = root
        self._sources = sources
        self._folders: dict[str, str] = {}
        self._places: dict[str, list[int]] = {}
        for place, source in enumerate(sources):
            if isinstance(source, TableCell | ArchiveMember):
                self._places.setdefault(composed(f"{self._real(source.file)}:{source.name}"), []).append(place)
            elif isinstance(source, Path | RemotePath):
                self._places.setdefault(composed(self._real(source)), []).append(place)

    def _real(self, path: Location) -> str:
        """Return the path without links; folders are asked once, for 100,000 photos lie in few."""
        if isinstance(path, RemotePath):
            return str(path.normal())
        parent, name = os.path.split(path)
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent)
        found = os.path.join(self._folders[parent], name)  # noqa: PTH118 (`Path` takes a while for the same)
        return os.path.realpath(found) if os.path.islink(found) else found  # noqa: PTH114

    def find(self, name: str, folder: Location) -> "tuple[list[int], list[Location], str]":
        """Return the positions of what a cell names, or the files that it names elsewhere, and what is wrong.

        Args:
            name: in the table.
            folder: of the table.
        """
        if not name:
            return [], [], "names nothing"
        spelled = dict.fromkeys((name, name.replace("\\", "/")))
        bases: tuple[Location, ...] = (folder, self.root, Path())
        ways = [self._real(address(one) or base / one) for base in bases for one in spelled]
        known = [way for way in dict.fromkeys(map(composed, ways)) if way in self._places]
        places = [place for way in known for place in self._places[way]]
        cells = {
            self._sources[place] for place in places if isinstance(self._sources[place], TableCell | ArchiveMember)
        }
        if len(known) > 1 or len(cells) > 1:
            return [], [], f"fits several photos: {', '.join(dict.fromkeys(str(self._sources[p]) for p in places))}"
        if places:
            return places, [], ""
        beside = dict.fromkeys(self._real(base / one) for base in bases[:2] for one in spelled)
        files = [path for way in beside if is_file(path := address(way) or Path(way))]
        if len(files) > 1:
            return [], [], f"fits several files: {', '.join(map(str, files))}"
        return [], files, "" if files else "is missing"

    def beside_splits(self, path: Location) -> bool:
        """Tell whether a file lies in another split beside the folder of the data, as test beside train."""
        above = self.root.resolve().parent
        if not split_of(self.root.name) or not path.is_relative_to(above):
            return False
        first = path.relative_to(above).parts[0]
        return split_of(first) not in (None, "", split_of(self.root.name))


@dataclass
class _Corrections:
    """What a table says of n photos.

    Attributes:
        file: the table.
        labels: of the photos at these positions; None leaves one out.
        added: further photos with their labels.
        held_back: rows of photos that are left as they are.
        nowhere: rows that leave out what is not there.
    """

    file: Location
    labels: dict[int, str | None] = field(default_factory=dict)
    added: list[tuple[Location, str]] = field(default_factory=list)
    held_back: int = 0
    nowhere: int = 0

    def add(self, row: LabelRow, places: Sequence[int], files: Sequence[Location], *, held: bool) -> None:
        """Take what a row says of photos at `places`, or of a file that is none of them."""
        if held:
            self.held_back += 1
        elif places:
            self.labels |= dict.fromkeys(places, row.label)
        elif row.label is None:
            self.nowhere += 1
        else:
            self.added.append((files[0], row.label))

    def in_words(self, before: Sequence[str | None]) -> list[str]:
        """Return what is changed of the labels `before` (n,), and what is passed over."""
        changed = sum(label is not None and label != before[place] for place, label in self.labels.items())
        out = sum(label is None for label in self.labels.values())
        said = [f"changes {counted(changed, 'label')}"] if changed else []
        said += [f"leaves out {counted(out, 'photo')}"] if out else []
        said += [f"adds {len(self.added):,}" if out else f"adds {counted(len(self.added), 'photo')}"] * bool(self.added)
        name = printable(self.file.name)
        lines = [f"labels: {name} {', '.join(said) or 'changes nothing'}"]
        if self.held_back:
            lines.append(
                f"labels: {counted(self.held_back, 'row')} of {name} passed over: photos of a split that nothing is "
                "learned from here"
            )
        if self.nowhere:
            lines.append(f"labels: {counted(self.nowhere, 'row')} of {name} passed over: not there to be left out")
        return lines


def _matched(table: LabelTable, photos: _KnownPhotos, *, held_back: "range | set[int]") -> _Corrections:
    """Return what the rows say of photos.

    Raises:
        DataError: rows that name no photo or several, or contradict each other.
    """
    found = _Corrections(table.file)
    wrong: list[str] = []
    said: dict[object, LabelRow] = {}
    clashes: list[str] = []
    for row in table.rows:
        places, files, problem = photos.find(row.name, table.file.parent)
        if problem:
            wrong.append(f"{row.line}: {row.name!r} {problem}")
            continue
        first = said.setdefault(places[0] if places else files[0], row)
        if first.label != row.label:
            clashes.append(f"{first.line} and {row.line}: {row.name!r} {_said(first)} and {_said(row)}")
        elif first is row:
            held = any(place in held_back for place in places) or any(map(photos.beside_splits, files))
            found.add(row, places, files, held=held)
    if wrong:
        raise DataError(
            f"{printable(table.file)} ({option('labels')}): {len(wrong):,} of {len(table.rows):,} rows do not name one "
            f"photo:\n{shortlist(wrong)}\nName photos by paths from the table's folder, from {printable(photos.root)}, "
            "or from /; those inside a Parquet file as TABLE:NAME."
        )
    if clashes:
        raise DataError(
            f"{printable(table.file)} ({option('labels')}): rows contradict each other:\n{shortlist(clashes)}\nKeep "
            "one row for each photo."
        )
    return found


def _said(row: LabelRow) -> str:
    return "is left out" if row.label is None else f"is {row.label!r}"


def _corrected(
    part: Samples, labels: Mapping[int, str | None], added: Iterable[tuple[Source, str]], file: Location | None
) -> Samples:
    """Return one split with other labels by position, None to leave a photo out, and with further photos."""
    more = list(added)
    before = part.names()
    if not labels and not more and None not in before:
        return part
    seen: set[object] = set()
    keep, names = [], []
    for place, (source, found) in enumerate(zip(part.sources, before, strict=True)):
        name = labels.get(place, found)
        row = (source, name, None if part.groups is None else int(part.groups[place]))
        if name is None or (place in labels and row in seen):  # rows of one photo that said different things
            continue
        seen.add(row)
        keep.append(place)
        names.append(name)
    if not keep and not more:
        raise _nothing_left(file, len(part), part.where)
    kept = part.select(np.array(keep, dtype=np.int64))
    made = Samples.from_labels(
        part.where, [*kept.sources, *(path for path, _ in more)], [*names, *(label for _, label in more)]
    )
    groups = kept.groups
    if groups is not None and more:  # of numbers without a name: each is in a group of its own
        first = max(len(part.group_names), int(part.groups.max()) + 1 if len(part) else 0)  # type: ignore[union-attr]
        groups = np.concatenate([groups, np.arange(first, first + len(more))])
    return replace(
        kept,
        sources=made.sources,
        labels=made.labels,
        classes=made.classes,
        groups=groups,
        notes=tuple(dict.fromkeys([*part.notes, *made.notes])),
    )


def with_corrections(
    part: Samples, labels: Mapping[int, str | None], added: Iterable[tuple[Source, str]] = ()
) -> Samples:
    """Return a split with other labels by position, None to leave a photo out, and with further photos.

    What has no label, there or here, is left out. Where there are groups, each photo that is added is one of its own.

    Raises:
        DataError: nothing is left.
    """
    return _corrected(part, labels, added, None)


def _nothing_left(file: Location | None, count: int, where: str) -> DataError:
    photos = f"all {count:,} photos of {printable(where)}"
    if file is None:
        return DataError(f"{photos} are left out. Keep some.")
    return DataError(f"{printable(file)} ({option('labels')}) leaves out {photos}. Keep some.")


def _of_other_splits(data: str | os.PathLike[str], columns: Columns, splits: Mapping[str, Samples]) -> list[Source]:
    """Return the photos of splits that were not read: a row of one must not move it into training."""
    if set(split_names(data, columns)) <= set(splits):
        return []
    listed = list_photos(data, replace(columns, group=None))
    pairs = zip(listed.sources, listed.splits, strict=True)
    return [source for source, split in pairs if split is not None and split not in splits]


def _root(data: str | os.PathLike[str], columns: Columns) -> Location:
    """Return the folder that names in the data set are relative to."""
    path = location(data)
    if path.is_dir():
        return path
    return location(columns.image_root) if columns.image_root is not None else path.parent
