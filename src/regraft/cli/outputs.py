"""What commands that read photos and write files share: no input is overwritten, what cannot be read is named."""

import os
from collections.abc import Iterable
from pathlib import Path

import typer

from regraft.cli.console import note
from regraft.errors import OptionError, printable
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import ArchiveMember, Source, TableCell
from regraft.networks.names import files_of_network

SOME_UNREADABLE = 3  # exit code


def check_keeps_inputs(
    file: Path, named: Iterable[str | Path | None], sources: Iterable[Source], *, option: str = "--out"
) -> None:
    """Raise `OptionError` if `file` is what is read: it would be overwritten.

    An image in a folder that is named counts, too: it may be one that this command leaves to others, as test photos.

    Args:
        file: that is to be written.
        named: files, folders and networks that the user named; None or "" for what was left out.
        sources: the photos that are found there.
        option: that names the file.
    """
    try:
        written = file.stat()
    except OSError:  # it is new
        return
    said = f"{option} {printable(file)}"
    given = [name for name in named if name]
    paths = [Path(name).expanduser() for name in given]
    own = [part for name in given for part in files_of_network(str(name))]
    read = [source.file if isinstance(source, TableCell | ArchiveMember) else source for source in sources]
    for path in dict.fromkeys([*paths, *own, *(one for one in read if isinstance(one, Path))]):
        if _is_same(path, written):
            raise OptionError(f"{said} is a file that is read here: {printable(path)}. Name another.")
    for folder in paths if file.suffix.lower() in IMAGE_SUFFIXES else []:
        if _is_in(folder, file):
            raise OptionError(f"{said} is an image among the photos of {printable(folder)}. Name another.")


def _is_same(path: Path, written: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), written)
    except (OSError, ValueError):  # it is not there, or cannot be a path
        return False


def _is_in(folder: Path, file: Path) -> bool:
    try:
        return folder.is_dir() and file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def end_naming_unreadable(photos: Iterable[tuple[object, str]]) -> None:
    """Name the photos that could not be read, with the reasons, and exit with code 3 if there are any."""
    lines = [f"unreadable: {printable(name)}: {printable(reason)}" for name, reason in photos]
    for line in lines:
        note(line)
    if lines:
        raise typer.Exit(SOME_UNREADABLE)
