"""Folders of photos: what is an image, and which label its place or its name gives it."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from natsort import natsorted

from regraft.data.formats import IMAGE_SUFFIXES
from regraft.data.sources import Source
from regraft.errors import DataError, shortlist

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "test1"),  # "test1" is Kaggle's, in Dogs vs. Cats
}
# "cat.0", "american_bulldog_12", "bee-3", "dog (4)": a word that ends in no digit, a separator, a number
_LABEL_IN_NAME = re.compile(r"(?P<label>[^\W\d_](?:.*[^\W_])?)[._\- ]+\(?\d+\)?")


@dataclass
class Rows:
    """Images with their labels as they were found, before any check across them."""

    where: str
    sources: list[Source] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str | None] | None = None  # None: not known to belong with another
    notes: list[str] = field(default_factory=list)


def natural_order(names: Iterable[str]) -> list[str]:
    """Return the distinct `names` with numbers in numeric order: "2" before "10".

    >>> natural_order(["10", "2", "1"])
    ['1', '2', '10']
    """
    return list(natsorted(sorted(set(names))))  # sorted first: "01" and "1" are equal to natsort


def image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the image files below `folder` in natural order, and how many other files there are.

    Hidden files and folders (a name that starts with "." or "__") are passed over. Links are followed once.
    """
    images: list[Path] = []
    others = 0
    for path in _walk(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            others += 1
    return natsorted(images, key=str), others


def split_folders(folder: Path) -> dict[str, Path]:
    """Return {"train": ..., "validation": ..., "test": ...} as far as `folder` has them, {} if it has none.

    A `train` folder beside other folders is taken for a class, unless it holds what has classes of its own: folders,
    or files whose names carry several labels.

    Raises:
        DataError: it cannot be told whether `train` is a split or a class, or a split is there twice.
    """
    children = {child.name.lower(): child for child in subfolders(folder)}
    found = {split: [children[n] for n in names if n in children] for split, names in SPLIT_FOLDERS.items()}
    if not found["train"]:
        return {}
    train = found["train"][0]
    strangers = sorted(set(children) - {name for names in SPLIT_FOLDERS.values() for name in names})
    if strangers:
        if subfolders(train) or len(_labels_of_names(train)) > 1:
            raise DataError(
                f"{folder} has {train.name}/ with classes in it and also {', '.join(strangers[:5])}: it is not clear "
                f"whether {train.name} is a split or a class. Name the folder that you mean, e.g. {train}."
            )
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{folder} has more than one {split} folder: {', '.join(p.name for p in paths)}. Keep one of them."
            )
    return {split: paths[0] for split, paths in found.items() if paths}


def read_folder(folder: Path) -> Rows:
    """Return the images of class folders, or of a flat folder whose file names carry the label.

    Raises:
        DataError: no images, or flat files whose names carry no label.
    """
    rows = Rows(where=str(folder))
    others = 0
    for child in subfolders(folder):
        images, ignored = image_files(child)
        others += ignored
        if not images:
            rows.notes.append(f"{child} holds no image and is not a class")
        rows.sources += images
        rows.labels += [child.name] * len(images)
    loose = natsorted((p for p in _visible(folder) if not p.is_dir()), key=str)  # a pipe or device is named later
    loose_images = [p for p in loose if p.suffix.lower() in IMAGE_SUFFIXES]
    others += len(loose) - len(loose_images)
    if rows.sources and loose_images:
        rows.notes.append(f"{len(loose_images):,} images lie directly in {folder}, in no class: left out")
    elif loose_images:
        _label_by_name(rows, loose_images)
    if not rows.sources:
        raise DataError(
            f"{folder} holds no images. Expected one sub-folder of images per class, or file names that carry the "
            f"label (cat.0.jpg); image files end in {' '.join(sorted(IMAGE_SUFFIXES)[:6])} ..."
        )
    if others:
        rows.notes.append(f"{others:,} other files in {folder} are no images: ignored")
    return rows


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in `folder`, in natural order."""
    return natsorted((path for path in _visible(folder) if path.is_dir()), key=lambda path: path.name)


def _label_by_name(rows: Rows, images: list[Path]) -> None:
    matches = [(_LABEL_IN_NAME.fullmatch(path.stem), path) for path in images]
    unlabelled = [path.name for match, path in matches if match is None]
    if unlabelled:
        raise DataError(
            f"{rows.where}: {len(unlabelled):,} of {len(images):,} file names carry no label. Expected label, "
            f"separator, number, as in cat.0.jpg; or one sub-folder per class; or a CSV with --image-column and "
            f"--label-column. Got:\n{shortlist(unlabelled)}"
        )
    rows.sources += images
    rows.labels += [match["label"] for match, _ in matches if match]
    rows.notes.append("labels come from the file names")


def _labels_of_names(folder: Path) -> set[str]:
    """Return the labels that the names of the images directly in `folder` carry; none unless each carries one."""
    images = [path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    matches = [_LABEL_IN_NAME.fullmatch(path.stem) for path in images]
    return {match["label"] for match in matches if match} if all(matches) else set()


def _visible(folder: Path) -> Iterator[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        _refuse(error)
    return (path for path in paths if not path.name.startswith((".", "__")))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}. Allow it (chmod -R u+rX {error.filename}), or move it "
        "away."
    ) from None


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back up: without this, an endless walk
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(root, name) for name in files if not name.startswith((".", "__")))
