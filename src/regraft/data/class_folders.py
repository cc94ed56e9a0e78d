"""Class folders, and flat folders of names with labels, to samples; what else a folder could be meant as."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from natsort import natsorted

from regraft.data.archives import to_unpack
from regraft.data.file_names import labels_in_names, labels_or_none
from regraft.data.folders import hidden_directly_in, hidden_note, list_below, scan, split_of, subfolders, visible
from regraft.data.samples import Samples, clean_name, natural_order
from regraft.errors import DataError
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.storage.locations import Location

# Folders that are counted, and are no classes: years and dates, and what people number
_COUNTED = re.compile(
    r"(?:19|20)\d\d(?:[\W_]?\d\d){0,2}|"
    r"(?:fold|batch|part|session|day|week|month|year|round|run|series|group|patient|subject|case|site|clip|video|scene|"
    r"cam|camera|seq|sequence|visit)s?[\W_]*\d+",
    re.IGNORECASE,
)
_TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".ods")  # not all are read; then it is said how to save them
_NEARLY_ALL = 0.8  # share of the class folders that hold the same sub-folders
_NAMES_SHOWN = 5

Folders = tuple[str, ...]  # the names of the folders between a class folder and a photo


def read_folder(folder: Location, *, unlabelled: bool = False) -> Samples:
    """Return the images of class folders, or of a flat folder whose file names carry the label.

    Args:
        folder: with folders or images in it.
        unlabelled: whether a flat folder of names that carry no label is one of images without labels; else it is an
            error.

    Raises:
        DataError: no images, flat files whose names carry no label, or folders that seem to be no classes.
    """
    classes: dict[Location, list[Location]] = {}
    notes: list[str] = []
    others: list[Location] = []
    list_below(folder)
    hidden = hidden_directly_in(folder)
    for child in subfolders(folder):
        found = scan(child)
        others += found.others
        hidden += found.hidden
        if found.images:
            classes[child] = found.images
        else:
            notes.append(f"{child} holds no image and is not a class")
    loose = natsorted((p for p in visible(folder) if not p.is_dir()), key=str)  # pipes and devices: the audit's
    loose_images = [path for path in loose if path.suffix.lower() in IMAGE_SUFFIXES]
    others += [path for path in loose if path.suffix.lower() not in IMAGE_SUFFIXES]
    passed_over = hidden_note(folder, hidden)
    if not classes and not loose_images:
        raise DataError(_no_images(folder, others, passed_over))
    if classes and loose_images:
        notes.append(f"{len(loose_images):,} images lie directly in {folder}, in no class: left out")
    if others:
        notes.append(f"{len(others):,} other files in {folder} are no images: ignored")
    notes += passed_over
    if classes:
        return _of_classes(folder, classes, notes)
    if unlabelled and labels_or_none(loose_images) == set():
        return Samples.from_labels(str(folder), loose_images, [None] * len(loose_images), notes=notes)
    return _of_names(folder, loose_images, notes)


def clips_apart(splits: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return the splits of a folder with clips of their own where one file name is in two of them.

    Clips are named by file names. Photos of one folder that were split later have different names, and a clip in two
    splits is one clip. Where names come twice, each split counts its clips from the start.
    """
    if sum(part.groups is not None for part in splits.values()) < 2:
        return dict(splits)
    names = [Path(str(source)).name for part in splits.values() for source in part.sources]
    if len(set(names)) == len(names):
        return dict(splits)
    return {
        split: replace(part, group_names=tuple(name and f"{split}/{name}" for name in part.group_names))
        for split, part in splits.items()
    }


def _of_classes(folder: Location, classes: Mapping[Location, list[Location]], notes: list[str]) -> Samples:
    below = {child.name: _folders_below(child, images) for child, images in classes.items()}
    if len(below) > 1:
        inner = _inner_folders(below)
        _check_no_splits_inside(folder, inner)
        _check_no_class_inside(folder, inner)
        _check_level(folder, inner)
        notes += [
            f"{name} is taken as a class, not as a split, as {_listed(set(below) - {name})} lie beside it"
            for name in below
            if split_of(name)
        ]
    images = [image for found in classes.values() for image in found]
    labels = [child.name for child, found in classes.items() for _ in found]
    advice = [*(_wrapper(child, below[child.name], found) for child, found in classes.items() if len(below) == 1)]
    advice.append(_tables(folder))
    return Samples.from_labels(str(folder), images, labels, notes=notes, advice=" ".join(filter(None, advice)))


def _of_names(folder: Location, images: list[Location], notes: list[str]) -> Samples:
    try:
        found = labels_in_names(images, str(folder))
    except DataError as error:
        tables = _tables(folder)
        raise DataError(f"{error}\n{tables}" if tables else str(error)) from None
    return Samples.from_labels(
        str(folder), images, found.labels, groups=found.groups, notes=[found.note, *notes], advice=found.advice
    )


def _folders_below(child: Location, images: Sequence[Location]) -> set[Folders]:
    """Return the ways from a class folder to the folders that hold its images."""
    holders = {str(image).rpartition(os.sep)[0] for image in images}  # few; a million images keep no parts
    return {type(child)(holder).relative_to(child).parts for holder in holders}


def _inner_folders(below: Mapping[str, Collection[Folders]]) -> dict[str, set[str]]:
    """Return the names of the folders in each class folder, "" for photos that lie directly in it.

    One and the same folder in all of them (cat/images, dog/images) is passed through.
    """
    depth = 0
    while True:
        inner = {name: {clean_name("".join(way[depth : depth + 1])) for way in ways} for name, ways in below.items()}
        first = next(iter(inner.values()))
        if len(first) > 1 or "" in first or any(names != first for names in inner.values()):
            return inner
        depth += 1


