"""How data sets lie on disk: one row in `READERS` for each layout, and the labelled images of any of them."""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from regraft.data.archives import unpack_command
from regraft.data.class_folders import clips_apart, read_folder
from regraft.data.columns import Columns
from regraft.data.csv_table import CSV_SUFFIXES
from regraft.data.folders import SPLIT_FOLDERS, image_files, notes_on_splits, split_folders
from regraft.data.other_tables import other_table
from regraft.data.parquet_table import PARQUET_SUFFIX
from regraft.data.samples import Samples
from regraft.data.tables import images_in_table, parquet_files, read_tables, table_splits
from regraft.data.tar_table import is_tar
from regraft.errors import DataError, OptionError, option
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import Source
from regraft.storage.locations import Location, location

SPLITS = tuple(SPLIT_FOLDERS)


@dataclass(frozen=True)
class Reader:
    """One layout.

    Attributes:
        name: what people call it, with its article, for messages that list what is allowed.
        help: its variants, for the command line's help.
        recognises: tells whether a path has this layout.
        splits: path -> the files or folders of each of `SPLITS` that it has; data without splits are "train". Opens
            no image.
        read: the images of one split, whose name comes last: a file may hold several. Those without a label are an
            error, or among them where these are asked for.
        images: all images of the path, with or without labels, in its own order; the splits one after the other.
        is_table: it is read by `Columns`.
    """

    name: str
    help: str
    recognises: Callable[[Location], bool]
    splits: Callable[[Location, Columns], Mapping[str, Sequence[Location]]]
    read: Callable[[Sequence[Location], Columns, str, bool], Samples]
    images: Callable[[Location, Columns], Sequence[Source]]
    is_table: bool = False


def _is_csv(path: Location) -> bool:
    return path.is_file() and path.suffix.lower() in CSV_SUFFIXES


def _is_parquet(path: Location) -> bool:
    return bool(parquet_files(path)) if path.is_dir() else path.is_file() and path.suffix.lower() == PARQUET_SUFFIX


def _splits_of_folder(path: Location, _: Columns) -> dict[str, list[Location]]:
    return {split: [folder] for split, folder in (split_folders(path) or {"train": path}).items()}


def _read_tables(files: Sequence[Location], columns: Columns, split: str, unlabelled: bool) -> Samples:
    return read_tables(files, columns, split, unlabelled=unlabelled)


# From general to special: of the rows that recognise a path, the last one reads it. Class folders and names with labels
# are one row, as each split of a folder may be either.
READERS: dict[str, Reader] = {
    "folder": Reader(
        name="a folder of photos",
        help="class folders; train/ and val/ of class folders; a flat folder of cat.0.jpg, dog.0.jpg ...",
        recognises=lambda path: path.is_dir(),
        splits=_splits_of_folder,
        read=lambda folders, _, __, unlabelled: read_folder(folders[0], unlabelled=unlabelled),
        images=lambda folder, _: image_files(folder)[0],
    ),
    "csv": Reader(
        name="a .csv or .tsv file",
        help="a CSV",
        recognises=_is_csv,
        splits=table_splits,
        read=_read_tables,
        images=images_in_table,
        is_table=True,
    ),
    "parquet": Reader(
        name="a .parquet file",
        help="Parquet files",
        recognises=_is_parquet,
        splits=table_splits,
        read=_read_tables,
        images=images_in_table,
        is_table=True,
    ),
    "webdataset": Reader(
        name="a .tar file",
        help="WebDataset's .tar shards",
        recognises=is_tar,
        splits=table_splits,
        read=_read_tables,
        images=images_in_table,
        is_table=True,
    ),
}


def readers_of(path: Location) -> list[Reader]:
    """Return the rows of `READERS` that recognise `path`, from general to special."""
    return [reader for reader in READERS.values() if reader.recognises(path)]


def layouts_in_words() -> str:
    """Return every layout in one sentence, for the command line's help."""
    text = _listed([reader.help for reader in READERS.values()], "; ")
    return f"{text[0].upper()}{text[1:]}."


