"""What Python users give: folders, tables and lists of images, labels, groups, and options by name."""

import glob
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.classifier.labels import Labels, name_of, read_labels
from regraft.data.cells import as_text, check_labels, is_missing, says_nothing
from regraft.data.class_weights import text_of
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import readers_of
from regraft.data.photos import find_photos
from regraft.data.samples import Samples
from regraft.errors import DataError, OptionError, did_you_mean, option, printable
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import Source, as_sources
from regraft.options import check_settings, declared_settings
from regraft.storage.locations import Location, RemotePath, address, location

COLUMNS = {said.flag or name: name for name, (_, said) in declared_settings(Columns).items()}
_WHERE = "the given images"


def is_place(X: Any) -> bool:
    """Tell whether X names one folder, table or file, and is no list of images."""
    return isinstance(X, (str, os.PathLike))


def columns_of(given: Mapping[str, Any], function: str, own: Sequence[str] = ()) -> Columns:
    """Return how a table is read: `image_column`, `label_column`, `group_column`, `image_root` and so on, by name.

    Raises:
        TypeError: `function` has no such argument.
        OptionError: a value that is not allowed.
    """
    split_options(given, function, own=own)
    declared = declared_settings(Columns)
    for name, value in given.items():
        said = declared[COLUMNS[name]][1]
        if value is not None and not said.is_allowed(value):
            raise OptionError(f"{option(name)} must be {said.allowed}. Got {value!r}.")
    named = {COLUMNS[name]: value for name, value in given.items()}
    if named.get("image_root") is not None:
        named["image_root"] = location(named["image_root"])
    return Columns(**named)


