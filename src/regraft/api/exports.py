"""`export`, as the command does: a classifier in a format that other programs run."""

import os
from pathlib import Path
from typing import Any

from regraft.api.arguments import columns_of, find_photos_of, is_place, split_options
from regraft.api.estimator import TransferClassifier
from regraft.api.log import LogObserver
from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import bundle_file
from regraft.data.columns import Columns
from regraft.data.photo_list import PhotoList, list_photos
from regraft.errors import DataError, OptionError, option
from regraft.exports.export import Export
from regraft.exports.export import export as write
from regraft.exports.formats import format_named, with_ending
from regraft.exports.request import check_request
from regraft.extras import missing_packages_named
from regraft.networks.names import is_on_hub

_OWN = ("to", "out", "check", "int8", "max_loss", "force")
_UNNAMED = Path("classifier")


@missing_packages_named("regraft.export")
def export(
    classifier: TransferClassifier | Classifier | str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    check: Any = None,
    int8: bool = False,
    max_loss: float | None = None,
    force: bool = False,
    **options: Any,
) -> Export:
    """Write a classifier in a format that other programs run: from decoded photos of any size to probabilities.

    It is compared with the classifier, from the photos' files on, before it appears under its name; one that answers
    otherwise is not left there. `print` shows what was written.

    Args:
        classifier: fitted, or the file of one, or "hf-hub:owner/name".
        to: "onnx", "openvino" or "pt2".
        out: the file; None for one beside the classifier's, or "classifier" with the ending of
            the format.
        check: photos that it is compared on, of which at most 100 are taken: a folder or table, or a list of paths, PIL
            images or arrays. None makes some up.
        int8: quantise it ("onnx" and "openvino"): calibrated on a part of `check`, of which all are taken then, and
            judged on the others.
        max_loss: percentage points of accuracy that this may cost, or of agreement where photos have no labels; None
            for 1.
        force: replace files that are there.
        options: columns of a table.

    Raises:
        OptionError: no such format, an ending that is another's, or a classifier whose head is not linear.
        OutputError: the file exists (without `force`), or cannot be written.
        MissingPackageError: the format takes a package that is not installed.
        ExportError, EngineError: the format cannot express the network, or the file does not answer as the classifier.
    """
    named, _ = split_options(options, "export", own=_OWN)
    columns, format = columns_of(named, "export"), format_named(to)
    if isinstance(classifier, (TransferClassifier, Classifier)):
        beside = _UNNAMED
    elif is_place(classifier):
        beside = _UNNAMED if is_on_hub(str(classifier)) else Path(classifier).expanduser()
    else:
        raise OptionError(
            f"{option('classifier')} must be a fitted TransferClassifier, or the file of one. Got "
            f"{type(classifier).__name__}."
        )
    path = with_ending(beside, format) if out is None else Path(out).expanduser()
    check_request(path, format, photos=check is not None, int8=int8, max_loss=max_loss, force=force)
    photos = None if check is None else _photos(check, columns)
    if isinstance(classifier, TransferClassifier):
        classifier = classifier._fitted()
    elif not isinstance(classifier, Classifier):
        classifier = load_bundle(bundle_file(classifier))
    return write(classifier, to, path, check=photos, int8=int8, max_loss=max_loss, force=force, observer=LogObserver())


def _photos(check: Any, columns: Columns) -> PhotoList:
    if is_place(check):
        return list_photos(os.fspath(check), columns)
    sources = find_photos_of(check, columns)
    if not sources:
        raise DataError("check holds no images.")
    return PhotoList.unlabelled(sources)
