"""Photos without labels, wherever they are named: files, folders, globs and tables."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from natsort import natsorted

from regraft.data.archives import to_unpack, unpack_command
from regraft.data.columns import Columns, MissingColumnError
from regraft.data.csv_table import CSV_SUFFIXES
from regraft.data.folders import hidden_note, scan
from regraft.data.layouts import readers_of
from regraft.data.parquet_table import PARQUET_SUFFIX
from regraft.data.samples import natural_order
from regraft.data.tar_table import TAR_SUFFIX, EmptyArchiveError, is_tar
from regraft.errors import DataError, OptionError, option, printable
from regraft.images.sources import Source
from regraft.storage.locations import Location, RemotePath, location

_TABLES = (*CSV_SUFFIXES, PARQUET_SUFFIX, TAR_SUFFIX)


def find_photos(arguments: Sequence[str | os.PathLike[str]], columns: Columns | None = None) -> list[Source]:
    """Return the photos that `arguments` name, in the order given; what came before is not named again.

    Args:
        arguments: files; folders, for all images below them in natural order of their paths; tables, or folders of
            them, for the images of their rows, train, validation and test in turn, whether they have labels or not;
            globs, for what they match in natural order, but folders.
        columns: the image column and the image root of tables.

    Raises:
        DataError: an argument that names nothing, or a table that cannot be read.
        OptionError: columns without a table.
    """
    columns = columns or Columns()
    found: list[Source] = []
    known: set[Source] = set()
    nothing: list[str | os.PathLike[str]] = []
    tables = False
    for argument in arguments:
        photos: list[Source] = []
        paths, named = paths_named(argument), False
        alone = len(arguments) == len(paths) == 1
        for path in paths:
            images, is_table = _images(path, columns, alone=alone)
            photos += [photo for photo in images if photo not in known]  # a table's own repeated rows stay
            known.update(images)
            named = named or bool(images)
            tables = tables or is_table
        if not named:
            nothing.append(argument)
        found += photos
    if nothing:
        listed = ", ".join(map(printable, nothing))
        raise DataError(
            f"no image found for: {listed}. Name image files, folders of them, tables, or quoted globs."
            f"{''.join(map(_why_nothing, nothing))}"
        )
    if len(found) == len(arguments) == 1 and (command := unpack_command(PurePath(str(found[0])))):
        raise DataError(f"{found[0]} is an archive. Unpack it ({command}) and name the folder that comes out.")
    if columns != Columns() and not tables:
        raise OptionError(
            f"{option('image_column')} and {option('image_root')} are for tables. None of the photos is named by a "
            "CSV or Parquet file: name one, or leave them out."
        )
    return found


def _why_nothing(argument: str | os.PathLike[str]) -> str:
    """Return in words what lies in a folder without photos that could be meant, "" where nothing does."""
    folder = location(argument)
    if not folder.is_dir():
        return ""
    found = scan(folder)
    notes = [to_unpack(found.others), *(f"{note}." for note in hidden_note(folder, found.hidden))]
    return "".join(f" {printable(note)}" for note in notes if note)


def paths_named(argument: str | os.PathLike[str]) -> list[Location]:
    """Return the path that an argument is, or those that a glob matches, but folders, in natural order."""
    path = location(argument)
    if isinstance(path, RemotePath):
        return _remote_paths(path)
    if os.path.lexists(path):  # a pipe, a device or a broken link, too: it is an unreadable photo
        return [path]
    if is_tar(path):
        return [path]
    names = natural_order(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns too)
    return [Path(name) for name in names if not Path(name).is_dir()]


def _remote_paths(path: RemotePath) -> list[Location]:
    if not glob.has_magic(str(path)) or path.exists():  # names in stores may hold brackets
        if not path.lists and path.suffix.lower() in _TABLES and not path.exists():
            return []  # a photo that is not there is an unreadable one
        return [path] if not path.lists or path.exists() or is_tar(path) else []
    return natsorted(path.matching(), key=str)


def _images(path: Location, columns: Columns, *, alone: bool) -> tuple[Sequence[Source], bool]:
    """Return the images of one path, and whether a table names them.

    The most general layout that finds any counts: a folder of photos is all images below it, whatever lies beside them.
    A file that was named among others and is no table of photos is an unreadable photo: the others are answered.
    """
    readers = readers_of(path)
    for reader in readers:
        try:
            images = reader.images(path, columns)
        except MissingColumnError:
            if alone or not path.is_file():
                raise
            return [path], False
        except EmptyArchiveError:
            if alone:
                raise
            return [], True
        if images:
            return images, reader.is_table
    return ([] if readers else [path]), False
