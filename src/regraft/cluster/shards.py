"""Photos in shards: what one worker of a cluster reads at a time, so that no process lists all photos."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from regraft.data.columns import Columns
from regraft.data.parquet_table import PARQUET_SUFFIX, row_groups
from regraft.data.photo_list import PhotoList, list_photos, list_tables
from regraft.data.tar_table import TAR_SUFFIX, EmptyArchiveError, empty_archive
from regraft.errors import DataError, printable
from regraft.images.source_files import file_of
from regraft.runtime import MANY_PHOTOS
from regraft.storage.locations import Location, RemotePath, location, stamp_of

PHOTOS_OF_A_SHARD = 2048  # of photos that are named one by one, and at least of row groups that are taken together


@dataclass(frozen=True, eq=False)
class Shard:
    """Photos that are worked on together: those of a file, or those that are named here.

    Attributes:
        file: a Parquet or .tar file; None where `named` has the photos.
        places: the rows of the file; None for all of it.
        named: photos that lie one by one.
        rows: how many photos there are; None where only the file says.
        columns: how the table is read.
        split: that the rows of the file are of, unless they say another.
    """

    file: Location | None = None
    places: range | None = None
    named: PhotoList | None = None
    rows: int | None = None
    columns: Columns = field(default_factory=Columns)
    split: str | None = None

    def photos(self) -> PhotoList:
        """Return the photos; those of a file are looked up now.

        Raises:
            DataError: the file cannot be read.
        """
        if self.file is None:
            assert self.named is not None  # it is the one or the other
            return self.named
        try:
            found = list_photos(self.file, self.columns)
        except EmptyArchiveError:  # among others, perhaps: its part has no rows
            return PhotoList.unlabelled((), str(self.file))
        if self.split is not None:
            found = replace(found, splits=tuple(split or self.split for split in found.splits))
        return found if self.places is None else found.select(self.places)

    def first_file(self) -> Location | None:
        """Return a file that must be there for the shard to be read; None where its photos are in no file."""
        if self.file is not None:
            return self.file
        assert self.named is not None
        return file_of(self.named.sources[0])

    def digest(self) -> str:
        """Return what changes when other photos are meant, other words of them, or a shard's file is another one.

        Photos that lie one by one are known by their names alone: there may be millions to look at.
        """
        about: list[object] = [self.columns]
        if self.file is not None:
            about += [*_state_of(self.file), self.places, self.split]
        else:
            assert self.named is not None
            photos = self.named
            about += [
                part for photo in zip(photos.sources, photos.labels, photos.splits, strict=True) for part in photo
            ]
            tables = {file for one in photos.sources if (file := file_of(one)) is not None and file is not one}
            about += [part for table in sorted(tables, key=str) for part in _state_of(table)]
            first = self.first_file()
            about += [Path.cwd()] if isinstance(first, Path) and not first.is_absolute() else []
        return hashlib.sha256("\0".join(map(str, about)).encode("utf-8", "surrogatepass")).hexdigest()

    def __str__(self) -> str:
        """Return the file, or the first and the last photo."""
        if self.file is not None:
            return str(self.file)
        assert self.named is not None
        return f"{self.named.sources[0]} to {self.named.sources[-1]}"


def find_shards(names: Sequence[str | os.PathLike[str]], columns: Columns | None = None) -> list[Shard]:
    """Return the shards of what is named: files of folders of Parquet or .tar files as they are, other photos in parts.

    Together they have the photos of `photos.find_photos`, in its order: what came before is not named again.

    Args:
        names: what `list_photos` takes each.
        columns: of tables.

    Raises:
        DataError: one that names no photo, or a table that cannot be read.
        OptionError: columns of what is no table.
    """
    columns = columns or Columns()
    known: set[object] | None = set() if len(names) > 1 else None
    found: list[Shard] = []
    for name in names:
        own = list(_shards(name, columns))
        if not own:
            raise _nothing(name)
        found += own if known is None else _without(own, known)
    return found


def count_photos(shards: Sequence[Shard]) -> int:
    """Return how many photos there are in all; at least `MANY_PHOTOS` where only files say."""
    count = sum(shard.rows or 0 for shard in shards)
    return count if all(shard.rows is not None for shard in shards) else max(count, MANY_PHOTOS)


def first_photos(shards: Sequence[Shard], count: int) -> PhotoList:
    """Return up to `count` photos of the first shard that has any.

    Raises:
        DataError: none has, or the file of one cannot be read.
    """
    for shard in shards:
        photos = shard.photos()
        if len(photos):
            return photos.select(range(min(len(photos), count)))
    assert shards[0].file is not None  # photos that are named are there
    raise empty_archive(shards[0].file)


def _shards(name: str | os.PathLike[str], columns: Columns) -> Iterator[Shard]:
    tables = list_tables(location(name))
    if not tables or tables[0][0].suffix.lower() not in (PARQUET_SUFFIX, TAR_SUFFIX):
        yield from _named_in_parts(list_photos(name, columns), columns)
        return
    for file, split in tables:
        if file.suffix.lower() == PARQUET_SUFFIX:
            for places in _parts_of(file):
                yield Shard(file, places, rows=len(places), columns=columns, split=split)
        else:
            yield Shard(file, columns=columns, split=split)


def _named_in_parts(photos: PhotoList, columns: Columns) -> Iterator[Shard]:
    for start in range(0, len(photos), PHOTOS_OF_A_SHARD):
        places = range(start, min(start + PHOTOS_OF_A_SHARD, len(photos)))
        yield Shard(named=photos.select(places), rows=len(places), columns=columns)


def _without(shards: Sequence[Shard], known: set[object]) -> Iterator[Shard]:
    """Yield the shards without files and photos that are known; those that are left are known afterwards."""
    new: set[object] = set()  # photos, and files of which all photos are taken: a glob names these one by one
    for shard in shards:
        if shard.named is None:
            assert shard.file is not None
            if shard.file not in known:
                new.add(shard.file)
                yield shard
            continue
        sources = shard.named.sources
        kept = [place for place, source in enumerate(sources) if not {source, file_of(source)} & known]
        new.update(sources, map(file_of, sources))
        if kept:
            yield replace(shard, named=shard.named.select(kept), rows=len(kept))
    known |= new


def _nothing(name: str | os.PathLike[str]) -> DataError:
    return DataError(
        f"no image found for: {printable(name)}. Name image files, folders of them, tables, or quoted globs."
    )


def _state_of(file: Location) -> tuple[object, ...]:
    """Return what changes when a file is another one, in other processes, too: a file system may be mounted anew."""
    if isinstance(file, RemotePath):
        listed = file.listed()
        return (*stamp_of(file), listed and listed.size)
    status = file.stat()
    return (file, file.absolute(), status.st_size, status.st_mtime_ns)


def _parts_of(file: Location) -> Iterator[range]:
    """Yield the rows of a file that make a shard: of row groups that are taken together; of an empty file none."""
    start = end = 0
    for size in row_groups(file):
        end += size
        if end - start >= PHOTOS_OF_A_SHARD:
            yield range(start, end)
            start = end
    if end > start:
        yield range(start, end)
