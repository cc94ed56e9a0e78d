"""What to keep of a data set, as a table that `fit` reads: nothing is deleted."""

import csv
from pathlib import Path

from regraft.errors import OptionError, option, printable
from regraft.files import atomic_write, write_failure
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.duplicates import redundant
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos

_NOTE = "finding"  # a column that training does not read


def check_clean_list(photos: AuditPhotos, path: Path) -> None:
    """Raise `OptionError` where a table cannot name these photos with labels, or has another ending than a table's.

    Args:
        photos: that are to be named.
        path: of the table.
    """
    if path.suffix.lower() != ".csv":
        raise OptionError(f"{option('write_clean')} must end in .csv. Got {printable(path)}.")
    if not photos.listed.has_labels:
        raise OptionError(
            f"{option('write_clean')} names photos with their labels, and those of {printable(photos.listed.where)} "
            "have none. Leave it out: the findings name what to look at."
        )
    if not all(isinstance(source, Path) for source in photos.sources):
        raise OptionError(
            f"{option('write_clean')} names files, and the photos of {printable(photos.listed.where)} lie inside a "
            "table. Leave it out: the findings name the rows, and a program of yours can drop them."
        )


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
    columns = ["image", "label", *(["split"] if split else []), *(["group"] if grouped else []), _NOTE]
    rows = []
    for place, source in enumerate(photos.sources):
        if place in dropped or photos.labels[place] == NO_LABEL:
            continue
        row = {"image": str(Path(str(source)).absolute()), "label": photos.classes[photos.labels[place]]}
        row |= {"split": photos.splits[place] or "train", "group": photos.groups[place] or ""}
        rows.append(row | {_NOTE: notes.get(str(source), "")})
    try:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except UnicodeEncodeError as error:
        raise write_failure(path, OSError(0, f"a file name is no UTF-8: {error.object[:80]!r}")) from None
    return len(rows)
