"""`audit` and `drift`, as the command `audit` does, on folders, tables and lists of images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regraft.api.arguments import check_no_corrections, columns_of, find_photos_of, is_place, split_options
from regraft.api.estimator import TransferClassifier
from regraft.api.log import LogObserver
from regraft.api.vectors import Network, embedder_of
from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.drift import Drift
from regraft.classifier.named import bundle_file
from regraft.data.cells import is_missing
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.photo_list import PhotoList
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.extras import missing_packages_named
from regraft.options import check_settings
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.audit import audit as audit_photos
from regraft.photo_audit.new_photos import compare_new_photos
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos, label_photos

_OF_AUDIT = ("y", "groups", "model")  # arguments that are no options


@missing_packages_named("regraft.audit")
def audit(data: Any, y: Any = None, *, groups: Any = None, model: Network | None = None, **options: Any) -> Audit:
    """Return what ruins figures in a set of photos: `print` shows it, `findings` and `to_json()` hold it.

    Nothing is changed, and nothing learned from a test split.

    Args:
        data: a folder of photos, with labels as for `TransferClassifier` or without; a table; or n images.
        y: (n,) labels of n images; None for a folder or table, and where there are none.
        groups: (n,) what belongs together, of n images; of a table: `group_column`.
        model: a network's name, a fitted classifier, or the file of one, whose network is taken; None for a strong
            network, or "offline" where that cannot be downloaded.
        options: columns of a table; `labels`, a table that corrects those of a folder or table; `device`, `engine`,
            `batch_size`, `cache` and so on, fields of `Compute`.

    Raises:
        DataError: no photos, or labels or groups that do not fit them.
        ModelError: no such network.
        OptionError: a value that is not allowed.
    """
    named, given = split_options(options, "audit", LabelOptions, Compute, own=_OF_AUDIT)
    corrections = LabelOptions(given.pop("labels", None))
    check_settings(corrections)
    columns, compute = columns_of(named, "audit"), Compute(**given)
    compute.check()
    photos = _photos(data, y, groups, columns, corrections)
    return audit_photos(photos, embedder_of(model, compute), observer=LogObserver())


@missing_packages_named("regraft.drift")
def drift(classifier: TransferClassifier | Classifier | str | Path, photos: Any, **options: Any) -> Drift:
    """Return how new photos differ from those that a classifier learned from; `print` shows it.

    Args:
        classifier: fitted, or the file of one.
        photos: a folder or table, or a list of paths, PIL images or arrays; training photos among them are left out, so
            that positions in `ranking` and `distances` are of the others.
        options: columns of a table; fields of `Compute`.

    Raises:
        DataError: no photos, or a classifier that keeps nothing of its training photos.
        BundleError: a file that is no classifier.
    """
    named, given = split_options(options, "drift", Compute, own=("classifier", "photos"))
    columns, compute = columns_of(named, "drift"), Compute(**given)
    found = find_photos_of(photos, columns)
    if not found:
        raise DataError("photos holds no images.")
    if isinstance(classifier, TransferClassifier):
        classifier = classifier._fitted()
    elif not isinstance(classifier, Classifier):
        classifier = load_bundle(bundle_file(classifier))
    return compare_new_photos(classifier, found, compute, LogObserver())[0]


def _photos(data: Any, y: Any, groups: Any, columns: Columns, corrections: LabelOptions) -> AuditPhotos:
    if is_place(data):
        if y is not None or groups is not None:
            raise DataError("y and groups are of n images. A folder or a table has its own: leave them out.")
        return find_audit_photos(os.fspath(data), columns, corrections)
    check_no_corrections(corrections, "data is a list of images: correct y")
    sources = find_photos_of(data, columns)
    if not sources:
        raise DataError("data holds no images.")
    names = [_names(values, len(sources), said) for values, said in ((y, "y"), (groups, "groups"))]
    nothing = (None,) * len(sources)
    return label_photos(PhotoList(tuple(sources), names[0], nothing), names[1])


def _names(values: Any, count: int, said: str) -> tuple[str | None, ...]:
    """Return the name of each photo's class or group; None where there is none."""
    if values is None:
        return (None,) * count
    found: Sequence[Any] = np.asarray(values, dtype=object).ravel().tolist()
    if len(found) != count:
        raise DataError(f"{said} must have a value for each of the {count:,} images. Got {len(found):,}.")
    return tuple(None if is_missing(value) else str(value) for value in found)
