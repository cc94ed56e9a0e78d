"""Samples: labelled images with their class names, found in folders, CSV or Parquet tables."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.folders import Rows, natural_order, read_folder, split_folders
from regraft.data.formats import IMAGE_SUFFIXES
from regraft.data.sources import Source
from regraft.data.tables import Columns, is_table, parquet_files, parquet_splits, read_csv, read_parquet
from regraft.errors import DataError, OptionError, did_you_mean, shortlist

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Samples:
    """`n` images and their labels.

    Attributes:
        sources: where each image comes from, n of them.
        labels: (n,) positions in `classes`.
        classes: the class names, in natural order ("2" before "10").
        groups: (n,) numbers of what must stay on one side of a split (a patient, a lesion), or None.
        group_names: what the numbers stand for, by which groups are known again in another split; None for a photo
            that is not known to belong to any.
        where: the folder or table they were found in.
        notes: what was passed over, in words.
    """

    sources: tuple[Source, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    group_names: tuple[str | None, ...] = ()
    where: str = "the given images"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sources)

    @property
    def name(self) -> str:
        """Return where they were found without the folders above it, for what is handed on."""
        parts = [self.where] if Path(self.where).exists() else self.where.split(" and ")  # of splits taken together
        return " and ".join(Path(part).name for part in parts)

    def counts(self) -> dict[str, int]:
        """Return {class name: number of images}, in class order."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def select(self, positions: np.ndarray) -> "Samples":
        """Return the samples at `positions` (integers or booleans), with the same classes."""
        chosen = np.arange(len(self))[positions]
        return replace(
            self,
            sources=tuple(self.sources[i] for i in chosen),
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def aligned(self, classes: Sequence[str]) -> "Samples":
        """Return the same samples with labels that count in `classes`, matched by name.

        Raises:
            DataError: a class here is not among `classes`.
        """
        unknown = [name for name, count in self.counts().items() if count and name not in classes]
        if unknown:
            hints = did_you_mean(unknown[0], classes)
            raise DataError(
                f"{self.where} has {len(unknown)} classes that the model does not know: {', '.join(unknown[:20])}. "
                f"It knows: {', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}.{hints} "
                "Rename or remove these folders or labels."
            )
        position = {name: i for i, name in enumerate(classes)}
        table = np.array([position.get(name, -1) for name in self.classes], dtype=np.int64)
        return replace(self, labels=table[self.labels], classes=tuple(classes))

    def check_trainable(self) -> None:
        """Raise `DataError` unless there are two classes or more, and two images or more of each."""
        counts = self.counts()
        if len(counts) < 2:
            raise DataError(
                f"{self.where} has one class only: {self.classes[0]!r} ({len(self):,} images). "
                "A classifier needs at least two: one folder (or label) for each."
            )
        single = [name for name, count in counts.items() if count < 2]
        if single:
            raise DataError(
                f"{self.where}: {len(single)} of {len(counts)} classes have fewer than two images, too few to learn "
                f"from one and judge by another:\n{shortlist(single)}\nAdd images or remove the class."
            )


def find_samples(
    data: str | Path, columns: Columns | None = None, *, splits: Sequence[str] = ("train", "validation")
) -> dict[str, Samples]:
    """Find the labelled images of `data`.

    Args:
        data: class folders; `train/` + `validation/` (or `val/`, `valid/`) + `test/` of class folders; a flat folder
            whose file names carry the label; a CSV or TSV file; a Parquet file or a folder of them.
        columns: which columns a table is to be read by.
        splits: the splits to read, of which the first must be there. Training never asks for "test".

    Returns:
        Samples by split; data without splits are "train".

    Raises:
        DataError: no such path, no images, or labels that cannot be used.
    """
    readers = _readers(data, columns)
    if splits[0] not in readers:
        raise DataError(
            f"{data} has no {splits[0]} split. It has: {', '.join(split_names(data, columns))}. "
            "Add a folder (or Parquet files) of that name, or name the folder or file that you mean."
        )
    return {split: as_samples(read()) for split, read in readers.items() if split in splits}


def split_names(data: str | Path, columns: Columns | None = None) -> tuple[str, ...]:
    """Return which of `SPLITS` `data` has, in that order; the last is the one to judge by. Reads none of them.

    Raises:
        DataError: no such path, or it is not clear what its folders or files are.
    """
    readers = _readers(data, columns)
    return tuple(split for split in SPLITS if split in readers)


def as_samples(rows: Rows) -> Samples:
    """Number the labels and groups of `rows`."""
    if not rows.sources:
        raise DataError(f"{rows.where} holds no images.")
    classes = natural_order(rows.labels)
    position = {name: i for i, name in enumerate(classes)}
    groups, names = (None, ()) if rows.groups is None else _number_groups(rows.groups)
    return Samples(
        sources=tuple(rows.sources),
        labels=np.array([position[label] for label in rows.labels], dtype=np.int64),
        classes=tuple(classes),
        groups=groups,
        group_names=names,
        where=rows.where,
        notes=tuple(rows.notes),
    )


def together(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several splits, which have the same classes, as one; groups of one name are one group."""
    return Samples(
        sources=tuple(source for part in parts for source in part.sources),
        labels=np.concatenate([part.labels for part in parts]),
        classes=parts[0].classes,
        groups=None if all(part.groups is None for part in parts) else _common_groups(parts),
        where=" and ".join(part.where for part in parts),
    )


def _number_groups(names: Sequence[str | None]) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """Return (n,) numbers of groups, and the numbers' names; whatever has no name is a group of its own."""
    known = sorted({name for name in names if name is not None})
    position = {name: number for number, name in enumerate(known)}
    alone = itertools.count(len(known))
    numbers = [next(alone) if name is None else position[name] for name in names]
    return np.array(numbers, dtype=np.int64), (*known, *[None] * names.count(None))


def _common_groups(parts: Sequence[Samples]) -> np.ndarray:
    numbers: dict[object, int] = {}
    found: list[int] = []
    for place, part in enumerate(parts):
        own = np.arange(len(part)) if part.groups is None else part.groups
        for number in own.tolist():
            name = part.group_names[number] if number < len(part.group_names) else None
            found.append(numbers.setdefault((place, number) if name is None else name, len(numbers)))
    return np.array(found, dtype=np.int64)


def _readers(data: str | Path, columns: Columns | None) -> dict[str, Any]:
    """Return, for each split that `data` has, the function that reads it."""
    path = Path(data).expanduser()
    columns = columns or Columns()
    if not path.exists():
        raise DataError(f"{path} does not exist. Name a folder of photos, a CSV file or a Parquet file.")
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise DataError(f"{path} is one photo. Name the folder that it lies in.")
    if path.is_file() and not is_table(path):
        raise DataError(
            f"{path} is a file of an unknown kind. Allowed are a folder of photos, or a .csv, .tsv or .parquet file."
        )
    if not (path.is_file() or path.is_dir()):
        raise DataError(f"{path} is neither a folder nor an ordinary file (a pipe or a device). Name one of these.")
    table = path if path.is_file() else None
    if table is None and columns != Columns() and not parquet_files(path):
        raise OptionError(
            f"--image-column, --label-column, --group-column and --image-root are for tables. {path} is a folder: "
            "name a CSV or Parquet file instead, or leave them out."
        )
    if table is not None and table.suffix.lower() != ".parquet":
        return {"train": lambda: read_csv(table, columns)}
    files = [table] if table is not None else parquet_files(path)
    if table is not None:
        return {"train": lambda: read_parquet(files, columns)}
    if files:
        return {s: lambda f=f: read_parquet(f, columns) for s, f in parquet_splits(files).items()}
    folders = split_folders(path) or {"train": path}
    return {split: lambda folder=folder: read_folder(folder) for split, folder in folders.items()}
