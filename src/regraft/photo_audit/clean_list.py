"""What to keep of a data set, as a table that `fit` reads: nothing is deleted."""

from pathlib import Path

from regraft.data.cells import check_labels, is_missing
from regraft.data.csv_text import csv_text
from regraft.errors import DataError, OptionError, option, printable, shortlist
from regraft.files import atomic_write
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.duplicates import redundant
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos

_NOTE = "finding"  # a column that training does not read


def check_clean_list(photos: AuditPhotos, path: Path) -> None:
    """Raise `OptionError` where a table cannot name these photos or classes, or has another ending than a table's.

    Args:
        photos: that are to be named.
        path: of the table.
    """
    name, where = option("write_clean"), printable(photos.listed.where)
    if path.suffix.lower() != ".csv":
        raise OptionError(f"{name} must end in .csv. Got {printable(path)}.")
    if not photos.listed.has_labels:
        raise OptionError(
            f"{name} writes a table of photos and their labels, and {where} has none. Leave it out: the findings "
            "name the files."
        )
    if not all(isinstance(source, Path) for source in photos.sources):
        raise OptionError(
            f"{name} names files, and the photos of {where} lie inside a table. Leave it out: the findings name the "
            "rows, and a program of yours can drop them."
        )
    odd = [source for source in photos.sources if not _is_text(Path(str(source)).absolute())]
    if odd:
        raise OptionError(f"{name}: names that are no UTF-8 cannot stand in a table:\n{shortlist(odd)}\nRename them.")
    missing = [one for one in photos.classes if is_missing(one)]
    if missing:
        raise OptionError(
            f"{name}: a table would be read as if these classes were no value: {', '.join(map(repr, missing))}. Rename "
            "them."
        )
    broken = [one for one in photos.classes if "\n" in one or "\r" in one]
    if broken:
        raise OptionError(
            f"{name}: names of classes with line ends cannot stand in a table: {', '.join(map(repr, broken))}. Rename "
            "these folders or labels."
        )
    try:
        check_labels(photos.classes, None, where)
    except DataError as error:
        raise OptionError(f"{name}: as labels of a table these classes could not be read again. {error}") from None


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def write_clean_list(audit: Audit, path: Path) -> int:
    """Write the photos to keep, with label, split and group, and return how many there are.

    Left out are photos that cannot be read, photos without a label, all but one of equal photos, training photos whose
    picture another split has, and photos with equal pixels under several classes. Likely wrong labels stay, and are
    named in the column `finding`, for whoever looks at them.

    Raises:
        OutputError: it cannot be written.
    """
    photos = audit.photos
    dropped = redundant(photos)
    notes = {one.files[0]: f"likely {one.more['suggested']}" for one in audit.of("likely-mislabelled")}
    split = any(name is not None for name in photos.splits)
    grouped = any(name is not None for name in photos.groups)
    rows: list[list[str]] = [["image", "label", *["split"] * split, *["group"] * grouped, _NOTE]]
    for place, source in enumerate(photos.sources):
        if place in dropped or photos.labels[place] == NO_LABEL:
            continue
        row = [str(Path(str(source)).absolute()), photos.classes[photos.labels[place]]]
        row += [photos.splits[place] or "train"] * split + [photos.groups[place] or ""] * grouped
        rows.append([*row, notes.get(str(source), "")])
    with atomic_write(path) as temporary:
        temporary.write_text(csv_text(rows, exact=True), encoding="utf-8", newline="")
    return len(rows) - 1
