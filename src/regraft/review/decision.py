"""A decision about a photo: what was decided, by whom and when, and what may be kept of it."""

import os
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from regraft.data.cells import holds_several, is_missing
from regraft.data.csv_table import cell_text
from regraft.data.samples import clean_name
from regraft.errors import OptionError, option, printable
from regraft.images.sources import ArchiveMember, Source, TableCell

_KEY_BYTES = 32
FIELDS = ("action", "label", "reviewer")  # of a decision, which messages name
_LONGEST, _LONGEST_SHOWN = 1000, 200  # characters of a name


class Action(StrEnum):
    """What somebody decided about a photo."""

    confirm = "confirm"
    relabel = "relabel"
    exclude = "exclude"
    undo = "undo"


@dataclass(frozen=True)
class Decision:
    """A row of the log.

    Attributes:
        number: of the row, from 1; later rows have higher ones.
        key: of the photo's content: 32 bytes, see `images.sources.content_key`.
        path: of the photo, absolute; one inside a table is TABLE:NAME.
        action: what was decided.
        label: the class that was confirmed or given; None where the photo is excluded, or something was undone.
        reviewer: who decided.
        time: when, in UTC.
        undoes: the number of the decision that is undone; None of other actions.
    """

    number: int
    key: bytes
    path: str
    action: Action
    label: str | None
    reviewer: str
    time: datetime
    undoes: int | None = None


def checked_action(
    key: bytes, action: Action | str, label: str | None, *, given: Collection[str] = (), classes: Collection[str] = ()
) -> tuple[Action, str | None]:
    """Return action and label as they are kept: what can be exported as a table, and read again.

    Args:
        key: of the photo's content.
        action: what was decided.
        label: the class.
        given: labels of other decisions, in the same table.
        classes: of the data: a new label is not made of these.

    Raises:
        OptionError: one of them, or the key, is not allowed.
    """
    if len(key) != _KEY_BYTES:
        raise OptionError(f"{option('key')} must have {_KEY_BYTES} bytes. Got {len(key)}.")
    allowed = [one.value for one in Action if one is not Action.undo]
    if action not in allowed:
        raise OptionError(f"{option('action')} must be one of {', '.join(allowed)}. Got {action!r}.")
    if action == Action.exclude:
        if label is not None:
            raise OptionError(f"{option('label')} goes with confirm and relabel. Leave it out.")
        return Action.exclude, None
    if not isinstance(label, str) or is_missing(label) or not _is_name(label) or cell_text(label) != clean_name(label):
        raise OptionError(
            f"{option('label')} must be the name of a class: text in one line, not blank, not nan, without quotes "
            f"around it, of at most {_LONGEST:,} characters. Got {_shown(label)}."
        )
    label = clean_name(label)
    _check_single(label, given, classes)
    return Action(action), label


def _check_single(label: str, given: Collection[str], classes: Collection[str]) -> None:
    """Raise `OptionError` for a label that a table would have read as several, or that would have another read so."""
    before = {one.casefold() for one in given}
    known = before if label in classes else before | {one.casefold() for one in classes}
    if holds_several(label, {*known, label.casefold()}):
        raise OptionError(
            f"{option('label')} must be one class. Got {_shown(label)}: in a table of labels that is read as several. "
            "Give one of them, or a name without the names of others."
        )
    for other in given:
        if holds_several(other, {*before, label.casefold()}) and not holds_several(other, before):
            raise OptionError(
                f"{option('label')} {_shown(label)} cannot stand in one table with {_shown(other)}, which was given "
                "before and would be read as several labels. Give another name, or undo what was decided before."
            )


def checked_reviewer(name: str) -> str:
    """Return the name of who decides, as it is kept.

    Raises:
        OptionError: it is blank, or no text.
    """
    if not isinstance(name, str) or not _is_name(name):
        raise OptionError(f"{option('reviewer')} must be a name, in one line. Got {_shown(name)}.")
    return name.strip()


def _is_name(text: str) -> bool:
    """Tell whether text is one line in which something can be seen, without what no table holds (NUL, ESC ...)."""
    kinds = [unicodedata.category(character) for character in text]
    seen = any(kind[0] not in "CZ" for kind in kinds)
    return seen and "Cc" not in kinds and text.splitlines() == [text] and len(text) <= _LONGEST and _is_text(text)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, or bytes of a name that are no UTF-8
        return False
    return True


def name_of_photo(source: Source | str) -> str:
    """Return the absolute name of a photo, by which it is found from any folder.

    Raises:
        OptionError: it is in memory, or its name is no UTF-8.
    """
    if isinstance(source, TableCell | ArchiveMember):
        name = f"{source.file.absolute()}:{source.name}"
    elif isinstance(source, str | Path):
        name = os.path.abspath(source)  # noqa: PTH100 (a link keeps its name)
    else:
        raise OptionError(f"{option('source')} must be a file, or an image in a table. Got an image in memory.")
    if not _is_text(name):
        raise OptionError(f"{option('source')} {printable(name)} is no UTF-8, and cannot be kept. Rename the file.")
    return name
