"""Photos and labels as a CSV table that training reads: what can stand in one."""

from collections.abc import Sequence
from pathlib import Path

from regraft.data.cells import check_labels, is_missing
from regraft.errors import DataError, OptionError, printable, shortlist
from regraft.images.sources import Source
from regraft.storage.locations import RemotePath, absolute_name


def check_table_path(path: Path, name: str) -> None:
    """Raise `OptionError` for a file that is not called as a CSV table; `name` is the option's, for the message."""
    if path.suffix.lower() != ".csv":
        raise OptionError(f"{name} must end in .csv. Got {printable(path)}.")


def check_table_of(sources: Sequence[Source], classes: Sequence[str], *, name: str, where: str, otherwise: str) -> None:
    """Raise `OptionError` where a table cannot name these photos or classes.

    Args:
        sources: that are to be named.
        classes: names of the classes.
        name: of the option that asks for the table.
        where: the photos are from, as it is printed.
        otherwise: a sentence on what to do where photos have no files.
    """
    if not all(isinstance(source, Path | RemotePath) for source in sources):
        raise OptionError(
            f"{name} names files, and {where} has photos that lie inside a table or in memory. {otherwise}"
        )
    odd = [source for source in sources if not _is_text(absolute_name(source))]
    if odd:
        raise OptionError(f"{name}: names that are no UTF-8 cannot stand in a table:\n{shortlist(odd)}\nRename them.")
    missing = [one for one in classes if is_missing(one)]
    if missing:
        raise OptionError(
            f"{name}: a table would be read as if these classes were no value: {', '.join(map(repr, missing))}. Rename "
            "them."
        )
    broken = [one for one in classes if "\n" in one or "\r" in one]
    if broken:
        raise OptionError(
            f"{name}: names of classes with line ends cannot stand in a table: {', '.join(map(repr, broken))}. Rename "
            "these folders or labels."
        )
    try:
        check_labels(classes, None, where)
    except DataError as error:
        raise OptionError(f"{name}: as labels of a table these classes could not be read again. {error}") from None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
