"""Folders of photos: which files are images, which folders are splits, and what is passed over."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from natsort import natsorted

from regraft.data.file_names import labels_or_none
from regraft.errors import DataError, first_few
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.storage.locations import Location, RemotePath

# The words for each split, in any case; `split_of` knows how they are put together.
SPLIT_FOLDERS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "valid", "val", "validate", "dev", "development", "eval", "evaluation"),
    "test": ("test", "test1", "testing", "tests", "tst", "holdout", "heldout"),  # "test1" is Kaggle's, in Dogs vs. Cats
}
_THINGS = (
    r"(?:(?:data)?sets?|data|images?|imgs?|photos?|pictures?|pics?|samples?|frames|files|split|folder|dir|jpe?g|png)*"
)
_SPLIT_NAMES = {
    split: re.compile(rf"{_THINGS}\d*(?:{'|'.join(words)}){_THINGS}\d*") for split, words in SPLIT_FOLDERS.items()
}
_USUAL = ("train", "training", "val", "valid", "validation", "test", "testing", "test1")
_HIDDEN = (".", "__")
_OF_SYSTEMS = ("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")  # copies and deleted photos
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class FolderScan:
    """What lies below a folder, at any depth.

    Attributes:
        images: in natural order.
        others: files that are no images.
        hidden: images that are hidden, or lie in hidden folders (names that start with "." or "__").
    """

    images: list[Location]
    others: list[Location]
    hidden: list[Location]


def scan(folder: Location) -> FolderScan:
    """Return what lies below `folder`. Links are followed once.

    Raises:
        DataError: a folder cannot be read, but a hidden one.
    """
    images: list[Location] = []
    others: list[Location] = []
    hidden: list[Location] = []
    for path in _walk(folder, hidden):
        (images if _is_image(path) else others).append(path)
    return FolderScan(natsorted(images, key=str), others, hidden)


def image_files(folder: Location) -> tuple[list[Location], int]:
    """Return the image files below `folder` in natural order, and how many other files there are.

    Hidden files and folders (names that start with "." or "__") are passed over. Links are followed once.
    """
    found = scan(folder)
    return found.images, len(found.others)


def split_of(name: str) -> str | None:
    """Return the split that a folder's name says: "train", "validation" or "test"; None where it says none.

    >>> [split_of(name) for name in ("Training_Set", "val", "test-images", "train2017", "valid ", "cat")]
    ['train', 'validation', 'test', 'train', 'validation', None]
    """
    word = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))
    return next((split for split, words in _SPLIT_NAMES.items() if words.fullmatch(word)), None)


def list_below(folder: Location) -> None:
    """Have all that lies below a folder of a store listed at once, before its folders are asked one by one."""
    if isinstance(folder, RemotePath):
        folder.list_below()


def list_entries(folder: Location) -> None:
    """Have what lies directly in a folder of a store listed at once, before its files are asked for one by one."""
    if isinstance(folder, RemotePath) and folder.lists:
        folder.store.listing(str(folder))


def split_folders(folder: Location) -> dict[str, Location]:
    """Return the folder of each split ("train", "validation", "test") that `folder` has, {} where there are no splits.

    A `train` folder beside folders of photos that are no splits is a class, unless it has classes of its own: folders,
    or files whose names carry several labels. Without a `train` folder there are splits if no other folder has photos.

    Raises:
        DataError: it is not clear which folders are splits and which are classes, or a split has two folders.
    """
    list_below(folder)
    children = subfolders(folder)
    found = _by_split(children)
    if not found:
        return {}
    of_splits = {path for paths in found.values() for path in paths}
    unknown = [child.name for child in children if child not in of_splits and _holds_images(child)]
    if unknown:
        train = found["train"][0] if "train" in found else None
        if train is not None and (subfolders(train) or len(_labels_directly_in(train)) > 1):
            raise DataError(
                f"{folder} has {train.name}/ with classes in it and also {', '.join(unknown[:_NAMES_SHOWN])}: it is "
                f"not clear whether {train.name} is a split or a class. Name the folder that you mean, e.g. {train}. "
                "Or move away what is no split."
            )
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{folder} has more than one {split} folder: {', '.join(path.name for path in paths)}. Keep one of "
                "them; if the other is another split, or a class, rename it."
            )
    return {split: found[split][0] for split in SPLIT_FOLDERS if split in found}


def notes_on_splits(folder: Location, splits: Mapping[str, Location]) -> list[str]:
    """Return in words which folders are splits, if their names are unusual, and what is passed over beside them.

    Args:
        folder: that has the splits.
        splits: the folder of each.
    """
    parts = set(splits.values())
    if folder in parts:
        return []
    notes = [f"{child} holds no image and is no split" for child in subfolders(folder) if child not in parts]
    if any(part.name.lower() not in _USUAL for part in parts):
        named = ", ".join(f"{part.name} ({split})" for split, part in splits.items())
        notes.append(f"the folders of {folder} are taken as splits: {named}")
    return notes + hidden_note(folder, hidden_directly_in(folder))


def hidden_directly_in(folder: Location) -> list[Location]:
    """Return the images that are hidden in `folder`, or lie in folders that are hidden there."""
    return [image for path in entries(folder) if _is_hidden(path.name) for image in _hidden_images(path)]


def hidden_note(folder: Location, hidden: Sequence[Location]) -> list[str]:
    """Return in words how many images below `folder` are `hidden`, and where; [] where none is."""
    if not hidden:
        return []
    counts = Counter(_hidden_part(path.relative_to(folder)) for path in hidden)
    listed = first_few([f"{name} {count:,}" for name, count in natsorted(counts.items())], _NAMES_SHOWN)
    return [
        f"{len(hidden):,} images in {folder} are passed over as hidden (their names, or their folders', start with . "
        f"or __, or are a system's): {listed}. Rename what is to count"
    ]


def subfolders(folder: Location) -> list[Location]:
    """Return the visible folders in `folder`, in natural order."""
    return natsorted((path for path in visible(folder) if path.is_dir()), key=lambda path: path.name)


def visible(folder: Location) -> Iterator[Location]:
    """Yield what lies directly in `folder` and is not hidden."""
    return (path for path in entries(folder) if not _is_hidden(path.name))


def entries(folder: Location) -> list[Location]:
    """Return all that lies directly in `folder`, hidden or not.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [*folder.iterdir()]
    except OSError as error:
        _refuse(error)