def _check_no_splits_inside(folder: Location, inner: Mapping[str, set[str]]) -> None:
    """Raise `DataError` where class folders hold train and test folders."""
    found = {name: [sub for sub in natural_order(subs) if split_of(sub)] for name, subs in inner.items()}
    found = {name: subs for name, subs in found.items() if len({split_of(sub) for sub in subs}) > 1}
    if not found:
        return
    name, subs = next(iter(found.items()))
    if len(found) == 1:
        raise DataError(
            f"{folder}: {name} has splits in it ({_listed(subs)}), so that it seems to be no class. Name "
            f"{folder / name}, or move it away from the classes beside it."
        )
    raise DataError(
        f"{folder}: the folders {_listed(found)} hold splits ({_listed(subs)}). Lay them out the other way round: "
        f"{subs[0]}/{name} instead of {name}/{subs[0]}; or write a table of image, label and split, and name it."
    )


def _check_no_class_inside(folder: Location, inner: Mapping[str, set[str]]) -> None:
    """Raise `DataError` where a folder holds folders called as the classes beside it, and no others."""
    classes = {clean_name(name).casefold() for name in inner}
    for name, subs in inner.items():
        others = {sub.casefold() for sub in subs if sub} - {clean_name(name).casefold()}
        if others and others <= classes and not any(sub.isdecimal() for sub in others):
            raise DataError(
                f"{folder}: {name} holds folders of the same names as the classes beside it ({_listed(subs)}), so that "
                f"it seems to be no class. Move it away; or, if it is a split, call the folder of the other classes "
                f"train; or name {folder / name}."
            )


def _check_level(folder: Location, inner: Mapping[str, set[str]]) -> None:
    """Raise `DataError` where nearly all folders hold the same sub-folders, which are the classes then: 2023/cat ...

    Counted sub-folders are none (cat/2023, dog/2023), nor are those of class folders with photos directly in them.
    """
    nested = {name: subs for name, subs in inner.items() if "" not in subs}
    counts = Counter(sub for subs in nested.values() for sub in subs)
    common = {sub for sub, count in counts.items() if count > len(inner) / 2}
    same = [name for name, subs in nested.items() if len(subs & common) > 1]
    counted = all(map(_COUNTED.fullmatch, inner))  # 2023, 2024: no classes, so that less is enough
    one_too_high = len(same) >= _NEARLY_ALL * len(inner) and (counted or not all(map(_COUNTED.fullmatch, common)))
    if counted:
        counts = Counter(sub for subs in inner.values() for sub in subs if sub)
        repeated = {sub for sub, count in counts.items() if count > 1}
        one_too_high = one_too_high or (len(counts) > 1 and bool(repeated) and not all(map(_COUNTED.fullmatch, counts)))
        common = repeated
    if one_too_high:
        one, outer, subs = natural_order(inner)[0], _listed(inner), _listed(common)
        raise DataError(
            f"{folder}: the folders {outer} {'' if len(same) == len(inner) else 'nearly '}all have the same "
            f"sub-folders ({subs}): one level too high? If {subs} are the classes, name one of these folders, e.g. "
            f"{folder / one}, or bring the photos of each class into one folder. If {outer} are, write a table of "
            "image and label, and name it."
        )


def _wrapper(child: Location, ways: Collection[Folders], images: Sequence[Location]) -> str:
    """Return in words what lies in the only folder of photos there is, if it seems to wrap the classes; else ""."""
    shared = [names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, zip(*ways, strict=False))]
    depth = next((depth for depth, name in enumerate(shared) if split_of(name)), len(shared))
    inner = {name for way in ways for name in way[depth : depth + 1]}
    target = child.joinpath(*shared[:depth])
    if len(inner) > 1 or depth < len(shared):
        return f"{target} holds {_listed(inner)}: name {target} if these are the classes or splits."
    labels = labels_or_none(images)
    if not inner and len(labels) > 1:
        return f"The file names in {target} carry labels ({_listed(labels)}): name {target} if these are the classes."
    return ""


def _tables(folder: Location) -> str:
    """Return in words which table lies in `folder`, or beside it where it is a split; "" where none does."""
    places = [folder, folder.parent] if split_of(folder.name) else [folder]
    return _tables_among(path for place in places for path in visible(place))


def _tables_among(paths: Iterable[Location]) -> str:
    found = [path for path in paths if path.suffix.lower() in _TABLES]
    found = [path for path in found if "submission" not in path.name.lower()]  # Kaggle's, without labels
    if not found:
        return ""
    best = min(natsorted(found, key=str), key=lambda path: "train" not in path.name.lower())
    several = f" (one of {len(found):,} there)" if len(found) > 1 else ""
    return f"If the labels stand in a table, name the table: {best}{several}."


def _no_images(folder: Location, others: Sequence[Location], passed_over: Sequence[str]) -> str:
    endings = Counter(path.suffix.lower() or "without an ending" for path in others)
    held = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(_NAMES_SHOWN))
    sentences = [
        f"{folder} holds no images. Expected one sub-folder of images per class, or file names that carry the label "
        f"(cat.0.jpg); image files end in {' '.join(sorted(IMAGE_SUFFIXES)[:6])} ...",
        f"It holds other files: {held}{' ...' if len(endings) > _NAMES_SHOWN else ''}." if others else "",
        to_unpack(others),
        _tables_among(others),
        *(f"{note}." for note in passed_over),
    ]
    return " ".join(filter(None, sentences))


def _listed(names: Collection[str]) -> str:
    shown = [name for name in natural_order(names) if name]
    return ", ".join(shown[:_NAMES_SHOWN]) + (" ..." if len(shown) > _NAMES_SHOWN else "")
