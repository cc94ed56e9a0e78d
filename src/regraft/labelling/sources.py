"""The photos to choose from, and those that are labelled so far."""

from dataclasses import replace
from pathlib import Path

from regraft.data.columns import Columns
from regraft.data.folders import image_files
from regraft.data.layouts import readers_of
from regraft.data.photo_list import list_photos
from regraft.errors import DataError, printable
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos, label_photos
from regraft.storage.locations import location


def photos_to_label(
    photos: str | Path, labelled: str | Path | None, columns: Columns
) -> tuple[AuditPhotos, AuditPhotos | None]:
    """Return the photos to choose from, and those that are labelled, None where none are named.

    Of a table rows with a label count as labelled; the names of folders are no labels here.

    Args:
        photos: a folder, a table, a photo, or a glob.
        labelled: photos with labels, as for `fit`.
        columns: of whichever is a table.

    Raises:
        DataError: one names no photo, or nothing in `labelled` has a label; or a table that cannot be read.
        OptionError: columns without a table.
    """
    known = None
    if labelled is not None:
        known = find_audit_photos(labelled, columns if _is_table(labelled) or not _is_table(photos) else None)
        if not known.listed.has_labels:
            raise DataError(
                f"{printable(labelled)} holds no photo with a label. Name the photos that `regraft fit` learned from, "
                "or leave it out."
            )
    if _is_table(photos):
        return find_audit_photos(photos, columns), known
    listed = list_photos(photos, None if known is not None else columns)
    without = replace(listed, labels=(None,) * len(listed), notes=())
    return label_photos(without, (None,) * len(listed)), known


def _is_table(data: str | Path) -> bool:
    """Tell whether photos are named by the rows of a table, as `list_photos` does."""
    path = location(data)
    return any(reader.is_table for reader in readers_of(path)) and not (path.is_dir() and bool(image_files(path)[0]))
