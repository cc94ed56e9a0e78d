"""Folders of photos: which files are images, and the label that an image's folder or name gives it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from natsort import natsorted

from regraft.data.samples import Samples
from regraft.errors import DataError, option, shortlist
from regraft.images.formats import IMAGE_SUFFIXES

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "test1"),  # "test1" is Kaggle's, in Dogs vs. Cats
}
# "cat.0", "american_bulldog_12", "bee-3", "dog (4)": a word that ends in no digit, a separator, a number
_LABEL_IN_NAME = re.compile(r"(?P<label>[^\W\d_](?:.*[^\W_])?)[._\- ]+\(?\d+\)?")


def image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the image files below `folder` in natural order, and how many other files there are.

    Hidden files and folders (names that start with "." or "__") are passed over. Links are followed once.
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
    """Return the folder of each split ("train", "validation", "test") that `folder` has, {} without a train folder.

    A `train` folder beside folders that are no splits is a class, unless it has classes of its own: folders, or files
    whose names carry several labels.

    Raises:
        DataError: it is not clear whether `train` is a split or a class, or a split has two folders.
    """
    children = {child.name.lower(): child for child in subfolders(folder)}
    found = {split: [children[n] for n in names if n in children] for split, names in SPLIT_FOLDERS.items()}
    if not found["train"]:
        return {}
    train = found["train"][0]
    unknown = sorted(set(children) - {name for names in SPLIT_FOLDERS.values() for name in names})
    if unknown:
        if subfolders(train) or len(_labels_directly_in(train)) > 1:
            raise DataError(
                f"{folder} has {train.name}/ with classes in it and also {', '.join(unknown[:5])}: it is not clear "
                f"whether {train.name} is a split or a class. Name the folder that you mean, e.g. {train}."
            )
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{folder} has more than one {split} folder: {', '.join(p.name for p in paths)}. Keep one of them."
            )
    return {split: paths[0] for split, paths in found.items() if paths}


def read_folder(folder: Path) -> Samples:
    """Return the images of class folders, or of a flat folder whose file names carry the label.

    Raises:
        DataError: no images, or flat files whose names carry no label.
    """
    where = str(folder)
    images: list[Path] = []
    labels: list[str] = []
    notes: list[str] = []
    others = 0
    for child in subfolders(folder):
        found, ignored = image_files(child)
        others += ignored
        if not found:
            notes.append(f"{child} holds no image and is not a class")
        images += found
        labels += [child.name] * len(found)
    loose = natsorted((p for p in _visible(folder) if not p.is_dir()), key=str)  # pipes and devices: the audit's
    loose_images = [p for p in loose if p.suffix.lower() in IMAGE_SUFFIXES]
    others += len(loose) - len(loose_images)
    if images and loose_images:
        notes.append(f"{len(loose_images):,} images lie directly in {folder}, in no class: left out")
    elif loose_images:
        images, labels = loose_images, _labels_in_names(loose_images, where)
        notes.append("labels come from the file names")
    if not images:
        raise DataError(
            f"{folder} holds no images. Expected one sub-folder of images per class, or file names that carry the "
            f"label (cat.0.jpg); image files end in {' '.join(sorted(IMAGE_SUFFIXES)[:6])} ..."
        )
    if others:
        notes.append(f"{others:,} other files in {folder} are no images: ignored")
    return Samples.from_labels(where, images, labels, notes=notes)


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in `folder`, in natural order."""
    return natsorted((path for path in _visible(folder) if path.is_dir()), key=lambda path: path.name)


def entries(folder: Path) -> list[Path]:
    """Return all that lies directly in `folder`, hidden or not.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return list(folder.iterdir())
    except OSError as error:
        _refuse(error)


def _labels_in_names(images: list[Path], where: str) -> list[str]:
    matches = [_LABEL_IN_NAME.fullmatch(path.stem) for path in images]
    unlabelled = [path.name for match, path in zip(matches, images, strict=True) if match is None]
    if unlabelled:
        raise DataError(
            f"{where}: {len(unlabelled):,} of {len(images):,} file names carry no label. Expected label, "
            f"separator, number, as in cat.0.jpg; or one sub-folder per class; or a CSV with {option('image_column')} "
            f"and {option('label_column')}. Got:\n{shortlist(unlabelled)}"
        )
    return [match["label"] for match in matches if match]


def _labels_directly_in(folder: Path) -> set[str]:
    """Return the labels in the names of the images directly in `folder`; none unless every name carries one."""
    images = [path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    matches = [_LABEL_IN_NAME.fullmatch(path.stem) for path in images]
    return {match["label"] for match in matches if match} if all(matches) else set()


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in entries(folder) if not path.name.startswith((".", "__")))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}. Allow it (chmod -R u+rX {error.filename}), or move it "
        "away."
    ) from None


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a parent: an endless walk
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(root, name) for name in files if not name.startswith((".", "__")))