def _by_split(children: Sequence[Location]) -> dict[str, list[Location]]:
    """Return the folders of each split: those that split words name, or else train and another of one set.

    `pets_train` and `pets_test` are such a set; `freight_train` and `toy_train` are none.
    """
    found: dict[str, list[Location]] = defaultdict(list)
    sets: dict[str, dict[str, list[Location]]] = defaultdict(lambda: defaultdict(list))
    for child in children:
        if split := split_of(child.name):
            found[split].append(child)
        else:
            for split, rest in _split_and_rest(child.name):
                sets[rest][split].append(child)
    if "train" in found:
        return found
    with_train = [parts for parts in sets.values() if "train" in parts]
    complete = [parts for parts in with_train if len(parts) > 1]
    if len(complete) > 1 or (found and with_train):
        named = [path.name for parts in (*with_train, found) for paths in parts.values() for path in paths]
        raise DataError(
            f"{children[0].parent}: it is not clear whether {', '.join(natsorted(named)[:_NAMES_SHOWN])} are splits or "
            "classes. Lay them out as train/CLASS and test/CLASS; or name one folder."
        )
    return complete[0] if complete else found


def _split_and_rest(name: str) -> list[tuple[str, str]]:
    """Return the split that the first or the last word of a name says, and the rest of the name.

    >>> _split_and_rest("pets_train"), _split_and_rest("testA"), _split_and_rest("cat")
    ([('train', 'pets')], [('test', 'a')], [])
    """
    words = [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFKC", name).casefold()) if word]
    if len(words) == 1:
        words = [words[0][:-1], words[0][-1]]
    ends = ((words[0], words[1:]), (words[-1], words[:-1])) if words else ()
    return [(split, " ".join(rest)) for word, rest in ends if (split := split_of(word))]


def _labels_directly_in(folder: Location) -> set[str]:
    """Return the labels in the names of the images directly in `folder`; none unless every name carries one."""
    return labels_or_none([path for path in visible(folder) if _is_image(path)])


def _holds_images(folder: Location) -> bool:
    return any(_is_image(path) for path in _walk(folder, []))


def _is_image(path: Location) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_hidden(name: str) -> bool:
    return name.startswith(_HIDDEN) or name in _OF_SYSTEMS


def _hidden_part(path: Location) -> str:
    """Return the hidden folder that `path` lies in, or the pattern of hidden files in its folder."""
    depth = next(depth for depth, part in enumerate(path.parts, start=1) if _is_hidden(part))
    if depth < len(path.parts):
        return str(Path(*path.parts[:depth]))
    return str(path.with_name("__*" if path.name.startswith("__") else ".*"))


def _hidden_images(path: Location) -> list[Location]:
    """Return the images that a hidden file is, or a hidden folder holds; what cannot be read there holds none."""
    files: list[Location] = [path]
    if path.is_dir():
        steps = path.walk() if isinstance(path, RemotePath) else os.walk(path)
        files = [type(path)(root, name) for root, _, names in steps for name in names]
    # macOS lays a file of properties beside each photo on foreign disks: ._IMG_1.jpg
    return [file for file in files if _is_image(file) and not file.name.startswith("._")]


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}. Allow it (chmod -R u+rX {error.filename}), or move it "
        "away."
    ) from None


def _walk(folder: Location, hidden: list[Location]) -> Iterator[Location]:
    """Yield the files below `folder` that are not hidden; add the hidden images to `hidden`."""
    if isinstance(folder, RemotePath):
        yield from _walk_remote(folder, hidden)
        return
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a parent: an endless walk
            folders.clear()
            continue
        seen.add(real)
        for name in filter(_is_hidden, (*folders, *files)):
            hidden += _hidden_images(Path(root, name))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (Path(root, name) for name in files if not _is_hidden(name))


def _walk_remote(folder: RemotePath, hidden: list[Location]) -> Iterator[RemotePath]:
    """Yield the files below the folder of a store, as `_walk` does; it has no links."""
    for root, folders, files in folder.walk():
        for name in filter(_is_hidden, (*folders, *files)):
            hidden += _hidden_images(root / name)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (root / name for name in files if not _is_hidden(name))