def split_options(
    given: Mapping[str, Any], function: str, *kinds: Any, without: Sequence[str] = (), own: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that name columns, and those that are options of settings classes.

    Args:
        given: by name.
        function: that was called.
        kinds: the classes.
        without: options that it does not have.
        own: arguments that it has besides, which may be meant.

    Raises:
        TypeError: it has no such argument.
    """
    known = {name for kind in kinds for name in declared_settings(kind) if name not in without}
    for name in given:
        if name not in known and name not in COLUMNS:
            raise TypeError(
                f"{function} has no argument {name!r}.{did_you_mean(name, [*own, *COLUMNS, *sorted(known)])}"
            )
    columns = {name: value for name, value in given.items() if name in COLUMNS}
    return columns, plain({name: value for name, value in given.items() if name in known})


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with NumPy's numbers as Python's, and classes that are named by labels by their names."""
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
    if options.get("positive") is not None:
        found["positive"] = name_of(options["positive"])
    if isinstance(weights := options.get("class_weight"), Mapping):
        found["class_weight"] = text_of({name_of(label): weight for label, weight in weights.items()})
    return found


def network_or_default(*, stacklevel: int) -> str:
    """Return the network that is taken when none is named, and warn if the usual one cannot be had."""
    from regraft.networks.registry import STRONG, default_network

    name, which = default_network()
    if name != STRONG:
        warnings.warn(which, stacklevel=stacklevel)
    return name


def find_photos_of(X: Any, columns: Columns) -> list[Source]:
    """Return the images that X names, in order; folders, tables and globs stand for those in them, in a list too.

    Raises:
        DataError: something else than an image, or a path that names none.
        OptionError: columns without a table.
    """
    if is_place(X):
        return find_photos([os.fspath(X)], columns)
    found: list[Any] = []
    tables = False
    for image in _listed(X):
        path = location(image) if is_place(image) else None
        readers = [] if path is None or _is_photo(path) else readers_of(path)
        if readers or (path is not None and glob.has_magic(str(image)) and not os.path.lexists(path)):
            is_table = bool(readers) and readers[-1].is_table
            tables |= is_table
            found += find_photos([os.fspath(image)], columns if is_table else None)
        else:
            found.append(image)
    if not tables:
        _check_no_columns(columns)
    return as_sources(found)


def _is_photo(path: Location) -> bool:
    """Tell whether an address is a photo's by its ending: a store is not asked about each photo of a list."""
    return isinstance(path, RemotePath) and path.suffix.lower() in IMAGE_SUFFIXES and not glob.has_magic(str(path))


def find_labelled(
    X: Any,
    y: Any,
    groups: Any,
    columns: Columns,
    *,
    splits: Sequence[str] = ("train", "validation"),
    corrections: LabelOptions | None = None,
) -> tuple[dict[str, Samples], Labels | None]:
    """Return the labelled images of X by split, and the labels of a list of them.

    Args:
        X: one folder or table, which brings its labels; or n images.
        y: (n,) labels; None for a folder or table.
        groups: (n,) names of what must stay on one side of a split; one that is missing is a group of its own.
        columns: of a table.
        splits: to read of a folder or table. A list of images is "train".
        corrections: what corrects the labels of a folder or table.

    Raises:
        DataError: images, labels or groups that cannot be used.
        OptionError: columns without a table.
    """
    corrections = corrections or LabelOptions()
    check_settings(corrections)
    if not is_place(X):
        _check_no_columns(columns)
        check_no_corrections(corrections, "X is a list of images: correct y")
        samples, labels = _label(X, y, groups)
        return {"train": samples}, labels
    if y is not None:
        raise DataError(f"{printable(X)} is a folder, which brings its own labels: leave y out.")
    if groups is not None:
        raise DataError(
            f"groups are for a list of images. Of a table, name the column that holds them: {option('group_column')}."
        )
    return corrections.find(os.fspath(X), columns, splits=splits), None


def _label(X: Any, y: Any, groups: Any) -> tuple[Samples, Labels]:
    if y is None:
        raise DataError("y is missing: give one label per image, or a folder of class folders as X.")
    sources = _images(X)
    labels = read_labels(y, len(sources))
    if not sources:
        raise DataError("X holds no images.")
    names = [labels.names[place] for place in labels.positions]
    notes = check_labels(names, None, _WHERE) if labels.type == "str" else []
    grouped = None if groups is None else _group_names(groups, len(sources))
    notes += [] if grouped is None else _missing_groups(grouped)
    samples = Samples.from_labels(_WHERE, sources, names, groups=grouped, grouped_by="group", notes=notes)
    for note in samples.notes:
        warnings.warn(note, stacklevel=5)  # of the line that calls `fit`
    return replace(samples, labels=labels.positions, classes=labels.names), labels  # in the order of `classes_`


def _images(X: Any) -> list[Source]:
    """Return n images, one for each thing in a list."""
    listed = _listed(X)
    folders = [image for image in listed if is_place(image) and _is_folder(image)]
    if folders:
        raise DataError(
            f"X holds {len(folders):,} folders, e.g. {printable(folders[0])}, and y has one label for each image. "
            "Name the images, or give one folder of class folders as X and leave y out."
        )
    return as_sources(listed)


def _is_folder(image: str | os.PathLike[str]) -> bool:
    """Tell whether a path is that of a folder; a store is not asked about each photo of a list."""
    return address(image) is None and Path(image).is_dir()


def _listed(X: Any) -> list[Any]:
    """Return what is in a list of images, however it comes.

    Raises:
        DataError: it is none.
    """
    if hasattr(X, "columns") and hasattr(X, "iloc"):  # a data frame, which goes through its columns' names
        if len(X.columns) != 1:
            names = ", ".join(map(repr, X.columns))
            raise DataError(f"X is a table in memory with the columns {names}. Give the one of the paths: X[COLUMN].")
        return list(X.iloc[:, 0])
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OU":
            return list(X[:, 0])
        if X.ndim not in (1, 3, 4) or (X.ndim == 3 and X.shape[2] in (3, 4)):
            one = " This may be one image: put it into a list, [X]." if X.ndim in (2, 3) else ""
            raise DataError(
                f"X must be a list of images, or an array of shape (n, h, w, 3). Got an array of shape {X.shape}.{one}"
            )
    if isinstance(X, (Mapping, AbstractSet, bytes)):
        raise DataError(f"X must be a list of images, in an order. Got a {type(X).__name__}.")
    return list(X) if isinstance(X, Iterable) else as_sources(X)  # which says what is allowed


def _group_names(groups: Any, count: int) -> list[str | None]:
    """Return the name of each image's group, None where there is none."""
    listed: list[Any] = []
    if isinstance(groups, Iterable) and not isinstance(groups, (str, bytes, Mapping, AbstractSet)):
        listed = list(np.asarray(groups, dtype=object)) if hasattr(groups, "__array__") else list(groups)
    if len(listed) != count or any(isinstance(value, (list, np.ndarray)) for value in listed):
        shape = np.shape(groups) if hasattr(groups, "__array__") else (len(listed),) if listed else ()
        raise DataError(
            f"groups must hold one value for each image, shape ({count},). Got {count} images and groups of shape "
            f"{shape}."
        )
    masked = np.ma.getmaskarray(groups) if np.ma.isMaskedArray(groups) else np.zeros(count, dtype=bool)
    return [None if hidden else _group_name(value) for value, hidden in zip(listed, masked, strict=True)]


def _group_name(value: Any) -> str | None:
    if is_missing(value):
        return None
    text = as_text(value.item() if isinstance(value, np.generic) else value)
    return None if says_nothing(text) else text


def _missing_groups(names: Sequence[str | None]) -> list[str]:
    """Return a note on the images without a group."""
    missing = names.count(None)
    if not missing:
        return []
    return [
        f"{missing:,} of {len(names):,} groups are missing (None, NaN, blank or a word such as NA): each of these "
        "images is taken as a group of its own"
    ]


def check_no_corrections(corrections: LabelOptions, instead: str) -> None:
    """Raise `OptionError` where labels are to be corrected that are no folder's or table's.

    Args:
        corrections: what was given.
        instead: what to do: "X is a list of images: correct y".
    """
    if corrections.labels is not None:
        raise OptionError(f"{option('labels')} corrects what a folder or table says. {instead} instead.")


def _check_no_columns(columns: Columns) -> None:
    if columns != Columns():
        raise OptionError(
            f"{', '.join(map(option, COLUMNS))} are for tables. X is a list of images: leave them out, or name a CSV "
            "or Parquet file."
        )
