"""What to keep of a data set, as a table that `fit` reads: nothing is deleted."""

from pathlib import Path

from regraft.data.csv_text import csv_text
from regraft.data.table_checks import check_table_of, check_table_path
from regraft.errors import OptionError, option, printable
from regraft.files import atomic_write
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.duplicates import redundant
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos
from regraft.storage.locations import absolute_name

_NOTE = "finding"  # a column that training does not read


def check_clean_list(photos: AuditPhotos, path: Path) -> None:
    """Raise `OptionError` where a table cannot name these photos or classes, or has another ending than a table's.

    Args:
        photos: that are to be named.
        path: of the table.
    """
    name, where = option("write_clean"), printable(photos.listed.where)
    check_table_path(path, name)
    if not photos.listed.has_labels:
        raise OptionError(
            f"{name} writes a table of photos and their labels, and {where} has none. Leave it out: the findings "
            "name the files."
        )
    otherwise = "Leave it out: the findings name the rows, and a program of yours can drop them."
    check_table_of(photos.sources, photos.classes, name=name, where=where, otherwise=otherwise)


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
        row = [absolute_name(source), photos.classes[photos.labels[place]]]
        row += [photos.splits[place] or "train"] * split + [photos.groups[place] or ""] * grouped
        rows.append([*row, notes.get(str(source), "")])
    with atomic_write(path) as temporary:
        temporary.write_text(csv_text(rows, exact=True), encoding="utf-8", newline="")
    return len(rows) - 1