def find_samples(
    data: str | os.PathLike[str],
    columns: Columns | None = None,
    *,
    splits: Sequence[str] = ("train", "validation"),
    unlabelled: bool = False,
) -> dict[str, Samples]:
    """Find the labelled images of `data`.

    Args:
        data: what one of `READERS` recognises.
        columns: which columns of a table to read.
        splits: the splits to read, of which the first must be there. Training never asks for "test".
        unlabelled: whether photos without a label are among them, too: rows whose cell is empty, and a folder of loose
            photos. Else they are an error.

    Returns:
        Samples by split, in the order of `SPLITS`; data without splits are "train".

    Raises:
        DataError: no such path, no images, or labels that cannot be used.
        OptionError: columns of what is no table.
    """
    columns = columns or Columns()
    reader, found = _find_splits(data, columns)
    if splits[0] not in found:
        rows = f", or take all rows as one set: {option('split_column', 'none')}" if location(data).is_file() else ""
        raise DataError(
            f"{data} has no {splits[0]} split. It has: {', '.join(found)}. "
            f"Add a folder (or Parquet files) of that name, or name the folder or file that you mean{rows}."
        )
    samples = {
        split: reader.read(paths, columns, split, unlabelled) for split, paths in found.items() if split in splits
    }
    if reader.is_table:
        return _noted_once(samples)
    samples = clips_apart(samples)
    _note_passed_over(samples, location(data), found)
    return samples


def _noted_once(samples: dict[str, Samples]) -> dict[str, Samples]:
    """Return the same without the notes that an earlier split, of the same file, has too."""
    said: set[str] = set()
    found = {}
    for split, part in samples.items():
        found[split] = replace(part, notes=tuple(note for note in part.notes if note not in said))
        said.update(part.notes)
    return found


def split_names(data: str | os.PathLike[str], columns: Columns | None = None) -> tuple[str, ...]:
    """Return which of `SPLITS` `data` has, in that order; the last is the one to evaluate on. Reads none of them.

    Raises:
        DataError: no such path, or it is not clear what its folders or files are.
        OptionError: columns of what is no table.
    """
    return tuple(_find_splits(data, columns or Columns())[1])


def _note_passed_over(samples: dict[str, Samples], folder: Location, found: Mapping[str, Sequence[Location]]) -> None:
    """Add what lies beside the splits to the notes of the first."""
    notes = notes_on_splits(folder, {split: paths[0] for split, paths in found.items()})
    first = next(iter(samples))
    samples[first] = replace(samples[first], notes=(*samples[first].notes, *notes))


def _find_splits(data: str | os.PathLike[str], columns: Columns) -> tuple[Reader, dict[str, Sequence[Location]]]:
    """Return the reader of `data`, and the files or folders of each split that it has, in the order of `SPLITS`."""
    path = location(data)
    readers = readers_of(path)
    if not readers:
        raise DataError(_refusal(path))
    reader = readers[-1]
    if columns != Columns() and not reader.is_table:
        names = ", ".join(map(option, ("image_column", "label_column", "group_column", "split_column")))
        raise OptionError(
            f"{names} and {option('image_root')} are for tables. {path} is a folder: "
            "name a CSV or Parquet file instead, or leave them out."
        )
    splits = reader.splits(path, columns)
    return reader, {split: splits[split] for split in SPLITS if split in splits}


def _refusal(path: Location) -> str:
    """Return why no reader recognises `path`, and what is allowed."""
    allowed = _listed([reader.name for reader in READERS.values()], ", ")
    if not path.exists() and set("*?") & set(str(path)):
        folder = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        return f"{path} is a pattern, not {allowed}. Name the folder itself, whose photos are all read: {folder}."
    if not path.exists():
        return f"{path} does not exist. Name {allowed}."
    if not path.is_file():
        return f"{path} is neither a folder nor an ordinary file (a pipe or a device). Name {allowed}."
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return f"{path} is one photo. Name the folder that it lies in."
    unknown = f"{path} is a file of an unknown kind. Allowed are {allowed}."
    if command := unpack_command(path):
        unknown = (
            f"{path} is an archive: unpack it ({command}) and name the folder that comes out. Allowed are {allowed}."
        )
    return other_table(path) or unknown


def _listed(words: Sequence[str], separator: str) -> str:
    return f"{separator.join(words[:-1])}{separator}or {words[-1]}"
