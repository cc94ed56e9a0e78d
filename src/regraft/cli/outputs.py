"""What commands that read photos and write files share: no input is overwritten, what cannot be read is named."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from regraft.cli.console import note
from regraft.errors import OptionError, printable
from regraft.images.sources import Source, TableCell

SOME_UNREADABLE = 3  # exit code


def check_keeps_inputs(file: Path, named: Iterable[str | Path], sources: Sequence[Source]) -> None:
    """Raise `OptionError` if `file` is what is read: it would be overwritten.

    Args:
        file: that is to be written.
        named: by the user.
        sources: the photos that are found there.
    """
    if not file.exists():
        return
    read = [source.file if isinstance(source, TableCell) else source for source in sources]
    places = dict.fromkeys([*(Path(name).expanduser() for name in named), *(p for p in read if isinstance(p, Path))])
    for path in places:
        if _is_same(path, file):
            raise OptionError(f"--out {printable(file)} is a file that is read here: {printable(path)}. Name another.")


def _is_same(path: Path, file: Path) -> bool:
    try:
        return path.samefile(file)
    except (OSError, ValueError):  # it is not there, or cannot be a path
        return False


def end_naming_unreadable(photos: Iterable[tuple[object, str]]) -> None:
    """Name the photos that could not be read, with the reasons, and exit with code 3 if there are any."""
    lines = [f"unreadable: {printable(name)}: {printable(reason)}" for name, reason in photos]
    for line in lines:
        note(line)
    if lines:
        raise typer.Exit(SOME_UNREADABLE)
