"""`suggest` and `group`, as the commands of these names do, on folders, tables and lists of images."""

import os
from pathlib import Path
from typing import Any

from regraft.api.arguments import columns_of, find_photos_of, is_place, plain, split_options
from regraft.api.estimator import TransferClassifier
from regraft.api.log import LogObserver
from regraft.api.vectors import Network, embedder_of, photos_and_compute, warn_of
from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import bundle_file
from regraft.data.photo_list import PhotoList
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, option
from regraft.extras import missing_packages_named
from regraft.labelling.groups import PhotoGroups, group_photos
from regraft.labelling.sources import photos_to_label
from regraft.labelling.suggestions import Suggestions
from regraft.labelling.suggestions import suggest as suggest_photos
from regraft.options import whole_number
from regraft.photo_audit.photos import label_photos


@missing_packages_named("regraft.suggest")
def suggest(
    classifier: TransferClassifier | Classifier | str | Path,
    photos: Any,
    count: int = 50,
    *,
    labelled: str | Path | None = None,
    **options: Any,
) -> Suggestions:
    """Return the photos to label next: those a classifier is least sure of, of as many kinds as there are.

    `print` shows them; `write("to-label.csv")` makes a table to fill in, which `fit` reads. The method is diverse
    mini-batch active learning (Zhdanov 2019).

    Args:
        classifier: fitted on what is labelled so far, or the file of one.
        photos: to choose from: a folder, a table (rows with a label count as labelled), or n images.
        count: photos to suggest.
        labelled: a folder or a table of the photos that have labels; they are left out, and written with their labels.
        options: columns of a table; fields of `Compute`.

    Raises:
        DataError: no photos, or none that is left to choose from.
        BundleError: a file that is no classifier.
        OptionError: a value that is not allowed.
    """
    _check_number("count", count)
    named, given = split_options(options, "suggest", Compute, own=("classifier", "photos", "count", "labelled"))
    columns, compute = columns_of(named, "suggest"), Compute(**given)
    compute.check()
    if is_place(photos):
        asked, known = photos_to_label(os.fspath(photos), labelled, columns)
    else:
        sources = find_photos_of(photos, columns)
        if not sources:
            raise DataError("photos holds no images.")
        asked = label_photos(PhotoList.unlabelled(sources), (None,) * len(sources))
        known = None if labelled is None else photos_to_label(labelled, labelled, columns)[1]
    if isinstance(classifier, TransferClassifier):
        classifier = classifier._fitted()
    elif not isinstance(classifier, Classifier):
        classifier = load_bundle(bundle_file(classifier))
    found = suggest_photos(
        classifier, asked, plain({"count": count})["count"], labelled=known, compute=compute, observer=LogObserver()
    )
    warn_of(found.unreadable)
    return found


@missing_packages_named("regraft.group")
def group(data: Any, groups: int | None = None, *, model: Network | None = None, **options: Any) -> PhotoGroups:
    """Return photos without labels, grouped by what a network sees in them.

    `print` shows the groups; `write("groups.csv")` makes a table in which they are to be named, which `fit` reads.

    Args:
        data: a folder, a table, or n images, as for `embed`.
        groups: how many; None for the number with the lowest Bayesian information criterion, up to 40.
        model: as for `embed`.
        options: columns of a table; fields of `Compute`.

    Raises:
        DataError: no photos, or none that can be read.
        ModelError: no such network.
        OptionError: a value that is not allowed.
    """
    if groups is not None:
        _check_number("groups", groups)
    photos, compute = photos_and_compute(data, options, "group", own=("groups", "model"))
    found = group_photos(embedder_of(model, compute), photos, None if groups is None else int(groups))
    warn_of(found.unreadable)
    return found


def _check_number(name: str, value: Any) -> None:
    if not whole_number(plain({name: value})[name], 1):
        raise OptionError(f"{option(name)} must be a whole number from 1. Got {value!r}.")
