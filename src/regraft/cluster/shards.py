"""Photos in shards: what one worker of a cluster reads at a time, so that no process lists all photos."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from regraft.data.columns import Columns
from regraft.data.parquet_table import PARQUET_SUFFIX, row_groups
from regraft.data.photo_list import PhotoList, list_photos
from regraft.data.tables import parquet_files
from regraft.data.tar_table import is_tar, tar_files
from regraft.errors import DataError
from regraft.images.source_files import file_of
from regraft.images.sources import TableCell
from regraft.storage.locations import Location, location, stamp_of

PHOTOS_OF_A_SHARD = 2048  # of photos that are named one by one, and at least of row groups that are taken together


@dataclass(frozen=True, eq=False)
class Shard:
    """Photos that are worked on together: those of a file, or those that are named here.

    Attributes:
        file: a Parquet or .tar file; None where `named` has the photos.
        groups: the first of its row groups, and the one behind the last; None for all of the file.
        named: photos that lie one by one.
        rows: how many photos there are; None where only the file says.
        columns: how the table is read.
    """

    file: Location | None = None
    groups: tuple[int, int] | None = None
    named: PhotoList | None = None
    rows: int | None = None
    columns: Columns = field(default_factory=Columns)

    def photos(self) -> PhotoList:
        """Return the photos; those of a file are looked up now.

        Raises:
            DataError: the file cannot be read.
        """
        if self.file is None:
            assert self.named is not None  # it is the one or the other
            return self.named
        found = list_photos(self.file, self.columns)
        if self.groups is None:
            return found
        first, end = self.groups
        groups = [source.row_group if isinstance(source, TableCell) else 0 for source in found.sources]
        return found.select([place for place, group in enumerate(groups) if first <= group < end])

    def first_file(self) -> Location | None:
        """Return a file that must be there for the shard to be read; None where its photos are in no file."""
        if self.file is not None:
            return self.file
        assert self.named is not None
        return file_of(self.named.sources[0])

    def digest(self) -> str:
        """Return what changes when other photos are meant, or a shard's file is another one."""
        if self.file is not None:
            about: Sequence[object] = (*stamp_of(self.file), self.groups)
        else:
            assert self.named is not None
            about = [str(source) for source in self.named.sources]
        return hashlib.sha256("\0".join(map(str, about)).encode("utf-8", "surrogatepass")).hexdigest()

    def __str__(self) -> str:
        """Return the file, or the first and the last photo."""
        if self.file is not None:
            return str(self.file)
        assert self.named is not None
        return f"{self.named.sources[0]} to {self.named.sources[-1]}"


def find_shards(names: Sequence[str | os.PathLike[str]], columns: Columns | None = None) -> list[Shard]:
    """Return the shards of what is named: files of folders of Parquet or .tar files as they are, other photos in parts.

    Args:
        names: what `list_photos` takes each.
        columns: of tables.

    Raises:
        DataError: one that names no photo, or a table that cannot be read.
        OptionError: columns of what is no table.
    """
    columns = columns or Columns()
    return [shard for name in names for shard in _shards(name, columns)]


def _shards(name: str | os.PathLike[str], columns: Columns) -> Iterator[Shard]:
    files = _files(location(name))
    for file in files:
        if file.suffix.lower() == PARQUET_SUFFIX:
            yield from (Shard(file, groups, rows=rows, columns=columns) for groups, rows in _parts_of(file))
        else:
            yield Shard(file, columns=columns)
    if not files:
        photos = list_photos(name, columns)
        if not len(photos):
            raise DataError(f"no image found for: {name}. Name image files, folders of them, tables, or quoted globs.")
        for start in range(0, len(photos), PHOTOS_OF_A_SHARD):
            places = range(start, min(start + PHOTOS_OF_A_SHARD, len(photos)))
            yield Shard(named=photos.select(places), rows=len(places), columns=columns)


def _files(path: Location) -> list[Location]:
    """Return the Parquet or .tar files that a path is, or holds; none where photos lie one by one."""
    if is_tar(path):
        return tar_files(path)
    if path.is_dir():
        return parquet_files(path)
    return [path] if path.suffix.lower() == PARQUET_SUFFIX and path.is_file() else []


def _parts_of(file: Location) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the row groups of a file that make a shard, the first and that behind the last, and how many rows."""
    first, rows = 0, 0
    sizes = row_groups(file)
    for group, size in enumerate(sizes):
        rows += size
        if rows >= PHOTOS_OF_A_SHARD or group == len(sizes) - 1:
            yield (first, group + 1), rows
            first, rows = group + 1, 0
